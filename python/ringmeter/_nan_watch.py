"""Stopping a run at the first NaN."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from ._errors import NanError
from ._landing import LandingQueue

if TYPE_CHECKING:
    from .message_hub import MessageHub


class NanWatch:
    """Looks at what each iteration recorded, once it has landed."""

    def __init__(self, hub: MessageHub) -> None:
        self._hub = hub
        self._queue = LandingQueue()
        self.forget()

    def forget(self) -> None:
        """What has been recorded until now does not count."""
        self._seen = {key: buffer.position for key, buffer in self._hub.log_scalars.items()}

    def note(self, mode: str, iteration: int) -> None:
        """An iteration ended.

        Raises:
            NanError: One that ended earlier, or this, recorded a NaN.
        """
        ranges = {}
        for key, buffer in self._hub.log_scalars.items():
            begin, end = self._seen.get(key, 0), buffer.position
            if key.startswith(f'{mode}/') and end > begin:
                ranges[key] = begin, end
                self._seen[key] = end
        self._queue.add(
            f'the look for NaNs in {mode} iteration {iteration}', partial(self._look, ranges, iteration)
        )
        self._queue.run_landed()

    def flush(self) -> None:
        """Look at everything recorded until now."""
        self._queue.flush()

    def _look(self, ranges: dict[str, tuple[int, int]], iteration: int) -> None:
        for key, (begin, end) in ranges.items():
            if self._hub.log_scalars[key].nan_count(end - begin, at=end):
                raise NanError(f'series {key!r}: a NaN was recorded in iteration {iteration}')
