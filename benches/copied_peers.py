"""torchvision's MetricLogger and detectron2's EventStorage, as far as their time goes.

Neither is in a package that could be installed. These are written after them and do per call what they do:
each tensor is read by itself, every statistic of a meter is computed for its text whether it is shown or
not, windows become torch tensors, and histories are fvcore's.
"""

from __future__ import annotations

import datetime
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import fvcore.common.history_buffer as fvcore
import torch
from peers import SmoothedValue


class Meter(SmoothedValue):
    """A SmoothedValue with its text."""

    def __init__(self, fmt: str = '{median:.4f} ({global_avg:.4f})') -> None:
        super().__init__()
        self.fmt = fmt

    def __str__(self) -> str:
        return self.fmt.format(
            median=self.median, avg=self.avg, global_avg=self.global_avg, max=self.max, value=self.value
        )


class MetricLogger:
    """As torchvision's detection reference has it; lines go nowhere but into ``line``."""

    def __init__(self) -> None:
        self.meters: defaultdict[str, Meter] = defaultdict(Meter)
        self.line = ''

    def update(self, **values: Any) -> None:
        """Record values."""
        for name, value in values.items():
            number = value.item() if isinstance(value, torch.Tensor) else value
            if not isinstance(number, float | int):
                raise TypeError(name)
            self.meters[name].update(number)

    def __str__(self) -> str:
        return '  '.join(f'{name}: {meter!s}' for name, meter in self.meters.items())

    def log_every(self, batches: Sequence[int], print_freq: int) -> Iterator[int]:
        """Iterate, with lines."""
        times, data_times = Meter('{avg:.4f}'), Meter('{avg:.4f}')
        end = time.time()
        for i, batch in enumerate(batches):
            data_times.update(time.time() - end)
            yield batch
            times.update(time.time() - end)
            if i % print_freq == 0 or i == len(batches) - 1:
                eta = datetime.timedelta(seconds=int(times.global_avg * (len(batches) - i)))
                torch.cuda.is_available()
                self.line = (
                    f'  [{i:{len(str(len(batches)))}d}/{len(batches)}]  eta: {eta}  {self!s}  '
                    f'time: {times!s}  data: {data_times!s}'
                )
            end = time.time()


class EventStorage:
    """As detectron2 has it."""

    def __init__(self) -> None:
        self.iter = 0
        self.prefix = ''
        self.histories: defaultdict[str, fvcore.HistoryBuffer] = defaultdict(fvcore.HistoryBuffer)
        self.newest: dict[str, tuple[float, int]] = {}
        self.hints: dict[str, bool] = {}

    def put_scalar(
        self, name: str, value: Any, smoothing_hint: bool = True, cur_iter: int | None = None
    ) -> None:
        """Record a value."""
        name = self.prefix + name
        iteration = self.iter if cur_iter is None else cur_iter
        history = self.histories[name]
        number = float(value)
        history.update(number, iteration)
        self.newest[name] = (number, iteration)
        if self.hints.setdefault(name, smoothing_hint) != smoothing_hint:
            raise ValueError(name)

    def put_scalars(self, *, smoothing_hint: bool = True, cur_iter: int | None = None, **values: Any) -> None:
        """Record values."""
        for name, value in values.items():
            self.put_scalar(name, value, smoothing_hint=smoothing_hint, cur_iter=cur_iter)

    def step(self) -> None:
        """Go on to the next iteration."""
        self.iter += 1

    def count_samples(self, name: str, window_size: int) -> int:
        """Number of values in the last iterations."""
        values = self.histories[name].values()
        count = 0
        for _, iteration in reversed(values):
            if iteration <= values[-1][1] - window_size:
                break
            count += 1
        return count

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[Any, int]]:
        """What writers write."""
        return {
            name: (self.histories[name].median(self.count_samples(name, window_size)), iteration)
            for name, (_, iteration) in self.newest.items()
        }
