"""What a rank has to say about a line."""

from __future__ import annotations

from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

HOWS = ('mean', 'sum', 'min', 'max', 'first')  # ways to make one number of the ranks'; 'first': the first's
# What the name of an item begins with: of what is shown in a line, of its record where names differ there, of
# what has a place of its own.
SHOWN, RECORDED, ASIDE = '=/?'

_MODES = ('train', 'val', 'test')


class Line(NamedTuple):
    """Which line it is. Ranks that reduce together must be at the same."""

    mode: str
    iteration: int  # as the line shows it; 0: the line at the end of an evaluation

    @classmethod
    def of_code(cls, code: int, iteration: int) -> Line:
        """Undo :attr:`code`."""
        return cls(_MODES[code], iteration)

    @property
    def code(self) -> int:
        return _MODES.index(self.mode)

    def __str__(self) -> str:
        if not self.iteration:
            return f'the line of {self.mode}'
        return f'the line of iteration {self.iteration} of {self.mode}'


class Field(NamedTuple):
    """What is known of a number of a line before it comes."""

    name: str  # behind one of the above
    how: str
    is_whole: bool  # an integer, and so is what becomes of it, except for a mean


class Item(NamedTuple):
    """One number of a line, on one rank."""

    field: Field
    value: Any  # a real number
    weight: float = 1.0  # in the mean
    nans: int = 0  # among the entries of its window
    entries: int = 1


def is_integer(value: Any) -> bool:
    return isinstance(value, Integral | np.bool_)
