"""One number of those of all ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._payload import Field

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Reduced(NamedTuple):
    """An item of a line, of all ranks."""

    value: Any
    nans: int
    entries: int
    most: float  # of any rank, and
    slowest: int  # which has it: of times only


def combine(
    fields: Sequence[Field], numbers: NDArray[np.float64], present: Bools, ranks: Sequence[int]
) -> dict[str, Reduced]:
    """Return every field, reduced over the ranks that have it. ``ranks`` are their numbers in the job."""
    if not fields:
        return {}
    values, weights, nans, entries = np.ascontiguousarray(np.moveaxis(numbers, 2, 0))
    with np.errstate(all='ignore'):  # infinities and NaNs are data
        results = np.zeros(len(fields))
        for how, function in _FUNCTIONS.items():
            columns = [column for column, field in enumerate(fields) if field.how == how]
            if columns:
                results[columns] = function(values[:, columns], weights[:, columns], present[:, columns])
    all_nans, all_entries = nans.sum(0).tolist(), entries.sum(0).tolist()
    reduced = {}
    for column, (field, value) in enumerate(zip(fields, results.tolist(), strict=True)):
        most, slowest = value, ranks[0]
        if field.name.endswith('time'):
            most, rank = _largest(values[:, column], present[:, column])
            slowest = ranks[rank]
        counts = int(all_nans[column]), int(all_entries[column])
        reduced[field.name] = Reduced(_typed(field, value), *counts, most, slowest)
    return reduced


def _largest(values: Floats, present: Bools) -> tuple[float, int]:
    """Return the largest number, and the row that has it. NaNs are none."""
    comparable = np.where(present & ~np.isnan(values), values, -np.inf)
    row = int(comparable.argmax())
    return float(comparable[row]), row


def _typed(field: Field, value: float) -> float | int:
    return int(value) if field.is_whole and field.how != 'mean' else value


def _mean(values: Floats, weights: Floats, present: Bools) -> Floats:
    """Weighted. A rank of weight 0 has nothing in its window, and counts only where that is so of all."""
    has_none = ~(present & (weights != 0)).any(axis=0)
    weights = np.where(has_none, 1.0, weights)
    counts = present & (weights != 0)
    total = np.where(counts, values * weights, 0.0).sum(axis=0)
    return np.asarray(total / np.where(counts, weights, 0.0).sum(axis=0))


def _sum(values: Floats, _: Floats, present: Bools) -> Floats:
    return np.asarray(np.where(present, values, 0.0).sum(axis=0))


def _min(values: Floats, _: Floats, present: Bools) -> Floats:
    return np.asarray(np.where(present, values, np.inf).min(axis=0))


def _max(values: Floats, _: Floats, present: Bools) -> Floats:
    return np.asarray(np.where(present, values, -np.inf).max(axis=0))


def _first(values: Floats, _: Floats, present: Bools) -> Floats:
    return np.asarray(values[present.argmax(axis=0), np.arange(values.shape[1])])


_FUNCTIONS = {'mean': _mean, 'sum': _sum, 'min': _min, 'max': _max, 'first': _first}
