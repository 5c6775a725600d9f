"""Where lines and records go: the console, a log file, a file of JSON lines."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np


def make_logger(name: str, work_dir: str | Path | None, timestamp: str) -> logging.Logger:
    """Return a logger that writes to the console and, with a ``work_dir``, to ``<timestamp>.log`` in it.

    It is not one of ``logging.getLogger``, so that no other configuration reaches it.
    """
    logger = logging.Logger(name, level=logging.INFO)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if work_dir is not None:
        Path(work_dir).mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(Path(work_dir) / f'{timestamp}.log'))
    for handler in handlers:
        handler.setFormatter(
            logging.Formatter('%(asctime)s - %(name)s - %(levelname)s - %(message)s', '%m/%d %H:%M:%S')
        )
        logger.addHandler(handler)
    return logger


def close_handlers(logger: logging.Logger) -> None:
    """Close what :func:`make_logger` opened."""
    for handler in logger.handlers:
        handler.close()


class ScalarsFile:
    """Appends records to ``vis_data/scalars.json``, one JSON object a line, as mmengine does.

    A write that fails (a full disk, a directory that went away) is reported once and loses that record; it
    does not stop training.
    """

    def __init__(self, work_dir: Path, logger: logging.Logger) -> None:
        self.path = work_dir / 'vis_data' / 'scalars.json'
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._logger = logger
        self._is_reported = False

    def add_scalars(self, scalars: dict[str, Any], step: int) -> None:
        """Append one record, with ``step`` unless it has one."""
        text = json.dumps({**scalars, 'step': scalars.get('step', step)}, default=_to_json)
        try:
            with self.path.open('a') as file:
                file.write(f'{text}\n')
        except OSError as error:
            if not self._is_reported:
                self._logger.warning('%s cannot be written, its records are lost: %s', self.path, error)
            self._is_reported = True


def _to_json(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, 'tolist'):
        return value.tolist()
    return str(value)


class LineWriter:
    """Writes lines to a logger, and records to a file if there is one."""

    def __init__(self, logger: logging.Logger, records: ScalarsFile | None) -> None:
        self._logger = logger
        self._records = records

    def write(
        self, tag: dict[str, Any], line: str, step: int | None = None, created: float | None = None
    ) -> None:
        """Write a line, as of an earlier time if one is given, and its record if it has a step."""
        if created is None:
            self._logger.info(line)
        elif self._logger.isEnabledFor(logging.INFO):
            record = self._logger.makeRecord(self._logger.name, logging.INFO, __file__, 0, line, (), None)
            record.created, record.msecs = created, created % 1 * 1000
            self._logger.handle(record)
        if self._records is not None and step is not None:
            self._records.add_scalars(tag, step)
