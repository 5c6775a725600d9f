"""One value for the micro-batches of an iteration."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from ._errors import ScalarError
from ._scalars import as_number


class MicroBatches:
    """Means of scalars over micro-batches, computed where they are: nothing waits for a device."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[Any, Any]] = {}  # of the values and of the counts
        self._with_count: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._sums)

    def add(self, scalars: Mapping[str, Any]) -> None:
        """Add the scalars of a micro-batch, given as for ``MessageHub.update_scalars``.

        Raises:
            ScalarError: One is not one real number. Nothing was added.
        """
        new = {key: _summands(key, value) for key, value in scalars.items()}
        for key, (value, count) in new.items():
            known = self._sums.get(key)
            self._sums[key] = (value, count) if known is None else (known[0] + value, known[1] + count)
        self._with_count.update(key for key, value in scalars.items() if isinstance(value, dict))

    def take(self) -> dict[str, Any]:
        """Return the means, and begin anew. Those of values with counts still have their sum."""
        sums, with_count = self._sums, self._with_count
        self._sums, self._with_count = {}, set()
        return {
            key: {'value': value, 'count': count} if key in with_count else value / count
            for key, (value, count) in sums.items()
        }


def _summands(key: str, value: Any) -> tuple[Any, Any]:
    if isinstance(value, dict) and 'value' in value:
        return _summand(key, value['value']), _count(key, value.get('count', 1))
    return _summand(key, value), 1


def _count(key: str, count: Any) -> int:
    try:
        number = count if isinstance(count, int) else as_number(count, key)
    except ScalarError:
        number = None
    if not isinstance(number, int):
        raise ScalarError(f'series {key!r}: count must be an int, got {count!r}')
    return number


def _summand(key: str, value: Any) -> Any:
    """Return a number, or a copy of a tensor that does not overflow when it is added up."""
    if isinstance(value, float | int):
        return value
    torch = sys.modules.get('torch')
    if torch is None or not isinstance(value, torch.Tensor) or value.numel() != 1:
        return as_number(value, key)
    if value.is_complex() or value.is_meta:
        return as_number(value, key)
    dtype = torch.float32 if value.device.type == 'mps' else torch.float64
    try:
        return value.detach().reshape(()).to(dtype, copy=True)
    except RuntimeError:  # a sparse or nested one
        return as_number(value, key)
