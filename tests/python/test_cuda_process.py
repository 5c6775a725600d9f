"""CUDA scalars and the life of a process: forks, exits, interrupts, drivers that are missing or fail."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROLOGUE = """
import os, signal, sys, threading, time
import fake_cuda_tensor as cuda, ringmeter as rm
from ringmeter import _core
hub = rm.MessageHub('x')
stream = cuda.new_stream(0)
cuda.set_stream(0, stream)
def attempt(call, *arguments):
    try:
        return call(*arguments)
    except Exception as error:
        return f'{type(error).__name__}: {error}'
"""


@pytest.fixture
def run(run_with_fake):
    def run(code):
        done = run_with_fake(PROLOGUE + code)
        assert done.stderr == ''
        assert done.returncode == 0
        return done.stdout.splitlines()

    return run


# ---- fork ----


def test_forked_child_keeps_host_values_and_refuses_cuda(run):
    assert run("""
hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
hub.get_scalar('a').current()
cuda.pause(stream)
hub.update_scalar('a', cuda.FakeCudaTensor(2.0))
sys.stdout.flush()
child = os.fork()
if child == 0:
    hub.update_scalar('b', 3.0)
    print(hub.get_scalar('b').current())
    print(attempt(hub.update_scalar, 'a', cuda.FakeCudaTensor(4.0)))
    print(attempt(hub.update_scalars, {'c': 1.0, 'd': cuda.FakeCudaTensor(4.0, device=1)}))
    print(attempt(rm.HistoryBuffer().update, cuda.FakeCudaTensor(4.0)))
    print(attempt(hub.get_scalar('a').current))
    print(attempt(hub.get_scalar('a').mean))
    print(hub.get_scalar('a').current(landed=True), hub.get_scalar('a').mean(at=1))
    print(sorted(hub.log_scalars), len(hub.get_scalar('a')), rm.device_info(), _core.lost_replays())
    sys.stdout.flush()
    sys.exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
cuda.pause(stream, False)
hub.update_scalar('a', cuda.FakeCudaTensor(5.0))
print(hub.get_scalar('a').data[0].tolist())
""") == [
        '3.0',
        "DeviceError: series 'a': cuda:0 cannot be used: CUDA was in use before the process was forked",
        "DeviceError: series 'd': cuda:1 cannot be used: CUDA was in use before the process was forked",
        'DeviceError: cuda:0 cannot be used: CUDA was in use before the process was forked',
        "DeviceError: series 'a': a value cannot land: CUDA was in use before the process was forked",
        "DeviceError: series 'a': a value cannot land: CUDA was in use before the process was forked",
        '1.0 1.0',
        "['a', 'b'] 2 {} []",
        '0',
        '[1.0, 2.0, 5.0]',
    ]


def test_forked_child_of_a_process_with_graphs_reads_no_totals(run):
    assert run("""
hub.update_scalar('a', 1.0)
cuda.begin_capture(stream)
hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
graph = cuda.end_capture(stream)
cuda.replay(graph, stream)
cuda.sync(stream)
child = os.fork()
if child == 0:
    print(attempt(_core.replay_totals, hub.get_scalar('a')))
    print(hub.get_scalar('a').sum(at=1), rm.device_info())
    sys.stdout.flush()
    os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(_core.replay_totals(hub.get_scalar('a')))
""") == [
        "DeviceError: series 'a': CUDA was in use before the process was forked",
        '1.0 {}',
        '0',
        '[(1, 0, 1.0, 1.0, 1.0, np.float64(1.0))]',
    ]


def test_forked_child_that_ends_leaves_lines_that_wait_to_its_parent(run):
    lines = run("""
meter = rm.LoopLogger(max_epochs=1, interval=1)
cuda.pause(stream)
for value in meter.train([1.0, 2.0]):
    meter.log(loss=cuda.FakeCudaTensor(value))
    sys.stdout.flush()
    if value == 2.0:
        child = os.fork()
        if child == 0:
            sys.exit()
        os.waitpid(child, 0)
        cuda.pause(stream, False)
""")
    assert [line.rpartition('  ')[2] for line in lines] == ['loss: 1.0000', 'loss: 1.5000']


def test_fork_while_other_threads_record_and_stage_never_hangs(run):
    assert run("""
import logging
from ringmeter import _staging
logging.getLogger('ringmeter').setLevel(logging.ERROR)  # checkpoints warn of what had not landed
def record(thread):
    cuda.set_stream(0, cuda.new_stream(0))
    while not stop:
        hub.update_scalars({f'{thread}{i}': cuda.FakeCudaTensor(1.0) for i in range(3)})
        hub.get_scalar(f'{thread}0').mean(5)
