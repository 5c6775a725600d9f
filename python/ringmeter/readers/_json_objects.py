"""Lines that are a JSON object each, some of which may be damaged."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ._reader import unexpected
from ._run import LogFileError
from .mmengine_text import is_dated

EXPECTED = 'a JSON object'
_SHOWN = 5  # numbers of damaged lines, besides the first


class ObjectLines:
    """Takes the lines of a file one by one, and remembers which of them were damaged.

    What is no JSON is damaged, as where a run was killed in the middle of a line and a later one went on.
    JSON, or a line of a text log, that does not belong into the file is an error.

    Attributes:
        damaged: The error of the first damaged line, or None.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.damaged: LogFileError | None = None
        self._others: list[int] = []  # damaged lines after the first

    def parse(self, line: bytes, number: int) -> dict[str, Any] | None:
        """Return the object that a line is, or None if it is blank or damaged.

        Raises:
            LogFileError: The line is whole, and something else.
        """
        if not line.strip():
            return None
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            if is_dated(line):
                raise unexpected(self.path, number, EXPECTED, line) from None
            if self.damaged is None:
                self.damaged = unexpected(self.path, number, EXPECTED, line)
            else:
                self._others.append(number)
            return None
        if type(record) is not dict:
            raise unexpected(self.path, number, EXPECTED, line)
        return record

    def notes(self) -> list[str]:
        """Return the one note about all damaged lines, if there are any."""
        if self.damaged is None:
            return []
        text = f'{self.damaged}: left out'
        if self._others:
            text += f', as well as line{"s" * (len(self._others) > 1)} '
            text += ', '.join(map(str, self._others[:_SHOWN]))
        if len(self._others) > _SHOWN:
            text += f' and {len(self._others) - _SHOWN} more'
        return [text]


def read_objects(path: str | os.PathLike[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the objects of a file, and a note if lines were left out.

    Raises:
        LogFileError: There are lines, but all are damaged, or one is something else.
        OSError: The file cannot be read.
    """
    lines = ObjectLines(os.fspath(path))
    with Path(path).open('rb') as file:
        parsed = (lines.parse(line, number) for number, line in enumerate(file, 1))
        records = [record for record in parsed if record is not None]
    if not records and lines.damaged is not None:
        raise lines.damaged
    return records, lines.notes()
