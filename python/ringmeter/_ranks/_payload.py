"""The bytes that a rank sends for a line: a header, four numbers for each item, and the items' names.

``csrc/core/rank_table.h`` reads them. The names come, compressed, while there are ranks that do not know
them. Which names they are, a hash in the header says.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from ._items import HOWS, Item, Line

_HEADER = struct.Struct('<6q')
_ITEM_SIZE = 8 * 4
_NOTHING = -1  # in place of the number of items: a rank whose values could not be had


class Field(NamedTuple):
    """What is known of an item before its numbers come."""

    name: str
    how: str
    is_whole: bool


Schema = tuple[Field, ...]


def size_without_names(items: int) -> int:
    """Return how many bytes a payload takes once its names are known."""
    return _HEADER.size + _ITEM_SIZE * max(items, 0)


def pack(line: Line, items: Sequence[Item] | None, known: dict[int, Schema]) -> bytes:
    """Return the payload for a line, without names that are known. None: no values are to be had."""
    if items is None:
        return _HEADER.pack(0, _NOTHING, 0, _HEADER.size, line.code, line.iteration)
    schema, names = _hashed(tuple([(item.name, item.how, item.is_whole) for item in items]))
    names = b'' if schema in known else names
    numbers = array('d', [number for item in items for number in item[2:]]).tobytes()
    size = _HEADER.size + len(numbers) + len(names)
    return _HEADER.pack(schema, len(items), len(names), size, line.code, line.iteration) + numbers + names


@lru_cache(maxsize=64)
def _hashed(fields: tuple[tuple[str, str, bool], ...]) -> tuple[int, bytes]:
    import hashlib  # here, for it is slow to import

    text = '\0'.join(f'{HOWS.index(how)}{int(is_whole)}{name}' for name, how, is_whole in fields)
    encoded = text.encode('utf-8', 'surrogatepass')
    digest = hashlib.blake2b(encoded, digest_size=8).digest()
    return int.from_bytes(digest, 'little', signed=True), zlib.compress(encoded)


def unpack_names(names: bytes) -> Schema:
    """Return the schema whose names came with a payload."""
    text = zlib.decompress(names).decode('utf-8', 'surrogatepass')
    parts = text.split('\0') if text else []
    return tuple(Field(part[2:], HOWS[int(part[0])], part[1] == '1') for part in parts)
