"""Scalars on CUDA devices, through the real entry points, on a driver without a GPU."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest

import ringmeter as rm


@pytest.fixture
def hub():
    return rm.MessageHub('cuda')


@pytest.fixture
def stream(cuda):
    """A stream of device 0 that is the current one."""
    handle = cuda.new_stream(0)
    cuda.set_stream(0, handle)
    return handle


def values(hub, key):
    return hub.get_scalar(key).data[0].tolist()


# ---- what a user gets ----


def test_value_is_recorded_without_waiting_and_arrives_by_itself(cuda, stream, hub):
    loss = cuda.FakeCudaTensor(0.25, 'float64')
    cuda.pause(stream)
    hub.update_scalar('loss', loss)
    history = hub.get_scalar('loss')
    assert len(history) == 1
    assert history.landed == 0
    cuda.pause(stream, False)
    cuda.sync(stream)
    assert history.landed == 1
    assert history.current() == 0.25
    assert cuda.item_calls() == 0


def test_value_is_as_it_was_at_that_point_of_the_stream(cuda, stream, hub):
    loss = cuda.FakeCudaTensor(1.0)
    cuda.pause(stream)
    for i in range(5):
        loss.write(float(i))
        hub.update_scalar('loss', loss)
        loss.write(-1.0)
    cuda.pause(stream, False)
    assert values(hub, 'loss') == [0.0, 1.0, 2.0, 3.0, 4.0]


def test_read_waits_for_what_was_recorded_before_it(cuda, stream, hub):
    cuda.delay(stream, 20_000)
    hub.update_scalar('loss', cuda.FakeCudaTensor(3.0))
    assert hub.get_scalar('loss').current() == 3.0


def test_read_does_not_wait_for_what_it_does_not_need(cuda, stream, hub):
    hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
    hub.update_scalar('b', 2.0)
    cuda.sync(stream)
    cuda.pause(stream)
    hub.update_scalar('a', cuda.FakeCudaTensor(5.0))
    assert hub.get_scalar('b').current() == 2.0
    assert hub.get_scalar('a').mean(at=1) == 1.0
    assert hub.get_scalar('a').current(landed=True) == 1.0


@pytest.mark.parametrize('method', ['current', 'mean', 'max', 'min', 'sum', 'count', 'std', 'median', 'ema'])
def test_landed_answers_from_what_is_there(cuda, stream, hub, method):
    for value in (1.0, 4.0):
        hub.update_scalar('a', cuda.FakeCudaTensor(value))
    cuda.sync(stream)
    before = getattr(hub.get_scalar('a'), method)()
    cuda.pause(stream)
    hub.update_scalar('a', cuda.FakeCudaTensor(100.0))
    assert getattr(hub.get_scalar('a'), method)(landed=True) == before
    assert hub.get_scalar('a').statistics(method, landed=True) == before
    cuda.pause(stream, False)
    cuda.sync(stream)
    assert hub.get_scalar('a').max(landed=True) == 100.0
    assert hub.get_scalar('a').quantile(1.0, landed=True) == 100.0


def test_landed_with_nothing_there_says_so(cuda, stream, hub):
    cuda.pause(stream)
    hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
    with pytest.raises(
        rm.PendingError, match=r"series 'a': current needs at least one value that has landed"
    ):
        hub.get_scalar('a').current(landed=True)
    assert math.isnan(hub.get_scalar('a').mean(landed=True))
    with pytest.raises(rm.ArgumentError, match='landed must be False where at is given'):
        hub.get_scalar('a').mean(at=0, landed=True)


def test_order_of_a_key_is_that_of_the_calls(cuda, hub):
    streams = [cuda.new_stream(0), cuda.new_stream(0), cuda.new_stream(1)]
    for handle, delay in zip(streams, (30, 300, 100), strict=True):
        cuda.delay(handle, delay)
    for i in range(150):
        device = i % 3 // 2
        cuda.set_stream(device, streams[i % 3])
        hub.update_scalar('a', cuda.FakeCudaTensor(float(i), device=device))
        if i % 10 == 0:
            hub.update_scalar('a', i + 0.5)  # from the host, in between
    expected = sorted([float(i) for i in range(150)] + [i + 0.5 for i in range(0, 150, 10)])
    assert values(hub, 'a') == expected


def test_update_scalars_is_one_launch(cuda, stream, hub):
    losses = {f'loss{i}': cuda.FakeCudaTensor(float(i)) for i in range(32)}
    hub.update_scalars({'warm': cuda.FakeCudaTensor(0.0)})
    before = cuda.calls('cuLaunchKernel')
    hub.update_scalars({**losses, 'lr': 0.1, 'acc': {'value': cuda.FakeCudaTensor(3.0), 'count': 4}})
    assert cuda.calls('cuLaunchKernel') == before + 2  # 33 values
    assert [hub.get_scalar(f'loss{i}').current() for i in range(32)] == [float(i) for i in range(32)]
    assert hub.get_scalar('lr').current() == 0.1
    assert hub.get_scalar('acc').mean() == 0.75


def test_update_scalars_of_two_devices_is_two_launches(cuda, hub):
    hub.update_scalars({'a': cuda.FakeCudaTensor(0.0), 'b': cuda.FakeCudaTensor(0.0, device=1)})
    before = cuda.calls('cuLaunchKernel')
    tensors = {
        f'{device}/{i}': cuda.FakeCudaTensor(float(i), device=device) for i in range(3) for device in (0, 1)
    }
    hub.update_scalars(tensors)
    assert cuda.calls('cuLaunchKernel') == before + 2
    assert [hub.get_scalar(f'{device}/{i}').current() for i in range(3) for device in (0, 1)] == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]


@pytest.mark.parametrize(
    ('dtype', 'value', 'expected'),
    [
        ('int64', -(2**63), np.int64(-(2**63))),
        ('uint64', 2**64 - 1, np.uint64(2**64 - 1)),
        ('int64', 2**53 + 1, np.int64(2**53 + 1)),
        ('int8', -7, np.int64(-7)),
        ('bool', True, np.bool_(True)),
        ('float32', 0.1, np.float64(np.float32(0.1))),
        ('float16', 1.5, np.float64(1.5)),
        ('bfloat16', math.inf, np.float64(math.inf)),
        ('float8_e4m3fn', b'\x3c', np.float64(1.5)),
    ],
)
def test_dtypes_are_exact(cuda, stream, hub, dtype, value, expected):
    hub.update_scalar('a', cuda.FakeCudaTensor(value, dtype))
    current = hub.get_scalar('a').current()
    assert current == expected
    assert type(current) is type(expected)


def test_history_takes_device_values_itself(cuda, stream):
    history = rm.HistoryBuffer()
    history.update(cuda.FakeCudaTensor(2.0), 4)
    history.update(cuda.FakeCudaTensor(6.0), cuda.FakeCudaTensor(4, 'int64'))
    assert history.mean() == 1.0


def test_threads_record_on_their_own_streams(cuda, hub):
    def record(thread):
        handle = cuda.new_stream(0)
        cuda.set_stream(0, handle)
        for i in range(200):
            tensor.write(float(i)) if thread < 0 else None
            hub.update_scalar(f'{thread}', cuda.FakeCudaTensor(float(i)))
            hub.update_scalar('all', cuda.FakeCudaTensor(1.0))

    tensor = cuda.FakeCudaTensor(0.0)
    threads = [threading.Thread(target=record, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for thread in range(4):
        assert values(hub, f'{thread}') == [float(i) for i in range(200)]
    assert hub.get_scalar('all').sum() == 800.0


def test_checkpoints_wait_for_values(cuda, stream, hub):
    cuda.delay(stream, 5000)
    hub.update_scalar('a', cuda.FakeCudaTensor(2.0))
    other = rm.MessageHub('other')
    other.load_state_dict(hub.state_dict())
    assert other.get_scalar('a').current() == 2.0


def test_nothing_that_could_wait_is_called_in_steady_state(cuda, stream, hub):
    losses = {f'loss{i}': cuda.FakeCudaTensor(float(i)) for i in range(8)}
    hub.update_scalars(losses)
    hub.get_scalar('loss0').current()
    cuda.reset()
    for _ in range(2000):
        hub.update_scalars(losses)
        hub.update_scalar('loss0', losses['loss0'])
        hub.get_scalar('loss0').mean(10, landed=True)
    waiting = ('cuMemHostAlloc', 'cuMemAlloc_v2', 'cuModuleLoadData', 'cuModuleGetFunction', 'cuStreamCreate',
               'cuStreamQuery', 'cuMemsetD8Async', 'cuInit', 'cuDevicePrimaryCtxRetain')  # fmt: skip
    assert {name: cuda.calls(name) for name in waiting} == dict.fromkeys(waiting, 0)
    assert cuda.calls('cuLaunchKernel') == 4000
    assert cuda.item_calls() == 0


# ---- what cannot be recorded ----


@pytest.mark.parametrize(
    ('arguments', 'match'),
    [
        ({'shape': (2,)}, r'got 2 elements \(shape \(2,\)\)'),
        ({'shape': (0,)}, r'got 0 elements'),
        ({'dtype': 'complex64'}, 'of type complex'),
        ({'dtype': 'float4_e2m1fn_x2', 'value': b'\x11'}, 'raised NotImplementedError'),
    ],
)
def test_what_is_no_real_scalar_is_refused_and_changes_nothing(cuda, stream, hub, arguments, match):
    tensor = cuda.FakeCudaTensor(**{'value': 1.0, **arguments})
    hub.update_scalar('good', cuda.FakeCudaTensor(1.0))
    before = cuda.calls('cuLaunchKernel')
    with pytest.raises(rm.ScalarError, match=f"series 'bad': .*{match}"):
        hub.update_scalar('bad', tensor)
    with pytest.raises(rm.ScalarError, match=match):
        hub.update_scalars({'good': cuda.FakeCudaTensor(2.0), 'bad': tensor})
    assert list(hub.log_scalars) == ['good']
    assert values(hub, 'good') == [1.0]
    assert cuda.calls('cuLaunchKernel') == before


def test_tensor_without_memory_never_reaches_a_kernel(cuda, stream, hub):
    hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
    before = cuda.calls('cuLaunchKernel')
    with pytest.raises(rm.ScalarError, match='the tensor has no storage'):  # says .item()
        hub.update_scalar('a', cuda.FakeCudaTensor(2.0, null_data=True))
    assert cuda.calls('cuLaunchKernel') == before
    assert values(hub, 'a') == [1.0]


@pytest.mark.parametrize('device_type', ['rocm', 'oneapi', 'metal', 'ext'])
def test_other_devices_never_reach_the_driver(cuda, stream, hub, device_type):
    hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
    before = cuda.calls('cuLaunchKernel')
    hub.update_scalar('a', cuda.FakeCudaTensor(2.0, device_type=device_type))
    assert cuda.calls('cuLaunchKernel') == before
    assert values(hub, 'a') == [1.0, 2.0]


# ---- what fails ----


def test_failed_launch_records_nothing_and_the_next_works(cuda, stream, hub):
    hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
    cuda.fail('cuLaunchKernel', 1, 719)
    with pytest.raises(
        rm.DeviceError, match=r"series 'b': a value cannot be read from its device: cuLaunchKernel"
    ):
        hub.update_scalars({'b': cuda.FakeCudaTensor(1.0), 'c': 1.0})
    assert list(hub.log_scalars) == ['a']
    hub.update_scalars({'b': cuda.FakeCudaTensor(1.0), 'c': 1.0})
    assert values(hub, 'b') == [1.0]


def test_second_device_that_fails_leaves_no_trace_of_the_first(cuda, hub):
    hub.update_scalars({'a': cuda.FakeCudaTensor(1.0), 'b': cuda.FakeCudaTensor(1.0, device=1)})
    cuda.fail('cuLaunchKernel', 2, 719)
    with pytest.raises(rm.DeviceError, match='cuLaunchKernel'):
        hub.update_scalars({'a': cuda.FakeCudaTensor(2.0), 'b': cuda.FakeCudaTensor(2.0, device=1)})
    hub.update_scalars({'a': cuda.FakeCudaTensor(3.0), 'b': cuda.FakeCudaTensor(3.0, device=1)})
    assert values(hub, 'a') == [1.0, 3.0]
    assert values(hub, 'b') == [1.0, 3.0]


def test_wait_that_takes_too_long_is_an_error_and_loses_nothing(cuda, stream, hub):
    cuda.pause(stream)
    hub.update_scalar('train/loss', cuda.FakeCudaTensor(7.0))
    rm.set_wait_timeout(0.05)
    try:
        with pytest.raises(rm.PendingError, match=r"series 'train/loss': a value must land within 0.05 s"):
            hub.get_scalar('train/loss').current()
    finally:
        rm.set_wait_timeout(600)
    cuda.pause(stream, False)
    assert hub.get_scalar('train/loss').current() == 7.0


def test_device_that_dies_is_one_clear_error_and_what_had_landed_stays(run_with_fake):
    done = run_with_fake("""
