"""Runs every benchmark and writes one JSON file: ``python benches/run.py [--quick] [--out FILE]``."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import rows_accelerate
import rows_compat
import rows_device
import rows_exact
import rows_lightning
import rows_line
import rows_mmengine
import rows_process
import rows_progress
import rows_query
import rows_transformers
import rows_update
import table
from harness import Row, Settings

HERE = Path(__file__).parent
PACKAGES = (
    'ringmeter',
    'numpy',
    'torch',
    'mmengine',
    'fvcore',
    'torchmetrics',
    'lightning',
    'transformers',
    'accelerate',
    'tensorboard',
    'rich',
)
QUIET = 0.5  # load average of a machine that does nothing else
# Those of the device last: from then on, every read looks for what has landed.
TOPICS = (
    rows_update,
    rows_query,
    rows_line,
    rows_compat,
    rows_exact,
    rows_process,
    rows_progress,
    rows_mmengine,
    rows_lightning,
    rows_transformers,
    rows_accelerate,
    rows_device,
)


def main() -> None:
    """Measure, write, show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--quick', action='store_true', help='fewer and shorter rounds: under a minute')
    parser.add_argument('--out', type=Path, help='default: results/cpu.json, or results/quick.json')
    arguments = parser.parse_args()
    if os.getloadavg()[0] > QUIET:
        print('warning: the machine is busy, and times will be noisy', file=sys.stderr)
    out: Path = arguments.out or HERE / 'results' / ('quick.json' if arguments.quick else 'cpu.json')
    settings = Settings.make(arguments.quick)
    start = time.perf_counter()
    machine = _machine(settings)
    rows: list[Row] = []
    for topic in TOPICS:
        print(f'{topic.__name__} ...', file=sys.stderr, flush=True)
        rows += topic.rows(settings)
    machine['seconds'] = round(time.perf_counter() - start, 1)
    result = json.loads(json.dumps({'machine': machine, 'rows': [_as_json(row) for row in rows]}))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=1) + '\n')
    print(table.full_report(result))


def _machine(settings: Settings) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        'date': datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds'),
        'commit': _commit(),
        'cpu': _cpu(),
        'cores': os.cpu_count(),
        'load_before': round(os.getloadavg()[0], 2),
        'system': platform.platform(),
        'python': platform.python_version(),
        'packages': {name: importlib.metadata.version(name) for name in PACKAGES},
        'settings': dataclasses.asdict(settings),
    }


def _cpu() -> str:
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        if line.startswith('model name'):
            return line.split(':', 1)[1].strip()
    return platform.machine()


def _commit() -> str:
    """The commit, with a mark when the measured code differs from it."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ['git', *arguments], cwd=HERE.parent, capture_output=True, text=True, check=False
        )
        return done.stdout.strip()

    changed = git('status', '--porcelain', '--', 'csrc', 'python', 'CMakeLists.txt')
    return git('rev-parse', '--short=12', 'HEAD') + (' and changes' if changed else '')


def _as_json(row: Row) -> dict[str, Any]:
    goals = [{**dataclasses.asdict(goal), 'met': goal.met} for goal in row.goals]
    return {**dataclasses.asdict(row), 'goals': goals}


if __name__ == '__main__':
    main()
