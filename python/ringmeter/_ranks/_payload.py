"""The bytes that a rank sends for a line, and the table that all ranks make of what they got.

A header, four numbers for each item, and the items' names, compressed, while there are ranks that do not know
them. Which names they are, a hash in the header says.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._items import HOWS, Item, Line

Bytes = NDArray[np.uint8]

HEADER = np.dtype([(name, '<i8') for name in ('schema', 'items', 'names', 'size', 'mode', 'iteration')])
NUMBERS = ('value', 'weight', 'nans', 'entries')
_ITEM_SIZE = 8 * len(NUMBERS)
_NOTHING = -1  # in place of the number of items: a rank whose values could not be had


class Field(NamedTuple):
    """What is known of an item before its numbers come."""

    name: str
    how: str
    is_whole: bool


Schema = tuple[Field, ...]


def size_without_names(items: int) -> int:
    """Return how many bytes a payload takes once its names are known."""
    return HEADER.itemsize + _ITEM_SIZE * max(items, 0)


def pack(line: Line, items: Sequence[Item] | None, known: dict[int, Schema]) -> bytes:
    """Return the payload for a line, without names that are known. None: no values are to be had."""
    import hashlib  # here, for it is slow to import

    text = '\0'.join(f'{HOWS.index(item.how)}{int(item.is_whole)}{item.name}' for item in items or ()).encode(
        'utf-8', 'surrogatepass'
    )
    schema = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), 'little', signed=True)
    names = b'' if schema in known else zlib.compress(text)
    rows = [(item.value, item.weight, item.nans, item.entries) for item in items or ()]
    numbers = np.array(rows, dtype='<f8').tobytes()
    count = _NOTHING if items is None else len(items)
    size = HEADER.itemsize + len(numbers) + len(names)
    header = np.array((schema, count, len(names), size, line.code, line.iteration), dtype=HEADER)
    return header.tobytes() + numbers + names


class Table:
    """What all ranks sent for one line: one row a rank.

    Args:
        received: The payloads, of equal length.
    """

    def __init__(self, received: Bytes) -> None:
        self._received = received
        size = HEADER.itemsize
        self.headers = np.ascontiguousarray(received[:, :size]).view(HEADER)[:, 0]

    @property
    def size(self) -> int:
        """Bytes of the largest payload: if those received are shorter, they are not whole."""
        return int(self.headers['size'].max())

    @property
    def items(self) -> int:
        """Number of items of the rank that has most."""
        return int(self.headers['items'].max())

    def find_other(self, line: Line) -> tuple[int, Line] | None:
        """Return the first rank that is at another line, and which; None if there is none."""
        modes, iterations = self.headers['mode'], self.headers['iteration']
        others = np.flatnonzero((modes != line.code) | (iterations != line.iteration))
        if not len(others):
            return None
        rank = int(others[0])
        return rank, Line.of_code(int(modes[rank]), int(iterations[rank]))

    def new_schemas(self) -> Iterator[tuple[int, Schema]]:
        """Iterate over what was sent with names, in the order of the ranks."""
        if not self.headers['names'].any():
            return
        _, first = np.unique(self.headers['schema'], return_index=True)
        for rank in sorted(first[self.headers['names'][first] > 0].tolist()):
            schema, items, names = (int(self.headers[name][rank]) for name in ('schema', 'items', 'names'))
            start = size_without_names(items)
            text = zlib.decompress(self._received[rank, start : start + names].tobytes())
            yield schema, _fields(text.decode('utf-8', 'surrogatepass'))

    def read(self, known: dict[int, Schema]) -> tuple[list[Field], NDArray[np.float64], NDArray[np.bool_]]:
        """Return the union of the fields, their numbers by rank and field, and which ranks have which."""
        has_values = self.has_values()
        only = int(self.headers['schema'][0])
        if (self.headers['schema'] == only).all() and has_values.all():
            return self._read_same(list(known[only]))
        schemas, first = np.unique(self.headers['schema'], return_index=True)
        schemas = schemas[np.argsort(first)]
        columns: dict[str, int] = {}
        fields: list[Field] = []
        for schema in schemas.tolist():
            for field in known[schema]:
                if columns.setdefault(field.name, len(fields)) == len(fields):
                    fields.append(field)
                elif not field.is_whole:
                    column = columns[field.name]
                    fields[column] = fields[column]._replace(is_whole=False)
        numbers = np.zeros((len(self.headers), len(fields), len(NUMBERS)))
        present = np.zeros(numbers.shape[:2], dtype=bool)
        for schema in schemas.tolist():
            own = np.array([columns[field.name] for field in known[schema]], dtype=np.int64)
            rows = np.flatnonzero((self.headers['schema'] == schema) & has_values)
            data = self._received[rows, HEADER.itemsize : size_without_names(len(own))]
            numbers[np.ix_(rows, own)] = (
                np.ascontiguousarray(data).view('<f8').reshape(len(rows), len(own), len(NUMBERS))
            )
            present[np.ix_(rows, own)] = True
        return fields, numbers, present

    def _read_same(self, fields: list[Field]) -> tuple[list[Field], NDArray[np.float64], NDArray[np.bool_]]:
        """Do it where all ranks have the same."""
        data = self._received[:, HEADER.itemsize : size_without_names(len(fields))]
        shape = len(data), len(fields), len(NUMBERS)
        return fields, np.ascontiguousarray(data).view('<f8').reshape(shape), np.ones(shape[:2], dtype=bool)

    def has_values(self) -> NDArray[np.bool_]:
        """Return which ranks could say something."""
        return np.asarray(self.headers['items'] != _NOTHING)


def _fields(text: str) -> Schema:
    parts = text.split('\0') if text else []
    return tuple(Field(part[2:], HOWS[int(part[0])], part[1] == '1') for part in parts)
