"""Rows: what recording a number costs."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import torch
import torchmetrics
from harness import (
    OURS,
    Check,
    Contender,
    Row,
    Settings,
    at_least,
    at_most,
    measure,
    no_peer_faster,
    require_close,
    takes,
)
from peers import (
    KEY,
    SmoothedValue,
    fvcore_buffer,
    mmengine_buffer,
    mmengine_hub,
    our_buffer,
    our_hub,
    shortened,
    some_values,
)

import ringmeter

TOPIC = 'Recording'
LENGTHS = {1_000: '1k', 100_000: '100k', 1_000_000: '1M'}
X = 0.7315
BY_KEY = 'hub.update_scalar(key, x)'


def rows(settings: Settings) -> list[Row]:
    """Measure everything about recording."""
    return [
        *(_float_row(length, settings) for length in LENGTHS),
        _any_length_row(settings),
        _growing_row(settings),
        _tensor_row(settings),
        _eight_tensors_row(settings),
    ]


def _ours(length: int, call: str, x: Any, name: str = OURS) -> Contender:
    """A full ring: every chunk that it will ever use has been made and used."""
    buffer = our_buffer(some_values(2 * length + 20_000), max_length=length)
    names = {'hub': our_hub({KEY: buffer}), 'buffer': buffer, 'key': KEY}
    check = takes(call, names, buffer.mean, _values_like(x))
    return Contender(name, call, {**names, 'x': x}, check)


def _mmengine(length: int, x: Any) -> Contender:
    hub = mmengine_hub({KEY: mmengine_buffer(some_values(length), max_length=length)})
    names = {'hub': hub, 'key': KEY}
    check = takes(BY_KEY, names, lambda n: hub.get_scalar(KEY).mean(n), _values_like(x))
    return Contender('mmengine', BY_KEY, {**names, 'x': x}, check)


def _fvcore(length: int, call: str, x: Any, max_length: int = 1_000_000, name: str = 'fvcore') -> Contender:
    """It grows from ``length`` in each round, or is full, and then pops the front of a list."""
    buffer = fvcore_buffer(some_values(length), max_length)
    check = takes(call, {'buffer': buffer}, buffer.avg, _values_like(x))
    return Contender(name, call, {'buffer': buffer, 'x': x}, check, before_round=shortened(buffer, length))


def _smoothed_value(call: str, x: Any) -> Contender:
    meter = SmoothedValue()
    check = takes(call, {'meter': meter}, lambda _: meter.global_avg, _values_like(x))
    return Contender('SmoothedValue', call, {'meter': meter, 'x': x}, check)


def _mean_metric(name: str, call: str, x: Any) -> Contender:
    metric = torchmetrics.MeanMetric()
    check = takes(call, {'metric': metric}, lambda _: metric.compute(), _values_like(x), tolerance=1e-5)
    return Contender(name, call, {'metric': metric, 'x': x}, check)


def _deque(length: int, name: str = 'deque.append') -> Contender:
    full = deque(some_values(length), maxlen=length)
    check = takes('d.append(x)', {'d': full}, lambda n: math.fsum(list(full)[-n:]) / n, _values_like(X))
    return Contender(name, 'd.append(x)', {'d': full, 'x': X}, check, is_peer=False)


def _values_like(x: Any) -> list[Any]:
    """Values to check a contender with: tensors where it is timed with one."""
    values = some_values(8, seed=1)
    return [torch.tensor(value, dtype=x.dtype) for value in values] if isinstance(x, torch.Tensor) else values


def _float_row(length: int, settings: Settings) -> Row:
    contenders = [
        _ours(length, BY_KEY, X),
        _deque(length),
        _mmengine(length, X),
        _fvcore(length, 'buffer.update(x)', X),
        _smoothed_value('meter.update(x)', X),
        _mean_metric('MeanMetric.update', 'metric.update(x)', X),
        _mean_metric('MeanMetric.forward', 'metric(x)', X),
    ]
    if length == 1_000_000:
        contenders.append(_fvcore(length, 'buffer.update(x)', X, 2 * length, 'fvcore, not full'))
    cells = measure(contenders, settings)
    goals = [
        at_most('at most 2.5x deque.append', 1 / cells['deque.append'].ratio, 2.5),
        no_peer_faster(cells),
    ]
    if length < 1_000_000:
        times = 100 if length == 1_000 else 1_000
        goals.append(at_least(f'at least {times:,}x as fast as mmengine', cells['mmengine'].ratio, times))
    title = f'`update_scalar(key, float)`, {LENGTHS[length]} entries'
    return Row(TOPIC, title, cells, goals, headline=True)


def _any_length_row(settings: Settings) -> Row:
    """The three lengths side by side, and the same update without the look-up of the key."""
    cells = measure(
        [
            _ours(1_000, BY_KEY, X),
            _ours(100_000, BY_KEY, X, 'ringmeter, 100k'),
            _ours(1_000_000, BY_KEY, X, 'ringmeter, 1M'),
            _ours(1_000, 'buffer.update(x)', X, 'HistoryBuffer.update'),
            *(_deque(length, f'deque.append, {name}') for length, name in LENGTHS.items()),
        ],
        settings,
    )
    goal = at_most('at 1M at most 1.15x of that at 1k', cells['ringmeter, 1M'].ratio, 1.15)
    return Row(TOPIC, '`update_scalar(key, float)`, lengths side by side (left: 1k)', cells, [goal])


def _growing_row(settings: Settings) -> Row:
    """From nothing, so that taking memory is part of it."""
    calls = 10_000 if settings.quick else 100_000

    def fresh(name: str, make: Any, call: str, is_peer: bool = True) -> Contender:
        holder: list[Any] = [None]

        def renew() -> None:
            holder[0] = make()

        def check() -> None:
            renew()
            takes(call, {'h': holder}, lambda _: _mean_of(holder[0]), some_values(8, seed=1))()

        return Contender(name, call, {'h': holder, 'x': X}, check, is_peer, before_round=renew, calls=calls)

    cells = measure(
        [
            fresh(OURS, ringmeter.HistoryBuffer, 'h[0].update(x)'),
            fresh('deque.append', deque, 'h[0].append(x)', is_peer=False),
            fresh('fvcore', lambda: fvcore_buffer([]), 'h[0].update(x)'),
        ],
        settings,
    )
    title = f'`HistoryBuffer.update(float)`, each of the first {calls // 1000}k'
    return Row(TOPIC, title, cells, [no_peer_faster(cells)])


def _mean_of(history: Any) -> float:
    if isinstance(history, deque):
        return math.fsum(history) / len(history)
    return float(history.mean() if isinstance(history, ringmeter.HistoryBuffer) else history.global_avg())


def _tensor_row(settings: Settings) -> Row:
    x = torch.tensor(X)
    item = Contender('tensor.item()', 'x.item()', {'x': x}, lambda: _check_item(x), is_peer=False)
    cells = measure(
        [
            _ours(1_000, BY_KEY, x),
            item,
            _mmengine(1_000, x),
            _fvcore(1_000, 'buffer.update(x.item())', x),
            _smoothed_value('meter.update(x.item())', x),
            _mean_metric('MeanMetric.update', 'metric.update(x)', x),
        ],
        settings,
    )
    goals = [
        at_least('faster than tensor.item() alone', cells['tensor.item()'].ratio, 1.0),
        no_peer_faster(cells),
    ]
    return Row(TOPIC, '`update_scalar(key, cpu_tensor)`, 1k entries', cells, goals, headline=True)


def _check_item(x: torch.Tensor) -> None:
    seen: list[float] = []
    takes('seen.append(x.item())', {'seen': seen}, lambda n: math.fsum(seen) / n, _values_like(x))()


def _records(hub: Any, call: str, names: dict[str, Any], expected: dict[str, torch.Tensor]) -> Check:
    """Return a check that a statement makes these the newest values."""

    def check() -> None:
        exec(call, {**names, 'hub': hub})
        for key, value in expected.items():
            require_close(hub.get_scalar(key).current(), float(value), 0.0, f'{call}: {key}')

    return check


def _eight_tensors_row(settings: Settings) -> Row:
    losses = {f'train/loss_{i}': torch.tensor(value) for i, value in enumerate(some_values(8, seed=2))}
    first, x = next(iter(losses.items()))
    values = some_values(1_000)
    ours = our_hub({key: our_buffer(values, 1_000) for key in losses})
    theirs = mmengine_hub({key: mmengine_buffer(values, 1_000) for key in losses})

    def contender(
        name: str, hub: Any, call: str, expected: dict[str, torch.Tensor], **names: Any
    ) -> Contender:
        check = _records(hub, call, names, expected)
        return Contender(name, call, {'hub': hub, **names}, check, is_peer=name == 'mmengine')

    at_once = 'hub.update_scalars(losses)'
    cells = measure(
        [
            contender(OURS, ours, at_once, losses, losses=losses),
            contender('one update_scalar', ours, BY_KEY, {first: x}, key=first, x=x),
            contender('mmengine', theirs, at_once, losses, losses=losses),
        ],
        settings,
    )
    goals = [
        at_most('less than 8x one update_scalar(key, cpu_tensor)', 1 / cells['one update_scalar'].ratio, 8.0),
        no_peer_faster(cells),
    ]
    return Row(TOPIC, '`update_scalars(dict of 8 cpu_tensors)`, 1k entries', cells, goals, headline=True)
