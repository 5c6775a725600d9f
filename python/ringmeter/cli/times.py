"""``ringmeter times``: how long iterations took."""

from __future__ import annotations

import argparse

import numpy as np

from ringmeter.readers import Run, read
from ringmeter.readers._run import Numbers

from ._errors import CommandError
from ._runs import report_notes

HELP = 'print the slowest and the fastest epoch and the mean time of an iteration'
DESCRIPTION = """Prints what mmdetection's analyze_logs.py cal_train_time prints: the mean time of an
iteration in the slowest and in the fastest epoch, the standard deviation over the epochs, and
the mean over them."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    parser.add_argument('files', nargs='+', metavar='FILE')
    parser.add_argument(
        '--include-outliers', action='store_true', help='count the first line of each epoch too'
    )


def run(options: argparse.Namespace) -> None:
    """Print the times of each file, once all of them were read."""
    texts = []
    for path in options.files:
        log = read(path)
        report_notes(log)
        texts.append(f'-----Analyze train time of {path}-----\n{times(log, options.include_outliers)}\n')
    print('\n'.join(texts), end='')


def times(run: Run, include_outliers: bool = False) -> str:
    """Return the lines about a run. Epochs go by their numbers, from 1.

    The first line of an epoch, which has the start of the data loader's workers in it, does not count, unless
    it is the only one or ``include_outliers`` is given.

    Raises:
        CommandError: The file has no times.
    """
    series = run.find('train', 'time')
    if series is None:
        if run.seconds_per_iter is not None:
            return f'average iter time: {run.seconds_per_iter:.4f} s/iter'
        raise CommandError(f"{run.path}: no times in it: expected 'time', seconds an iteration, in training")
    first = 0 if include_outliers else 1
    epochs = series.axes.get('epoch')
    if epochs is None:
        return f'average iter time: {_mean(series.values, first):.4f} s/iter'
    numbers = np.ceil(np.round(epochs, 6)).astype(int)
    means = {}
    for number in np.unique(numbers).tolist():
        means[number] = _mean(series.values[numbers == number], first)
    slowest, fastest = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    return (
        f'slowest epoch {slowest}, average time is {means[slowest]:.4f} s/iter\n'
        f'fastest epoch {fastest}, average time is {means[fastest]:.4f} s/iter\n'
        f'time std over epochs is {np.std(list(means.values())):.4f}\n'
        f'average iter time: {np.mean(list(means.values())):.4f} s/iter'
    )


def _mean(values: Numbers, first: int) -> float:
    return float((values[first:] if len(values) > 1 else values).mean())
