"""The first use of a device: its kernels, its context."""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import sys
import tempfile
import threading

import torch
from cuda_driver import Driver
from gpu_check import ROOT, Result, check, main, require, require_equal

import ringmeter as rm

# Each runs in a process of its own and prints the seconds it took.
LOAD = """
import sys, time
from pathlib import Path
from cuda_driver import Driver
driver = Driver()
driver.retain_context()
text = Path(sys.argv[1]).read_bytes()
start = time.perf_counter()
module = driver.load(text)
for name in ('ringmeter_append_one', 'ringmeter_append_many', 'ringmeter_append_graph'):
    driver.function(module, name)
print(time.perf_counter() - start)
"""
FIRST_UPDATE = """
import time, torch
import ringmeter as rm
loss = torch.full((), 0.5, device='cuda')
torch.cuda.synchronize()
hub = rm.MessageHub('first')
start = time.perf_counter()
hub.update_scalar('loss', loss)
print(time.perf_counter() - start)
assert hub.get_scalar('loss').current() == 0.5
assert rm.device_info()['cuda:0']['path'] == 'driver', rm.device_info()
"""


def _run(code: str, *arguments: str, **env: str) -> float:
    path = os.pathsep.join([str(ROOT / 'benches' / 'gpu'), os.environ.get('PYTHONPATH', '')])
    done = subprocess.run(
        [sys.executable, '-c', code, *arguments],
        env={**os.environ, 'PYTHONPATH': path, **env},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f'ended with {done.returncode}: {done.stdout[-500:]} {done.stderr[-1500:]}')
    return float(done.stdout.split()[-1])


@check('H1')
def kernels_load(result: Result) -> None:
    ptx = str(ROOT / 'csrc' / 'device' / 'append.ptx')
    milliseconds = result.figures
    with tempfile.TemporaryDirectory() as cache:
        milliseconds['load_cold_ms'] = _run(LOAD, ptx, CUDA_CACHE_PATH=cache) * 1e3
        warm = [_run(LOAD, ptx, CUDA_CACHE_PATH=cache) for _ in range(3)]
        milliseconds['load_warm_ms'] = statistics.median(warm) * 1e3
    milliseconds['load_no_cache_ms'] = _run(LOAD, ptx, CUDA_CACHE_DISABLE='1') * 1e3
    with tempfile.TemporaryDirectory() as cache:
        for how in ('cold', 'warm'):
            milliseconds[f'first_update_{how}_ms'] = _run(FIRST_UPDATE, CUDA_CACHE_PATH=cache) * 1e3
    for how in ('EAGER', 'LAZY'):
        seconds = _run(FIRST_UPDATE, CUDA_MODULE_LOADING=how)
        milliseconds[f'first_update_{how.lower()}_loading_ms'] = seconds * 1e3


@check('H12')
def contexts(result: Result) -> None:
    driver = Driver()
    mode = torch.zeros((), dtype=torch.int32)  # 4 bytes of host memory
    require_equal(any(driver.active_contexts()), False, 'contexts at the start')
    mode.fill_(2)
    _exchange_capture_mode(driver, mode)
    result.figures['exchanging_the_capture_mode_makes_a_context'] = any(driver.active_contexts())

    loss = torch.full((), 0.5, device='cuda:0')
    torch.cuda.synchronize()
    active, context, device = driver.active_contexts(), driver.current_context(), torch.cuda.current_device()
    hub = rm.MessageHub('contexts')
    hub.update_scalar('loss', loss)
    require_equal(float(hub.get_scalar('loss').current()), 0.5, 'the value')
    require_equal(driver.active_contexts(), active, 'devices with a context')
    require_equal(driver.current_context(), context, 'the context of this thread')
    require_equal(torch.cuda.current_device(), device, "torch's current device")
    result.figures['devices'] = len(active)

    seen: list[int] = []

    def record_in_thread() -> None:  # a thread that has no context
        seen.append(driver.current_context())
        for _ in range(3):
            hub.update_scalar('loss', loss)
        hub.get_scalar('loss').current()
        seen.append(driver.current_context())

    thread = threading.Thread(target=record_in_thread)
    thread.start()
    thread.join()
    require(len(seen) == 2, 'recording failed in a thread without a context')
    require_equal(seen[1], seen[0], 'the context of the other thread')
    result.figures['context_of_a_new_thread'] = seen[0]
    require_equal(len(hub.get_scalar('loss')), 4, 'values')


def _exchange_capture_mode(driver: Driver, mode: torch.Tensor) -> None:
    address = ctypes.c_void_p(mode.data_ptr())
    driver.call('cuThreadExchangeStreamCaptureMode', address)
    driver.call('cuThreadExchangeStreamCaptureMode', address)


if __name__ == '__main__':
    main()
