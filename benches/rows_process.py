"""Rows that need a process of their own: memory, and the time of the import."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

from harness import OURS, Cell, Row, Settings, at_most, require_close

CHILD = Path(__file__).with_name('memory_child.py')
MODULES = {OURS: 'ringmeter', 'numpy': 'numpy', 'mmengine': 'mmengine.logging'}
IMPORT = 'import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)'


def rows(settings: Settings) -> list[Row]:
    """Measure both."""
    return [_memory_row(settings), _import_row(settings)]


def _run(*arguments: str) -> float:
    done = subprocess.run([sys.executable, *arguments], check=True, capture_output=True, text=True)
    return float(done.stdout)


def _memory_row(settings: Settings) -> Row:
    series = 2 if settings.quick else 8
    values = {name: _run(str(CHILD), name, str(series)) for name in (OURS, 'mmengine', 'fvcore', 'deque')}
    require_close(values['mmengine'], 16.0, 0.02, 'two arrays of 8 bytes an entry')
    cells = {
        name: Cell(value, value / values[OURS], is_peer=name in ('mmengine', 'fvcore'), rounds=series)
        for name, value in values.items()
    }
    goal = at_most('at most 8.6 bytes', values[OURS], 8.6)
    return Row('Process', 'memory of an entry, 1M entries of count 1', cells, [goal], 'B', headline=True)


def _import_row(settings: Settings) -> Row:
    names = [OURS, 'numpy'] if settings.quick else list(MODULES)
    rounds = 7 if settings.quick else 15
    for name in names:  # so that all byte code is there
        _run('-c', IMPORT.format(MODULES[name]))
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for i in range(len(names)):
            name = names[(i + number) % len(names)]
            seconds[name].append(_run('-c', IMPORT.format(MODULES[name])))
    cells = {
        name: Cell(
            statistics.median(taken),
            statistics.median(mine / ours for mine, ours in zip(taken, seconds[OURS], strict=True)),
            is_peer=name == 'mmengine',
            call=f'import {MODULES[name]}',
            rounds=rounds,
        )
        for name, taken in seconds.items()
    }
    goal = at_most('less than 1.5x of import numpy', 1 / cells['numpy'].ratio, 1.5)
    return Row('Process', '`import ringmeter`', cells, [goal])
