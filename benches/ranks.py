"""What a line of all ranks costs: on gloo, at 2 and 4 processes of this machine.

``python benches/ranks.py`` writes ``results/ranks.json``. The contenders take turns in every round. Figures
are medians on rank 0, in microseconds: of the time that passes, and of what its thread works in it. A barrier
before each keeps the ranks' other work out of them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

import ringmeter as rm
from ringmeter._core import RankTable
from ringmeter._ranks import Field, Item, Line
from ringmeter._ranks._combine import Union
from ringmeter._ranks._payload import pack, unpack_names

RESULTS = Path(__file__).parent / 'results' / 'ranks.json'
KEYS = (1, 8, 200)
SIZES = (64, 1024, 16384, 262144)  # bytes that each rank sends
ROUNDS = 101
LOSSES = [f'loss_{key}' for key in range(8)]
JOBS = (64, 1024, 16384)  # ranks whose payloads one process makes a line of


class Runner:
    """As much of one as LogProcessor asks for."""

    def __init__(self, keys: int) -> None:
        self.message_hub: Any = rm.MessageHub.get_instance(f'{keys} keys')
        self.iter = self.epoch = 0
        self.max_iters, self.max_epochs, self.model = 100, 10, None
        self.train_loop = self._train_loop = self
        self.dataloader = range(25)
        for step in range(10):
            self.message_hub.update_scalars({f'train/loss_{key}': float(step + key) for key in range(keys)})


def one_by_one(keys: int) -> None:
    """The usual way: a tensor, a collective and an item() for each key."""
    for key in range(keys):
        value = torch.tensor(float(key))
        dist.all_reduce(value)
        value.item()


def gathered(size: int) -> Callable[[], object]:
    own = torch.zeros(size, dtype=torch.uint8)
    into = torch.empty(size * dist.get_world_size(), dtype=torch.uint8)
    gather = getattr(dist, 'all_gather_single', None) or dist.all_gather_into_tensor
    return lambda: gather(into, own)


def contenders() -> dict[str, Callable[[], object]]:
    named: dict[str, Callable[[], object]] = {'one all_reduce': lambda: one_by_one(1)}
    for size in SIZES:
        named[f'all_gather of {size} bytes'] = gathered(size)
    for keys in KEYS:
        runner = Runner(keys)
        own, reduced = rm.LogProcessor(), rm.LogProcessor(reduce='mean')
        named[f'own line of {keys} keys'] = lambda p=own, r=runner: p.get_log_after_iter(r, 4, 'train')  # type: ignore[misc]
        named[f'reduced line of {keys} keys'] = lambda p=reduced, r=runner: p.get_log_after_iter(
            r, 4, 'train'
        )  # type: ignore[misc]
        named[f'{keys} all_reduces'] = lambda n=keys: one_by_one(n)  # type: ignore[misc]
        assert reduced.get_log_after_iter(runner, 4, 'train') == own.get_log_after_iter(runner, 4, 'train')
    return named


class Training:
    """Iterations of a small model under DistributedDataParallel, each with a line of 8 losses.

    Args:
        name: Of the run.
        lines: As for ``LoopLogger``; None: no logger.
        reduce: Likewise.
        gathers: Whether there is one bare collective besides, as large as that of a line.
    """

    def __init__(
        self, name: str, lines: str | None = None, reduce: str | None = None, gathers: bool = False
    ) -> None:
        torch.manual_seed(0)
        self._model = torch.nn.parallel.DistributedDataParallel(
            torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.ReLU(), torch.nn.Linear(512, 256))
        )
        self._optimizer = torch.optim.SGD(self._model.parameters(), lr=1e-3)
        self._batch = torch.randn(64, 256)
        self._gather = gathered(1024) if gathers else None
        self._iterations: Any = None
        if lines is not None:
            logger = logging.getLogger(name)
            logger.propagate = False
            logger.addHandler(logging.NullHandler())
            self._meter = rm.LoopLogger(
                self._optimizer, max_iters=10**6, interval=1, lines=lines, reduce=reduce,
                logger=logger, name=name,
            )  # fmt: skip
            self._iterations = iter(self._meter.train(range(10**6)))

    def __call__(self) -> None:
        if self._iterations is not None:
            next(self._iterations)
        self._optimizer.zero_grad()
        loss = self._model(self._batch).square().mean()
        loss.backward()
        self._optimizer.step()
        if self._iterations is not None:
            self._meter.log(**dict.fromkeys(LOSSES, loss.detach()))
        if self._gather is not None:
            self._gather()


def trainings() -> dict[str, Callable[[], object]]:
    return {
        'step': Training('none'),
        'step with an all_gather of 1024 bytes': Training('bare', gathers=True),
        'step with own lines': Training('own', 'deferred'),
        'step with reduced lines, deferred': Training('deferred', 'deferred', 'mean'),
        'step with reduced lines, now': Training('now', 'now', 'mean'),
    }


def run_in_turns(named: dict[str, Callable[[], object]], block: int) -> dict[str, list[tuple[float, float]]]:
    """Return microseconds of a call, from blocks of so many: of time, and of this thread's work."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in named}
    order = list(named)
    for _ in range(ROUNDS):
        for name in order:
            dist.barrier()
            start, work = time.perf_counter(), time.thread_time()
            for _ in range(block):
                named[name]()
            work = time.thread_time() - work
            passed = time.perf_counter() - start
            times[name].append((1e6 * passed / block, 1e6 * work / block))
        order.append(order.pop(0))
    return times


