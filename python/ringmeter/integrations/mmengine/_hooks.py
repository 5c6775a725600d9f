"""mmengine's hooks and functions that wait for the device once an iteration, written so that they do not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from mmengine.hooks import IterTimerHook, RuntimeInfoHook, iter_timer_hook
from mmengine.structures import BaseDataElement

import ringmeter
from ringmeter import ScalarError
from ringmeter._core import Stopwatch

from ._classes import HistoryBuffer

_logger = logging.getLogger('ringmeter')
_reported: set[str] = set()  # keys of outputs that were no scalars


# ---- RuntimeInfoHook: one call for all outputs, in place of one for each ----

_record_outputs_of_stock = RuntimeInfoHook.after_train_iter


def record_outputs(
    self: RuntimeInfoHook, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
) -> None:
    """Record what the model returned. What is not a scalar is reported once and left out."""
    hub = runner.message_hub
    if not isinstance(hub, ringmeter.MessageHub):
        _record_outputs_of_stock(self, runner, batch_idx, data_batch, outputs)
        return
    if outputs is None:
        return
    scalars = {f'train/{key}': value for key, value in outputs.items()}
    try:
        hub.update_scalars(scalars)
    except ScalarError:  # nothing was recorded
        for key, value in scalars.items():
            _record_or_warn(key, partial(hub.update_scalars, {key: value}))


def _record_or_warn(key: str, record: Callable[[], None]) -> None:
    try:
        record()
    except ScalarError as error:
        if key not in _reported:
            _reported.add(key)
            _logger.warning('an output of the model is not recorded as %r: %s', key, error)


# ---- IterTimerHook: the time of an iteration is the device's, where one is in use ----


class _DeviceClock:
    """Seconds on a device from one iteration to the next, for one hook: one stopwatch for each mode."""

    def __init__(self) -> None:
        self._stopwatches: dict[str, tuple[Any, Stopwatch]] = {}
        self._running: Stopwatch | None = None

    def restart(self, hub: Any, mode: str) -> None:
        """Begin an iteration of that mode now."""
        history = hub.log_scalars.get(f'{mode}/time')
        known, stopwatch = self._stopwatches.get(mode, (None, None))
        if known is not history or stopwatch is None:
            if type(history) is not HistoryBuffer:  # none yet, or the user's own
                self._running = None
                return
            stopwatch = Stopwatch(history)
            self._stopwatches[mode] = history, stopwatch
        self._running = stopwatch if stopwatch.start() else None

    def lap(self, hub: Any, mode: str) -> bool:
        """End an iteration, and begin the next. Returns whether its time is recorded, or will be."""
        known, stopwatch = self._stopwatches.get(mode, (None, None))
        if stopwatch is None or stopwatch is not self._running or known is not hub.log_scalars.get(f'{mode}/time'):
            return False
        return stopwatch.lap()


_clocks: WeakKeyDictionary[IterTimerHook, _DeviceClock] = WeakKeyDictionary()


def begin_epoch(self: IterTimerHook, runner: Any, mode: str = 'train') -> None:
    """Begin to measure."""
    self.t = iter_timer_hook.time.time()  # through its module, where tests replace the clock
    if isinstance(runner.message_hub, ringmeter.MessageHub):
        _clocks.setdefault(self, _DeviceClock()).restart(runner.message_hub, mode)


def end_iteration(
    self: IterTimerHook,
    runner: Any,
    batch_idx: int,
    data_batch: Any = None,  # noqa: ARG001
    outputs: Any = None,  # noqa: ARG001
    mode: str = 'train',
) -> None:
    """Record the time of an iteration, and how much there is left, by the host's clock."""
    now = iter_timer_hook.time.time()
    seconds, self.t = now - self.t, now
    hub = runner.message_hub
    clock = _clocks.get(self)
    if clock is None or not clock.lap(hub, mode):
        hub.update_scalar(f'{mode}/time', seconds)
        if isinstance(hub, ringmeter.MessageHub):
            _clocks.setdefault(self, _DeviceClock()).restart(hub, mode)
    if mode == 'train':
        self.time_sec_tot += seconds
        done, left = runner.iter - self.start_iter + 1, runner.max_iters - runner.iter - 1
        hub.update_info('eta', self.time_sec_tot / done * left)
    else:
        self.time_sec_test_val += seconds
        loader = runner.val_dataloader if mode == 'val' else runner.test_dataloader
        hub.update_info('eta', self.time_sec_test_val / (batch_idx + 1) * (len(loader) - batch_idx - 1))


# ---- functions ----


def clip_gradients(self: Any) -> None:
    """Clip gradients, and record their norm as it is."""
    parameters = [
        parameter
        for group in self.optimizer.param_groups
        for parameter in group['params']
        if parameter.requires_grad and parameter.grad is not None
    ]
    if parameters:
        norm = self.clip_func(parameters, **self.clip_grad_kwargs)
        if norm is not None:  # of values there is none
            self.message_hub.update_scalar(f'train/{self.grad_name}', norm)


def update_losses(outputs: list[Any], losses: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Take the losses out of the outputs of a batch of validation, if there are any, and record them."""
    last = outputs[-1]
    if not isinstance(last, BaseDataElement) or last.keys() != ['loss']:
        return outputs, losses
    for name, loss in last.loss.items():
        if name not in losses:
            losses[name] = HistoryBuffer()
        values = loss if isinstance(loss, list) else [loss]
        if all(isinstance(value, torch.Tensor) for value in values):  # mmengine passes others over
            for value in values:
                _record_or_warn(name, partial(losses[name].update, value))
    return outputs[:-1], losses


def max_cuda_memory(device: Any = None) -> int:
    """Return the most memory that tensors took since the last call, in MB."""
    most = int(torch.cuda.max_memory_allocated(device=device)) // (1024 * 1024)
    torch.cuda.reset_peak_memory_stats()
    return most
