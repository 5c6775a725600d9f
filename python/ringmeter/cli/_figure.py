"""The picture of ``ringmeter plot``, by matplotlib."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, MaxNLocator

from ringmeter.readers import Run, Series
from ringmeter.readers._run import Numbers

from ._decimation import decimate, newest
from ._runs import curves
from ._smoothing import smooth

# Okabe and Ito's colours, which the colour-blind can tell apart, without the yellow and with a brown
_COLOURS = ('#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000', '#7F4F24')
_DASHES = ('-', '--', ':', '-.')
_MARKERS = ('o', 's', '^', 'D')
_WIDTH = 10.0  # inches, of 100 pixels
_UNITS = ((2 * 86400, 86400, 'd'), (2 * 3600, 3600, 'h'), (120, 60, 'min'), (0, 1, 's'))
_FAINT = 0.25
_MOST = 1e300  # that matplotlib can scale


@dataclass(frozen=True)
class _Style:
    colour: str
    dashes: str
    marker: str


def _style(index: int) -> _Style:
    turn = index // len(_COLOURS)
    return _Style(
        _COLOURS[index % len(_COLOURS)], _DASHES[turn % len(_DASHES)], _MARKERS[turn % len(_MARKERS)]
    )


def draw(
    runs: Sequence[Run],
    names: Sequence[str],
    keys: Sequence[str],
    axis: str,
    compare: bool,
    smoothing: float | None,
    log_y: bool,
) -> Figure:
    """Return the picture: a panel for each key, or for each key and run."""
    is_grid = len(runs) > 1 and not compare
    columns = len(runs) if is_grid else 1 if len(keys) <= 3 else 2 if len(keys) <= 8 else 3
    rows = len(keys) if is_grid else math.ceil(len(keys) / columns)
    height = {1: 3.2, 2: 2.6}.get(columns, 2.2)
    figure = Figure((_WIDTH, rows * height + 1.0), layout='constrained')
    panels = figure.subplots(rows, columns, sharex=True, sharey='row' if is_grid else False, squeeze=False)
    seconds, unit = _unit(runs) if axis == 'time' else (1.0, '')
    canvas = _Canvas(axis, seconds, smoothing, round(_WIDTH * 100 / columns), compare and len(runs) > 1)
    for number, key in enumerate(keys):
        for index, run in enumerate(runs):
            row, column = (number, index) if is_grid else divmod(number, columns)
            canvas.add(panels[row][column], curves(run, key), _style(0 if is_grid else index))
        for column in range(columns) if is_grid else (number % columns,):
            panel = panels[number if is_grid else number // columns][column]
            panel.set_yscale('log' if log_y else 'linear')
            if column == 0 or not is_grid:
                panel.set_ylabel(_plain(key), wrap=True)
    label = {'iter': 'iteration', 'epoch': 'epoch', 'time': f'time ({unit})'}[axis]
    _finish(panels, len(keys) if not is_grid else rows * columns, label)
    if is_grid:
        for panel, name in zip(panels[0], names, strict=True):
            panel.set_title(_plain(name), fontsize='medium')
    entries = canvas.legend([] if is_grid else [_plain(name) for name in names])
    longest = max(len(str(entry.get_label())) for entry in entries)
    beside = max(1, min(4, 120 // (longest + 8)))
    figure.legend(handles=entries, loc='outside lower center', ncols=beside, frameon=False)
    return figure


def _plain(text: str) -> str:
    """Return a text that matplotlib shows as it is: no formulas, no bytes that are not UTF-8."""
    return text.encode(errors='replace').decode().replace('$', r'\$')


def _finish(panels: Any, used: int, label: str) -> None:
    """Label the x axis under the lowest panel of each column, and remove those that nothing is in."""
    rows, columns = panels.shape
    for number in range(rows * columns):
        panel = panels[divmod(number, columns)]
        if number >= used:
            panel.remove()
            continue
        panel.grid(alpha=0.25)
        panel.margins(x=0.01)
        panel.spines[['top', 'right']].set_visible(False)
        if label in ('iteration', 'epoch'):
            panel.xaxis.set_major_locator(
                MaxNLocator(nbins={1: 9, 2: 6}.get(columns, 5), integer=True, min_n_ticks=1)
            )
            panel.xaxis.set_major_formatter(EngFormatter(sep=''))
        if number + columns >= used:
            panel.set_xlabel(label)
            panel.tick_params(labelbottom=True)


def _unit(runs: Sequence[Run]) -> tuple[float, str]:
    """Return the unit of time that suits the runs: its seconds and its name."""
    longest = max(
        (float(np.max(one.axes['time'])) for run in runs for one in run.series if 'time' in one.axes),
        default=0.0,
    )
    return next((seconds, name) for least, seconds, name in _UNITS if longest >= least)


class _Canvas:
    """Draws curves into panels, and knows what the legend has to explain."""

    def __init__(
        self, axis: str, unit: float, smoothing: float | None, pixels: int, is_colour_of_run: bool
    ) -> None:
        self._axis = axis
        self._unit = unit
        self._smoothing = smoothing
        self._pixels = pixels
        self._is_colour_of_run = is_colour_of_run  # otherwise it tells the modes apart
        self._modes: set[str] = set()
        self._has_raw = self._has_not_finite = False

    def add(self, panel: Any, curves: Sequence[Series], style: _Style) -> None:
        for series in curves:
            if self._axis not in series.axes:
                continue
            counted = newest(series.axes['iter'])
            x, y = series.axes[self._axis][counted] / self._unit, series.values[counted]
            y = np.where(abs(y) > _MOST, np.inf, y)
            is_known = ~np.isnan(x)
            x, y = x[is_known], y[is_known]
            self._modes.add(series.mode)
            if series.mode == 'train':
                self._add_line(panel, x, y, style)
            else:
                panel.plot(x, y, **self._marked(style, series.mode))
            self._add_not_finite(panel, x, y, style)

    def _add_line(self, panel: Any, x: Numbers, y: Numbers, style: _Style) -> None:
        marker = '.' if np.isfinite(y).sum() == 1 else ''
        line: dict[str, Any] = {'color': style.colour, 'linestyle': style.dashes, 'marker': marker}
        if self._smoothing:
            self._has_raw = True
            panel.plot(*decimate(x, y, self._pixels), color=style.colour, alpha=_FAINT, lw=0.8)
            y = smooth(y, self._smoothing)
        panel.plot(*decimate(x, y, self._pixels), lw=1.3, **line)

    def _add_not_finite(self, panel: Any, x: Numbers, y: Numbers, style: _Style) -> None:
        where = x[~np.isfinite(y)]
        if len(where):
            self._has_not_finite = True
            where, _ = decimate(where, np.zeros(len(where)), self._pixels)
            panel.plot(
                where, np.full(len(where), 0.02), '|', ms=8, color=style.colour,
                transform=panel.get_xaxis_transform(), clip_on=False,
            )  # fmt: skip

    def legend(self, names: Sequence[str]) -> list[Line2D]:
        """Return what there is to be explained: the runs, and what their curves are."""
        entries = []
        colour = '#444444' if self._is_colour_of_run else _COLOURS[0]
        for index, name in enumerate(names if len(names) > 1 else ()):
            style = _style(index)
            entries.append(Line2D([], [], color=style.colour, ls=style.dashes, lw=2, label=name))
        name = f'{names[0]}: ' if len(names) == 1 else ''
        if 'train' in self._modes:
            smoothed = ', smoothed' if self._has_raw else ''
            entries.append(Line2D([], [], color=colour, lw=1.3, label=f'{name}train{smoothed}'))
        if self._has_raw:
            entries.append(Line2D([], [], color=colour, alpha=_FAINT, lw=0.8, label='as recorded'))
        for mode in sorted(self._modes - {'train'}, reverse=True):
            marked = self._marked(_Style(colour, '-', 'o'), mode)
            entries.append(Line2D([], [], label=mode, **marked))
        if self._has_not_finite:
            entries.append(Line2D([], [], color=colour, ls='', marker='|', ms=8, label='NaN or infinite'))
        return entries

    def _marked(self, style: _Style, mode: str) -> dict[str, Any]:
        """Return the look of what was evaluated."""
        colour = style.colour if self._is_colour_of_run else _COLOURS[1 if mode == 'val' else 2]
        edge, face = ('white', colour) if mode == 'val' else (colour, 'white')
        line = {'color': colour, 'ls': style.dashes, 'lw': 0.8, 'zorder': 3}
        return line | {'marker': style.marker, 'ms': 5.5, 'mec': edge, 'mfc': face, 'mew': 0.7}
