"""The meters of a MetricLogger, and the histories that they share with its hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any

from .._errors import ArgumentTypeError
from .._timing import LoopTimer
from ..message_hub import MessageHub
from ._totals import FOLD_EVERY
from .smoothed_value import SmoothedValue


class Meters(MutableMapping[str, Any]):
    """Meters by name, made when they are first asked for, as in a ``defaultdict``.

    Each records into the history of its name in a hub, so that a whole dict of values takes one call there.

    Args:
        hub: That hub.
        fmt: Text of the meters that are made here.
    """

    def __init__(self, hub: MessageHub, fmt: str) -> None:
        self.timers: list[LoopTimer] = []  # of the loops that run, the innermost last
        self._hub = hub
        self._fmt = fmt
        self._meters: dict[str, Any] = {}
        self._names: set[str] = set()  # theirs
        self._until_fold = FOLD_EVERY

    def record(self, scalars: dict[str, Any]) -> None:
        """Record a value for each name.

        Raises:
            ScalarError: A value is not one real number. Nothing was recorded.
        """
        (self.timers[-1].record if self.timers else self._hub.update_scalars)(scalars)
        if not self._names.issuperset(scalars):
            self._adopt(scalars)
        self.pass_iteration()

    def pass_iteration(self) -> None:
        """Each meter may have got a value more."""
        self._until_fold -= 1
        if self._until_fold == 0:
            self._until_fold = FOLD_EVERY
            for meter in self._meters.values():
                if isinstance(meter, SmoothedValue):
                    meter._fold()

    def _adopt(self, names: Iterable[str]) -> None:
        """Make the meters of the histories that the hub made."""
        for name in names:
            if name not in self._meters:
                self._names.add(name)
                meter = self._meters[name] = SmoothedValue(fmt=self._fmt)
                meter._use(self._hub.log_scalars[name])

    def __getitem__(self, name: str) -> Any:
        if name not in self._meters:
            self[name] = SmoothedValue(fmt=self._fmt)
        return self._meters[name]

    def __setitem__(self, name: str, meter: Any) -> None:
        if not callable(getattr(meter, 'update', None)):
            raise ArgumentTypeError(f'meter {name!r} must have update(), got {meter!r}')
        records_itself = getattr(type(meter), 'update', None) is not SmoothedValue.update
        self._meters[name] = meter
        self._names.add(name)
        self._hub.log_scalars[name] = _Converted(meter) if records_itself else meter.history

    def __delitem__(self, name: str) -> None:
        del self._meters[name], self._hub.log_scalars[name]
        self._names.discard(name)

    def __contains__(self, name: object) -> bool:
        return name in self._meters

    def __iter__(self) -> Iterator[str]:
        return iter(self._meters)

    def __len__(self) -> int:
        return len(self._meters)

    def get(self, name: str, default: Any = None) -> Any:
        return self._meters.get(name, default)

    def setdefault(self, name: str, default: Any = None) -> Any:
        if name not in self._meters:
            self[name] = default
        return self._meters[name]


class _Converted:
    """Hands a meter with an ``update`` of its own the numbers that the hub has for it."""

    def __init__(self, meter: Any) -> None:
        self._meter = meter

    def update(self, value: float, count: float) -> None:  # noqa: ARG002
        self._meter.update(value)
