"""The learning rates of optimizers, as scalars of a hub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ._errors import ArgumentTypeError
from .history_buffer import HistoryBuffer

if TYPE_CHECKING:
    from .message_hub import MessageHub


class LearningRates:
    """The learning rates of one or several optimizers, under the keys that they are recorded by."""

    def __init__(self, optimizer: Any) -> None:
        named = (
            optimizer if isinstance(optimizer, Mapping) else {'': optimizer} if optimizer is not None else {}
        )
        for name, each in named.items():
            if not hasattr(each, 'param_groups'):
                where = f'optimizer[{name!r}]' if name else 'optimizer'
                raise ArgumentTypeError(f'{where} must have param_groups, got {type(each).__name__}')
        self._optimizers = [(f'{name}.' if name else '', each) for name, each in named.items()]

    def record(self, hub: MessageHub) -> None:
        """Record them, but for groups that have none, or None: their optimizer finds its own."""
        for key, rate in self._by_key():
            hub.update_scalar(key, rate)

    def take_back(self, hub: MessageHub) -> None:
        """Undo the newest :meth:`record`."""
        for key, _ in self._by_key():
            history = hub.log_scalars.get(key)
            if isinstance(history, HistoryBuffer) and history.position > 0:
                hub.log_scalars[key] = history.as_of(history.position - 1)

    def _by_key(self) -> Iterator[tuple[str, Any]]:
        for prefix, optimizer in self._optimizers:
            for index, group in enumerate(optimizer.param_groups):
                rate = group.get('lr')
                if rate is None:
                    continue
                if index == 0:
                    yield f'train/{prefix}lr', rate
                else:
                    yield f'train/{prefix}{group.get("name", f"group{index}")}.lr', rate
