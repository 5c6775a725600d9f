"""Checkpoints that load with and without ringmeter, and by ``torch.load(weights_only=True)``.

A history is pickled as an instance of whatever ``mmengine.logging.history_buffer.HistoryBuffer`` is, with the
state that mmengine's own has.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.runner import CheckpointLoader

import ringmeter

from ..._state import saved_data

PATH = 'mmengine.logging.history_buffer'  # the module in which pickle looks for the class
_TORCH = tuple(int(part) for part in torch.__version__.split('.')[:2])
DEFAULTS = ('min', 'max', 'current', 'mean')  # statistics that every history of mmengine's has


def state_of(buffer: Any) -> dict[str, Any]:
    """Return what mmengine keeps of a history, be it ours or its own."""
    if isinstance(buffer, ringmeter.HistoryBuffer):
        values, counts = saved_data(buffer)
        methods = buffer._registered_statistics()
        own = {'_log_history': values, '_count_history': counts, 'max_length': buffer.max_length}
    else:
        own, methods = {}, buffer._statistics_methods
    # Those that every history has stay unnamed: pickle would look them up with getattr().
    methods = {name: method for name, method in methods.items() if name not in DEFAULTS}
    return {**buffer.__dict__, **own, 'statistics_methods': methods}


def reduce_history(buffer: Any) -> tuple[Any, ...]:
    """Tell pickle how to make a history again, of the class that is in mmengine's place then."""
    return sys.modules[PATH].HistoryBuffer, (), state_of(buffer)


class _Reference:
    """Stands for a function that a checkpoint names. It can be kept, not called."""


def _get_statistic(cls: Any, name: str) -> _Reference:
    """What a checkpoint gets for ``getattr``: of mmengine's own, which look up their statistics with it."""
    if cls is not sys.modules[PATH].HistoryBuffer or name not in DEFAULTS:
        raise pickle.UnpicklingError(
            f'getattr() must be of a statistic of HistoryBuffer, got {cls!r}, {name!r}'
        )
    return _Reference()


def _safe_globals() -> list[tuple[Any, str]]:
    """Return what histories and arrays of numbers are made of, by the names that checkpoints have for it."""
    make_array, make_scalar = np.zeros(1).__reduce__()[0], np.float64(0).__reduce__()[0]
    dtypes = {type(np.dtype(code)) for code in np.typecodes['All'] if code != 'O'}
    return [
        (sys.modules[PATH].HistoryBuffer, f'{PATH}.HistoryBuffer'),
        *((_get_statistic, f'{module}.getattr') for module in ('__builtin__', 'builtins')),
        *(
            (_Reference(), f'{method.__module__}.{method.__qualname__}')
            for method in ringmeter.HistoryBuffer()._registered_statistics().values()
        ),
        (np.ndarray, 'numpy.ndarray'),
        (np.dtype, 'numpy.dtype'),
        *((make_array, f'numpy.{core}.multiarray._reconstruct') for core in ('core', '_core')),
        *((make_scalar, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')),
        *((dtype, f'numpy.dtypes.{dtype.__name__}') for dtype in dtypes),
    ]


@contextmanager
def histories_are_safe() -> Iterator[None]:
    """Let ``torch.load(weights_only=True)`` take histories, and arrays of numbers, for as long as this runs.

    Nothing that it lets through can do more than make one. A statistic that a checkpoint names must have been
    registered here.
    """
    if _TORCH < (2, 6):  # where weights_only is not the default, and names cannot be given
        yield
        return
    known = {name for _, name in map(_named, torch.serialization.get_safe_globals())}
    with torch.serialization.safe_globals([pair for pair in _safe_globals() if pair[1] not in known]):
        yield


_load = CheckpointLoader.load_checkpoint.__func__


def load_checkpoint(cls: Any, *args: Any, **kwargs: Any) -> Any:
    """What mmengine does, with histories."""
    with histories_are_safe():
        return _load(cls, *args, **kwargs)


def _named(safe: Any) -> tuple[Any, str]:
    return safe if isinstance(safe, tuple) else (safe, f'{safe.__module__}.{safe.__qualname__}')
