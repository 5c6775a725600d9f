"""mmengine's hooks with values on a CUDA device, on a driver without a GPU: nothing waits, times, deferred lines."""

from __future__ import annotations

import logging
import time
import types
from typing import Any

import pytest

torch = pytest.importorskip('torch')
pytest.importorskip('mmengine.runner')

import mmengine.hooks
import mmengine.logging
import mmengine.optim
import mmengine.runner

from ringmeter.integrations import mmengine as backend


class Runner:
    """What hooks see of a Runner, with the records that it was given."""

    experiment_name = 'cuda'
    epoch, max_epochs, max_iters = 0, 1, 6
    model = None

    def __init__(self, **processor: Any) -> None:
        self.message_hub = mmengine.logging.MessageHub('runner')
        self.log_processor = mmengine.runner.LogProcessor(**processor)
        self.iter = 0
        self.train_dataloader = self.val_dataloader = range(6)
        self.train_loop = self._train_loop = types.SimpleNamespace(dataloader=self.train_dataloader)
        self.val_loop = self.train_loop
        self.lines: list[str] = []
        self.records: list[tuple[int, dict[str, Any]]] = []
        self.logger = logging.Logger('runner')
        self.logger.addHandler(self)
        self.level = logging.INFO
        self.created: list[float] = []
        self.visualizer = self

    def handle(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.created.append(record.created)

    def add_scalars(self, tag: dict[str, Any], step: int, file_path: str | None = None) -> None:
        self.records.append((step, tag))

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def _no_backend():
    yield
    backend.uninstall()


def train(runner: Any, hooks: list[Any], outputs: Any) -> Any:
    """Call the hooks as the loop of an epoch does; ``outputs`` makes those of an iteration."""
    for hook in hooks:
        hook._before_epoch(runner, mode='train') if isinstance(hook, mmengine.hooks.IterTimerHook) else None
    for batch_idx in range(6):
        for hook in hooks:
            if isinstance(hook, mmengine.hooks.IterTimerHook):
                hook.before_train_iter(runner, batch_idx)
        made = outputs(batch_idx)
        for hook in hooks:
            hook.after_train_iter(runner, batch_idx, outputs=made)
        runner.iter += 1
        yield batch_idx


def make_hooks(interval: int = 2) -> list[Any]:
    hooks = [
        mmengine.hooks.RuntimeInfoHook(),
        mmengine.hooks.IterTimerHook(),
        mmengine.hooks.LoggerHook(interval=interval),
    ]
    hooks[2].json_log_path = None
    return hooks


def test_outputs_are_one_launch(cuda, stream):
    backend.install()
    runner = Runner()
    hook = mmengine.hooks.RuntimeInfoHook()
    before = cuda.calls('cuLaunchKernel')
    hook.after_train_iter(runner, 0, outputs={f'loss{i}': cuda.FakeCudaTensor(i) for i in range(8)})
    assert cuda.calls('cuLaunchKernel') == before + 1
    assert runner.message_hub.get_scalar('train/loss7').current() == 7.0


def test_no_hook_waits_and_lines_come_when_their_values_have_landed(cuda, stream):
    backend.install('deferred')
    runner = Runner(window_size=2)
    cuda.pause(stream)  # whoever waits for it waits for ever
    for batch_idx in train(runner, make_hooks(), lambda i: {'loss': cuda.FakeCudaTensor(float(i))}):
        if batch_idx < 5:  # the last writes them all
            assert runner.lines == []
        if batch_idx == 4:
            cuda.pause(stream, False)
    assert [line.rpartition('loss: ')[2] for line in runner.lines] == [
        '0.5000',
        '2.5000',
        'Exp name: cuda',
        '4.5000',
    ]
    assert [(step, tag['iter'], tag['loss']) for step, tag in runner.records] == [
        (2, 2, 0.5),
        (4, 4, 2.5),
        (6, 6, 4.5),
    ]
    assert runner.created == sorted(runner.created)


def test_lines_that_still_wait_come_before_those_of_validation(cuda, stream):
    backend.install('deferred')
    runner = Runner(window_size=2)
    hooks = make_hooks(interval=5)
    cuda.pause(stream)
    for batch_idx in train(runner, hooks, lambda i: {'loss': cuda.FakeCudaTensor(float(i))}):
        if batch_idx == 4:
            break
    runner.message_hub.update_scalar('val/acc', 1.0)
    assert runner.lines == []
    cuda.pause(stream, False)
    hooks[2].after_val_epoch(runner)
    assert [line[:12] for line in runner.lines] == ['Epoch(train)', 'Epoch(val) [']


def test_lines_of_two_hooks_are_in_order(cuda, stream):
    backend.install('deferred')
    runner = Runner(window_size=1)
    hooks = [*make_hooks(interval=4), *make_hooks(interval=3)[2:]]
    cuda.pause(stream)
    for batch_idx in train(runner, hooks, lambda i: {'loss': cuda.FakeCudaTensor(float(i))}):
        if batch_idx == 4:
            cuda.pause(stream, False)
            break
    backend.uninstall()
    assert [line.split()[1] for line in runner.lines] == ['[1][3/6]', '[1][4/6]']


def test_later_runner_of_the_same_name_may_reduce(cuda, stream):
    backend.install('deferred')
    first, second = Runner(window_size=1), Runner(window_size=1, reduce='sum')
    second.message_hub = first.message_hub  # as Runners of one experiment_name have it
    for runner in (first, second, first):
        written = []
        for _ in train(runner, make_hooks(), lambda i: {'loss': float(i)}):
            cuda.sync(stream)
            written.append(len(runner.lines))
        if runner is second:  # two iterations later, whenever values land: as on every rank
            assert written == [0, 0, 0, 1, 1, 4]
        runner.lines.clear()


def test_processor_of_the_user_may_ask_the_hub_of_a_deferred_line(cuda, stream):
    backend.install('deferred')

    class Asking(mmengine.runner.LogProcessor):
        def get_log_after_iter(self, runner, batch_idx, mode):
            tag, _ = super().get_log_after_iter(runner, batch_idx, mode)
            hub = runner.message_hub
            return (
                tag,
                f'{hub.get_scalar("train/loss").current()} {hub.get_info("eta") is not None} {runner.iter}',
            )

    runner = Runner()
    runner.log_processor = Asking()
    cuda.pause(stream)
    for batch_idx in train(runner, make_hooks(interval=2), lambda i: {'loss': cuda.FakeCudaTensor(float(i))}):
        if batch_idx == 4:
            cuda.pause(stream, False)
            break
    backend.uninstall()
    assert runner.lines == ['1.0 True 1', '3.0 True 3']


def test_time_of_an_iteration_without_losses_is_not_counted_twice(cuda, stream):
    backend.install()
    runner = Runner()
    hooks = make_hooks(interval=100)[:2]
    for _ in train(runner, hooks, lambda i: {'loss': cuda.FakeCudaTensor(float(i)) if i % 2 else 1.0}):
        time.sleep(0.001)
    assert is_of_device(runner.message_hub.get_scalar('train/time').data[0]) == [False, True] * 3


def test_output_that_is_no_scalar_leaves_times_to_the_device(cuda, stream):
    backend.install()
    runner = Runner()
    made = {'loss': cuda.FakeCudaTensor(1.0), 'odd': torch.ones(2)}
    for _ in train(runner, make_hooks(interval=100)[:2], lambda _: made):
        time.sleep(0.001)
    assert is_of_device(runner.message_hub.get_scalar('train/time').data[0]) == [False] + [True] * 5


def test_end_of_a_run_writes_what_still_waits(cuda, stream):
    backend.install('deferred')
    runner = Runner(window_size=2)
    hooks = make_hooks(interval=5)
    hooks[2].out_dir = None
    cuda.pause(stream)
    for batch_idx in train(runner, hooks, lambda i: {'loss': cuda.FakeCudaTensor(float(i))}):
        if batch_idx == 4:
            break
    assert runner.lines == []
    cuda.pause(stream, False)
    hooks[2].after_run(runner)
    assert len(runner.lines) == 1


def test_line_whose_window_has_left_a_short_history_is_left_out(cuda, stream, caplog):
    backend.install('deferred')
    runner = Runner(window_size=2)
    runner.message_hub._log_scalars['train/short'] = mmengine.logging.HistoryBuffer(max_length=2)
    runner.message_hub.update_scalar('train/short', 1.0)
    cuda.pause(stream)
    hooks = make_hooks(interval=4)
    for batch_idx in train(runner, hooks, lambda i: {'loss': cuda.FakeCudaTensor(float(i))}):
        if batch_idx == 3:
            for value in range(10_000):
                runner.message_hub.update_scalar('train/short', float(value))
            break
    cuda.pause(stream, False)
    with caplog.at_level(logging.WARNING, 'ringmeter'):
        hooks[2].after_run(runner)
    assert runner.lines == []
    assert "the line of iteration 4 of train is left out: series 'train/short': at must be" in caplog.text


def test_uninstalling_writes_what_still_waits(cuda, stream):
    backend.install('deferred')
    runner = Runner(window_size=2)
    cuda.pause(stream)
    for batch_idx in train(runner, make_hooks(interval=5), lambda i: {'loss': cuda.FakeCudaTensor(float(i))}):
        if batch_idx == 4:
            break
    assert runner.lines == []
    cuda.pause(stream, False)
    backend.uninstall()
    assert len(runner.lines) == 1


def test_line_now_waits_for_its_values_only(cuda, stream):
    backend.install()
    runner = Runner(window_size=2)
    for _ in train(runner, make_hooks(), lambda i: {'loss': cuda.FakeCudaTensor(float(i))}):
        pass
    assert [line.rpartition('loss: ')[2] for line in runner.lines] == [
        '0.5000',
        '2.5000',
        'Exp name: cuda',
        '4.5000',
    ]


def is_of_device(seconds: Any) -> list[bool]:
    """Whose clock they are: the fake's goes on by 32 ns whenever it is read."""
    return [bool(each < 1e-5) for each in seconds]


def test_time_is_that_of_the_device_from_the_second_iteration_on(cuda, stream):
    backend.install()
    runner = Runner()
    hooks = make_hooks(interval=100)[:2]
    for _ in train(runner, hooks, lambda i: {'loss': cuda.FakeCudaTensor(float(i))}):
        time.sleep(0.001)
    times = runner.message_hub.get_scalar('train/time').data[0]
    assert is_of_device(times) == [False] + [True] * 5
    runner.iter = 0
    for _ in train(runner, hooks, lambda i: {'loss': cuda.FakeCudaTensor(float(i))}):
        time.sleep(0.001)
    times = runner.message_hub.get_scalar('train/time').data[0]
    assert is_of_device(times) == [False] + [True] * 11
    assert runner.message_hub.get_info('eta') == 0.0


def test_time_is_that_of_the_host_where_nothing_is_on_a_device(cuda, stream):
    backend.install()
    runner = Runner()
    for _ in train(runner, make_hooks(interval=100)[:2], lambda i: {'loss': float(i)}):
        time.sleep(0.001)
    times = runner.message_hub.get_scalar('train/time').data[0]
    assert is_of_device(times) == [False] * 6


def test_validation_between_iterations_is_no_time_of_theirs(cuda, stream):
    backend.install()
    runner = Runner()
    hooks = make_hooks(interval=100)[:2]
    timer = hooks[1]
    for batch_idx in train(runner, hooks, lambda i: {'loss': cuda.FakeCudaTensor(float(i))}):
        if batch_idx == 2:
            timer._before_epoch(runner, mode='val')
            for val_idx in range(3):
                timer._before_iter(runner, val_idx, mode='val')
                time.sleep(0.05)
                timer._after_iter(runner, val_idx, mode='val')
            timer._after_epoch(runner, mode='val')
    times = runner.message_hub.get_scalar('train/time').data[0]
    assert is_of_device(times) == [False] + [True] * 5
    assert is_of_device(runner.message_hub.get_scalar('val/time').data[0]) == [False, True, True]
    assert max(times[1:]) < 4 * times[1]  # without the ticks of the validation


def test_norm_of_gradients_is_recorded_as_it_is(cuda, stream):
    backend.install()
    hub = mmengine.logging.MessageHub.get_instance('norm')
    norm = cuda.FakeCudaTensor(3.5)
    parameter = torch.nn.Parameter(torch.ones(1))
    wrapper = mmengine.optim.OptimWrapper(torch.optim.SGD([parameter], lr=0.1), clip_grad={'max_norm': 1.0})
    wrapper.clip_func = lambda *_, **__: norm
    cuda.pause(stream)
    parameter.sum().backward()
    wrapper.step()
    assert hub.get_scalar('train/grad_norm').landed == 0
    cuda.pause(stream, False)
    assert hub.get_scalar('train/grad_norm').current() == 3.5
    mmengine.logging.MessageHub._instance_dict.clear()


def test_checkpoint_keeps_what_had_landed_of_a_device_that_failed(run_with_fake):
    done = run_with_fake("""
import warnings; warnings.simplefilter('ignore')
import logging
import fake_cuda_tensor as cuda
import mmengine.logging
from ringmeter.integrations import mmengine as backend
backend.install()
hub = mmengine.logging.MessageHub('failing')
hub.update_scalar('loss', cuda.FakeCudaTensor(1.5))
print(hub.state_dict()['log_scalars']['loss'].data[0].tolist())
stream = cuda.default_stream(0)
cuda.pause(stream)
hub.update_scalar('loss', cuda.FakeCudaTensor(2.5))
cuda.fail('cuStreamQuery', 1, 719, True)
print(hub.state_dict()['log_scalars']['loss'].data[0].tolist())
cuda.pause(stream, False)
""")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ['[1.5]', '[1.5]']
    assert 'of 2 values, the 1 before it are saved' in done.stderr
