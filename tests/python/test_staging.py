"""Values on devices without our driver: copied aside there and fetched together; and how others are located."""

from __future__ import annotations

import gc
import math
import sys
import threading
import types
import weakref

import numpy as np
import pytest

import ringmeter as rm
from ringmeter import _scalars, _staging, _tensors

torch = pytest.importorskip('torch')


class Elsewhere:
    """A tensor on a device that only torch knows: here, of the CPU."""

    def __init__(self, value, dtype=torch.float32):
        self.tensor = value if isinstance(value, torch.Tensor) else torch.tensor(value, dtype=dtype)

    def numel(self):
        return self.tensor.numel()

    def item(self):
        raise AssertionError('nothing waits for a value that can be staged')


@pytest.fixture
def elsewhere(monkeypatch):
    monkeypatch.setattr(_staging, '_stages', {})
    monkeypatch.setattr(_staging, '_held', [])

    def locate(value):
        return _staging.stage(torch, value.tensor.detach()) if isinstance(value, Elsewhere) else value

    monkeypatch.setattr(_scalars, 'locate', locate)
    return Elsewhere


@pytest.fixture
def hub():
    return rm.MessageHub('staging')


@pytest.fixture
def held(monkeypatch):
    held = []
    monkeypatch.setattr(_staging, '_held', held)
    return held


def values(hub, key):
    return hub.get_scalar(key).data[0].tolist()


# ---- the stage ----


def test_staged_values_are_there_when_asked_for(elsewhere, hub):
    hub.update_scalar('loss', elsewhere(0.5))
    history = hub.get_scalar('loss')
    assert len(history) == 1
    assert history.landed == 0
    with pytest.raises(rm.PendingError, match="series 'loss': current needs at least one value that has"):
        history.current(landed=True)
    assert history.current() == 0.5
    assert history.landed == 1
    assert history.current(landed=True) == 0.5


@pytest.mark.parametrize(
    ('dtype', 'value', 'expected'),
    [
        (torch.bool, True, np.bool_(True)),
        (torch.int8, -7, np.int64(-7)),
        (torch.int64, 2**53 + 1, np.int64(2**53 + 1)),
        (torch.int64, -(2**63), np.int64(-(2**63))),
        (torch.uint8, 255, np.int64(255)),
        (torch.uint16, 65535, np.int64(65535)),
        (torch.uint64, 2**53 + 1, np.int64(2**53 + 1)),
        (torch.uint64, 2**64 - 1, np.uint64(2**64 - 1)),
        (torch.float16, 1.5, np.float64(1.5)),
        (torch.bfloat16, -math.inf, np.float64(-math.inf)),
        (torch.float32, 0.1, np.float64(np.float32(0.1))),
        (torch.float64, 0.1, np.float64(0.1)),
        (torch.float8_e4m3fn, 448.0, np.float64(448.0)),
        (torch.float8_e5m2, 57344.0, np.float64(57344.0)),
    ],
)
def test_staged_numbers_are_exact(elsewhere, hub, dtype, value, expected):
    hub.update_scalar('a', elsewhere(value, dtype))
    current = hub.get_scalar('a').current()
    assert current == expected
    assert type(current) is type(expected)


def test_staged_and_host_values_keep_their_order(elsewhere, hub):
    for i in range(10):
        hub.update_scalar('a', elsewhere(float(i)) if i % 2 else float(i))
        hub.update_scalar('b', elsewhere(i, torch.int64) if i % 3 else i)
    assert values(hub, 'a') == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]
    assert values(hub, 'b') == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert hub.get_scalar('b').data[0].dtype == np.int64


def test_staged_tensor_may_be_changed_right_after(elsewhere, hub):
    loss = elsewhere(1.0)
    hub.update_scalar('a', loss)
    loss.tensor.fill_(2.0)
    assert values(hub, 'a') == [1.0]


