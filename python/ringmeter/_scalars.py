"""What may be recorded as a scalar: the cases that the C++ core leaves to Python.

The core reads Python numbers, np.float64, and one-element tensors on the CPU and on CUDA devices itself.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ._errors import DeviceError, ScalarError
from ._staging import Staged
from ._tensors import DeviceTensor, locate


def _where(key: str | None) -> str:
    return '' if key is None else f'series {key!r}: '


def _error(key: str | None, problem: str) -> ScalarError:
    return ScalarError(f'{_where(key)}value must be one real number, {problem}')


def _number_of_elements(value: Any) -> int | None:
    numel = getattr(value, 'numel', None)
    if callable(numel):
        return int(numel())
    size = getattr(value, 'size', None)
    return size if isinstance(size, int) else None


def as_scalar(value: Any, key: str | None) -> float | int | bool | DeviceTensor | Staged:
    """Return the one real number that ``value`` holds, or where it will come from.

    Raises:
        ScalarError: As :func:`as_number`.
        DeviceError: ``value`` is on a device that has failed, or cannot be used in this process.
    """
    try:
        if _number_of_elements(value) == 1:
            value = locate(value)
    except TypeError as error:
        raise _error(key, str(error)) from None
    except DeviceError as error:
        raise DeviceError(f'{_where(key)}{error}') from error
    except Exception as error:
        raise _error(key, f'but reading {type(value).__name__} raised {error!r}') from error
    return value if isinstance(value, DeviceTensor | Staged) else as_number(value, key)


def as_number(value: Any, key: str | None) -> float | int | bool:
    """Return the one real number that ``value`` holds.

    Args:
        value: A numpy scalar or array of one element, a tensor of one element on any device, or anything
            else with ``.item()`` or ``__dlpack__``.
        key: The series that it is meant for, to be named in errors.

    Raises:
        ScalarError: ``value`` is not a number, is complex, has more or fewer than one element, or its
            ``.item()`` raised.
    """
    if not hasattr(value, 'item'):
        if not hasattr(value, '__dlpack__'):
            raise _error(key, f'got {value!r} of type {type(value).__name__}')
        try:
            value = np.from_dlpack(value)
        except Exception as error:
            raise _error(key, f'but reading {type(value).__name__} raised {error!r}') from error
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in 'mM':
        raise _error(key, f'got {value!r} of dtype {value.dtype}')  # .item() may be an int
    ma = sys.modules.get('numpy.ma')  # imported by whoever made such an array; a slow import for others
    if ma is not None and isinstance(value, ma.MaskedArray) and ma.getmaskarray(value).any():
        raise _error(key, 'got a masked one')
    try:
        elements = _number_of_elements(value)
        number = value.item() if elements in (1, None) else None
    except Exception as error:
        raise _error(key, f'but {type(value).__name__}.item() raised {error!r}') from error
    if elements not in (1, None):
        shape = tuple(getattr(value, 'shape', ()))
        raise _error(key, f'got {elements} elements (shape {shape})')
    if isinstance(number, np.generic) and number.dtype.kind in 'biuf':  # np.longdouble.item() stays itself
        return float(number) if number.dtype.kind == 'f' else number.item()
    if isinstance(number, float | int):
        return number
    raise _error(key, f'got {number!r} of type {type(number).__name__}')
