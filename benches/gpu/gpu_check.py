"""What the files of checks share: how one is run, what it reports, how it takes times.

``python checks_<topic>.py NAME`` runs one and prints one line of JSON at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import sys
import time
import timeit
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
DEVICE = os.environ.get('RINGMETER_VERIFY_DEVICE', 'cuda')
ON_CPU = DEVICE == 'cpu'
NO_DEVICE = 'no CUDA device'


class Skipped(Exception):
    """A check that this machine cannot run, and why."""


@dataclass(frozen=True)
class Goal:
    """A figure that the project wants to reach. Missing it is reported, and no failure."""

    text: str
    value: float
    limit: float
    at_least: bool
    met: bool


@dataclass
class Result:
    """What one check found.

    ``figures`` are numbers with their unit in the name. ``cells`` compare contenders: a value for each, and
    its ratio to one of them.
    """

    name: str
    status: str = 'passed'  # or 'failed', 'skipped'
    note: str = ''
    figures: dict[str, Any] = field(default_factory=dict)
    cells: dict[str, dict[str, Any]] = field(default_factory=dict)
    goals: list[Goal] = field(default_factory=list)

    def at_most(self, text: str, value: float, limit: float) -> None:
        """Add a goal that is met up to ``limit``."""
        self.goals.append(Goal(text, value, limit, False, value <= limit))

    def at_least(self, text: str, value: float, limit: float) -> None:
        """Add a goal that is met from ``limit`` on."""
        self.goals.append(Goal(text, value, limit, True, value >= limit))

    def compare(self, rounds: dict[str, list[float]], reference: str, unit: str) -> dict[str, float]:
        """Add what was measured in rounds, and return the medians. A ratio is the median over rounds of the
        ratio within a round, so that a machine that slows down slows everybody down."""
        for name, taken in rounds.items():
            pairs = zip(taken, rounds[reference], strict=True)
            self.cells[name] = {
                'median': statistics.median(taken),
                'unit': unit,
                'ratio': statistics.median(mine / base for mine, base in pairs),
                'to': reference,
                'quartiles': statistics.quantiles(taken, n=4, method='inclusive')[::2],
                'rounds': len(taken),
            }
        return {name: cell['median'] for name, cell in self.cells.items()}


Function = Callable[[Result], None]
_checks: dict[str, Function] = {}


def check(name: str) -> Callable[[Function], Function]:
    """Register a check."""

    def register(function: Function) -> Function:
        _checks[name] = function
        return function

    return register


def main() -> None:
    """Run the check that the command line names, and print what it found."""
    name = sys.argv[1]
    result = Result(name)
    try:
        if not ON_CPU and not torch.cuda.is_available():
            raise Skipped(NO_DEVICE)
        _checks[name](result)
    except Skipped as why:
        result.status, result.note = 'skipped', str(why)
    except Exception as error:
        traceback.print_exc()
        result.status, result.note = 'failed', f'{type(error).__name__}: {error}'
    print('\n' + json.dumps(asdict(result)), flush=True)


def require(condition: bool, text: str) -> None:
    """Fail the check unless ``condition``."""
    if not condition:
        raise AssertionError(text)


def require_equal(got: Any, want: Any, text: str) -> None:
    """Fail the check unless both are equal. Long lists are shown where they begin to differ."""
    if got == want:
        return
    if isinstance(got, list) and isinstance(want, list):
        at = next((i for i, pair in enumerate(zip(got, want, strict=False)) if pair[0] != pair[1]), -1)
        where = (
            f'lengths {len(got)} and {len(want)}, from {at}: {got[at : at + 5]}, expected {want[at : at + 5]}'
        )
        raise AssertionError(f'{text}: {where}')
    raise AssertionError(f'{text}: got {got!r}, expected {want!r}')


def listed(history: Any) -> list[Any]:
    """Return the values of a history."""
    values: list[Any] = history.data[0].tolist()
    return values


# ---- the device ----


def synchronize() -> None:
    """Wait for the device."""
    if not ON_CPU:
        torch.cuda.synchronize()


def on_new_stream() -> contextlib.AbstractContextManager[Any]:
    """Make a stream of its own the current one of this thread."""
    return contextlib.nullcontext() if ON_CPU else torch.cuda.stream(torch.cuda.Stream())


def spin(seconds: float) -> None:
    """Keep the current stream busy for so long."""
    torch.cuda._sleep(round(seconds * _cycles_per_second()))


_cycles: list[float] = []


def _cycles_per_second() -> float:
    if not _cycles:
        cycles = 20_000_000
        for _ in range(2):  # the first one loads the kernel
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            torch.cuda._sleep(cycles)
            end.record()
            torch.cuda.synchronize()
            seconds = begin.elapsed_time(end) / 1e3
        _cycles.append(cycles / seconds)
    return _cycles[0]


# ---- times ----


def stream_seconds(work: Callable[[], None], queue_first: float = 0.0) -> float:
    """Return how long the current stream takes for what ``work`` queues.

    Args:
        work: Queues it.
        queue_first: How long the stream is kept busy before, in seconds. Longer than queueing takes, it makes
            the time that of the device, not that of the host.
    """
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    if queue_first:
        spin(queue_first)
    begin.record()
    work()
    end.record()
    torch.cuda.synchronize()
    seconds: float = begin.elapsed_time(end) / 1e3
    return seconds


def call_seconds(
    statements: dict[str, str], names: dict[str, Any], calls: int, rounds: int
) -> dict[str, list[float]]:
    """Return how long the host takes for one call of each statement, in each round.

    The device is idle when a round begins, and ``calls`` must be fewer than fill its queue.
    """
    timers = {name: timeit.Timer(statement, globals=names) for name, statement in statements.items()}
    taken: dict[str, list[float]] = {name: [] for name in statements}
    for number in range(-3, rounds):  # the first few warm up
        for name, timer in timers.items():
            synchronize()
            seconds = timer.timeit(calls) / calls
            if number >= 0:
                taken[name].append(seconds)
    synchronize()
    return taken


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether it became true in time, asking without a call to CUDA of our own."""
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        if condition():
            return True
        time.sleep(0.0002)
    return condition()
