"""The format of log lines: mmengine's MMFormatter."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

CONSOLE_DATES = '%m/%d %H:%M:%S'
FILE_DATES = '%Y/%m/%d %H:%M:%S'

_UNDERLINE, _BLINK = '\033[4m', '\033[5m'
_COLORS = {
    logging.DEBUG: f'{_UNDERLINE}\033[32m',
    logging.INFO: f'{_UNDERLINE}\033[97m',
    logging.WARNING: f'{_BLINK}{_UNDERLINE}\033[33m',
    logging.ERROR: f'{_BLINK}{_UNDERLINE}\033[31m',
    logging.CRITICAL: f'{_BLINK}{_UNDERLINE}\033[31m',
}
_RESET = '\033[0m'


class LogFormatter(logging.Formatter):
    """``<date> - <name> - <LEVEL> - <message>``, from ERROR on with the place in the code.

    mmengine's has but the message of CRITICAL, and of levels that somebody has added.

    Args:
        dates: Format of dates, as of ``time.strftime``.
        is_colored: Whether the level has a colour. Asked for every line.
    """

    def __init__(self, dates: str, is_colored: Callable[[], bool] | None = None) -> None:
        super().__init__(datefmt=dates)
        self._is_colored = is_colored

    def usesTime(self) -> bool:
        return True

    def formatMessage(self, record: logging.LogRecord) -> str:
        level = record.levelname
        if record.levelno in _COLORS and self._is_colored is not None and self._is_colored():
            level = f'{_COLORS[record.levelno]}{level}{_RESET}'
        place = ''
        if record.levelno >= logging.ERROR:
            place = f'{record.pathname} - {record.funcName} - {record.lineno} - '
        return f'{record.asctime} - {record.name} - {level} - {place}{record.message}'


def has_colors(stream: Any) -> bool:
    """Return whether a stream is a terminal that shows colours.

    As termcolor, which mmengine uses: NO_COLOR (https://no-color.org) and FORCE_COLOR have the last word.
    """
    if os.environ.get('NO_COLOR'):
        return False
    if os.environ.get('FORCE_COLOR'):
        return True
    return os.environ.get('TERM') != 'dumb' and hasattr(stream, 'isatty') and bool(stream.isatty())
