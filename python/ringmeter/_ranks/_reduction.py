"""Lines of all ranks, of one collective each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from weakref import ReferenceType, WeakSet, ref

from .._choices import note_choice
from .._core import RankTable
from .._errors import ArgumentError, ArgumentTypeError
from .._rank import current_rank
from ._channel import Channel, Gathering, initialised_torch, rounded
from ._combine import Reduced, Union
from ._items import HOWS, SHOWN, Item, Line
from ._payload import Schema, as_double, pack, size_without_names, unpack_names

_logger = logging.getLogger('ringmeter')

_FIRST_SIZE = 16384  # bytes, of the first line: enough for 200 keys, whatever they are
_SLACK = 512  # beyond what the largest line so far took: for some new keys with their names
_MOST_SCHEMAS = 1024  # besides one for each rank
_MOST_UNIONS = 64
_MOST_NAMED = 10  # keys in an error

_failed: WeakSet[Any] = WeakSet()  # groups of this process that are not used any more


class KeysDifferError(ArgumentError):
    """The ranks have different keys, and it was asked for that they have the same."""


class Draft(NamedTuple):
    """A line of one rank, to be completed with what all ranks say."""

    items: list[Item]
    complete: Callable[[dict[str, Reduced]], tuple[dict[str, Any], str]]


class Reduction:
    """Reduces the numbers of lines over the ranks of a process group.

    Every rank must have the same lines, in the same order. How many bytes they send follows from what all of
    them have seen: a collective more is needed only where a line comes with so many new keys that they do not
    fit.

    Args:
        how: ``'mean'``, ``'sum'``, ``'min'`` or ``'max'``.
        strict: Whether all ranks must have the same keys.
        group: Who takes part; None: everyone.

    Raises:
        ArgumentError: ``how`` is none of these.
        ArgumentTypeError: ``group`` is no process group, or this rank is not in it.
    """

    def __init__(self, how: str, strict: bool = False, group: Any = None) -> None:
        if how not in HOWS[:4]:
            raise ArgumentError(f'reduce must be None or one of {", ".join(HOWS[:4])}, got {how!r}')
        if group is not None and not (hasattr(group, 'size') and hasattr(group, 'rank')):
            raise ArgumentTypeError(f'group must be a process group that this rank is in, got {group!r}')
        self.how = how
        self._strict = strict
        # Who holds a group of gloo to the end of the process has that end in an abort.
        self._group = None if group is None else ref(group)
        self._used: ReferenceType[Any] | None = None  # the group that the following is about
        self._channel: Channel | None = None
        self._ranks: list[int] = []
        self._known: dict[int, Schema] = {}  # by their hashes; the same on all ranks, as is the size
        self._unions: dict[tuple[int, ...], Union] = {}
        self._size = _FIRST_SIZE
        self._largest = 0
        self._is_off = False

    def run(self, line: Line, make: Callable[[], Draft]) -> tuple[dict[str, Any], str]:
        """Return the record and the text of a line, at once.

        Raises:
            KeysDifferError: With ``strict``, on all ranks.
            Exception: The line cannot be made here. The others have it without this rank.
        """
        try:
            draft = make()
        except Exception:
            self.start(line, None)()
            raise
        return draft.complete(self.start(line, draft.items)())

    def start(self, line: Line, items: Sequence[Item] | None) -> Callable[[], dict[str, Reduced]]:
        """Begin with a line: None where its values are not to be had. Return what waits for the others.

        That gives this rank's own numbers where there is nobody else, and when the collective fails, which is
        reported once. It must be called before the next line begins.
        """
        torch, group = self._find_group()
        if group is None:
            return lambda: _own(items)
        try:
            gathering = self._gather(torch, group, line, items)
        except Exception as error:
            _fail(group, line, error)
            return lambda: _own(items)
        ranks = self._ranks

        def finish() -> dict[str, Reduced]:
            try:
                return self._reduce(line, gathering.wait(), ranks)
            except KeysDifferError:
                raise
            except Exception as error:
                _fail(group, line, error)
                return _own(items)

        return finish

    @contextmanager
    def switched_off(self) -> Iterator[None]:
        """Meanwhile, lines have this rank's own numbers: for when others cannot be expected to take part."""
        before, self._is_off = self._is_off, True
        try:
            yield
        finally:
            self._is_off = before

    def _find_group(self) -> tuple[Any, Any]:
        torch = initialised_torch()
        if torch is None or self._is_off:
            return torch, None
        group = torch.distributed.group.WORLD if self._group is None else self._group()
        if group is None:
            note_choice('lines of all ranks', 'this rank alone: their process group is gone')
        elif group.size() > 1 and group not in _failed:
            return torch, group
        return torch, None

    def _gather(self, torch: Any, group: Any, line: Line, items: Sequence[Item] | None) -> Gathering:
        channel = self._channel
        if channel is None or self._used is None or group is not self._used():
            channel = self._channel = Channel(torch, group)
            backend = torch.distributed.get_backend(group)
            ranks = torch.distributed.get_process_group_ranks(group)
            self._used, self._ranks, self._known, self._unions = ref(group), ranks, {}, {}
            self._size, self._largest = _FIRST_SIZE, 0
            note_choice('lines of all ranks', f'{backend}, with ranks {_listed(ranks)}')
        return Gathering(channel, group, pack(line, items, self._known), self._size)

    def _reduce(self, line: Line, table: RankTable, ranks: list[int]) -> dict[str, Reduced]:
        other = table.find_other(line.code, line.iteration)
        if other is not None:
            raise RuntimeError(f'rank {ranks[other[0]]} is at {Line.of_code(*other[1:])}')
        union = self._union_of(table.schemas())
        self._largest = max(self._largest, size_without_names(table.items))
        self._size = rounded(self._largest + _SLACK)
        if self._strict:
            _check_same(line, union, table, ranks)
        return union.reduce(table, ranks)

    def _union_of(self, schemas: list[tuple[int, bytes]]) -> Union:
        for hashed, names in schemas:
            if hashed not in self._known:
                self._known[hashed] = unpack_names(names)
        key = tuple(hashed for hashed, _ in schemas)
        union = self._unions.get(key)
        if union is None:
            if len(self._unions) == _MOST_UNIONS:
                self._unions.clear()
            union = self._unions[key] = Union({hashed: self._known[hashed] for hashed in key})
        while len(self._known) > _MOST_SCHEMAS + len(self._ranks):
            del self._known[next(iter(self._known))]
        return union


