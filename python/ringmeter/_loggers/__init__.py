"""Loggers: what lines look like, where they go, and which rank writes them."""

from ._format import CONSOLE_DATES, LogFormatter
from ._get_logger import get_logger
from ._handlers import ConsoleHandler
from ._own import OwnLog

__all__ = ['CONSOLE_DATES', 'ConsoleHandler', 'LogFormatter', 'OwnLog', 'get_logger']
