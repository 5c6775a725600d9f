"""What a LogProcessor sees of the loops of a LoopLogger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ._errors import ArgumentTypeError

if TYPE_CHECKING:
    from .history_buffer import HistoryBuffer
    from .message_hub import MessageHub


class Loop:
    """One pass over a loader, as LogProcessor sees it: ``loop.dataloader`` with a length.

    Args:
        mode: ``'train'``, ``'val'`` or ``'test'``.
        size: Number of its iterations; None where that is not known.
    """

    def __init__(self, mode: str, size: int | None) -> None:
        self.mode = mode
        self.size = size

    @classmethod
    def over(cls, mode: str, iterable: Iterable[Any], length: int | None, needs_length: bool) -> Loop:
        """Return the loop over an iterable.

        Raises:
            ArgumentTypeError: It is none, or its length is needed and not known.
        """
        if not hasattr(iterable, '__iter__') and not hasattr(iterable, '__getitem__'):
            raise ArgumentTypeError(f'dataloader must be iterable, got {iterable!r}')
        if length is None:
            try:
                length = len(iterable)  # type: ignore[arg-type]
            except TypeError:
                if needs_length:
                    raise ArgumentTypeError(
                        f'length must be given for a loader without len(), got {type(iterable).__name__}'
                    ) from None
        return cls(mode, length)

    @property
    def dataloader(self) -> Loop:
        return self

    def __len__(self) -> int:
        if self.size is None:
            raise TypeError(f'the number of batches of {self.mode} is not known')
        return self.size


class View:
    """A runner like another, but for attributes of its own."""

    def __init__(self, runner: Any, **own: Any) -> None:
        self._runner = runner
        self.__dict__.update(own)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)


class EpochHub:
    """A hub for the line at the end of an evaluation, that knows only that epoch, whenever it is asked.

    There every scalar that was logged batch by batch shows its mean over the epoch, and one that was not
    logged in it is left out.
    """

    def __init__(
        self, hub: MessageHub, mode: str, starts: Mapping[str, int], ends: Mapping[str, int]
    ) -> None:
        self.runtime_info = dict(hub.runtime_info)
        self.log_scalars = {
            key: EpochBuffer(hub.log_scalars[key], end - starts.get(key, 0), end)
            for key, end in ends.items()
            if key.startswith(f'{mode}/') and end > starts.get(key, 0)
        }


class EpochBuffer:
    """A history as of a position, of which only the newest entries count."""

    def __init__(self, buffer: HistoryBuffer, size: int, position: int) -> None:
        self._buffer = buffer
        self.size = size  # entries that count
        self.position = position

    def current(self) -> Any:
        return self._buffer.mean(self.size, at=self.position)

    def mean(self, _: Any = None) -> Any:
        return self._buffer.mean(self.size, at=self.position)

    def count(self, _: Any = None, at: Any = None) -> Any:  # noqa: ARG002
        return self._buffer.count(self.size, at=self.position)

    def nan_count(self, _: Any = None, at: Any = None) -> int:  # noqa: ARG002
        return self._buffer.nan_count(self.size, at=self.position)

    def statistics(self, method_name: str, **kwargs: Any) -> Any:
        return self._buffer.statistics(method_name, at=self.position, **kwargs)
