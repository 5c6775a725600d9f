"""The fake CUDA driver and its tensors, which other tests rely on. No ringmeter here."""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

Run = Callable[[str], 'subprocess.CompletedProcess[str]']


class Device(ctypes.Structure):
    _fields_ = (('type', ctypes.c_int32), ('id', ctypes.c_int32))


class View(ctypes.Structure):
    """DLTensor."""

    _fields_ = (
        ('data', ctypes.c_void_p),
        ('device', Device),
        ('ndim', ctypes.c_int32),
        ('code', ctypes.c_uint8),
        ('bits', ctypes.c_uint8),
        ('lanes', ctypes.c_uint16),
        ('shape', ctypes.POINTER(ctypes.c_int64)),
        ('strides', ctypes.POINTER(ctypes.c_int64)),
        ('byte_offset', ctypes.c_uint64),
    )


class Api(ctypes.Structure):
    """DLPackExchangeAPI."""

    _fields_ = (
        ('major', ctypes.c_uint32),
        ('minor', ctypes.c_uint32),
        ('prev_api', ctypes.c_void_p),
        ('allocator', ctypes.c_void_p),
        ('managed_from_object', ctypes.c_void_p),
        ('managed_to_object', ctypes.c_void_p),
        ('tensor_from_object', ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(View))),
        (
            'current_stream',
            ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_int32, ctypes.c_int32, ctypes.POINTER(ctypes.c_void_p)),
        ),
    )


def api_of(cuda: ModuleType) -> Api:
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return Api.from_address(get(cuda.FakeCudaTensor.__dlpack_c_exchange_api__, b'dlpack_exchange_api'))


def view_of(cuda: ModuleType, tensor: Any) -> View:
    view = View()
    assert api_of(cuda).tensor_from_object(tensor, ctypes.byref(view)) == 0
    return view


def stream_of(cuda: ModuleType, type: int, device: int) -> int:
    stream = ctypes.c_void_p(1)
    assert api_of(cuda).current_stream(type, device, ctypes.byref(stream)) == 0
    return stream.value or 0


CUDA, MANAGED, ROCM = 2, 13, 10


@pytest.mark.parametrize(
    ('dtype', 'value', 'code', 'bits', 'raw'),
    [
        ('bool', True, 6, 8, b'\1'),
        ('int8', -128, 0, 8, b'\x80'),
        ('int16', -2, 0, 16, b'\xfe\xff'),
        ('int32', 1, 0, 32, b'\1\0\0\0'),
        ('int64', -(2**63), 0, 64, b'\0' * 7 + b'\x80'),
        ('uint8', 255, 1, 8, b'\xff'),
        ('uint16', 258, 1, 16, b'\2\1'),
        ('uint32', 2**32 - 1, 1, 32, b'\xff' * 4),
        ('uint64', 2**64 - 1, 1, 64, b'\xff' * 8),
        ('float16', 1.0, 2, 16, b'\x00\x3c'),
        ('bfloat16', -2.0, 4, 16, b'\x00\xc0'),
        ('float32', 0.5, 2, 32, b'\0\0\0\x3f'),
        ('float64', 1.0, 2, 64, b'\0' * 6 + b'\xf0\x3f'),
        ('complex64', 1 - 2j, 5, 64, struct.pack('<ff', 1.0, -2.0)),
    ],
)
def test_numbers_and_bits(
    cuda: ModuleType, dtype: str, value: complex, code: int, bits: int, raw: bytes
) -> None:
    for tensor in (cuda.FakeCudaTensor(value, dtype), cuda.FakeCudaTensor(raw, dtype)):
        assert tensor.bits() == raw
        item = tensor.item()
        assert type(item) is type(value)
        assert item == value
        view = view_of(cuda, tensor)
        assert (view.code, view.bits, view.lanes) == (code, bits, 1)
        assert ctypes.string_at(view.data, len(raw)) == raw
    assert cuda.item_calls() == 2


def test_bfloat16_is_rounded_to_nearest_even(cuda: ModuleType) -> None:
    def bits(value: float) -> int:
        return int.from_bytes(cuda.FakeCudaTensor(value, 'bfloat16').bits(), 'little')

    assert [bits(1 + n / 256) for n in range(5)] == [0x3F80, 0x3F80, 0x3F81, 0x3F82, 0x3F82]
    assert bits(float('inf')) == 0x7F80
    assert bits(float('nan')) & 0x7FFF > 0x7F80


