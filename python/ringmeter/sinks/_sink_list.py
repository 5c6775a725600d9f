"""The sinks of a run, which must not stop it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from .._choices import note_choice
from .._errors import ArgumentTypeError
from .._rank import current_rank, initialised_distributed
from ._sink import Sink

_REST = 10  # a sink that failed is left alone for so many times as long as that took


class SinkList(list[Sink]):
    """Sinks that get the same records, in the process of rank 0 only.

    One that raises is reported once, and loses that record; training goes on. The method that raised is tried
    again, but not at once: a server that is down may take minutes to say so, and takes a tenth of the time at
    most.
    """

    def __init__(self, logger: logging.Logger) -> None:
        super().__init__()
        self._logger = logger
        self.is_at_exit = False  # of the process
        self._failed: list[Sink] = []
        self._rests_until: dict[tuple[int, str], float] = {}  # of each, by id, the methods that failed

    def open(self, sinks: Iterable[Any]) -> None:
        """Take sinks and let them open what they write to. If one cannot, those before it are closed.

        Raises:
            ArgumentTypeError: They are not an iterable of sinks.
            Exception: What the sink raised.
        """
        sinks = _checked(sinks)
        if sinks and current_rank().number != 0:
            return
        for sink in sinks:
            try:
                _call(sink, 'open')
            except BaseException:
                for opened in self:
                    with suppress(Exception):
                        _call(opened, 'close')
                self.clear()
                raise
            self.append(sink)
            note_choice(f'sink `{type(sink).__name__}`', str(sink))

    def add_scalars(self, scalars: dict[str, Any], step: int) -> None:
        distributed = initialised_distributed()  # since they were opened, perhaps
        if distributed is None or distributed.get_rank() == 0:
            self._each('add_scalars', scalars, step)

    def flush(self) -> None:
        """Let them write what they still hold."""
        self._each('flush')

    def close(self) -> None:
        """Close them, and hand them nothing more."""
        if self.is_at_exit:
            self._each('leave_run')
        self._each('close')
        self.clear()

    def _each(self, method: str, *arguments: Any) -> None:
        for sink in self:
            call = id(sink), method
            start = time.monotonic()
            if start < self._rests_until.get(call, start):
                continue
            try:
                _call(sink, method, *arguments)
            except Exception as error:
                now = time.monotonic()
                self._rests_until[call] = now + _REST * (now - start)
                if not any(sink is failed for failed in self._failed):
                    self._failed.append(sink)
                    self._logger.warning('%s failed, its records are lost: %r', sink, error)


def _checked(sinks: Any) -> list[Any]:
    if isinstance(sinks, str) or not isinstance(sinks, Iterable):
        raise ArgumentTypeError(f'sinks must be a sequence of sinks, got {sinks!r}')
    checked = list(sinks)
    for number, sink in enumerate(checked):
        if isinstance(sink, type) or not callable(getattr(sink, 'add_scalars', None)):
            raise ArgumentTypeError(f'sinks[{number}] must have add_scalars(scalars, step), got {sink!r}')
    return checked


def _call(sink: Any, method: str, *arguments: Any) -> None:
    action = getattr(sink, method, None)
    if action is not None:
        action(*arguments)
