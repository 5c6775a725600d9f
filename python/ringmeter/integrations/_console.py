"""Lines on a console that shows progress bars."""

from __future__ import annotations

import logging
import sys

from tqdm import tqdm


class AboveBars(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to the console, above the bars of tqdm if there are any."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stdout)
        except Exception:
            self.handleError(record)


def write_above_bars(logger: logging.Logger) -> None:
    """Let the console of a logger that LoopLogger has made stand bars."""
    console = logger.handlers[0]
    if not isinstance(console, AboveBars):
        handler = AboveBars()
        handler.setFormatter(console.formatter)
        logger.handlers[0] = handler