@pytest.mark.parametrize(
    ('dtype', 'code', 'bits', 'lanes'),
    [
        ('float8_e4m3fn', 10, 8, 1),
        ('float8_e4m3fnuz', 11, 8, 1),
        ('float8_e5m2', 12, 8, 1),
        ('float8_e5m2fnuz', 13, 8, 1),
        ('float8_e8m0fnu', 14, 8, 1),
        ('float4_e2m1fn_x2', 17, 4, 2),
    ],
)
def test_dtypes_of_bits_alone(cuda: ModuleType, dtype: str, code: int, bits: int, lanes: int) -> None:
    tensor = cuda.FakeCudaTensor(b'\x42', dtype)
    view = view_of(cuda, tensor)
    assert (view.code, view.bits, view.lanes) == (code, bits, lanes)
    assert tensor.bits() == b'\x42'
    with pytest.raises(NotImplementedError, match=dtype):
        tensor.item()
    with pytest.raises(TypeError, match='given as bytes'):
        cuda.FakeCudaTensor(1.0, dtype)


def test_shapes(cuda: ModuleType) -> None:
    tensor = cuda.FakeCudaTensor(3, 'int16', device=1, shape=(2, 1, 3))
    view = view_of(cuda, tensor)
    assert (view.device.type, view.device.id, view.ndim, view.byte_offset) == (CUDA, 1, 3, 0)
    assert view.shape[:3] == [2, 1, 3]
    assert view.strides[:3] == [3, 3, 1]
    assert (tensor.dtype, tensor.device, tensor.shape, tensor.ndim) == ('int16', 1, (2, 1, 3), 3)
    assert (tensor.numel(), tensor.is_cuda) == (6, True)
    assert tensor.bits() == b'\3\0' * 6
    assert cuda.FakeCudaTensor(bytes(range(4)), 'uint8', shape=[4]).bits() == b'\0\1\2\3'
    assert cuda.FakeCudaTensor(7.0, shape=(1, 1)).item() == 7.0
    with pytest.raises(RuntimeError, match='one element'):
        tensor.item()
    with pytest.raises(ValueError, match='bytes of one element'):
        cuda.FakeCudaTensor(b'123', 'int16')
    with pytest.raises(ValueError, match='negative'):
        cuda.FakeCudaTensor(1.0, shape=(-1,))
    with pytest.raises(ValueError, match='no such dtype: int7'):
        cuda.FakeCudaTensor(1, 'int7')
    scalar = cuda.FakeCudaTensor(1.0)
    assert (scalar.shape, scalar.ndim, scalar.numel()) == ((), 0, 1)


def test_tensors_without_data(cuda: ModuleType) -> None:
    for tensor in (cuda.FakeCudaTensor(1.0, null_data=True), cuda.FakeCudaTensor(1.0, shape=(0,))):
        assert view_of(cuda, tensor).data is None
        with pytest.raises(RuntimeError):
            tensor.item()


def test_device_types_and_refusals(cuda: ModuleType) -> None:
    managed = cuda.FakeCudaTensor(1.0, device_type='cuda_managed')
    rocm = cuda.FakeCudaTensor(1.0, device_type='rocm')
    assert [view_of(cuda, tensor).device.type for tensor in (managed, rocm)] == [MANAGED, ROCM]
    assert managed.is_cuda
    assert rocm.is_cuda
    assert rocm.device_type == 'rocm'
    view = View()
    with pytest.raises(RuntimeError, match='meta'):
        api_of(cuda).tensor_from_object(cuda.FakeCudaTensor(1.0, device_type='meta'), ctypes.byref(view))
    with pytest.raises(RuntimeError, match='no storage'):
        api_of(cuda).tensor_from_object(cuda.FakeCudaTensor(1.0, error='no storage'), ctypes.byref(view))
    cuda.fail_current_stream('no driver')
    with pytest.raises(RuntimeError, match='no driver'):
        stream_of(cuda, CUDA, 0)
    cuda.fail_current_stream('')
    assert stream_of(cuda, CUDA, 0) == 0


def test_restore(cuda: ModuleType) -> None:
    stream = cuda.new_stream(0)
    cuda.set_stream(0, stream)
    cuda.fail_current_stream('no driver')
    tensor = cuda.FakeCudaTensor(1.0)
    cuda.pause(stream)
    tensor.write(2.0)
    cuda.restore()
    assert tensor.bits() == struct.pack('<f', 2.0)
    assert cuda.get_stream(0) == stream_of(cuda, CUDA, 0) == 0


def test_a_subclass(cuda: ModuleType) -> None:
    class Parameter(cuda.FakeCudaTensor):
        pass

    parameter = Parameter(2.5, 'float64')
    parameter.name = 'w'
    assert parameter.item() == 2.5
    assert view_of(cuda, parameter).bits == 64
    assert '__dlpack_c_exchange_api__' not in vars(Parameter)
    assert Parameter.__dlpack_c_exchange_api__ is cuda.FakeCudaTensor.__dlpack_c_exchange_api__
    assert (api_of(cuda).major, api_of(cuda).minor, api_of(cuda).prev_api) == (1, 3, None)