import fake_cuda_tensor as cuda, ringmeter as rm
hub = rm.MessageHub('x')
stream = cuda.new_stream(0)
cuda.set_stream(0, stream)
hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
hub.get_scalar('a').current()
cuda.pause(stream)
hub.update_scalar('a', cuda.FakeCudaTensor(2.0))
cuda.fail('cuStreamQuery', 1, 719, True)
for _ in range(2):
    try:
        hub.get_scalar('a').current()
    except rm.DeviceError as error:
        print(error)
print(hub.get_scalar('a').current(landed=True), hub.get_scalar('a').mean(at=1))
try:
    hub.update_scalar('a', cuda.FakeCudaTensor(3.0))
except rm.DeviceError as error:
    print(error)
hub.update_scalar('b', 4.0)
print(hub.get_scalar('b').current())
print(sorted(hub.state_dict()['log_scalars']))
""")
    assert 'of 2 values, the 1 before it are saved' in done.stderr
    assert done.stdout.splitlines() == [
        "series 'a': a value cannot land: the device has failed: FAKE_CUDA_ERROR_719 (719)",
        "series 'a': a value cannot land: the device has failed: FAKE_CUDA_ERROR_719 (719)",
        '1.0 1.0',
        "series 'a': a value cannot be read from its device: the device has failed: FAKE_CUDA_ERROR_719 (719)",
        '4.0',
        "['a', 'b']",
    ]
    assert done.returncode == 0


@pytest.mark.parametrize('seconds', [-1, math.nan, 1e10])
def test_time_out_that_is_none_is_refused(seconds):
    with pytest.raises(rm.ArgumentError, match='seconds must be from 0 to 1e9, got'):
        rm.set_wait_timeout(seconds)
    assert rm._core.get_wait_timeout() == 600.0


def test_many_numbers_beside_one_value_on_a_device_are_recorded(cuda, stream, hub):
    hub.update_scalars({'a': cuda.FakeCudaTensor(2.0), **{str(i): 1.0 for i in range(65536)}})
    assert hub.get_scalar('a').current() == 2.0
    assert hub.get_scalar('65535').current() == 1.0


def test_stopwatch_takes_only_histories_of_ours():
    with pytest.raises(TypeError, match='history must be a HistoryBuffer, got 1'):
        rm._core.Stopwatch(1)
    with pytest.raises(TypeError, match='expected a Stopwatch, got 1'):
        rm.MessageHub('x')._update_scalars_and_lap({}, 1)
