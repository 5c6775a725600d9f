"""IterTimerHook's methods, with times that pass on the device where the losses are on one."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import IterTimerHook, iter_timer_hook

import ringmeter

from ._clock import clock_of
from ._hooks import loop_of


def before_epoch(self: IterTimerHook, runner: Any, mode: str = 'train') -> None:
    """Begin to measure."""
    self.t = iter_timer_hook.time.time()  # through its module, where tests replace the clock
    if isinstance(runner.message_hub, ringmeter.MessageHub):
        clock_of(runner.message_hub).begin_epoch(runner.message_hub, mode)


def after_epoch(self: IterTimerHook, runner: Any, mode: str = 'train') -> None:
    """Let training go on, and the next evaluation begin anew."""
    self.time_sec_test_val = 0
    if isinstance(runner.message_hub, ringmeter.MessageHub):
        clock_of(runner.message_hub).end_epoch(runner.message_hub, mode)


def after_iter(
    self: IterTimerHook,
    runner: Any,
    batch_idx: int,
    data_batch: Any = None,  # noqa: ARG001
    outputs: Any = None,  # noqa: ARG001
    mode: str = 'train',
) -> None:
    """Record the time of an iteration, and how much there is left by the host's clock."""
    now = iter_timer_hook.time.time()
    seconds, self.t = now - self.t, now
    hub = runner.message_hub
    if isinstance(hub, ringmeter.MessageHub):
        clock_of(hub).end_iteration(hub, mode, seconds)
    else:
        hub.update_scalar(f'{mode}/time', seconds)
    if mode == 'train':
        self.time_sec_tot += seconds
        loop = loop_of(runner)
        iteration = loop.iter
        seconds_each = self.time_sec_tot / (iteration - self.start_iter + 1)
        hub.update_info('eta', seconds_each * (loop.max_iters - iteration - 1))
    else:
        self.time_sec_test_val += seconds
        loader = runner.val_dataloader if mode == 'val' else runner.test_dataloader
        hub.update_info('eta', self.time_sec_test_val / (batch_idx + 1) * (len(loader) - batch_idx - 1))