def stage():
    while not stop:
        with _staging._lock:
            time.sleep(0.001)
stop = False
threads = [threading.Thread(target=record, args=(i,)) for i in range(2)] + [threading.Thread(target=stage)]
for thread in threads:
    thread.start()
codes = []
for _ in range(15):
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        hub.update_scalar('host', 1.0)
        ok = hub.get_scalar('host').current() == 1.0
        _staging.flush()
        attempt(hub.state_dict)
        attempt(hub.update_scalar, 'cuda', cuda.FakeCudaTensor(1.0))
        rm.device_info(), _core.lost_replays()
        os._exit(0 if ok else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop = True
for thread in threads:
    thread.join()
print(codes == [0] * 15, codes[-1])
""") == ['True 0']


def test_forked_worker_that_records_host_values(run):
    assert run("""
import multiprocessing
def work(queue):
    history = rm.HistoryBuffer()
    history.update(2.0)
    hub.update_scalar('seen', 1)
    queue.put((float(history.current()), int(hub.get_scalar('seen').sum())))
hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
context = multiprocessing.get_context('fork')
queue = context.SimpleQueue()
workers = [context.Process(target=work, args=(queue,)) for _ in range(3)]
for worker in workers:
    worker.start()
print([queue.get() for _ in workers])
for worker in workers:
    worker.join()
print([worker.exitcode for worker in workers], hub.get_scalar('a').current(), sorted(hub.log_scalars))
""") == ['[(2.0, 1), (2.0, 1), (2.0, 1)]', "[0, 0, 0] 1.0 ['a']"]


def test_fork_before_cuda_is_used_leaves_it_to_both(run):
    assert run("""
child = os.fork()
if child == 0:
    own = cuda.new_stream(0)
    cuda.set_stream(0, own)
hub.update_scalar('a', cuda.FakeCudaTensor(1.5))
value = hub.get_scalar('a').current()
if child == 0:
    os._exit(0 if value == 1.5 else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), value)
""") == ['0 1.5']


# ---- exit ----


def test_exit_waits_for_what_is_on_its_way(run):
    begin = time.monotonic()
    assert run("""
import atexit
cuda.delay(stream, 300_000)
hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
_core.close(10.0)  # as at exit
print(hub.get_scalar('a').landed, hub.get_scalar('a').current())
hub.update_scalar('b', 2.0)
print(attempt(hub.update_scalar, 'b', 3.0), hub.get_scalar('b').current(), rm.device_info())
""") == ['1 1.0', 'None 3.0 {}']
    assert time.monotonic() - begin < 10


@pytest.mark.parametrize(
    'state',
    [
        'cuda.delay(stream, 500_000)',
        'cuda.pause(stream)',
        'cuda.shutdown(True)',
        "cuda.pause(stream); cuda.fail('cuStreamQuery', 1, 719, True)",
    ],
)
def test_exit_takes_no_longer_than_two_seconds(run, state):
    begin = time.monotonic()
    assert run(f"""
hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
hub.get_scalar('a').current()
cuda.pause(stream)
hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
cuda.pause(stream, False)
{state}
hub.update_scalar('b', 1.0)
for i in range(100):
    attempt(hub.update_scalar, 'a', cuda.FakeCudaTensor(1.0))
print('end')
""") == ['end']
    assert time.monotonic() - begin < 30


def test_values_after_the_close_are_not_waited_for(run):
    assert run("""
cuda.pause(stream)
hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
_core.close(0.01)
print(attempt(hub.get_scalar('a').current))
print(hub.get_scalar('a').current(landed=True) if hub.get_scalar('a').landed else 'none')
""") == ["DeviceError: series 'a': a value cannot land: the interpreter is exiting", 'none']


def test_daemon_thread_that_records_until_the_end_is_no_crash(run):
    assert run("""
errors = []
def record():
    cuda.set_stream(0, cuda.new_stream(0))
    try:
        while True:
            hub.update_scalars({'a': cuda.FakeCudaTensor(1.0), 'b': 1.0})
            hub.get_scalar('a').mean(10, landed=True)
    except Exception as error:  # while the interpreter ends, its modules may be gone
        errors.append(error)
threading.Thread(target=record, daemon=True).start()
time.sleep(0.2)
print(errors, hub.get_scalar('a').position > 10)
""") == ['[] True']


def test_exit_does_not_wait_for_a_thread_that_goes_on_recording(run):
    assert run("""
