"""``metrics.csv`` of Lightning's CSVLogger."""

from __future__ import annotations

import csv

from ._axes import axes_of_train
from ._columns import NAN
from ._reader import Reader
from ._run import Run


class LightningCsvReader(Reader):
    """A table with a column ``step``, and normally ``epoch``; both count from 0. Cells may be empty.

    :class:`ringmeter.sinks.CSV` has a row for each value, with its name.
    """

    format = 'metrics.csv'
    expected = 'a row of the table'

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._header: list[str] = []

    def feed(self, lines: list[bytes], first: int) -> None:
        for number, line in enumerate(lines, first):
            try:
                (cells,) = csv.reader([line.decode(errors='replace')])
            except csv.Error:
                raise self.error(number, line) from None
            self._append(line, cells, number)

    def _append(self, line: bytes, cells: list[str], number: int) -> None:
        if not self._header:
            self._header = cells
            return
        if not cells:
            return
        if len(cells) != len(self._header):
            raise self.error(number, line, f' with {len(self._header)} cells')
        row = {}
        names = self._header
        if names == ['step', 'name', 'value']:
            names, cells = ['step', cells[1]], [cells[0], cells[2]]
        for name, cell in zip(names, cells, strict=True):
            if cell:
                try:
                    row[name] = float(cell)
                except ValueError:
                    raise self.error(number, line, f' with numbers, {name!r} too') from None
        step = row.pop('step', None)
        if step is None:
            raise self.error(number, line, " with a number as 'step'")
        self.columns.append('train', row.items(), step, row.pop('epoch', NAN) + 1)

    def run(self) -> Run:
        axes = axes_of_train(self.columns, shift=1.0)
        return Run(self.path, self.format, self.columns.series(axes), notes=list(self.notes))
