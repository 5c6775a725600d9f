"""Choosing what to show of the runs, and what to call them."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from ringmeter.readers import Run, Series

from ._errors import CommandError

_LAST = ('time', 'data_time', 'idle_time', 'memory', 'eta_seconds')  # of less interest
_LONGEST_NAME = 40


def note(text: str) -> None:
    """Tell the user something that is no failure."""
    print(f'ringmeter: note: {text}', file=sys.stderr)


def report_notes(run: Run) -> None:
    """Tell what there is to be known about how a file was read."""
    for text in run.notes:
        note(text)


def all_keys(runs: Sequence[Run]) -> list[str]:
    """Return the keys of the runs, in their order, those of less interest last."""
    keys = dict.fromkeys(series.key for run in runs for series in run.series)
    return sorted(keys, key=lambda key: key in _LAST)


def choose_keys(runs: Sequence[Run], wanted: Sequence[str]) -> list[str]:
    """Return those that the user asked for; patterns as ``loss*`` and ``val/*`` stand for what they match.

    Raises:
        CommandError: No run has one of them.
    """
    chosen: dict[str, None] = {}
    keys = all_keys(runs)
    with_modes = [f'{series.mode}/{series.key}' for run in runs for series in run.series]
    for one in wanted:
        matching = [key for key in keys if fnmatchcase(key, one)]
        matching = matching or [key for key in with_modes if fnmatchcase(key, one)]
        if not matching and any(series.answers_to(one) for run in runs for series in run.series):
            matching = [one]
        if not matching:
            raise CommandError(_unknown(one, keys, runs))
        chosen |= dict.fromkeys(matching)
    return list(chosen)


def _unknown(key: str, keys: Sequence[str], runs: Sequence[Run]) -> str:
    near = difflib.get_close_matches(key, keys)
    where = runs[0].path if len(runs) == 1 else f'any of the {len(runs)} files'
    hint = f'; did you mean {" or ".join(map(repr, near))}?' if near else '.'
    return f'{key!r} is not in {where}{hint} There are: {", ".join(keys)}'


def curves(run: Run, key: str) -> list[Series]:
    """Return the curves that a key stands for, those of training first."""
    found = [series for series in run.series if series.answers_to(key)]
    return sorted(found, key=lambda series: series.mode != 'train')


def short_names(paths: Sequence[str]) -> list[str]:
    """Return a name for each file: the part of its path that tells it from the others, if there are any.

    >>> short_names(['work/a/vis_data/scalars.json', 'work/b/vis_data/scalars.json'])
    ['a', 'b']
    >>> short_names(['work/a/vis_data/scalars.json'])
    ['work/a/vis_data/scalars.json']
    """
    parts = [list(Path(path).absolute().parts) for path in paths]
    if len(parts) == 1:
        parts = [[paths[0]]]
    for end in (-1, 0):
        while all(len(one) > 1 for one in parts) and len({one[end] for one in parts}) == 1:
            for one in parts:
                del one[end]
    names: list[str] = []
    for one in parts:
        name = '/'.join(one)
        name = name if len(name) <= _LONGEST_NAME else f'…{name[1 - _LONGEST_NAME :]}'
        same = sum(before.partition(' (')[0] == name for before in names)
        names.append(f'{name} ({same + 1})' if same else name)
    return names
