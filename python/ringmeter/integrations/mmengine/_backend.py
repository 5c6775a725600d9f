"""Switching the backend on and off."""

from __future__ import annotations

import copyreg
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mmengine.device
import mmengine.runner.loops
from mmengine.hooks import IterTimerHook, LoggerHook, RuntimeInfoHook
from mmengine.optim import OptimWrapper
from mmengine.registry import LOG_PROCESSORS
from mmengine.runner import CheckpointLoader
from mmengine.visualization import LocalVisBackend

import ringmeter
from ringmeter import ArgumentError
from ringmeter._choices import note_choice

from . import _checkpoints, _classes, _hooks, _lines, _records, _safe_loading, _times
from ._patches import Patches

_lock = threading.RLock()
_patches: Patches | None = None  # while it is on
_deferral: Patches | None = None  # while it is on with lines='deferred'


def install(lines: str = 'now') -> None:
    """Let mmengine run on ringmeter, in this process, until :func:`uninstall`.

    ``MessageHub``, ``HistoryBuffer`` and ``LogProcessor`` are ringmeter's from now on, in every module that
    has imported them and in those that will. ``RuntimeInfoHook``, ``IterTimerHook``, ``OptimWrapper``, the
    loops of validation and the ``memory`` field no longer wait for the device; with losses on a CUDA device,
    ``time`` is the time that passes there. Checkpoints are mmengine's, and are loaded under
    ``torch.load(weights_only=True)`` too.

    A ``Runner`` that was built before keeps the hub and the log processor that it has. ``MessageHub`` of
    ringmeter and of mmengine share their instances meanwhile. Installing twice is the same as once; the
    second time may change ``lines``.

    Args:
        lines: ``'now'``: a line waits for its values, as in mmengine. ``'deferred'``: ``LoggerHook`` writes
            lines and records once their values have landed: the same, in the same order, and all of them by
            the end of the epoch.

    Raises:
        ArgumentError: ``lines`` is neither.
    """
    global _patches, _deferral  # noqa: PLW0603
    _check_lines(lines)
    with _lock:
        if _patches is None:
            _patches = _patch()
            _note_patches(_patches)
        if lines == 'now':
            _stop_deferring()
        elif _deferral is None:
            note_choice("mmengine's lines", 'a queue, until their values have landed')
            _deferral = Patches()
            for name, method in _lines.deferred_methods().items():
                _deferral.replace_attribute(LoggerHook, name, method)


def uninstall() -> None:
    """Give mmengine back what it had. Nothing happens when the backend is not installed.

    A ``Runner`` that was built meanwhile keeps the hub and the log processor that it has, and goes on.
    """
    global _patches  # noqa: PLW0603
    with _lock:
        if _patches is None:
            return
        _stop_deferring()
        _classes.keep_statistics()
        copyreg.dispatch_table.pop(_classes.StockHistoryBuffer, None)
        _patches.undo()
        _patches = None
        note_choice('mmengine', 'its own classes and methods')


@contextmanager
def accelerated(lines: str = 'now') -> Iterator[None]:
    """Install the backend for the duration of a ``with`` block; nothing changes when it is installed already.

    Raises:
        ArgumentError: As :func:`install`.
    """
    _check_lines(lines)
    if _patches is not None:
        yield
        return
    install(lines)
    try:
        yield
    finally:
        uninstall()


def _check_lines(lines: str) -> None:
    if lines not in ('now', 'deferred'):
        raise ArgumentError(f"lines must be 'now' or 'deferred', got {lines!r}")


def _patch() -> Patches:
    _classes.take_statistics()
    copyreg.pickle(_classes.StockHistoryBuffer, _checkpoints.reduce_history)
    patches = Patches()
    pairs = [*_classes.PAIRS, (mmengine.device.get_max_cuda_memory, _hooks.max_cuda_memory)]
    if hasattr(mmengine.runner.loops, '_update_losses'):  # losses of validation: since 0.10.5
        pairs.append((mmengine.runner.loops._update_losses, _hooks.update_losses))
    patches.replace_in_modules(pairs)
    methods: tuple[tuple[type[Any], str, Any], ...] = (
        (RuntimeInfoHook, 'before_train_iter', _hooks.record_rates),
        (RuntimeInfoHook, 'after_train_iter', _hooks.record_outputs),
        (LoggerHook, 'after_train_iter', _lines.when_due(LoggerHook.after_train_iter)),
        (IterTimerHook, '_before_epoch', _times.before_epoch),
        (IterTimerHook, '_after_epoch', _times.after_epoch),
        (IterTimerHook, '_after_iter', _times.after_iter),
        (OptimWrapper, '_clip_grad', _hooks.clip_gradients),
        (LocalVisBackend, 'add_scalars', _records.add_record),
        (CheckpointLoader, 'load_checkpoint', classmethod(_safe_loading.load_checkpoint)),
    )
    for owner, name, method in methods:
        patches.replace_attribute(owner, name, method)
    patches.replace_attribute(ringmeter.MessageHub, '_instance_dict', _classes.MessageHub._instance_dict)
    patches.replace_item(LOG_PROCESSORS.module_dict, 'LogProcessor', _classes.LogProcessor)
    return patches


def _note_patches(patches: Patches) -> None:
    note_choice('mmengine', 'ringmeter')
    for old, new in patches.replaced():
        note_choice(f'`{old}`', f'`{new}`')


def _stop_deferring() -> None:
    global _deferral  # noqa: PLW0603
    note_choice("mmengine's lines", 'LoggerHook, when they are due')
    if _deferral is not None:
        _lines.flush()
        _deferral.undo()
        _deferral = None
