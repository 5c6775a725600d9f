"""Prints the bytes that one of a million entries takes: ``memory_child.py <whose> <series>``."""

from __future__ import annotations

import argparse
import ctypes
import gc
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

ENTRIES = 1_000_000


def main() -> None:
    """Fill the series and look at what the process grew by."""
    parser = argparse.ArgumentParser()
    parser.add_argument('whose', choices=sorted(FILL))
    parser.add_argument('series', type=int)
    arguments = parser.parse_args()
    fill = FILL[arguments.whose]()
    fill(1_000)  # what is made only once
    before = _resident()
    kept = [fill(ENTRIES) for _ in range(arguments.series)]
    print((_resident() - before) / (len(kept) * ENTRIES))


def _resident() -> int:
    """Bytes of this process that are in memory, without what has been freed and is kept for later."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    rollup = Path('/proc/self/smaps_rollup').read_text()
    return 1024 * int(rollup.split('Rss:')[1].split()[0])


def _ringmeter() -> Callable[[int], Any]:
    import ringmeter

    def fill(n: int) -> Any:
        buffer = ringmeter.HistoryBuffer()
        for i in range(n):
            buffer.update(i * 0.5)
        buffer.mean()  # the summaries of larger blocks are made on first use
        return buffer

    return fill


def _mmengine() -> Callable[[int], Any]:
    import numpy as np
    from mmengine.logging import HistoryBuffer

    def fill(n: int) -> Any:  # as a million calls of update() would leave it, in ten minutes
        return HistoryBuffer(np.arange(n) * 0.5, np.ones(n, dtype=np.int64))

    return fill


def _fvcore() -> Callable[[int], Any]:
    from fvcore.common.history_buffer import HistoryBuffer

    def fill(n: int) -> Any:
        buffer = HistoryBuffer()
        for i in range(n):
            buffer.update(i * 0.5)
        return buffer

    return fill


def _deque() -> Callable[[int], Any]:
    def fill(n: int) -> Any:
        return deque((i * 0.5 for i in range(n)), maxlen=n)

    return fill


FILL: dict[str, Callable[[], Callable[[int], Any]]] = {
    'ringmeter': _ringmeter,
    'mmengine': _mmengine,
    'fvcore': _fvcore,
    'deque': _deque,
}

if __name__ == '__main__':
    main()
