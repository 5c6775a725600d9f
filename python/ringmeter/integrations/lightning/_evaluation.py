"""Validation and test of a Lightning trainer, as passes of a LoopLogger."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..._loop import Loop
from ..._losses import Keys
from ..._passes import EvaluationPass, TrialPass
from ...loop_logger import LoopLogger
from .._step_outputs import StepOutputs
from ._package import pl


class Evaluation:
    """Tells a meter of the batches of a validation or test."""

    def __init__(self, meter: LoopLogger) -> None:
        self._meter = meter
        self._running: EvaluationPass | TrialPass | None = None
        self._keys: dict[int | None, Keys] = {}  # of each loader, if there are several; None: of all
        self._outputs = StepOutputs()

    def start(self, trainer: pl.Trainer, mode: str, batches: Iterable[float]) -> None:
        """It begins, with as many batches from each loader."""
        self.stop()
        number = sum(batches)
        loop = Loop(mode, None if math.isinf(number) else int(number))
        if trainer.sanity_checking:
            self._running = TrialPass(self._meter, loop)
        else:
            self._running = EvaluationPass(self._meter, loop, step=trainer.global_step)
        self._keys = {None: self._running.keys}

    def begin_batch(self, loader: int | None) -> None:
        running = self._running
        if running is None:
            return
        self.use_loader(loader)
        running.begin_batch()

    def use_loader(self, loader: int | None) -> None:
        """What is recorded from here on belongs to one of several loaders; None: to all of them."""
        running = self._running
        if running is None:
            return
        if loader not in self._keys:
            self._keys[loader] = Keys(running.mode, f'/dataloader_idx_{loader}')
        running.keys = self._keys[loader]

    def end_batch(self, outputs: Any) -> None:
        if self._running is not None:
            self._outputs.record(self._running, outputs)
            self._running.end_batch()

    def end(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.end(waits=not self._meter._is_training())  # on its own, this is the end of the run

    def stop(self) -> None:
        """It ends in the middle, if it has not ended."""
        if self._running is not None:
            self._running.close()
        self._running = None
