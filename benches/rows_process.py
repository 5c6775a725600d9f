"""Rows that need processes of their own: memory, growth, and the time of the import."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from harness import OURS, Cell, Row, Settings, at_most, no_peer_faster, require_close

TOPIC = 'In a process of its own'
MEMORY = str(Path(__file__).with_name('memory_child.py'))
GROWTH = str(Path(__file__).with_name('growth_child.py'))
MODULES = {OURS: 'ringmeter', 'numpy': 'numpy', 'mmengine': 'mmengine.logging'}
IMPORT = 'import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)'


def rows(settings: Settings) -> list[Row]:
    """Measure them."""
    return [_growth_row(settings), _memory_row(settings), _import_row(settings)]


def _run(*arguments: str) -> float:
    """The number that a fresh Python prints."""
    environment = os.environ | {'PYTHONDONTWRITEBYTECODE': ''}  # as users have it: imports read byte code
    done = subprocess.run(
        [sys.executable, *arguments], check=True, capture_output=True, text=True, env=environment
    )
    return float(done.stdout)


def _interleaved(commands: dict[str, list[str]], rounds: int) -> dict[str, Cell]:
    """Like harness.measure(), with a fresh process for each time. The first one is ours."""
    names = list(commands)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for i in range(len(names)):
            name = names[(i + number) % len(names)]
            seconds[name].append(_run(*commands[name]))
    return {
        name: Cell(
            statistics.median(taken),
            statistics.median(mine / ours for mine, ours in zip(taken, seconds[OURS], strict=True)),
            is_peer=name == 'mmengine',
            call=' '.join(Path(part).name if part == GROWTH else part for part in commands[name]),
            rounds=rounds,
        )
        for name, taken in seconds.items()
    }


def _growth_row(settings: Settings) -> Row:
    commands = {name: [GROWTH, name, '100000'] for name in (OURS, 'mmengine')}
    cells = _interleaved(commands, rounds=1 if settings.quick else 7)
    title = '`update_scalar(key, float)`, a history growing from 100k entries, nothing else in the process'
    return Row(TOPIC, title, cells, [no_peer_faster(cells)])


def _memory_row(settings: Settings) -> Row:
    series = 2 if settings.quick else 8
    values = {name: _run(MEMORY, name, str(series)) for name in (OURS, 'mmengine', 'fvcore', 'deque')}
    require_close(values['mmengine'], 16.0, 0.02, 'two arrays of 8 bytes an entry')
    cells = {
        name: Cell(value, value / values[OURS], is_peer=name in ('mmengine', 'fvcore'), rounds=series)
        for name, value in values.items()
    }
    goal = at_most('at most 8.6 bytes', values[OURS], 8.6)
    return Row(TOPIC, 'memory of an entry, 1M entries of count 1', cells, [goal], 'B', headline=True)


def _import_row(settings: Settings) -> Row:
    names = [OURS, 'numpy'] if settings.quick else list(MODULES)
    commands = {name: ['-c', IMPORT.format(MODULES[name])] for name in names}
    _interleaved(commands, rounds=1)  # so that all byte code is there
    cells = _interleaved(commands, rounds=9 if settings.quick else 15)
    goal = at_most('less than 1.5x of import numpy', 1 / cells['numpy'].ratio, 1.5)
    return Row(TOPIC, '`import ringmeter`', cells, [goal])
