"""What a value costs: on the host, in the stream, and until it is there."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from cuda_driver import PTX, Driver, Timer
from gpu_check import DEVICE, ON_CPU, Result, call_seconds, check, main, require, stream_seconds

import ringmeter as rm

CALLS = 200  # fewer than fill the launch queue
ROUNDS = 101


@check('H3')
def host_cost(result: Result) -> None:
    hub = rm.MessageHub('cost')
    loss = torch.full((), 0.5, device=DEVICE)
    stage = torch.zeros(1024, device=DEVICE)
    names = {
        'hub': hub,
        'loss': loss,
        'eight': {f'loss{i}': torch.full((), float(i), device=DEVICE) for i in range(8)},
        'slot': stage.unbind()[0],
    }
    statements = {
        'update_scalar': "hub.update_scalar('loss', loss)",
        'update_scalars(8)': 'hub.update_scalars(eight)',
        '.item(), idle stream': 'loss.item()',
        '.detach().clone()': 'loss.detach().clone()',
        'slot.copy_(loss)': 'slot.copy_(loss)',
    }
    taken = call_seconds(statements, names, CALLS, ROUNDS)
    require(hub.get_scalar('loss').current() == 0.5, 'the value is wrong')
    if not ON_CPU:
        taken |= _driver_seconds()
    rounds = {name: [value * 1e9 for value in seconds] for name, seconds in taken.items()}
    median = result.compare(rounds, 'update_scalar', 'ns')
    ours = median['update_scalar']
    result.at_least('.item() on an idle stream / update_scalar', median['.item(), idle stream'] / ours, 3.0)
    result.at_most('update_scalars(8) / update_scalar', median['update_scalars(8)'] / ours, 1.5)
    if not ON_CPU:
        result.at_most('update_scalar / bare cuLaunchKernel', ours / median['cuLaunchKernel'], 1.3)


def _driver_seconds() -> dict[str, list[float]]:
    driver = Driver()
    timer = Timer(driver)
    stream = torch.cuda.current_stream().cuda_stream
    empty = driver.function(driver.load(PTX), 'empty')
    taken: dict[str, list[float]] = {'cuLaunchKernel': [], 'cuStreamIsCapturing': []}
    timer.launch_seconds(empty, stream, CALLS)
    for _ in range(ROUNDS):
        torch.cuda.synchronize()
        taken['cuLaunchKernel'].append(timer.launch_seconds(empty, stream, CALLS))
        torch.cuda.synchronize()
        taken['cuStreamIsCapturing'].append(timer.ask_seconds(stream, CALLS))
    torch.cuda.synchronize()
    return taken


@check('H4')
def stream_cost(result: Result) -> None:
    """All of it is queued before the device begins, so that its own time counts."""
    hub = rm.MessageHub('stream')
    n, rounds = 400, 15
    loss = torch.full((), 0.5, device='cuda')
    eight = {f'loss{i}': torch.full((), float(i), device='cuda') for i in range(8)}
    pinned = torch.zeros((), pin_memory=True)
    driver = Driver()
    empty = driver.function(driver.load(PTX), 'empty')
    stream = torch.cuda.current_stream().cuda_stream
    hub.update_scalar('loss', loss)
    hub.update_scalars(eight)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(n):
            hub.update_scalar('captured', loss)
    ways: dict[str, Callable[[], Any]] = {
        'update_scalar': lambda: hub.update_scalar('loss', loss),
        'update_scalars(8)': lambda: hub.update_scalars(eight),
        'cuMemcpyDtoHAsync': lambda: pinned.copy_(loss, non_blocking=True),
        'loss.clone()': loss.clone,
        'empty kernel': lambda: driver.launch(empty, stream),
    }
    taken: dict[str, list[float]] = {name: [] for name in [*ways, 'node of a graph']}
    for _ in range(rounds):
        for name, way in ways.items():

            def work(way: Callable[[], Any] = way) -> None:
                for _ in range(n):
                    way()

            taken[name].append(stream_seconds(work, queue_first=0.02) / n)
        taken['node of a graph'].append(stream_seconds(graph.replay, queue_first=0.005) / n)
    micros = {name: [value * 1e6 for value in seconds] for name, seconds in taken.items()}
    result.compare(micros, 'update_scalar', 'us')
    require(hub.get_scalar('captured').count() == n * rounds, 'a captured value is missing')


@check('H11')
def latency(result: Result) -> None:
    """A kernel waits for the host: from the host's word to the value behind it, and to an event."""
    driver = Driver()
    hold = driver.function(driver.load(PTX), 'hold')
    stream = torch.cuda.current_stream().cuda_stream
    flag = torch.zeros(1, dtype=torch.int32, pin_memory=True)
    word = flag.numpy()
    address = ctypes.c_uint64(flag.data_ptr())
    hub = rm.MessageHub('latency')
    loss = torch.full((), 0.5, device='cuda')
    hub.update_scalar('loss', loss)
    hub.get_scalar('loss').current()
    history = hub.get_scalar('loss')
    event = torch.cuda.Event()
    taken: dict[str, list[float]] = {'value': [], 'event': []}
    for number in range(600):
        way = ('value', 'event')[number % 2]
        word[0] = 0
        driver.launch(hold, stream, address)
        if way == 'value':
            hub.update_scalar('loss', loss)
            position = history.position
        else:
            event.record()
        time.sleep(0.0005)
        deadline = time.perf_counter() + 5
        start = time.perf_counter_ns()
        word[0] = 1
        if way == 'value':
            while history.landed < position and time.perf_counter() < deadline:
                pass
        else:
            while not event.query() and time.perf_counter() < deadline:
                pass
        taken[way].append((time.perf_counter_ns() - start) / 1e3)
        require(time.perf_counter() < deadline, f'the {way} did not come')
        torch.cuda.synchronize()
    result.compare({way: times[10:] for way, times in taken.items()}, 'value', 'us')
    result.figures['p99_us'] = statistics.quantiles(taken['value'][10:], n=100)[98]


if __name__ == '__main__':
    main()
