"""CUDA graphs."""

from __future__ import annotations

import threading
import time
from typing import Any

import torch
from cuda_driver import Driver
from gpu_check import Result, check, listed, main, require, require_equal, spin, stream_seconds

import ringmeter as rm

REPLAYS = 100


@check('H6-graph')
def graph(result: Result) -> None:
    hub = rm.MessageHub('graph')
    count = torch.zeros((), dtype=torch.int64, device='cuda')

    def step(is_recording: bool) -> None:
        count.add_(1)
        double, half = count * 2, count * 0.5
        if is_recording:
            hub.update_scalars({'a': count, 'b': double, 'c': half})
            for key in ('d', 'e', 'f'):
                hub.update_scalar(key, count)

    step(is_recording=True)  # eager: one value of each
    nodes = {}
    graphs = {}
    for is_recording in (False, True):
        captured = graphs[is_recording] = torch.cuda.CUDAGraph(keep_graph=True)
        with torch.cuda.graph(captured):
            step(is_recording)
        nodes[is_recording] = Driver().count_nodes(captured.raw_cuda_graph())
    require_equal(nodes[True] - nodes[False], 4, 'nodes that one update_scalars and three update_scalar add')
    for _ in range(REPLAYS):
        graphs[True].replay()
    torch.cuda.synchronize()
    want = list(range(1, REPLAYS + 2))
    for key, factor in (('a', 1), ('b', 2), ('c', 0.5), ('d', 1), ('e', 1), ('f', 1)):
        require_equal(listed(hub.get_scalar(key)), [factor * i for i in want], f'values of {key}')
    result.figures.update(replays=REPLAYS, values=6 * REPLAYS, nodes_without=nodes[False], nodes=nodes[True])


@check('H6-overrun')
def overrun(result: Result) -> None:
    replays = 100_000
    hub = rm.MessageHub('overrun')
    count = torch.zeros((), dtype=torch.int64, device='cuda')
    count.add_(0)  # a kernel should not be loaded inside of a capture
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        count.add_(1)
        hub.update_scalar('n', count)
    history = hub.get_scalar('n')
    for _ in range(replays):
        captured.replay()
    torch.cuda.synchronize()
    values = listed(history)
    lost = sum(n for owner, n in rm._core.lost_replays() if owner is history)
    require(values[-1] == replays, f'the newest value is {values[-1]}')
    require_equal(values, list(range(replays - len(values) + 1, replays + 1)), 'what was not lost')
    require_equal(len(values) + lost, replays, 'values and losses')
    (totals,) = rm._core.replay_totals(history)
    total = float(replays * (replays + 1) // 2)
    require_equal(
        (*totals[:5], int(totals[5])), (replays, 0, total, 1.0, float(replays), replays), 'the totals'
    )
    captured.replay()
    torch.cuda.synchronize()
    require_equal(int(history.current()), replays + 1, 'the value after that')
    result.figures.update(replays=replays, landed=len(values), lost=lost)


@check('H6-overhead')
def overhead(result: Result) -> None:
    hub = rm.MessageHub('overhead')
    total = torch.zeros((), device='cuda')
    tensors = {key: torch.zeros((), device='cuda') for key in 'abc'}
    hub.update_scalars(tensors)
    total.add_(0)

    def capture(is_recording: bool) -> torch.cuda.CUDAGraph:
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            for _ in range(60):
                total.add_(1)
            if is_recording:
                hub.update_scalars(tensors)
        return captured

    replays = 1000
    graphs = {'without': capture(False), 'with three values': capture(True)}
    taken: dict[str, list[float]] = {name: [] for name in graphs}
    for _ in range(9):
        for name, captured in graphs.items():

            def work(captured: torch.cuda.CUDAGraph = captured) -> None:
                for _ in range(replays):
                    captured.replay()

            taken[name].append(stream_seconds(work) / replays * 1e6)
            rm._core.land_arrived()
    median = result.compare(taken, 'without', 'us')
    added = median['with three values'] - median['without']
    result.figures['added_us'] = added
    result.at_most('stream time added to a replay, in us', added, 5.0)
    require_equal(int(hub.get_scalar('a').count()), 1 + 9 * replays, 'values')


@check('H6-callables')
def callables(result: Result) -> None:
    hub = rm.MessageHub('callables')

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(16, 16)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.layer(x).square().mean()
            hub.update_scalar('y', y)
            return y

    net = torch.cuda.make_graphed_callables(Net().cuda(), (torch.randn(4, 16, device='cuda'),))
    torch.cuda.synchronize()
    before = len(hub.get_scalar('y')) if 'y' in hub.log_scalars else 0
    want = []
    for _ in range(REPLAYS):
        y: Any = net(torch.randn(4, 16, device='cuda'))
        y.backward()
        want.append(y.detach().clone())
    torch.cuda.synchronize()
    require_equal(listed(hub.get_scalar('y'))[before:], [y.item() for y in want], 'values')
    result.figures.update(calls=REPLAYS, values_of_the_warm_up=before)


@check('H8')
def another_thread(result: Result) -> None:
    hub = rm.MessageHub('threads')
    mine, theirs = (torch.zeros((), device='cuda') for _ in range(2))
    spin(0.001)
    theirs.add_(0)
    hub.update_scalars({'warm': mine, 'up': theirs})
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    is_over = threading.Event()
    errors: list[BaseException] = []
    recorded = 0

    def record_and_read() -> None:
        nonlocal recorded
        try:
            with torch.cuda.stream(stream), torch.no_grad():
                while not is_over.is_set():
                    spin(0.003)  # the read below waits long enough to ask the device how it is
                    theirs.add_(1)
                    hub.update_scalar('theirs', theirs)
                    hub.get_scalar('theirs').mean(landed=True)
                    recorded += 1
                    assert hub.get_scalar('theirs').current() == recorded
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=record_and_read)
    thread.start()
    graphs = []
    for _ in range(20):
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured, capture_error_mode='global'):
            mine.add_(1)
            time.sleep(0.02)
            hub.update_scalar('mine', mine)
            hub.get_scalar('warm').current()
        graphs.append(captured)
    is_over.set()
    thread.join()
    if errors:
        raise errors[0]
    for captured in graphs:
        captured.replay()
    torch.cuda.synchronize()
    require_equal(listed(hub.get_scalar('mine')), [float(i) for i in range(1, 21)], 'captured values')
    require_equal(listed(hub.get_scalar('theirs')), [float(i + 1) for i in range(recorded)], 'other values')
    require(recorded > 20, f'the other thread recorded {recorded} values only')
    result.figures.update(captures=20, values_meanwhile=recorded)


@check('H8-first')
def first_in_a_capture(result: Result) -> None:
    hub = rm.MessageHub('first')
    count = torch.zeros((), device='cuda')
    count.add_(0)
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        count.add_(1)
        hub.update_scalar('n', count)
    for _ in range(5):
        captured.replay()
    torch.cuda.synchronize()
    require_equal(listed(hub.get_scalar('n')), [1.0, 2.0, 3.0, 4.0, 5.0], 'values')
    require_equal(rm.device_info()['cuda:0']['path'], 'driver', 'how they came')
    result.figures['replays'] = 5


if __name__ == '__main__':
    main()
