"""The meter of torchvision's reference scripts."""

from __future__ import annotations

import copy
import math
import operator
import sys
from array import array
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _core
from .._errors import ArgumentError, ArgumentTypeError
from ..history_buffer import HistoryBuffer
from ._across_ranks import add_up
from ._totals import FOLD_EVERY, Totals

if TYPE_CHECKING:
    from .._landing import HubAt

_FMT = '{median:.4f} ({global_avg:.4f})'


class SmoothedValue:
    """The values of one name: statistics of the newest, and the mean of all.

    As in torchvision's reference scripts and the many projects that carry it along (DETR, MAE, DINO, DeiT),
    except that :meth:`update` takes tensors too and never waits for a device: who asks for a number waits
    for those that it needs. As there, statistics of the window are in float32 and ``median`` is the lower of
    the two in the middle. ``global_avg`` is exact. A meter without values shows ``nan`` instead of raising.

    Args:
        window_size: Of how many values ``median``, ``avg``, ``max`` and ``value`` are.
        fmt: Text of the meter, with ``median``, ``avg``, ``global_avg``, ``max``, ``value``, ``count`` and
            ``total``; ``'{median:.4f} ({global_avg:.4f})'`` unless given.

    Raises:
        ArgumentTypeError: ``window_size`` is not an int.
        ArgumentError: It is less than 1.

    Attributes:
        fmt: As above.
        history: The :class:`ringmeter.HistoryBuffer` of the values, for any other statistic.

    Examples:
        >>> meter = SmoothedValue(window_size=2, fmt='{avg:.2f} ({global_avg:.2f})')
        >>> for value in (1.0, 2.0, 4.0):
        ...     meter.update(value)
        >>> print(meter)
        3.00 (2.33)
    """

    def __init__(self, window_size: int = 20, fmt: str | None = None) -> None:
        try:
            self._window_size = operator.index(window_size)
        except TypeError:
            raise ArgumentTypeError(f'window_size must be an int, got {window_size!r}') from None
        if self._window_size < 1:
            raise ArgumentError(f'window_size must be at least 1, got {window_size!r}')
        self.fmt = _FMT if fmt is None else fmt
        self._now: HubAt | None = None  # as of which this is, under _key: None for now
        self._key = ''
        self._use(_new_history(max(1_000_000, 4 * self._window_size)))

    def update(self, value: Any, n: Any = 1) -> None:
        """Record a value, which counts ``n`` times in ``global_avg``. Does not wait for a device.

        Raises:
            ScalarError: The value is not one real number.
            ArgumentTypeError: ``n`` is not a finite number.
        """
        if type(n) is not int and not (isinstance(n, Real) and math.isfinite(n)):
            raise ArgumentTypeError(f'n must be a finite number, got {n!r}')
        self.history.update(value)
        if n != 1:
            self._record_surplus(value, n - 1)
        self._until_fold -= 1
        if self._until_fold == 0:
            self._fold()

    def reset(self) -> None:
        """Forget all values."""
        self._begin = self._position
        self._set_totals(0.0, 0)

    def synchronize_between_processes(self) -> None:
        """Add up ``count`` and ``total`` over all ranks; the window stays this rank's own.

        Does nothing without ``torch.distributed``. Waits for the values.
        """
        add_up({'': self})

    # ---- statistics ----

    @property
    def median(self) -> float:
        """Median of the window: of an even number of values, the lower of the two in the middle."""
        position, size = self._window
        if size == 0:
            return math.nan
        # The product of this quantile and size - 1 is exactly the integer that it was made of.
        quantile = (size - 1) // 2 / max(size - 1, 1)
        middle = self.history.quantile(quantile, size, at=position)
        is_float = self.history._kinds[0] == 2
        return array('f', (middle,))[0] if is_float else int(middle)

    @property
    def avg(self) -> float:
        """Mean of the window."""
        values = array('f', self.deque)
        torch: Any = sys.modules.get('torch')
        if len(values) == 0:
            return math.nan
        # Each sums float32 in an order of its own.
        return float(
            np.mean(values) if torch is None else torch.frombuffer(values, dtype=torch.float32).mean()
        )

    @property
    def exact_avg(self) -> float:
        """The same in double precision, sooner."""
        position, size = self._window
        return self.history.mean(size, at=position).item() if size else math.nan

    @property
    def global_avg(self) -> float:
        """Mean of all values, each as often as it counts."""
        if self._is_plain:
            return self.history.mean(at=self._position).item()
        count = self.count
        return self.total / count if count else math.nan

    @property
    def max(self) -> float:
        """The largest value of the window."""
        return max(self.deque, default=math.nan)

    @property
    def value(self) -> float:
        """The newest value."""
        position, size = self._window
        return self.history.current(at=position).item() if size else math.nan

    @property
    def count(self) -> float:
        """How many values there were, each as often as it counts. Does not wait."""
        count = self._totals.count(self._position)
        return count if self._surplus is None else count + self._surplus.count(self._surplus_position)

    @count.setter
    def count(self, count: float) -> None:
        self._set_totals(self.total, count)

    @property
    def total(self) -> float:
        """Sum of all values, each as often as it counts."""
        total = self._totals.sum(self._position)
        return total if self._surplus is None else total + self._surplus.sum(self._surplus_position)

    @total.setter
    def total(self, total: float) -> None:
        self._set_totals(total, self.count)

    @property
    def deque(self) -> tuple[Any, ...]:
        """The values of the window, oldest first: a copy."""
        position, size = self._window
        return tuple(self.history._arrays(position, size)[0].tolist())

    def __str__(self) -> str:
        return self.fmt.format_map(_Fields(self))

    # ---- inside ----

    def _use(self, history: HistoryBuffer) -> None:
        """Take an empty history for the values, in place of the one made for them."""
        self.history = history
        self._begin = 0  # position of the oldest value that counts
        self._is_plain = True  # all values are in the ring, and each counts once
        self._totals = Totals(history)
        self._surplus: Totals | None = None  # of what values count for beyond once
        self._until_fold = FOLD_EVERY

    def _as_of(self, now: HubAt, key: str) -> SmoothedValue:
        """Return this meter as it is now, to be asked when the positions of its histories are known."""
        frozen = copy.copy(self)
        frozen._now, frozen._key = now, key
        now.add(key, self.history)  # one with an update of its own is not in the hub
        if self._surplus is not None:
            now.add(_surplus_of(key), self._surplus.history)
        return frozen

    def _record_surplus(self, value: Any, times: Any) -> None:
        if self._surplus is None:
            self._surplus, self._is_plain = Totals(HistoryBuffer()), False
        self._surplus.history.update(_product(value, times), times)

    def _fold(self) -> None:
        self._until_fold, self._is_plain = FOLD_EVERY, False
        self._totals = self._totals.folded()
        self._surplus = None if self._surplus is None else self._surplus.folded()

    def _set_totals(self, total: float, count: float) -> None:
        self._totals = Totals(self.history, self._position, total, count)
        self._surplus, self._is_plain = None, False

    @property
    def _position(self) -> int:
        """Where the history stands."""
        return _settled(self.history) if self._now is None else self._now.positions[self._key]

    @property
    def _window(self) -> tuple[int, int]:
        """Where the window ends, and how many values it has."""
        position = self._position
        return position, min(self._window_size, position - self._begin)

    @property
    def _surplus_position(self) -> int:
        assert self._surplus is not None
        if self._now is None:
            return _settled(self._surplus.history)
        return self._now.positions[_surplus_of(self._key)]


def _settled(history: HistoryBuffer) -> int:
    """Return where a history stands, waiting for replays of CUDA graphs that record into it."""
    if _core.has_captures({'': history}):
        history.count()
    return history.position


def _surplus_of(key: str) -> str:
    return f'{key}, beyond once'


def _new_history(max_length: int) -> HistoryBuffer:
    """Return an empty history that stays one of integers until another number comes."""
    history = HistoryBuffer()
    history._reset(max_length, 0, 1, None)
    return history


class _Fields:
    """What a format string may name, asked only for what it does name."""

    def __init__(self, meter: SmoothedValue) -> None:
        self._meter = meter

    def __getitem__(self, name: str) -> Any:
        return getattr(self._meter, name)


def _product(value: Any, times: float) -> Any:
    """Return ``value * times``, in double precision where the device has it, without waiting for one."""
    if type(value) is float or type(value) is int:
        return value * times
    torch = sys.modules.get('torch')
    if torch is not None and isinstance(value, torch.Tensor):
        has_double = value.device.type in ('cpu', 'cuda')
        return value.detach().to(torch.float64 if has_double else torch.float32) * times
    if isinstance(value, np.ndarray):
        value = value.item()
    return float(value) * times if isinstance(value, Real) else value * times