def record():
    own = cuda.new_stream(0)
    cuda.set_stream(0, own)
    cuda.delay(own, 2000)
    while True:
        hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
        time.sleep(0.001)
threading.Thread(target=record, daemon=True).start()
time.sleep(0.2)
begin = time.monotonic()
_core.close(20.0)
print(time.monotonic() - begin < 10)
cuda.pause(stream)
""") == ['True']


# ---- interrupts ----


def test_interrupt_ends_a_wait(run):
    begin = time.monotonic()
    assert run("""
cuda.pause(stream)
hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    hub.get_scalar('a').current()
except KeyboardInterrupt:
    print('interrupted')
cuda.pause(stream, False)
print(hub.get_scalar('a').current())
""") == ['interrupted', '1.0']
    assert time.monotonic() - begin < 10


def test_interrupt_while_there_is_no_room_records_nothing(run):
    assert run("""
tensor = cuda.FakeCudaTensor(1.0)
hub.update_scalar('a', tensor)
hub.get_scalar('a').current()
cuda.pause(stream)
for i in range(65536):
    hub.update_scalar('a', tensor)
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    hub.update_scalars({'a': tensor, 'new': tensor})
except KeyboardInterrupt:
    print(len(hub.get_scalar('a')), list(hub.log_scalars))
cuda.pause(stream, False)
hub.update_scalar('a', tensor)
print(hub.get_scalar('a').sum(), rm.device_info()['cuda:0']['recorded'])
""") == ["65537 ['a']", '65538.0 65538']


# ---- back-pressure ----


def test_launch_waits_for_room_and_then_goes_on(run):
    assert run("""
tensor = cuda.FakeCudaTensor(0, 'int64')
cuda.pause(stream)
def release():
    cuda.pause(stream, False)
threading.Timer(1.0, release).start()
for i in range(65600):
    tensor.write(i)
    hub.update_scalar('a', tensor)
data = hub.get_scalar('a').data[0]
print(len(data), (data == list(range(65600))).all())
print(rm.device_info()['cuda:0']['waits'] > 0)
""") == ['65600 True', 'True']


def test_launch_without_room_in_time_is_a_pending_error_that_names_the_key(run):
    assert run("""
tensor = cuda.FakeCudaTensor(1.0)
hub.update_scalar('a', tensor)
hub.get_scalar('a').current()
cuda.pause(stream)
for i in range(65536):
    hub.update_scalar('a', tensor)
rm.set_wait_timeout(0.2)
print(attempt(hub.update_scalar, 'b', tensor))
print(attempt(hub.update_scalars, {'b': tensor, 'c': 1.0}))
print(list(hub.log_scalars), hub.get_scalar('a').position)
cuda.pause(stream, False)
rm.set_wait_timeout(20)
hub.update_scalar('b', tensor)
print(hub.get_scalar('a').sum(), hub.get_scalar('b').sum())
""") == [
        "PendingError: series 'b': room for a value must come free within 0.2 s, none has",
        "PendingError: series 'b': room for a value must come free within 0.2 s, none has",
        "['a'] 65537",
        '65537.0 1.0',
    ]


def test_device_that_dies_while_there_is_no_room_is_a_device_error(run):
    assert run("""
tensor = cuda.FakeCudaTensor(1.0)
hub.update_scalar('a', tensor)
cuda.sync(stream)
cuda.pause(stream)
for i in range(65536):
    attempt(hub.update_scalar, 'a', tensor)
cuda.fail('cuStreamQuery', 1, 700, True)
print(attempt(hub.update_scalar, 'b', tensor))
print(attempt(hub.update_scalar, 'b', tensor))
print(list(hub.log_scalars))
hub.update_scalar('b', 1.0)
""") == [
        "DeviceError: series 'b': a value cannot land: the device has failed: FAKE_CUDA_ERROR_700 (700)",
        "DeviceError: series 'b': a value cannot be read from its device: the device has failed: "
        'FAKE_CUDA_ERROR_700 (700)',
        "['a']",
    ]


# ---- drivers that cannot be used ----


READ_AT_ONCE = """
for i in range(3):
    hub.update_scalars({'a': cuda.FakeCudaTensor(float(i)), 'b': cuda.FakeCudaTensor(i, 'int64')})
