"""Stopping a run at the first NaN."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ._errors import ArgumentError, NanError
from ._landing import HubAt, LandingQueue, settled_positions

if TYPE_CHECKING:
    from .message_hub import MessageHub


class NanWatch:
    """Looks at what each iteration recorded, once it has landed."""

    def __init__(self, hub: MessageHub) -> None:
        self._hub = hub
        self._queue = LandingQueue()
        self._seen: dict[str, tuple[Any, int]] = {}  # history and where it had been looked at
        self.forget()

    def forget(self) -> None:
        """What has been recorded until now does not count."""
        self._queue.clear()
        positions = settled_positions(self._hub)
        self._seen = {key: (self._hub.log_scalars[key], position) for key, position in positions.items()}

    def note(self, mode: str, iteration: int) -> None:
        """An iteration ended.

        Raises:
            NanError: One that ended earlier, or this, recorded a NaN.
        """
        look = partial(self._look, HubAt(self._hub), f'{mode}/', iteration)
        self._queue.add(f'the look for NaNs in {mode} iteration {iteration}', look)
        self._queue.run_landed()

    def flush(self) -> None:
        """Look at every iteration that has ended."""
        self._queue.flush()

    def _look(self, hub: HubAt, prefix: str, iteration: int) -> None:
        hub.settle()
        for key, end in hub.positions.items():
            buffer = hub.log_scalars[key]
            if not key.startswith(prefix) or not hasattr(buffer, 'nan_count'):
                continue
            known, begin = self._seen.get(key, (buffer, 0))
            begin = begin if known is buffer else 0  # one that was replaced begins anew
            self._seen[key] = buffer, end
            try:
                nans = buffer.nan_count(end - begin, at=end) if end > begin else 0
            except ArgumentError:  # a short history has no longer all of it
                continue
            if nans:
                self._queue.clear()  # of a run that stops
                raise NanError(f'series {key!r}: a NaN was recorded in iteration {iteration}')
