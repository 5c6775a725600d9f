"""What a Lightning trainer knows about its run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ._package import pl


def epoch_size(trainer: pl.Trainer) -> int | None:
    """Return the number of optimizer steps in an epoch; None if it is not known."""
    batches = trainer.num_training_batches
    return None if math.isinf(batches) else math.ceil(batches / trainer.accumulate_grad_batches)


def max_epochs(trainer: pl.Trainer) -> int | None:
    return None if trainer.max_epochs in (None, -1) else trainer.max_epochs


def iterations_left(trainer: pl.Trainer, done: int, steps_per_iteration: float) -> int | None:
    """Return how many iterations are left of the run, ``done`` of the epoch being done; None if not known."""
    size, epochs = epoch_size(trainer), max_epochs(trainer)
    limits = []
    if size is not None and epochs is not None:
        limits.append(size * (epochs - trainer.current_epoch) - done)
    if trainer.max_steps != -1:
        limits.append(math.ceil((trainer.max_steps - trainer.global_step) / steps_per_iteration))
    return max(0, min(limits)) if limits else None


def named_optimizers(trainer: pl.Trainer) -> dict[str, Any]:
    """Return the optimizers by name: one has none, several have their scheduler's or that of their class."""
    optimizers = [optimizer for optimizer in trainer.optimizers if hasattr(optimizer, 'param_groups')]
    if len(optimizers) == 1:
        return {'': optimizers[0]}
    given = {id(config.scheduler.optimizer): config.name for config in trainer.lr_scheduler_configs}
    named: dict[str, Any] = {}
    for optimizer in optimizers:
        base = name = given.get(id(optimizer)) or type(optimizer).__name__
        number = 0
        while name in named:
            number += 1
            name = f'{base}-{number}'
        named[name] = optimizer
    return named


def folder(trainer: Any) -> Path | None:
    """Return where the first logger writes, which is where checkpoints go too; None if that is nowhere."""
    if not trainer.loggers or trainer.fast_dev_run:
        return None
    first = trainer.loggers[0]
    parent = str(first.save_dir or trainer.default_root_dir)
    version = first.version if isinstance(first.version, str) else f'version_{first.version}'
    return None if '://' in parent else Path(parent, str(first.name), version)


class LoggerSink:
    """Hands records to a logger of the trainer."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def add_scalars(self, scalars: dict[str, Any], step: int) -> None:
        self._logger.log_metrics(scalars, step)
        self._logger.save()  # as Lightning does: CSVLogger writes nothing by itself but at steps 99, 199, ...

    def __str__(self) -> str:
        return type(self._logger).__name__
