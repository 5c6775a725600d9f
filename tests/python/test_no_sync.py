"""Steps that wait for the device are found, and the line that does is named.

There is no GPU: torch's part of it is a double, ringmeter's values are on the fake driver.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import re
import sys
import threading
import types
import warnings

import numpy as np
import pytest

import ringmeter as rm
from ringmeter import _core, _scalars, _staging

torch = pytest.importorskip('torch')

pytest_plugins = ['pytester']


def of_module(name):
    """Makes the frames of a function look as if it were of that module."""

    def decorate(function):
        return types.FunctionType(function.__code__, {**globals(), '__name__': name}, function.__name__)

    return decorate


class Torch:
    """What torch does on a machine with a GPU, as far as waiting goes; and one tensor that is there."""

    def __init__(self):
        self.mode = 0
        self.waits = 0
        self.is_warned = False

    def set_mode(self, mode):
        if not self.is_warned:
            self.is_warned = True
            warnings.warn('Synchronization debug mode is a prototype feature', UserWarning, stacklevel=2)
        self.mode = {'default': 0, 'warn': 1, 'error': 2}.get(mode, mode)

    @of_module('torch._tensor')
    def item(self):
        return self.call_in_library()

    @of_module('functools')
    def call_in_library(self):
        return self.wait()

    @of_module('torch')
    def wait(self):
        if self.mode == 2:
            raise RuntimeError('called a synchronizing CUDA operation')
        self.waits += 1
        return 1.0

    @of_module('torch')
    def synchronize(self, *_):
        self.waits += 1


@pytest.fixture
def gpu(monkeypatch):
    gpu = Torch()
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_sync_debug_mode', lambda: gpu.mode)
    monkeypatch.setattr(torch.cuda, 'set_sync_debug_mode', gpu.set_mode)
    monkeypatch.setattr(torch._C, '_cuda_synchronize', gpu.synchronize, raising=False)
    monkeypatch.setattr(torch._C, '_accelerator_synchronizeDevice', gpu.synchronize)
    monkeypatch.setattr(torch.cuda, '_lazy_init', lambda: None)
    monkeypatch.setattr(torch.cuda, 'device', lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda **_: 0)
    monkeypatch.setattr(torch.cuda, 'reset_peak_memory_stats', lambda: None)
    for owner in (torch.cuda.Stream, torch.cuda.Event):
        monkeypatch.setattr(owner, 'synchronize', gpu.synchronize)
    return gpu


@contextlib.contextmanager
def found(match='must not wait'):
    with pytest.raises(rm.SyncError, match=match) as raised, rm.no_sync():
        yield raised


def line_of(function, text):
    """Where a line with that text is, in a function of this file."""
    lines, first = inspect.getsourcelines(function)
    (offset,) = (i for i, line in enumerate(lines) if text in line)
    return first + offset


def step(value):
    total = 0.0
    total += value.item()
    return total


def test_wait_inside_of_torch_names_the_line_of_the_user(gpu):
    message = (
        f'the step must not wait for the device, but {__file__}:{line_of(step, "item()")} does: '
        'total += value.item() (called a synchronizing CUDA operation)'
    )
    with found(f'^{re.escape(message)}$') as raised:
        step(gpu)
    assert (raised.value.filename, raised.value.lineno) == (__file__, line_of(step, 'item()'))
    assert type(raised.value.__cause__) is RuntimeError
    assert str(raised.value.__cause__) == 'called a synchronizing CUDA operation'


@pytest.mark.parametrize(
    ('wait', 'name'),
    [
        (torch.cuda.synchronize, 'torch.cuda.synchronize'),
        (lambda: torch.accelerator.synchronize(0), 'torch.accelerator.synchronize'),
        (lambda: torch.cuda.Stream.synchronize(None), 'torch.cuda.Stream.synchronize'),
        (lambda: torch.cuda.Event.synchronize(None), 'torch.cuda.Event.synchronize'),
    ],
)
def test_explicit_wait_is_found_and_works_again_behind(gpu, wait, name):
    own = [torch.cuda.Event.synchronize, torch.cuda.Stream.synchronize, torch._C._cuda_synchronize]
    with found(re.escape(f'({name}() must not be called)')):
        wait()
    assert gpu.waits == 0
    wait()
    assert gpu.waits == 1
    assert own == [torch.cuda.Event.synchronize, torch.cuda.Stream.synchronize, torch._C._cuda_synchronize]


def test_synchronize_that_a_class_inherits_is_found_and_inherited_again(gpu, monkeypatch):
    monkeypatch.delattr(torch.cuda.Event, 'synchronize')
    base = torch.cuda.Event.__mro__[1]
    monkeypatch.setattr(base, 'synchronize', gpu.synchronize, raising=False)
    with found(r'torch\.cuda\.Event\.synchronize'):
        torch.cuda.Event.synchronize(None)
    assert 'synchronize' not in vars(torch.cuda.Event)


@pytest.mark.parametrize('mode', [0, 1, 2])
def test_mode_is_what_it_was_before(gpu, mode):
    gpu.mode = mode
    with rm.no_sync():
        assert gpu.mode == 2
    assert gpu.mode == mode
    with pytest.raises(KeyError), rm.no_sync():
        raise KeyError
    assert gpu.mode == mode
    with found():
        torch.cuda.synchronize()
    assert gpu.mode == mode
    assert _core.waits_are_allowed()


def test_nested_blocks_end_with_the_outermost_and_name_the_line_once(gpu):
    with rm.no_sync():
        with found(r'^the step must not .* \(called a .* operation\)$'), rm.no_sync():
            gpu.item()
        assert gpu.mode == 2
        assert not _core.waits_are_allowed()
    assert gpu.mode == 0
    assert _core.waits_are_allowed()


def test_blocks_of_threads_that_overlap_leave_nothing_behind(gpu):
    begin, end = threading.Event(), threading.Event()

    def run():
        with rm.no_sync():
            begin.set()
            end.wait(10)

    thread = threading.Thread(target=run)
    with rm.no_sync():
        thread.start()
        begin.wait(10)
    assert gpu.mode == 2
    end.set()
    thread.join()
    assert gpu.mode == 0
    torch.cuda.synchronize()


def test_decorator_checks_each_call(gpu):
    @rm.no_sync()
    def decorated(tensor):
        return step(tensor)

    for _ in range(2):
        with pytest.raises(rm.SyncError, match=r'total \+= value\.item\(\)'):
            decorated(gpu)
    assert step(gpu) == 1.0


def test_wait_in_a_hook_of_backward_is_named_there(gpu):
    def hook(grad):
        torch.cuda.synchronize()

    weight = torch.ones(2, requires_grad=True)
    weight.register_hook(hook)
    with found() as raised:
        weight.sum().backward()
    assert raised.value.lineno == line_of(hook, 'torch.cuda.synchronize()')


@pytest.mark.filterwarnings('ignore')  # of torch.compile
def test_wait_in_a_compiled_step_is_named_there(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)  # while it is compiled, for the CPU
    wait = torch._dynamo.disable(gpu.item)

    @torch.compile(backend='eager')
    def compiled(x):
        y = x * 2
        wait()
        return y + 1

    x = torch.ones(3)
    assert compiled(x).tolist() == [3.0, 3.0, 3.0]
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    with found() as raised:
        compiled(x)
    assert raised.value.lineno == line_of(compiled, 'wait()')
    assert compiled(x).tolist() == [3.0, 3.0, 3.0]


def test_wait_behind_the_error_of_a_library_is_found(gpu):
    def load():
        try:
            gpu.item()
        except RuntimeError as error:
            raise ValueError('no batch') from error

    with found(r'gpu\.item\(\) \(called a') as raised:
        load()
    assert type(raised.value.__cause__) is ValueError


@pytest.mark.parametrize('error', [RuntimeError('shapes differ'), ValueError('called a synchronizing')])
def test_other_errors_pass(gpu, error):
    with pytest.raises(type(error)) as raised, rm.no_sync():
        raise error
    assert raised.value is error


def test_recording_does_not_wait_and_reading_what_has_not_landed_does(gpu, cuda, stream):
    hub = rm.MessageHub('steps')
    cuda.pause(stream)
    with rm.no_sync():
        hub.update_scalar('train/loss', cuda.FakeCudaTensor(1.5))
        hub.update_scalar('train/lr', 0.1)
        assert hub.get_scalar('train/lr').mean() == 0.1
    loss = hub.get_scalar('train/loss')
    with found(
        r'but .*test_no_sync\.py:\d+ does: loss\.mean\(\) '
        r"\(series 'train/loss': values that are still on a device must not be waited for\)$"
    ):
        loss.mean()
    cuda.pause(stream, False)
    cuda.sync(stream)
    with rm.no_sync():
        assert loss.mean() == 1.5
    hub.update_scalar('train/loss', cuda.FakeCudaTensor(0.5))
    assert loss.mean() == 1.0


def test_lines_that_wait_are_found_and_are_written_behind(gpu, cuda, stream):
    lines = []
    logger = logging.Logger('lines')
    logger.addHandler(handler := logging.Handler())
    handler.emit = lambda record: lines.append(record.getMessage().rpartition('loss: ')[2])
    meter = rm.LoopLogger(max_epochs=1, interval=2, window_size=1, logger=logger)
    cuda.pause(stream)
    batches = meter.train([1.0, 2.0, 3.0, 4.0])
    with rm.no_sync():
        for _ in range(4):
            meter.log(loss=cuda.FakeCudaTensor(next(batches)))
    with found(r'does: meter\.flush\(\) \(values that are still'):
        meter.flush()
    assert lines == []
    cuda.pause(stream, False)
    assert list(batches) == []
    assert lines == ['2.0000', '4.0000']


def test_recording_that_waits_for_room_is_found_and_records_nothing(gpu, cuda, stream):
    hub = rm.MessageHub('full')
    tensor = cuda.FakeCudaTensor(1.0)
    hub.update_scalar('n', tensor)
    cuda.sync(stream)
    cuda.pause(stream)
    try:
        with found(r"does: hub\.update_scalar\('n', tensor\) \(series 'n'"):
            for _ in range(70_000):
                hub.update_scalar('n', tensor)
        number = hub.get_scalar('n').position
    finally:
        cuda.pause(stream, False)
    assert 65_000 < number < 70_000
    assert hub.get_scalar('n').sum() == number


def test_fetching_staged_values_is_found_and_loses_nothing(gpu, monkeypatch):
    @of_module('ringmeter._tensors')
    def locate(value):
        return _staging.stage(torch, value.tensor)

    monkeypatch.setattr(_staging, '_stages', {})
    monkeypatch.setattr(_staging, '_SIZE', 2)
    monkeypatch.setattr(_scalars, 'locate', locate)
    hub = rm.MessageHub('staged')
    values = [Elsewhere(torch.tensor(x)) for x in (1.0, 2.0, 4.0)]
    with rm.no_sync():
        hub.update_scalar('a', values[0])
        hub.update_scalar('a', values[1])
    with found(r"update_scalar\('a', values\[2\]\) \(.*values that are staged on a device must not"):
        hub.update_scalar('a', values[2])
    with found(r"get_scalar\('a'\)\.max\(\) \(.*values that are staged on a device must not be waited"):
        hub.get_scalar('a').max()
    assert hub.get_scalar('a').data[0].tolist() == [1.0, 2.0]


def test_fetching_arrays_that_are_held_is_found_and_loses_nothing(gpu, monkeypatch):
    class Array:
        """As of JAX."""

        dtype, size = np.dtype('float32'), 1

        def copy_to_host_async(self):
            pass

        def item(self):
            return 0.5

    monkeypatch.setattr(_staging, '_held', [])
    history = rm.HistoryBuffer()
    with rm.no_sync():
        history.update(Array())
    with found(r'does: history\.current\(\) \(values that are staged on a device must not be waited for\)$'):
        history.current()
    assert history.current() == 0.5


class Elsewhere:
    """A tensor that goes to the stage of its device."""

    def __init__(self, tensor):
        self.tensor = tensor

    def numel(self):
        return 1


def test_machine_without_cuda_cannot_tell_and_runs_the_code(monkeypatch):
    def run():
        with rm.no_sync():
            return torch.ones(2).sum().item()

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.warns(RuntimeWarning, match='cannot tell .* no CUDA or ROCm device, and others do') as caught:
        assert run() == 2.0
    assert [(each.filename, each.lineno) for each in caught] == [(__file__, line_of(run, 'with rm.no_sync'))]


def test_forked_process_cannot_tell(monkeypatch, gpu):
    def get_mode():
        raise RuntimeError('Cannot re-initialize CUDA in forked subprocess')

    monkeypatch.setattr(torch.cuda, 'get_sync_debug_mode', get_mode)
    with pytest.warns(RuntimeWarning, match='whether the code waits: Cannot re-initialize'), rm.no_sync():
        torch.cuda.synchronize()
    assert gpu.waits == 1


def test_process_without_torch_cannot_tell(monkeypatch):
    monkeypatch.delitem(sys.modules, 'torch')
    with pytest.warns(RuntimeWarning, match='torch has not been imported'), rm.no_sync():
        pass


TESTS_OF_A_USER = """
    import torch
    import ringmeter as rm

    {how}

    mode = 0

    def set_mode(new):
        global mode
        mode = new

    torch.cuda.is_available = lambda: {available}
    torch.cuda.get_sync_debug_mode = lambda: mode
    torch.cuda.set_sync_debug_mode = set_mode

    def test_good(no_sync):
        with no_sync():
            torch.ones(2).sum()

    def test_bad(no_sync):
        torch.cuda.Event.synchronize
        with no_sync():
            torch.cuda.Event.synchronize(None)
"""


@pytest.mark.parametrize(
    'how', ["pytest_plugins = ['ringmeter.testing']", 'from ringmeter.testing import no_sync']
)
def test_fixture_fails_the_test_that_waits(pytester, how):
    pytester.makepyfile(TESTS_OF_A_USER.format(how=how, available=True))
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(['*SyncError: the step must not wait*torch.cuda.Event.synchronize(None)*'])


def test_fixture_loads_torch_for_a_test_that_has_not_yet(pytester):
    pytester.makepyfile("""
        import sys
        from ringmeter.testing import no_sync

        assert 'torch' not in sys.modules

        def test_step(no_sync):
            pass
    """)
    result = pytester.runpytest_subprocess('-rs')
    assert result.parseoutcomes().keys() <= {'passed', 'skipped'}
    result.stdout.no_fnmatch_line('*torch has not been imported*')


def test_fixture_skips_where_it_cannot_tell(pytester):
    how = 'from ringmeter.testing import no_sync'
    pytester.makepyfile(TESTS_OF_A_USER.format(how=how, available=False))
    result = pytester.runpytest_subprocess('-rs')
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(['*cannot tell whether the code waits: torch finds no CUDA or ROCm device*'])
