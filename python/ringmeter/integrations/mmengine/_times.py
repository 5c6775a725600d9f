"""IterTimerHook's times where the losses are on a device: those that pass there."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from mmengine.hooks import IterTimerHook, iter_timer_hook

import ringmeter
from ringmeter._core import Stopwatch, has_captures

from ._classes import HistoryBuffer


class DeviceClock:
    """Seconds on the device of a hub's losses, from one iteration to the next.

    The launch that records the losses of a training iteration reads the clock too. As long as there are none
    on a device, the times are the host's.
    """

    def __init__(self) -> None:
        self._stopwatches: dict[str, tuple[Any, Stopwatch]] = {}
        self._has_device = False
        self._is_recorded = False  # the time of the running iteration

    def record(self, hub: ringmeter.MessageHub, scalars: dict[str, Any]) -> None:
        """Record what the model returned in a training iteration."""
        stopwatch = None if self._is_recorded else self._stopwatch(hub, 'train')
        if stopwatch is None:
            hub.update_scalars(scalars)
        else:
            self._is_recorded = hub._update_scalars_and_lap(scalars, stopwatch)
            self._has_device |= self._is_recorded

    def begin_epoch(self, hub: ringmeter.MessageHub, mode: str) -> None:
        """A first iteration begins. If it is not one of training, that stands still meanwhile."""
        self._is_recorded = False
        if not self._has_device:
            return
        training = self._stopwatch(hub, 'train')
        if mode != 'train' and training is not None and training.is_started:
            training.pause()
        stopwatch = self._stopwatch(hub, mode)
        if stopwatch is not None:
            stopwatch.start()

    def end_epoch(self, hub: ringmeter.MessageHub, mode: str) -> None:
        """Training goes on, if it was not one of that."""
        training = self._stopwatch(hub, 'train')
        if mode != 'train' and self._has_device and training is not None and training.is_started:
            training.resume()

    def end_iteration(self, hub: ringmeter.MessageHub, mode: str) -> bool:
        """Return whether the time of the iteration is recorded, or will be."""
        is_recorded, self._is_recorded = self._is_recorded, False
        stopwatch = self._stopwatch(hub, mode)
        if is_recorded or stopwatch is None or not self._has_device or not stopwatch.is_started:
            return is_recorded
        return (mode != 'train' or has_captures(hub.log_scalars)) and stopwatch.lap()

    def start(self, hub: ringmeter.MessageHub, mode: str) -> None:
        """Begin to measure, after an iteration whose time was the host's."""
        stopwatch = self._stopwatch(hub, mode)
        if stopwatch is not None and not stopwatch.is_started and (mode == 'train' or self._has_device):
            stopwatch.start()

    def _stopwatch(self, hub: ringmeter.MessageHub, mode: str) -> Stopwatch | None:
        """Return that of a mode, if its times are in a history of ours."""
        history = hub.log_scalars.get(f'{mode}/time')
        known, stopwatch = self._stopwatches.get(mode, (None, None))
        if stopwatch is None or known is not history:
            if type(history) is not HistoryBuffer:  # none yet, or the user's own
                return None
            stopwatch = Stopwatch(history)
            self._stopwatches[mode] = history, stopwatch
        return stopwatch


_clocks: WeakKeyDictionary[ringmeter.MessageHub, DeviceClock] = WeakKeyDictionary()


def clock_of(hub: ringmeter.MessageHub) -> DeviceClock:
    """Return the clock of a hub."""
    clock = _clocks.get(hub)
    if clock is None:
        clock = _clocks[hub] = DeviceClock()
    return clock


# ---- in the place of the methods of IterTimerHook ----


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
    clock = clock_of(hub) if isinstance(hub, ringmeter.MessageHub) else None
    if clock is None or not clock.end_iteration(hub, mode):
        hub.update_scalar(f'{mode}/time', seconds)
        if clock is not None:
            clock.start(hub, mode)
    if mode == 'train':
        self.time_sec_tot += seconds
        done, left = runner.iter - self.start_iter + 1, runner.max_iters - runner.iter - 1
        hub.update_info('eta', self.time_sec_tot / done * left)
    else:
        self.time_sec_test_val += seconds
        loader = runner.val_dataloader if mode == 'val' else runner.test_dataloader
        hub.update_info('eta', self.time_sec_test_val / (batch_idx + 1) * (len(loader) - batch_idx - 1))
