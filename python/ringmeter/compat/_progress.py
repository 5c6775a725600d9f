"""What ``MetricLogger.log_every`` prints of one pass over a loader."""

from __future__ import annotations

import copy
import datetime
import operator
import sys
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from .._errors import ArgumentError, ArgumentTypeError
from .._landing import HubAt
from .._timing import LoopTimer
from ..history_buffer import HistoryBuffer
from ..message_hub import MessageHub
from .smoothed_value import SmoothedValue


class Variant(NamedTuple):
    """In what the lines of the projects that carry the class along differ."""

    meter_digits: int
    time_digits: int
    ends_with_line: bool  # of the last iteration, and seconds per iteration behind the total time


VARIANTS = {
    'torchvision': Variant(4, 4, False),
    'detr': Variant(4, 4, True),
    'dino': Variant(6, 6, True),
    'dinov2': Variant(4, 6, True),
}


class Progress:
    """The times of a pass over a loader, and the text of its lines.

    Args:
        hub: Where the times are recorded meanwhile.
        name: Theirs in it.
        total: Number of iterations.
        header: What lines begin with.
        delimiter: What is between the parts of a line.
        variant: The form of the lines.
    """

    def __init__(
        self, hub: MessageHub, name: str, total: int, header: str, delimiter: str, variant: Variant
    ) -> None:
        self._hub = hub
        self._total = total
        self._header = header
        self._delimiter = delimiter
        self._variant = variant
        self._start = time.perf_counter()
        self._keys = f'{name}/time', f'{name}/data_time'
        self.time, self.data_time = (self._make_meter(key) for key in self._keys)
        self.timer = LoopTimer(hub, name, with_idle_time=False)

    def _make_meter(self, key: str) -> SmoothedValue:
        meter = SmoothedValue()
        history = self._hub.log_scalars[key] = HistoryBuffer()
        meter._use(history)
        return meter

    def close(self) -> None:
        """The times are needed no longer."""
        for key in self._keys:
            self._hub.log_scalars.pop(key, None)
            self._hub._resumed_keys.pop(key, None)

    def as_of(self, now: HubAt) -> Progress:
        """Return this as it is now, to be asked when the positions of the histories are known."""
        frozen = copy.copy(self)
        frozen.time, frozen.data_time = (
            meter._as_of(now, key) for meter, key in zip((self.time, self.data_time), self._keys, strict=True)
        )
        return frozen

    def is_due(self, iteration: int, print_freq: int) -> bool:
        is_last = self._variant.ends_with_line and iteration == self._total - 1
        return iteration % print_freq == 0 or is_last

    def line(self, iteration: int, meters: str, memory: float | None) -> str:
        """Return the line of an iteration; ``memory`` is in bytes."""
        eta, digits = self.time.global_avg * (self._total - iteration), self._variant.time_digits
        parts = [
            self._header,
            f'[{iteration:{len(str(self._total))}d}/{self._total}]',
            f'eta: {_clock(eta)}',
            meters,
            f'time: {self.time.exact_avg:.{digits}f}',
            f'data: {self.data_time.exact_avg:.{digits}f}',
        ]
        if memory is not None:
            parts.append(f'max mem: {memory / 2**20:.0f}')
        return self._delimiter.join(parts)

    def closing_line(self) -> str:
        seconds = time.perf_counter() - self._start
        line = f'{self._header} Total time: {_clock(seconds)}'
        if not self._variant.ends_with_line:
            return line
        return f'{line} ({seconds / max(self._total, 1):.{self._variant.time_digits}f} s / it)'


def at_least_1(name: str, number: Any) -> int:
    """Return a number of iterations, or raise an error unless it is one."""
    try:
        number = operator.index(number)
    except TypeError:
        raise ArgumentTypeError(f'{name} must be an int, got {number!r}') from None
    if number < 1:
        raise ArgumentError(f'{name} must be at least 1, got {number}')
    return int(number)


def number_of_iterations(iterable: Iterable[Any], given: int | None) -> int:
    """Return it, or raise an error when it is not known."""
    if given is not None:
        return at_least_1('n_iterations', given)
    try:
        return len(iterable)  # type: ignore[arg-type]
    except TypeError:
        raise ArgumentTypeError(
            f'n_iterations must be given for an iterable without len(), got {type(iterable).__name__}'
        ) from None


def max_memory() -> float | None:
    """Return the most bytes that tensors took on the current CUDA device; None without one. Does not wait."""
    torch = sys.modules.get('torch')
    if torch is None or not torch.cuda.is_available():
        return None
    return float(torch.cuda.max_memory_allocated())


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(seconds)))
