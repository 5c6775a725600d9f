"""Tensors that the core cannot read by itself: where their element is, without waiting for it.

For CUDA devices that the driver serves, its address: tensors of torch before 2.10, of CuPy, and the local
part of distributed ones. For any other device, a copy that is staged there.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

from . import _core
from ._errors import DeviceError
from ._staging import hold, stage

# DLPack's type code and bits of a dtype, by its name in torch and numpy.
_DLPACK_TYPES = {
    'bool': (6, 8),
    **{f'int{bits}': (0, bits) for bits in (8, 16, 32, 64)},
    **{f'uint{bits}': (1, bits) for bits in (8, 16, 32, 64)},
    **{f'float{bits}': (2, bits) for bits in (16, 32, 64)},
    'bfloat16': (4, 16),
    'float8_e4m3fn': (10, 8),
    'float8_e4m3fnuz': (11, 8),
    'float8_e5m2': (12, 8),
    'float8_e5m2fnuz': (13, 8),
    'float8_e8m0fnu': (14, 8),
}


class DeviceTensor(NamedTuple):
    """One element on a CUDA device: the core knows the layout of this tuple."""

    address: int
    type_code: int
    bits: int
    ordinal: int
    stream: int


def locate(value: Any) -> Any:
    """Return where the element of ``value`` is to be had from, or ``value`` itself if it can be read at once.

    Raises:
        TypeError: It has no one real element that could be read without the other ranks, or at all.
        DeviceError: Its device cannot be used in this process.
    """
    torch = sys.modules.get('torch')
    if torch is not None and isinstance(value, torch.Tensor):
        return _locate_torch(torch, _local(value))
    if hasattr(value, 'copy_to_host_async'):  # jax.Array: never changes, and starts to copy itself
        if value.dtype.name not in _DLPACK_TYPES:
            return value
        value.copy_to_host_async()
        return hold(value)
    if type(value).__module__.partition('.')[0] == 'cupy':
        return _locate_cupy(value)
    return value


def _local(tensor: Any) -> Any:
    """Return the tensor that this process has of a distributed one."""
    if hasattr(tensor, 'to_local'):  # DTensor
        if not all(placement.is_replicate() for placement in tensor.placements):
            raise TypeError(
                f'got a DTensor with placements {tensor.placements}: it must be replicated (full_tensor() '
                'makes it so, with a collective that every rank must join)'
            )
        tensor = tensor.to_local()
    # AsyncCollectiveTensor: waits for the collective on the stream, not on the host.
    return tensor.wait() if hasattr(tensor, 'trigger_wait') else tensor


def _locate_torch(torch: Any, tensor: Any) -> Any:
    device = tensor.device
    fake = sys.modules.get('torch._subclasses.fake_tensor')
    if fake is not None and isinstance(tensor, fake.FakeTensor):
        raise TypeError('got a FakeTensor, which has no value')
    if device.type in ('cpu', 'meta') or tensor.layout != torch.strided or tensor.is_complex():
        return tensor
    dlpack_type = _DLPACK_TYPES.get(str(tensor.dtype).removeprefix('torch.'))
    if dlpack_type is None:
        raise TypeError(f'got a tensor of {tensor.dtype}')
    if device.type == 'cuda' and torch.version.hip is None and tensor.data_ptr() and can_use(device.index):
        stream = torch._C._cuda_getCurrentRawStream(device.index)
        return DeviceTensor(tensor.data_ptr(), *dlpack_type, device.index, stream)
    return stage(torch, tensor.detach())


def _locate_cupy(array: Any) -> Any:
    dlpack_type = _DLPACK_TYPES.get(array.dtype.name)
    if dlpack_type is None:
        raise TypeError(f'got an array of {array.dtype}')
    ordinal = array.device.id
    if not can_use(ordinal):
        return array
    cupy = sys.modules['cupy']
    with array.device:
        stream = cupy.cuda.get_current_stream().ptr
    return DeviceTensor(array.data.ptr, *dlpack_type, ordinal, stream)


def can_use(ordinal: int) -> bool:
    """Return whether the driver serves a CUDA device.

    Raises:
        DeviceError: It did, in the process that this one was forked from.
    """
    problem = _core.device_problem(ordinal)
    if problem.startswith('CUDA was in use before'):
        raise DeviceError(f'cuda:{ordinal} cannot be used: {problem}')
    return not problem
