"""CUDA scalars: who is let go and when, what a failed call leaves behind, and anything at random against lists."""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
import weakref
from pathlib import Path

import pytest

import ringmeter as rm
from ringmeter import _core


@pytest.fixture
def hub():
    return rm.MessageHub('model')


def values(hub, key):
    return hub.get_scalar(key).data[0].tolist()


# ---- references ----


def test_histories_and_tensors_are_released_when_values_land(cuda, stream):
    history = rm.HistoryBuffer()
    reference = weakref.ref(history)
    tensor = cuda.FakeCudaTensor(1.0)
    counts = sys.getrefcount(history), sys.getrefcount(tensor)
    cuda.pause(stream)
    for _ in range(10):
        history.update(tensor)
    assert (sys.getrefcount(history), sys.getrefcount(tensor)) == (counts[0] + 10, counts[1])
    cuda.pause(stream, False)
    cuda.sync(stream)
    _core.land_arrived()
    assert sys.getrefcount(history) == counts[0]
    del history
    assert reference() is None


def test_history_that_is_gone_gets_its_values_all_the_same(cuda, stream):
    history = rm.HistoryBuffer()
    reference = weakref.ref(history)
    cuda.pause(stream)
    history.update(cuda.FakeCudaTensor(1.0))
    del history
    gc.collect()
    assert reference() is not None
    cuda.pause(stream, False)
    cuda.sync(stream)
    _core.land_arrived()
    assert reference() is None


def test_failed_launch_keeps_nothing(cuda, stream, hub):
    hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
    hub.get_scalar('a').current()
    _core.land_arrived()
    history, tensor, key = hub.get_scalar('a'), cuda.FakeCudaTensor(1.0), 'another key'
    counts = [sys.getrefcount(each) for each in (history, tensor, key)]
    cuda.fail('cuLaunchKernel', 1, 719, True)
    for _ in range(100):
        with pytest.raises(rm.DeviceError, match="series 'a': .* cuLaunchKernel: FAKE_CUDA_ERROR_719"):
            hub.update_scalars({'a': tensor, key: tensor})
        with pytest.raises(rm.DeviceError, match=f"series '{key}': .* cuLaunchKernel: FAKE_CUDA_ERROR_719"):
            hub.update_scalar(key, tensor)
        with pytest.raises(rm.DeviceError, match="series 'a': .* cuLaunchKernel: FAKE_CUDA_ERROR_719"):
            history.update(tensor)
    assert [sys.getrefcount(each) for each in (history, tensor, key)] == counts


def test_device_that_dies_keeps_histories_but_no_tensors(run_with_fake):
    done = run_with_fake("""
import sys
import fake_cuda_tensor as cuda, ringmeter as rm
hub = rm.MessageHub('x')
stream = cuda.new_stream(0)
cuda.set_stream(0, stream)
tensor = cuda.FakeCudaTensor(1.0)
hub.update_scalar('a', tensor)
hub.get_scalar('a').current()
tensors = sys.getrefcount(tensor)
cuda.pause(stream)
for _ in range(5):
    hub.update_scalar('a', tensor)
cuda.fail('cuStreamQuery', 1, 719, True)
history = hub.get_scalar('a')
for _ in range(5):
    try:
        history.current()
    except rm.DeviceError:
        pass
before = sys.getrefcount(history)
for _ in range(100):
    try:
        hub.update_scalar('a', tensor)
    except rm.DeviceError:
        pass
print(sys.getrefcount(tensor) == tensors, sys.getrefcount(history) == before, history.position)
""")
    assert done.stderr == ''
    assert done.stdout == 'True True 6\n'


