"""Smoothed curves."""

from __future__ import annotations

import numpy as np

from ringmeter.readers._run import Numbers


def smooth(values: Numbers, amount: float) -> Numbers:
    """Return a smoothed curve. What is not finite stays as it is, and enters into nothing else.

    Args:
        values: The curve.
        amount: Below 1, the weight of an exponential mean as of TensorBoard's slider, corrected for its
            start. From 2 on, the mean of so many values, as of a window of mmengine.
    """
    return _exponential(values, amount) if amount < 1 else _windowed(values, int(amount))


def _exponential(values: Numbers, weight: float) -> Numbers:
    smoothed: Numbers = values.copy()
    is_finite = np.isfinite(values)
    sums = values[is_finite] * (1 - weight)
    reach = 1  # how many values each sum has, twice as many from step to step
    while reach < len(sums) and weight**reach > 1e-18:
        sums[reach:] += weight**reach * sums[:-reach]
        reach *= 2
    smoothed[is_finite] = sums / (1 - weight ** np.arange(1, len(sums) + 1))
    return smoothed


def _windowed(values: Numbers, size: int) -> Numbers:
    smoothed: Numbers = values.copy()
    is_finite = np.isfinite(values)
    block = values[is_finite]  # sums of the newest `reach` values, of those that there are
    size = min(size, len(block))
    sums, taken, reach = np.zeros(len(block)), 0, 1
    counts = np.minimum(np.arange(1, len(block) + 1), size)
    while reach <= size:  # a window is made of blocks: differences of running sums would lose small values
        if size & reach:
            sums[taken:] += block[: len(block) - taken]
            taken += reach
        block[reach:] += block[:-reach].copy()
        reach *= 2
    smoothed[is_finite] = sums / counts
    return smoothed
