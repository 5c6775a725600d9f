"""Rows: updates lost between threads, and how far means are from the exact ones."""

from __future__ import annotations

import math
import random
import sys
import threading
from collections.abc import Callable
from typing import Any

import mmengine.logging as mmengine
from harness import OURS, Cell, Row, Settings, at_most
from peers import KEY, fvcore_buffer, mmengine_buffer, our_buffer, smoothed_value

import ringmeter

TOPIC = 'Results'
THREADS = 4
# Instead of CPython's 5 ms, so that a short run has many switches. mmengine loses as many with 5 ms.
SWITCH_SECONDS = 1e-5


def rows(settings: Settings) -> list[Row]:
    """Count and compare."""
    return [_lost_row(settings), _ulp_row(settings)]


# ---- threads ----


def _lost_row(settings: Settings) -> Row:
    pushes = 2_000 if settings.quick else 20_000
    cells = {}
    for name, hub in ((OURS, ringmeter.MessageHub('threads')), ('mmengine', mmengine.MessageHub('threads'))):
        hub.update_scalar(KEY, -1.0)
        _push_from_threads(hub, pushes)
        left = hub.get_scalar(KEY).data[0].tolist()
        expected = {-1.0, *map(float, range(THREADS * pushes))}
        if len(set(left)) != len(left) or not set(left) <= expected:
            raise AssertionError(f'{name} holds values that nobody recorded, or one of them twice')
        lost = len(expected) - len(left)
        cells[name] = Cell(lost, lost / len(expected), is_peer=name != OURS, call='hub.update_scalar(key, x)')
    title = f'updates lost of {THREADS} x {pushes:,}, {THREADS} threads on one key'
    return Row(
        TOPIC, title, cells, [at_most('no update is lost', cells[OURS].value, 0.0)], 'updates', headline=True
    )


def _push_from_threads(hub: Any, pushes: int) -> None:
    start = threading.Barrier(THREADS)

    def push(number: int) -> None:
        start.wait()
        for value in range(number * pushes, (number + 1) * pushes):
            hub.update_scalar(KEY, float(value))

    threads = [threading.Thread(target=push, args=(number,)) for number in range(THREADS)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)


# ---- means ----


def _ulp_row(settings: Settings) -> Row:
    """Windows of losses, of values that nearly cancel, and of values with counts."""
    windows = 60 if settings.quick else 600
    worst: dict[str, float] = {}
    source = random.Random(4)
    for values, counts in _series(source):
        for name, mean in _means(values, counts).items():
            errors = (_ulps(mean, values, counts, _window(source, len(values))) for _ in range(windows))
            worst[name] = max(worst.get(name, 0.0), *errors)
    cells = {name: Cell(error, 1.0, name != OURS, 'mean(window)') for name, error in worst.items()}
    goal = at_most('within 1 ulp of fsum(values) / sum(counts)', worst[OURS], 1.0)
    title = f'worst error of a mean, {3 * windows} random windows'
    return Row(TOPIC, title, cells, [goal], 'ulp', headline=True)


def _series(source: random.Random) -> list[tuple[list[float], list[int]]]:
    n = 50_000
    ones = [1] * n
    losses = [source.lognormvariate(0.0, 1.0) for _ in range(n)]
    cancelling = [source.gauss(0.0, 1.0) * 10.0 ** source.randint(-8, 8) for _ in range(n)]
    return [(losses, ones), (cancelling, ones), (losses, [source.randint(1, 64) for _ in range(n)])]


def _means(values: list[float], counts: list[int]) -> dict[str, Callable[[int], float]]:
    """What each answers for the newest n; who takes no counts is left out where there are any."""
    ours = our_buffer([])
    for value, count in zip(values, counts, strict=True):
        ours.update(value, count)
    theirs = mmengine_buffer(values)
    theirs._count_history[:] = counts
    means: dict[str, Callable[[int], Any]] = {OURS: ours.mean, 'mmengine': theirs.mean}
    if max(counts) == 1:
        means['fvcore'] = fvcore_buffer(values).avg
        means['SmoothedValue'] = lambda n: smoothed_value(values[-n:], n).avg
    return means


def _window(source: random.Random, longest: int) -> int:
    return min(longest, int(math.exp(source.uniform(0.0, math.log(longest + 1)))))


def _ulps(mean: Callable[[int], Any], values: list[float], counts: list[int], window: int) -> float:
    want = math.fsum(values[-window:]) / sum(counts[-window:])
    return abs(float(mean(window)) - want) / math.ulp(want)