print(hub.get_scalar('a').data[0].tolist(), hub.get_scalar('b').data[0].tolist(), cuda.item_calls())
print(rm.device_info()['cuda:0']['path'])
print(rm.device_info()['cuda:0']['why'])
print(rm.device_info()['cuda:0']['why'] == _core.device_problem(0))
"""


@pytest.mark.parametrize(
    ('state', 'why'),
    [
        ("cuda.fail('cuInit', 1, 100, True)", 'cuInit: FAKE_CUDA_ERROR_100 (100)'),
        ('cuda.set_ptx_version(5, 0)', 'cuModuleLoadData: FAKE_CUDA_ERROR_222 (222)'),
        ("cuda.fail('cuMemHostAlloc', 1, 2)", 'cuMemHostAlloc: FAKE_CUDA_ERROR_2 (2)'),
        ("cuda.fail('cuMemAlloc_v2', 1, 2)", 'cuMemAlloc: FAKE_CUDA_ERROR_2 (2)'),
        ("cuda.fail('cuStreamCreate', 1, 2)", 'cuStreamCreate: FAKE_CUDA_ERROR_2 (2)'),
        ("cuda.fail('cuLaunchKernel', 2, 98)", 'cuLaunchKernel: FAKE_CUDA_ERROR_98 (98)'),
        ('cuda.shutdown(True)', 'cuInit: unknown error (4)'),
    ],
)
def test_driver_that_refuses_is_done_without(run, state, why):
    assert run(state + READ_AT_ONCE) == ['[0.0, 1.0, 2.0] [0, 1, 2] 6', 'item', why, 'True']


@pytest.mark.parametrize('library', ['missing', 'another'])
def test_driver_that_is_none_is_done_without(fake_cuda, tmp_path, library):
    name = tmp_path / 'libcuda.so.1'
    why = 'no CUDA driver: '
    if library == 'another':  # any library will do
        import _ctypes

        name = Path(_ctypes.__file__)
        why = 'the CUDA driver must have the function cuInit (CUDA 10.1 and later), it has not'
    folder = str(Path(fake_cuda.__file__).parent)
    path = os.pathsep.join(filter(None, [folder, os.environ.get('PYTHONPATH')]))
    done = subprocess.run(
        [sys.executable, '-W', 'error', '-c', PROLOGUE + READ_AT_ONCE],
        check=False,
        env={**os.environ, 'PYTHONPATH': path, 'RINGMETER_CUDA_DRIVER': str(name)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ''
    lines = done.stdout.splitlines()
    assert lines[:2] == ['[0.0, 1.0, 2.0] [0, 1, 2] 6', 'item']
    assert lines[2].startswith(why)
    assert lines[3] == 'True'


def test_one_device_that_cannot_be_used_leaves_the_other_alone(run):
    assert run("""
cuda.fail('cuDevicePrimaryCtxRetain', 1, 46)
hub.update_scalars({'a': cuda.FakeCudaTensor(1.0), 'b': cuda.FakeCudaTensor(2.0, device=1)})
print(hub.get_scalar('a').current(), hub.get_scalar('b').current(), cuda.item_calls())
print(rm.device_info())
""") == [
        '1.0 2.0 1',
        "{'cuda:1': {'path': 'driver', 'why': '', 'recorded': 1, 'landed': 1, 'waits': 0}, "
        "'cuda:0': {'path': 'item', 'why': 'cuDevicePrimaryCtxRetain: FAKE_CUDA_ERROR_46 (46)'}}",
    ]


def test_cpu_only_program_never_loads_the_driver(run):
    assert run("""
hub.update_scalar('a', 1.0)
hub.get_scalar('a').mean()
print(rm.device_info(), cuda.calls('cuInit'))
""") == ['{} 0']


def test_choice_of_a_device_is_logged_once(run_with_fake):
    done = run_with_fake("""
import logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format='%(levelname)s %(name)s %(message)s')
import fake_cuda_tensor as cuda, ringmeter as rm
hub = rm.MessageHub('x')
for _ in range(3):
    hub.update_scalar('a', cuda.FakeCudaTensor(1.0))
    hub.update_scalar('b', cuda.FakeCudaTensor(1.0, device=1))
""")
    assert done.stdout.splitlines() == [
        'DEBUG ringmeter Get values on cuda:0 from the driver, without waiting',
        'DEBUG ringmeter Get values on cuda:1 from the driver, without waiting',
    ]
    assert done.stderr == ''


def test_debug_log_tells_the_path_of_a_device(run_with_fake):
    code = """
import fake_cuda_tensor as cuda, ringmeter as rm
cuda.set_stream(0, cuda.new_stream(0))
rm.HistoryBuffer().update(cuda.FakeCudaTensor(1.0))
rm.get_logger('log', log_level='DEBUG')
"""
    done = run_with_fake(code)
    assert done.stderr == ''
    assert 'ringmeter - DEBUG - Get values on cuda:0 from the driver, without waiting' in done.stdout