def measure() -> None:
    """What each rank does: rank 0 prints the medians."""
    dist.init_process_group('gloo')
    torch.set_num_threads(1)
    times = run_in_turns(contenders(), 1) | run_in_turns(trainings(), 10)
    if dist.get_rank() == 0:
        results = {
            name: {
                'time': round(statistics.median(passed for passed, _ in values), 1),
                'work': round(statistics.median(worked for _, worked in values), 1),
            }
            for name, values in times.items()
        }
        print('RESULT', json.dumps(results))
    dist.destroy_process_group()


def unpacking() -> dict[str, dict[str, float]]:
    """Milliseconds that one rank takes to make numbers of all ranks' payloads, by ranks and keys."""
    times: dict[str, dict[str, float]] = {}
    for ranks in JOBS:
        for keys in (8, 200):
            line = Line('train', 10)
            known: dict[int, Any] = {}
            items = [
                Item(Field(f'=loss_{key}', 'mean', False), float(key), 10.0, 0, 10) for key in range(keys)
            ]
            payload = pack(line, items, known)
            ((schema, names),) = RankTable(payload, 1).schemas()
            known[schema] = unpack_names(names)
            received = bytearray(pack(line, items, known) * ranks)
            best = []
            for _ in range(5):
                start = time.perf_counter()
                table = RankTable(received, ranks)
                assert table.find_other(line.code, line.iteration) is None
                assert table.schemas() == [(schema, b'')]
                reduced = Union(known).reduce(table, range(ranks))
                best.append(1e3 * (time.perf_counter() - start))
                assert reduced['=loss_5'].value == 5.0
            times.setdefault(str(ranks), {})[f'{keys} keys'] = statistics.median(best)
    return times


def launch(processes: int) -> dict[str, dict[str, float]]:
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone']
    done = subprocess.run(
        [*command, '--nproc-per-node', str(processes), __file__, '--measure'],
        env=os.environ | {'OMP_NUM_THREADS': '1', 'GLOO_SOCKET_IFNAME': 'lo'},
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [line for line in done.stdout.splitlines() if line.startswith('RESULT ')]
    result: dict[str, dict[str, float]] = json.loads(line.removeprefix('RESULT '))
    return result


def main() -> None:
    load = os.getloadavg()[0]
    results = {
        'machine': {
            'cpu': platform.processor() or platform.machine(),
            'cores': os.cpu_count(),
            'python': platform.python_version(),
            'torch': torch.__version__,
            'load before': round(load, 2),
            'date': time.strftime('%Y-%m-%d'),
        },
        'microseconds, by processes': {str(processes): launch(processes) for processes in (2, 4)},
        'milliseconds to unpack, by ranks': unpacking(),
    }
    RESULTS.write_text(json.dumps(results, indent=1) + '\n')
    print(RESULTS.read_text())


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--measure', action='store_true', help='be one of the ranks')
    if parser.parse_args().measure:
        measure()
    else:
        main()
