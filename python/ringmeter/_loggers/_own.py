"""The log of a loop: a logger that only its loop has, so that no configuration of ``logging`` reaches it."""

from __future__ import annotations

import logging
from pathlib import Path

from .._choices import note_choice
from .._rank import current_rank, rank_source
from ._handlers import ConsoleHandler, FileHandler, FileOptions
from ._levels import level_of, lowest_level
from ._library import follow_library, follow_warnings, leave_library
from ._rank_files import file_of_rank, timestamp


class _Logger(logging.Logger):
    """A logger that is not among those of ``logging.getLogger``, whose cache of levels nobody else clears."""

    def isEnabledFor(self, level: int) -> bool:
        return not self.disabled and level >= self.level and level > self.manager.disable


class OwnLog:
    """Console and file of a loop, with the rules of :func:`get_logger` for ranks.

    Args:
        name: In the lines.
        log_level: Of the console and the file. The library's warnings are there too; with ``'DEBUG'`` or
            below, all of its messages.
        all_ranks: Whether every rank has a file at any level.

    Raises:
        ArgumentError: No such level, or the launcher's rank is not a number.
        ArgumentTypeError: ``log_level`` is neither an int nor a str.
    """

    def __init__(self, name: str, log_level: int | str, all_ranks: bool) -> None:
        self._level = level_of(log_level)
        self._rank, world_size = current_rank()
        self._has_each_a_file = (all_ranks or self._level <= logging.DEBUG) and world_size > 1
        self.logger = _Logger(name)
        self.console = ConsoleHandler()
        self.console.owner = self.logger
        self.logger.addHandler(self.console)
        self._file: FileHandler | None = None
        self.set_main(self._rank == 0)
        note_choice('rank', rank_source())
        self._show_choices(self.console)
        if self._level > logging.DEBUG:
            follow_warnings(self.logger)

    def set_main(self, is_main: bool) -> None:
        """Be the process that prints, or one of the others, which print errors."""
        self._rank = 0 if is_main else max(1, self._rank)
        self.console.setLevel(self._level if is_main else max(self._level, logging.ERROR))
        self._update_level()

    def replace_console(self, console: ConsoleHandler) -> None:
        """Write to the console through another handler."""
        console.owner = self.logger
        console.setLevel(self.console.level)
        self.logger.removeHandler(self.console)
        self.logger.addHandler(console)
        self.console = console

    def open(self, work_dir: Path) -> None:
        """Write to a file in that folder, in place of an earlier one, if this rank has one.

        Raises:
            OSError: It cannot be written. Nothing was changed.
        """
        if self._rank > 0 and not self._has_each_a_file:
            return
        path = file_of_rank(work_dir / f'{timestamp(self._has_each_a_file)}.log', self._rank)
        handler = FileOptions('a').open(path)
        handler.owner = self.logger
        handler.setLevel(self._level)
        self._close_file()
        self._file = handler
        self.logger.addHandler(handler)
        self._update_level()
        self._show_choices(handler)
        note_choice(f'log file of {self.logger.name!r}', str(path))

    def close(self) -> None:
        """Close what it writes to."""
        leave_library(self.logger)
        self._close_file()
        self.console.close()

    def _show_choices(self, handler: logging.Handler) -> None:
        if self._level <= logging.DEBUG:
            follow_library(self.logger, [handler])

    def _close_file(self) -> None:
        if self._file is not None:
            self.logger.removeHandler(self._file)
            self._file.close()

    def _update_level(self) -> None:
        self.logger.setLevel(lowest_level([self.console, *([self._file] if self._file else [])]))
