"""Rows: recording in a Lightning trainer, by our callback and by ``self.log``."""

from __future__ import annotations

import itertools
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning.pytorch as pl
import torch
from harness import OURS, Cell, Check, Contender, Row, Settings, at_least, measure, require_close
from lightning.pytorch.trainer import call
from peers import our_buffer, some_values
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from ringmeter.integrations.lightning import RingmeterCallback

TOPIC = 'In a Lightning trainer'
NAMES = ('loss', *(f'loss_{letter}' for letter in 'abcdefg'))
SCALARS = {name: torch.tensor(value) for name, value in zip(NAMES, some_values(8), strict=True)}
LENGTHS = {1_000: '1k', 100_000: '100k'}
# What a trainer calls in a step of automatic optimization, with as many further arguments.
HOOKS = {
    'on_train_batch_start': 2,
    'on_before_zero_grad': 1,
    'on_before_backward': 1,
    'on_after_backward': 0,
    'on_before_optimizer_step': 1,
    'on_train_batch_end': 3,
}
WARM_UP = 50  # steps of a run that are not measured


def rows(settings: Settings) -> list[Row]:
    """Measure one step's recording by itself, and whole steps of whole runs."""
    with _quiet(), tempfile.TemporaryDirectory() as folder:
        recording = [_recording_row(length, settings, folder) for length in LENGTHS]
        return [*recording, *_step_rows(settings, folder)]


@contextmanager
def _quiet() -> Iterator[None]:
    """No advice from the trainer, and one thread for torch: in so small a model, several only wait."""
    logger = logging.getLogger('lightning.pytorch')
    level, threads = logger.level, torch.get_num_threads()
    logger.setLevel(logging.ERROR)
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)
        torch.set_num_threads(threads)


def _trainer(folder: str, *callbacks: pl.Callback) -> pl.Trainer:
    return pl.Trainer(
        accelerator='cpu',
        max_epochs=1,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )


def _callback() -> RingmeterCallback:
    """Makes a line every ten steps, as by default, and prints none."""
    return RingmeterCallback(logger=logging.Logger('quiet'))


# ---- one step's recording ----


class _Inside(pl.LightningModule):
    """Calls a function in its training step, where ``self.log`` may be called."""

    def __init__(self, inside: Callable[[pl.Trainer, pl.LightningModule], None]) -> None:
        super().__init__()
        self._inside = inside
        self._weight = nn.Parameter(torch.ones(()))

    def training_step(self, batch: Any) -> Tensor:  # noqa: ARG002
        self._inside(self.trainer, self)
        return self._weight * 1.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def _recording_row(length: int, settings: Settings, folder: str) -> Row:
    """Two trainers stand still in a step each, one inside of the other."""
    callback = _callback()
    cells: dict[str, Cell] = {}

    def with_ours(trainer: pl.Trainer, module: pl.LightningModule) -> None:
        hub = callback.meter.message_hub
        hub.log_scalars.clear()
        for name in (*NAMES, 'lr', 'time', 'data_time'):
            buffer = our_buffer(some_values(length), length)
            hub.log_scalars[f'train/{name}'] = buffer
        ours = [
            _ours(callback, trainer, module),
            _dispatched('all hooks, through the trainer', callback, trainer),
        ]

        def with_theirs(trainer: pl.Trainer, module: pl.LightningModule) -> None:
            empty = _dispatched('those of an empty callback', None, trainer)
            cells.update(measure([ours[0], *_theirs(trainer, module), ours[1], empty], settings))

        _fit(_Inside(with_theirs), _trainer(folder, pl.Callback()))

    _fit(_Inside(with_ours), _trainer(folder, callback))
    title = f'8 scalars of a step, {LENGTHS[length]} entries'
    goal = at_least('at least 100x as fast as self.log', cells['self.log'].ratio, 100.0)
    return Row(TOPIC, title, cells, [goal])


def _fit(module: pl.LightningModule, trainer: pl.Trainer) -> None:
    trainer.fit(module, DataLoader(TensorDataset(torch.zeros(1))))


def _steps(trainer: pl.Trainer) -> Any:
    """What counts the optimizer steps of a trainer: recording ends an iteration when it has gone on."""
    return trainer.fit_loop.epoch_loop.automatic_optimization.optim_progress.optimizer.step.total


def _ours(callback: RingmeterCallback, trainer: pl.Trainer, module: pl.LightningModule) -> Contender:
    steps = _steps(trainer)

    def step() -> None:
        callback.on_train_batch_start(trainer, module, None, 0)
        steps.completed += 1
        callback.on_train_batch_end(trainer, module, SCALARS, None, 0)

    return Contender(OURS, 'step()', {'step': step}, _records(callback, step))


