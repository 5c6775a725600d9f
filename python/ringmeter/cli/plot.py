"""``ringmeter plot``: a picture of curves."""

from __future__ import annotations

import argparse
import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ringmeter.readers import Run, read

from ._errors import CommandError, UsageError
from ._runs import all_keys, choose_keys, curves, note, report_notes, short_names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HELP = 'make a picture of the curves'
DESCRIPTION = """Makes a picture with a panel for each key. Several files stand side by side, or, with
--compare, are lines in the same panels. What was evaluated is shown as markers."""
_MOST_PANELS = 12
_MOST_BESIDE = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument('files', nargs='+', metavar='FILE')
    parser.add_argument(
        '--keys', nargs='+', metavar='KEY', help="what to show, as loss, val/loss or 'loss_*' (default: all)"
    )
    parser.add_argument('--out', default='plot.png', help='the picture: .png, .svg, .pdf (default: plot.png)')
    parser.add_argument(
        '--smooth',
        type=_smoothing,
        metavar='S',
        help="below 1: weight of an exponential mean, as TensorBoard's; from 2: a mean of so many values",
    )
    parser.add_argument(
        '--x', choices=('iter', 'epoch', 'time'), default='iter', help='the x axis (default: iter)'
    )
    parser.add_argument('--compare', action='store_true', help='each key once, with a line for each file')
    parser.add_argument('--log-y', action='store_true', help='logarithmic values')


def run(options: argparse.Namespace) -> None:
    """Make the picture."""
    if len(options.files) > _MOST_BESIDE and not options.compare:
        raise UsageError(
            f'more than {_MOST_BESIDE} files need --compare, which draws them over each other, '
            f'got {len(options.files)}'
        )
    format = _check_out(Path(options.out))
    runs = [read(path) for path in options.files]
    for one in runs:
        report_notes(one)
        _check_axis(one, options.x)
    keys = _wanted_keys(runs, options.keys) if options.keys else _default_keys(runs)
    from ._figure import draw

    figure = draw(
        runs, short_names(options.files), keys, options.x, options.compare, options.smooth, options.log_y
    )
    _save(figure, Path(options.out), format)
    print(options.out)


def _smoothing(text: str) -> float:
    value = float(text)
    if not (0 <= value < 1 or (value >= 2 and value.is_integer())):
        raise argparse.ArgumentTypeError(f'must be from 0 to below 1, or a whole number from 2, got {text!r}')
    return value


_smoothing.__name__ = 'number'  # for argparse's message


def _wanted_keys(runs: list[Run], wanted: list[str]) -> list[str]:
    keys = choose_keys(runs, wanted)
    for key in keys:
        missing = [one.path for one in runs if not curves(one, key)]
        if missing:
            note(f'{key!r} is not in {", ".join(missing)}')
    return keys


def _default_keys(runs: list[Run]) -> list[str]:
    keys = all_keys(runs)
    if len(keys) > _MOST_PANELS:
        left_out = ', '.join(keys[_MOST_PANELS:])
        note(f'{_MOST_PANELS} of {len(keys)} keys are shown; --keys shows others: {left_out}')
    return keys[:_MOST_PANELS]


def _check_axis(run: Run, axis: str) -> None:
    if not any(axis in series.axes for series in run.series):
        there = dict.fromkeys(name for series in run.series for name in series.axes)
        what = {'epoch': 'epochs', 'time': 'times', 'iter': 'iterations'}[axis]
        raise CommandError(f'{run.path}: no {what} in it, so --x must be one of {", ".join(there)}')


def _check_out(path: Path) -> str:
    """Return the format of the picture, once it seems that it can be written."""
    os.environ['MPLBACKEND'] = 'agg'  # that of a notebook may not be there
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError as error:
        raise CommandError(
            f"plot needs matplotlib ({error}): pip install matplotlib, or 'ringmeter[plot]'"
        ) from None
    formats = FigureCanvasBase.get_supported_filetypes()
    format = path.suffix.removeprefix('.').lower()
    if format not in formats:
        raise CommandError(f'--out must end with one of .{", .".join(sorted(formats))}, got {str(path)!r}')
    if not path.parent.is_dir():
        raise CommandError(f'--out: {path} cannot be written: there is no directory {str(path.parent)!r}')
    return format


def _save(figure: Figure, path: Path, format: str) -> None:
    """Write the picture in one piece, so that a failure leaves nothing half done."""
    picture = io.BytesIO()
    figure.savefig(picture, format=format, dpi=100)
    try:
        path.write_bytes(picture.getvalue())
    except OSError as error:
        raise CommandError(f'--out: {path} cannot be written: {error.strerror}') from None
