"""What a log file holds: curves, and where on the axes their points are."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


class LogFileError(ValueError):
    """A file cannot be read as a log. The message has the file, the line and what was expected."""

    def __init__(self, path: str | os.PathLike[str], line: int | None, message: str) -> None:
        where = os.fspath(path) if line is None else f'{os.fspath(path)}:{line}'
        super().__init__(f'{where}: {message}')


class EmptyLogError(LogFileError):
    """A file has no numbers, but may be a log that has only begun."""


@dataclass(frozen=True)
class Series:
    """One curve.

    Attributes:
        name: Its name in the file, as ``eval_loss``.
        mode: ``'train'``, ``'val'`` or ``'test'``.
        key: The name without the mode, as ``loss``.
        values: The values, in the order of the file.
        axes: Where they are: ``'iter'``, ``'epoch'`` (1 is the end of the first) and ``'time'`` (seconds
            since the beginning), as far as the file tells.
    """

    name: str
    mode: str
    key: str
    values: Numbers
    axes: dict[str, Numbers]

    def answers_to(self, key: str) -> bool:
        """Whether a user who says this key may mean this curve."""
        return key in (self.key, self.name, f'{self.mode}/{self.key}')


@dataclass(frozen=True)
class Run:
    """What was read of one file.

    Attributes:
        path: The file.
        format: The name of its format.
        series: Its curves, in the order of their first values.
        eta: The time left that the newest line shows, where lines do.
        seconds_per_iter: Mean time of an iteration, where the file has it for the whole run only.
        notes: What the user should know of, such as a last line that is cut off.
    """

    path: str
    format: str
    series: list[Series]
    eta: str | None = None
    seconds_per_iter: float | None = None
    notes: list[str] = field(default_factory=list)

    def find(self, mode: str, key: str) -> Series | None:
        """Return a curve by its mode and its key, or None."""
        return next((one for one in self.series if (one.mode, one.key) == (mode, key)), None)
