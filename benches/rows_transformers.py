"""Rows: logging in Hugging Face's Trainer, by our mixin and callback, and by itself."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from harness import OURS, Contender, Row, Settings, at_least, measure, no_peer_faster, require_close
from peers import our_buffer, some_values
from shares import STEP, share_row
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from ringmeter.integrations.transformers import RingmeterCallback, RingmeterMixin

TOPIC = "In Hugging Face's Trainer"
LENGTHS = {1_000: '1k', 100_000: '100k'}
LOSS, NORM, RATE = torch.tensor(1.5), torch.tensor(0.5), 0.001


def rows(settings: Settings) -> list[Row]:
    """Measure what logging adds to a step of a trainer, by itself and against the step of a toy model."""
    parts = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # in so small a model, several only wait
    logging.getLogger('ringmeter').setLevel(logging.ERROR)
    try:
        for length, name in LENGTHS.items():
            with tempfile.TemporaryDirectory() as folder:
                entrants = [
                    _ours(length, folder),
                    *(_theirs(n, length, folder) for n in (1, 10)),
                    _step(folder),
                ]
                cells = measure(entrants, settings)
            title = f'loss, gradient norm and learning rate of a step of Trainer, {name} steps of history'
            text = 'at least 1.5x as fast as Trainer, which waits, with the loss of every step'
            goals = [at_least(text, cells['logging_steps=1'].ratio, 1.5), no_peer_faster(cells, 0.5)]
            parts.append(Row(TOPIC, title, cells, goals))
            parts.append(share_row(TOPIC, f'a step of Trainer, {name} steps of history', cells))
    finally:
        torch.set_num_threads(threads)
    return parts


class _Toy(nn.Module):
    """A small classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Return the loss."""
        return {'loss': functional.cross_entropy(self.body(images), labels)}


class _Data(Dataset[dict[str, Tensor]]):
    def __len__(self) -> int:
        return 64

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {'images': torch.full((64,), index / 64), 'labels': torch.tensor(index % 10)}


class _Ours(RingmeterMixin, Trainer):
    pass


def _trainer(cls: type[Trainer], folder: str, *callbacks: RingmeterCallback, **arguments: Any) -> Any:
    """Return one that has done one step, and is still in training as far as its parts know."""
    given = TrainingArguments(
        output_dir=folder,
        max_steps=1,
        per_device_train_batch_size=64,
        save_strategy='no',
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        **arguments,
    )
    trainer = cls(_Toy(), given, train_dataset=_Data(), callbacks=list(callbacks))
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    trainer.state.max_steps = 10**9
    trainer.control.should_training_stop = False
    return trainer


def _events(trainer: Any) -> Callable[[], None]:
    """What Trainer does in a step with its callbacks and its logs."""
    handler, given, state = trainer.callback_handler, trainer.args, trainer.state
    start = time.time()

    def events() -> None:
        trainer.control = handler.on_step_begin(given, state, trainer.control)
        trainer.control = handler.on_pre_optimizer_step(given, state, trainer.control)
        trainer.control = handler.on_optimizer_step(given, state, trainer.control)
        state.global_step += 1
        trainer.control = handler.on_step_end(given, state, trainer.control)
        trainer._maybe_log_save_evaluate(
            trainer._tr_loss, NORM, trainer.model, None, 0, None, start, learning_rate=RATE
        )

    return events


def _ours(length: int, folder: str) -> Contender:
    callback = RingmeterCallback(interval=10, logger=logging.Logger('quiet'))
    trainer = _trainer(_Ours, folder, callback, logging_strategy='no', logging_nan_inf_filter=False)
    trainer.state.global_step = 0
    trainer.callback_handler.on_train_begin(trainer.args, trainer.state, trainer.control)  # another run
    histories = callback.meter.message_hub.log_scalars
    for name in ('lr', 'loss', 'grad_norm', 'data_time', 'time'):
        histories[f'train/{name}'] = our_buffer(some_values(length), length)
    events = _events(trainer)

    def step() -> None:
        callback.measure('loss', LOSS, adds_up=True)
        callback.measure('grad_norm', NORM)
        events()

    def check() -> None:
        step()
        require_close(histories['train/loss'].position, length + 1, 0.0, 'rows')
        require_close(histories['train/loss'].current(), LOSS.item(), 0.0, 'loss')
        require_close(histories['train/grad_norm'].current(), NORM.item(), 0.0, 'gradient norm')

    return Contender(OURS, 'step()', {'step': step}, check)


def _theirs(interval: int, length: int, folder: str) -> Contender:
    trainer = _trainer(Trainer, folder, logging_steps=interval)
    history = trainer.state.log_history
    history[:] = [{'loss': 1.0, 'step': step} for step in range(length // interval)]
    trainer._tr_loss -= trainer._tr_loss
    events = _events(trainer)

    def step() -> None:
        # As Trainer does in each micro-batch, by default.
        if not (torch.isnan(LOSS) or torch.isinf(LOSS)):
            trainer._tr_loss += LOSS
        events()

    def check() -> None:
        logs = len(history)
        for _ in range(2 * interval):
            step()
        require_close(len(history), logs + 2, 0.0, 'logs')
        require_close(history[-1]['loss'], LOSS.item(), 0.0, 'loss')

    return Contender(f'logging_steps={interval}', 'step()', {'step': step}, check)


def _step(folder: str) -> Contender:
    trainer = _trainer(Trainer, folder, logging_strategy='no', logging_nan_inf_filter=False)
    batch = {'images': torch.rand(64, 64), 'labels': torch.randint(10, (64,))}
    model = trainer.model_wrapped

    def step() -> float:
        loss = trainer.training_step(model, batch)
        trainer.accelerator.clip_grad_norm_(model.parameters(), 1.0)
        trainer.optimizer.step()
        model.zero_grad()
        number: float = loss.item()
        return number

    def check() -> None:
        for group in trainer.optimizer.param_groups:
            group['lr'] = 0.01
        if not step() > step():
            raise AssertionError('the loss does not fall')

    return Contender(STEP, 'step()', {'step': step}, check, is_peer=False)
