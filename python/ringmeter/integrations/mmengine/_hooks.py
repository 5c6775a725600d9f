"""What waits for the device once an iteration or line in mmengine, written so that it does not."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from mmengine.hooks import RuntimeInfoHook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from mmengine.structures import BaseDataElement

import ringmeter
from ringmeter import ArgumentTypeError, DeviceError, ScalarError

from ...log_processor import take_max_memory
from ._classes import HistoryBuffer
from ._clock import clock_of

_logger = logging.getLogger('ringmeter')
_refused_losses: set[str] = set()  # of validation, that were no scalars


def loop_of(runner: Any) -> Any:
    """Return what counts the iterations of a runner: its loop of training, or itself if that is not built.

    Asking the runner for any of them costs a microsecond, because it looks whether there is a loop.
    """
    loop = vars(runner).get('_train_loop')
    return loop if type(loop) in (EpochBasedTrainLoop, IterBasedTrainLoop) else runner


def record_rates(self: RuntimeInfoHook, runner: Any, batch_idx: int, data_batch: Any = None) -> None:  # noqa: ARG001
    """Tell which iteration it is, and record the learning rates."""
    hub = runner.message_hub
    hub.update_info('iter', loop_of(runner).iter)
    rates = runner.optim_wrapper.get_lr()
    if not isinstance(rates, dict):
        raise ArgumentTypeError(
            'runner.optim_wrapper.get_lr() must return a dict of learning rates by name, as OptimWrapper and '
            f'OptimWrapperDict do, got {rates!r}'
        )
    for name, values in rates.items():
        hub.update_scalar(f'train/{name}', values[0])


_record_outputs_of_stock = RuntimeInfoHook.after_train_iter


def record_outputs(
    self: RuntimeInfoHook, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
) -> None:
    """Record what the model returned, together. What is not a scalar is reported once and left out."""
    hub = runner.message_hub
    if getattr(type(hub), 'update_scalar', None) is not ringmeter.MessageHub.update_scalar:
        _record_outputs_of_stock(self, runner, batch_idx, data_batch, outputs)
        return
    if outputs is None:
        return
    refused = hub.__dict__.setdefault('_refused', set())
    scalars = {f'train/{key}': value for key, value in outputs.items() if key not in refused}
    try:
        if dict in map(type, scalars.values()):
            raise ScalarError('a dict is no scalar')  # though a hub takes one for a value with its count
        clock_of(hub).record(hub, scalars)
    except DeviceError:
        raise
    except (TypeError, ValueError, RuntimeError):  # nothing was recorded
        for key in scalars:
            name = key.removeprefix('train/')
            if _is_refused(key, partial(hub.update_scalar, key, outputs[name])):
                refused.add(name)


def _is_refused(key: str, record: Callable[[], None]) -> bool:
    try:
        record()
    except DeviceError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        _logger.warning('an output of the model is not recorded as %r: %s', key, error)
        return True
    return False


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
        history = losses.get(name, HistoryBuffer())
        values = loss if isinstance(loss, list) else [loss]
        if name in _refused_losses or not all(isinstance(value, torch.Tensor) for value in values):
            continue  # mmengine passes over what is no tensor
        for value in values:
            if _is_refused(name, partial(history.update, value)):
                _refused_losses.add(name)
            else:
                losses[name] = history
    return outputs[:-1], losses


def max_cuda_memory(device: Any = None) -> int:
    """Return the most memory that tensors took since the last call, in MB."""
    return take_max_memory(torch.cuda, device)
