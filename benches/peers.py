"""What ringmeter is measured against, and histories of the same values in each of them."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence

import fvcore.common.history_buffer as fvcore
import mmengine.logging as mmengine
import numpy as np
import torch

import ringmeter

KEY = 'train/loss'


class SmoothedValue:
    """The meter of torchvision's reference scripts, which DETR, MAE and DINO carry along."""

    def __init__(self, window_size: int = 20) -> None:
        self.deque: deque[float] = deque(maxlen=window_size)
        self.total = 0.0
        self.count = 0

    def update(self, value: float, n: int = 1) -> None:
        """Record a value."""
        self.deque.append(value)
        self.count += n
        self.total += value * n

    @property
    def median(self) -> float:
        """Lower median of the window."""
        return torch.tensor(list(self.deque)).median().item()

    @property
    def avg(self) -> float:
        """Mean of the window."""
        return torch.tensor(list(self.deque), dtype=torch.float32).mean().item()

    @property
    def global_avg(self) -> float:
        """Mean of everything ever recorded."""
        return self.total / self.count

    @property
    def max(self) -> float:
        """Largest value of the window."""
        return max(self.deque)

    @property
    def value(self) -> float:
        """The newest value."""
        return self.deque[-1]


def some_values(n: int, seed: int = 0) -> list[float]:
    """Return numbers such as a noisy loss takes."""
    source = random.Random(seed)
    return [source.gauss(1.0, 0.3) for _ in range(n)]


def our_buffer(values: Sequence[float], max_length: int = 1_000_000) -> ringmeter.HistoryBuffer:
    """Return a history of ours that recorded ``values`` one by one."""
    buffer = ringmeter.HistoryBuffer(max_length=max_length)
    for value in values:
        buffer.update(value)
    return buffer


def mmengine_buffer(values: Sequence[float], max_length: int = 1_000_000) -> mmengine.HistoryBuffer:
    """Return mmengine's history of ``values``, made at once: one by one, a million take ten minutes."""
    newest = np.array(values[-max_length:])
    return mmengine.HistoryBuffer(newest, np.ones(len(newest), dtype=np.int64), max_length)


def fvcore_buffer(values: Sequence[float], max_length: int = 1_000_000) -> fvcore.HistoryBuffer:
    """Return fvcore's history of ``values``."""
    buffer = fvcore.HistoryBuffer(max_length)
    for value in values:
        buffer.update(value)
    return buffer


def smoothed_value(values: Sequence[float], window_size: int = 20) -> SmoothedValue:
    """Return a meter that recorded ``values``."""
    meter = SmoothedValue(window_size)
    for value in values:
        meter.update(value)
    return meter


def our_hub(buffers: dict[str, ringmeter.HistoryBuffer]) -> ringmeter.MessageHub:
    """Return a hub of ours that holds these histories."""
    return ringmeter.MessageHub('bench', log_scalars=buffers, resumed_keys=dict.fromkeys(buffers, True))


def mmengine_hub(buffers: dict[str, mmengine.HistoryBuffer]) -> mmengine.MessageHub:
    """Return mmengine's hub that holds these histories."""
    return mmengine.MessageHub('bench', log_scalars=buffers, resumed_keys=dict.fromkeys(buffers, True))


def shortened(buffer: fvcore.HistoryBuffer, length: int) -> Callable[[], None]:
    """Return what takes fvcore's history back to ``length`` entries, to keep it from growing over rounds."""

    def shorten() -> None:
        del buffer._data[length:]

    return shorten
