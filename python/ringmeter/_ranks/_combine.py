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
    most: float  # of any rank
    slowest: int  # the rank that has the most


def combine(
    fields: Sequence[Field], numbers: NDArray[np.float64], present: Bools, ranks: Sequence[int]
) -> dict[str, Reduced]:
    """Return every field, reduced over the ranks that have it. ``ranks`` are their numbers in the job."""
    if not fields:
        return {}
    values, weights, nans, entries = np.moveaxis(numbers, 2, 0)
    with np.errstate(all='ignore'):  # infinities and NaNs are data
        results = np.zeros(len(fields))
        for how, function in _FUNCTIONS.items():
            columns = [column for column, field in enumerate(fields) if field.how == how]
            if columns:
                results[columns] = function(values[:, columns], weights[:, columns], present[:, columns])
        comparable = np.where(present & ~np.isnan(values), values, -np.inf)
    slowest = comparable.argmax(axis=0)
    most = comparable[slowest, np.arange(len(fields))]
    columns_of_all = zip(
        fields,
        results.tolist(),
        nans.sum(0).tolist(),
        entries.sum(0).tolist(),
        most.tolist(),
        slowest,
        strict=True,
    )
    return {
        field.name: Reduced(_typed(field, value), int(n), int(size), high, ranks[rank])
        for field, value, n, size, high, rank in columns_of_all
    }


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
