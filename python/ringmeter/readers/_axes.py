"""Where the rows of a log are, in iterations, epochs and seconds, as far as they do not say it themselves."""

from __future__ import annotations

import numpy as np

from ._columns import Columns
from ._run import Numbers


def axes_of_train(columns: Columns, shift: float = 0.0, mode: str = 'train') -> dict[str, Numbers]:
    """Return the axes of rows of which those with a time of an iteration are of training.

    Rows without an iteration are at the end of their epoch.

    Args:
        columns: The rows.
        shift: What to add to an iteration to have the number of iterations done.
        mode: The mode of rows of training.
    """
    axes = columns.axes()
    iters, epochs = axes['iter'], axes['epoch']
    length = epoch_length(iters + shift, epochs)
    is_at_end = np.isnan(iters)
    before = np.fmax.accumulate(np.where(is_at_end, 0.0, iters)) if len(iters) else iters
    if length is None:
        axes['iter'] = np.where(is_at_end, before, iters)
    else:
        axes['iter'] = np.where(is_at_end, np.maximum(epochs * length - shift, before), iters)
        axes['epoch'] = np.where(is_at_end, epochs, (iters + shift) / length)
    for name in ('time', 'train/time'):
        rows, seconds = columns.column(mode, name)
        if len(rows):
            at_rows = elapsed(iters[rows], seconds)
            newest = np.searchsorted(rows, np.arange(len(iters)), side='right') - 1
            axes['time'] = np.where(newest < 0, 0.0, at_rows[np.maximum(newest, 0)])
            break
    return axes


def epoch_length(iters: Numbers, epochs: Numbers) -> float | None:
    """Return how many iterations an epoch has, or None if no number agrees with all rows.

    Args:
        iters: Iterations done, from the beginning of the run.
        epochs: The epoch that each is in, from 1.
    """
    known = ~np.isnan(epochs) & ~np.isnan(iters) & (epochs >= 1)
    iters, epochs = iters[known], epochs[known]
    if not len(iters):
        return None
    at_least = np.max(iters / epochs)
    later = epochs > 1
    below = np.min(iters[later] / (epochs[later] - 1), initial=np.inf)
    if not 0 < at_least < below:
        return None
    _, first = np.unique(epochs, return_index=True)
    if len(first) > 1:  # epochs normally have their first record at the same place
        steps = np.diff(iters[first]) / np.diff(epochs[first])
        if at_least <= steps[0] < below:
            return float(steps[0])
    return float(at_least)


def elapsed(iters: Numbers, seconds: Numbers) -> Numbers:
    """Return the time since the beginning at each row, from its seconds an iteration.

    Where iterations do not go up, as after a resume, a row stands for as many as rows usually do.
    """
    if not len(iters):
        return iters
    done = np.diff(iters, prepend=0.0)
    usual = float(np.median(done[1:][done[1:] > 0])) if (done[1:] > 0).any() else done[0]
    if done[0] > 2 * usual:  # the file begins inside of the run
        done[0] = usual
    done = np.where(done > 0, done, np.where(done < 0, usual, 0.0))
    result: Numbers = np.cumsum(done * np.nan_to_num(seconds))
    return result
