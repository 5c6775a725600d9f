"""Which entries of which history a number of a line is of."""

from __future__ import annotations

from typing import Any, NamedTuple

# Statistics that do not weigh more where there are more entries.
_UNWEIGHTED = ('current', 'sum', 'count', 'min', 'max')


class Source(NamedTuple):
    """The newest ``size`` entries as of ``position``, and the statistic of them that is shown."""

    name: str  # of the history, without its mode
    buffer: Any
    position: int
    size: int
    method: str

    def nan_count(self) -> int:
        """Return how many of the entries are NaN; 0 where the history cannot tell."""
        if not hasattr(self.buffer, 'nan_count'):
            return 0
        return int(self.buffer.nan_count(max(self.size, 1), at=self.position))

    def weight(self) -> float:
        """Return its weight in a mean of several: the sum of the counts, 1 for single values."""
        if self.method in _UNWEIGHTED or not hasattr(self.buffer, 'count'):
            return 1.0
        return float(self.buffer.count(max(self.size, 1), at=self.position))
