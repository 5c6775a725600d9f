"""Where lines and records go: a logger, a file of JSON lines, and what others gave."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from numbers import Real
from pathlib import Path
from typing import Any

from ._choices import note_choice
from .sinks import JSONLines
from .sinks._sink_list import SinkList


class RecordsFile:
    """Appends records to a file, one JSON object a line.

    A write that fails (a full disk, a directory that went away) is reported once and loses that record; it
    does not stop training.
    """

    def __init__(self, path: Path, logger: logging.Logger) -> None:
        self._file = JSONLines(path)
        self._file.make_folder()
        self.path = path
        self._logger = logger
        self._is_reported = False
        note_choice(f'records in {path.name}', f'{type(self).__name__}: {path}')

    def append(self, record: dict[str, Any]) -> None:
        self._reported(partial(self._file.append, record))

    def _reported(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            if not self._is_reported:
                self._logger.warning('%s cannot be written, its records are lost: %s', self.path, error)
            self._is_reported = True


class ScalarsFile(RecordsFile):
    """The file ``vis_data/scalars.json``, with records as mmengine has them."""

    def __init__(self, work_dir: Path, logger: logging.Logger) -> None:
        super().__init__(work_dir / 'vis_data' / 'scalars.json', logger)

    def add_scalars(self, scalars: dict[str, Any], step: int) -> None:
        """Append one record, with ``step`` unless it has one."""
        self._reported(partial(self._file.add_scalars, scalars, step))


def info_as_of(logger: logging.Logger, created: float, line: str) -> None:
    """Log a line as if it had been logged at an earlier time, in seconds since 1970."""
    if logger.isEnabledFor(logging.INFO):
        record = logger.makeRecord(logger.name, logging.INFO, __file__, 0, line, (), None)
        record.created, record.msecs = created, created % 1 * 1000
        logger.handle(record)


class LineWriter:
    """Writes lines to a logger, and their records to the sinks: a file, and what others gave.

    Those get names with their mode, as ``train/loss``, because most of them show all modes side by side, and
    numbers only; of a job of several processes, only that of rank 0 has them.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self.file: ScalarsFile | None = None
        self.sinks = SinkList(logger)

    def write(
        self,
        tag: dict[str, Any],
        line: str,
        mode: str,
        step: int | None = None,
        created: float | None = None,
    ) -> None:
        """Write a line, as of an earlier time if one is given, and its record if it has a step."""
        if created is None:
            self._logger.info(line)
        else:
            info_as_of(self._logger, created, line)
        if step is None:
            return
        if self.file is not None:
            self.file.add_scalars(tag, step)
        if self.sinks:
            self.sinks.add_scalars(_with_mode(tag, f'{mode}/'), step)


def _with_mode(tag: dict[str, Any], prefix: str) -> dict[str, Any]:
    """Return the numbers of a record, as Python's own, by names that have the mode."""
    return {
        name if name.startswith(prefix) else prefix + name: value.item() if hasattr(value, 'item') else value
        for name, value in tag.items()
        if isinstance(value, Real) and name not in ('epoch', 'iter', 'step')
    }
