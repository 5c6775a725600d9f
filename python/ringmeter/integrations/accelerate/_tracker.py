"""The tracker."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState, tracking

from ..._errors import ArgumentTypeError
from ...loop_logger import LoopLogger
from .._console import write_above_bars
from .._own_values import check_no_reduction
from .._step_outputs import StepOutputs
from ._steps import Steps


class _Meter(LoopLogger):
    """One whose histories may be those of a run that goes on, at any time."""

    steps: Steps

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps.end()
        super().load_state_dict(state_dict)
        self.steps.forget()


class RingmeterTracker(tracking.GeneralTracker):  # type: ignore[misc]
    """Records what ``accelerator.log(values, step=...)`` gets, waiting for no device, and prints lines.

    Tensors stay on their device until they land by themselves; what is no scalar is left out, with one
    warning for each name. Calls with the same ``step`` belong together; a call without one is a step of its
    own. A line shows what has been logged since the line before, and is written once its values have landed:

    - when ``step`` passes a multiple of ``interval``, and at the end of training;
    - for a step with a name that the ``interval`` steps before it did not have, such as of an evaluation;
    - for each step with names that begin with ``val/`` (or ``eval/``, ``valid/``, ``validation/``) or
      ``test/``: those have lines of their own. All other names are of training.

    Only the main process writes. In ``<logging_dir>/<run_name>`` there are ``<timestamp>.log``,
    ``vis_data/scalars.json`` with the records of the lines, and ``vis_data/config.json``.

    Args:
        run_name: The project name that ``accelerator.init_trackers`` gets.
        logging_dir: The accelerator's ``logging_dir``; None for no files.
        **options: ``interval``, ``window_size``, ``custom_cfg``, ``name``, ``logger``, ``log_processor``,
            ``lines`` and ``on_nan``, as for :class:`LoopLogger`:
            ``init_trackers(..., init_kwargs={'ringmeter': {'interval': 50}})``.

    Raises:
        ArgumentError: As :class:`LoopLogger`.
    """

    name = 'ringmeter'
    requires_logging_directory = True
    main_process_only = True

    def __init__(
        self, run_name: str, logging_dir: str | os.PathLike[str] | None = None, **options: Any
    ) -> None:
        super().__init__()
        self.run_name = run_name
        self._work_dir = None if logging_dir is None else Path(logging_dir) / run_name
        self._meter = _Meter(max_iters=1, **options)  # nobody says how long the run is
        check_no_reduction(self._meter, 'accelerate')
        self._meter._start_run(None, epoch=0, iters=0, max_epochs=None, max_iters=None)
        self._meter.log_processor.by_epoch = False
        self._is_started = False
        self._outputs = StepOutputs()
        self._steps = self._meter.steps = Steps(self._meter)

    @property
    def tracker(self) -> LoopLogger:
        """What records and writes: its ``message_hub`` has the histories.

        Its ``state_dict()`` is for checkpoints: ``accelerator.register_for_checkpointing(tracker.tracker)``,
        in every process. Accelerate makes a tracker for ``log_with='ringmeter'`` in the main process only:
        with several, make it yourself in each, for ``log_with=RingmeterTracker(...)``.
        """
        return self._meter

    def start(self) -> None:
        """Open the files, if this is the main process."""
        if self._is_started:
            return
        self._is_started = True
        self._meter._set_main(PartialState().is_main_process)
        if self._meter._is_silent:
            return
        write_above_bars(self._meter)
        if self._work_dir is not None:
            self._meter._open(self._work_dir)

    def _writes(self) -> bool:
        self.start()  # before 1.8, accelerate does not
        return not self._meter._is_silent

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        """Keep the configuration of the run: as the hub's info ``config`` and in ``vis_data/config.json``."""
        self._meter.message_hub.update_info('config', dict(values), resumed=False)
        if not self._writes() or self._work_dir is None:
            return
        path = self._work_dir / 'vis_data' / 'config.json'
        try:
            path.write_text(json.dumps(values, indent=2, default=str) + '\n')
        except (OSError, TypeError, ValueError) as error:  # json raises these for keys and circles
            self._meter.logger.warning('%s cannot be written: %s', path, error)

    def log(self, values: Mapping[str, Any], step: int | None = None, **_: Any) -> None:
        """Record scalars by name. Does not wait for them.

        Raises:
            ArgumentTypeError: ``values`` is not a mapping, or ``step`` not an integer.
            NanError: With ``on_nan='raise'``.
        """
        if not isinstance(values, Mapping):
            raise ArgumentTypeError(f'values must be a mapping of scalars by name, got {values!r}')
        if step is not None and not isinstance(step, int | np.integer):
            raise ArgumentTypeError(f'step must be an int or None, got {step!r}')
        if not self._writes():
            return
        self._steps.begin(step)
        self._outputs.record(self._steps, values)
        if step is None:
            self._steps.end()

    def finish(self) -> None:
        """Write the lines that are left, as soon as their values have landed."""
        if not self._writes():
            return
        self._steps.end()
        self._steps.write_line()
        self._meter.flush()


if hasattr(tracking, 'register_tracker_class'):
    tracking.register_tracker_class(RingmeterTracker)
