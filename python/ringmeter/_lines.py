"""Lines that wait for their values while training goes on."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import Any

from . import _core, _staging
from ._errors import DeviceError
from ._loop import View

_logger = logging.getLogger('ringmeter')
_RUNNER = ('iter', 'epoch', 'max_iters', 'max_epochs', 'train_loop', '_train_loop', 'val_loop', 'test_loop')


class LineQueue:
    """What is to be done, in order, once everything recorded before it was put here has landed."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[tuple[int, ...], str, Callable[[], None]]] = deque()

    def is_clear(self) -> bool:
        """Return whether nothing waits, and nothing that would have to be waited for can be on its way."""
        if not _staging.is_empty():
            _staging.flush()  # nothing there lands by itself
        return not self._waiting and not _core.has_captures() and _core.land_arrived() == 0

    def add(self, what: str, write: Callable[[], None]) -> None:
        """Wait with ``write()``, which is about ``what``, for what has been recorded so far."""
        self._waiting.append((_core.mark(), what, write))

    def write_landed(self) -> None:
        """Do what needs to wait no longer."""
        _core.land_arrived()
        while self._waiting and _core.has_landed(self._waiting[0][0]):
            self._waiting.popleft()[2]()

    def flush(self) -> None:
        """Wait for everything. What cannot land is left out, with a warning."""
        while self._waiting:
            mark, what, write = self._waiting.popleft()
            try:
                problem = '' if _core.wait_for(mark) else 'its values did not land in time'
            except DeviceError as error:
                problem = str(error)
            if problem:
                _logger.warning('%s is left out: %s', what, problem)
            else:
                write()


def flush_at_exit(lines: LineQueue) -> None:
    """Flush, waiting no longer than for what a device does in two seconds."""
    _core.set_wait_timeout(min(2.0, _core.get_wait_timeout()))
    lines.flush()


class HubAt:
    """A hub as it is now, to be asked later: histories of which only what has been recorded so far counts.

    What replays of CUDA graphs recorded so far counts too: that is known when it has landed.
    """

    def __init__(self, hub: Any) -> None:
        self.log_scalars = hub.log_scalars
        self.runtime_info = dict(hub.runtime_info)
        self.positions = {
            key: buffer.position for key, buffer in hub.log_scalars.items() if hasattr(buffer, 'position')
        }
        self._marks = _core.mark_replays()

    def settle(self) -> None:
        """Everything recorded until then has landed."""
        replayed = {id(history): position for mark in self._marks for history, position in mark.positions()}
        for key in self.positions if replayed else ():
            self.positions[key] = replayed.get(id(self.log_scalars[key]), self.positions[key])


def as_it_is_now(runner: Any) -> View:
    """Return what a LogProcessor sees of ``runner``, unchanged by what comes later."""
    return View(
        runner, message_hub=HubAt(runner.message_hub), **{name: getattr(runner, name) for name in _RUNNER}
    )
