"""Lines on a console that shows progress bars."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from tqdm import tqdm

from .._loggers import CONSOLE_DATES, ConsoleHandler, LogFormatter

if TYPE_CHECKING:
    from ..loop_logger import LoopLogger


class AboveBars(ConsoleHandler):
    """Writes to the console, above the bars of tqdm if there are any, and without colours."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(LogFormatter(CONSOLE_DATES))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stdout)
        except Exception:
            self.handleError(record)


def write_above_bars(meter: LoopLogger) -> None:
    """Let the console of a LoopLogger stand bars, unless its lines go to a logger of the user's."""
    log = meter._own_log
    if log is not None and not isinstance(log.console, AboveBars):
        log.replace_console(AboveBars())