def _fail(group: Any, line: Line, error: Exception) -> None:
    _failed.add(group)
    reason = str(error).split('\n', maxsplit=1)[0].rstrip('.') or type(error).__name__
    _logger.error(
        '%s: reducing over %d ranks failed: %s. From here on, lines show the values of this rank alone',
        line,
        group.size(),
        reason,
    )


def _own(items: Sequence[Item] | None) -> dict[str, Reduced]:
    rank = current_rank().number
    return {
        item.field.name: Reduced(item.value, item.nans, item.entries, as_double(item.value), rank)
        for item in items or ()
    }


def _check_same(line: Line, union: Union, table: RankTable, ranks: list[int]) -> None:
    missing = [
        f'{field.name.removeprefix(SHOWN)!r} is not on rank {_listed([ranks[row] for row in rows])}'
        for place, field in enumerate(union.fields)
        if field.name.startswith(SHOWN) and (rows := union.rows_without(place, table))
    ]
    if missing:
        more = f'; and {len(missing) - _MOST_NAMED} more' if len(missing) > _MOST_NAMED else ''
        raise KeysDifferError(
            f'{line}: all ranks must show the same keys, but {"; ".join(missing[:_MOST_NAMED])}{more}'
        )


def _listed(ranks: list[int]) -> str:
    more = f' and {len(ranks) - _MOST_NAMED} more' if len(ranks) > _MOST_NAMED else ''
    return ', '.join(map(str, ranks[:_MOST_NAMED])) + more
