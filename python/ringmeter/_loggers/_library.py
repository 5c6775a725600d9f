"""What the library itself logs, in the debug logs of its users."""

from __future__ import annotations

import logging
import threading

from .._choices import choices
from ._handlers import ConsoleHandler

LIBRARY = logging.getLogger('ringmeter')
_lock = threading.RLock()


class _Follower(logging.Handler):
    """Hands records to the handlers of a logger, the newest of those that asked for it."""

    def __init__(self) -> None:
        super().__init__()
        self.loggers: list[logging.Logger] = []
        self.before = (logging.NOTSET, True)  # level and propagate of the library's logger without this

    def emit(self, record: logging.LogRecord) -> None:
        for logger in self.loggers[-1:]:
            logger.callHandlers(record)


class _Warnings(logging.Handler):
    """Hands warnings and errors to the log of the newest loop: what becomes of its lines belongs there.

    Its console has them unless logging is configured to hand them to somebody else, too.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.loggers: list[logging.Logger] = []

    def emit(self, record: logging.LogRecord) -> None:
        of_root = logging.getLogger().handlers if LIBRARY.propagate else []
        has_others = any(handler is not self for handler in [*LIBRARY.handlers, *of_root])
        newest = self.loggers[-1:]  # none, where the last one ends meanwhile
        for handler in [handler for logger in newest for handler in logger.handlers]:
            is_extra = has_others and isinstance(handler, ConsoleHandler)
            if record.levelno >= handler.level and not is_extra:
                handler.handle(record)


_follower, _warnings = _Follower(), _Warnings()


def follow_library(logger: logging.Logger, new: list[logging.Handler]) -> None:
    """Let a logger have what the library logs from now on, and its new handlers what was chosen before.

    A second console does not get that: there is but one.
    """
    with _lock:
        if any(each is not logger for each in _follower.loggers):
            new = [handler for handler in new if not isinstance(handler, ConsoleHandler)]
        if not _reaches_library(logger) and logger not in _follower.loggers:
            if not _follower.loggers:
                _follower.before = LIBRARY.level, LIBRARY.propagate
                LIBRARY.addHandler(_follower)
                LIBRARY.setLevel(logging.DEBUG)
                LIBRARY.propagate = False
            _follower.loggers.append(logger)
    for choice in choices():
        record = LIBRARY.makeRecord(LIBRARY.name, logging.DEBUG, __file__, 0, choice, (), None)
        for handler in new:
            if record.levelno >= handler.level:
                handler.handle(record)


def follow_warnings(logger: logging.Logger) -> None:
    """Let the logger of a loop have the library's warnings and errors from now on."""
    with _lock:
        _warnings.loggers.append(logger)
        LIBRARY.addHandler(_warnings)


def _reaches_library(logger: logging.Logger) -> bool:
    each: logging.Logger | None = logger
    while each is not None and each is not LIBRARY:
        each = each.parent if each.propagate else None
    return each is LIBRARY


def leave_library(logger: logging.Logger) -> None:
    """End it. Nothing happens to who did not follow."""
    with _lock:
        if logger in _warnings.loggers:
            _warnings.loggers.remove(logger)
            if not _warnings.loggers:
                LIBRARY.removeHandler(_warnings)
        if logger not in _follower.loggers:
            return
        _follower.loggers.remove(logger)
        if not _follower.loggers:
            LIBRARY.removeHandler(_follower)
            level, LIBRARY.propagate = _follower.before
            LIBRARY.setLevel(level)
