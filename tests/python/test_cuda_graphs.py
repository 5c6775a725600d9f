"""Scalars in CUDA graphs: captured once, recorded by every replay, on a driver without a GPU."""

from __future__ import annotations

import ctypes
import gc
import itertools
import math
import os
import threading
import weakref

import numpy as np
import pytest

import ringmeter as rm
from ringmeter import _core

SLOTS = 65_536  # of the ring that replays write into
GLOBAL, THREAD_LOCAL, RELAXED = range(3)


@pytest.fixture
def hub():
    return rm.MessageHub('graphs')


def values(hub, key):
    return hub.get_scalar(key).data[0].tolist()


def capture(cuda, stream, record, mode=GLOBAL):
    assert cuda.begin_capture(stream, mode) == 0
    record()
    graph = cuda.end_capture(stream)
    assert graph is not None
    return graph


def replay(cuda, graph, stream, times=1):
    for _ in range(times):
        assert cuda.replay(graph, stream) == 0
    cuda.sync(stream)


# ---- one value a replay ----


def test_captured_scalar_is_recorded_by_each_replay(cuda, stream, hub):
    loss = cuda.FakeCudaTensor(0.0)
    graph = capture(cuda, stream, lambda: hub.update_scalar('loss', loss))
    assert cuda.nodes(graph) == 1
    history = hub.get_scalar('loss')
    assert len(history) == 0
    assert history.position == 0
    for i in range(5):
        loss.write(float(i))
        cuda.replay(graph, stream)
    loss.write(-1.0)
    cuda.sync(stream)
    assert values(hub, 'loss') == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert cuda.item_calls() == 0


def test_captured_dict_is_one_node(cuda, stream, hub):
    losses = {f'loss{i}': cuda.FakeCudaTensor(float(i)) for i in range(31)}
    counted = {'acc': {'value': cuda.FakeCudaTensor(3.0), 'count': 4}}
    graph = capture(cuda, stream, lambda: hub.update_scalars({**losses, **counted}))
    assert cuda.nodes(graph) == 1
    replay(cuda, graph, stream, 3)
    assert [values(hub, f'loss{i}') for i in range(31)] == [[float(i)] * 3 for i in range(31)]
    assert hub.get_scalar('acc').mean() == 0.75
    assert hub.get_scalar('acc').count() == 12


def test_captured_dict_of_more_than_32_is_two_nodes(cuda, stream, hub):
    losses = {f'{i}': cuda.FakeCudaTensor(float(i)) for i in range(33)}
    graph = capture(cuda, stream, lambda: hub.update_scalars(losses))
    assert cuda.nodes(graph) == 2
    replay(cuda, graph, stream, 2)
    assert [values(hub, f'{i}') for i in range(33)] == [[float(i)] * 2 for i in range(33)]


def test_host_values_of_a_captured_dict_are_recorded_at_once(cuda, stream, hub):
    graph = capture(cuda, stream, lambda: hub.update_scalars({'a': cuda.FakeCudaTensor(1.0), 'lr': 0.1}))
    assert hub.get_scalar('lr').current() == 0.1
    replay(cuda, graph, stream, 2)
    assert values(hub, 'a') == [1.0, 1.0]
    assert values(hub, 'lr') == [0.1]


def test_history_captures_device_values_itself(cuda, stream):
    history = rm.HistoryBuffer()
    graph = capture(cuda, stream, lambda: history.update(cuda.FakeCudaTensor(2.0), 4))
    assert len(history) == 0
    replay(cuda, graph, stream, 3)
    assert history.mean() == 0.5
    assert history.count() == 12


@pytest.mark.parametrize(
    ('dtype', 'value', 'expected'),
    [
        ('bool', True, np.bool_(True)),
        ('int8', -7, np.int64(-7)),
        ('int16', -300, np.int64(-300)),
        ('int32', -(2**31), np.int64(-(2**31))),
        ('int64', -(2**63), np.int64(-(2**63))),
        ('int64', 2**53 + 1, np.int64(2**53 + 1)),
        ('uint8', 255, np.int64(255)),
        ('uint16', 65535, np.int64(65535)),
        ('uint32', 2**32 - 1, np.int64(2**32 - 1)),
        ('uint64', 2**64 - 1, np.uint64(2**64 - 1)),
        ('float16', -1.5, np.float64(-1.5)),
        ('bfloat16', math.inf, np.float64(math.inf)),
        ('float32', 0.1, np.float64(np.float32(0.1))),
        ('float64', 0.1, np.float64(0.1)),
        ('float8_e4m3fn', b'\x3c', np.float64(1.5)),
        ('float8_e4m3fnuz', b'\x40', np.float64(1.0)),
        ('float8_e5m2', b'\x3c', np.float64(1.0)),
        ('float8_e5m2fnuz', b'\x40', np.float64(1.0)),
        ('float8_e8m0fnu', b'\x80', np.float64(2.0)),
    ],
)
def test_captured_dtypes_are_exact(cuda, stream, hub, dtype, value, expected):
    graph = capture(cuda, stream, lambda: hub.update_scalar('a', cuda.FakeCudaTensor(value, dtype)))
    replay(cuda, graph, stream)
    current = hub.get_scalar('a').current()
    assert current == expected
    assert type(current) is type(expected)
    ((count, nans, total, least, most, last),) = _core.replay_totals(hub.get_scalar('a'))
    assert (count, nans) == (1, 0)
    assert total == least == most == float(expected)
    assert last == expected
    assert type(last) is type(expected)


