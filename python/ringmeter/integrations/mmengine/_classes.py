"""ringmeter's classes in the place of mmengine's."""

from __future__ import annotations

import copy
import logging
from abc import ABCMeta
from typing import Any, ClassVar

import mmengine.logging
import mmengine.runner

import ringmeter
from ringmeter import _core

from ...history_buffer import _OURS as OUR_STATISTICS
from ._checkpoints import DEFAULTS, PATH, reduce_history, state_of

_logger = logging.getLogger('ringmeter')

# mmengine's own.
StockHistoryBuffer: Any = mmengine.logging.HistoryBuffer
StockMessageHub: Any = mmengine.logging.MessageHub
StockLogProcessor: Any = mmengine.runner.LogProcessor


class HistoryBuffer(ringmeter.HistoryBuffer, metaclass=ABCMeta):
    """A :class:`ringmeter.HistoryBuffer` whose pickles load as mmengine's where there is no ringmeter."""

    __module__ = PATH

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._set_default_statistics()

    def _set_default_statistics(self) -> None:
        """Let the dict of statistics have the four of mmengine, whatever became of it."""
        for name in DEFAULTS:
            self._statistics_methods.setdefault(name, getattr(ringmeter.HistoryBuffer, name))

    def __reduce__(self) -> tuple[Any, ...]:
        return reduce_history(self, is_own_class=type(self) is not HistoryBuffer)

    def __setstate__(self, state: dict[str, Any]) -> None:
        methods = state.get('statistics_methods', {})
        callables = {name: method for name, method in methods.items() if callable(method)}
        super().__setstate__(state | {'statistics_methods': callables})
        self._set_default_statistics()


class MessageHub(ringmeter.MessageHub, metaclass=ABCMeta):
    """A :class:`ringmeter.MessageHub` whose states load in mmengine's.

    It knows the instances of mmengine's own class, and that knows its.
    """

    _history_class = HistoryBuffer
    _instance_dict: ClassVar[dict[str, Any]]

    def state_dict(self) -> dict[str, Any]:
        """Return copies of everything that was recorded with ``resumed=True``, as mmengine does."""
        histories = {
            key: self._as_mmengine(buffer)
            for key, buffer in self._log_scalars.items()
            if self._resumed_keys.get(key, False)
        }
        infos = {
            key: _copy_of(key, value)
            for key, value in self._runtime_info.items()
            if self._resumed_keys.get(key, False)
        }
        return {'log_scalars': histories, 'runtime_info': infos, 'resumed_keys': dict(self._resumed_keys)}

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop('_clock', None)  # of this process
        state.pop('_refused', None)
        return state

    @staticmethod
    def _as_mmengine(buffer: Any) -> Any:
        """Return a copy of a history as one of mmengine's own, which both load."""
        if type(buffer) not in (HistoryBuffer, ringmeter.HistoryBuffer, StockHistoryBuffer):
            return copy.deepcopy(buffer)  # the user's own
        history = StockHistoryBuffer()
        history.__setstate__(state_of(buffer))
        return history


def _copy_of(key: str, value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:
        _logger.warning('%r in message_hub cannot be copied: its state refers to the same object', key)
        return value


class LogProcessor(ringmeter.LogProcessor, metaclass=ABCMeta):
    """A :class:`ringmeter.LogProcessor`."""


PAIRS: list[tuple[Any, Any]] = [
    (StockHistoryBuffer, HistoryBuffer),
    (StockMessageHub, MessageHub),
    (StockLogProcessor, LogProcessor),
]
for stock, ours in PAIRS:
    ours.register(stock)  # instances that there are already pass where ours are asked for
_core.add_history_class(HistoryBuffer)
MessageHub._instance_dict = StockMessageHub._instance_dict


def take_statistics() -> None:
    """Let our histories know the statistics that the user has registered with mmengine's."""
    StockHistoryBuffer()  # fills its dict, which it would do from ours later
    for name, method in StockHistoryBuffer._statistics_methods.items():
        if method is not vars(StockHistoryBuffer).get(name):
            HistoryBuffer._statistics_methods[name] = method


def keep_statistics() -> None:
    """Let mmengine's histories know those that the user has registered with ours."""
    for name, method in HistoryBuffer._statistics_methods.items():
        if method is not OUR_STATISTICS.get(name):
            StockHistoryBuffer._statistics_methods.setdefault(name, method)
