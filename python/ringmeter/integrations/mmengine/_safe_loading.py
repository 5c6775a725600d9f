"""Loading checkpoints under ``torch.load(weights_only=True)``, which refuses whatever is not named to it.

What histories, arrays of numbers or text and the dicts of configs are pickled with is named here, and stands
for something that can make only that: real dtypes and arrays could be put together so that they read any
memory.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.config import ConfigDict
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import CheckpointLoader

from ringmeter._choices import note_choice

from ._checkpoints import DEFAULTS, PATH
from ._classes import HistoryBuffer, StockHistoryBuffer

_TORCH = tuple(int(part) for part in torch.__version__.split('.')[:2])
_ANNEALINGS = ('_annealing_cos', '_annealing_linear')
_lock = threading.RLock()  # the names are the same for all threads


class _Name:
    """Stands for a class or function that a checkpoint names. It can be kept, not called."""


class _DType:
    """Stands for ``numpy.dtype``, of plain numbers or text."""

    def __init__(self, code: str, align: bool = False, copy: bool = True) -> None:
        self.value = np.dtype(code) if isinstance(code, str) else np.dtype(object)
        if self.value.kind not in 'biufcSU' or self.value.shape:
            raise pickle.UnpicklingError(f'an array must be of numbers or text, got one of {code!r}')

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order, *details = state[1:5]
        if order not in ('<', '>', '|', '=') or details != [None, None, None]:
            raise pickle.UnpicklingError(f'an array must be of plain numbers or text, got one of {state!r}')
        self.value = self.value.newbyteorder(order)


class _Array:
    """Stands for an array, until the checkpoint is there."""

    value: np.ndarray[Any, Any]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, is_fortran, data = state
        if not isinstance(dtype, _DType) or not isinstance(data, bytes):
            raise pickle.UnpicklingError('an array must be of numbers or text, got one of something else')
        flat = np.frombuffer(data, dtype.value)
        self.value = flat.reshape(shape, order='F' if is_fortran else 'C').copy(order='K')


class _History:
    """Stands for a history, until the checkpoint is there."""

    def __init__(self) -> None:
        self.value = HistoryBuffer()

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Statistics are those of this process, and what else a history may have stays behind.
        names = ('_log_history', '_count_history', 'max_length')
        self.value = HistoryBuffer()
        self.value.__setstate__({name: _plain(state[name]) for name in names})


_ndarray, _one_cycle = _Name(), _Name()
_references: dict[str, _Name] = {}  # by the names of statistics


def _make_array(cls: Any, shape: Any, code: Any) -> _Array:  # noqa: ARG001
    return _Array()


def _make_scalar(dtype: Any, data: bytes) -> Any:
    if not isinstance(dtype, _DType):
        raise pickle.UnpicklingError('a scalar must be a number, got something else')
    return np.frombuffer(data, dtype.value)[0]


def _make_config(values: Any) -> ConfigDict:
    if type(values) is not dict:
        raise pickle.UnpicklingError(f'a ConfigDict must be made of a dict, got {values!r}')
    return ConfigDict(values)


def _get_attribute(owner: Any, name: str) -> Any:
    """What a checkpoint gets for ``getattr``: the few attributes that one of mmengine looks up with it."""
    if owner is _History and name in DEFAULTS:
        return _references.setdefault(name, _Name())
    if owner is _one_cycle and name in _ANNEALINGS:
        return getattr(OneCycleParamScheduler, name)
    raise pickle.UnpicklingError(
        f'getattr() must be of a statistic of HistoryBuffer, got {name!r} of {owner!r}'
    )


def _safe_globals() -> list[tuple[Any, str]]:
    """Return what stands for what, by the names that checkpoints have for it."""
    methods = {**StockHistoryBuffer._statistics_methods, **HistoryBuffer._statistics_methods}
    return [
        (_History, f'{PATH}.HistoryBuffer'),
        (_make_config, f'{ConfigDict.__module__}.{ConfigDict.__qualname__}'),
        (frozenset, 'builtins.frozenset'),
        (frozenset, '__builtin__.frozenset'),
        (_one_cycle, f'{OneCycleParamScheduler.__module__}.{OneCycleParamScheduler.__qualname__}'),
        *((_get_attribute, f'{module}.getattr') for module in ('__builtin__', 'builtins')),
        *(
            (_references.setdefault(name, _Name()), f'{method.__module__}.{method.__qualname__}')
            for name, method in methods.items()
            if hasattr(method, '__module__') and hasattr(method, '__qualname__')
        ),
    ]


def _safe_numpy() -> list[tuple[Any, str]]:
    return [
        (_ndarray, 'numpy.ndarray'),
        (_DType, 'numpy.dtype'),
        (_Array, 'ringmeter._Array'),  # must be among them to get a state
        *((_make_array, f'numpy.{core}.multiarray._reconstruct') for core in ('core', '_core')),
        *((_make_scalar, f'numpy.{core}.multiarray.scalar') for core in ('core', '_core')),
    ]


@contextmanager
def histories_are_safe() -> Iterator[None]:
    """Let ``torch.load(weights_only=True)`` take what mmengine's checkpoints have, for as long as this runs.

    What the user has allowed stays allowed; with numpy among it, arrays are real ones from the start.
    """
    if _TORCH < (2, 6):  # where weights_only is not the default, and names cannot be given
        note_choice("mmengine's checkpoints", f'torch.load as it is: torch is {torch.__version__}')
        yield
        return
    note_choice("mmengine's checkpoints", 'torch.load, with safe globals for histories')
    with _lock:
        before = torch.serialization.get_safe_globals()
        names = {_name_of(safe) for safe in before}
        ours = _safe_globals()
        if not any(name.endswith('.multiarray._reconstruct') for name in names):
            ours += _safe_numpy()
        mine = {name for _, name in ours}
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(
            [*ours, *(safe for safe in before if _name_of(safe) not in mine)]
        )
        try:
            yield
        finally:
            torch.serialization.clear_safe_globals()
            torch.serialization.add_safe_globals(before)


def _name_of(safe: Any) -> str:
    name: str = safe[1] if isinstance(safe, tuple) else f'{safe.__module__}.{safe.__qualname__}'
    return name


def _plain(value: Any) -> Any:
    """Put real objects in the place of what stands for them; containers stay the same."""
    if isinstance(value, _Array | _History):
        return value.value
    if type(value) is tuple:
        return tuple(map(_plain, value))
    if type(value) is list:
        value[:] = map(_plain, value)
    elif isinstance(value, dict):
        for key in value:
            value[key] = _plain(value[key])
    return value


_load = CheckpointLoader.load_checkpoint.__func__


def load_checkpoint(cls: Any, *args: Any, **kwargs: Any) -> Any:
    """What mmengine does, with histories."""
    with histories_are_safe():
        return _plain(_load(cls, *args, **kwargs))
