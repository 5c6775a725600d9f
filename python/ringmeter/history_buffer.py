"""One named history of numbers, with statistics over any window of it."""

from __future__ import annotations

import math
import operator
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core
from ._errors import ArgumentError, ArgumentTypeError, ScalarError

_MOST = 2**32  # 34 GB, and a directory of 2 MB from the start
_KINDS = {'b': 0, 'i': 1, 'u': 1, 'f': 2}
_DTYPES: tuple[type, ...] = (np.bool_, np.int64, np.float64)


@dataclass(frozen=True)
class ReplayTotals:
    """What replays of CUDA graphs recorded into one history: of values that are no NaN, but for ``last``."""

    count: int  # NaNs included
    nans: int
    sum: float
    min: float
    max: float
    last: Any  # of the scalar that was captured last
    lost: int  # how many of them were overwritten before the history got them, as far as it is known


class HistoryBuffer(_core.History):
    """The newest ``max_length`` values recorded under one name.

    Recording takes the same time at any length and from any number of threads. Statistics are exact: a
    sum is within 1 ulp of ``math.fsum``, a mean within 1 ulp of that divided by the sum of the counts, and a
    NaN or infinity counts as long as it is in the window.

    Every statistic takes ``at=position``, a number that :attr:`position` had earlier, and answers what it
    would have answered then, as long as the values it needs are still in the ring: those of the last 1024
    positions always are. The dtype of the answer is that of the history now.

    Args:
        log_history: Values to begin with, bool, int or float.
        count_history: Their counts, as many.
        max_length: How many of the newest values are kept.

    Raises:
        ArgumentError: The lengths differ, or ``max_length`` is not from 1 to 2**32.
        ArgumentTypeError: ``max_length`` is not an int.
        ScalarError: The values or counts are not real numbers.

    Examples:
        >>> buffer = HistoryBuffer()
        >>> for value in (1.0, 2.0, 6.0):
        ...     buffer.update(value)
        >>> float(buffer.mean()), float(buffer.mean(2)), float(buffer.max())
        (3.0, 4.0, 6.0)
        >>> float(buffer.mean(2, at=2))  # as it was before the third
        1.5
        >>> float(buffer.statistics('quantile', 0.5))
        2.0
    """

    # Hubs make instances without calling __init__, so there is nothing here but what the core keeps.

    _statistics_methods: ClassVar[dict[str, Callable[..., Any]]] = {}

    def __init__(
        self, log_history: ArrayLike = (), count_history: ArrayLike = (), max_length: int = 1_000_000
    ) -> None:
        values, counts = np.asarray(log_history).ravel(), np.asarray(count_history).ravel()
        if len(values) != len(counts):
            raise ArgumentError(
                f'log_history and count_history must be of equal length, got {len(values)} and {len(counts)}'
            )
        max_length = check_max_length(max_length)
        if len(values) > max_length:
            warnings.warn(
                f'The length of history buffer({len(values)}) exceeds the max_length({max_length}), '
                'the first few elements will be ignored.',
                stacklevel=2,
            )
        self._fill(values[-max_length:], counts[-max_length:], max_length, None)

    def _fill(self, values: NDArray[Any], counts: NDArray[Any], max_length: int, key: str | None) -> None:
        kinds = []
        for name, array in (('log_history', values), ('count_history', counts)):
            if array.dtype.kind not in _KINDS:
                raise ScalarError(f'{name} must hold real numbers, got an array of {array.dtype}')
            kinds.append(_KINDS[array.dtype.kind])
        is_whole = counts.dtype.kind != 'f' and len(counts) > 0
        if not np.isfinite(counts).all() or (is_whole and max(int(counts.max()), -int(counts.min())) > 2**53):
            raise ScalarError('count_history must hold finite numbers, and integers of at most 2**53')
        high, low = _split(values)
        self._reset(max_length, kinds[0], kinds[1], key)
        self._extend(high, low, np.ascontiguousarray(counts, dtype=np.float64))

    @classmethod
    def register_statistics(cls, method: Callable[..., Any]) -> Callable[..., Any]:
        """Make a function available as ``statistics(method.__name__, ...)`` and in ``custom_cfg``.

        It gets the buffer as its first argument and may read ``_log_history`` and ``_count_history``.

        Raises:
            ArgumentError: The name is one of mmengine's own four (``mean max min current``), or was
                registered before.
        """
        name = method.__name__
        if name in cls._statistics_methods and name not in _EXTRAS:
            raise ArgumentError(f'statistic must have a name that is free, got {name!r}')
        _EXTRAS.discard(name)
        cls._statistics_methods[name] = method
        return method

    def statistics(self, method_name: str, *arg: Any, **kwargs: Any) -> Any:
        """Call a statistic by its name, with the arguments that it takes.

        Raises:
            KeyError: There is no statistic of that name.
        """
        method = self._statistics_methods.get(method_name) or _OURS.get(method_name)
        if method is None:
            where = '' if self.key is None else f'series {self.key!r}: '
            known = ', '.join(sorted(self._statistics_methods))
            raise KeyError(f'{where}statistic must be one of {known}, got {method_name!r}')
        if 'at' in kwargs and method is not _OURS.get(method_name):
            return method(self.as_of(kwargs.pop('at')), *arg, **kwargs)
        return method(self, *arg, **kwargs)

    def as_of(self, position: SupportsIndex) -> HistoryBuffer:
        """Return a copy of the history as it was at an earlier position.

        Raises:
            ArgumentError: The position is not between 0 and :attr:`position`, or is too far back.
        """
        self.count(at=position)  # checks it
        values, counts = self._arrays(operator.index(position))
        copy = _new(type(self))
        copy._fill(values, counts, self.max_length, self.key)
        return copy

    def replay_totals(self) -> ReplayTotals | None:
        """Return what replays of CUDA graphs recorded in all: None when no graph records here.

        The device counts by itself. Of replays that nobody looked at in time the history has only the newest
        65,536 values of all keys together, but these totals know of every one.
        """
        parts = _core.replay_totals(self)
        if not parts:
            return None
        counts, nans, sums, least, most, last = zip(*parts, strict=True)
        with_numbers = [index for index, count in enumerate(counts) if count > nans[index]]
        lost = sum(number for history, number in _core.lost_replays() if history is self)
        return ReplayTotals(
            sum(counts),
            sum(nans),
            sum(sums),
            min((least[index] for index in with_numbers), default=math.nan),
            max((most[index] for index in with_numbers), default=math.nan),
            last[-1],
            lost,
        )

    @property
    def data(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Copies of the values and their counts, oldest first, in the dtype of the history."""
        return self._arrays(None)

    @property
    def _log_history(self) -> NDArray[Any]:
        return self._arrays(None)[0]

    @property
    def _count_history(self) -> NDArray[Any]:
        return self._arrays(None)[1]

    def _arrays(self, at: int | None, newest: int | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
        if at is None:
            nothing = np.empty(0)
            self._copy(at, nothing, nothing, nothing)  # waits for replays, which make it longer
        n = len(self) if at is None else min(at, self.max_length)
        if newest is not None:
            n = min(n, newest)
        high, low, counts = np.empty(n), np.empty(n), np.empty(n)
        self._copy(at, high, low, counts)
        kind, count_kind = self._kinds
        values: NDArray[Any] = _join(high, low) if kind == 1 else high.astype(_DTYPES[kind], copy=False)
        return values, counts.astype(_DTYPES[count_kind], copy=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return _new, (type(self),), self.__getstate__()

    def __getstate__(self) -> dict[str, Any]:
        # The names are mmengine's, so that its states load here as they are.
        values, counts = self.data
        return self.__dict__ | {
            '_log_history': values,
            '_count_history': counts,
            'max_length': self.max_length,
            'key': self.key,
            'statistics_methods': self._registered_statistics(),
        }

    def _registered_statistics(self) -> dict[str, Callable[..., Any]]:
        """Return the user's own, of those that another process finds by their names."""
        return {
            name: method
            for name, method in self._statistics_methods.items()
            if method is not _OURS.get(name) and _is_importable(method)
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        for name, method in state.pop('statistics_methods', {}).items():
            self._statistics_methods.setdefault(name, method)
        self._fill(
            np.asarray(state.pop('_log_history')),
            np.asarray(state.pop('_count_history')),
            state.pop('max_length'),
            state.pop('key', None),
        )
        self.__dict__.update(state)

    def __repr__(self) -> str:
        newest = f', current={self.current()}' if len(self) else ''
        return f'{type(self).__name__}(key={self.key!r}, length={len(self)}{newest})'


def check_max_length(max_length: SupportsIndex) -> int:
    """Return ``max_length``, or raise an error unless a history can be that long."""
    try:
        length = operator.index(max_length)
    except TypeError:
        raise ArgumentTypeError(f'max_length must be an int, got {max_length!r}') from None
    if not 1 <= length <= _MOST:
        raise ArgumentError(f'max_length must be from 1 to {_MOST}, got {max_length!r}')
    return length


def _new(cls: type[HistoryBuffer]) -> HistoryBuffer:
    return cls.__new__(cls)


def _split(values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Split integers into doubles and what those are short of; zero unless beyond 2**53."""
    high = np.ascontiguousarray(values, dtype=np.float64)
    low = np.zeros_like(high)
    if values.dtype.kind in 'iu' and values.dtype.itemsize == 8 and np.any(np.abs(high) >= 2.0**53):
        rest = values & values.dtype.type(2047)  # the upper 53 bits are exact, and so are these 11
        coarse = (values - rest).astype(np.float64)
        low = rest.astype(np.float64) - (high - coarse)
    return high, low


def _join(high: NDArray[np.float64], low: NDArray[np.float64]) -> NDArray[Any]:
    """Undo :func:`_split`: int64, uint64 when a value takes that, float64 when another is negative."""
    if low.any() or (len(high) and np.abs(high).max() >= 2.0**63):
        whole = [int(h) + int(rest) for h, rest in zip(high, low, strict=True)]
        is_small = max(whole) < 2**63
        return np.array(whole, dtype=np.int64 if is_small else np.uint64 if min(whole) >= 0 else np.float64)
    return high.astype(np.int64)


def _is_importable(method: Callable[..., Any]) -> bool:
    """Whether another process finds it by its name; its ``__main__`` may be another script."""
    module = getattr(method, '__module__', None)
    found: Any = None if module == '__main__' else sys.modules.get(module or '')
    for name in getattr(method, '__qualname__', '').split('.'):
        found = getattr(found, name, None)
    return found is method


_core.add_history_class(HistoryBuffer)

_NAMES = ('current', 'mean', 'min', 'max', 'median', 'sum', 'std', 'ema', 'quantile', 'count')
_OURS = {name: getattr(HistoryBuffer, name) for name in _NAMES}
# Names that mmengine leaves free: code written for it may register its own.
_EXTRAS = set(_NAMES) - {'current', 'mean', 'min', 'max'}
HistoryBuffer._statistics_methods.update(_OURS)
