"""JSON lines that all have the same keys, in the same order, and only numbers: a table."""

from __future__ import annotations

import json

import numpy as np

from ringmeter._core import parse_json_rows

from ._run import Numbers


def names_in(line: bytes) -> list[str]:
    """Return the keys of a JSON object in their order; none if it is none, or has one twice."""
    try:
        names = [name for name, _ in json.loads(line, object_pairs_hook=tuple)]
    except (ValueError, TypeError, RecursionError):
        return []
    is_plain = all(isinstance(name, str) for name in names) and len(set(names)) == len(names)
    return names if is_plain else []


def parse_rows(lines: list[bytes], start: int, names: list[str]) -> Numbers:
    """Return a row of numbers for each line from a certain one on, up to one that is not of these names."""
    keys = [json.dumps(name).encode() for name in names]
    return np.frombuffer(parse_json_rows(lines, start, keys)).reshape(-1, len(names))
