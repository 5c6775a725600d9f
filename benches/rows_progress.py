"""Row: an iteration of a loop with a live display."""

from __future__ import annotations

import io
import logging
import time
from collections.abc import Generator
from itertools import repeat

import rich
from harness import OURS, Contender, Row, Settings, at_most, measure

import ringmeter

TOPIC = 'Progress'


class Terminal(io.StringIO):
    """What a display writes to. Showing it would be another process's work."""

    def isatty(self) -> bool:
        """Return what makes it a terminal."""
        return True


def rows(settings: Settings) -> list[Row]:
    """Measure it, with bars and without."""
    terminal = Terminal()
    rich.reconfigure(file=terminal, force_terminal=True, force_jupyter=False, width=100)
    loops = {OURS: _loop(True), 'without the bars': _loop(False)}

    def check() -> None:
        end = time.monotonic() + 10
        while 'loss: 0.5000' not in terminal.getvalue():
            next(loops[OURS])
            if time.monotonic() > end:
                raise AssertionError(f'there must be a bar with the loss, got {terminal.getvalue()!r}')

    # Rounds of many calls: the bars are drawn ten times a second, and that counts.
    calls = 30_000 if settings.quick else 100_000
    contenders = [
        Contender(name, 'next(loop)', {'loop': loop}, check, is_peer=False, calls=calls)
        for name, loop in loops.items()
    ]
    cells = measure(contenders, settings)
    for loop in loops.values():
        loop.close()  # bars that are there take what is printed
    goal = at_most('at most 10 % more than without', 1 / cells['without the bars'].ratio, 1.1)
    return [Row(TOPIC, 'an iteration of `LoopLogger(progress=True)` that only logs a loss', cells, [goal])]


def _loop(progress: bool) -> Generator[None]:
    """A loop that makes an iteration each time it is asked, and writes no line."""
    logger = logging.Logger('quiet')
    meter = ringmeter.LoopLogger(max_iters=10**9, interval=10**9, logger=logger, progress=progress)
    for _ in meter.train(repeat(None)):
        meter.log(loss=0.5)
        yield
