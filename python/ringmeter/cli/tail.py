"""``ringmeter tail``: a run as it goes, in the terminal."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import time
from collections.abc import Sequence

from ringmeter.readers import EmptyLogError, LogFile, Run, Series

from ._braille import braille
from ._runs import all_keys, choose_keys, curves, report_notes

HELP = 'follow a run in the terminal'
DESCRIPTION = """Shows the newest values of a run with small plots, and again whenever the file has grown.
Ends with Ctrl-C."""
_PLOTS = 3  # unless --keys says otherwise
_PLOT_HEIGHT = 4  # lines
_LEAST_ROWS = 8  # of newest values, beside plots
_CLEAR = '\x1b[H\x1b[J'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument('file', metavar='FILE')
    parser.add_argument(
        '--keys', nargs='+', metavar='KEY', help=f'what to plot (default: {_PLOTS}, losses first)'
    )
    parser.add_argument(
        '--interval', type=_seconds, default=1.0, metavar='SECONDS', help='between two looks (default: 1)'
    )
    parser.add_argument('--once', action='store_true', help='show the run as it is now, and end')


def run(options: argparse.Namespace) -> None:
    """Follow the file until Ctrl-C, which is the normal end. It may be truncated or replaced meanwhile."""
    with contextlib.closing(LogFile(options.file)) as file:
        if options.once:
            log = file.read(is_complete=True)
            report_notes(log)
            print(frame(log, options.keys))
        else:
            with contextlib.suppress(KeyboardInterrupt):
                _follow(file, options)


def _follow(file: LogFile, options: argparse.Namespace) -> None:
    shown, seen = '', None
    while True:
        there = _state(options.file)
        if there is not None and there != seen:
            seen = there
            new = _frame_now(file, options)
            if new != shown:
                shown = new
                print(_CLEAR if sys.stdout.isatty() else '\n', shown, sep='', flush=True)
        time.sleep(options.interval)


def _state(path: str) -> tuple[int, ...] | None:
    """Return what differs once a file has changed; None while there is none of that name."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _frame_now(file: LogFile, options: argparse.Namespace) -> str:
    try:
        log = file.read()
        notes = [f'note: {text}' for text in log.notes]
        height = None
        if sys.stdout.isatty():
            columns, lines = shutil.get_terminal_size()
            height = lines - 1 - sum(-(-len(note) // columns) for note in notes)
        return '\n'.join([frame(log, options.keys, height), *notes])
    except EmptyLogError:
        return f'{options.file}  nothing in it yet'


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.05 <= value <= 3600:
        raise argparse.ArgumentTypeError(f'must be from 0.05 to 3600 seconds, got {text!r}')
    return value


_seconds.__name__ = 'number'  # for argparse's message


def frame(run: Run, keys: list[str] | None, height: int | None = None) -> str:
    """Return the text that shows a run: where it is, its newest values, and plots of some keys.

    Args:
        run: What is shown.
        keys: What is plotted; None: some.
        height: In how many lines, three at least: plots are left out first, but for one, then values, then
            that plot.

    Raises:
        CommandError: It has none of a key.
    """
    width = max(40, shutil.get_terminal_size().columns)
    chosen = choose_keys([run], keys) if keys else _default_keys(run)
    plotted = [series for key in chosen for series in curves(run, key)]
    headline, table = _headline(run), _table(run.series, width)
    plots = [['', *_plot(series, width)] for series in plotted]
    if height is not None:
        left = height - 1 - -(-len(headline) // width)
        while plots and sum(map(len, plots)) + min(len(table), _LEAST_ROWS if plots[1:] else 1) > left:
            plots.pop()
        left = max(left - sum(map(len, plots)), 1)
        if len(table) > left:
            of_plots = {id(series) for series in plotted}
            table = _table(sorted(run.series, key=lambda series: id(series) not in of_plots), width)
            table[left - 1 :] = [f'... and {len(table) - left + 1} lines more']
    return '\n'.join([headline, '', *table, *(line for plot in plots for line in plot)])


def _default_keys(run: Run) -> list[str]:
    keys = [key for key in all_keys([run]) if any(len(one.values) > 1 for one in curves(run, key))]
    return sorted(keys, key=lambda key: (key != 'loss', 'loss' not in key))[:_PLOTS]


def _headline(run: Run) -> str:
    newest: dict[str, float] = {}
    for series in run.series:
        for axis, numbers in series.axes.items():
            newest[axis] = max(newest.get(axis, 0.0), float(numbers[-1]))
    parts = [run.path]
    if 'iter' in newest:
        parts.append(f'iteration {newest["iter"]:.0f}')
    if 'epoch' in newest:
        parts.append(f'epoch {newest["epoch"]:.2f}')
    if run.eta:
        parts.append(f'eta {run.eta}')
    return '  '.join(parts)


def _table(series: Sequence[Series], width: int) -> list[str]:
    cells = [f'{_name(one)}: {_number(one.values[-1])}' for one in series]
    wide = min(max(map(len, cells)) + 3, width)
    beside = max(1, width // wide)
    rows = [cells[i : i + beside] for i in range(0, len(cells), beside)]
    return [''.join(cell.ljust(wide) for cell in row).rstrip() for row in rows]


def _plot(series: Series, width: int) -> list[str]:
    finite = series.values[abs(series.values) < float('inf')]
    if not len(finite):
        return [f'{_name(series)}: no finite values']
    high, low = _number(finite.max()), _number(finite.min())
    margin = max(len(high), len(low))
    labels = [high, *[''] * (_PLOT_HEIGHT - 2), low]
    rows = braille(series.values, width - margin - 2, _PLOT_HEIGHT)
    return [_name(series)] + [f'{label:>{margin}} {row}' for label, row in zip(labels, rows, strict=True)]


def _name(series: Series) -> str:
    return series.key if series.mode == 'train' else f'{series.mode}/{series.key}'


def _number(value: float) -> str:
    return f'{value:.4g}'
