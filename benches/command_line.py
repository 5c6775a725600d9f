"""Time and memory of ``ringmeter plot`` on files of a million JSON lines, in processes of their own.

python benches/command_line.py [--lines 1000000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

KEYS = ('lr', 'data_time', 'loss_cls', 'loss_box', 'loss_mask', 'loss', 'grad_norm', 'time')
SPACINGS = {"spaced as Python's json does": (', ', ': '), 'without spaces, as of orjson or jq -c': (',', ':')}
SECONDS, GIBIBYTES = 10.0, 1.0  # what is allowed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--lines', type=int, default=1_000_000)
    parser.add_argument('--rounds', type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / 'scalars.json'
        for name, separators in SPACINGS.items():
            _write(path, arguments.lines, separators)
            size = path.stat().st_size / 2**20
            print(f'{arguments.lines:,} lines, {size:.0f} MiB, {len(KEYS)} keys, {name}')
            for options in ([], ['--keys', 'loss'], ['--smooth', '0.9'], ['--smooth', '100']):
                _report(options, [_run(path, options) for _ in range(arguments.rounds)])


def _report(options: list[str], runs: list[tuple[float, float, float]]) -> None:
    seconds, busy = (statistics.median(run[i] for run in runs) for i in (0, 1))
    peak = max(run[2] for run in runs)
    missed = '' if seconds < SECONDS and peak < GIBIBYTES else '  MISSED'
    print(f'plot {" ".join(options):<14} {seconds:5.2f} s, of CPU {busy:5.2f} s  {peak:.2f} GiB{missed}')


def _write(path: Path, lines: int, separators: tuple[str, str]) -> None:
    random.seed(0)
    dumps = json.JSONEncoder(separators=separators).encode
    with path.open('w') as file:
        for number in range(1, lines + 1):
            record = {key: random.random() for key in KEYS}
            position = {'epoch': (number - 1) // 1000 + 1, 'iter': number, 'step': number}
            file.write(dumps(record | position) + '\n')
            if number % 1000 == 0:
                file.write(dumps({'accuracy': random.random(), 'step': number // 1000}) + '\n')


def _run(path: Path, options: list[str]) -> tuple[float, float, float]:
    """Return the seconds, those of CPU time and the most memory in GiB of one run of the command."""
    out = path.with_name('plot.png')
    out.unlink(missing_ok=True)
    command = [sys.executable, '-m', 'ringmeter', 'plot', str(path), *options, '--out', str(out)]
    start = time.perf_counter()
    pid = os.posix_spawn(sys.executable, command, os.environ)
    _, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - start
    if status != 0 or not out.read_bytes().startswith(b'\x89PNG'):
        raise RuntimeError(f'{command} failed')
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


if __name__ == '__main__':
    main()
