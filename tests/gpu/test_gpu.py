"""Scalars on a real GPU. Not in CI, which has none: ``python benches/gpu/verify.py`` runs these.

They must not run in one process with tests/python, whose driver is a fake one.
"""

from __future__ import annotations

import math
import threading
import time

import numpy as np
import pytest

torch = pytest.importorskip('torch')

import ringmeter as rm  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device'),
]


@pytest.fixture
def hub():
    return rm.MessageHub('gpu')


@pytest.fixture(scope='session')
def cycles():
    """Of the clock that torch.cuda._sleep counts, in a millisecond."""
    for _ in range(2):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        torch.cuda._sleep(10_000_000)
        end.record()
        torch.cuda.synchronize()
    return round(10_000_000 / begin.elapsed_time(end))


def scalar(value, dtype=torch.float32):
    return torch.full((), value, dtype=dtype, device='cuda')


def values(hub, key):
    return hub.get_scalar(key).data[0].tolist()


def wait_for(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return condition()


def test_values_come_through_the_driver(hub):
    hub.update_scalar('a', scalar(0.25))
    assert hub.get_scalar('a').current() == 0.25
    assert rm.device_info()['cuda:0']['path'] == 'driver'


def test_value_arrives_by_itself_once_the_device_gets_there(hub, cycles):
    count = scalar(0.0)
    hub.update_scalar('a', count)
    torch.cuda.synchronize()
    history = hub.get_scalar('a')
    for i in range(1, 20):
        torch.cuda._sleep(50 * cycles)
        count.add_(1)
        hub.update_scalar('a', count)
        assert history.landed == i
        assert wait_for(lambda: history.landed == history.position)
        assert history.current() == i


def test_read_waits_for_the_device(hub, cycles):
    count = scalar(0.0)
    torch.cuda._sleep(50 * cycles)
    count.add_(7)
    hub.update_scalar('a', count)
    assert hub.get_scalar('a').current() == 7.0


def test_threads_with_streams_lose_nothing(hub):
    n = 20_000
    errors = []

    def record(thread):
        try:
            with torch.cuda.stream(torch.cuda.Stream()):
                numbers = torch.arange(n, device='cuda') * 0x1_0000_0001 + (thread << 60)
                for number in numbers.unbind():
                    hub.update_scalar(f'{thread}', number)
                    hub.update_scalar('all', number)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=record, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    for thread in range(4):
        expected = [i * 0x1_0000_0001 + (thread << 60) for i in range(n)]
        assert values(hub, f'{thread}') == expected
        assert [value for value in values(hub, 'all') if value >> 60 == thread] == expected


def test_memory_may_be_freed_right_after_the_call(hub):
    for i in range(5000):
        value = scalar(float(i))
        hub.update_scalar('a', value)
        del value
        scalar(-1.0)
    assert values(hub, 'a') == [float(i) for i in range(5000)]


def test_backward_hook_records_on_the_stream_of_autograd(hub):
    weight = torch.ones(8, device='cuda', requires_grad=True)
    weight.register_hook(lambda grad: hub.update_scalar('sum', grad.sum()))
    with torch.cuda.stream(torch.cuda.Stream()):
        weight = weight * 1.0
        for factor in (1.0, 2.0, 3.0):
            (weight * factor).sum().backward(retain_graph=True)
    torch.cuda.synchronize()
    assert values(hub, 'sum') == [8.0, 16.0, 24.0]


@pytest.mark.parametrize(
    ('dtype', 'numbers'),
    [
        ('bool', [True, False]),
        ('uint8', [0, 255]),
        ('int8', [-128, 127]),
        ('int16', [-(2**15), 2**15 - 1]),
        ('uint16', [0, 2**16 - 1]),
        ('int32', [-(2**31), 2**31 - 1]),
        ('uint32', [0, 2**32 - 1]),
        ('int64', [-(2**63), 2**63 - 1, 2**53 + 1]),
        ('uint64', [0, 2**64 - 1, 2**63 + 1]),
        ('float16', [65504.0, 2.0**-24, -math.inf]),
        ('bfloat16', [1.5, math.inf, 2.0**-133]),
        ('float32', [float(np.float32(0.1)), 2.0**-149]),
        ('float64', [0.1, 5e-324, 1.7976931348623157e308]),
    ],
)
def test_dtypes_are_exact(hub, dtype, numbers):
    for number in torch.tensor(numbers, dtype=getattr(torch, dtype)).to('cuda').unbind():
        hub.update_scalar('a', number)
    assert values(hub, 'a') == numbers


@pytest.mark.parametrize(
    'name', ['float8_e4m3fn', 'float8_e4m3fnuz', 'float8_e5m2', 'float8_e5m2fnuz', 'float8_e8m0fnu']
)
def test_float8_is_exact(hub, name):
    dtype = getattr(torch, name, None)
    if dtype is None:
        pytest.skip(f'this torch has no {name}')
    codes = torch.arange(256, dtype=torch.uint8)
    for value in codes.to('cuda').view(dtype).unbind():
        hub.update_scalar('a', value)
    expected = codes.view(dtype).to(torch.float32).to(torch.float64).numpy()
    assert np.array_equal(hub.get_scalar('a').data[0], expected, equal_nan=True)


def test_graph_gives_a_value_for_each_replay(hub):
    count = scalar(0, torch.int64)
    count.add_(0)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        count.add_(1)
        hub.update_scalars({'a': count, 'double': count * 2})
        hub.update_scalar('b', count)
    assert len(hub.get_scalar('a')) == 0
    for _ in range(50):
        graph.replay()
    torch.cuda.synchronize()
    assert values(hub, 'a') == list(range(1, 51))
    assert values(hub, 'double') == list(range(2, 101, 2))
    assert values(hub, 'b') == list(range(1, 51))


def test_replays_that_nobody_read_are_counted(hub):
    count = scalar(0, torch.int64)
    count.add_(0)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        count.add_(1)
        hub.update_scalar('a', count)
    for _ in range(70_000):
        graph.replay()
    torch.cuda.synchronize()
    history = hub.get_scalar('a')
    landed = values(hub, 'a')
    lost = sum(n for owner, n in rm._core.lost_replays() if owner is history)
    assert lost > 0
    assert landed == list(range(lost + 1, 70_001))
    assert rm._core.replay_totals(history)[0][0] == 70_000
