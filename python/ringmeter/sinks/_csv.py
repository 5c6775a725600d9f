"""Files of scalars, one a row."""

from __future__ import annotations

import csv
import io
import os
from typing import Any

from .._errors import ArgumentError
from ._sink import numbers
from ._text_file import TextFile, append_text, last_line, without_line_breaks

_HEADER = 'step,name,value'


class CSV(TextFile):
    """Appends scalars to a file with the columns ``step``, ``name`` and ``value``.

    A row a scalar, so that a name that comes late needs no column and the file is only ever appended to.
    ``pandas.read_csv(path).pivot_table(values='value', index='step', columns='name')`` has a column a name.
    NaN is ``nan``. A run that goes on appends under the same header. A last row that a crash has cut off is
    removed then, because part of a number is a number too.

    Args:
        path: The file. What it holds already stays.

    Raises:
        ArgumentTypeError: ``path`` is no path.
    """

    def add_scalars(self, scalars: dict[str, Any], step: int) -> None:
        """Append a row for each number of a record, in one write.

        Raises:
            ArgumentError: The file has other columns.
            ArgumentTypeError: This is no record, or no step.
            OSError: The file cannot be written.
        """
        found = numbers(scalars, step)
        rows = [(int(step), without_line_breaks(name), +value) for name, value in found.items()]  # +True is 1
        text = io.StringIO()
        csv.writer(text, lineterminator='\n').writerows(rows)
        self._append(text.getvalue())

    def _mend(self) -> None:
        begin, cut = last_line(self.path)
        with self.path.open('rb') as file:
            first = file.readline(80).rstrip(b'\r\n').decode(errors='replace')
        if not _HEADER.startswith(first) or (begin > 0 and first != _HEADER):
            raise ArgumentError(f'{self.path} must have the columns {_HEADER!r}, or be new, got {first!r}')
        if cut:
            os.truncate(self.path, begin)
        if begin == 0:
            append_text(self.path, f'{_HEADER}\n')
