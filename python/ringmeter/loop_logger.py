"""Log lines for hand-written training loops."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from ._choices import note_choice
from ._errors import ArgumentError, ArgumentTypeError, ScalarError
from ._learning_rates import LearningRates
from ._loggers import OwnLog
from ._loop import Loop
from ._losses import Keys, reduced, sum_of_losses
from ._nan_watch import NanWatch
from ._outputs import LineWriter, ScalarsFile
from ._passes import EvaluationPass, Pass, TrainPass
from ._progress import ProgressDisplay, checked_names
from ._rank import current_rank
from .deferred_lines import DeferredLines
from .log_processor import LogProcessor
from .message_hub import MessageHub
from .sinks import Sink

Batch = TypeVar('Batch')


class LoopLogger:
    """Turns a training loop into log lines: iterate the loaders through it and hand it the losses.

    Lines show what mmengine's do: learning rates, the time left, the time of an iteration and the part of it
    that went into loading data, and the mean of every loss over the last ``window_size`` iterations. While it
    is the newest one, ``MessageHub.get_current_instance()`` is its hub, so that a model may record scalars of
    its own, as ``'train/<name>'``.

    Nothing here waits for a device. A line is written once its values have landed, normally one or two
    iterations later, as of the iteration that it is about; all of them are by the end of the epoch, and after
    :meth:`flush`. With losses on a CUDA device, ``time`` is the time that passes on that device from one
    iteration to the next, read by the launch that reads the losses; otherwise, and for ``data_time``, it is
    the host's.

    Exactly one of ``max_epochs`` and ``max_iters`` is given: it chooses between lines that count epochs
    (``Epoch(train) [1][10/25]``) and iterations (``Iter(train) [  10/1000]``).

    Args:
        optimizer: Whose learning rates to show: an optimizer, or a dict of them by name. Parameter groups
            after the first appear as ``<name>.lr``, by the group's ``'name'`` or ``group<i>``.
        max_epochs: Number of epochs of the run.
        max_iters: Number of iterations of the run.
        interval: A line every so many iterations; an epoch of fewer has one at its end.
        window_size: As in :class:`LogProcessor`.
        custom_cfg: As in :class:`LogProcessor`.
        work_dir: Where ``<timestamp>.log`` and ``vis_data/scalars.json`` go; none are written without.
        name: Name in the log lines, and of the hub (with a number behind it from the second on).
        logger: A ``logging.Logger`` to be used for the lines instead of the console and the log file, on
            every rank; one of :func:`get_logger` has the same rules.
        log_processor: To be used instead of one made from the arguments above.
        lines: ``'deferred'`` as above, or ``'now'``: a line waits for its values.
        on_nan: What NaNs are: ``'count'``, shown as ``nan 2/10`` (NaNs and values of the window), ``'show'``,
            just as ``nan``, or ``'raise'``, a :class:`NanError` as soon as one has landed.
        idle_time: Whether to record as ``idle_time`` how long the device had nothing to do between two
            iterations. Takes two launches an iteration.
        log_level: Of the console and the log file. With ``'DEBUG'`` they show what ringmeter chooses on its
            own, too, and every rank has a log file.
        all_ranks: Whether every rank has a log file, ``<timestamp>_rank<rank>.log``, at any level. Only rank
            0 prints lines, and writes records.
        sinks: What else gets the records of lines, under names with their mode (``'train/loss'``), in the
            process of rank 0: see :mod:`ringmeter.sinks`. One that fails later is reported once, and does not
            stop training.
        progress: Whether a terminal shows a bar below the lines for each loop that runs, with what has landed
            of a few values; or the names of those to show, such as ``('lr', 'loss')``. It needs the package
            ``rich``. Without, and where the output is no terminal, there are the lines alone.
        reduce: As in :class:`LogProcessor`, as are the next three. Every rank must run the same passes, and
            leave them at the same iteration. With ``lines='deferred'``, the collective of a line begins two
            iterations after it and is finished a third later, or at the end of the epoch.
        strict: Whether ranks with different keys are an error.
        slowest_rank: Whether times show the slowest rank.
        group: The process group to use.

    Raises:
        ArgumentError: Not exactly one of ``max_epochs`` and ``max_iters``, a number less than 1, ``lines``,
            ``on_nan`` or ``log_level`` is none of the above, or the launcher's rank is not a number; or as
            :class:`LogProcessor`.
        OSError: ``work_dir`` cannot be written.
        Exception: What a sink raises that cannot open what it writes to.

    Attributes:
        message_hub: The hub that holds the histories.
        iter: Training iterations done.
        epoch: Training epochs done. One that was left by ``break`` counts, with its last iteration, once the
            run goes on: when :meth:`epochs` does or the next loop begins.

    Examples:
        >>> import logging
        >>> meter = LoopLogger(max_epochs=2, logger=logging.getLogger('quiet'))
        >>> for epoch in meter.epochs():
        ...     for x in meter.train([1.0, 2.0, 6.0]):
        ...         loss = meter.log(loss_a=x, loss_b=2 * x)  # with tensors: ready for loss.backward()
        ...     for x in meter.val([1.0, 0.0]):
        ...         meter.log(accuracy=x)
        >>> loss, float(meter.message_hub.get_scalar('train/loss').mean(3))
        (18.0, 9.0)
    """

    def __init__(
        self,
        optimizer: Any = None,
        *,
        max_epochs: int | None = None,
        max_iters: int | None = None,
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
        log_level: int | str = 'INFO',
        all_ranks: bool = False,
        sinks: Sequence[Sink] = (),
        progress: bool | Sequence[str] = False,
        reduce: str | None = None,
        strict: bool = False,
        slowest_rank: bool = False,
        group: Any = None,
    ) -> None:
        if (max_epochs is None) == (max_iters is None):
            raise ArgumentError(
                'exactly one of max_epochs and max_iters must be given, '
                f'got max_epochs={max_epochs!r}, max_iters={max_iters!r}'
            )
        _check_at_least_1(max_epochs=max_epochs, max_iters=max_iters, interval=interval)
        _check_one_of('lines', lines, ('deferred', 'now'))
        _check_one_of('on_nan', on_nan, ('count', 'show', 'raise'))
        shown_names = checked_names(progress)
        if log_processor is not None and (reduce is not None or strict or slowest_rank or group is not None):
            raise ArgumentError('reduce, strict, slowest_rank and group must be given to the log_processor')
        self.max_epochs = max_epochs
        self.max_iters = max_iters
        self.interval = interval
        self.iter = 0
        self.epoch = 0
        self.log_processor = log_processor or LogProcessor(
            window_size,
            by_epoch=max_epochs is not None,
            custom_cfg=custom_cfg,
            nan_counts=on_nan != 'show',
            reduce=reduce,
            strict=strict,
            slowest_rank=slowest_rank,
            group=group,
        )
        if not isinstance(self.log_processor, LogProcessor):
            raise ArgumentTypeError(f'log_processor must be a LogProcessor, got {log_processor!r}')
        self._rates = LearningRates(optimizer)
        self._is_main = current_rank().number == 0
        self._own_log = None
        if logger is None:
            self._own_log = OwnLog(name, log_level, all_ranks)
            weakref.finalize(self, self._own_log.close)
            logger = self._own_log.logger
        self.logger = logger
        self._writer = LineWriter(self.logger)
        if work_dir is not None:
            self._open(Path(work_dir))
        self._lines = DeferredLines(self.log_processor) if lines == 'deferred' else None
        self._writer.sinks.open(sinks)
        self._progress = None if shown_names is None else self._make_display(shown_names)
        self._close = weakref.finalize(
            self, _close, self._lines, self._writer, self._progress, process=os.getpid()
        )
        if self._writer.sinks or self._progress is not None:
            # Before what the clients of sinks have registered, which ends them.
            atexit.register(_close_at_exit, weakref.ref(self))
        self.message_hub = MessageHub.get_instance(_free_name(name))
        self._nan_watch = NanWatch(self.message_hub) if on_nan == 'raise' else None
        self._has_idle_time = idle_time
        self._keys = Keys('train')  # outside of loops
        waits = (
            'now, waiting for their values' if self._lines is None else 'later, when their values have landed'
        )
        note_choice('lines', f'LoopLogger {self.message_hub.instance_name!r}: {waits}')
        # No lines and no records: another process has them.
        self._is_silent = not self._is_main and not self.logger.isEnabledFor(logging.INFO)

        # What LogProcessor asks of a runner.
        self.model = None
        self.train_loop: Loop | None = None
        self.val_loop: Loop | None = None
        self.test_loop: Loop | None = None
        self._running: list[Pass] = []  # the innermost last
        self._has_left = False  # a training epoch, by break or by an exception, that is not counted yet
        self._epoch_begin = 0  # `iter` where the newest training epoch began
        self._seconds, self._timed = 0.0, 0  # of training iterations since the start or a checkpoint

    # ---- loops ----

    def epochs(self) -> Iterator[int]:
        """Iterate over the numbers of the epochs left, from 0: until ``max_epochs`` or ``max_iters``."""
        while not self._is_done():
            epoch = self.epoch
            yield epoch
            self._leave(training=True)
            self._look_for_nans('train', self.iter)
            self.epoch = max(self.epoch, epoch + 1)  # also when the body did not train

    def train(self, dataloader: Iterable[Batch], length: int | None = None) -> Iterator[Batch]:
        """Iterate over the batches of one training epoch, timing and logging each iteration.

        Ends early at ``max_iters``. Leaving the loop by ``break`` ends the epoch. :meth:`val` and
        :meth:`test` may run inside: their time is not counted as the iteration's.

        Args:
            dataloader: Any iterable of batches.
            length: Number of batches, for a loader without ``len()``; not needed with ``max_iters``.

        Raises:
            ArgumentTypeError: The number of batches is needed and not known.
            RuntimeError: There is no batch, though ``max_iters`` is not reached; or this loop is gone on with
                after another one took its place.
        """
        needs_length = self.log_processor.by_epoch or self.max_epochs is not None
        loop = Loop.over('train', dataloader, length, needs_length)
        if self.max_epochs is not None:
            self.max_iters = self.max_epochs * len(loop)
        running = TrainPass(self, loop)
        if self.max_epochs is None and self._is_done():
            running.close()
            return
        yield from self._run(running, dataloader)
        if self.max_epochs is None and self.iter == self._epoch_begin:
            raise RuntimeError(
                f'train() must get batches until max_iters={self.max_iters}, got none from '
                f'{type(dataloader).__name__} after {self.iter}: can it be iterated only once?'
            )

    def val(self, dataloader: Iterable[Batch], length: int | None = None) -> Iterator[Batch]:
        """Iterate over the batches of one validation epoch.

        What is logged meanwhile is averaged over the epoch, unless a rule of ``custom_cfg`` says otherwise,
        and shown in the line at its end; when it is left by ``break`` there is none. One that somebody still
        holds then (a progress bar does) runs until the loop around it goes on. Takes the same arguments as
        :meth:`train`.
        """
        return self._evaluate(Loop.over('val', dataloader, length, needs_length=True), dataloader)

    def test(self, dataloader: Iterable[Batch], length: int | None = None) -> Iterator[Batch]:
        """Iterate over the batches of a test, as :meth:`val`."""
        return self._evaluate(Loop.over('test', dataloader, length, needs_length=True), dataloader)

    def log(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> Any:
        """Record scalars of the running loop (outside of one: of training), and return the sum of the losses.

        As mmengine's ``parse_losses`` has it, tensors of floats of any shape are recorded by their mean,
        lists of tensors by the sum of those means, and a loss is every value whose name contains ``loss``.
        Their sum is recorded as ``loss``, behind them, unless a value of that name is among them; then that
        is the sum. Where a trainer tells the loss, as Hugging Face's does, the sum is not recorded.

        Args:
            values: Scalars by name, without their mode, such as the dict that a model returned. As for
                :meth:`MessageHub.update_scalars`, a value may be ``dict(value=..., count=...)``: that is
                recorded as it is, and no loss.
            **more: Further ones.

        Returns:
            The sum of the losses, ready for ``backward()``; None if there are none.

        Raises:
            ScalarError: A value is not one real number. Nothing was recorded.
            ArgumentTypeError: ``values`` is not a mapping, or a name not a str.
        """
        if values is not None and not isinstance(values, Mapping):
            raise ArgumentTypeError(
                'values must be a mapping of scalars by name, such as dict(loss=...), '
                f'got {type(values).__name__}'
            )
        scalars = values if values is not None and not more else {**(values or {}), **more}
        running = self._running[-1] if self._running else None
        keys = self._keys if running is None else running.keys
        total = scalars.get('loss')
        if total is None or isinstance(total, dict):
            total = None
            if keys.have_losses(scalars):
                scalars = {name: reduced(value) for name, value in scalars.items()}
                total = sum_of_losses(scalars, keys)
                if running is None or not running.has_loss:
                    scalars.setdefault('loss', total)
        else:
            total = reduced(total)
        record = self.message_hub.update_scalars if running is None else running.record
        try:
            record({keys[name]: value for name, value in scalars.items()})
        except ScalarError:  # nothing was recorded
            fewer = {keys[name]: reduced(value) for name, value in scalars.items()}
            if all(new is old for new, old in zip(fewer.values(), scalars.values(), strict=True)):
                raise
            record(fewer)
        return total

    def flush(self) -> None:
        """Write the lines that still wait, as soon as their values have landed.

        A line whose values cannot land is left out, with a warning.

        Raises:
            NanError: With ``on_nan='raise'``, one of the values is NaN.
        """
        self._settle()
        self._writer.sinks.flush()

    def close(self) -> None:
        """Write what still waits, and close the sinks: those runs that they started end.

        The end of the process does so too. What is logged later has lines, but reaches no sink.

        Raises:
            NanError: As :meth:`flush`. All is closed.
        """
        try:
            self.flush()
        finally:
            self._close()

    def _settle(self) -> None:
        """Write the lines that still wait, and look at all values for NaNs."""
        self._flush_lines()
        if self._has_left:
            self._look_for_nans('train', self.iter + 1)
        if self._nan_watch is not None:
            self._nan_watch.flush()

    def _flush_lines(self) -> None:
        if self._lines is not None:
            self._lines.flush()

    # ---- checkpoints ----

    def state_dict(self) -> dict[str, Any]:
        """Return where the run stands and what it recorded, as plain data (see :class:`MessageHub`).

        Taken inside an epoch, or where an exception from inside one is handled, it leads back to the
        beginning of that epoch when ``max_epochs`` was given; with ``max_iters``, of the running iteration.
        """
        if self._is_training() or (self._has_left and sys.exc_info()[1] is not None):
            return self._state_at(self.iter if self.max_epochs is None else self._epoch_begin)
        return self._state_at(self.iter + self._has_left, more_epochs=self._has_left)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a :meth:`state_dict` was taken: :meth:`epochs` begins with the epoch that was next.

        Raises:
            ArgumentError: A part is missing or damaged. Nothing has changed then.
            ArgumentTypeError: It is not a mapping.
        """
        if not isinstance(state_dict, Mapping):
            raise ArgumentTypeError(f'state_dict must be a mapping, got {state_dict!r}')
        for part in ('epoch', 'iter', 'message_hub'):
            if part not in state_dict:
                raise ArgumentError(f'state_dict must have the key {part!r}, got {sorted(state_dict)}')
        for part in ('epoch', 'iter'):
            number = state_dict[part]
            if not isinstance(number, int) or number < 0:
                raise ArgumentError(f'state_dict[{part!r}] must be an int of at least 0, got {number!r}')
        self._flush_lines()
        self.message_hub.load_state_dict(state_dict['message_hub'])
        self._running.clear()
        self._show_progress()
        self._has_left = False
        self._seconds, self._timed = 0.0, 0
        self.epoch = state_dict['epoch']
        self.iter = state_dict['iter']
        for mode in ('train', 'val', 'test'):
            self.log_processor._mark_reported(self, mode)
        if self._nan_watch is not None:
            self._nan_watch.forget()

    # ---- for trainers that own their loop (see _passes.py) ----

    def _start_run(
        self, optimizer: Any, epoch: int, iters: int, max_epochs: int | None, max_iters: int | None
    ) -> None:
        """Take what a trainer says about the run that begins, or goes on: limits are None if not known."""
        self._rates = LearningRates(optimizer)
        self.epoch, self.iter = epoch, iters
        self.max_epochs, self.max_iters = max_epochs, max_iters
        self._running.clear()
        self._show_progress()
        self._has_left = False

    def _state_at(self, iters: int, more_epochs: int = 0) -> dict[str, Any]:
        hub = self.message_hub.state_dict()
        return {'epoch': self.epoch + more_epochs, 'iter': iters, 'message_hub': hub}

    def _set_main(self, is_main: bool) -> None:
        """Be the process that writes or not, as the trainer has it, whatever the launcher says."""
        self._is_main, self._is_silent = is_main, not is_main
        if self._own_log is not None:
            self._own_log.set_main(is_main)

    def _open(self, work_dir: Path) -> None:
        """From here on, write files there, if this rank has any."""
        if self._own_log is not None:
            self._own_log.open(work_dir)
        if self._is_main:
            self._writer.file = ScalarsFile(work_dir, self.logger)

    # ---- inside ----

    def _make_display(self, names: tuple[str, ...]) -> ProgressDisplay:
        window = self.log_processor.window_size
        size = window if isinstance(window, int) else 1
        return ProgressDisplay(names, self.logger, size, self.log_processor.num_digits)

    @property
    def _train_loop(self) -> Loop | None:
        return self.train_loop

    def _is_done(self) -> bool:
        if self.max_epochs is not None:
            return self.epoch >= self.max_epochs
        return self.max_iters is not None and self.iter >= self.max_iters

    def _is_training(self) -> bool:
        return any(running.mode == 'train' for running in self._running)

    def _enter(self, running: Pass) -> None:
        """Let a pass run: inside of training, or in place of those that were left and not closed."""
        self._leave(training=running.mode == 'train')
        if running.mode == 'train':
            self._look_for_nans('train', self.iter)  # of the iteration that was left, if any
        self._running.append(running)
        self._show_progress()

    def _show_progress(self) -> None:
        if self._progress is not None:
            self._progress.show(self._running)

    def _leave(self, training: bool) -> None:
        """Forget the passes that run, or those inside of ``training``, and count the epoch that was left."""
        if training:
            self._has_left |= self._is_training()
            self._running.clear()
        else:
            self._running = [running for running in self._running if running.mode == 'train']
        if self._has_left:
            self._has_left = False
            self.iter += 1
            self.epoch += 1
            self._flush_lines()
        if not self._running:
            self._show_progress()

    def _run(self, running: TrainPass | EvaluationPass, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the batches of a pass."""
        try:
            for batch in batches:
                running.begin_batch()
                yield batch
                if not running.end_batch():
                    break
        except BaseException:
            running.leave()
            raise
        running.end()

    def _evaluate(self, loop: Loop, batches: Iterable[Batch]) -> Iterator[Batch]:
        yield from self._run(EvaluationPass(self, loop), batches)

    def _write_line(self, runner: Any, batch_idx: int, mode: str, step: int | None = None) -> None:
        if not self._makes_lines():
            return
        write = _discard if self._is_silent else partial(self._writer.write, mode=mode, step=step)
        if self._lines is None:
            write(*self.log_processor.get_log_after_iter(runner, batch_idx, mode))
        else:
            self._lines.after_iter(runner, batch_idx, mode, partial(write, created=time.time()))

    def _makes_lines(self) -> bool:
        """Whether this process has lines: its own, or those of all ranks, which each takes part in."""
        return not self._is_silent or self.log_processor._reduction is not None

    def _look_for_nans(self, mode: str, iteration: int) -> None:
        if self._nan_watch is not None:
            self._nan_watch.note(mode, iteration)


def _close(
    lines: DeferredLines | None, writer: LineWriter, progress: ProgressDisplay | None, process: int
) -> None:
    if os.getpid() != process:  # a forked child: all of it is its parent's
        writer.sinks.clear()
        return
    if progress is not None:
        progress.close()
    if lines is not None:
        lines.flush_at_exit()
    writer.sinks.close()


def _close_at_exit(find: Callable[[], LoopLogger | None]) -> None:
    meter = find()
    if meter is not None:
        meter._writer.sinks.is_at_exit = True
        meter._close()


def _discard(*_: Any, **__: Any) -> None:
    """Write a line nowhere."""


def _check_one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ArgumentError(f'{name} must be one of {", ".join(map(repr, known))}, got {value!r}')


def _check_at_least_1(**numbers: int | None) -> None:
    for name, number in numbers.items():
        if number is None:
            continue
        if not isinstance(number, int):
            raise ArgumentTypeError(f'{name} must be an int, got {number!r}')
        if number < 1:
            raise ArgumentError(f'{name} must be at least 1, got {number}')


def _free_name(name: str) -> str:
    number, free = 1, name
    while MessageHub.check_instance_created(free):
        number += 1
        free = f'{name}_{number}'
    return free
