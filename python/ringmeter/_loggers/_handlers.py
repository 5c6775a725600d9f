"""The console and files as handlers, which survive a full disk."""

from __future__ import annotations

import inspect
import logging
import os
import sys
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any, TextIO

from .._errors import ArgumentError, ArgumentTypeError
from ._format import CONSOLE_DATES, FILE_DATES, LogFormatter, has_colors
from ._repeats import RepeatedWarnings


class ReportsFaults(logging.Handler):
    """A handler whose writes may fail: that is reported once, and whoever logs goes on.

    Lines that fail are lost, but for those that the file's buffer holds. Each tries again.
    """

    owner: logging.Logger | None = None  # what reports, with its other handlers
    _fault: OSError | None = None  # of the record that is being handled
    _is_reported = False

    def handle(self, record: logging.LogRecord) -> bool:
        passed = bool(super().handle(record))
        self._report()  # without the lock: it takes those of other handlers, which may be failing too
        return passed

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except OSError:  # from opening a file again: logging guards only the writing
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            self._fault = error
        else:
            super().handleError(record)

    def close(self) -> None:
        try:
            super().close()
        except OSError as error:
            self._fault = error
        self._report()

    def _report(self) -> None:
        error, self._fault = self._fault, None
        if error is None or self._is_reported:
            return
        self._is_reported = True
        what = getattr(self, 'baseFilename', 'the console')
        if self.owner is not None:
            self.owner.error('%s cannot be written, its lines are lost: %s', what, error)


class ConsoleHandler(ReportsFaults, logging.StreamHandler[TextIO]):
    """Writes to ``sys.stdout``, whatever that is at the time."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self._other: Any = None  # where it writes instead
        self.setFormatter(LogFormatter(CONSOLE_DATES, lambda: has_colors(sys.stdout)))
        self.addFilter(RepeatedWarnings(self))

    @property
    def stream(self) -> Any:
        return sys.stdout if self._other is None else self._other

    @stream.setter
    def stream(self, stream: Any) -> None:  # for setStream()
        self._other = None if stream is sys.stdout else stream

    def emit(self, record: logging.LogRecord) -> None:
        if self.stream is not None:  # as print() has it
            super().emit(record)


class FileHandler(ReportsFaults, logging.FileHandler):
    """The same of a file."""


class FileOptions:
    """What a file handler is made of: a class, and its arguments but for the file's name.

    Args:
        file_mode: ``'w'``, ``'a'`` or ``'x'``, as of ``open``.
        file_handler: The class as ``'type'``, and further arguments of it; None for ``FileHandler``.

    Raises:
        ArgumentError: There is no such class, it does not take those arguments, or no such mode.
        ArgumentTypeError: ``file_handler`` is not a mapping.
    """

    def __init__(self, file_mode: str, file_handler: Mapping[str, Any] | None = None) -> None:
        if file_mode not in ('w', 'a', 'x'):
            raise ArgumentError(f"file_mode must be one of 'w', 'a', 'x', got {file_mode!r}")
        if file_handler is None:
            file_handler = {'type': FileHandler}
        if not isinstance(file_handler, Mapping):
            raise ArgumentTypeError(f"file_handler must be a mapping with a 'type', got {file_handler!r}")
        options = dict(file_handler)
        cls = _class_of(options.pop('type', None))
        if 'filename' in options:
            raise ArgumentError("file_handler must not have 'filename': that is log_file")
        parameters = inspect.signature(cls).parameters
        for name, value in {'mode': file_mode, 'encoding': 'utf-8', 'errors': 'backslashreplace'}.items():
            if name in parameters:
                options.setdefault(name, value)
        try:
            inspect.signature(cls).bind('', **options)
        except TypeError as error:
            raise ArgumentError(f'file_handler must have arguments of {cls.__name__}: {error}') from None
        if 'delay' in parameters:  # it is opened when its arguments have been accepted
            options['delay'] = True
        self._make = partial(_reporting(cls), **options)
        self._is_new = file_mode == 'x'
        self._name = cls.__name__

    def open(self, path: str | os.PathLike[str]) -> FileHandler:
        """Return a handler that writes there. Folders that are missing are made.

        Raises:
            OSError: The file cannot be written.
            ArgumentError: The handler does not take those values.
        """
        path = Path(path).absolute()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handler: FileHandler = self._make(path)
            if handler.stream is None:
                mode = 'x' if self._is_new else handler.mode  # what rotates appends
                if mode == 'x' or (mode == 'w' and path.is_file()):
                    path.open(mode).close()
                handler.mode = 'a'  # others may cut the file or close the handler, as dictConfig does
                handler.stream = handler._open()
        except OSError as error:
            reason = f'the log file cannot be written: {error.strerror or error}'
            raise type(error)(error.errno, reason, str(path)) from error
        except (TypeError, ValueError) as error:
            raise ArgumentError(f'file_handler must have values that {self._name} takes: {error}') from error
        handler.setFormatter(LogFormatter(FILE_DATES))
        handler.addFilter(RepeatedWarnings(handler))
        return handler


def _class_of(kind: Any) -> type[logging.FileHandler]:
    if isinstance(kind, type) and issubclass(kind, logging.FileHandler):
        return kind
    known = _file_handlers()
    if not isinstance(kind, str) or kind not in known:
        names = ', '.join(map(repr, known))
        raise ArgumentError(
            f"file_handler['type'] must be one of {names} or a subclass of logging.FileHandler, got {kind!r}"
        )
    return known[kind]


@cache
def _file_handlers() -> dict[str, type[logging.FileHandler]]:
    from logging import handlers

    found = {'FileHandler': logging.FileHandler}
    for name, value in vars(handlers).items():
        is_class = isinstance(value, type) and issubclass(value, logging.FileHandler)
        if is_class and value is not handlers.BaseRotatingHandler:  # which is abstract
            found[name] = value
    return found


def _reporting(cls: type[logging.FileHandler]) -> Any:
    if issubclass(cls, ReportsFaults):
        return cls
    return type(cls.__name__, (ReportsFaults, cls), {})
