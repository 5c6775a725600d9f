"""Which entries of which history a number of a line is of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

# The key, the statistic, the number's weight in a mean of several, how many entries it is of, the history,
# and the position as of which they are its newest.
Source = tuple[str, str, float, int, Any, int]

# Statistics that do not weigh more where there are more entries.
_UNWEIGHTED = ('current', 'sum', 'count', 'min', 'max')


def source_of(key: str, history: Any, position: int, method: str, window: Any) -> Source:
    """Return that of a statistic. A window that is no number is everything."""
    size = getattr(history, 'size', None)  # of an epoch
    entries = position if size is None else size
    if isinstance(window, int):
        entries = min(window, entries)
    weight = 1.0  # of single values, and where it is not known
    if method not in _UNWEIGHTED and hasattr(history, 'count'):
        weight = float(history.count(max(entries, 1), at=position))
    return key, method, weight, entries, history, position


def nan_count(source: Source) -> int:
    """Return how many of the entries are NaN; 0 where the history cannot tell."""
    _, _, _, entries, history, position = source
    if not hasattr(history, 'nan_count'):
        return 0
    return int(history.nan_count(max(entries, 1), at=position))


def with_nan_counts(scalars: dict[str, Any], sources: Mapping[str, Source]) -> dict[str, Any]:
    """Return what a line shows, with the number of NaNs in place of statistics that are one."""
    shown = scalars.copy()
    for name, value in scalars.items():
        is_nan = isinstance(value, float) and math.isnan(value)
        if not is_nan or name.endswith(('lr', 'time')) or name not in sources:
            continue
        nans = nan_count(sources[name])
        if nans:
            shown[name] = nan_text(nans, sources[name][3])
    return shown


def nan_text(nans: int, entries: int) -> str:
    """Return what a line shows of a statistic that is NaN."""
    return f'nan {nans}/{entries}'


def position_of(positions: Mapping[str, int] | None, key: str, buffer: Any) -> int:
    """Return the number of values ever recorded; in mmengine's own histories, of those that it still has.

    Args:
        positions: Of a hub as of an earlier time.
        key: Of the history.
        buffer: The history.
    """
    if positions is not None and key in positions:
        return int(positions[key])
    if hasattr(buffer, 'position'):
        return int(buffer.position)
    return len(buffer._log_history)


def not_reported(reported: Mapping[str, int], position: int, key: str) -> int:
    """Return the number of entries since the last line; all of them when the history was replaced."""
    new = position - reported.get(key, 0)
    return new if new >= 0 else position
