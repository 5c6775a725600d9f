"""The callback for Hugging Face's Trainer."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..._choices import note_choice
from ...log_processor import LogProcessor
from ...loop_logger import LoopLogger
from .._console import write_above_bars
from .._own_values import check_no_reduction
from ._checkpoint import load_state, save_state
from ._run import Run

_logger = logging.getLogger('ringmeter')


class RingmeterCallback(TrainerCallback):
    """Records learning rates, the times of a step and what Trainer logs, and prints mmengine's log lines.

    A step is an optimizer step. Its loss and its gradient norm need :class:`RingmeterMixin`; without that
    they are what Trainer logs, every ``logging_steps``. What a model records is shown too, by
    ``callback.meter.log(<name>=value)`` or
    ``MessageHub.get_current_instance().update_scalar('train/<name>', value)``; the loss is Trainer's, not the
    sum of others. An evaluation has a line of its metrics.

    The process of rank 0 writes. Checkpoint folders get ``ringmeter.pt``, and a run that goes on from one
    adds to its histories. What Trainer itself logs and shows stays as it is.

    Args:
        interval: A line every so many steps; every ``logging_steps`` unless given.
        window_size: As in :class:`LogProcessor`.
        custom_cfg: As in :class:`LogProcessor`.
        work_dir: Where ``<timestamp>.log`` and ``vis_data/scalars.json`` go; the trainer's ``output_dir``
            unless given.
        name: Name in the log lines, and of the hub.
        logger: A ``logging.Logger`` to be used for the lines instead of the console and the log file.
        log_processor: To be used instead of one made from the arguments above.
        lines: As in :class:`LoopLogger`, as are the others.
        on_nan: ``'count'``, ``'show'`` or ``'raise'``.
        idle_time: Whether to record ``idle_time``.

    Raises:
        ArgumentError: As :class:`LoopLogger`.

    Attributes:
        meter: The :class:`LoopLogger` of the run. Another one when the callback is used for a second run.
        resume_folder: A checkpoint folder that a run goes on from, if it is not one in ``output_dir``. The
            mixin sets it.
    """

    def __init__(
        self,
        *,
        interval: int | None = None,
        window_size: int | str = 10,
        custom_cfg: Sequence[dict[str, Any]] | None = None,
        work_dir: str | Path | None = None,
        name: str = 'ringmeter',
        logger: logging.Logger | None = None,
        log_processor: LogProcessor | None = None,
        lines: str = 'deferred',
        on_nan: str = 'count',
        idle_time: bool = False,
    ) -> None:
        self._arguments: dict[str, Any] = {
            'interval': 1 if interval is None else interval,
            'window_size': window_size,
            'custom_cfg': custom_cfg,
            'name': name,
            'logger': logger,
            'log_processor': log_processor,
            'lines': lines,
            'on_nan': on_nan,
            'idle_time': idle_time,
        }
        self._interval = interval
        self._work_dir = work_dir
        self.resume_folder: Path | None = None
        self._reset()

    def _reset(self) -> None:
        self.meter = LoopLogger(max_iters=1, **self._arguments)  # the trainer says later how long it runs
        check_no_reduction(self.meter, 'Trainer')
        self.meter.log_processor.by_epoch = False
        self._run = Run(self.meter)
        self._is_open = self._has_trained = False

    def _open(self, args: TrainingArguments, state: TrainerState) -> None:
        """Write the lines from here on, if this process is to."""
        self.meter.interval = self._interval or max(1, int(state.logging_steps))  # training sets its own
        source = 'logging_steps' if self._interval is None else 'the callback'
        note_choice('interval of Trainer', f'{source}: {self.meter.interval}')
        if self._is_open:
            return
        self._is_open = True
        self.meter._set_main(state.is_world_process_zero)
        if self.meter._is_silent:
            return
        write_above_bars(self.meter)
        self.meter._open(Path(self._work_dir or args.output_dir or '.'))

    # ---- what the mixin has to say ----

    def measure(self, name: str, value: Any, adds_up: bool = False) -> None:
        """Take a scalar of the running step, or its part of a micro-batch if that ``adds_up``."""
        self._run.measure(name, value, adds_up)

    def begin_prediction(
        self, args: TrainingArguments, state: TrainerState, mode: str, size: int | None
    ) -> None:
        """A batch of an evaluation begins, of ``size`` in all if that is known."""
        self._open(args, state)
        self._run.begin_prediction(mode, state.global_step, size)

    # ---- the trainer's events ----

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        optimizer: Any = None,
        **_: Any,
    ) -> None:
        if self._has_trained:
            self._reset()
        self._has_trained = True
        self._open(args, state)
        if args.logging_nan_inf_filter and not self.meter._is_silent:
            _warn_of_nan_filter()
        if state.global_step > 0:
            load_state(self.meter, self._resume_folders(args, state), state.global_step)
        self._run.start(optimizer, state.global_step, state.max_steps, args.gradient_accumulation_steps > 1)

    def _resume_folders(self, args: TrainingArguments, state: TrainerState) -> list[Path]:
        """Where the histories of a run that goes on may be: only the mixin knows."""
        if self.resume_folder is not None:
            return [self.resume_folder]
        given: Any = args.resume_from_checkpoint  # True too, where Trainer is to look for the last one
        folders = [Path(given)] if given and not isinstance(given, bool) else []
        return [*folders, _checkpoint_folder(args, state)]

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._run.begin_step()

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._run.wait_no_more()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._run.end_step(state.global_step)
        self._look_ahead(state, control)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        self._run.log(logs or {})
        self._look_ahead(state, control)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._run.settle()
        self._look_ahead(state, control)

    def _look_ahead(self, state: TrainerState, control: TrainerControl) -> None:
        """Logging comes first, then an evaluation."""
        if not control.should_log:
            self._run.settle()
            if control.should_evaluate:
                self._run.announce_evaluation(state.global_step)

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._open(args, state)
        self._run.end_prediction(state.global_step)

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        self._open(args, state)
        self._run.end_evaluation('val', state.global_step, metrics or {})

    def on_predict(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, Any],
        **_: Any,
    ) -> None:
        self._open(args, state)
        self._run.end_evaluation('test', state.global_step, metrics)

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._run.settle()
        if state.is_world_process_zero and not state.is_hyper_param_search:
            save_state(self.meter, _checkpoint_folder(args, state))
        self._run.wait_no_more()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self._run.end()


def _checkpoint_folder(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir or '.') / f'{PREFIX_CHECKPOINT_DIR}-{state.global_step}'


@cache
def _warn_of_nan_filter() -> None:
    _logger.warning(
        'logging_nan_inf_filter is on: Trainer waits for the device twice in every micro-batch, to leave '
        'NaNs out of the loss that it logs. TrainingArguments(logging_nan_inf_filter=False) spares that'
    )
