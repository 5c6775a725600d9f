"""One name of an EventStorage: its values, and the iteration of each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..history_buffer import HistoryBuffer
from ._totals import Totals


class EventHistory:
    """The newest 1,000,000 values of one name, with the methods of fvcore's ``HistoryBuffer``.

    Made by an :class:`EventStorage`. Every number is waited for if it is still on a device.

    Attributes:
        buffer: The :class:`ringmeter.HistoryBuffer` of the values, for any other statistic.
    """

    def __init__(
        self,
        name: str,
        buffer: HistoryBuffer,
        iterations: HistoryBuffer,
        totals: Totals | None = None,
        positions: Mapping[str, int] | None = None,
    ) -> None:
        self.buffer = buffer
        self._name = name
        self._iterations = iterations
        self._totals = totals or Totals(buffer)
        self._positions = positions  # as of which this is: None for now

    def latest(self) -> float:
        """Return the newest value."""
        return float(self.buffer.current(at=self._position))

    def latest_iteration(self) -> int:
        """Return the iteration of the newest value. Does not wait."""
        return int(self._iterations.current(at=self._position))

    def median(self, window_size: int) -> float:
        """Return the median of the newest ``window_size`` values."""
        return float(self.buffer.median(window_size, at=self._position))

    def avg(self, window_size: int) -> float:
        """Return their mean."""
        return float(self.buffer.mean(window_size, at=self._position))

    def global_avg(self) -> float:
        """Return the mean of all values that there ever were."""
        position = self._position
        return self._totals.sum(position) / self._totals.count(position)

    def values(self) -> list[tuple[float, int]]:
        """Return values and their iterations, oldest first."""
        position = self._position
        values = self.buffer._arrays(position)[0].astype(np.float64, copy=False)
        iterations = self._iterations._arrays(position)[0]
        return list(zip(values.tolist(), iterations.tolist(), strict=True))

    def count_samples(self, window_size: int) -> int:
        """Return how many of the newest values are of the last ``window_size`` iterations. Does not wait."""
        position = self._position
        oldest = self._iterations.current(at=position) - window_size
        newest = min(window_size, position)
        is_within = self._iterations.min(newest, at=position) > oldest
        if is_within and (newest == position or self._iterations.current(at=position - newest) <= oldest):
            return newest  # one value in each iteration
        while True:
            iterations = self._iterations._arrays(position, newest)[0]
            older = np.flatnonzero(iterations <= oldest)
            if len(older):
                return len(iterations) - 1 - int(older[-1])
            if len(iterations) < newest or newest == position:
                return len(iterations)
            newest *= 2  # iterations with several values

    @property
    def _position(self) -> int:
        # Iterations are recorded last: another thread may be between the two.
        return self._iterations.position if self._positions is None else self._positions[self._name]

    def _now(self) -> EventHistory:
        """Return this history as it is now, though other threads may go on recording."""
        return self._as_of({self._name: self._position})

    def _as_of(self, positions: Mapping[str, int]) -> EventHistory:
        """Return this history as it was at a position."""
        return EventHistory(self._name, self.buffer, self._iterations, self._totals, positions)

    def _fold(self) -> None:
        self._totals = self._totals.folded()
