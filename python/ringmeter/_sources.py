"""Which entries of which history a number of a line is of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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


class Sources:
    """Those of one line. To be asked before its entries count as reported.

    Args:
        hub: What it is of.
        mode: Likewise.
        rules: For the keys of the hub: None, or the name and whether it is averaged.
        custom_cfg: Those of single keys, with numbers for windows.
        window_size: Of the averages: a number or ``'interval'``.
        reported: Positions at the last line.
    """

    def __init__(
        self,
        hub: Any,
        mode: str,
        rules: Mapping[str, tuple[str, bool] | None],
        custom_cfg: Sequence[dict[str, Any]],
        window_size: int | str,
        reported: Mapping[str, int],
    ) -> None:
        self._buffers = hub.log_scalars
        self._positions = getattr(hub, 'positions', None)
        self._prefix = f'{mode}/'
        self._rules = rules
        self._by_name = {cfg.get('log_name', cfg['data_src']): cfg for cfg in custom_cfg}
        self._window_size = window_size
        self._reported = reported

    def find(self, name: str) -> Source | None:
        """Return what a number is of; None where that is not known."""
        source = name.removeprefix(self._prefix)
        cfg = self._by_name.get(source)
        if cfg is not None:
            source = cfg['data_src']
        key = self._prefix + source
        buffer = self._buffers.get(key)
        if buffer is None:
            return None
        position = position_of(self._positions, key, buffer)
        size = getattr(buffer, 'size', None)  # of an epoch
        if cfg is not None:
            method, window = cfg['method_name'], cfg.get('window_size')
        elif size is not None:
            method, window = 'mean', size
        else:
            rule = self._rules[key]
            method, window = ('mean', self._window_size) if rule and rule[1] else ('current', 1)
        size = position if size is None else size
        if window == 'interval':
            window = not_reported(self._reported, position, key)
        return Source(
            source, buffer, position, min(window, size) if isinstance(window, int) else size, method
        )

    def with_nan_counts(self, scalars: dict[str, Any]) -> dict[str, Any]:
        """Return the scalars with the number of NaNs in place of statistics that are one."""
        shown = scalars.copy()
        for name, value in scalars.items():
            is_nan = isinstance(value, float) and math.isnan(value)
            if not is_nan or name.endswith(('lr', 'time')):
                continue
            source = self.find(name)
            nans = 0 if source is None else source.nan_count()
            if source is not None and nans:
                shown[name] = nan_text(nans, source.size)
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
