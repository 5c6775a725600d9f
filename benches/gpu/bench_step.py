"""A launch-bound training step with 8 losses, logged in different ways: in turns, in one process."""

from __future__ import annotations

import gc
import itertools
import logging
import math
import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import torch
from checks_loop import make_meter
from gpu_check import DEVICE, ON_CPU, Result, check, main, require, synchronize

LOSSES = 8
INTERVAL = 10
ROUNDS, STEPS = (30, 200) if not ON_CPU else (3, 20)
NONE, OURS, NOW, ITEM = 'no logging', 'ringmeter', "ringmeter, lines='now'", '.item() per loss'

Losses = dict[str, torch.Tensor]


class Training:
    """A small network with as many losses as outputs. What a step costs is launching its kernels."""

    def __init__(self, make_optimizer: Callable[..., torch.optim.Optimizer], **options: Any) -> None:
        torch.manual_seed(0)
        sizes = [64, 64, 64, 64, LOSSES]
        layers: list[torch.nn.Module] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
        self.model = torch.nn.Sequential(*layers[:-1]).to(DEVICE)
        self.optimizer = make_optimizer(self.model.parameters(), foreach=True, **options)
        self.inputs = torch.randn(32, 64, device=DEVICE)
        self.wanted = torch.randn(32, LOSSES, device=DEVICE)

    def losses(self) -> Losses:
        errors = (self.model(self.inputs) - self.wanted).square().mean(0)
        return {f'loss{i}': error for i, error in enumerate(errors.unbind())}

    def learn(self, loss: torch.Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def _total(losses: Losses) -> torch.Tensor:
    first, *others = losses.values()
    return sum(others, first)


def _contenders(training: Training) -> dict[str, Callable[[], None]]:
    """Each takes a block of steps."""

    def no_logging() -> None:
        for _ in range(STEPS):
            training.learn(_total(training.losses()))

    def ringmeter(lines: str) -> Callable[[], None]:
        meter, written = make_meter(optimizer=training.optimizer, interval=INTERVAL, lines=lines)

        def block() -> None:
            written.texts.clear()
            for _ in meter.train(range(STEPS)):
                training.learn(meter.log(training.losses()))
            require(len(written.texts) == STEPS // INTERVAL, f'{len(written.texts)} lines')

        return block

    logger = logging.Logger('quiet')
    logger.addHandler(logging.NullHandler())

    def item() -> None:
        windows: dict[str, deque[float]] = {f'loss{i}': deque(maxlen=10) for i in range(LOSSES)}
        windows['loss'] = deque(maxlen=10)
        for step in range(STEPS):
            losses = training.losses()
            total = _total(losses)
            for name, loss in losses.items():
                windows[name].append(loss.item())
            windows['loss'].append(total.item())
            if (step + 1) % INTERVAL == 0:
                means = (f'{name}: {statistics.fmean(window):.4f}' for name, window in windows.items())
                logger.info('%s', '  '.join(means))
            training.learn(total)

    return {NONE: no_logging, OURS: ringmeter('deferred'), NOW: ringmeter('now'), ITEM: item}


def _measure(result: Result, training: Training) -> None:
    contenders = _contenders(training)
    names = list(contenders)
    micros: dict[str, list[float]] = {name: [] for name in names}
    for block in contenders.values():  # warm up
        block()
    gc.collect()
    gc.disable()
    for number in range(ROUNDS):
        for i in range(len(names)):
            name = names[(i + number) % len(names)]  # nobody always runs after the same neighbour
            synchronize()
            start = time.perf_counter()
            contenders[name]()
            synchronize()
            micros[name].append((time.perf_counter() - start) / STEPS * 1e6)
    gc.enable()
    require(math.isfinite(_total(training.losses()).item()), 'the training diverged')
    result.compare(micros, NONE, 'us a step')
    result.figures.update(rounds=ROUNDS, steps_of_a_round=STEPS, losses=LOSSES, line_every=INTERVAL)
    result.at_most('a step with ringmeter / without logging', result.cells[OURS]['ratio'], 1.02)


@check('bench-adamw')
def adamw(result: Result) -> None:
    _measure(result, Training(torch.optim.AdamW, lr=1e-4))


@check('bench-sgd')
def sgd(result: Result) -> None:
    _measure(result, Training(torch.optim.SGD, lr=1e-3, momentum=0.9))


if __name__ == '__main__':
    main()
