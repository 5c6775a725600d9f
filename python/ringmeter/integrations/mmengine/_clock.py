"""Times of iterations where the losses are on a device: those that pass there."""

from __future__ import annotations

from typing import Any

import ringmeter
from ringmeter._choices import note_choice
from ringmeter._core import Stopwatch, has_captures

_KEYS = {mode: f'{mode}/time' for mode in ('train', 'val', 'test')}


class DeviceClock:
    """Seconds on the device of a hub's losses, from one iteration to the next.

    The launch that records the losses of a training iteration reads the clock too. As long as there are none
    on a device, the times are the host's.
    """

    def __init__(self) -> None:
        self._stopwatches: dict[str, tuple[Any, Stopwatch | None]] = {}
        self._has_device = False
        self._is_recorded = False  # the time of the running iteration

    def record(self, hub: ringmeter.MessageHub, scalars: dict[str, Any]) -> None:
        """Record what the model returned in a training iteration."""
        stopwatch = None if self._is_recorded else self._stopwatch(hub, 'train')
        if stopwatch is None:
            hub.update_scalars(scalars)
        elif hub._update_scalars_and_lap(scalars, stopwatch):
            self._is_recorded = self._has_device = True

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
        note_choice(_KEYS[mode], f'the clock of the {"device" if self._has_device else "host"}')
        training = self._stopwatch(hub, 'train')
        if mode != 'train' and self._has_device and training is not None and training.is_started:
            training.resume()

    def end_iteration(self, hub: ringmeter.MessageHub, mode: str, seconds: float) -> None:
        """Record the time of an iteration, so many seconds on the host, unless the device tells another."""
        if self._is_recorded:
            self._is_recorded = False
            return
        stopwatch = self._stopwatch(hub, mode)
        is_needed = mode != 'train' or has_captures(hub.log_scalars)  # no launch of losses has read the clock
        if self._has_device and is_needed and stopwatch and stopwatch.is_started and stopwatch.lap():
            return
        hub.update_scalar(_KEYS[mode], seconds)
        if stopwatch is not None and self._has_device and stopwatch.is_started:
            stopwatch.start()  # or the next lap would have this iteration too
        if stopwatch is None and (mode == 'train' or self._has_device):
            stopwatch = self._stopwatch(hub, mode)
            if stopwatch is not None:
                stopwatch.start()

    def _stopwatch(self, hub: ringmeter.MessageHub, mode: str) -> Stopwatch | None:
        """Return that of a mode; None if there is no history of its times yet, or one of the user's own."""
        history = hub.log_scalars.get(_KEYS[mode])
        known, stopwatch = self._stopwatches.get(mode, (None, None))
        if known is not history:
            classes = (ringmeter.HistoryBuffer, hub._history_class)
            stopwatch = Stopwatch(history) if history is not None and type(history) in classes else None
            self._stopwatches[mode] = history, stopwatch
        return stopwatch


def clock_of(hub: ringmeter.MessageHub) -> DeviceClock:
    """Return the clock of a hub, which has none of its own at first."""
    clock: DeviceClock | None = hub.__dict__.get('_clock')
    if clock is None:
        clock = hub.__dict__['_clock'] = DeviceClock()
    return clock
