"""A callback of Lightning that records and prints without waiting for a device."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..._choices import note_choice
from ...log_processor import LogProcessor
from ...loop_logger import LoopLogger
from .._console import write_above_bars
from .._own_values import check_no_reduction
from ._evaluation import Evaluation
from ._package import pl
from ._trainer import LoggerSink, folder
from ._training import Training

_OF_THE_RUN = ('meter', '_training', '_evaluation', '_folder')


class RingmeterCallback(pl.Callback):
    """Records what the steps of a ``LightningModule`` return, and prints mmengine's log lines.

    Recorded are the scalars that ``training_step``, ``validation_step`` and ``test_step`` return (a tensor is
    the ``loss``; of a dict, what is no scalar is left out, with a warning), the learning rates, and the times
    of an iteration: ``data_time`` is all that passes between two of them. Nothing is converted before it has
    landed: no step, epoch or validation waits for a device, only the end of the run and checkpoints do.
    Inside the module, ``MessageHub.get_current_instance().update_scalar('train/<name>', value)`` and
    ``callback.meter.log(<name>=value)`` record more.

    An iteration is an optimizer step: micro-batches of ``accumulate_grad_batches`` become one value, their
    mean. A validation shows means over its batches, each counting alike; ``dict(value=<sum>, count=<size>)``
    weighs them, as ``self.log`` does by the size of the batch. With several loaders, the names have the
    suffix that Lightning gives them (``/dataloader_idx_1``). The process of rank 0 writes the lines, and
    hands their statistics to the trainer's loggers as ``train/<name>`` and ``val/<name>``, at the step
    ``trainer.global_step``. The sanity check leaves nothing behind. Checkpoints hold the histories; a run
    that goes on from one adds to them.

    Args:
        interval: As in :class:`LoopLogger`, as are the others.
        window_size: As in :class:`LogProcessor`.
        custom_cfg: As in :class:`LogProcessor`.
        work_dir: Where ``<timestamp>.log`` and ``vis_data/scalars.json`` go; by default, beside the
            checkpoints, where the trainer's first logger writes. Without such a logger there are none.
        name: Name in the log lines, of the hub, and in checkpoints: two callbacks need different ones.
        logger: A ``logging.Logger`` to be used for the lines instead of the console and the log file.
        log_processor: To be used instead of one made from the arguments above. Its ``by_epoch`` chooses the
            lines; otherwise they count epochs if the trainer has ``max_epochs``. Where an epoch has no known
            end they always count iterations.
        lines: ``'deferred'`` or ``'now'``.
        on_nan: ``'count'``, ``'show'`` or ``'raise'``.
        idle_time: Whether to record ``idle_time``.

    Raises:
        ArgumentError: As :class:`LoopLogger`.

    Attributes:
        meter: The :class:`LoopLogger` of the run. Another one from ``setup`` on, when the callback is used
            for a second run that begins anew.

    Examples:
        >>> callback = RingmeterCallback(interval=50)
        >>> trainer = pl.Trainer(callbacks=[callback])  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        interval: int = 10,
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
            'interval': interval,
            'window_size': window_size,
            'custom_cfg': custom_cfg,
            'name': name,
            'logger': logger,
            'log_processor': log_processor,
            'lines': lines,
            'on_nan': on_nan,
            'idle_time': idle_time,
        }
        self._state_key = self._generate_state_key(name=name)
        self._work_dir = work_dir
        self._by_epoch = None if log_processor is None else log_processor.by_epoch
        self._reset()

    def _reset(self) -> None:
        self.meter = LoopLogger(max_epochs=1, **self._arguments)  # the trainer says later how long it runs
        check_no_reduction(self.meter, 'Lightning')
        self._training = Training(self.meter, self._by_epoch)
        self._evaluation = Evaluation(self.meter)
        self._folder: Path | None = None  # of the files that are open

    # ---- the trainer's events ----

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == 'fit' and trainer.global_step == 0 and self.meter.iter > 0:
            self._reset()
        meter = self.meter
        meter.message_hub._make_current()
        meter._set_main(trainer.is_global_zero)
        if meter._is_silent or stage == 'predict':
            return
        write_above_bars(meter)
        work_dir = folder(trainer) if self._work_dir is None else Path(self._work_dir)
        note_choice(
            'work_dir of Lightning',
            f'{"its first logger" if self._work_dir is None else "the callback"}: {work_dir}',
        )
        if work_dir is not None and work_dir != self._folder:
            meter._open(work_dir)
            self._folder = work_dir
        meter._writer.sinks[:] = map(LoggerSink, trainer.loggers)
        note_choice(
            'sinks of Lightning', f'trainer.loggers: {", ".join(map(str, meter._writer.sinks)) or "none"}'
        )

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._training.start(trainer)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._training.begin_epoch(trainer)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._training.begin_batch(trainer, batch_idx)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._training.end_batch(trainer, outputs)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._training.end_epoch(trainer)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.meter.flush()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._evaluation.start(trainer, 'val', trainer.num_val_batches)

    def on_validation_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int | None = None,
    ) -> None:
        self._evaluation.begin_batch(dataloader_idx)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int | None = None,
    ) -> None:
        self._evaluation.end_batch(outputs)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._evaluation.use_loader(None)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._evaluation.end()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._evaluation.start(trainer, 'test', trainer.num_test_batches)

    on_test_batch_start = on_validation_batch_start
    on_test_batch_end = on_validation_batch_end
    on_test_epoch_end = on_validation_epoch_end
    on_test_end = on_validation_end

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        self._stop()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._stop()

    def _stop(self) -> None:
        self._evaluation.stop()
        self._training.stop()
        self.meter._flush_lines()

    # ---- checkpoints ----

    @property
    def state_key(self) -> str:
        return self._state_key  # which the trainer asks for at each of its hooks

    def state_dict(self) -> dict[str, Any]:
        return self.meter._state_at(self.meter.iter)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.meter.load_state_dict(state_dict)
        histories = self.meter.message_hub.log_scalars
        for key in histories.keys() - state_dict['message_hub']['log_scalars'].keys():
            del histories[key]  # of what came after the checkpoint

    def __getstate__(self) -> dict[str, Any]:
        # What writes cannot go into another process; the histories go as plain data.
        own = {name: value for name, value in self.__dict__.items() if name not in _OF_THE_RUN}
        return {**own, 'meter': self.state_dict()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        histories = state.pop('meter')
        self.__dict__.update(state)
        self._reset()
        self.load_state_dict(histories)