def test_writes_are_in_the_order_of_their_stream(cuda: ModuleType) -> None:
    tensor = cuda.FakeCudaTensor(1, 'int64')
    stream = cuda.new_stream(0)
    cuda.set_stream(0, stream)
    cuda.pause(stream)
    tensor.write(2)
    tensor.write(3)
    tensor.fill(4)
    assert tensor.bits() == struct.pack('<q', 4)
    with pytest.raises(RuntimeError, match='paused'):  # rather than wait for ever
        tensor.item()
    cuda.set_stream(0, 0)
    assert tensor.item() == 4  # another stream does not wait for that one
    cuda.pause(stream, False)
    cuda.sync(stream)
    assert tensor.bits() == struct.pack('<q', 3)


def test_item_waits_for_its_stream(cuda: ModuleType) -> None:
    for stream in (cuda.default_stream(1), cuda.new_stream(1)):
        cuda.set_stream(1, stream)
        cuda.delay(stream, 20_000)
        tensor = cuda.FakeCudaTensor(1.0, device=1)
        tensor.write(2.0)
        assert tensor.item() == 2.0


def test_memory_outlives_its_tensor(cuda: ModuleType) -> None:
    stream = cuda.default_stream(0)
    cuda.pause(stream)
    tensor = cuda.FakeCudaTensor(1.0)
    data = view_of(cuda, tensor).data
    tensor.write(2.0)
    del tensor
    cuda.pause(stream, paused=False)
    cuda.sync(stream)
    assert ctypes.string_at(data, 4) == struct.pack('<f', 2.0)


def test_each_thread_has_current_streams_of_its_own(cuda: ModuleType) -> None:
    first, second = cuda.new_stream(0), cuda.new_stream(1)
    cuda.set_stream(0, first)
    cuda.set_stream(1, second)
    seen: list[Any] = []

    def other() -> None:
        seen.append((cuda.get_stream(0), cuda.get_stream(1)))
        cuda.set_stream(0, second)
        seen.append(stream_of(cuda, CUDA, 0))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen == [(0, 0), second]
    assert (cuda.get_stream(0), cuda.get_stream(1)) == (first, second)
    assert (stream_of(cuda, CUDA, 0), stream_of(cuda, ROCM, 1)) == (first, second)
    assert stream_of(cuda, MANAGED, 0) == 0  # as torch answers
    with pytest.raises(ValueError, match='not a handle'):
        cuda.set_stream(0, 12345)
    with pytest.raises(ValueError, match='no such device'):
        cuda.default_stream(2)


def test_other_threads_run_during_sync(cuda: ModuleType) -> None:
    stream = cuda.new_stream(0)
    cuda.delay(stream, 20_000)
    cuda.set_stream(0, stream)
    tensor = cuda.FakeCudaTensor(0, 'uint8')
    for value in range(1, 11):
        tensor.write(value)
    thread = threading.Thread(target=cuda.sync, args=(stream,))
    thread.start()
    seen = set()
    while thread.is_alive():
        seen.add(tensor.bits())
        time.sleep(0.001)
    assert len(seen) > 2  # not only what was there before and after
    assert tensor.bits() == b'\n'


def test_the_driver_is_the_one_that_is_named(cuda: ModuleType) -> None:
    driver = ctypes.CDLL(os.environ['RINGMETER_CUDA_DRIVER'])
    assert driver.cuInit(0) == 0
    assert cuda.calls('cuInit') == 1
    cuda.fail('cuInit', 2, 999)
    assert [driver.cuInit(0) for _ in range(3)] == [0, 999, 0]
    cuda.fail('cuInit', 1, 4, for_ever=True)
    assert [driver.cuInit(0) for _ in range(2)] == [4, 4]
    cuda.reset()
    assert cuda.calls('cuInit') == 0
    assert driver.cuInit(0) == 0
    cuda.set_ptx_version(7, 8)
    context, module = ctypes.c_void_p(), ctypes.c_void_p()
    driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)
    driver.cuCtxPushCurrent_v2(context)
    assert driver.cuModuleLoadData(ctypes.byref(module), b'\n.version 8.0\n') == 222
    driver.cuCtxPopCurrent_v2(ctypes.byref(context))


def test_in_a_process_of_its_own(run_with_fake: Run) -> None:
    done = run_with_fake(
        'import os, fake_cuda_tensor as cuda\n'
        'tensor = cuda.FakeCudaTensor(1.5)\n'
        'cuda.pause(cuda.default_stream(0))\n'
        'tensor.write(2.5)\n'  # and ends with work queued
        "print(tensor.shape, os.path.basename(os.environ['RINGMETER_CUDA_DRIVER']))"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, '() libfake_cuda.so\n', '')
