"""A run of Hugging Face's Trainer: what is recorded when, and which events belong together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..._loop import Loop
from ..._passes import EvaluationPass, TrainPass
from ...loop_logger import LoopLogger
from .._step_outputs import StepOutputs

_NOT_MEASURED = ('epoch', 'learning_rate', 'step', 'total_flos')
_SPEEDS = ('runtime', 'samples_per_second', 'steps_per_second', 'model_preparation_time')


class Run:
    """Hands the events of a trainer to the passes of a meter.

    Args:
        meter: What writes the lines.
    """

    def __init__(self, meter: LoopLogger) -> None:
        self._meter = meter
        self._outputs = StepOutputs()
        self._training: TrainPass | None = None
        self._evaluation: EvaluationPass | None = None
        self._is_ending = False  # the step is over, but what Trainer logs of it is still to come
        self._step = 0  # its number
        self._measured: dict[str, Any] = {}  # in the running step, without Trainer
        self._is_measured: set[str] = set()  # all names of those that there have been

    # ---- training ----

    def start(self, optimizer: Any, step: int, max_steps: int, accumulates: bool) -> None:
        """Training begins, behind that many steps."""
        self._evaluation, self._is_ending, self._measured = None, False, {}
        rates = None if optimizer is None else _FirstGroup(optimizer)
        self._meter._start_run(rates, epoch=0, iters=step, max_epochs=None, max_iters=max_steps)
        self._training = TrainPass(self._meter, Loop('train', max_steps), done=step)
        self._training.accumulates = accumulates
        self._training.has_loss = True

    def begin_step(self) -> None:
        """Its batches are there."""
        self.settle()
        if self._evaluation is not None:  # was announced, and did not take place
            self._evaluation.close()
            self._evaluation = None
        if self._training is not None:
            self._training.begin_batch()

    def measure(self, name: str, value: Any, adds_up: bool = False) -> None:
        """Take a scalar of the running step, or its part of a micro-batch if that ``adds_up``."""
        if adds_up and self._training is not None and self._training.accumulates:
            # As Trainer does: at once, for the next micro-batch may overwrite it, and in float32.
            known = self._measured.get(name)
            value = value.detach().to(torch.float32, copy=True) if known is None else known + value.detach()
        self._measured[name] = value
        self._is_measured.add(name)

    def end_step(self, step: int) -> None:
        """It is over, but for what Trainer may log of it: until another event comes."""
        if self._training is None:
            return
        measured, self._measured = self._measured, {}
        self._outputs.record(self._training, measured)
        self._step, self._is_ending = step, True

    def wait_no_more(self) -> None:
        """What follows is not the loader's time."""
        self.settle()
        if self._training is not None:
            self._training.end_batch(ends_iteration=False)

    def log(self, logs: Mapping[str, Any]) -> None:
        """Trainer logs: the step that is over, or the epoch."""
        if self._training is None or self._evaluation is not None or 'train_runtime' in logs:
            return
        hidden = self._is_measured.union(_NOT_MEASURED)
        shown = {
            name: value
            for name, value in logs.items()
            if name not in hidden and not str(name).startswith('eval_')
        }
        self._outputs.record(self._training, shown)
        self.settle()

    def settle(self) -> None:
        """Nothing more is known about the step that is over, if one is.

        Raises:
            NanError: With ``on_nan='raise'``.
        """
        if self._is_ending and self._training is not None:
            self._is_ending = False
            self._training.end_batch(step=self._step)

    def end(self) -> None:
        """Training is over."""
        self.settle()
        if self._training is not None:
            self._training.end()
            self._training = None

    # ---- evaluation ----

    def announce_evaluation(self, step: int) -> None:
        """One comes next: from here on it is not the time of training."""
        self._evaluate('val', step)

    def begin_prediction(self, mode: str, step: int, size: int | None) -> None:
        """A batch of one is there, of ``size`` if that is known."""
        running = self._evaluate(mode, step)
        running.loop.size = size
        running.begin_batch()

    def end_prediction(self, step: int) -> None:
        """A batch of one is done. Without its beginning there are no times."""
        running = self._evaluation or self._evaluate('val', step)
        if running.is_open:
            running.end_batch()
        else:
            running.done += 1

    def end_evaluation(self, mode: str, step: int, metrics: Mapping[str, Any]) -> None:
        """One is over, with these metrics."""
        running = self._evaluate(mode, step)
        prefix = {'val': 'eval_', 'test': 'test_'}[mode]
        shown = {
            name.removeprefix(prefix): value
            for name, value in metrics.items()
            if name not in _NOT_MEASURED and not name.endswith(_SPEEDS)
        }
        self._outputs.record(running, shown)
        running.end(waits=self._training is None)  # nothing may come that writes the line later
        self._evaluation = None

    def _evaluate(self, mode: str, step: int) -> EvaluationPass:
        """Return the evaluation that runs, or begin one."""
        self.settle()
        done = 0
        if self._evaluation is not None:
            if self._evaluation.mode == mode:
                return self._evaluation
            self._evaluation.close()  # it turns out to be another
            done = self._evaluation.done
        self._evaluation = EvaluationPass(self._meter, Loop(mode, None), step=step)
        self._evaluation.done = done
        self._evaluation.has_loss = True
        return self._evaluation


class _FirstGroup:
    """The first parameter group of an optimizer, whose learning rate is the one that Trainer shows."""

    def __init__(self, optimizer: Any) -> None:
        self._optimizer = optimizer

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        groups: list[dict[str, Any]] = self._optimizer.param_groups
        return groups[:1]
