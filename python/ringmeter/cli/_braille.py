"""Curves of braille characters, each of which has two by four dots."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from ringmeter.readers._run import Numbers

_BLANK = 0x2800
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # by row and column of dots


def braille(values: Numbers, width: int, height: int) -> list[str]:
    """Return the rows of characters that show the values from left to right, the lowest at the bottom.

    Values are spread over the width; of those that share a column of dots, all from the least to the
    greatest are shown. What is not finite is left blank.

    >>> braille(np.arange(8.0), 4, 2)
    ['⠀⠀⡠⠊', '⡠⠊⠀⠀']
    """
    values = np.where(np.isfinite(values), values / 2, np.nan)  # half, so that the span is finite
    if 1 < len(values) < 2 * width:
        values = np.interp(np.linspace(0, len(values) - 1, 2 * width), np.arange(len(values)), values)
    is_finite = np.isfinite(values)
    if not is_finite.any():
        return [chr(_BLANK) * width] * height
    low, high = values[is_finite].min(), values[is_finite].max()
    span = (high - low) / (4 * height - 1)
    bounds = -(-np.arange(2 * width + 1) * len(values) // (2 * width))
    cells = np.full((height, width), _BLANK)
    before = None
    for column, (start, stop) in enumerate(pairwise(bounds.tolist())):
        there = values[start:stop][is_finite[start:stop]] - low
        dots = (there / (span or 1.0)).round().astype(int)
        if not len(dots):
            before = None
            continue
        first, last = dots.min(), dots.max()
        if before is not None:  # as far as half of the way to the neighbour
            first, last = min(first, (before + first + 1) // 2), max(last, (before + last) // 2)
        before = dots[-1]
        for dot in range(first, last + 1):
            row = 4 * height - 1 - dot
            cells[row // 4, column // 2] |= _BITS[row % 4][column % 2]
    return [''.join(map(chr, row)) for row in cells.tolist()]
