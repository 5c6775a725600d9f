"""One number of those of all ranks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .._core import RankTable
from ._items import HOWS, Field
from ._payload import Schema


class Reduced(NamedTuple):
    """An item of a line, of all ranks."""

    value: Any
    nans: int
    entries: int
    most: float  # of any rank, and
    slowest: int  # which has it


class Union:
    """The fields of all schemas of a line, and which of them each schema has.

    Args:
        schemas: By their hashes, in the order in which their fields are shown.
    """

    def __init__(self, schemas: Mapping[int, Schema]) -> None:
        fields: dict[str, Field] = {}
        for schema in schemas.values():
            for field in schema:
                known = fields.setdefault(field.name, field)
                if known.is_whole and not field.is_whole:
                    fields[field.name] = field
        places = {name: place for place, name in enumerate(fields)}
        self.fields = list(fields.values())
        self._hows = [HOWS.index(field.how) for field in self.fields]
        self._columns = {
            hashed: [places[field.name] for field in schema] for hashed, schema in schemas.items()
        }

    def reduce(self, table: RankTable, ranks: Sequence[int]) -> dict[str, Reduced]:
        """Return every field, reduced over the ranks that have it. ``ranks`` are their numbers in the job."""
        rows = table.reduce(self._columns, self._hows)
        return {
            field.name: Reduced(
                int(value) if field.is_whole and field.how != 'mean' and math.isfinite(value) else value,
                nans,
                entries,
                most,
                ranks[slowest],
            )
            for field, (value, nans, entries, most, slowest) in zip(self.fields, rows, strict=True)
        }

    def rows_without(self, place: int, table: RankTable) -> list[int]:
        """Return the rows of the ranks that say something, but nothing of a field."""
        return table.ranks_without({hashed for hashed, places in self._columns.items() if place in places})