def test_same_key_in_two_graphs_and_eagerly(cuda, stream, hub):
    first, second = cuda.FakeCudaTensor(1.0), cuda.FakeCudaTensor(2.0)
    one = capture(cuda, stream, lambda: hub.update_scalar('a', first))
    two = capture(cuda, stream, lambda: hub.update_scalar('a', second, count=2))
    hub.update_scalar('a', 10.0)
    for graph in (one, two, one):
        replay(cuda, graph, stream)
        _core.land_arrived()
    hub.update_scalar('a', cuda.FakeCudaTensor(20.0))
    assert values(hub, 'a') == [10.0, 1.0, 2.0, 1.0, 20.0]
    assert hub.get_scalar('a').count() == 6
    totals = [(each[0], each[2]) for each in _core.replay_totals(hub.get_scalar('a'))]
    assert totals == [(2, 2.0), (1, 2.0)]


def test_same_key_twice_in_one_graph_keeps_the_order(cuda, stream, hub):
    loss = cuda.FakeCudaTensor(0.0)

    def record():
        loss.write(1.0)
        hub.update_scalar('a', loss)
        loss.write(2.0)
        hub.update_scalar('a', loss)

    graph = capture(cuda, stream, record)
    assert cuda.nodes(graph) == 4
    replay(cuda, graph, stream, 3)
    assert values(hub, 'a') == [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]


