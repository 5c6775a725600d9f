"""Nothing waits: not a call, not another thread."""

from __future__ import annotations

import statistics
import threading
import time

import torch
from gpu_check import Result, check, listed, main, require, require_equal, spin, wait_until

import ringmeter as rm


@check('H5')
def no_wait(result: Result) -> None:
    hub = rm.MessageHub('wait')
    count = torch.zeros((), device='cuda')
    eight = {f'loss{i}': count for i in range(8)}
    hub.update_scalar('n', count)
    hub.update_scalars(eight)
    torch.cuda.synchronize()
    history = hub.get_scalar('n')
    micros: dict[str, list[float]] = {'update_scalar': [], 'update_scalars(8)': []}
    spin(0.001)
    for i in range(1, 201):
        spin(0.005)
        count.add_(1)
        start = time.perf_counter_ns()
        hub.update_scalar('n', count)
        between = time.perf_counter_ns()
        hub.update_scalars(eight)
        end = time.perf_counter_ns()
        require_equal(history.landed, i, 'values that landed while the device was busy')
        micros['update_scalar'].append((between - start) / 1e3)
        micros['update_scalars(8)'].append((end - between) / 1e3)
        # Nothing is asked of CUDA here.
        require(
            wait_until(lambda: history.landed == history.position, 2.0), f'value {i} did not land by itself'
        )
        require_equal(history.current(), float(i), 'the value')
        wait_until(lambda: hub.get_scalar('loss7').landed == len(hub.get_scalar('loss7')), 2.0)
    median = result.compare(micros, 'update_scalar', 'us')
    for name, taken in micros.items():
        result.figures[f'{name} p99_us'] = statistics.quantiles(taken, n=100)[98]
        result.figures[f'{name} max_us'] = max(taken)
    result.at_most('update_scalar behind 5 ms of work, in us', median['update_scalar'], 20.0)
    require(max(micros['update_scalar']) < 4000, 'a call waited for the device')


@check('H13-queue')
def full_queue(result: Result) -> None:
    """More launches than the driver's queue takes, behind a long kernel: they wait, but not with the GIL."""
    hub = rm.MessageHub('queue')
    count = torch.zeros((), device='cuda')
    hub.update_scalar('n', count)
    torch.cuda.synchronize()
    busy, launches = 1.0, 4000
    spin(0.001)
    is_over = threading.Event()
    gap, reads = 0.0, 0

    def tick() -> None:
        nonlocal gap
        last = time.perf_counter()
        while not is_over.is_set():
            now = time.perf_counter()
            gap = max(gap, now - last)
            last = now
            time.sleep(0)

    def read() -> None:
        nonlocal reads
        while not is_over.is_set():
            hub.get_scalar('n').mean(landed=True)
            rm.device_info()
            reads += 1
            time.sleep(0.001)

    threads = [threading.Thread(target=tick), threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    start = time.perf_counter()
    spin(busy)
    for _ in range(launches):
        hub.update_scalar('n', count)
    queued = time.perf_counter() - start
    is_over.set()
    for thread in threads:
        thread.join()
    require_equal(len(listed(hub.get_scalar('n'))), launches + 1, 'values')
    result.figures.update(
        queueing_s=queued, longest_gap_of_another_thread_ms=gap * 1e3, reads_meanwhile=reads
    )
    result.figures['queue_was_full'] = queued > busy / 2
    require(gap < busy / 4, f'another Python thread stood still for {gap:.3f} s')


if __name__ == '__main__':
    main()
