"""``get_logger``: the loggers of a job."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .._choices import note_choice
from .._errors import ArgumentError, ArgumentTypeError
from .._rank import current_rank, rank_source
from ._handlers import ConsoleHandler, FileHandler, FileOptions, ReportsFaults
from ._levels import level_of, lowest_level
from ._library import follow_library
from ._rank_files import file_of_rank

_lock = threading.RLock()
_files: weakref.WeakValueDictionary[str, FileHandler] = weakref.WeakValueDictionary()


def get_logger(
    name: str,
    log_file: str | os.PathLike[str] | None = None,
    log_level: int | str = 'INFO',
    file_mode: str = 'w',
    *,
    all_ranks: bool = False,
    file_handler: Mapping[str, Any] | None = None,
) -> logging.Logger:
    """Return ``logging.getLogger(name)``, set up to write to the console and to a file.

    Lines are mmengine's: ``MM/DD HH:MM:SS - name - LEVEL - message`` on the console, where the level has a
    colour if that is a terminal, and ``YYYY/MM/DD HH:MM:SS - ...`` in the file. A warning is shown once, and
    none reaches the root logger. Its children, such as ``name.data``, write through it.

    Rank 0 writes the file; the others print errors only. With ``log_level='DEBUG'`` or ``all_ranks`` each
    rank has a file, ``exp_rank1.log`` and so on beside ``exp.log``. The rank is that of torch.distributed if
    it is initialised by now, else that of the launcher (torchrun, SLURM, MPI). With ``'DEBUG'``, what
    ringmeter chooses on its own is there too, in the logger that asked last.

    Called again, it adds a file that is not written yet; all else stays as it was.

    Args:
        name: Of the logger.
        log_file: What rank 0 writes. Missing folders are made.
        log_level: Of the console and the file: a name or number of the logging module.
        file_mode: ``'w'``, ``'a'`` or ``'x'``, as of ``open``.
        all_ranks: Whether every rank has a file at any level.
        file_handler: Another kind of file, as mmengine's ``file_handler_cfg``: ``dict(type=...)`` with a
            class of ``logging.handlers``, such as ``'RotatingFileHandler'``, and its arguments.

    Raises:
        ArgumentError: No such level, mode or handler, or the launcher's variable is not a number. Nothing
            was changed.
        ArgumentTypeError: An argument is of the wrong type. Nothing was changed.
        OSError: The file cannot be written. Nothing was changed.

    Examples:
        >>> logger = get_logger('quiet', log_level='ERROR')
        >>> get_logger('quiet') is logger
        True
    """
    if not isinstance(name, str) or not name:
        raise ArgumentTypeError(f'name must be a str that is not empty, got {name!r}')
    if log_file is not None and (not isinstance(log_file, str | os.PathLike) or not Path(log_file).name):
        raise ArgumentTypeError(f'log_file must be the path of a file or None, got {log_file!r}')
    level = level_of(log_level)
    options = FileOptions(file_mode, file_handler)
    if log_file is None and file_handler is not None:
        raise ArgumentError('file_handler needs log_file, got none')
    rank = current_rank().number
    logger = logging.getLogger(name)
    with _lock:
        before = _handlers_of(logger)
        has_console = any(isinstance(handler, ConsoleHandler) for handler in before)
        if log_file is not None and (rank == 0 or all_ranks or level <= logging.DEBUG):
            _add_file(logger, file_of_rank(log_file, rank), level, options)
        if not has_console:
            _add_console(logger, max(level, logging.ERROR) if rank else level)
        new = [handler for handler in logger.handlers if handler not in before]
        if new:
            ours = [handler for handler in _handlers_of(logger) if isinstance(handler, ReportsFaults)]
            lowest = lowest_level(ours)
            logger.setLevel(min(lowest, logger.getEffectiveLevel()) if has_console else lowest)
    note_choice('rank', rank_source())
    if level <= logging.DEBUG:
        follow_library(logger, new)
    return logger


def _add_file(logger: logging.Logger, path: Path, level: int, options: FileOptions) -> None:
    """Add it, unless it is there. Loggers that write the same file share its handler."""
    key = os.path.realpath(path)
    handler = _files.get(key)
    if handler in _handlers_of(logger):
        return
    if handler is None or handler.stream is None:
        handler = _files[key] = options.open(path)
        handler.owner = logger
        handler.setLevel(level)
        note_choice(f'log file of {logger.name!r}', f'{type(handler).__name__}: {path}')
    elif level < handler.level:
        handler.setLevel(level)
    logger.addHandler(handler)


def _add_console(logger: logging.Logger, level: int) -> None:
    console = ConsoleHandler()
    console.owner = logger
    console.setLevel(level)
    logger.addHandler(console)
    logger.propagate = False


def _handlers_of(logger: logging.Logger) -> list[logging.Handler]:
    """Return what records of a logger reach."""
    handlers: list[logging.Handler] = []
    each: logging.Logger | None = logger
    while each is not None:
        handlers += each.handlers
        each = each.parent if each.propagate else None
    return handlers