def test_graphs_of_several_streams_and_devices_run_at_once(cuda, stream, hub):
    streams = [stream, cuda.new_stream(0), cuda.new_stream(1)]
    graphs, tensors = [], []
    for i, handle in enumerate(streams):
        device = i // 2
        cuda.set_stream(device, handle)
        tensors.append(cuda.FakeCudaTensor(0, 'int64', device=device))
        graphs.append(
            capture(cuda, handle, lambda i=i: hub.update_scalars({f'{i}': tensors[i], f'{i}b': tensors[i]}))
        )
    for step in range(300):
        for i, (graph, handle) in enumerate(zip(graphs, streams, strict=True)):
            cuda.set_stream(i // 2, handle)
            tensors[i].write(1000 * i + step)
            cuda.replay(graph, handle)
        if step % 50 == 0:
            _core.land_arrived()
    for handle in streams:
        cuda.sync(handle)
    for i in range(3):
        expected = [1000 * i + step for step in range(300)]
        assert values(hub, f'{i}') == expected
        assert values(hub, f'{i}b') == expected


def test_one_graph_on_several_streams(cuda, stream, hub):
    other = cuda.new_stream(0)
    graph = capture(cuda, stream, lambda: hub.update_scalar('a', cuda.FakeCudaTensor(1.0)))
    for _ in range(200):
        cuda.replay(graph, stream)
        cuda.replay(graph, other)
    cuda.sync(stream)
    cuda.sync(other)
    assert values(hub, 'a') == [1.0] * 400


def test_history_outlives_the_hub_while_a_graph_writes_to_it(cuda, stream):
    hubs = [rm.MessageHub('gone')]
    graph = capture(cuda, stream, lambda: hubs[0].update_scalar('a', cuda.FakeCudaTensor(1.0)))
    reference = weakref.ref(hubs.pop())
    gc.collect()
    assert reference() is None
    replay(cuda, graph, stream, 3)
    assert _core.land_arrived() == 0


def test_captured_keys_keep_what_was_said_of_resumed(cuda, stream, hub):
    capture(cuda, stream, lambda: hub.update_scalar('a', cuda.FakeCudaTensor(1.0), resumed=False))
    with pytest.raises(rm.ArgumentError, match="series 'a': resumed must stay what it was, False, got True"):
        hub.update_scalar('a', 1.0)
    assert hub.state_dict()['log_scalars'] == {}


@pytest.mark.parametrize(
    ('read', 'expected'),
    [
        (len, 3),
        (lambda history: history.position, 3),
        (lambda history: history.landed, 3),
        (lambda history: history.current(), 2.0),
        (lambda history: history.mean(), 2.0),
        (lambda history: history.sum(landed=True), 6.0),
        (lambda history: history.max(2), 2.0),
        (lambda history: history.median(), 2.0),
        (lambda history: history.data[0].tolist(), [2.0] * 3),
    ],
)
def test_every_read_sees_what_replays_have_written(cuda, stream, hub, read, expected):
    graph = capture(cuda, stream, lambda: hub.update_scalar('a', cuda.FakeCudaTensor(2.0)))
    replay(cuda, graph, stream, 3)
    assert read(hub.get_scalar('a')) == expected


def test_log_line_sees_what_replays_have_written(cuda, stream, hub):
    graph = capture(cuda, stream, lambda: hub.update_scalar('train/loss', cuda.FakeCudaTensor(2.0)))
    replay(cuda, graph, stream, 3)
    rules = {'train/loss': ('loss', True)}
    assert _core.collect_scalars(hub.log_scalars, rules, 10, None, None) == {'loss': 2.0}


def test_checkpoint_holds_what_replays_have_written(cuda, stream, hub):
    graph = capture(cuda, stream, lambda: hub.update_scalar('a', cuda.FakeCudaTensor(2.5)))
    other = rm.MessageHub('other')
    other.load_state_dict(hub.state_dict())
    assert len(other.get_scalar('a')) == 0
    replay(cuda, graph, stream, 2)
    _core.land_arrived()
    other.load_state_dict(hub.state_dict())
    assert other.get_scalar('a').data[0].tolist() == [2.5, 2.5]


# ---- more than the ring holds ----


def test_overrun_loses_exactly_what_was_overwritten(cuda, stream, hub):
    extra = 1000
    loss = cuda.FakeCudaTensor(0, 'int64')
    graph = capture(cuda, stream, lambda: hub.update_scalar('a', loss))
    replay(cuda, graph, stream)
    assert values(hub, 'a') == [0]
    cuda.pause(stream)
    for i in range(1, SLOTS + extra + 1):
        loss.write(i)
        cuda.replay(graph, stream)
    cuda.pause(stream, False)
    cuda.sync(stream)
    assert values(hub, 'a') == [0, *range(extra + 1, SLOTS + extra + 1)]
    history = hub.get_scalar('a')
    assert [lost for lossy, lost in _core.lost_replays() if lossy is history] == [extra]
    n = SLOTS + extra
    assert _core.replay_totals(history) == [(n + 1, 0, n * (n + 1) / 2, 0.0, float(n), n)]
    loss.write(5)
    replay(cuda, graph, stream)
    assert history.current() == 5
    assert [lost for lossy, lost in _core.lost_replays() if lossy is history] == [extra]


def test_overrun_of_many_keys_counts_the_losses_of_each(cuda, stream, hub):
    keys = [f'{i}' for i in range(32)]
    tensors = {key: cuda.FakeCudaTensor(float(i)) for i, key in enumerate(keys)}
    graph = capture(cuda, stream, lambda: hub.update_scalars(tensors))
    rounds = 2 * SLOTS // 32 + 10
    replay(cuda, graph, stream, rounds)
    _core.land_arrived()
    kept = [len(hub.get_scalar(key)) for key in keys]
    by_history = {id(history): lost for history, lost in _core.lost_replays()}
    lost = [by_history[id(hub.get_scalar(key))] for key in keys]
    assert [k + n for k, n in zip(kept, lost, strict=True)] == [rounds] * 32
    assert sum(kept) == SLOTS
    for i, key in enumerate(keys):
        assert values(hub, key) == [float(i)] * kept[i]
        assert _core.replay_totals(hub.get_scalar(key)) == [(rounds, 0, i * rounds, float(i), float(i), i)]


def test_nothing_is_lost_while_somebody_reads(cuda, stream, hub):
    loss = cuda.FakeCudaTensor(1.0)
    graph = capture(cuda, stream, lambda: hub.update_scalar('a', loss))
    for _ in range(30):
        replay(cuda, graph, stream, 3000)
        hub.get_scalar('a').mean(10)
    history = hub.get_scalar('a')
    assert history.position == 90_000
    assert [lost for lossy, lost in _core.lost_replays() if lossy is history] == []


def test_totals_leave_nans_out(cuda, stream, hub):
    loss = cuda.FakeCudaTensor(0.0, 'float64')
    graph = capture(cuda, stream, lambda: hub.update_scalar('a', loss))
    assert _core.replay_totals(hub.get_scalar('a')) == [(0, 0, 0.0, 0.0, 0.0, 0.0)]
    for value in (math.nan, -2.0, math.nan, 5.0, 0.5):
        loss.write(value)
        cuda.replay(graph, stream)
    cuda.sync(stream)
    assert _core.replay_totals(hub.get_scalar('a')) == [(5, 2, 3.5, -2.0, 5.0, 0.5)]


def test_totals_of_a_history_that_no_graph_knows_are_none(cuda, stream, hub):
    hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
    assert _core.replay_totals(hub.get_scalar('a')) == []


# ---- what fails ----


def test_invalidated_capture_is_an_error_and_records_nothing(cuda, stream, hub):
    hub.update_scalar('old', 1.0)
    cuda.begin_capture(stream)
    driver = ctypes.CDLL(os.environ['RINGMETER_CUDA_DRIVER'])
    assert driver.cuStreamQuery(ctypes.c_void_p(stream)) == 900  # nobody may, while it captures
    match = "series '{}': a value cannot be read from its device: the capture of the stream has been invalid"
    with pytest.raises(rm.DeviceError, match=match.format('a')):
        hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
    with pytest.raises(rm.DeviceError, match=match.format('b')):
        hub.update_scalars({'b': cuda.FakeCudaTensor(1.0), 'old': cuda.FakeCudaTensor(1.0)})
    assert cuda.end_capture(stream) is None
    assert list(hub.log_scalars) == ['old']
    assert values(hub, 'old') == [1.0]
    hub.update_scalar('a', cuda.FakeCudaTensor(3.0))
    assert values(hub, 'a') == [3.0]


def test_default_stream_while_another_captures_is_an_error_that_says_so(cuda, stream, hub):
    cuda.begin_capture(stream)
    cuda.set_stream(0, 0)
    match = "series 'a': .*the default stream cannot be used while another stream captures .*CAPTURE_IMPLICIT"
    with pytest.raises(rm.DeviceError, match=match):
        hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
    with pytest.raises(rm.DeviceError, match=match):
        hub.update_scalars({'a': cuda.FakeCudaTensor(1.0), 'b': 1.0})
    assert cuda.end_capture(stream) is not None  # that did not invalidate it
    assert list(hub.log_scalars) == []


def test_capture_that_the_driver_refuses_leaves_old_keys_as_they_were(cuda, stream, hub):
    hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
    cuda.begin_capture(stream)
    cuda.fail('cuLaunchKernel', 1, 719)
    with pytest.raises(rm.DeviceError, match="series 'a': a value cannot be captured: cuLaunchKernel: FAKE_"):
        hub.update_scalar('a', cuda.FakeCudaTensor(2.0))
    graph = cuda.end_capture(stream)
    assert cuda.nodes(graph) == 0
    replay(cuda, graph, stream)
    assert values(hub, 'a') == [1.0]


def test_capture_into_a_users_buffer_is_refused(cuda, stream):
    class Buffer(rm.HistoryBuffer):
        pass

    hub = rm.MessageHub('users', log_scalars={'mine': Buffer()})
    cuda.begin_capture(stream)
    for update in (
        lambda: hub.update_scalar('mine', cuda.FakeCudaTensor(1.0)),
        lambda: hub.update_scalars({'mine': cuda.FakeCudaTensor(1.0)}),
    ):
        with pytest.raises(
            rm.ArgumentTypeError, match="series 'mine': a buffer must be a plain HistoryBuffer"
        ):
            update()
    graph = cuda.end_capture(stream)
    assert cuda.nodes(graph) == 0
    assert len(hub.get_scalar('mine')) == 0


def test_count_on_a_device_during_a_capture_is_read_as_it_is(cuda, stream, hub):
    # item() of the fake does not touch the capture, as it is the memory that is read.
    count = cuda.FakeCudaTensor(4, 'int64')
    graph = capture(cuda, stream, lambda: hub.update_scalar('a', cuda.FakeCudaTensor(2.0), count))
    replay(cuda, graph, stream, 2)
    assert hub.get_scalar('a').count() == 8


@pytest.mark.parametrize(
    ('mode', 'entry'),
    [
        (GLOBAL, 'scalar'),
        (GLOBAL, 'scalars'),
        (GLOBAL, 'history'),
        (THREAD_LOCAL, 'scalar'),
        (RELAXED, 'scalar'),
    ],
)
def test_first_use_of_a_device_may_be_in_a_capture(run_with_fake, mode, entry):
    done = run_with_fake(f"""
import fake_cuda_tensor as cuda, ringmeter as rm
hub = rm.MessageHub('x', log_scalars=dict(a=rm.HistoryBuffer()))
stream = cuda.new_stream(0)
cuda.set_stream(0, stream)
cuda.begin_capture(stream, {mode})
loss = cuda.FakeCudaTensor(0.5)
dict(
    scalar=lambda: hub.update_scalar('a', loss),
    scalars=lambda: hub.update_scalars(dict(a=loss)),
    history=lambda: hub.get_scalar('a').update(loss),
)['{entry}']()
graph = cuda.end_capture(stream)
print(graph is not None and cuda.nodes(graph), len(hub.get_scalar('a')))
for _ in range(3):
    cuda.replay(graph, stream)
cuda.sync(stream)
print(rm.device_info()['cuda:0'], hub.get_scalar('a').data[0].tolist())
""")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        '1 0',
        "{'path': 'driver', 'why': '', 'recorded': 0, 'landed': 0, 'waits': 0} [0.5, 0.5, 0.5]",
    ]


