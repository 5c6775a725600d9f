"""Lines that wait for their values while training goes on."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _core, _staging
from ._errors import DeviceError
from ._loop import View

if TYPE_CHECKING:
    from ._outputs import ScalarsFile
    from .log_processor import LogProcessor

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


class LineWriter:
    """Writes the lines and records of a loop, when their values have landed or, if not deferred, at once."""

    def __init__(
        self, log_processor: LogProcessor, logger: logging.Logger, records: ScalarsFile | None, deferred: bool
    ) -> None:
        self._log_processor = log_processor
        self._logger = logger
        self._records = records
        self._queue = LineQueue() if deferred else None

    def write_iteration(self, runner: Any, batch_idx: int, mode: str, step: int | None) -> None:
        """Write the line of an iteration that has just ended, and its record if it has a step."""
        if self._queue is None or self._queue.is_clear():
            self.write(*self._log_processor.get_log_after_iter(runner, batch_idx, mode), step)
            return
        hub, created = HubAt(runner.message_hub), time.time()
        view = View(runner, message_hub=hub, **{name: getattr(runner, name) for name in _RUNNER})

        def write() -> None:
            hub.settle()
            self.write(*self._log_processor.get_log_after_iter(view, batch_idx, mode), step, created)

        self._queue.add(f'the line of iteration {batch_idx + 1} of {mode}', write)

    def write(self, tag: dict[str, Any], line: str, step: int | None, created: float | None = None) -> None:
        """Write a line, as of an earlier time if one is given, and its record if it has a step."""
        if created is None:
            self._logger.info(line)
        elif self._logger.isEnabledFor(logging.INFO):
            record = self._logger.makeRecord(self._logger.name, logging.INFO, __file__, 0, line, (), None)
            record.created, record.msecs = created, created % 1 * 1000
            self._logger.handle(record)
        if self._records is not None and step is not None:
            self._records.add_scalars(tag, step)

    def write_landed(self) -> None:
        """Write the lines whose values have landed meanwhile."""
        if self._queue is not None:
            self._queue.write_landed()

    def flush(self) -> None:
        """Write all lines, waiting for their values."""
        if self._queue is not None:
            self._queue.flush()

    def flush_at_exit(self) -> None:
        """The same, waiting no longer than two seconds for each."""
        _core.set_wait_timeout(min(2.0, _core.get_wait_timeout()))
        self.flush()
