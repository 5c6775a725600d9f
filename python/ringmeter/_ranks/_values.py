"""A line's values, as what a rank sends of them, and of what it gets for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from numbers import Real
from typing import Any

import numpy as np

from .._sources import Source, nan_count, nan_text, source_of
from ._combine import Reduced
from ._items import Field, Item, is_integer


class Verbatim(str):
    """Text that stays as it is in the place of a number."""

    __slots__ = ()

    def __format__(self, _: str) -> str:
        return str(self)


def items_of(
    scalars: Mapping[str, Any], sources: Mapping[str, Source], reduce: str, scope: str
) -> list[Item]:
    """Return what there is to be reduced: the numbers, with what their windows hold.

    Args:
        scalars: By the names that the line shows or the record has.
        sources: What they are of.
        reduce: How.
        scope: What the items' names begin with.
    """
    items = []
    for name, value in scalars.items():
        is_float = isinstance(value, float)
        if not is_float and not isinstance(value, (Real, np.bool_)):
            continue
        source = sources.get(name) or source_of(name, None, 1, 'current', 1)  # not known
        key, method, weight, entries, _, _ = source
        is_nan = value != value  # noqa: PLR0124  math.isnan() refuses integers that no float can hold
        nans = nan_count(source) if is_nan else 0
        is_whole = not is_float and is_integer(value)
        items.append(Item(_field(scope, name, key, method, reduce, is_whole), value, weight, nans, entries))
    return items


@lru_cache(maxsize=4096)
def _field(scope: str, name: str, key: str, method: str, reduce: str, is_whole: bool) -> Field:
    return Field(scope + name, _how(key, method, reduce), is_whole)


def _how(key: str, method: str, reduce: str) -> str:
    if key.endswith('lr'):
        return 'first'
    if method in ('min', 'max') and reduce in ('mean', 'sum'):
        return method
    return 'mean' if reduce == 'sum' and key.endswith('time') else reduce


def record_of(
    own: Mapping[str, Any], reduced: Mapping[str, Reduced], scope: str, slowest_rank: bool
) -> dict[str, Any]:
    """Return what is to be recorded: what all ranks have, and what is no number of this rank."""
    values: dict[str, Any] = {}
    start = len(scope)
    for full_name, item in reduced.items():
        if full_name.startswith(scope):
            name = full_name[start:]
            values[name] = item.value
            if slowest_rank and name.endswith('time'):
                values[f'{name}_max'], values[f'{name}_max_rank'] = item.most, item.slowest
    return _completed(values, own)


def texts_of(
    own: Mapping[str, Any],
    reduced: Mapping[str, Reduced],
    scope: str,
    slowest_rank: bool,
    nan_counts: bool,
    digits: int,
) -> dict[str, Any]:
    """Return the same as a line shows it."""
    texts: dict[str, Any] = {}
    start = len(scope)
    for full_name, item in reduced.items():
        if not full_name.startswith(scope):
            continue
        name = full_name[start:]
        texts[name] = item.value
        if name.endswith('time'):
            if slowest_rank:
                slowest = f'{item.value:.{digits}f} (max {item.most:.{digits}f} @ r{item.slowest})'
                texts[name] = Verbatim(slowest)
        elif nan_counts and item.nans and not name.endswith('lr') and math.isnan(item.value):
            texts[name] = nan_text(item.nans, item.entries)
    return _completed(texts, own)


def _completed(values: dict[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    for name, value in own.items():
        values.setdefault(name, value)
    return values
