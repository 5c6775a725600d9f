"""Log lines for hand-written training loops."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ._errors import ArgumentError, ArgumentTypeError
from ._outputs import ScalarsFile, close_handlers, make_logger
from .log_processor import LogProcessor
from .message_hub import MessageHub

if TYPE_CHECKING:
    import logging

    from .history_buffer import HistoryBuffer

Batch = TypeVar('Batch')


class LoopLogger:
    """Turns a training loop into log lines: iterate the loaders through it and hand it the losses.

    Lines show what mmengine's do: learning rates, the time left, the time of an iteration and the part of it
    that went into loading data, and the mean of every loss over the last ``window_size`` iterations. While it
    is the newest one, ``MessageHub.get_current_instance()`` is its hub, so that a model may record scalars of
    its own, as ``'train/<name>'``.

    Exactly one of ``max_epochs`` and ``max_iters`` is given: it chooses between lines that count epochs
    (``Epoch(train) [1][10/25]``) and iterations (``Iter(train) [10/1000]``).

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
        logger: A ``logging.Logger`` to be used for the lines instead of the console and the log file.
        log_processor: To be used instead of one made from the arguments above.

    Raises:
        ArgumentError: Not exactly one of ``max_epochs`` and ``max_iters``, or a number less than 1.
        OSError: ``work_dir`` cannot be written.

    Attributes:
        message_hub: The hub that holds the histories.
        iter: Training iterations done.
        epoch: Training epochs done.

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
    ) -> None:
        if (max_epochs is None) == (max_iters is None):
            raise ArgumentError(
                'exactly one of max_epochs and max_iters must be given, '
                f'got max_epochs={max_epochs!r}, max_iters={max_iters!r}'
            )
        _check_at_least_1(max_epochs=max_epochs, max_iters=max_iters, interval=interval)
        self.max_epochs = max_epochs
        self.max_iters = max_iters
        self.interval = interval
        self.iter = 0
        self.epoch = 0
        self.log_processor = log_processor or LogProcessor(
            window_size, by_epoch=max_epochs is not None, custom_cfg=custom_cfg
        )
        self._rates = _LearningRates(optimizer)
        timestamp = time.strftime('%Y%m%d_%H%M%S')
        self.logger = logger or make_logger(name, work_dir, timestamp)
        if logger is None:
            weakref.finalize(self, close_handlers, self.logger)
        self._scalars_file = None if work_dir is None else ScalarsFile(Path(work_dir), self.logger)
        self.message_hub = MessageHub.get_instance(_free_name(name))

        # What LogProcessor asks of a runner.
        self.model = None
        self.train_loop: _Loop | None = None
        self.val_loop: _Loop | None = None
        self.test_loop: _Loop | None = None
        self._mode = 'train'
        self._is_running = False

    # ---- loops ----

    def epochs(self) -> Iterator[int]:
        """Iterate over the numbers of the epochs left, from 0: until ``max_epochs`` or ``max_iters``."""
        while not self._is_done():
            epoch = self.epoch
            yield epoch
            self.epoch = max(self.epoch, epoch + 1)  # also when the body did not train

    def train(self, dataloader: Iterable[Batch], length: int | None = None) -> Iterator[Batch]:
        """Iterate over the batches of one training epoch, timing and logging each iteration.

        Ends early at ``max_iters``. Leaving the loop by ``break`` ends the epoch.

        Args:
            dataloader: Any iterable of batches.
            length: Number of batches, for a loader without ``len()``; not needed with ``max_iters``.

        Raises:
            ArgumentTypeError: The number of batches is needed and not known.
            RuntimeError: Another loop of this object is running.
        """
        loop = self.train_loop = _Loop(dataloader, length, required=self.log_processor.by_epoch)
        if self.max_epochs is not None:
            self.max_iters = self.max_epochs * len(loop)
        info = self.message_hub.runtime_info
        self._set_info(epoch=self.epoch, iter=self.iter, max_epochs=self.max_epochs, max_iters=self.max_iters)
        first_iter, seconds = self.iter, 0.0

        def before() -> None:
            info['iter'] = self.iter
            self._rates.record(self.message_hub)

        def after(batch_idx: int, iter_seconds: float) -> bool:
            nonlocal seconds
            seconds += iter_seconds
            assert self.max_iters is not None
            info['eta'] = seconds / (self.iter - first_iter + 1) * (self.max_iters - self.iter - 1)
            if self._is_due(batch_idx, loop):
                self._write(*self.log_processor.get_log_after_iter(self, batch_idx, 'train'), self.iter + 1)
            self.iter += 1
            return not self._is_done()

        self._set_info(eta=0.0)
        try:
            yield from self._run(loop, 'train', before, after)
        except GeneratorExit:
            self.epoch += 1
            raise
        self.epoch += 1

    def val(self, dataloader: Iterable[Batch], length: int | None = None) -> Iterator[Batch]:
        """Iterate over the batches of one validation epoch.

        What is logged meanwhile is averaged over the epoch and shown in the line at its end. Takes the same
        arguments as :meth:`train`.
        """
        self.val_loop = _Loop(dataloader, length, required=True)
        return self._evaluate(self.val_loop, 'val')

    def test(self, dataloader: Iterable[Batch], length: int | None = None) -> Iterator[Batch]:
        """Iterate over the batches of a test, as :meth:`val`."""
        self.test_loop = _Loop(dataloader, length, required=True)
        return self._evaluate(self.test_loop, 'test')

    def log(self, values: Mapping[str, Any] | None = None, /, **more: Any) -> Any:
        """Record scalars of the running loop, and return the sum of the losses.

        A loss is every value whose name contains ``loss``, as mmengine's ``parse_losses`` has it: tensors of
        any shape count by their mean, lists of tensors by the sum of those means. Their sum is recorded as
        ``loss``, behind them, unless a value of that name is among them; then that is the sum.

        Args:
            values: Scalars by name, without their mode, such as the dict that a model returned. As for
                :meth:`MessageHub.update_scalars`, a value may be ``dict(value=..., count=...)``: that is
                recorded as it is, and no loss.
            **more: Further ones.

        Returns:
            The sum of the losses, ready for ``backward()``; None if there are none.

        Raises:
            ScalarError: A value is not one real number. Nothing was recorded.
            ArgumentTypeError: A name is not a str.
        """
        scalars = {name: _reduce(value) for name, value in {**(values or {}), **more}.items()}
        for name in scalars:
            if not isinstance(name, str):
                raise ArgumentTypeError(f'names of scalars must be of type str, got {name!r}')
        losses = [value for name, value in scalars.items() if 'loss' in name and not isinstance(value, dict)]
        total = None
        if losses:
            total = scalars.get('loss')
            if total is None:
                total = scalars['loss'] = sum(losses[1:], losses[0])
        mode = self._mode
        self.message_hub.update_scalars({f'{mode}/{name}': value for name, value in scalars.items()})
        return total

    # ---- checkpoints ----

    def state_dict(self) -> dict[str, Any]:
        """Return where the run stands and what it recorded, as plain data (see :class:`MessageHub`)."""
        return {'epoch': self.epoch, 'iter': self.iter, 'message_hub': self.message_hub.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a :meth:`state_dict` was taken: :meth:`epochs` begins with the epoch that was next.

        Raises:
            ArgumentError: A part is missing or damaged. Nothing has changed then.
        """
        for part in ('epoch', 'iter', 'message_hub'):
            if part not in state_dict:
                raise ArgumentError(f'state_dict must have the key {part!r}, got {sorted(state_dict)}')
        self.message_hub.load_state_dict(state_dict['message_hub'])
        self.epoch = state_dict['epoch']
        self.iter = state_dict['iter']
        for mode in ('train', 'val', 'test'):
            self.log_processor._mark_reported(self, mode)

    # ---- inside ----

    @property
    def _train_loop(self) -> _Loop | None:
        return self.train_loop

    def _is_done(self) -> bool:
        if self.max_epochs is not None:
            return self.epoch >= self.max_epochs
        return self.max_iters is not None and self.iter >= self.max_iters

    def _is_due(self, batch_idx: int, loop: _Loop) -> bool:
        if not self.log_processor.by_epoch:
            return (self.iter + 1) % self.interval == 0
        # As mmengine's LoggerHook: an epoch with no other line has one at its end.
        is_last_of_few = batch_idx + 1 == loop.size and loop.size <= self.interval
        return (batch_idx + 1) % self.interval == 0 or is_last_of_few

    def _run(
        self, loop: _Loop, mode: str, before: Callable[[], None], after: Callable[[int, float], bool]
    ) -> Iterator[Any]:
        """Yield the batches; ``after`` tells whether to go on."""
        if self._is_running:
            raise RuntimeError(f'{mode}() must not start while another loop of this LoopLogger is running')
        update, clock = self.message_hub.update_scalar, time.perf_counter
        data_time_key, time_key = f'{mode}/data_time', f'{mode}/time'
        outer_mode, self._mode, self._is_running = self._mode, mode, True
        try:
            start = clock()
            for batch_idx, batch in enumerate(loop.dataloader.iterable):
                update(data_time_key, clock() - start)
                before()
                yield batch
                now = clock()
                update(time_key, now - start)
                seconds, start = now - start, now
                if not after(batch_idx, seconds):
                    break
        finally:
            self._mode, self._is_running = outer_mode, False

    def _evaluate(self, loop: _Loop, mode: str) -> Iterator[Any]:
        info, total = self.message_hub.runtime_info, 0.0
        starts = {key: buffer.position for key, buffer in self.message_hub.log_scalars.items()}

        def after(batch_idx: int, iter_seconds: float) -> bool:
            nonlocal total
            total += iter_seconds
            info['eta'] = total / (batch_idx + 1) * (len(loop) - batch_idx - 1)
            if (batch_idx + 1) % self.interval == 0:
                self.logger.info(self.log_processor.get_log_after_iter(self, batch_idx, mode)[1])
            return True

        self._set_info(eta=0.0)
        yield from self._run(loop, mode, lambda: None, after)
        view = _EpochView(self, mode, starts)
        tag, line = self.log_processor.get_log_after_epoch(
            view, len(loop) - 1, mode, with_non_scalar=mode == 'test'
        )
        self._write(tag, line, self.epoch if self.log_processor.by_epoch else self.iter)

    def _set_info(self, **infos: Any) -> None:
        self.message_hub.update_info_dict(infos)

    def _write(self, tag: dict[str, Any], line: str, step: int) -> None:
        self.logger.info(line)
        if self._scalars_file is not None:
            self._scalars_file.add_scalars(tag, step)


class _Loop:
    """One pass over a loader, as LogProcessor sees it: ``loop.dataloader`` with a length."""

    def __init__(self, iterable: Iterable[Any], length: int | None, required: bool) -> None:
        if length is None:
            try:
                length = len(iterable)  # type: ignore[arg-type]
            except TypeError:
                if required:
                    raise ArgumentTypeError(
                        f'length must be given for a loader without len(), got {type(iterable).__name__}'
                    ) from None
        self.iterable = iterable
        self.size = length

    @property
    def dataloader(self) -> _Loop:
        return self

    def __len__(self) -> int:
        assert self.size is not None
        return self.size


class _LearningRates:
    """The learning rates of one or several optimizers, under the keys that they are recorded by."""

    def __init__(self, optimizer: Any) -> None:
        named = (
            optimizer if isinstance(optimizer, Mapping) else {'': optimizer} if optimizer is not None else {}
        )
        for name, each in named.items():
            if not hasattr(each, 'param_groups'):
                where = f'optimizer[{name!r}]' if name else 'optimizer'
                raise ArgumentTypeError(f'{where} must have param_groups, got {type(each).__name__}')
        self._optimizers = [(f'{name}.' if name else '', each) for name, each in named.items()]

    def record(self, hub: MessageHub) -> None:
        for prefix, optimizer in self._optimizers:
            for index, group in enumerate(optimizer.param_groups):
                part = '' if index == 0 else f'{group.get("name", f"group{index}")}.'
                hub.update_scalar(f'train/{prefix}{part}lr', group['lr'])


class _EpochView:
    """A runner for the line at the end of an evaluation, with a hub that knows only that epoch.

    There every scalar that was logged batch by batch shows its mean over the epoch, and one that was not
    logged in it is left out.
    """

    def __init__(self, runner: LoopLogger, mode: str, starts: Mapping[str, int]) -> None:
        self._runner = runner
        self.message_hub = self
        self.runtime_info = runner.message_hub.runtime_info
        self.log_scalars = {
            key: _EpochBuffer(buffer, buffer.position - starts.get(key, 0))
            for key, buffer in runner.message_hub.log_scalars.items()
            if key.startswith(f'{mode}/') and buffer.position > starts.get(key, 0)
        }

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)


class _EpochBuffer:
    """A history of which only the newest entries count."""

    def __init__(self, buffer: HistoryBuffer, size: int) -> None:
        self._buffer = buffer
        self._size = size
        self.position = buffer.position

    def current(self) -> Any:
        return self._buffer.mean(self._size)

    def mean(self, _: Any = None) -> Any:
        return self._buffer.mean(self._size)

    def statistics(self, method_name: str, **kwargs: Any) -> Any:
        return self._buffer.statistics(method_name, **kwargs)


def _reduce(value: Any) -> Any:
    """Mean of a tensor, sum of the means of a list of tensors, as mmengine's ``parse_losses``."""
    if isinstance(value, list | tuple) and value and all(hasattr(item, 'mean') for item in value):
        means = [item.mean() for item in value]
        return sum(means[1:], means[0])
    is_tensor = hasattr(value, 'is_floating_point')
    return value.mean() if is_tensor and value.ndim > 0 and value.is_floating_point() else value


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
