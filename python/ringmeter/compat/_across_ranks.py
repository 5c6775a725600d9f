"""Totals of meters over all ranks, in one collective."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._errors import ArgumentError

if TYPE_CHECKING:
    from .smoothed_value import SmoothedValue

# Where each backend's tensors must be; others take them from the CPU.
_DEVICES = {'nccl': 'cuda', 'xccl': 'xpu', 'hccl': 'npu'}
_METERS_A_BLOCK = 64


def initialised_torch() -> Any:
    """Return torch when its ranks can talk to each other, else None."""
    torch = sys.modules.get('torch')
    if torch is None or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return None
    return torch


def add_up(meters: Mapping[str, SmoothedValue]) -> None:
    """Set ``count`` and ``total`` of each meter to their sums over all ranks.

    Every rank must call it, with meters of the same names in any order. Does nothing unless
    ``torch.distributed`` is initialised.

    Raises:
        ArgumentError: The names differ between ranks. Nothing was changed.
    """
    torch = initialised_torch()
    if torch is None:
        return
    names = sorted(meters)
    numbers = _sums(torch, names, [number for name in names for number in _totals(meters[name])])
    for name, count, total in zip(names, numbers[::2], numbers[1::2], strict=False):
        meters[name]._set_totals(total, round(count) if count.is_integer() else count)


def _totals(meter: SmoothedValue) -> tuple[float, float]:
    return float(meter.count), meter.total


def _sums(torch: Any, names: list[str], numbers: list[float]) -> list[float]:
    """Return the sum of each number over all ranks.

    In front goes a check sum of the names, and the length is one of few, so that ranks with other names get
    an error and do not wait for each other.
    """
    check = zlib.crc32(repr(names).encode())
    padding = [0.0] * (-len(numbers) % (2 * _METERS_A_BLOCK))
    device = _DEVICES.get(torch.distributed.get_backend(), 'cpu')
    tensor = torch.tensor([check, *numbers, *padding], dtype=torch.float64, device=device)
    torch.distributed.all_reduce(tensor)
    numbers = tensor.tolist()
    sum_of_checks, sums = numbers[0], numbers[1:]
    if sum_of_checks != check * torch.distributed.get_world_size():
        raise ArgumentError(f'meters must have the same names on every rank, got {", ".join(names)} here')
    return sums