def test_other_threads_do_not_invalidate_a_global_capture(cuda, stream, hub):
    other = cuda.new_stream(0)
    cuda.delay(other, 20_000)  # long enough for a wait to ask whether the device has failed
    problems, running = [], threading.Event()
    stop = threading.Event()

    def record():
        cuda.set_stream(0, other)
        try:
            for i in itertools.count():
                hub.update_scalar('other', cuda.FakeCudaTensor(float(i)))
                hub.update_scalars({'x': cuda.FakeCudaTensor(1.0), 'y': 2.0})
                assert hub.get_scalar('other').current() == float(i)
                rm.device_info()
                if i > 2:
                    running.set()
                if stop.is_set():
                    return
        except Exception as error:
            problems.append(error)
            running.set()

    thread = threading.Thread(target=record)
    cuda.begin_capture(stream, GLOBAL)
    thread.start()
    running.wait(20)
    hub.update_scalar('a', cuda.FakeCudaTensor(1.5))
    queries = cuda.calls('cuStreamQuery')
    graph = cuda.end_capture(stream)
    stop.set()
    thread.join()
    assert problems == []
    assert queries > 0
    assert graph is not None
    replay(cuda, graph, stream, 2)
    assert values(hub, 'a') == [1.5, 1.5]


def test_reading_in_the_thread_that_captures_does_not_invalidate(cuda, stream, hub):
    other = cuda.new_stream(0)
    cuda.set_stream(0, other)
    cuda.delay(other, 5000)
    hub.update_scalar('eager', cuda.FakeCudaTensor(4.0))
    cuda.set_stream(0, stream)
    cuda.begin_capture(stream, GLOBAL)
    hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
    assert hub.get_scalar('eager').current() == 4.0
    assert hub.get_scalar('a').landed == 0
    assert cuda.end_capture(stream) is not None


