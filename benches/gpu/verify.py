"""Builds ringmeter and checks it on this machine's NVIDIA GPU: ``python benches/gpu/verify.py``.

Needs no network: torch, a C++ compiler, CMake, ninja, pybind11 and scikit-build-core must be there. Each
check runs in a process of its own, so that one that hangs or crashes costs no other. Ends with 1 when one
failed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import report
from plan import PLAN, Check, pick

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / 'build' / 'gpu'
TAIL = 40  # lines of a check that failed
NO_DEVICE = 'no CUDA device'

Json = dict[str, Any]


def main() -> int:
    """Build, check, write, show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument('--only', default='', help='such as H3,H5: these alone')
    parser.add_argument('--list', action='store_true', help='show the checks')
    parser.add_argument('--out', type=Path, help='default, if all are run: benches/results/gpu.json')
    parser.add_argument('--commit', help='what the sources are, where there is no git')
    parser.add_argument('--minutes', type=float, default=9.5, help='begin no check after that; default: 9.5')
    parser.add_argument('--site', type=Path, help='a folder with ringmeter in it, instead of building it')
    parser.add_argument('--device', default='cuda', choices=('cuda', 'cpu'), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.list:
        print('\n'.join(f'{check.name:<14} {check.file:<18} {check.shows}' for check in PLAN))
        return 0
    chosen = pick(arguments.only)
    start = time.perf_counter()
    site: Path = (arguments.site or build()).resolve()
    env = _environment(site, arguments.device)
    machine = _machine(env, site, arguments.commit)
    deadline = start + arguments.minutes * 60
    checks = []
    for check in chosen:
        found = _unable(check, machine, arguments.device) or run(check, env, deadline)
        print(report.table([found]), flush=True)
        checks.append(found)
    machine['seconds'] = round(time.perf_counter() - start, 1)

    out: Path | None = arguments.out
    if out is None and machine['device'] and not arguments.only and arguments.device == 'cuda':
        out = HERE.parent / 'results' / 'gpu.json'
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps({'machine': machine, 'checks': checks}, indent=1) + '\n')
    problems = report.failures(checks)
    print('', *filter(None, [problems, report.summary(machine, checks)]), sep='\n')
    is_good = any(check['status'] == 'passed' for check in checks) and not problems
    return 0 if is_good else 1  # nothing was shown where all were skipped


def build() -> Path:
    """Install ringmeter into a folder of its own, and return it."""
    site = BUILD / 'site'
    command: list[str | Path] = [
        sys.executable, '-m', 'pip', '--disable-pip-version-check', 'install', '-q', '--no-build-isolation',
        '--no-deps', '--no-index', '--upgrade', '--root-user-action=ignore',
        f'--config-settings=build-dir={BUILD / "cmake"}', '--target', site, ROOT,
    ]  # fmt: skip
    print('building ringmeter ...', file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f'ringmeter could not be built:\n{done.stdout[-6000:]}')
    return site


def _environment(site: Path, device: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(site), os.environ.get('PYTHONPATH')]))
    env = {**os.environ, 'PYTHONPATH': path, 'RINGMETER_VERIFY_DEVICE': device, 'PYTHONUNBUFFERED': '1'}
    env.pop('RINGMETER_CUDA_DRIVER', None)  # the real one
    return env


def _machine(env: dict[str, str], site: Path, commit: str | None) -> Json:
    command = [sys.executable, str(HERE / 'machine.py')]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f'torch cannot be asked about the machine:\n{done.stderr[-3000:]}')
    machine: Json = json.loads(done.stdout.splitlines()[-1])
    if site not in Path(machine['ringmeter']).parents:
        raise SystemExit(f'another ringmeter is imported, from {machine["ringmeter"]}: uninstall it')
    del machine['ringmeter']
    machine['date'] = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec='seconds')
    machine['commit'] = commit or _commit()
    return machine


def _commit() -> str | None:
    """The commit, with a mark when the code differs from it."""

    def git(*arguments: str) -> str:
        with contextlib.suppress(FileNotFoundError):
            done = subprocess.run(['git', *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
            return done.stdout.strip() if done.returncode == 0 else ''
        return ''

    changed = git('status', '--porcelain', '--', 'csrc', 'python', 'CMakeLists.txt', 'benches/gpu')
    return (git('rev-parse', 'HEAD') + (' and changes' if changed else '')) or None


def _unable(check: Check, machine: Json, device: str) -> Json | None:
    """Return what there is to say of a check that this machine cannot run."""
    if device == 'cuda' and not machine['device']:
        return _found(check, 0.0, {'status': 'skipped', 'note': NO_DEVICE})
    if device == 'cpu' and not check.on_cpu:
        return _found(check, 0.0, {'status': 'skipped', 'note': 'needs a CUDA device'})
    return None


def run(check: Check, env: dict[str, str], deadline: float) -> Json:
    """Run a check in a process of its own, and return what it found."""
    start = time.perf_counter()
    limit = min(check.seconds, deadline + 20 - start)
    if start >= deadline:
        return _found(check, 0.0, {'status': 'failed', 'note': 'there was no time left for it'})
    child = subprocess.Popen(
        [sys.executable, str(HERE / check.file), check.function or check.name],
        cwd=ROOT,
        env={**env, **check.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='replace',
        start_new_session=True,  # so that what it started ends with it
    )
    problem = ''
    try:
        output, _ = child.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        problem = f'was not over after {limit:.0f} s'
        output = _kill(child)
    seconds = time.perf_counter() - start
    lines = output.rstrip().splitlines()
    tail = '\n'.join(lines[-TAIL:])
    if not problem:
        with contextlib.suppress(ValueError, IndexError):
            found = json.loads(lines[-1])
            if isinstance(found, dict) and 'status' in found:
                result = _found(check, seconds, found)
                result['tail'] = '\n'.join(lines[-TAIL - 1 : -1]) if result['status'] == 'failed' else ''
                if child.returncode != 0 and result['status'] == 'passed':
                    result.update(status='failed', note=f'ended with {child.returncode}', tail=tail)
                return result
        problem = f'ended with {child.returncode} and said nothing'
    return _found(check, seconds, {'status': 'failed', 'note': problem, 'tail': tail})


def _kill(child: subprocess.Popen[str]) -> str:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):  # a process in the driver may not die at once
        return child.communicate(timeout=10)[0]
    return ''


def _found(check: Check, seconds: float, found: Json) -> Json:
    empty: Json = {'note': '', 'figures': {}, 'cells': {}, 'goals': [], 'tail': ''}
    about = {'name': check.name, 'shows': check.shows, 'seconds': round(seconds, 1)}
    return {**empty, **found, **about}


if __name__ == '__main__':
    sys.exit(main())
