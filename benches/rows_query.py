"""Rows: what asking for a statistic costs."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import fvcore.common.history_buffer as fvcore
import mmengine.logging as mmengine
import numpy as np
import torchmetrics
from harness import (
    OURS,
    Contender,
    Row,
    Settings,
    answers,
    in_time,
    measure,
    no_peer_faster,
)
from peers import (
    fvcore_buffer,
    mmengine_buffer,
    our_buffer,
    shortened,
    smoothed_value,
    some_values,
)

import ringmeter

TOPIC = 'Asking'
MILLION = 1_000_000
SHORT = 100_077  # its last 109 entries, and 123 more at the front of a window of 1,000, are in no summary
# The ring has wrapped, and the window falls into 36 blocks, an average number, and 192 loose entries.
WRAPPED = 2_300_501
STATISTICS: dict[str, Callable[[list[float]], float]] = {
    'mean': lambda values: math.fsum(values) / len(values),
    'min': min,
    'max': max,
}


@dataclass(frozen=True)
class Histories:
    """The same values in every contender."""

    values: list[float]  # that are still there
    ours: ringmeter.HistoryBuffer
    mmengine: mmengine.HistoryBuffer
    fvcore: fvcore.HistoryBuffer | None


def rows(settings: Settings) -> list[Row]:
    """Measure everything about asking."""
    short = _histories(SHORT)
    result = [_current_row(short, settings)]
    result += [_window_row(short, name, 20, settings) for name in STATISTICS]
    result += [_window_row(short, name, 1_000, settings) for name in STATISTICS]
    result.append(_short_median_row(short, settings))
    long = _histories(MILLION)
    result += [_all_row(long, name, settings) for name in STATISTICS]
    result.append(_median_row(long, settings))
    del long
    wrapped = _histories(WRAPPED)
    result += [_all_row(wrapped, name, settings, '1M entries left of 2.3M') for name in STATISTICS]
    del wrapped
    result.append(_first_touch_row(settings))
    result.append(_update_and_mean_row(settings))
    result.append(_update_and_mean_of_all_row(settings))
    return result


def _histories(n: int) -> Histories:
    values = some_values(n)
    kept = values[-MILLION:]
    # A full one pops the front of a list: filling it would take minutes.
    theirs = fvcore_buffer(kept, max_length=2 * MILLION) if n <= MILLION else None
    return Histories(kept, our_buffer(values), mmengine_buffer(values), theirs)


def _asks(
    name: str, call: str, names: dict[str, Any], want: float, tolerance: float = 1e-12, is_peer: bool = True
) -> Contender:
    return Contender(name, call, names, answers(call, names, want, tolerance), is_peer)


def _current_row(histories: Histories, settings: Settings) -> Row:
    newest = histories.values[-1]
    meter = smoothed_value(histories.values)
    cells = measure(
        [
            _asks(OURS, 'b.current()', {'b': histories.ours}, newest, 0.0),
            _asks('mmengine', 'b.current()', {'b': histories.mmengine}, newest, 0.0),
            _asks('fvcore', 'b.latest()', {'b': histories.fvcore}, newest, 0.0),
            _asks('SmoothedValue', 'b.value', {'b': meter}, newest, 0.0),
        ],
        settings,
    )
    goals = [in_time(cells, 0.1e-6), no_peer_faster(cells)]
    return Row(TOPIC, '`current()`', cells, goals, headline=True)


def _window_row(histories: Histories, name: str, window: int, settings: Settings) -> Row:
    want = STATISTICS[name](histories.values[-window:])
    names = {'w': window}
    call = f'b.{name}(w)'
    contenders = [
        _asks(OURS, call, {'b': histories.ours, **names}, want, 1e-15),
        _asks('mmengine', call, {'b': histories.mmengine, **names}, want),
    ]
    meter = smoothed_value(histories.values[-2 * window :], window)
    if name == 'mean':
        contenders.append(_asks('fvcore', 'b.avg(w)', {'b': histories.fvcore, **names}, want))
        contenders.append(_asks('SmoothedValue', 'b.avg', {'b': meter}, want, 1e-5))
    elif name == 'max':
        contenders.append(_asks('SmoothedValue', 'b.max', {'b': meter}, want, 0.0))
    cells = measure(contenders, settings)
    goals = [in_time(cells, 0.25e-6 if window == 20 else 0.6e-6), no_peer_faster(cells)]
    title = f'`{name}({window})`, {SHORT // 1000}k entries'
    return Row(TOPIC, title, cells, goals, headline=name == 'mean' and window == 20)


def _all_row(histories: Histories, name: str, settings: Settings, what: str = '1M entries') -> Row:
    want = STATISTICS[name](histories.values)
    call = f'b.{name}()'
    contenders = [
        _asks(OURS, call, {'b': histories.ours}, want, 1e-15),
        _asks('mmengine', call, {'b': histories.mmengine}, want),
    ]
    if name == 'mean':
        # These two keep a running mean of everything ever recorded, dropped entries included.
        meter = smoothed_value(histories.values)
        contenders.append(_asks('SmoothedValue', 'b.global_avg', {'b': meter}, want, 1e-9))
        if histories.fvcore is not None:
            contenders.append(_asks('fvcore', 'b.global_avg()', {'b': histories.fvcore}, want, 1e-9))
    cells = measure(contenders, settings)
    goals = [in_time(cells, 0.6e-6), no_peer_faster(cells, 0.25 if name == 'mean' else 1.0)]
    is_headline = name == 'mean' and histories.fvcore is not None
    return Row(TOPIC, f'`{name}()` of {what}', cells, goals, headline=is_headline)


def _short_median_row(histories: Histories, settings: Settings) -> Row:
    want = statistics.median(histories.values[-20:])
    lower = statistics.median_low(histories.values[-20:])
    meter = smoothed_value(histories.values)
    cells = measure(
        [
            _asks(OURS, 'b.median(w)', {'b': histories.ours, 'w': 20}, want),
            _asks('fvcore', 'b.median(w)', {'b': histories.fvcore, 'w': 20}, want),
            _asks('SmoothedValue', 'b.median', {'b': meter}, lower, 1e-6),
        ],
        settings,
    )
    return Row(TOPIC, f'`median(20)`, {SHORT // 1000}k entries', cells, [no_peer_faster(cells)])


def _median_row(histories: Histories, settings: Settings) -> Row:
    want = statistics.median(histories.values)
    array = np.array(histories.values)
    cells = measure(
        [
            _asks(OURS, 'b.median()', {'b': histories.ours}, want),
            _asks('fvcore', 'b.median(w)', {'b': histories.fvcore, 'w': MILLION}, want),
            _asks('numpy.median', 'np.median(a)', {'np': np, 'a': array}, want, is_peer=False),
        ],
        settings,
    )
    goals = [in_time(cells, 10e-3), no_peer_faster(cells)]
    return Row(TOPIC, '`median()` of 1M entries', cells, goals, headline=True)


def _first_touch_row(settings: Settings) -> Row:
    """Nothing has been asked before, so nothing is summarised."""
    values = some_values(MILLION)
    array, ones = np.array(values), np.ones(MILLION, dtype=np.int64)
    want = math.fsum(values) / MILLION
    holder: list[Any] = [None]

    def renew() -> None:
        holder[0] = ringmeter.HistoryBuffer(array, ones)

    def check() -> None:
        renew()
        answers('h[0].mean()', {'h': holder}, want, 1e-15)()

    theirs = mmengine_buffer(values)
    cells = measure(
        [
            Contender(OURS, 'h[0].mean()', {'h': holder}, check, before_round=renew, calls=1),
            _asks('mmengine', 'b.mean()', {'b': theirs}, want),
        ],
        settings,
    )
    title = '`mean()` of 1M entries that nobody has asked about'
    return Row(TOPIC, title, cells, [in_time(cells, 2e-3), no_peer_faster(cells)])


def _update_and_mean_row(settings: Settings) -> Row:
    """What a progress bar does every step."""
    values = some_values(1_000)
    growing = fvcore_buffer(values)
    window = deque(values, maxlen=20)
    contenders = [
        _steps(OURS, 'b.update(x); b.mean(20)', our_buffer(values, 1_000), window),
        _steps('mmengine', 'b.update(x); b.mean(20)', mmengine_buffer(values, 1_000), window),
        _steps('fvcore', 'b.update(x); b.avg(20)', growing, window, shortened(growing, 1_000)),
        _steps('SmoothedValue', 'b.update(x); b.avg', smoothed_value(values), window),
        _steps('Running(MeanMetric)', 'b.update(x); b.compute()', _running_mean(values), window),
    ]
    cells = measure(contenders, settings)
    return Row(TOPIC, '`update(float)`, then `mean(20)`', cells, [no_peer_faster(cells)])


def _update_and_mean_of_all_row(settings: Settings) -> Row:
    values = some_values(MILLION)
    growing = fvcore_buffer(values, 2 * MILLION)
    kept, everything = deque(values, maxlen=MILLION), deque(values)
    contenders = [
        _steps(OURS, 'b.update(x); b.mean()', our_buffer(values), kept),
        _steps('mmengine', 'b.update(x); b.mean()', mmengine_buffer(values), kept),
        _steps('fvcore', 'b.update(x); b.global_avg()', growing, everything, shortened(growing, MILLION)),
        _steps('SmoothedValue', 'b.update(x); b.global_avg', smoothed_value(values), everything),
    ]
    cells = measure(contenders, settings)
    goal = no_peer_faster(cells, 0.25)
    return Row(TOPIC, '`update(float)`, then `mean()` of 1M entries', cells, [goal], headline=True)


def _running_mean(values: list[float]) -> Any:
    metric = torchmetrics.wrappers.Running(torchmetrics.MeanMetric(), window=20)
    for value in values[-20:]:
        metric.update(value)
    return metric


def _steps(
    name: str,
    call: str,
    target: Any,
    window: deque[float],
    before_round: Callable[[], None] | None = None,
) -> Contender:
    """An update and the statistic after it, checked after 25 steps; ``window`` is what it begins with."""
    update, query = call.split('; ')

    def check() -> None:
        expected = window.copy()
        for x in some_values(25, seed=3):
            exec(update, {'b': target, 'x': x})
            expected.append(x)
        answers(query, {'b': target}, math.fsum(expected) / len(expected), 1e-5)()

    return Contender(name, call, {'b': target, 'x': 0.7315}, check, before_round=before_round)
