"""Doing things once values have landed, as of the moment when they were put off."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from . import _core, _staging
from ._errors import ArgumentError, DeviceError, PendingError

_logger = logging.getLogger('ringmeter')
_MOST = 1024  # waiting: as far back as any history can be asked
LATE_ERRORS = (ArgumentError, DeviceError, PendingError)  # such as: a short history no longer has the window


class LandingQueue:
    """What is to be done, in order, once everything recorded before it was put here has landed."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[tuple[int, ...], str, Callable[[], None]]] = deque()
        self._is_full = False

    def is_clear(self) -> bool:
        """Return whether nothing waits, and nothing that was launched is on its way."""
        if not _staging.is_empty():
            _staging.flush()  # nothing there lands by itself
        return not self._waiting and _core.land_arrived() == 0

    def add(self, what: str, action: Callable[[], None]) -> None:
        """Wait with ``action()``, which is about ``what``, for what has been recorded so far."""
        if len(self._waiting) >= _MOST:
            if not self._is_full:
                _logger.warning('%s is left out: %d others wait for values', self._waiting[0][1], _MOST)
            self._is_full = True  # and those that follow, unsaid
            self._waiting.popleft()
        self._waiting.append((_core.mark(), what, action))

    def run_landed(self) -> None:
        """Do what needs to wait no longer."""
        _core.land_arrived()
        while self._waiting and _core.has_landed(self._waiting[0][0]):
            _, what, action = self._waiting.popleft()
            _do(what, action)

    def clear(self) -> None:
        """Do none of it."""
        self._waiting.clear()

    def flush(self) -> None:
        """Wait for everything. What cannot land is left out, with a warning.

        Once something has not landed in time, what was put here later has not either, and is not waited for.
        """
        while self._waiting:
            mark, what, action = self._waiting[0]
            try:
                is_in_time = _core.wait_for(mark)
            except DeviceError as error:
                self._waiting.popleft()
                warn_left_out(what, error)
                continue
            self._waiting.popleft()
            if is_in_time:
                _do(what, action)
                continue
            behind = f', with {len(self._waiting)} behind it,' if self._waiting else ''
            self._waiting.clear()
            warn_left_out(f'{what}{behind}', 'its values did not land in time')

    def flush_at_exit(self) -> None:
        """The same, waiting no longer than two seconds."""
        with short_waits():
            self.flush()


@contextmanager
def short_waits() -> Iterator[None]:
    """Meanwhile, a wait for a device takes no longer than two seconds: for the end of the process."""
    timeout = _core.get_wait_timeout()
    _core.set_wait_timeout(min(2.0, timeout))
    try:
        yield
    finally:
        _core.set_wait_timeout(timeout)


def _do(what: str, action: Callable[[], None]) -> None:
    try:
        action()
    except LATE_ERRORS as error:
        warn_left_out(what, error)


def warn_left_out(what: str, problem: object) -> None:
    """Warn that a line, say, could not be made."""
    _logger.warning('%s is left out: %s', what, problem)


class HubAt:
    """A hub as it is now, to be asked later: histories of which only what has been recorded so far counts.

    What replays of CUDA graphs recorded so far counts too: that is known when it has landed.
    """

    def __init__(self, hub: Any) -> None:
        self.log_scalars = dict(hub.log_scalars)  # histories may be replaced meanwhile
        self.runtime_info = dict(hub.runtime_info)
        self.positions: dict[str, int] = {
            key: buffer.position for key, buffer in self.log_scalars.items() if hasattr(buffer, 'position')
        }
        self.marks = _core.mark_replays() if _core.has_captures(hub.log_scalars) else []

    def add(self, key: str, history: Any) -> None:
        """Take another history, as it is now."""
        self.log_scalars[key], self.positions[key] = history, history.position

    def get_scalar(self, key: str) -> Any:
        """Return a copy of a history, as it was."""
        buffer = self.log_scalars[key]
        return buffer.as_of(self.positions[key]) if key in self.positions else buffer

    def get_info(self, key: str, default: Any = None) -> Any:
        """Return the information under ``key``, or ``default``."""
        return self.runtime_info.get(key, default)

    def settle(self) -> None:
        """Everything recorded until then has landed."""
        replayed = {id(history): position for mark in self.marks for history, position in mark.positions()}
        for key in self.positions if replayed else ():
            self.positions[key] = replayed.get(id(self.log_scalars[key]), self.positions[key])


def settled_positions(hub: Any) -> dict[str, int]:
    """Return where each history stands, replays of CUDA graphs included: waits for those if there are any."""
    now = HubAt(hub)
    if now.marks:
        queue = LandingQueue()
        queue.add('waiting for replays of CUDA graphs', now.settle)
        queue.flush()
    return now.positions
