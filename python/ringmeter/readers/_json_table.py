"""Lines of JSON: one, and many that are like some that came before."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ringmeter._core import parse_json_rows

from ._columns import Part, Records

_MOST_SCHEMAS = 64
_FEWEST = 5  # rows; fewer are quicker one by one

# The names of a record in their order, and which of them are numbers.
Kinds = dict[str, bool]


def parse_object(line: bytes) -> dict[str, Any] | None:
    """Return the JSON object that a line is, or None."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def kinds_of(record: dict[str, Any]) -> Kinds:
    """Return the kinds of a record; nothing for one with lists or objects in it."""
    if any(type(value) in (list, dict) for value in record.values()):
        return {}
    return {name: type(value) in (int, float) for name, value in record.items()}


class JsonTable:
    """Takes many lines at once that have the names of earlier ones, in the same order, and the same kinds."""

    def __init__(self) -> None:
        self._schemas: dict[tuple[tuple[tuple[str, bool], ...], bool], list[tuple[bytes, bool]]] = {}
        self._alone = 0  # lines to come that are too few to be taken together

    def parse(self, lines: list[bytes], start: int, kinds: Kinds) -> Records | None:
        """Return the records from a certain line on, up to one that is unlike all before.

        None where it is that one, or there are only a few up to there: it is to be taken by itself.

        Args:
            lines: Lines of the file.
            start: The number of the first one.
            kinds: What it has.
        """
        if self._alone:
            self._alone -= 1
            return None
        is_ascii = lines[start].isascii()
        schema = tuple(kinds.items()), is_ascii
        if schema not in self._schemas:
            if len(self._schemas) == _MOST_SCHEMAS:
                del self._schemas[next(iter(self._schemas))]
            self._schemas[schema] = [
                (json.dumps(name, ensure_ascii=is_ascii).encode(errors='surrogatepass'), is_number)
                for name, is_number in kinds.items()
            ]
            return None
        which, tables = parse_json_rows(lines, start, list(self._schemas.values()))
        if len(which) < _FEWEST:
            self._alone = max(len(which) - 1, 0)
            return None
        schema_of_row, schemas = np.frombuffer(which, np.uint8), list(self._schemas)
        parts = []
        for number in sorted(set(which)):
            names = [name for name, is_number in schemas[number][0] if is_number]
            rows = np.flatnonzero(schema_of_row == number)
            parts.append(Part(names, np.frombuffer(tables[number]).reshape(len(rows), len(names)), rows))
        return Records(len(which), parts)
