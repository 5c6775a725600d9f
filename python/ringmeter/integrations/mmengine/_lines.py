"""LoggerHook's lines and records: whether one is due, and written once their values have landed."""

from __future__ import annotations

import atexit
import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial, wraps
from typing import Any
from weakref import WeakKeyDictionary

from mmengine.hooks import Hook, LoggerHook

import ringmeter
from ringmeter import _core

from ..._landing import LATE_ERRORS, HubAt, LandingQueue, short_waits, warn_left_out
from ..._loop import View
from ..._outputs import info_as_of
from ..._ranks import KeysDifferError, Line, StepQueue
from ._hooks import loop_of

Method = Callable[..., None]

Queue = LandingQueue | StepQueue

_queues: WeakKeyDictionary[ringmeter.MessageHub, Queue] = WeakKeyDictionary()  # of each Runner's
_own_rules: dict[type, bool] = {}  # by class of hooks
_RULES = ('every_n_inner_iters', 'every_n_train_iters', 'end_of_epoch')


def deferred_methods() -> dict[str, Method]:
    """Return what to put in the place of the methods of ``LoggerHook``.

    Its own methods still decide what to write and write it. Those for an iteration are called when the values
    have landed, with a runner as it was; the others, when everything before them has been written.
    """
    after_iter = {
        f'after_{mode}_iter': _defer(getattr(LoggerHook, f'after_{mode}_iter'), mode)
        for mode in ('train', 'val', 'test')
    }
    flushing = {
        name: _flush_before(getattr(LoggerHook, name))
        for name in ('before_run', 'after_val_epoch', 'after_test_epoch', 'after_run')
    }
    return after_iter | flushing


def when_due(write: Method) -> Method:
    """Return the method for an iteration of training that asks the runner for little unless a line is due."""

    @wraps(write)
    def after_iter(
        self: LoggerHook, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        if _is_due(self, runner, batch_idx, 'train'):
            write(self, runner, batch_idx, data_batch, outputs)

    return after_iter


def flush() -> None:
    """Write what still waits."""
    for queue in list(_queues.values()):
        queue.flush()


def _flush_at_exit() -> None:
    for queue in list(_queues.values()):
        queue.flush_at_exit()


atexit.register(_flush_at_exit)


def _queue_of(runner: Any) -> Queue | None:
    """Return what waits for the values of a hub, if that is ours."""
    hub = runner.message_hub
    if not isinstance(hub, ringmeter.MessageHub):
        return None
    reduction = getattr(runner.log_processor, '_reduction', None)
    queue = _queues.get(hub)
    if queue is None or getattr(queue, 'reduction', None) is not reduction:
        if queue is not None:  # of an earlier Runner of the same name
            queue.flush()
        queue = _queues[hub] = LandingQueue() if reduction is None else StepQueue(reduction)
    return queue


def _defer(write: Method, mode: str) -> Method:
    @wraps(write)
    def after_iter(
        self: LoggerHook, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        queue = _queue_of(runner)
        if queue is not None:
            queue.run_landed()
        if not _is_due(self, runner, batch_idx, mode):
            return
        if queue is None or not isinstance(runner.log_processor, ringmeter.LogProcessor):
            write(self, runner, batch_idx, data_batch, outputs)  # mmengine's cannot tell how things stood
            return
        line = Line(mode, runner.log_processor._done(runner, batch_idx, mode))
        if isinstance(queue, StepQueue):
            queue.add(str(line), partial(_write_reduced, line, self, write, _as_it_is(runner), batch_idx))
        elif not _core.has_captures(runner.message_hub.log_scalars) and queue.is_clear():
            write(self, runner, batch_idx, data_batch, outputs)
            return
        else:
            queue.add(str(line), partial(_write_later, self, write, _as_it_is(runner), batch_idx))
        if mode == 'train' and self.end_of_epoch(runner.train_dataloader, batch_idx):
            queue.flush()

    return after_iter


def _has_own_rules(cls: type) -> bool:
    """Whether a hook decides by itself when a line is due."""
    known = _own_rules.get(cls)
    if known is None:
        known = _own_rules[cls] = any(getattr(cls, name) is not getattr(Hook, name) for name in _RULES)
    return known


def _is_due(hook: LoggerHook, runner: Any, batch_idx: int, mode: str) -> bool:
    """Whether there may be something to write."""
    if _has_own_rules(type(hook)) or (batch_idx + 1) % hook.interval == 0:
        return True
    if mode != 'train':
        return False
    loop = loop_of(runner)
    if (loop.iter + 1) % hook.interval_exp_name == 0:
        return True
    return batch_idx + 1 == len(runner.train_dataloader if loop is runner else loop.dataloader)


def _as_it_is(runner: Any) -> View:
    """Return a view of the runner that stays as it is now."""
    names = ('iter', 'epoch', 'max_iters', 'max_epochs')
    is_training = not (isinstance(runner._train_loop, dict) or runner._train_loop is None)
    own = {name: getattr(runner, name) for name in names} if is_training else {}
    return View(
        runner, message_hub=HubAt(runner.message_hub), logger=_LoggerAt(runner.logger, time.time()), **own
    )


def _write_later(hook: LoggerHook, write: Method, runner: Any, batch_idx: int) -> None:
    runner.message_hub.settle()
    write(hook, runner, batch_idx)


def _write_reduced(
    line: Line, hook: LoggerHook, write: Method, runner: Any, batch_idx: int, has_landed: bool
) -> None:
    """Write a line with its collective, which this rank takes part in also when it has no values."""
    try:
        with nullcontext() if has_landed else short_waits():  # for what does not come
            _write_later(hook, write, runner, batch_idx)
    except KeysDifferError:
        raise
    except LATE_ERRORS as error:
        if has_landed:  # it has been said otherwise
            warn_left_out(str(line), error)


class _LoggerAt:
    """A logger whose lines have the time of an earlier moment."""

    def __init__(self, logger: logging.Logger, created: float) -> None:
        self._logger = logger
        self._created = created

    def info(self, message: Any, *args: Any, **_: Any) -> None:
        info_as_of(self._logger, self._created, str(message) % args if args else str(message))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)


def _flush_before(write: Method) -> Method:
    @wraps(write)
    def after(self: LoggerHook, runner: Any, *args: Any, **kwargs: Any) -> None:
        flush()  # of a run that has failed, too
        write(self, runner, *args, **kwargs)

    return after
