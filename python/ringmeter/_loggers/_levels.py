"""Levels of the logging module."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from .._errors import ArgumentError, ArgumentTypeError

_NAMES = ('DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL')


def level_of(log_level: int | str) -> int:
    """Return the number of a level.

    Raises:
        ArgumentError: It is not one of logging's, nor one that ``logging.addLevelName`` has added.
        ArgumentTypeError: It is neither an int nor a str.
    """
    if isinstance(log_level, bool) or not isinstance(log_level, int | str):
        raise ArgumentTypeError(f'log_level must be an int or a str, got {log_level!r}')
    level = log_level if isinstance(log_level, int) else logging.getLevelName(log_level)
    if isinstance(log_level, str) and not isinstance(level, int):
        level = logging.getLevelName(log_level.upper())
    if not isinstance(level, int) or level < 0:
        known = ', '.join(map(repr, _NAMES))
        raise ArgumentError(f'log_level must be one of {known} or an int of at least 0, got {log_level!r}')
    return level


def lowest_level(handlers: Sequence[logging.Handler]) -> int:
    """Return the level of a logger with these handlers. (0 would be that of its parent.)"""
    return max(1, min((handler.level for handler in handlers), default=logging.ERROR))
