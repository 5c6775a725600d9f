"""Lines of JSON: one, and many that have the same keys in the same order, and only numbers."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from ringmeter._core import parse_json_rows

from ._run import Numbers


def parse_object(line: bytes) -> dict[str, Any] | None:
    """Return the JSON object that a line is, or None."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def parse_rows(lines: list[bytes], start: int, names: list[str]) -> Numbers:
    """Return a row of numbers for each line from a certain one on, up to one that is not of these names."""
    is_escaped = lines[start].isascii()
    keys = [json.dumps(name, ensure_ascii=is_escaped).encode(errors='surrogatepass') for name in names]
    return np.frombuffer(parse_json_rows(lines, start, keys)).reshape(-1, len(names))
