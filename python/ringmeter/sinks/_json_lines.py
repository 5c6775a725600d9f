"""Files of records, one JSON object a line."""

from __future__ import annotations

import json
import logging
import os
from typing import Any

import numpy as np

from .._core import format_record
from ._sink import check_record
from ._text_file import TextFile, append_text, last_line

_logger = logging.getLogger('ringmeter')


class JSONLines(TextFile):
    """Appends records to a file, one JSON object a line, in the format of mmengine's ``scalars.json``.

    NaN and infinities are written as ``NaN`` and ``Infinity``, as mmengine and Python's ``json`` do.
    A file that ends in the middle of a line gets a line break first.

    Args:
        path: The file. What it holds already stays.

    Raises:
        ArgumentTypeError: ``path`` is no path.
    """

    def add_scalars(self, scalars: dict[str, Any], step: int) -> None:
        """Append one record, with ``step`` unless it has one.

        Raises:
            ArgumentTypeError: This is no record, or no step.
            OSError: The file cannot be written.
        """
        check_record(scalars, step)
        self.append({**scalars, 'step': scalars.get('step', step)})

    def append(self, record: dict[str, Any]) -> None:
        """Append a record as it is.

        Raises:
            OSError: The file cannot be written.
        """
        text = format_record(record) or json.dumps(record, default=_to_json)
        self._append(f'{text}\n')

    def _mend(self) -> None:
        if last_line(self.path)[1]:
            append_text(self.path, '\n')


def read_json_lines(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the records of a file of JSON lines, such as ``scalars.json``.

    Damaged lines are left out, with one warning that names the file and the lines: a last one that a crash
    has cut off, or one behind which a later run went on.

    Raises:
        LogFileError: All lines are damaged, or one is something else: other JSON, or a line of a text log.
        OSError: The file cannot be read.
    """
    from ..readers._json_objects import read_objects

    records, notes = read_objects(path)
    for note in notes:
        _logger.warning(note)
    return records


def _to_json(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, 'tolist'):
        return value.tolist()
    return str(value)
