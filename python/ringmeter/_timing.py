"""The times of a loop's iterations."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from ._choices import note_choice
from ._core import Stopwatch, has_captures
from .history_buffer import HistoryBuffer

if TYPE_CHECKING:
    from .message_hub import MessageHub


class LoopTimer:
    """Records ``time``, ``data_time`` and, if asked for, ``idle_time`` of one pass over a loader.

    ``data_time`` is what the host spent in the loader, ``time`` runs from one iteration to the next: on the
    host, or on the device that the losses are on. There the clock is read where they are, in the same launch,
    so that nothing waits and yet work counts when it is done, not when it is queued. An iteration that is
    left by ``break`` has a ``time`` only there, up to its losses; on the host it does not end.
    """

    def __init__(self, hub: MessageHub, mode: str, with_idle_time: bool) -> None:
        self._hub = hub
        self._time_key, self._data_time_key = f'{mode}/time', f'{mode}/data_time'
        self._start = self._since = time.perf_counter()  # of the running iteration, of loading
        self._loading = 0.0  # spent on it in the running iteration
        self._paused = 0.0  # when the loop began that runs inside
        self._is_recorded = True  # the time of the running iteration, or none runs
        self._stopwatch = self._make_stopwatch(self._time_key)
        self._idle = None
        if with_idle_time:
            hub.log_scalars.setdefault(f'{mode}/idle_time', HistoryBuffer())
            hub._resumed_keys.setdefault(f'{mode}/idle_time', True)
            self._idle = self._make_stopwatch(f'{mode}/idle_time')

    def begin_batch(self, is_first: bool) -> None:
        """A batch of the iteration is there."""
        self._loading += time.perf_counter() - self._since
        if is_first:
            self._is_recorded = False
            if self._idle is not None and self._idle.is_started:
                self._idle.lap()

    def end_batch(self) -> None:
        """The next one is loaded, for the same iteration."""
        self._since = time.perf_counter()

    def record(self, log_dict: dict[str, Any]) -> None:
        """Record scalars of the running iteration."""
        if self._stopwatch is None or self._is_recorded:
            self._hub.update_scalars(log_dict)
        else:
            self._is_recorded = self._hub._update_scalars_and_lap(log_dict, self._stopwatch)

    def end_iteration(self) -> float:
        """Return how many seconds it took on the host."""
        now = time.perf_counter()
        seconds, loading = now - self._start, self._loading
        self._start, self._since, self._loading = now, now, 0.0
        self._hub.update_scalar(self._data_time_key, loading)
        if not self._is_recorded and self._stopwatch is not None and has_captures(self._hub.log_scalars):
            self._is_recorded = self._stopwatch.is_started and self._stopwatch.lap()
        if not self._is_recorded:
            self._hub.update_scalar(self._time_key, seconds)
            if self._stopwatch is None:
                self._stopwatch = self._make_stopwatch(self._time_key)
        self._is_recorded = True
        if self._idle is not None:
            self._idle.start()
        return seconds

    def note_clock(self) -> None:
        """Note for debug logs which clock ``time`` is of."""
        has_device = self._stopwatch is not None and self._stopwatch.is_started
        note_choice(self._time_key, f'the clock of the {"device" if has_device else "host"}')

    def pause(self) -> None:
        """Another loop begins inside of this one."""
        self._paused = time.perf_counter()
        if self._stopwatch is not None and self._stopwatch.is_started:
            self._stopwatch.pause()

    def resume(self) -> None:
        inside = time.perf_counter() - self._paused
        self._start += inside
        self._since += inside
        if self._stopwatch is not None and self._stopwatch.is_started:
            self._stopwatch.resume()

    def _make_stopwatch(self, key: str) -> Stopwatch | None:
        """Return one for the history, running if a device is in use; if not, the first loss starts it."""
        history = self._hub.log_scalars.get(key)
        if type(history) is not HistoryBuffer:  # one of the user's, or none yet
            return None
        stopwatch = Stopwatch(history)
        stopwatch.start()
        return stopwatch