def resident_bytes():
    return int(Path('/proc/self/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')


@pytest.mark.skipif(not Path('/proc/self/statm').exists(), reason='asks Linux for the memory of the process')
def test_memory_does_not_grow_with_the_number_of_updates(cuda, stream):
    history = rm.HistoryBuffer(max_length=1000)
    hub = rm.MessageHub('memory', log_scalars={'a': history, 'b': rm.HistoryBuffer(max_length=1000)})
    tensors = {'a': cuda.FakeCudaTensor(1.0), 'b': cuda.FakeCudaTensor(2, 'int64')}

    def record(n):
        for i in range(n):
            hub.update_scalars(tensors)
            hub.update_scalar('a', tensors['a'])
            if i % 1000 == 0:
                history.current()
        cuda.sync(stream)
        _core.land_arrived()

    record(70_000)  # more than there are slots
    before = resident_bytes()
    record(100_000)
    assert resident_bytes() - before < 4 << 20
    assert sys.getrefcount(history) == 3


# ---- what a failed call leaves behind ----


def trace(hub):
    _core.wait_for(_core.mark())
    return (
        list(hub.log_scalars),
        dict(hub._resumed_keys),
        {key: (history.position, len(history)) for key, history in hub.log_scalars.items()},
        _core.land_arrived(),
    )


class RaisesWhenRead:
    def __init__(self, error):
        self.error = error

    def item(self):
        raise self.error


@pytest.mark.parametrize(
    ('bad', 'error', 'match'),
    [
        ('a str', rm.ScalarError, "series 'bad': value must be one real number, got 'a str'"),
        (RaisesWhenRead(RuntimeError('no')), rm.ScalarError, "series 'bad': .*RaisesWhenRead.item.. raised"),
        (RaisesWhenRead(MemoryError()), rm.ScalarError, "series 'bad': .*raised MemoryError"),
        (RaisesWhenRead(KeyboardInterrupt('now')), KeyboardInterrupt, 'now'),
        ({'value': 1.0, 'count': 'many'}, rm.ScalarError, "series 'bad': count must be an int, got 'many'"),
        ({'count': 1}, rm.ArgumentError, r"series 'bad': a dict must be dict\(value="),
    ],
)
def test_bad_value_among_device_values_leaves_no_trace(cuda, stream, hub, bad, error, match):
    hub.update_scalars({'old': cuda.FakeCudaTensor(1.0), 'other': 2.0})
    assert hub.get_scalar('old').current() == 1.0
    before = trace(hub)
    launches = cuda.calls('cuLaunchKernel')
    for position in range(3):
        items = [('old', cuda.FakeCudaTensor(5.0)), ('new', cuda.FakeCudaTensor(6.0))]
        items.insert(position, ('bad', bad))
        with pytest.raises(error, match=match):
            hub.update_scalars(dict(items))
    assert trace(hub) == before
    assert cuda.calls('cuLaunchKernel') == launches


def test_other_resumed_among_device_values_leaves_no_trace(cuda, stream, hub):
    hub.update_scalars({'kept': cuda.FakeCudaTensor(1.0)})
    hub.update_scalars({'left out': cuda.FakeCudaTensor(1.0)}, resumed=False)
    cuda.sync(stream)
    before = trace(hub)
    with pytest.raises(rm.ArgumentError, match="series 'left out': resumed must stay what it was, False"):
        hub.update_scalars({
            'new': cuda.FakeCudaTensor(1.0), 'kept': cuda.FakeCudaTensor(1.0), 'left out': cuda.FakeCudaTensor(1.0)
        })  # fmt: skip
    assert trace(hub) == before


def test_key_that_is_no_str_among_device_values_leaves_no_trace(cuda, stream, hub):
    before = trace(hub)
    with pytest.raises(rm.ArgumentTypeError, match='key must be a str, got 3'):
        hub.update_scalars({'new': cuda.FakeCudaTensor(1.0), 3: cuda.FakeCudaTensor(1.0)})
    assert trace(hub) == before


@pytest.mark.parametrize('nth', [1, 2, 3])
def test_launch_that_fails_among_many_leaves_no_trace(cuda, stream, hub, nth):
    old = {f'{i}': cuda.FakeCudaTensor(float(i)) for i in range(40)}
    hub.update_scalars({**old, 'far': cuda.FakeCudaTensor(1.0, device=1)})
    everything = {
        **old,
        'new': cuda.FakeCudaTensor(1.0),
        'far': cuda.FakeCudaTensor(2.0, device=1),
        'lr': 0.1,
    }
    assert [values(hub, key) for key in old] == [[float(i)] for i in range(40)]
    assert values(hub, 'far') == [1.0]
    before = trace(hub)
    cuda.fail('cuLaunchKernel', nth, 719)
    with pytest.raises(rm.DeviceError, match="series '0': .*cuLaunchKernel"):
        hub.update_scalars(everything)
    cuda.sync(stream)
    cuda.sync(cuda.default_stream(1))
    assert trace(hub) == before
    hub.update_scalars(everything)
    assert values(hub, '39') == [39.0, 39.0]
    assert values(hub, 'new') == [1.0]
    assert values(hub, 'far') == [1.0, 2.0]


def test_current_stream_that_is_not_to_be_had_makes_the_value_be_read_at_once(cuda, stream, hub):
    hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
    cuda.fail_current_stream('no stream')
    hub.update_scalar('a', cuda.FakeCudaTensor(2.0))
    assert values(hub, 'a') == [1.0, 2.0]
    assert cuda.item_calls() == 1


# ---- at random ----


class Model:
    """What a hub should hold, in lists; and the operations on both."""

    def __init__(self, cuda, hub, seed):
        self.cuda, self.hub = cuda, hub
        self.random = random.Random(seed)
        self.streams = [(device, cuda.new_stream(device)) for device in (0, 0, 1, 1)]
        self.paused = set()
        self.expected = {}
        self.counter = 0

    def choose_streams(self):
        for device in (0, 1):
            handles = [handle for of, handle in self.streams if of == device]
            self.cuda.set_stream(device, self.random.choice(handles))

    def value(self):
        """A number, and what to record it as: from the host, or from a device."""
        self.counter += 1
        if self.random.random() < 0.3:
            return self.counter, self.counter
        device = self.random.randrange(2)
        if self.random.random() < 0.5:  # of its own
            return self.counter, self.cuda.FakeCudaTensor(self.counter, 'int64', device=device)
        handle = self.cuda.get_stream(device)
        tensor = self.cuda.FakeCudaTensor(0, 'int64', device=device)
        assert handle != 0
        tensor.write(self.counter)  # in the order of the stream
        return self.counter, tensor

    def key(self):
        return self.random.choice('abcde')

    def update(self):
        self.choose_streams()
        key, (number, value) = self.key(), self.value()
        self.hub.update_scalar(key, value)
        self.expected.setdefault(key, []).append(number)

    def update_many(self):
        self.choose_streams()
        keys = self.random.sample('abcde', self.random.randrange(1, 6))
        chosen = {key: self.value() for key in keys}
        self.hub.update_scalars({key: value for key, (_, value) in chosen.items()})
        for key, (number, _) in chosen.items():
            self.expected.setdefault(key, []).append(number)

    def pause(self):
        _, handle = self.random.choice(self.streams)
        self.cuda.pause(handle)
        self.paused.add(handle)

    def delay(self):
        _, handle = self.random.choice(self.streams)
        self.cuda.delay(handle, self.random.choice((0, 0, 20, 200)))

    def resume(self):
        for handle in self.paused:
            self.cuda.pause(handle, False)
        self.paused.clear()

    def read(self):
        """Waits, so that nothing may be paused."""
        self.resume()
        for key, expected in self.expected.items():
            history = self.hub.get_scalar(key)
            at = self.random.randrange(1, len(expected) + 1)
            assert history.current() == expected[-1]
            assert history.sum(at=at) == sum(expected[:at])
            assert history.max(3) == max(expected[-3:])
        if self.random.random() < 0.3:
            self.read_all()

    def read_landed(self):
        """Never waits, whatever is paused."""
        for key, expected in self.expected.items():
            history = self.hub.get_scalar(key)
            assert len(history) == history.position == len(expected)
            landed = history.landed
            assert landed <= len(expected)
            if landed > 0:
                assert history.sum(at=landed) == sum(expected[:landed])
                assert history.current(at=landed) == expected[landed - 1]
                assert history.current(landed=True) in expected[landed - 1 :]  # more may have landed since
            else:
                with pytest.raises(rm.ArgumentError, match='current needs at least one recorded value'):
                    history.current(at=0)

    def read_all(self):
        self.resume()
        for key, expected in self.expected.items():
            assert values(self.hub, key) == expected


@pytest.mark.parametrize('seed', range(30))
def test_random_updates_and_reads_agree_with_lists(cuda, hub, seed):
    model = Model(cuda, hub, seed)
    steps = [
        model.update,
        model.update_many,
        model.pause,
        model.delay,
        model.resume,
        model.read,
        model.read_landed,
    ]
    weights = [40, 20, 3, 3, 3, 4, 8]
    rm.set_wait_timeout(20)
    try:
        for step in model.random.choices(steps, weights, k=600):
            step()
        model.read_all()
    finally:
        rm.set_wait_timeout(600)
    model.resume()
    assert _core.land_arrived() == 0
    histories = list(hub.log_scalars.values())
    hub.log_scalars.clear()
    while histories:
        reference = weakref.ref(histories.pop())
        assert reference() is None


def test_random_updates_of_threads_agree_with_lists(cuda, hub):
    problems = []

    def run(seed):
        try:
            own = rm.MessageHub(f'{seed}')
            model = Model(cuda, own, seed)
            steps = [model.update, model.update_many, model.delay, model.read, model.read_landed]
            for step in model.random.choices(steps, [40, 20, 2, 3, 8], k=250):
                step()
                hub.update_scalar('shared', cuda.FakeCudaTensor(1.0))
            model.read_all()
        except BaseException as error:
            problems.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        threads = [threading.Thread(target=run, args=(seed,)) for seed in range(100, 104)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert problems == []
    assert hub.get_scalar('shared').sum() == 1000.0


def test_history_that_is_removed_while_its_value_waits_for_room_is_not_used(run_with_fake):
    done = run_with_fake("""
import threading, time
import fake_cuda_tensor as cuda, ringmeter as rm
hub = rm.MessageHub('x')
stream = cuda.new_stream(0)
cuda.set_stream(0, stream)
tensor = cuda.FakeCudaTensor(1.0)
hub.update_scalars({'a': tensor, 'b': tensor})
cuda.sync(stream)
hub.get_scalar('a').current()
cuda.pause(stream)
for _ in range(65536):
    hub.update_scalar('b', tensor)

def record():
    cuda.set_stream(0, stream)
    hub.update_scalar('a', tensor)

thread = threading.Thread(target=record)
thread.start()
time.sleep(0.2)
del hub.log_scalars['a']
cuda.pause(stream, False)
thread.join()
print(len(hub.get_scalar('b')), 'a' in hub.log_scalars)
""")
    assert done.stderr == ''
    assert done.stdout == '65537 False\n'
    assert done.returncode == 0


def test_users_buffer_may_ask_for_values_of_the_same_call(cuda):
    class Mine(rm.HistoryBuffer):
        def update(self, log_val, count=1):
            super().update(log_val + hub.get_scalar('a').current(), count)

    hub = rm.MessageHub('same call')
    hub.log_scalars['mine'] = Mine()
    hub.update_scalars({'mine': 1.0, 'a': cuda.FakeCudaTensor(2.0)})
    assert hub.get_scalar('mine').current() == 3.0


def test_more_values_than_fit_are_refused_at_once(cuda):
    hub = rm.MessageHub('many')
    tensor = cuda.FakeCudaTensor(2.0)
    before = cuda.calls('cuLaunchKernel')
    with pytest.raises(rm.ArgumentError, match=r"series '0': at most 65536 values on devices .*, got 65537"):
        hub.update_scalars({str(i): tensor for i in range(65537)})
    assert cuda.calls('cuLaunchKernel') == before
    assert hub.log_scalars == {}


def test_failed_capture_leaves_no_key(cuda):
    hub = rm.MessageHub('captures')
    stream = cuda.new_stream(0)
    cuda.set_stream(0, stream)
    hub.update_scalar('old', cuda.FakeCudaTensor(1.0))
    cuda.begin_capture(stream)
    for update in (
        lambda: hub.update_scalar('new', cuda.FakeCudaTensor(1.0)),
        lambda: hub.update_scalars({'old': cuda.FakeCudaTensor(1.0), 'new': cuda.FakeCudaTensor(1.0)}),
    ):
        cuda.fail('cuLaunchKernel', 1, 719)
        with pytest.raises(rm.DeviceError, match='a value cannot be captured: cuLaunchKernel'):
            update()
    cuda.end_capture(stream)
    assert list(hub.log_scalars) == ['old']
    assert list(hub._resumed_keys) == ['old']
    assert len(hub.get_scalar('old')) == 1


def test_value_of_a_healthy_device_is_waited_for_when_another_has_failed(run_with_fake):
    done = run_with_fake("""
import fake_cuda_tensor as cuda, ringmeter as rm
hub = rm.MessageHub('x')
streams = [cuda.new_stream(device) for device in (0, 1)]
for device, stream in enumerate(streams):
    cuda.set_stream(device, stream)
hub.update_scalars({'a': cuda.FakeCudaTensor(1.0), 'b': cuda.FakeCudaTensor(1.0, device=1)})
hub.get_scalar('a').current(), hub.get_scalar('b').current()
cuda.pause(streams[0])
hub.update_scalar('a', cuda.FakeCudaTensor(2.0))
cuda.fail('cuStreamQuery', 1, 719)
try:
    hub.get_scalar('a').current()
except rm.DeviceError as error:
    print(error)
cuda.delay(streams[1], 50_000)
hub.update_scalar('b', cuda.FakeCudaTensor(3.0, device=1))
print(hub.get_scalar('b').current())
""")
    assert done.stderr == ''
    assert done.stdout.splitlines() == [
        "series 'a': a value cannot land: the device has failed: FAKE_CUDA_ERROR_719 (719)",
        '3.0',
    ]