def test_empty_history_of_a_graph_says_that_it_is_empty(cuda, stream, hub):
    capture(cuda, stream, lambda: hub.update_scalar('a', cuda.FakeCudaTensor(1.0)))
    with pytest.raises(rm.ArgumentError, match="series 'a': current needs at least one recorded value"):
        hub.get_scalar('a').current()
    assert math.isnan(hub.get_scalar('a').mean())


def test_read_of_replays_that_take_too_long_is_an_error(cuda, stream, hub):
    graph = capture(cuda, stream, lambda: hub.update_scalar('loss', cuda.FakeCudaTensor(2.0)))
    cuda.pause(stream)
    cuda.replay(graph, stream)
    rm.set_wait_timeout(0.05)
    try:
        with pytest.raises(
            rm.PendingError, match="series 'loss': replays must end within 0.05 s, they have not"
        ):
            hub.get_scalar('loss').current()
    finally:
        rm.set_wait_timeout(600)
    cuda.pause(stream, False)
    assert hub.get_scalar('loss').current() == 2.0


def test_capture_of_values_on_two_streams_in_one_call_is_refused(cuda, stream, hub):
    hub.update_scalar('old', cuda.FakeCudaTensor(1.0, device=1))
    other = cuda.new_stream(1)
    cuda.set_stream(1, other)
    cuda.begin_capture(stream, RELAXED)
    cuda.begin_capture(other, RELAXED)
    with pytest.raises(
        rm.DeviceError, match='the values of one call must be on one stream while it captures'
    ):
        hub.update_scalars({'a': cuda.FakeCudaTensor(1.0), 'b': cuda.FakeCudaTensor(1.0, device=1)})
    cuda.end_capture(stream)
    cuda.end_capture(other)
    assert list(hub.log_scalars) == ['old']
