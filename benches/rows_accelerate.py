"""Rows: logging with Hugging Face accelerate by our tracker, and by that of TensorBoard."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.tracking import TensorBoardTracker
from harness import OURS, Check, Contender, Row, Settings, at_least, measure, require_close
from peers import our_buffer, some_values
from shares import STEP, share_row
from torch import nn
from torch.nn import functional

from ringmeter.integrations.accelerate import RingmeterTracker

TOPIC = 'With accelerate'
TENSORBOARD = 'TensorBoard'
VALUES = {
    f'loss_{letter}': torch.tensor(value) for letter, value in zip('abcdefgh', some_values(8), strict=True)
}
LENGTHS = {1_000: '1k', 100_000: '100k'}


def rows(settings: Settings) -> list[Row]:
    """Measure ``accelerator.log``, as it is and against the step of a toy model."""
    parts = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # in so small a model, several only wait
    try:
        for length, name in LENGTHS.items():
            with tempfile.TemporaryDirectory() as folder:
                entrants = [_ours(length, folder), _theirs(length, folder), _step()]
                cells = measure(entrants, settings)
            title = f'`accelerator.log` of 8 tensors, a line every 10th, {name} steps of history'
            goal = at_least("at least 5x as fast as TensorBoard's", cells[TENSORBOARD].ratio, 5.0)
            parts.append(Row(TOPIC, title, cells, [goal]))
            parts.append(share_row(TOPIC, f'a step with accelerate, {name} steps of history', cells))
    finally:
        torch.set_num_threads(threads)
    return parts


def _ours(length: int, folder: str) -> Contender:
    tracker = RingmeterTracker('ours', folder, logger=logging.Logger('quiet'))
    hub = tracker.tracker.message_hub
    for name in VALUES:
        hub.log_scalars[f'train/{name}'] = our_buffer(some_values(length), length)

    def check() -> None:
        for name, value in VALUES.items():
            require_close(hub.get_scalar(f'train/{name}').current(), value.item(), 0.0, name)

    return _contender(OURS, tracker, length, check)


def _theirs(length: int, folder: str) -> Contender:
    def check() -> None:
        files = [path for path in Path(folder, 'theirs').glob('events*') if path.stat().st_size > 100]
        require_close(len(files), 1, 0.0, 'files with events')

    return _contender(TENSORBOARD, TensorBoardTracker('theirs', folder), length, check)


def _contender(
    name: str, tracker: RingmeterTracker | TensorBoardTracker, length: int, check: Check
) -> Contender:
    accelerator = Accelerator(cpu=True, log_with=tracker)
    accelerator.init_trackers('bench')
    step = length

    def log() -> None:
        nonlocal step
        step += 1
        accelerator.log(VALUES, step=step)

    def check_log() -> None:
        log()
        check()

    return Contender(name, 'log()', {'log': log}, check_log)


def _step() -> Contender:
    """A loop's step on one batch."""
    accelerator = Accelerator(cpu=True)
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    model, optimizer = accelerator.prepare(model, optimizer)
    images, labels = torch.rand(64, 64), torch.randint(10, (64,))

    def step() -> float:
        loss = functional.cross_entropy(model(images), labels)
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    def check() -> None:
        if not step() > step():
            raise AssertionError('the loss does not fall')

    return Contender(STEP, 'step()', {'step': step}, check, is_peer=False)
