"""Rows: a log line, and all that mmengine's hooks record in an iteration."""

from __future__ import annotations

from typing import Any

import mmengine.runner as mmengine
import torch
from harness import OURS, Contender, Row, Settings, at_least, measure
from peers import mmengine_buffer, mmengine_hub, our_buffer, our_hub, some_values

import ringmeter

TOPIC = 'Log lines'
KEYS = ('data_time', 'lr', 'loss', 'loss_cls', 'loss_bbox', 'acc', 'grad_norm', 'time')
LOSSES = ('loss_cls', 'loss_bbox', 'loss_mask', 'loss_rpn', 'loss')
TIMES = {'data_time': 0.0123, 'time': 0.3456}
MEANS = ('loss', 'time', 'grad_norm')  # a key with one of these in it is averaged over the last ten


class Runner:
    """What a log processor asks of mmengine's runner: the same for both."""

    def __init__(self, message_hub: Any) -> None:
        self.message_hub = message_hub
        self.iter = 1234
        self.epoch = 4
        self.max_iters = 100_000
        self.max_epochs = 12
        self.model = None
        self.train_loop = self._train_loop = Loop()


class Loop:
    """A training loop as far as its number of batches goes."""

    dataloader = range(250)


def rows(settings: Settings) -> list[Row]:
    """Measure both."""
    return [_line_row(settings), _iteration_row(settings)]


def _runners(keys: tuple[str, ...], length: int) -> tuple[Runner, Runner]:
    """Two runners with equal, full histories of ``length`` values."""
    values = {f'train/{key}': some_values(length, seed=number) for number, key in enumerate(keys)}
    ours = our_hub({key: our_buffer(value, length) for key, value in values.items()})
    theirs = mmengine_hub({key: mmengine_buffer(value, length) for key, value in values.items()})
    for hub in (ours, theirs):
        hub.update_info('eta', 45296.7)
    return Runner(ours), Runner(theirs)


def _require_equal(got: Any, want: Any) -> None:
    if got != want:
        raise AssertionError(f'the line differs:\n  {got!r}\n  {want!r}')


def _line_row(settings: Settings) -> Row:
    ours, theirs = _runners(KEYS, 1_000)
    call = 'processor.get_log_after_iter(runner, 9, "train")'
    processors = ringmeter.LogProcessor(), mmengine.LogProcessor()

    def check() -> None:
        (tag, line), (want_tag, want_line) = (
            processor.get_log_after_iter(runner, 9, 'train')
            for processor, runner in zip(processors, (ours, theirs), strict=True)
        )
        _require_equal(line, want_line)
        _require_equal(line, _line_by_hand())
        _require_equal(list(tag), list(want_tag))

    cells = measure(
        [
            Contender(name, call, {'processor': processor, 'runner': runner}, check)
            for name, processor, runner in zip((OURS, 'mmengine'), processors, (ours, theirs), strict=True)
        ],
        settings,
    )
    goal = at_least("at least 15x as fast as mmengine's", cells['mmengine'].ratio, 15.0)
    return Row(TOPIC, 'one line of 8 keys', cells, [goal], headline=True)


def _line_by_hand() -> str:
    """The line, from the values alone."""
    newest = {key: some_values(1_000, seed=number)[-10:] for number, key in enumerate(KEYS)}
    shown = {
        key: sum(values) / 10 if any(part in key for part in MEANS) else values[-1]
        for key, values in newest.items()
    }
    learning_rate, time, data_time = (shown.pop(key) for key in ('lr', 'time', 'data_time'))
    return (
        f'Epoch(train)  [5][ 10/250]  lr: {learning_rate:.4e}  eta: 12:34:56  time: {time:.4f}  '
        f'data_time: {data_time:.4f}  ' + '  '.join(f'{key}: {value:.4f}' for key, value in shown.items())
    )


def _ten_iterations(runner: Runner, processor: Any, outputs: dict[str, torch.Tensor]) -> str:
    """The calls of IterTimerHook, RuntimeInfoHook, OptimWrapper and LoggerHook, in their order."""
    hub = runner.message_hub
    for _ in range(10):
        hub.update_scalar('train/data_time', TIMES['data_time'])
        hub.update_info('iter', runner.iter)
        hub.update_scalar('train/lr', 1e-3)
        hub.update_scalar('train/grad_norm', 3.25)
        for key, value in outputs.items():
            hub.update_scalar(f'train/{key}', value)
        hub.update_scalar('train/time', TIMES['time'])
        eta = hub.get_scalar('train/time').current() * (runner.max_iters - runner.iter - 1)
        hub.update_info('eta', eta)
    line: str = processor.get_log_after_iter(runner, 9, 'train')[1]
    return line


def _iteration_row(settings: Settings) -> Row:
    ours, theirs = _runners((*TIMES, 'lr', 'grad_norm', *LOSSES), 100_000)
    outputs = {key: torch.tensor(value) for key, value in zip(LOSSES, some_values(5, seed=9), strict=True)}
    processors = ringmeter.LogProcessor(), mmengine.LogProcessor()

    def check() -> None:
        lines = [
            _ten_iterations(runner, processor, outputs)
            for runner, processor in zip((ours, theirs), processors, strict=True)
        ]
        _require_equal(lines[0], lines[1])
        _require_equal(lines[0].endswith(f'loss: {float(outputs["loss"]):.4f}'), True)

    cells = measure(
        [
            Contender(
                name,
                'run(runner, processor, outputs)',
                {'run': _ten_iterations, 'runner': runner, 'processor': processor, 'outputs': outputs},
                check,
                parts=10,
            )
            for name, runner, processor in zip((OURS, 'mmengine'), (ours, theirs), processors, strict=True)
        ],
        settings,
    )
    title = 'all of an iteration: 9 keys, 5 of them tensors; a line every 10th; 100k entries'
    goal = at_least('at least 200x as fast as mmengine', cells['mmengine'].ratio, 200.0)
    return Row(TOPIC, title, cells, [goal], headline=True)
