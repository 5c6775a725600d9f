"""Totals of meters over all ranks, of up to 64 in one collective."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._errors import ArgumentError
from .._ranks import device_of, initialised_torch

if TYPE_CHECKING:
    from .smoothed_value import SmoothedValue

_NUMBERS_AT_ONCE = 2 * 64


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

    Every collective is of the same length and has a check sum of the names in front, so that ranks with other
    names get an error from the first and do not wait for each other.
    """
    check = zlib.crc32(repr(names).encode())
    device = device_of(torch)
    sums: list[float] = []
    for start in range(0, max(len(numbers), 1), _NUMBERS_AT_ONCE):
        block = numbers[start : start + _NUMBERS_AT_ONCE]
        padding = [0.0] * (_NUMBERS_AT_ONCE - len(block))
        tensor = torch.tensor([check, *block, *padding], dtype=torch.float64, device=device)
        torch.distributed.all_reduce(tensor)
        sum_of_checks, *rest = tensor.tolist()
        if sum_of_checks != check * torch.distributed.get_world_size():
            raise ArgumentError(f'meters must have the same names on every rank, got {", ".join(names)} here')
        sums += rest
    return sums
