"""Rows: MetricLogger and EventStorage against what people copy into their projects."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import copied_peers
import torch
from harness import OURS, Contender, Row, Settings, at_least, measure, require_close
from peers import some_values

from ringmeter import compat

TOPIC = 'Code that people copy'
LENGTHS = {1_000: '1k', 100_000: '100k'}
VALUES = some_values(5, seed=3)
LOSSES = {f'loss_{i}': torch.tensor(value) for i, value in enumerate(VALUES)}
LINES = 50  # in one loop


def rows(settings: Settings) -> list[Row]:
    """Measure all of it, after so many iterations."""
    makers = (_update_row, _line_row, _put_row, _smoothed_row)
    return [make(length, settings) for make in makers for length in LENGTHS]


def _row(title: str, settings: Settings, factor: float, ours: Contender, theirs: Contender) -> Row:
    cells = measure([ours, theirs], settings)
    goal = at_least(f'at least {factor:g}x as fast', cells[theirs.name].ratio, factor)
    return Row(TOPIC, title, cells, [goal])


def _loggers(length: int) -> dict[str, Any]:
    loggers: dict[str, Any] = {
        OURS: compat.MetricLogger('  ', write=lambda _: None),
        'copied': copied_peers.MetricLogger(),
    }
    for logger in loggers.values():
        for iteration in range(length):
            logger.update(**{name: float(iteration % 7) for name in LOSSES})
    return loggers


def _update_row(length: int, settings: Settings) -> Row:
    def contender(name: str, logger: Any) -> Contender:
        call = 'logger.update(**losses)'

        def check() -> None:
            logger.update(**LOSSES)
            for key, loss in LOSSES.items():
                require_close(logger.meters[key].value, loss.item(), 0.0, call)

        return Contender(name, call, {'logger': logger, 'losses': LOSSES}, check)

    title = f'`MetricLogger.update(5 cpu_tensors)`, after {LENGTHS[length]} iterations'
    return _row(title, settings, 2.0, *(contender(*each) for each in _loggers(length).items()))


def _run(logger: Any) -> None:
    for _ in logger.log_every(range(LINES), 1):
        pass


def _line_row(length: int, settings: Settings) -> Row:
    loggers = _loggers(length)
    newest = [float(iteration % 7) for iteration in range(length)][-20:]

    def contender(name: str, logger: Any) -> Contender:
        def check() -> None:
            mean = sum(iteration % 7 for iteration in range(length)) / length
            text = f'{statistics.median_low(newest):.4f} ({mean:.4f})'
            want = '  '.join(f'{name}: {text}' for name in LOSSES)
            if str(logger) != want:
                raise AssertionError(f'the line differs:\n  {logger}\n  {want}')

        return Contender(name, 'run(logger)', {'run': _run, 'logger': logger}, check, parts=LINES)

    title = f'one iteration of `log_every`, with a line of 5 meters, after {LENGTHS[length]} iterations'
    return _row(title, settings, 3.0, *(contender(*each) for each in loggers.items()))


def _storages(length: int) -> dict[str, tuple[Any, Callable[[], None] | None]]:
    """Ours and theirs, and what takes fvcore's histories back to that length."""
    ours, theirs = compat.EventStorage(), copied_peers.EventStorage()
    storages: tuple[Any, ...] = ours, theirs
    for storage in storages:
        for iteration in range(length):
            storage.put_scalars(**{name: float(iteration % 7) for name in LOSSES})
            storage.step()

    def shorten() -> None:
        for history in theirs.histories.values():
            del history._data[length:]

    return {OURS: (ours, None), 'fvcore': (theirs, shorten)}


def _put_row(length: int, settings: Settings) -> Row:
    def contender(name: str, storage: Any, before_round: Callable[[], None] | None) -> Contender:
        call = 'storage.put_scalars(**losses); storage.step()'

        def check() -> None:
            storage.put_scalars(**LOSSES)
            for key, (median, _) in storage.latest_with_smoothing_hint(1).items():
                require_close(median, LOSSES[key].item(), 0.0, call)

        names = {'storage': storage, 'losses': LOSSES}
        return Contender(name, call, names, check, before_round=before_round)

    title = f'`EventStorage.put_scalars(5 cpu_tensors)` and `step()`, after {LENGTHS[length]} iterations'
    contenders = (contender(name, *each) for name, each in _storages(length).items())
    return _row(title, settings, 1.6, *contenders)


def _smoothed_row(length: int, settings: Settings) -> Row:
    want = statistics.median([float(iteration % 7) for iteration in range(length)][-20:])

    def contender(name: str, storage: Any) -> Contender:
        call = 'storage.latest_with_smoothing_hint(20)'

        def check() -> None:
            for median, iteration in storage.latest_with_smoothing_hint(20).values():
                require_close(median, want, 0.0, call)
                require_close(iteration, length - 1, 0.0, call)

        return Contender(name, call, {'storage': storage}, check)

    title = f'`EventStorage.latest_with_smoothing_hint(20)` of 5 keys, after {LENGTHS[length]} iterations'
    contenders = (contender(name, storage) for name, (storage, _) in _storages(length).items())
    return _row(title, settings, 4.0, *contenders)
