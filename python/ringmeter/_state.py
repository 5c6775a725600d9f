"""Checkpoints without pickled classes: histories and infos as containers, numbers, strings and tensors.

``torch.load`` with its default ``weights_only=True`` takes these as they are. Arrays become torch tensors
when torch is loaded (compact in ``torch.save``) and bytes otherwise.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ._errors import ArgumentError, DeviceError
from .history_buffer import HistoryBuffer, check_max_length

_logger = logging.getLogger('ringmeter')
_ARRAY = '__ringmeter_array__'


class NotPlainError(TypeError):
    """A value has no plain form."""


def _pack(array: NDArray[Any]) -> Any:
    torch = sys.modules.get('torch')
    # Tensors of unsigned integers of more than a byte cannot be pickled.
    is_common = array.dtype.kind != 'u' or array.dtype.itemsize == 1
    return torch.from_numpy(array) if torch is not None and is_common else array.tobytes()


def _plain_array(array: NDArray[Any]) -> NDArray[Any]:
    """Return a copy in native byte order, of a type that torch knows too."""
    dtype = np.dtype(np.float64) if array.dtype.itemsize > 8 else array.dtype.newbyteorder('=')
    return np.array(array, dtype=np.dtype(dtype.name)).ravel()


def _unpack(packed: Any, dtype: str) -> NDArray[Any]:
    if isinstance(packed, bytes):
        return np.frombuffer(packed, dtype=dtype)
    array: NDArray[Any] = packed.numpy()
    if array.dtype != np.dtype(dtype):
        raise ValueError(f'an array of {array.dtype} that should be of {dtype}')
    return array


def saved_data(buffer: HistoryBuffer) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the values and counts of a history: what had landed, if a device has failed meanwhile."""
    try:
        return buffer.data
    except DeviceError as error:
        landed = buffer.landed
        _logger.warning('%s; of %d values, the %d before it are saved', error, buffer.position, landed)
        return buffer.as_of(landed).data


def pack_history(buffer: HistoryBuffer) -> dict[str, Any]:
    """Return a history as plain data. Counts that are all 1 take no space."""
    values, counts = saved_data(buffer)
    return {
        'log_history': _pack(values),
        'dtype': values.dtype.name,
        'count_history': None if (counts == 1).all() else _pack(counts),
        'count_dtype': counts.dtype.name,
        'max_length': buffer.max_length,
    }


def unpack_history(buffer: HistoryBuffer, key: str, state: dict[str, Any]) -> None:
    """Fill a history with what :func:`pack_history` packed."""
    try:
        values = _unpack(state['log_history'], state['dtype'])
        packed = state['count_history']
        counts = (
            np.ones(len(values), dtype=state['count_dtype'])
            if packed is None
            else _unpack(packed, state['count_dtype'])
        )
        if len(values) != len(counts):
            raise ValueError(f'{len(values)} values and {len(counts)} counts')
        buffer._fill(values, counts, check_max_length(state['max_length']), key)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise ArgumentError(f'series {key!r}: not a history as state_dict() gives it: {error!r}') from error


def to_plain(value: Any) -> Any:
    """Return ``value`` with every array, numpy number and container subclass replaced by plain data.

    Raises:
        NotPlainError: It holds something else.
    """
    if value is None or isinstance(value, bool | bytes):
        return value
    for base in (int, float, str):
        if isinstance(value, base):
            return base(value)
    if isinstance(value, np.generic) and value.dtype.kind in 'biuf':
        return float(value) if value.dtype.kind == 'f' else value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biuf':
        flat = _plain_array(value)
        return {_ARRAY: _pack(flat), 'dtype': flat.dtype.name, 'shape': list(value.shape)}
    if isinstance(value, dict):
        if _ARRAY in value:
            raise NotPlainError(f'a dict with the key {_ARRAY!r} would be taken for an array')
        return {to_plain(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        items = [to_plain(item) for item in value]
        return items if isinstance(value, list) else tuple(items)
    torch = sys.modules.get('torch')
    if torch is not None and isinstance(value, torch.Tensor):
        return value.detach().clone()
    raise NotPlainError(f'{type(value).__name__} has no plain form')


def from_plain(value: Any) -> Any:
    """Undo :func:`to_plain`. Other values come back as they are.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: An array in it is damaged.
    """
    if type(value) is dict:
        if _ARRAY in value:
            return _unpack(value[_ARRAY], value['dtype']).reshape(value['shape']).copy()
        return {key: from_plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(from_plain(item) for item in value)
    return value
