"""The table that readers fill: a row for each record, a column for each of its keys."""

from __future__ import annotations

import re
from array import array
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import numpy as np

from ._run import Numbers, Series

NAN = float('nan')
_MODE = re.compile(r'(train|training|val|valid|validation|eval|test)[/_](.+)')
_PLAIN = {'training': 'train', 'valid': 'val', 'validation': 'val', 'eval': 'val'}


class Part(NamedTuple):
    """Records of the same names among others."""

    names: list[str]  # of the numbers
    table: Numbers  # a row for each record
    rows: Any  # which records they are: an array of integers


class Records(NamedTuple):
    """Records one behind the other."""

    size: int
    parts: list[Part]

    def names(self) -> list[str]:
        """Return the names of all numbers."""
        return list(dict.fromkeys(name for part in self.parts for name in part.names))

    def column(self, name: str) -> tuple[Any, Numbers]:
        """Return the rows that have a number of that name, in order, and the numbers."""
        parts = [part for part in self.parts if name in part.names]
        rows = [part.rows for part in parts]
        values = [part.table[:, part.names.index(name)] for part in parts]
        if len(parts) == 1:
            return rows[0], values[0]
        order = np.argsort(np.concatenate([[], *rows]))
        return np.concatenate([[], *rows])[order].astype(int), np.concatenate([[], *values])[order]

    def full_column(self, name: str) -> Numbers:
        """Return one number for each record: NaN for those that have none of that name."""
        rows, values = self.column(name)
        column = np.full(self.size, NAN)
        column[rows] = values
        return column


class Columns:
    """Rows of numbers. A key that a row does not have takes no memory in it."""

    def __init__(self) -> None:
        self.iter = array('d')
        self.epoch = array('d')
        self.time = array('d')
        self._columns: dict[tuple[str, str], tuple[array[int], array[float]]] = {}

    def __len__(self) -> int:
        return len(self.iter)

    def append(
        self,
        mode: str,
        items: Iterable[tuple[str, Any]],
        iter: float,
        epoch: float = NAN,
        time: float = NAN,
    ) -> None:
        """Add a row. What is no number is left out.

        Raises:
            OverflowError: An integer is too large for a float.
        """
        row = len(self.iter)
        columns = self._columns
        for name, value in items:
            if type(value) is not float:
                if type(value) is not int:
                    continue
                value = float(value)  # noqa: PLW2901
            column = columns.get((mode, name))
            if column is None:
                column = columns[mode, name] = (array('q'), array('d'))
            column[0].append(row)
            column[1].append(value)
        self.iter.append(iter)
        self.epoch.append(epoch)
        self.time.append(time)

    def append_records(
        self, mode: str, records: Records, iter: str, epoch: str | None = None, others: Collection[str] = ()
    ) -> None:
        """Add many rows.

        Args:
            mode: As in :meth:`append`.
            records: Them.
            iter: The name of the number that is that.
            epoch: Likewise.
            others: The names of what is no value either.
        """
        first = len(self.iter)
        for name in records.names():
            if name not in (iter, epoch) and name not in others:
                rows, values = records.column(name)
                column = self._columns.setdefault((mode, name), (array('q'), array('d')))
                column[0].frombytes((first + rows).tobytes())
                column[1].frombytes(values.tobytes())
        unknown = np.full(records.size, NAN)
        self.iter.frombytes(records.full_column(iter).tobytes())
        self.epoch.frombytes((unknown if epoch is None else records.full_column(epoch)).tobytes())
        self.time.frombytes(unknown.tobytes())

    def axes(self) -> dict[str, Numbers]:
        """Return copies of what the rows say about where they are."""
        return {'iter': np.array(self.iter), 'epoch': np.array(self.epoch), 'time': np.array(self.time)}

    def column(self, mode: str, name: str) -> tuple[Any, Numbers]:
        """Return the rows and the values of a column."""
        rows, values = self._columns.get((mode, name), (array('q'), array('d')))
        return np.array(rows), np.array(values)

    def series(self, axes: dict[str, Numbers], modes: dict[str, str] | None = None) -> list[Series]:
        """Return the curves. Axes without any number are left out of them.

        Args:
            axes: One number a row.
            modes: What the modes of :meth:`append` turned out to be.
        """
        axes = {name: axis for name, axis in axes.items() if not np.isnan(axis).all()}
        series = []
        for (mode, name), (rows, values) in self._columns.items():
            own_mode, key = split_mode(name)
            where = np.array(rows)
            series.append(
                Series(
                    name,
                    own_mode or (modes or {}).get(mode, mode),
                    key,
                    np.array(values),
                    {axis: numbers[where] for axis, numbers in axes.items()},
                )
            )
        return series


def split_mode(name: str) -> tuple[str | None, str]:
    """Return the mode that a name begins with, if it does, and the rest.

    >>> split_mode('eval_loss'), split_mode('val/acc'), split_mode('value_loss')
    (('val', 'loss'), ('val', 'acc'), (None, 'value_loss'))
    """
    match = _MODE.fullmatch(name)
    if match is None:
        return None, name
    return _PLAIN.get(match[1], match[1]), match[2]
