"""What breaks: kernels that crash, forks, and tools that look for errors of ours."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import torch
import torch.utils.data
from gpu_check import DEVICE, ON_CPU, ROOT, Result, Skipped, check, listed, main, require, require_equal, spin

import ringmeter as rm

CRASH = """
import json, time, torch
from cuda_driver import PTX, Driver
import ringmeter as rm
hub = rm.MessageHub('crash')
loss = torch.ones((), device='cuda')
hub.update_scalar('a', loss)
assert hub.get_scalar('a').current() == 1.0
driver = Driver()
crash = driver.function(driver.load(PTX), 'crash')
torch.cuda._sleep(100_000_000)
driver.launch(crash, torch.cuda.current_stream().cuda_stream)
hub.update_scalar('a', loss)
seen = {}
start = time.perf_counter()
for name, read in (
    ('read', lambda: hub.get_scalar('a').current()),
    ('read again', lambda: hub.get_scalar('a').mean()),
    ('record', lambda: hub.update_scalar('a', loss)),
):
    try:
        read()
        seen[name] = ''
    except rm.DeviceError as error:
        seen[name] = str(error)
seen['seconds'] = time.perf_counter() - start
seen['landed'] = [hub.get_scalar('a').landed, float(hub.get_scalar('a').current(landed=True))]
hub.update_scalar('b', 4.0)
seen['host value'] = float(hub.get_scalar('b').current())
seen['saved'] = sorted(hub.state_dict()['log_scalars'])
print(json.dumps(seen), flush=True)
"""
SMALL_RUN = """
import torch
import ringmeter as rm
hub = rm.MessageHub('small')
losses = {f'loss{i}': torch.full((), float(i), device='cuda') for i in range(8)}
for _ in range(50):
    hub.update_scalar('a', losses['loss3'])
    hub.update_scalars(losses)
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    hub.update_scalars({'captured': losses['loss1'], 'too': losses['loss2']})
for _ in range(50):
    graph.replay()
torch.cuda.synchronize()
assert hub.get_scalar('loss7').sum() == 350.0
assert hub.get_scalar('captured').sum() == 50.0
print('all there')
"""


@check('H10')
def crash(result: Result) -> None:
    path = os.pathsep.join([str(ROOT / 'benches' / 'gpu'), os.environ.get('PYTHONPATH', '')])
    child = subprocess.Popen(
        [sys.executable, '-c', CRASH],
        env={**os.environ, 'PYTHONPATH': path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert child.stdout is not None
    lines = []
    for line in child.stdout:
        lines.append(line)
        if line.startswith('{'):
            break
    start = time.perf_counter()
    try:
        rest, _ = child.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        child.kill()
        raise AssertionError('the process did not exit by itself within 30 s') from None
    exit_seconds = time.perf_counter() - start
    require(bool(lines) and lines[-1].startswith('{'), f'no report: {"".join(lines)[-1500:]} {rest[-500:]}')
    seen = json.loads(lines[-1])
    for name in ('read', 'read again', 'record'):
        require(bool(seen[name]), f'{name}: no DeviceError was raised')
    require('the device has failed' in seen['read'], f'the error says {seen["read"]!r}')
    require_equal(seen['landed'], [1, 1.0], 'what had landed before')
    require_equal(seen['host value'], 4.0, 'a value of the host after that')
    require_equal(seen['saved'], ['a', 'b'], 'what is saved')
    require(child.returncode != -signal.SIGSEGV, 'segmentation fault at exit')
    result.figures.update(
        error=seen['read'], error_after_s=seen['seconds'], exit_s=exit_seconds, exit_code=child.returncode
    )


@check('H9-memcheck')
def memcheck(result: Result) -> None:
    _sanitize(result, 'memcheck', '--report-api-errors', 'no')


@check('H9-racecheck')
def racecheck(result: Result) -> None:
    _sanitize(result, 'racecheck')


def _sanitize(result: Result, tool: str, *options: str) -> None:
    program = shutil.which('compute-sanitizer') or shutil.which(
        'compute-sanitizer', path='/usr/local/cuda/bin'
    )
    if program is None:
        raise Skipped('compute-sanitizer is not installed')
    start = time.perf_counter()
    command = [program, '--tool', tool, *options, '--error-exitcode', '97', sys.executable, '-c', SMALL_RUN]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    output = done.stdout + done.stderr
    if 'Device not supported' in output:
        raise Skipped('compute-sanitizer cannot be used on this machine: Device not supported')
    print(output[-4000:])
    summary = re.findall(r'(?:ERROR|RACECHECK) SUMMARY: (.*)', output)
    require(done.returncode == 0 and 'all there' in output, f'ended with {done.returncode}: {summary}')
    require(bool(summary), 'compute-sanitizer gave no summary')
    result.figures.update(summary=summary[-1], seconds=time.perf_counter() - start)


class _Squares(torch.utils.data.Dataset[float]):
    """Records in the worker, too: values of the host, as a dataset that measures itself might."""

    def __init__(self, hub: rm.MessageHub) -> None:
        self._hub = hub

    def __len__(self) -> int:
        return 32

    def __getitem__(self, i: int) -> float:
        self._hub.update_scalar('of_the_worker', float(i))
        assert self._hub.get_scalar('of_the_worker').current() == float(i)
        return float(i * i)


@check('H13-fork')
def fork(result: Result) -> None:
    hub = rm.MessageHub('fork')
    count = torch.zeros((), device=DEVICE)
    hub.update_scalar('n', count)
    loader = torch.utils.data.DataLoader(
        _Squares(hub), batch_size=4, num_workers=2, multiprocessing_context='fork'
    )
    if not ON_CPU:
        spin(0.3)
    for _ in range(100):  # in flight while the workers are forked
        count.add_(1)
        hub.update_scalar('n', count)
    got = [float(x) for batch in loader for x in batch]
    require_equal(got, [float(i * i) for i in range(32)], 'what the workers loaded')
    require_equal(listed(hub.get_scalar('n')), [float(i) for i in range(101)], 'values in flight')
    require('of_the_worker' not in hub.log_scalars, 'a worker recorded into this process')
    result.figures['values_in_flight'] = 100


@check('tests')
def tests(result: Result) -> None:
    command = [sys.executable, '-m', 'pytest', '-q', '-m', 'gpu', '-W', 'default', '-p', 'no:cacheprovider',
               'tests/gpu']  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print(done.stdout[-4000:], done.stderr[-2000:])
    last = done.stdout.strip().splitlines()[-1:]
    require(done.returncode == 0, f'pytest ended with {done.returncode}: {last}')
    result.figures['pytest'] = last[0]


if __name__ == '__main__':
    main()
