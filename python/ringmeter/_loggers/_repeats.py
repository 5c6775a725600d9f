"""Warnings that are shown once."""

from __future__ import annotations

import logging
from collections import OrderedDict

_MOST = 1024


class RepeatedWarnings(logging.Filter):
    """Lets a warning of the same logger and text pass once.

    It remembers 1,024 of them, by a hash. One that was forgotten, since so many others came after it was
    last seen, passes again. mmengine's filter compares texts before ``%`` is applied, and forgets none.

    Args:
        handler: Whose lock it uses: logging renews that in a forked child, since another thread may hold it.
    """

    def __init__(self, handler: logging.Handler) -> None:
        super().__init__()
        self._handler = handler
        self._seen: OrderedDict[int, None] = OrderedDict()  # the one seen last at the end

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        try:
            key = hash((record.name, record.getMessage()))
        except Exception:  # arguments that do not fit: the handler tells where
            return True
        self._handler.acquire()
        try:
            is_new = key not in self._seen
            self._seen[key] = None
            self._seen.move_to_end(key)
            if len(self._seen) > _MOST:
                self._seen.popitem(last=False)
        finally:
            self._handler.release()
        return is_new
