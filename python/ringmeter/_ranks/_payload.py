"""The bytes that a rank sends for a line: a header, four numbers for each item, and the items' names.

``csrc/core/rank_table.h`` reads them. The names come, compressed, while there are ranks that do not know
them. Which names they are, a hash in the header says.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from array import array
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ._items import Field, Item, Line

_HEADER = struct.Struct('<6q')
_ITEM_SIZE = 8 * 4
_NOTHING = -1  # in place of the number of items: a rank whose values could not be had


Schema = tuple[Field, ...]


def size_without_names(items: int) -> int:
    """Return how many bytes a payload takes once its names are known."""
    return _HEADER.size + _ITEM_SIZE * max(items, 0)


def pack(line: Line, items: Sequence[Item] | None, known: dict[int, Schema]) -> bytes:
    """Return the payload for a line, without names that are known. None: no values are to be had."""
    if items is None:
        return _HEADER.pack(0, _NOTHING, 0, _HEADER.size, line.code, line.iteration)
    schema, names = _hashed(tuple([item.field for item in items]))
    names = b'' if schema in known else names
    numbers = _doubles([number for item in items for number in item[1:]])
    size = _HEADER.size + len(numbers) + len(names)
    return _HEADER.pack(schema, len(items), len(names), size, line.code, line.iteration) + numbers + names


def as_double(value: Any) -> float:
    """Return a real number as a float: an infinity where it is too large for one."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _doubles(numbers: Sequence[Any]) -> bytes:
    try:
        return array('d', numbers).tobytes()
    except OverflowError:
        return array('d', map(as_double, numbers)).tobytes()


@lru_cache(maxsize=64)
def _hashed(schema: Schema) -> tuple[int, bytes]:
    import hashlib  # here, for it is slow to import

    encoded = json.dumps(schema, separators=(',', ':')).encode()
    digest = hashlib.blake2b(encoded, digest_size=8).digest()
    return int.from_bytes(digest, 'little', signed=True), zlib.compress(encoded)


def unpack_names(names: bytes) -> Schema:
    """Return the schema whose names came with a payload."""
    return tuple(Field(*field) for field in json.loads(zlib.decompress(names)))
