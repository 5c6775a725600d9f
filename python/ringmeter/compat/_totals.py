"""Sums over everything that was ever recorded."""

from __future__ import annotations

from dataclasses import dataclass

from ..history_buffer import HistoryBuffer

# Values between two folds: a quarter of what a ring keeps, so that lines that wait still find theirs.
FOLD_EVERY = 2**18


@dataclass(frozen=True)
class Totals:
    """Sum and count of all that a history recorded, of which its ring has only the newest.

    One of these never changes: a line that waits keeps the one of its time.
    """

    history: HistoryBuffer
    start: int = 0  # of what the ring is asked for
    sum_before: float = 0.0  # of what was recorded before
    count_before: float = 0

    def sum(self, at: int) -> float:
        """Return the sum of all values until a position, waiting for those that have not landed."""
        newer = at - self.start
        return self.sum_before + (float(self.history.sum(newer, at=at)) if newer > 0 else 0.0)

    def count(self, at: int) -> float:
        """Return the sum of their counts."""
        newer = at - self.start
        count = self.count_before + (self.history.count(newer, at=at).item() if newer > 0 else 0)
        return int(count) if count == int(count) else count

    def folded(self) -> Totals:
        """Return the same, needing no longer what has landed to be in the ring."""
        landed = max(self.start, self.history.landed)
        return Totals(self.history, landed, self.sum(landed), self.count(landed))
