"""Fewer points for the same picture."""

from __future__ import annotations

import numpy as np

from ringmeter.readers._run import Numbers


def newest(x: Numbers) -> slice | np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which points count where a resumed run went back: those that no later point is before or at."""
    if not len(x) or (np.diff(x) > 0).all():
        return slice(None)
    later = np.minimum.accumulate(x[::-1])[::-1]
    return np.append(x[:-1] < later[1:], True)


def decimate(x: Numbers, y: Numbers, columns: int) -> tuple[Numbers, Numbers]:
    """Return the points that a line needs so that it looks the same on so many columns of pixels.

    Of each column these are the first, the least, the greatest and the last one: no spike is lost. A NaN
    stays where nothing else is in its column.

    Args:
        x: Not descending.
        y: The values.
        columns: How many columns of pixels there are.
    """
    if len(x) <= 4 * columns:
        return x, y
    span = (x[-1] - x[0]) or 1.0
    column = np.minimum((x - x[0]) / span * columns, columns - 1).astype(np.int64)
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    ends = np.append(starts[1:], len(x)) - 1
    is_finite = np.isfinite(y)
    group = np.repeat(np.arange(len(starts)), ends - starts + 1)
    parts = [starts, ends]
    for extreme, fill in ((np.minimum, np.inf), (np.maximum, -np.inf)):
        filled = np.where(is_finite, y, fill)
        is_extreme = is_finite & (filled == extreme.reduceat(filled, starts)[group])
        where = np.flatnonzero(is_extreme)
        _, first = np.unique(group[where], return_index=True)
        parts.append(where[first])
    has_finite = np.logical_or.reduceat(is_finite, starts)
    chosen = np.unique(np.concatenate(parts))
    chosen = chosen[is_finite[chosen] | ~has_finite[group[chosen]]]
    return x[chosen], y[chosen]