def _records(callback: RingmeterCallback, step: Callable[[], None]) -> Check:
    """A check that a step records each scalar, once."""

    def check() -> None:
        step()  # ends the iteration that the trainer is in
        histories = callback.meter.message_hub.log_scalars
        before = {name: histories[f'train/{name}'].position for name in (*NAMES, 'lr', 'time', 'data_time')}
        step()
        for name, position in before.items():
            require_close(histories[f'train/{name}'].position, position + 1, 0.0, f'rows of {name}')
        for name, value in SCALARS.items():
            require_close(histories[f'train/{name}'].current(), value.item(), 0.0, name)

    return check


def _dispatched(name: str, callback: RingmeterCallback | None, trainer: pl.Trainer) -> Contender:
    """All that a trainer does to call its callbacks in a step: with ours alone, or with an empty one."""
    steps = _steps(trainer)

    def step() -> None:
        for hook, number in HOOKS.items():
            if hook == 'on_train_batch_end':
                steps.completed += 1
                call._call_callback_hooks(trainer, hook, SCALARS, None, 0)
            else:
                call._call_callback_hooks(trainer, hook, *(None, 0)[:number])

    check = (lambda: None) if callback is None else _records(callback, step)
    return Contender(name, 'step()', {'step': step}, check, is_peer=False)


def _theirs(trainer: pl.Trainer, module: pl.LightningModule) -> list[Contender]:
    """What logging adds to a step: the calls, and what the trainer then does with the metrics."""
    connector = trainer._logger_connector

    def by_name() -> None:
        for name, value in SCALARS.items():
            module.log(name, value)

    def at_once() -> None:
        module.log_dict(SCALARS)

    def contender(name: str, log: Callable[[], None]) -> Contender:
        def step() -> None:
            connector.on_batch_start(None)
            log()
            connector.on_batch_end()
            connector.update_train_step_metrics()

        def check() -> None:
            step()
            for key, value in SCALARS.items():
                require_close(trainer.callback_metrics[key], value.item(), 0.0, key)

        return Contender(name, 'step()', {'step': step}, check)

    return [contender('self.log', by_name), contender('self.log_dict', at_once)]


# ---- whole steps ----


class _Toy(pl.LightningModule):
    """A small classifier with eight losses, recorded in one of three ways."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self._how = how
        self._body = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
        self.marks: list[float] = []  # the clock at the beginning of each step

    def training_step(self, batch: list[Tensor]) -> Any:
        self.marks.append(time.thread_time())
        loss = functional.cross_entropy(self._body(batch[0]), batch[1])
        scalars = {name: loss if name == 'loss' else value for name, value in SCALARS.items()}
        if self._how == 'self.log':
            for name, value in scalars.items():
                self.log(name, value)
        return scalars if self._how == OURS else loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def _step_rows(settings: Settings, folder: str) -> list[Row]:
    """A step with and without logging, and the share of it that is logging."""
    kinds = (OURS, 'self.log', 'no logging')
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    rounds, steps = (3, 150) if settings.quick else (15, 400)
    for number in range(rounds):
        for i in range(len(kinds)):
            kind = kinds[(i + number) % len(kinds)]
            seconds[kind].append(_run(kind, steps, folder))
    # Within a round, because a machine may be slower in the next one.
    ratios = {kind: _median_ratio(taken, seconds[OURS]) for kind, taken in seconds.items()}
    shares = {kind: 1 - _median_ratio(seconds['no logging'], seconds[kind]) for kind in kinds[:2]}
    cells = {
        kind: Cell(statistics.median(taken), ratios[kind], kind == 'self.log', 'trainer.fit', rounds=rounds)
        for kind, taken in seconds.items()
    }
    goal = at_least('with self.log at least 3x as long', ratios['self.log'], 3.0)
    return [
        Row(TOPIC, 'a step of a toy model that logs 8 scalars', cells, [goal]),
        Row(
            TOPIC,
            'share of logging in that step',
            {kind: Cell(100 * share, 1.0, kind != OURS, rounds=rounds) for kind, share in shares.items()},
            unit='%',
        ),
    ]


def _median_ratio(seconds: list[float], of: list[float]) -> float:
    return statistics.median(mine / other for mine, other in zip(seconds, of, strict=True))


def _run(kind: str, steps: int, folder: str) -> float:
    """Seconds of the median step of one run, which must have recorded what it should."""
    torch.manual_seed(0)
    images, labels = torch.rand(64, 64), torch.randint(10, (64,))
    batches = [(images, labels)] * (WARM_UP + steps)
    callback, module = _callback(), _Toy(kind)
    trainer = _trainer(folder, *([callback] if kind == OURS else []))
    trainer.fit(module, DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    if kind == OURS:
        histories = callback.meter.message_hub.log_scalars
        require_close(histories['train/loss_a'].sum(), len(batches) * SCALARS['loss_a'].item(), 1e-12, 'sum')
        require_close(histories['train/loss'].count(), len(batches), 0.0, 'number of losses')
    elif kind == 'self.log':
        require_close(trainer.callback_metrics['loss_a'], SCALARS['loss_a'].item(), 0.0, 'loss_a')
    marks = module.marks[WARM_UP:]
    return statistics.median(after - before for before, after in itertools.pairwise(marks))
