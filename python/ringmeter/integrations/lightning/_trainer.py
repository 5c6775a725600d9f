"""What a Lightning trainer knows about its run."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

from ._package import pl


def progress(trainer: Any) -> Any:
    """Return the trainer's own count of batches: ``.current.processed`` and ``.total.processed``."""
    return trainer.fit_loop.epoch_loop.batch_progress


def share_of_batch(trainer: pl.Trainer, iters: int) -> Fraction:
    """Return how much of an iteration a batch is: by manual optimization, what it was in those so far."""
    if trainer.lightning_module.automatic_optimization:
        return Fraction(1, trainer.accumulate_grad_batches)
    batches = progress(trainer).total.processed
    return min(Fraction(1), Fraction(iters, batches)) if iters and batches else Fraction(1)


def iterations_of_epoch(trainer: pl.Trainer, share: Fraction, done: int = 0, batches: int = 0) -> int | None:
    """Return how many an epoch has, ``done`` of them in its first ``batches``; None if that is not known."""
    if math.isinf(trainer.num_training_batches):
        return None
    return done + math.ceil((trainer.num_training_batches - batches) * share)


def max_epochs(trainer: pl.Trainer) -> int | None:
    return None if trainer.max_epochs in (None, -1) else trainer.max_epochs


def iterations_left(
    trainer: pl.Trainer, size: int | None, done: int, steps_per_iteration: float
) -> int | None:
    """Return how many iterations are left of the run, None if that is not known.

    Args:
        trainer: Whose run it is.
        size: Number of those of an epoch, if it is known.
        done: Number of those done of the running epoch.
        steps_per_iteration: How often ``trainer.global_step`` counts one.
    """
    epochs = max_epochs(trainer)
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
