"""The training of a Lightning trainer, as passes of a LoopLogger."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from ..._loop import Loop
from ..._passes import TrainPass
from ...loop_logger import LoopLogger
from .._step_outputs import StepOutputs
from ._package import pl
from ._trainer import (
    iterations_left,
    iterations_of_epoch,
    max_epochs,
    named_optimizers,
    progress,
    share_of_batch,
)

_logger = logging.getLogger('ringmeter')


class Training:
    """Tells a meter of the optimizer steps of a trainer.

    Args:
        meter: Whom it tells.
        by_epoch: Whether lines count epochs; None: if the trainer has a limit to them. They never do where
            the end of an epoch is not known.
    """

    def __init__(self, meter: LoopLogger, by_epoch: bool | None) -> None:
        self._meter = meter
        self._by_epoch = by_epoch
        self._running: TrainPass | None = None
        self._is_new = False  # the running epoch: it had no batch yet
        self._step = 0  # trainer.global_step after the newest row
        self._begin = 0, 0  # where this run of the trainer began: trainer.global_step, meter.iter
        self._has_rest = False  # micro-batches that no row has yet
        self._each_steps: bool | None = None  # each batch so far; None: there was none in this run
        self._outputs = StepOutputs()

    def start(self, trainer: pl.Trainer) -> None:
        meter, step = self._meter, trainer.global_step
        # With manual optimization the trainer may count several steps where there is one iteration.
        is_same = trainer.lightning_module.automatic_optimization or meter.iter == 0
        self._begin = step, step if is_same else meter.iter
        self._step = step
        self._each_steps = None
        epochs = max_epochs(trainer)
        meter._start_run(named_optimizers(trainer), trainer.current_epoch, self._begin[1], epochs, None)
        is_wanted = epochs is not None if self._by_epoch is None else self._by_epoch
        meter.log_processor.by_epoch = is_wanted and not math.isinf(trainer.num_training_batches)

    def begin_epoch(self, trainer: pl.Trainer) -> None:
        self._meter.epoch = trainer.current_epoch
        loop = Loop('train', iterations_of_epoch(trainer, share_of_batch(trainer, self._meter.iter)))
        self._set_limit(trainer, loop.size, 0, self._meter.iter)
        self._running = TrainPass(self._meter, loop)
        self._running.has_loss = trainer.lightning_module.automatic_optimization
        self._is_new = True

    def begin_batch(self, trainer: pl.Trainer, batch_idx: int) -> None:
        if self._running is None:  # a run that goes on inside of an epoch
            self.begin_epoch(trainer)
        running = self._running
        assert running is not None
        if self._is_new:
            self._is_new = False
            share = share_of_batch(trainer, self._meter.iter)
            running.done = int(batch_idx * share)
            running.loop.size = iterations_of_epoch(trainer, share)
            self._set_limit(trainer, running.loop.size, running.done, self._meter.iter)
        # With manual optimization, only the end of a batch tells whether it steps.
        is_manual = not trainer.lightning_module.automatic_optimization
        running.accumulates = trainer.accumulate_grad_batches > 1 or (is_manual and not self._each_steps)
        running.begin_batch()

    def end_batch(self, trainer: pl.Trainer, outputs: Any) -> None:
        running, step = self._running, trainer.global_step
        if running is None or not running.is_open:  # the batch was None
            return
        has_stepped = step != self._step
        self._each_steps = has_stepped and self._each_steps is not False
        running.accumulates = trainer.accumulate_grad_batches > 1 or not has_stepped
        self._outputs.record(running, _whole(outputs, trainer))
        if has_stepped:
            self._learn_limit(trainer, running)
        running.end_batch(has_stepped, step)
        self._step = step
        self._has_rest = not has_stepped

    def end_epoch(self, trainer: pl.Trainer) -> None:
        running, self._running = self._running, None
        if running is None:
            return
        if self._has_rest:
            if trainer.global_step == self._begin[0]:
                _logger.warning(
                    'the trainer counted no optimizer step, so an epoch becomes one iteration: '
                    'step the optimizers that self.optimizers() returns'
                )
            self._learn_limit(trainer, running)
            running.end_batch(step=trainer.global_step)
            self._has_rest = False
        running.drop_iteration()  # of a batch that was skipped
        running.end(waits=False)

    def stop(self) -> None:
        """It ends in the middle, if it has not ended."""
        if self._running is not None:
            self._running.drop_iteration()
            self._running.close()
        self._running, self._has_rest = None, False

    def _learn_limit(self, trainer: pl.Trainer, running: TrainPass) -> None:
        """An iteration ends: where they have several batches each by manual optimization, see how many."""
        if trainer.lightning_module.automatic_optimization or self._each_steps:
            return
        iters, done = self._meter.iter + 1, running.done + 1
        batches = progress(trainer).current.processed
        running.loop.size = iterations_of_epoch(trainer, share_of_batch(trainer, iters), done, batches)
        self._set_limit(trainer, running.loop.size, done, iters)

    def _set_limit(self, trainer: pl.Trainer, size: int | None, done: int, iters: int) -> None:
        """Say how long the run will be.

        Args:
            trainer: Whose run it is.
            size: Number of iterations of an epoch, if it is known.
            done: Number of those that the running epoch has behind it.
            iters: Number of those that the run has.
        """
        steps, new = trainer.global_step - self._begin[0], iters - self._begin[1]
        if steps == 0 or new == 0:
            is_automatic = trainer.lightning_module.automatic_optimization
            steps, new = 1 if is_automatic else max(1, len(trainer.optimizers)), 1
        left = iterations_left(trainer, size, done, steps / new)
        self._meter.max_iters = None if left is None else iters + left


def _whole(outputs: Any, trainer: pl.Trainer) -> Any:
    """Return outputs with the loss that the step returned: Lightning has divided it by the micro-batches."""
    divisor = trainer.accumulate_grad_batches
    if divisor == 1 or not isinstance(outputs, Mapping) or outputs.get('loss') is None:
        return outputs
    return {**outputs, 'loss': outputs['loss'] * divisor}