def test_stage_is_fetched_when_it_is_full(elsewhere, hub):
    for i in range(2500):
        hub.update_scalar('a', elsewhere(float(i)))
    assert hub.get_scalar('a').landed == 2048
    assert values(hub, 'a') == [float(i) for i in range(2500)]


def test_more_values_than_a_stage_holds_in_one_call(elsewhere, hub):
    hub.update_scalars({f'{i}': elsewhere(float(i)) for i in range(2100)})
    assert [values(hub, f'{i}') for i in range(2100)] == [[float(i)] for i in range(2100)]


def test_read_between_staging_and_recording_loses_nothing(elsewhere, hub, monkeypatch):
    # Another thread that reads then lands the value before anybody knows where it belongs.
    staged = _staging.stage(torch, torch.tensor(3.0))
    _staging.flush()
    monkeypatch.setattr(_scalars, 'locate', lambda _: staged)
    hub.update_scalar('a', elsewhere(3.0))
    rm.set_wait_timeout(0.05)
    try:
        assert values(hub, 'a') == [3.0]
    finally:
        rm.set_wait_timeout(600)


def test_staging_threads_lose_nothing(elsewhere, hub):
    def record(thread):
        for i in range(400):
            hub.update_scalar(f'{thread}', elsewhere(float(i)))
            if i % 50 == thread:
                assert hub.get_scalar(f'{thread}').current() == float(i)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    rm.set_wait_timeout(5)
    try:
        threads = [threading.Thread(target=record, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for thread in range(4):
            assert values(hub, f'{thread}') == [float(i) for i in range(400)]
    finally:
        rm.set_wait_timeout(600)
        sys.setswitchinterval(before)


def test_stage_made_in_inference_mode_serves_outside_of_it(elsewhere, hub):
    with torch.inference_mode():
        hub.update_scalar('a', elsewhere(1.0))
    hub.update_scalar('a', elsewhere(2.0))
    hub.update_scalar('a', elsewhere(torch.tensor(3.0, requires_grad=True) * 1.0))
    with torch.inference_mode():
        hub.update_scalar('a', elsewhere(4.0))
    assert values(hub, 'a') == [1.0, 2.0, 3.0, 4.0]


def test_device_without_float64_has_float32(elsewhere, hub, monkeypatch, chosen):
    empty = torch.empty

    def without_float64(*size, dtype, **more):
        if dtype == torch.float64:
            raise TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support it"
            )
        return empty(*size, dtype=dtype, **more)

    monkeypatch.setattr(torch, 'empty', without_float64)
    hub.update_scalar('a', elsewhere(0.5))
    hub.update_scalar('a', elsewhere(2**24 + 1, torch.int64))
    assert values(hub, 'a') == [0.5, 2**24 + 1]
    assert chosen() == [
        'Get floats on cpu from a stage of torch.float32 there, fetched together when asked for',
        'Get integers on cpu from a stage of torch.int64 there, fetched together when asked for',
    ]


def test_stage_is_not_made_of_fake_tensors(elsewhere, hub):
    from torch._subclasses.fake_tensor import FakeTensorMode

    real = elsewhere(1.0)
    error = pytest.raises(rm.ScalarError, match="series 'a': .*got a tensor on cpu under a mode")
    with FakeTensorMode(allow_non_fake_inputs=True), error:
        hub.update_scalar('a', real)
    hub.update_scalar('a', real)
    assert values(hub, 'a') == [1.0]


class Broken:
    """In place of a stage's tensor, on a device that has failed."""

    device = torch.device('cpu')

    def __getitem__(self, index):
        raise RuntimeError('HIP error: an illegal memory access')


def break_stage(is_float):
    stage = _staging._stages[torch.device('cpu'), is_float]
    slots_tensor, stage._slots_tensor = stage._slots_tensor, Broken()
    return stage, slots_tensor


def test_failure_while_fetching_is_of_that_device_alone(elsewhere, hub):
    hub.update_scalar('float', elsewhere(1.5))
    hub.update_scalar('int', elsewhere(7, torch.int64))
    hub.update_scalar('more ints', elsewhere(8, torch.int64))
    stage, slots_tensor = break_stage(is_float=True)
    for _ in range(2):
        with pytest.raises(rm.DeviceError, match='staged values cannot land: HIP error: an illegal memory'):
            hub.get_scalar('float').current()
    assert hub.get_scalar('int').current() == 7
    assert hub.get_scalar('more ints').landed == 1
    stage._slots_tensor = slots_tensor
    assert hub.get_scalar('float').current() == 1.5


def test_failure_of_another_device_does_not_end_a_wait(elsewhere, hub, cuda):
    hub.update_scalar('float', elsewhere(1.5))
    break_stage(is_float=True)
    stream = cuda.new_stream(0)
    cuda.set_stream(0, stream)
    cuda.delay(stream, 20_000)
    hub.update_scalar('cuda', cuda.FakeCudaTensor(2.0))
    assert hub.get_scalar('cuda').current() == 2.0


def test_stage_that_is_full_and_fails_is_a_device_error_that_names_the_key(elsewhere, hub):
    for i in range(1024):
        hub.update_scalar('a', elsewhere(float(i)))
    break_stage(is_float=True)
    with pytest.raises(rm.DeviceError, match="series 'b': a value cannot be staged on cpu: HIP error"):
        hub.update_scalar('b', elsewhere(1.0))
    assert list(hub.log_scalars) == ['a']
    assert hub.get_scalar('a').position == 1024


def test_interrupt_while_landing_loses_nothing(elsewhere, hub, monkeypatch):
    hub.update_scalars({'a': elsewhere(1.0), 'b': elsewhere(2.0), 'c': elsewhere(3.0)})
    land = _staging.Staged.land

    def interrupted(staged, number):
        if number == 2.0:
            raise KeyboardInterrupt
        land(staged, number)

    monkeypatch.setattr(_staging.Staged, 'land', interrupted)
    with pytest.raises(KeyboardInterrupt):
        hub.get_scalar('c').current()
    monkeypatch.setattr(_staging.Staged, 'land', land)
    assert [values(hub, key) for key in 'abc'] == [[1.0], [2.0], [3.0]]


def test_interrupt_while_recording_is_nothing_to_wait_for(elsewhere, hub, monkeypatch):
    def interrupted(staged, history, position):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(_staging.Staged, 'assign', interrupted)
        with pytest.raises(KeyboardInterrupt):
            hub.update_scalar('a', elsewhere(1.0))
    hub.update_scalar('a', elsewhere(2.0))
    assert hub.get_scalar('a').current() == 2.0
    assert math.isnan(hub.get_scalar('a').mean())


def test_capture_without_a_driver_is_refused(hub, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_current_stream_capturing', lambda: True)
    tensor = types.SimpleNamespace(device=torch.device('cuda', 0))
    monkeypatch.setattr(_scalars, 'locate', lambda _: _staging.stage(torch, tensor))
    with pytest.raises(rm.DeviceError, match="series 'a': a value on cuda:0 can be captured in a graph only"):
        hub.update_scalar('a', Elsewhere(1.0))
    assert list(hub.log_scalars) == []


def test_all_streams_are_done_before_the_stage_is_fetched(elsewhere, hub, monkeypatch):
    hub.update_scalar('a', elsewhere(1.0))
    events = []
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda device: events.append(str(device)))
    _staging._synchronize(torch, torch.device('cuda', 1))
    _staging._synchronize(torch, torch.device('cpu'))
    assert events == ['cuda:1']
    monkeypatch.setattr(_staging, '_synchronize', lambda _, device: events.append(f'fetch from {device}'))
    assert values(hub, 'a') == [1.0]
    assert events == ['cuda:1', 'fetch from cpu']


def test_staged_histories_are_released_when_their_values_land(elsewhere):
    history = rm.HistoryBuffer()
    tensor = elsewhere(1.0)
    history.update(tensor)
    reference = weakref.ref(history)
    tensor_reference = weakref.ref(tensor)
    del history, tensor
    gc.collect()
    assert reference() is not None  # its value is still to come
    assert tensor_reference() is None
    _staging.flush()
    assert reference() is None


def test_device_info_names_devices_with_a_stage(elsewhere, hub):
    hub.update_scalar('a', elsewhere(1.0))
    assert rm.device_info()['cpu'] == {'path': 'staging', 'why': 'no driver for cpu devices'}


# ---- arrays that never change ----


class JaxArray:
    """As far as ringmeter uses jax.Array."""

    size = 1
    shape = ()

    def __init__(self, value, dtype='float32'):
        self.value, self.dtype = value, np.dtype(dtype)
        self.copies = self.items = 0

    def copy_to_host_async(self):
        self.copies += 1

    def item(self):
        self.items += 1
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


def test_immutable_arrays_start_their_copy_and_are_read_when_asked_for(held, hub):
    array = JaxArray(0.5)
    hub.update_scalar('a', array)
    hub.update_scalar('a', 1.5)
    assert (array.copies, array.items) == (1, 0)
    assert values(hub, 'a') == [0.5, 1.5]
    assert array.items == 1
    assert held == []


@pytest.mark.parametrize(
    ('value', 'dtype', 'expected'),
    [
        (True, 'bool', np.bool_(True)),
        (2**53 + 1, 'int64', np.int64(2**53 + 1)),
        (2**64 - 1, 'uint64', np.uint64(2**64 - 1)),
        (0.5, 'float16', np.float64(0.5)),
    ],
)
def test_immutable_arrays_keep_their_kind(held, hub, value, dtype, expected):
    hub.update_scalar('a', JaxArray(value, dtype))
    assert len(hub.get_scalar('a')) == 1
    current = hub.get_scalar('a').current()
    assert current == expected
    assert type(current) is type(expected)


def test_immutable_array_that_is_complex_is_refused_at_once(held, hub):
    with pytest.raises(rm.ScalarError, match=r"series 'a': .*got 1j of type complex"):
        hub.update_scalar('a', JaxArray(1j, 'complex64'))
    assert held == []
    assert list(hub.log_scalars) == []


def test_immutable_array_that_is_gone_stands_in_nobodys_way(held, hub):
    gone = JaxArray(RuntimeError('Array has been deleted with shape=float32[].'))
    hub.update_scalars({'gone': gone, 'a': JaxArray(1.0)})
    assert hub.get_scalar('a').current() == 1.0
    with pytest.raises(rm.DeviceError, match='staged values cannot land: Array has been deleted'):
        hub.get_scalar('gone').current()
    for i in range(1030):
        hub.update_scalar('b', JaxArray(float(i)))
    assert values(hub, 'b') == [float(i) for i in range(1030)]


def test_so_many_immutable_arrays_are_kept(held, hub):
    for i in range(1025):
        hub.update_scalar('a', JaxArray(float(i)))
    assert len(held) == 1
    assert hub.get_scalar('a').landed == 1024
    assert values(hub, 'a') == [float(i) for i in range(1025)]


# ---- CuPy, and torch without the exchange API ----


@pytest.fixture
def stream(cuda):
    handle = cuda.new_stream(0)
    cuda.set_stream(0, handle)
    return handle


@pytest.fixture
def cupy(cuda, stream, monkeypatch):
    """A module cupy whose arrays are FakeCudaTensors."""
    module = types.ModuleType('cupy')
    entered = []

    class Device:
        def __init__(self, id):
            self.id = id

        def __enter__(self):
            entered.append(self.id)

        def __exit__(self, *error):
            entered.pop()

    def get_current_stream():
        assert entered == [0]
        return types.SimpleNamespace(ptr=cuda.get_stream(0))

    class ndarray:  # noqa: N801
        size = 1
        shape = ()

        def __init__(self, value, dtype, device=0):
            self.dtype, self.device = np.dtype(dtype), Device(device)
            self.tensor = cuda.FakeCudaTensor(value, dtype, device=0)
            self.data = types.SimpleNamespace(ptr=self.tensor.data_ptr())

        def item(self):
            return self.tensor.item()

    ndarray.__module__ = 'cupy'
    module.ndarray = ndarray
    module.cuda = types.SimpleNamespace(get_current_stream=get_current_stream)
    monkeypatch.setitem(sys.modules, 'cupy', module)
    return module


@pytest.mark.parametrize(
    ('value', 'dtype', 'expected'),
    [
        (0.25, 'float64', np.float64(0.25)),
        (1.5, 'float16', np.float64(1.5)),
        (-(2**63), 'int64', np.int64(-(2**63))),
        (2**64 - 1, 'uint64', np.uint64(2**64 - 1)),
        (True, 'bool', np.bool_(True)),
    ],
)
def test_cupy_arrays_are_read_by_the_driver(cuda, stream, cupy, hub, value, dtype, expected):
    hub.update_scalar('warm', cupy.ndarray(1.0, 'float32'))
    cuda.pause(stream)
    hub.update_scalar('a', cupy.ndarray(value, dtype))
    assert hub.get_scalar('a').landed == 0
    cuda.pause(stream, False)
    current = hub.get_scalar('a').current()
    assert current == expected
    assert type(current) is type(expected)
    assert cuda.item_calls() == 0


def test_cupy_array_on_a_device_that_is_not_served_is_read_at_once(cuda, cupy, hub):
    hub.update_scalar('a', cupy.ndarray(2.0, 'float32', device=63))
    assert values(hub, 'a') == [2.0]
    assert cuda.item_calls() == 1
    assert rm.device_info()['cuda:63'] == {'path': 'item', 'why': 'cuDeviceGet: FAKE_CUDA_ERROR_101 (101)'}


def test_cupy_array_that_is_complex_is_refused(cupy, hub):
    with pytest.raises(
        rm.ScalarError, match=r"series 'a': value must be one real number, got an array of com"
    ):
        hub.update_scalar('a', cupy.ndarray(1j, 'complex64'))


class TorchOnCuda(torch.Tensor):
    """A tensor that says it is on cuda, and whose memory the exchange API does not show, as before 2.10."""

    @staticmethod
    def __new__(cls, fake, dtype, device):
        return torch.Tensor._make_wrapper_subclass(cls, (), dtype=dtype, device=device)

    def __init__(self, fake, dtype, device):
        self.fake = fake

    def data_ptr(self):
        return self.fake.data_ptr()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError(f'{func} must not run')


@pytest.fixture
def old_torch(cuda, stream, monkeypatch):
    monkeypatch.setattr(torch._C, '_cuda_getCurrentRawStream', cuda.get_stream, raising=False)

    def make(value, dtype, device=0):
        fake = cuda.FakeCudaTensor(value, dtype, device=device % 2)
        return TorchOnCuda(fake, getattr(torch, dtype), f'cuda:{device}')

    return make


@pytest.mark.parametrize(
    ('dtype', 'value', 'expected'),
    [
        ('bool', True, np.bool_(True)),
        ('int8', -7, np.int64(-7)),
        ('int16', -300, np.int64(-300)),
        ('int32', 2**31 - 1, np.int64(2**31 - 1)),
        ('int64', 2**53 + 1, np.int64(2**53 + 1)),
        ('uint8', 200, np.int64(200)),
        ('uint16', 65535, np.int64(65535)),
        ('uint32', 2**32 - 1, np.int64(2**32 - 1)),
        ('uint64', 2**64 - 1, np.uint64(2**64 - 1)),
        ('float16', -1.5, np.float64(-1.5)),
        ('bfloat16', 2.0, np.float64(2.0)),
        ('float32', 0.1, np.float64(np.float32(0.1))),
        ('float64', 0.1, np.float64(0.1)),
        ('float8_e4m3fn', b'\x3c', np.float64(1.5)),
        ('float8_e4m3fnuz', b'\x40', np.float64(1.0)),
        ('float8_e5m2', b'\x3c', np.float64(1.0)),
        ('float8_e5m2fnuz', b'\x40', np.float64(1.0)),
        ('float8_e8m0fnu', b'\x80', np.float64(2.0)),
    ],
)
def test_torch_without_the_exchange_api_is_read_by_the_driver(
    cuda, stream, old_torch, hub, dtype, value, expected
):
    if not hasattr(torch, dtype):
        pytest.skip(f'this torch has no {dtype}')
    hub.update_scalar('warm', old_torch(1.0, 'float32'))
    cuda.pause(stream)
    tensor = old_torch(value, dtype)
    hub.update_scalar('a', tensor)
    assert hub.get_scalar('a').landed == 0
    cuda.pause(stream, False)
    current = hub.get_scalar('a').current()
    assert current == expected
    assert type(current) is type(expected)


def test_torch_without_the_exchange_api_takes_the_stream_of_its_device(cuda, old_torch, hub):
    other = cuda.new_stream(1)
    cuda.set_stream(1, other)
    hub.update_scalar('warm', old_torch(1.0, 'float32', device=1))
    cuda.pause(other)
    hub.update_scalar('a', old_torch(1.0, 'float32', device=0))
    hub.update_scalar('b', old_torch(2.0, 'float32', device=1))
    assert values(hub, 'a') == [1.0]
    assert hub.get_scalar('b').landed == 0
    cuda.pause(other, False)
    assert values(hub, 'b') == [2.0]


def test_torch_whose_device_the_driver_does_not_serve_is_staged(cuda, old_torch, hub, monkeypatch):
    staged = _staging.Staged(2)
    seen = []
    monkeypatch.setattr(_tensors, 'stage', lambda _, tensor: seen.append(tensor) or staged)
    monkeypatch.setattr(TorchOnCuda, 'detach', lambda self: self)
    tensor = old_torch(1.0, 'float32', device=62)
    hub.update_scalar('a', tensor)
    assert len(seen) == 1
    assert seen[0] is tensor
    staged.land(4.0)
    assert values(hub, 'a') == [4.0]


def test_torch_without_memory_never_reaches_the_driver(cuda, stream, old_torch, hub, monkeypatch):
    hub.update_scalar('warm', old_torch(1.0, 'float32'))
    before = cuda.calls('cuLaunchKernel')
    monkeypatch.setattr(TorchOnCuda, 'data_ptr', lambda _: 0)
    with pytest.raises(rm.ScalarError, match="series 'a': .*reading TorchOnCuda raised .*must not run"):
        hub.update_scalar('a', old_torch(1.0, 'float32'))
    assert cuda.calls('cuLaunchKernel') == before
    assert list(hub.log_scalars) == ['warm']


# ---- torch tensors that are no plain scalars ----


@pytest.mark.parametrize('device', ['cpu', 'cuda'])
def test_fake_tensor_is_refused(hub, device):
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        tensor = torch.empty((), device=device)
    with pytest.raises(rm.ScalarError, match="series 'a': .*got a FakeTensor, which has no value"):
        hub.update_scalar('a', tensor)
    with pytest.raises(rm.ScalarError, match="series 'a': .*got a FakeTensor, which has no value"):
        hub.update_scalars({'a': tensor, 'b': 1.0})
    assert list(hub.log_scalars) == []


@pytest.mark.parametrize(
    ('make', 'match'),
    [
        (lambda: torch.empty((), device='meta'), r'but Tensor.item\(\) raised'),
        (lambda: torch.tensor(1j), 'got 1j of type complex'),
        (lambda: torch.empty((), dtype=torch.complex64, device='meta'), r'but Tensor.item\(\) raised'),
        (lambda: torch.ones(2).to_sparse(), 'got 2 elements'),
        (lambda: torch.zeros(1, dtype=torch.uint8).view(torch.float4_e2m1fn_x2), r'Tensor.item\(\) raised'),
    ],
)
def test_torch_tensor_without_a_real_number_is_refused(hub, make, match):
    with pytest.raises(rm.ScalarError, match=f"series 'a': .*{match}"):
        hub.update_scalar('a', make())
    assert list(hub.log_scalars) == []


@pytest.mark.filterwarnings('ignore:.*quantize.*:DeprecationWarning', 'ignore:.*quantize.*:UserWarning')
def test_torch_tensors_of_odd_layouts_are_read(hub):
    hub.update_scalar('sparse', torch.tensor([3.0]).to_sparse())
    hub.update_scalar('quantised', torch.quantize_per_tensor(torch.tensor(0.5), 0.25, 0, torch.quint8))
    hub.update_scalar('negative view', torch.tensor(1 + 2j).conj().resolve_conj().imag)
    assert values(hub, 'sparse') == [3.0]
    assert values(hub, 'quantised') == [0.5]
    assert values(hub, 'negative view') == [-2.0]


@pytest.mark.parametrize('dtype', ['complex64', 'float4_e2m1fn_x2'])
def test_torch_tensor_elsewhere_without_a_real_number_is_refused(old_torch, hub, dtype, monkeypatch):
    tensor = TorchOnCuda(None, getattr(torch, dtype), 'cuda:0')
    with pytest.raises(rm.ScalarError, match="series 'a': value must be one real number"):
        hub.update_scalar('a', tensor)
    assert list(hub.log_scalars) == []


def test_distributed_tensors_are_read_where_no_other_rank_is_needed(run_with_fake):
    done = run_with_fake("""
import os, tempfile, warnings
warnings.simplefilter('ignore')
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, init_device_mesh
from torch.distributed._functional_collectives import AsyncCollectiveTensor, all_reduce
import ringmeter as rm
from ringmeter import _scalars, _staging, _tensors
with tempfile.TemporaryDirectory() as folder:
    dist.init_process_group('gloo', init_method=f'file://{folder}/init', rank=0, world_size=1)
    mesh = init_device_mesh('cpu', (1,))
    hub = rm.MessageHub('x')
    hub.update_scalar('replicated', DTensor.from_local(torch.tensor(1.5), mesh, [Replicate()]))
    print(hub.get_scalar('replicated').current())
    for name, placement in (('sharded', Shard(0)), ('partial', Partial())):
        try:
            hub.update_scalar(name, DTensor.from_local(torch.tensor([2.5]), mesh, [placement]))
        except rm.ScalarError as error:
            print(error)
    reduced = all_reduce(torch.tensor(3.5), 'sum', mesh)
    print(type(reduced).__name__)
    hub.update_scalar('reduced', reduced)
    print(hub.get_scalar('reduced').current())
    print(type(_tensors._local(DTensor.from_local(torch.tensor(4.5), mesh, [Replicate()]))).__name__)
    print(list(hub.log_scalars))
    dist.destroy_process_group()
""")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith('[Gloo]')]
    assert lines[0] == '1.5'
    assert lines[1].startswith(
        "series 'sharded': value must be one real number, got a DTensor with placements (Shard(dim=0),)"
    )
    assert lines[2].startswith(
        "series 'partial': value must be one real number, got a DTensor with placements (Par"
    )
    assert lines[3:] == ['AsyncCollectiveTensor', '3.5', 'Tensor', "['replicated', 'reduced']"]
