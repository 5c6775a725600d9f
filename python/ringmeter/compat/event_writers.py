"""detectron2's writers of lines and of ``metrics.json``."""

from __future__ import annotations

import datetime
import logging
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

from .._outputs import RecordsFile, info_as_of
from ._progress import max_memory
from .event_storage import EventStorage, get_event_storage

_logger = logging.getLogger('ringmeter')


class EventWriter:
    """Base of what obtains scalars from the running :class:`EventStorage` and does something with them."""

    def write(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


class JSONWriter(EventWriter):
    """Appends scalars to a file, one JSON object for each iteration that has new ones.

    With their medians over ``window_size`` iterations, where they are put with ``smoothing_hint``. Objects
    come in the order of :meth:`write`, once their values have landed, all of them by :meth:`close`.

    Args:
        json_file: The file, such as ``metrics.json``.
        window_size: See above.

    Raises:
        OSError: It cannot be written. Later that is reported once, and the records are lost.
    """

    def __init__(self, json_file: str | Path, window_size: int = 20) -> None:
        self._file = RecordsFile(Path(json_file), _logger)
        self._file.path.open('a').close()
        self._window_size = window_size
        self._last_write = -1
        self._storage: EventStorage | None = None

    def write(self) -> None:
        """Append what is new in the running storage, as of now."""
        self._storage = _next_storage(self._storage)
        self._storage.when_landed(self._append, f'a record of {self._file.path}')

    def _append(self, storage: EventStorage) -> None:
        records: dict[int, dict[str, Any]] = defaultdict(dict)
        for name, history in list(storage.histories().items()):
            if history.latest_iteration() > self._last_write:
                value, iteration = storage._latest_or_median(name, self._window_size)
                records[iteration][name] = value
        for iteration, record in records.items():
            self._file.append(dict(sorted({**record, 'iteration': iteration}.items())))
        self._last_write = max(records, default=self._last_write)

    def close(self) -> None:
        """Append the records that still wait."""
        if self._storage is not None:
            self._storage.flush()


class CommonMetricPrinter(EventWriter):
    """Logs a line: time left, iteration, losses, times, learning rate, memory.

    Losses are medians over ``window_size`` iterations. The line is logged once its values have landed, as of
    the call of :meth:`write`, in order, and all of them by :meth:`close`. Times are what was put as ``time``
    and ``data_time``: measured on the host, they are true on average only.

    Args:
        max_iter: Number of iterations of the run: without it, no time left is shown.
        window_size: See above.
        logger: Where lines go; the logger ``detectron2.utils.events`` unless given.
    """

    def __init__(
        self, max_iter: int | None = None, window_size: int = 20, *, logger: logging.Logger | None = None
    ) -> None:
        self.logger = logger or logging.getLogger('detectron2.utils.events')
        self._max_iter = max_iter
        self._window_size = window_size
        self._last_write: tuple[int, float] | None = None  # iteration and time
        self._storage: EventStorage | None = None

    def write(self) -> None:
        """Log a line about the running storage, as of now. Nothing after the last iteration."""
        storage = self._storage = _next_storage(self._storage)
        if storage.iter == self._max_iter:
            return
        log = partial(self._log, eta=self._eta(storage), memory=max_memory(), created=time.time())
        storage.when_landed(log, f'the line of iteration {storage.iter}')

    def close(self) -> None:
        """Log the lines that still wait."""
        if self._storage is not None:
            self._storage.flush()

    def _eta(self, storage: EventStorage) -> str | None:
        if self._max_iter is None:
            return None
        left = self._max_iter - storage.iter - 1
        if 'time' in storage.histories():
            seconds = storage.history('time').median(1000) * left
            storage.put_scalar('eta_seconds', seconds, smoothing_hint=False)
            return _clock(seconds)
        before, now = self._last_write, (storage.iter, time.perf_counter())
        self._last_write = now
        if before is None or before[0] == now[0]:
            return None
        return _clock((now[1] - before[1]) / (now[0] - before[0]) * left)

    def _log(self, storage: EventStorage, *, eta: str | None, memory: float | None, created: float) -> None:
        histories = storage.histories()
        line = ' '
        if eta:
            line += f'eta: {eta}  '
        losses, metrics = self._medians(storage, 'loss'), self._medians(storage, '[metric]')
        line += f'iter: {storage.iter}  {losses}  {metrics}  '
        if 'time' in histories:
            time_history = histories['time']
            line += f'time: {time_history.global_avg():.4f}  last_time: {time_history.latest():.4f}  '
        if 'data_time' in histories:
            data_time = histories['data_time']
            mean = data_time.avg(data_time.count_samples(self._window_size))
            line += f'data_time: {mean:.4f}  last_data_time: {data_time.latest():.4f}  '
        rate = f'{histories["lr"].latest():.5g}' if 'lr' in histories else 'N/A'
        line += f' lr: {rate}  '
        if memory is not None:
            line += f'max_mem: {memory / 2**20:.0f}M'
        info_as_of(self.logger, created, line)

    def _medians(self, storage: EventStorage, part: str) -> str:
        return '  '.join(
            f'{name}: {history.median(history.count_samples(self._window_size)):.4g}'
            for name, history in list(storage.histories().items())
            if part in name
        )


def _next_storage(before: EventStorage | None) -> EventStorage:
    """Return the running storage; what a writer put off for another one is written first."""
    storage = get_event_storage()
    if before is not None and before is not storage:
        before.flush()
    return storage


def _clock(seconds: float) -> str:
    return str(datetime.timedelta(seconds=int(seconds)))
