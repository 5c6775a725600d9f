"""mmengine with the backend switched on: what an unmodified Runner prints, writes and saves, and what comes back."""

from __future__ import annotations

import copy
import json
import logging
import pickle
import re
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

import ringmeter as rm

torch = pytest.importorskip('torch')
pytest.importorskip('mmengine.runner')

import mmengine.config
import mmengine.device
import mmengine.hooks
import mmengine.logging
import mmengine.optim
import mmengine.runner
import mmengine.visualization
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch.utils.data import Dataset

from ringmeter.integrations import mmengine as backend

# Of mmengine's and torch's own making.
pytestmark = [
    pytest.mark.filterwarnings('ignore::DeprecationWarning'),
    pytest.mark.filterwarnings('ignore::FutureWarning'),
    pytest.mark.filterwarnings('ignore::UserWarning'),
    pytest.mark.filterwarnings('ignore::ResourceWarning'),
]
STOCK = {
    'HistoryBuffer': mmengine.logging.HistoryBuffer,
    'MessageHub': mmengine.logging.MessageHub,
    'LogProcessor': mmengine.runner.LogProcessor,
}


@pytest.fixture(autouse=True)
def _no_backend(monkeypatch):
    # Iterations that begin an epoch sleep two seconds.
    monkeypatch.setattr(mmengine.runner.loops, 'time', types.SimpleNamespace(sleep=lambda _: None))
    yield
    backend.uninstall()
    forget_runs()


def forget_runs() -> None:
    """End what mmengine keeps by name, files of loggers among them."""
    for logger in mmengine.logging.MMLogger._instance_dict.values():
        for handler in logger.handlers:
            handler.close()
    for cls in (mmengine.logging.MessageHub, mmengine.logging.MMLogger, mmengine.visualization.Visualizer):
        cls._instance_dict.clear()


class Numbers(Dataset):
    """Points in three dimensions, of two classes."""

    def __init__(self) -> None:
        self.metainfo = {'classes': ('even', 'odd'), 'weights': np.array([0.5, 0.5])}

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        return {'inputs': torch.randn(3, generator=generator), 'label': torch.tensor([float(index % 2)])}


class Model(BaseModel):
    """The toy model of the documentation of mmengine's logging: two losses, and one that it only records."""

    def __init__(self, with_val_loss: bool = False) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 1)
        self.with_val_loss = with_val_loss

    def forward(self, inputs: Any, label: Any, mode: str = 'tensor') -> Any:
        if isinstance(inputs, list):
            inputs, label = torch.stack(inputs), torch.stack(label)
        feature = self.linear(inputs)
        if mode == 'loss':
            hub = mmengine.logging.MessageHub.get_current_instance()
            hub.update_scalar('train/loss_tmp', (feature - label).abs().sum())
            return {'loss1': (feature - label).pow(2), 'loss2': (feature - label).abs()}
        if not self.with_val_loss:
            return [feature]
        losses = BaseDataElement(loss={'loss1': feature.mean(), 'parts': [feature.min(), feature.max()]})
        return [feature, losses]


class Mean(BaseMetric):
    """The mean output, and an array."""

    def process(self, data_batch: Any, data_samples: Any) -> None:
        self.results.append(float(data_samples[0].mean()))

    def compute_metrics(self, results: list[float]) -> dict[str, Any]:
        return {'mean': sum(results) / len(results), 'array': torch.ones(2)}


def make_runner(
    work_dir: Path, by_epoch: bool = True, make_model: Callable[[], Model] = Model, **more: Any
) -> Runner:
    torch.manual_seed(0)
    loader = {
        'dataset': Numbers(),
        'batch_size': 4,
        'sampler': {'type': 'DefaultSampler', 'shuffle': False},
        'num_workers': 0,
    }
    train_cfg = {'by_epoch': True, 'max_epochs': 3}
    if not by_epoch:
        train_cfg = {'by_epoch': False, 'max_iters': 30, 'val_interval': 12}
    config = {
        'model': make_model(),
        'work_dir': str(work_dir),
        'experiment_name': 'backend',
        'train_dataloader': loader,
        'val_dataloader': loader,
        'val_cfg': {},
        'val_evaluator': [Mean()],
        'test_dataloader': loader,
        'test_cfg': {},
        'test_evaluator': [Mean()],
        'train_cfg': train_cfg,
        'optim_wrapper': {
            'optimizer': {'type': 'SGD', 'lr': 0.01, 'momentum': 0.9},
            'clip_grad': {'max_norm': 1.0},
        },
        'param_scheduler': {'type': 'ExponentialLR', 'gamma': 0.9},
        'log_processor': {
            'window_size': 5,
            'by_epoch': by_epoch,
            'custom_cfg': [
                {'data_src': 'loss_tmp', 'window_size': 4, 'method_name': 'mean'},
                {'data_src': 'loss', 'log_name': 'most', 'window_size': 'global', 'method_name': 'max'},
            ],
        },
        'default_hooks': {
            'logger': {'type': 'LoggerHook', 'interval': 4},
            'checkpoint': {'type': 'CheckpointHook', 'interval': 1 if by_epoch else 10, 'by_epoch': by_epoch},
        },
        'randomness': {'seed': 0},
    }
    return Runner(**(config | more))


def without_times(text: str) -> str:
    for pattern, replacement in (
        (r'\d{4}/\d\d/\d\d \d\d:\d\d:\d\d', 'WHEN'),
        (r'\d{8}_\d{6}', 'WHEN'),
        (r'(eta|\btime|data_time): [\d:.]+', r'\1: TIME'),
        (r'"(time|data_time)": [\d.e-]+', r'"\1": TIME'),
    ):
        text = re.sub(pattern, replacement, text)
    return text


def outputs(work_dir: Path) -> tuple[str, str]:
    """The log and the records of the only run in a folder, its folders and times masked."""
    (log,) = work_dir.glob('*/*.log')
    (records,) = work_dir.glob('*/vis_data/scalars.json')
    masked = without_times(log.read_text()).replace(str(work_dir), 'WORK_DIR')
    return masked[
        masked.index('Epoch(train)' if 'Epoch(train)' in masked else 'Iter(train)') :
    ], without_times(records.read_text())


def run(work_dir: Path, with_test: bool = True, **config: Any) -> tuple[str, str]:
    runner = make_runner(work_dir, **config)
    runner.train()
    if with_test:
        runner.test()
    forget_runs()
    return outputs(work_dir)


def lines_of_hook(log: str) -> list[str]:
    """Those of LoggerHook. When they are deferred, they may come behind others'."""
    return re.findall(r'(?:(?:Epoch|Iter)[(](?:train|val|test)[)]|Exp name).*', log)


# ---- a run ----


@pytest.mark.parametrize('with_val_loss', [False, True])
@pytest.mark.parametrize('by_epoch', [True, False])
def test_runner_prints_and_writes_what_it_does_without_the_backend(tmp_path, by_epoch, with_val_loss):
    log, records = run(tmp_path / 'stock', by_epoch=by_epoch, make_model=lambda: Model(with_val_loss))
    assert log.count('(train)') >= 6
    assert log.count('grad_norm: ') >= 6
    assert len(records.splitlines()) >= 8
    with backend.accelerated():
        assert run(tmp_path / 'now', by_epoch=by_epoch, make_model=lambda: Model(with_val_loss)) == (
            log,
            records,
        )
    with backend.accelerated('deferred'):
        ours = run(tmp_path / 'deferred', by_epoch=by_epoch, make_model=lambda: Model(with_val_loss))
    assert lines_of_hook(ours[0]) == lines_of_hook(log)
    assert ours[1] == records


def test_validation_shows_its_lines_when_lines_are_deferred(tmp_path):
    log, _ = run(tmp_path / 'stock', with_test=False)
    with backend.accelerated('deferred'):
        ours, _ = run(tmp_path / 'ours', with_test=False)
    assert 'Epoch(val) [1][ 4/10]' in ours
    assert lines_of_hook(ours) == lines_of_hook(log)


def test_runner_of_processor_of_ours_works_without_the_backend(tmp_path):
    config = {'window_size': 5, 'by_epoch': True}
    expected = run(tmp_path / 'stock', log_processor=config)
    assert run(tmp_path / 'ours', log_processor={'type': 'ringmeter.LogProcessor', **config}) == expected


def test_runner_of_a_processor_of_the_users_own_works(tmp_path):
    class Shouting(STOCK['LogProcessor']):
        def get_log_after_iter(self, *args):
            tag, line = super().get_log_after_iter(*args)
            return tag, line.replace('loss', 'LOSS')

    expected = run(tmp_path / 'stock', log_processor=Shouting(window_size=5))
    with backend.accelerated('deferred'):  # those are not deferred
        assert run(tmp_path / 'ours', log_processor=Shouting(window_size=5)) == expected
    assert 'LOSS2: ' in expected[0]


def test_output_that_is_no_scalar_is_reported_once_and_training_goes_on(tmp_path, caplog):
    class Odd(Model):
        def train_step(self, data, optim_wrapper):
            return {**super().train_step(data, optim_wrapper), 'map': torch.ones(2, 2)}

    backend.install()
    runner = make_runner(tmp_path, make_model=Odd)
    with caplog.at_level(logging.WARNING, 'ringmeter'):
        runner.train()
    assert len(runner.message_hub.get_scalar('train/loss').data[0]) == 30
    assert 'train/map' not in runner.message_hub.log_scalars
    messages = [record.getMessage() for record in caplog.records if record.name == 'ringmeter']
    assert messages == [
        "an output of the model is not recorded as 'train/map': series 'train/map': value must be one real "
        'number, got 4 elements (shape (2, 2))'
    ]


@pytest.mark.parametrize('value', [{'a': 1.0}, {'value': 3.0, 'count': 2}, 'text', [1.0, 2.0]])
def test_outputs_of_any_kind_do_not_stop_training(tmp_path, caplog, value):
    backend.install()
    runner = types.SimpleNamespace(message_hub=mmengine.logging.MessageHub('outputs'))
    hook = mmengine.hooks.RuntimeInfoHook()
    with caplog.at_level(logging.WARNING, 'ringmeter'):
        for loss in (1.0, 2.0):
            hook.after_train_iter(runner, 0, outputs={'loss': loss, 'odd': value})
    assert list(runner.message_hub.log_scalars) == ['train/loss']
    assert runner.message_hub.get_scalar('train/loss').data[0].tolist() == [1.0, 2.0]
    assert caplog.text.count("an output of the model is not recorded as 'train/odd'") == 1


def test_validation_loss_that_is_no_scalar_leaves_no_history(tmp_path):
    backend.install()
    outputs = [0, BaseDataElement(loss={'map': torch.ones(2), 'loss': torch.tensor(2.0)})]
    rest, losses = mmengine.runner.loops._update_losses(outputs, {})
    assert rest == [0]
    assert list(losses) == ['loss']
    assert losses['loss'].mean() == 2.0


def test_hook_with_rules_of_its_own_is_asked(tmp_path):
    class First(mmengine.hooks.LoggerHook):
        def every_n_inner_iters(self, batch_idx, n):
            return batch_idx == 0

    hook = {'logger': First(interval=4), 'checkpoint': None}
    expected = run(tmp_path / 'stock', with_test=False, default_hooks=hook)
    assert 'Epoch(train) [1][ 1/10]' in expected[0]
    for lines in ('now', 'deferred'):
        with backend.accelerated(lines):
            ours = run(tmp_path / lines, with_test=False, default_hooks=hook)
        assert lines_of_hook(ours[0]) == lines_of_hook(expected[0])


# ---- on and off ----


def names_of_mmengine() -> dict[tuple[str, str], int]:
    """What every name means, in every module and class of mmengine."""
    names = {}
    for module_name, module in list(sys.modules.items()):
        if module_name.split('.')[0] != 'mmengine':
            continue
        for name, value in vars(module).items():
            names[module_name, name] = id(value)
            if isinstance(value, type) and value.__module__.startswith('mmengine'):
                for attribute, content in vars(value).items():
                    if not attribute.startswith('__'):
                        names[f'{module_name}.{name}', attribute] = id(content)
    return names


def test_everything_is_put_back():
    before = names_of_mmengine()
    processors = dict(mmengine.registry.LOG_PROCESSORS.module_dict)
    instances = rm.MessageHub._instance_dict
    backend.install('deferred')
    during = names_of_mmengine()
    changed = {name for name in before if before[name] != during.get(name)}
    assert len(changed) > 20
    assert ('mmengine.runner.runner', 'MessageHub') in changed
    assert ('mmengine.runner._flexible_runner', 'MessageHub') in changed
    assert ('mmengine.hooks.IterTimerHook', '_after_iter') in changed
    assert ('mmengine.device.utils', 'get_max_cuda_memory') in changed
    backend.uninstall()
    assert names_of_mmengine() == before
    assert dict(mmengine.registry.LOG_PROCESSORS.module_dict) == processors
    assert rm.MessageHub._instance_dict is instances


def test_names_that_others_imported_change_too_and_back(monkeypatch):
    before = types.ModuleType('imported_before')
    before.Hub = STOCK['MessageHub']
    monkeypatch.setitem(sys.modules, 'imported_before', before)
    backend.install()
    after = types.ModuleType('imported_after')
    exec('from mmengine.logging import HistoryBuffer\nfrom mmengine.runner import LogProcessor', vars(after))
    monkeypatch.setitem(sys.modules, 'imported_after', after)
    assert issubclass(before.Hub, rm.MessageHub)
    assert issubclass(after.HistoryBuffer, rm.HistoryBuffer)
    assert issubclass(after.LogProcessor, rm.LogProcessor)
    backend.uninstall()
    assert before.Hub is STOCK['MessageHub']
    assert after.HistoryBuffer is STOCK['HistoryBuffer']
    assert after.LogProcessor is STOCK['LogProcessor']


def test_what_somebody_else_replaced_meanwhile_stays(monkeypatch):
    backend.install()
    monkeypatch.setattr(mmengine.hooks.IterTimerHook, '_after_iter', print)
    backend.uninstall()
    assert mmengine.hooks.IterTimerHook._after_iter is print


def test_debug_log_names_what_is_replaced(chosen):
    backend.install()
    names = {line.split('`')[1]: line.split('`')[3] for line in chosen() if '`' in line}
    assert names['mmengine.logging.message_hub.MessageHub'] == (
        'ringmeter.integrations.mmengine._classes.MessageHub'
    )
    assert names['mmengine.hooks.runtime_info_hook.RuntimeInfoHook.after_train_iter'] == (
        'ringmeter.integrations.mmengine._hooks.record_outputs'
    )
    assert 'Get mmengine from ringmeter' in chosen()
    backend.install('deferred')
    assert "Get mmengine's lines from a queue, until their values have landed" in chosen()
    backend.uninstall()
    assert 'Get mmengine from its own classes and methods' in chosen()


def test_installing_twice_is_installing_once():
    before = names_of_mmengine()
    backend.install()
    during = names_of_mmengine()
    backend.install()
    assert names_of_mmengine() == during
    backend.install('deferred')
    assert names_of_mmengine() != during
    backend.install('now')
    assert names_of_mmengine() == during
    backend.uninstall()
    assert names_of_mmengine() == before
    backend.uninstall()
    assert names_of_mmengine() == before


def test_block_inside_of_an_installed_backend_changes_nothing():
    backend.install()
    during = names_of_mmengine()
    with backend.accelerated('deferred'):
        assert names_of_mmengine() == during
    assert names_of_mmengine() == during


def test_block_ends_with_an_exception_too():
    with pytest.raises(ZeroDivisionError), backend.accelerated():
        assert issubclass(mmengine.logging.MessageHub, rm.MessageHub)
        raise ZeroDivisionError
    assert mmengine.logging.MessageHub is STOCK['MessageHub']


def test_unknown_form_of_lines_is_refused_and_changes_nothing():
    before = names_of_mmengine()
    with pytest.raises(rm.ArgumentError, match="^lines must be 'now' or 'deferred', got 'later'$"):
        backend.install('later')
    assert names_of_mmengine() == before


def test_runner_from_before_goes_on_with_what_it_has(tmp_path):
    expected = run(tmp_path / 'stock')
    runner = make_runner(tmp_path / 'ours')
    backend.install('deferred')
    assert mmengine.logging.MessageHub.get_current_instance() is runner.message_hub
    assert isinstance(runner.message_hub, mmengine.logging.MessageHub)
    runner.train()
    runner.test()  # with a hub of mmengine's, lines are not deferred
    assert type(runner.message_hub) is STOCK['MessageHub']
    assert outputs(tmp_path / 'ours') == expected


def test_runner_goes_on_when_the_backend_is_gone(tmp_path):
    expected = run(tmp_path / 'stock')
    backend.install()
    runner = make_runner(tmp_path / 'ours')
    backend.uninstall()
    assert mmengine.logging.MessageHub.get_current_instance() is runner.message_hub
    runner.train()
    runner.test()
    assert isinstance(runner.message_hub, rm.MessageHub)
    assert outputs(tmp_path / 'ours') == expected


def test_hubs_of_ringmeter_and_of_mmengine_are_the_same_meanwhile():
    backend.install()
    hub = mmengine.logging.MessageHub.get_instance('shared')
    assert rm.MessageHub.get_current_instance() is hub
    assert STOCK['MessageHub'].get_current_instance() is hub
    backend.uninstall()
    assert not rm.MessageHub.check_instance_created('shared')
    assert mmengine.logging.MessageHub.get_instance('shared') is hub


def test_config_switches_it_on(tmp_path):
    config = tmp_path / 'config.py'
    config.write_text("custom_imports = dict(imports=['ringmeter.integrations.mmengine.auto'])\n")
    code = f"""
from mmengine.config import Config
from mmengine.logging import MessageHub
Config.fromfile({str(config)!r})
import mmengine.runner.runner
print(mmengine.runner.runner.MessageHub.__module__, MessageHub.__module__)
"""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ['ringmeter.integrations.mmengine._classes'] * 2


def test_missing_mmengine_is_an_error_that_says_what_to_install():
    code = """
import importlib.metadata as metadata
def version(_): raise metadata.PackageNotFoundError
metadata.version = version
import ringmeter.integrations.mmengine
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ImportError: mmengine must be 0.10 or newer, got none: pip install 'ringmeter[mmengine]'"
    )


# ---- classes ----


def test_classes_take_the_place_of_mmengines():
    history = STOCK['HistoryBuffer']([1.0], [1])
    backend.install()
    assert isinstance(history, mmengine.logging.HistoryBuffer)
    assert isinstance(STOCK['LogProcessor'](), mmengine.runner.LogProcessor)
    hub = mmengine.logging.MessageHub('types')
    hub.update_scalar('a', 1.0)
    assert type(hub.get_scalar('a')) is mmengine.logging.HistoryBuffer
    assert (
        type(mmengine.registry.LOG_PROCESSORS.build({'type': 'LogProcessor'})) is mmengine.runner.LogProcessor
    )


def test_history_of_a_class_of_the_user_stays_one(tmp_path):
    backend.install()

    class Mine(mmengine.logging.HistoryBuffer):
        pass

    with patch.object(sys.modules[__name__], 'Mine', Mine, create=True):
        Mine.__qualname__ = 'Mine'
        history = Mine([1.0, 2.0], [1, 1])
        for copied in (copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
            assert type(copied) is Mine
            assert copied.data[0].tolist() == [1.0, 2.0]


def test_stock_class_of_the_user_without_an_instance_works_before_and_after():
    class Mine(STOCK['HistoryBuffer']):
        pass

    backend.install()
    assert Mine([1.0, 3.0], [1, 1]).statistics('mean') == 2.0
    backend.uninstall()
    assert Mine([1.0, 3.0], [1, 1]).statistics('mean') == 2.0


def test_statistics_of_the_user_are_known_before_and_after():
    def spread(buffer, factor):
        return factor * (max(buffer._log_history) - min(buffer._log_history))

    def product(buffer):
        return buffer._log_history.prod()

    stock = STOCK['HistoryBuffer']
    with patch.dict(stock._statistics_methods), patch.dict(rm.HistoryBuffer._statistics_methods):
        stock.register_statistics(spread)
        backend.install()
        cls = mmengine.logging.HistoryBuffer
        assert cls([1.0, 4.0], [1, 1]).statistics('spread', factor=2) == 6.0
        cls.register_statistics(test_statistics_of_the_user_are_known_before_and_after)
        backend.uninstall()
        name = 'test_statistics_of_the_user_are_known_before_and_after'
        assert stock._statistics_methods[name] is test_statistics_of_the_user_are_known_before_and_after


# ---- checkpoints ----


def histories(checkpoint: Any) -> dict[str, tuple[list[float], list[int]]]:
    return {
        key: (history._log_history.tolist(), history._count_history.tolist())
        for key, history in checkpoint['message_hub']['log_scalars'].items()
        if not key.endswith('time')
    }


@pytest.fixture
def checkpoints(tmp_path):
    """Checkpoints after two of three epochs, by who wrote them."""
    paths = {}
    for name in ('stock', 'ours'):
        if name == 'ours':
            backend.install()
        run(tmp_path / name, with_test=False)
        paths[name] = tmp_path / name / 'epoch_2.pth'
    backend.uninstall()
    return paths


def test_checkpoints_hold_the_same_and_load_without_ringmeter(checkpoints):
    code = f"""
import sys
sys.modules['ringmeter'] = None
import torch
from mmengine.logging import HistoryBuffer, MessageHub
found = torch.load({str(checkpoints['ours'])!r}, weights_only=False)['message_hub']
hub = MessageHub('x')
hub.load_state_dict(found)
assert {{type(history) for history in hub.log_scalars.values()}} == {{HistoryBuffer}}
hub.update_scalar('train/loss', 1.5)
print(len(hub.get_scalar('train/loss')._log_history), hub.get_scalar('train/loss').mean(1), hub.get_info('epoch'))
print(hub.get_scalar('train/loss').statistics(method_name='max', window_size=1), len(hub._resumed_keys))
"""
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    ours, stock = (torch.load(checkpoints[name], weights_only=False) for name in ('ours', 'stock'))
    keys = len(stock['message_hub']['resumed_keys'])
    assert done.stdout.splitlines() == ['21 1.5 1', f'1.5 {keys}']
    assert histories(ours) == histories(stock)
    assert list(ours['message_hub']['log_scalars']) == list(stock['message_hub']['log_scalars'])
    assert ours['message_hub']['resumed_keys'] == stock['message_hub']['resumed_keys']
    infos = [checkpoint['message_hub']['runtime_info'] for checkpoint in (ours, stock)]
    assert list(infos[0]) == list(infos[1])
    assert {type(history) for history in ours['message_hub']['log_scalars'].values()} == {
        STOCK['HistoryBuffer']
    }


@pytest.mark.parametrize('writer', ['stock', 'ours'])
def test_run_is_resumed_from_either_kind_under_weights_only(tmp_path, checkpoints, monkeypatch, writer):
    resumed = {'resume': True, 'load_from': str(checkpoints[writer])}
    load = torch.load
    with monkeypatch.context() as patched:  # mmengine cannot, on torch 2.6 and later
        patched.setattr(torch, 'load', lambda *args, **kwargs: load(*args, **kwargs, weights_only=False))
        expected = run(tmp_path / 'resumed_by_stock', **resumed)
    kinds = []
    monkeypatch.setattr(torch, 'load', lambda *args, **kwargs: kinds.append(kwargs) or load(*args, **kwargs))
    backend.install()
    assert run(tmp_path / 'resumed_by_ours', **resumed) == expected
    assert len(kinds) == 1
    assert 'weights_only' not in kinds[0]
    log, records = expected
    assert log.startswith('Epoch(train) [3][ 4/10]')
    assert json.loads(records.splitlines()[0].replace('TIME', '0'))['iter'] == 24


def product(buffer: Any) -> float:
    return buffer._log_history.prod()


def test_statistics_of_the_user_survive_in_a_checkpoint(tmp_path):
    with (
        patch.dict(rm.HistoryBuffer._statistics_methods),
        patch.dict(STOCK['HistoryBuffer']._statistics_methods),
    ):
        STOCK['HistoryBuffer'].register_statistics(product)
        stock = STOCK['HistoryBuffer']([2.0, 3.0], [1, 1])
        torch.save({'h': stock}, tmp_path / 'stock.pth')
        with backend.accelerated():
            ours = mmengine.logging.HistoryBuffer([2.0, 3.0], [1, 1])
            torch.save({'h': ours}, tmp_path / 'ours.pth')
            for name in ('stock', 'ours'):
                loaded = mmengine.runner.CheckpointLoader.load_checkpoint(str(tmp_path / f'{name}.pth'))['h']
                assert type(loaded) is mmengine.logging.HistoryBuffer
                assert loaded.statistics('product') == 6.0
        STOCK['HistoryBuffer']._statistics_methods.clear()
        assert torch.load(tmp_path / 'ours.pth', weights_only=False)['h'].statistics('product') == 6.0


class Evil:
    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    'evil',
    [
        lambda: Evil(print, 'run'),
        lambda: Evil(getattr, mmengine.logging.HistoryBuffer, '__init__'),
        lambda: Evil(getattr, [], 'append'),
        lambda: Evil(product, []),
    ],
    ids=['print', 'another attribute', 'of another object', 'a statistic'],
)
def test_checkpoint_that_would_run_something_is_refused(tmp_path, evil, capsys):
    with (
        patch.dict(rm.HistoryBuffer._statistics_methods),
        patch.dict(STOCK['HistoryBuffer']._statistics_methods),
        backend.accelerated(),
    ):
        mmengine.logging.HistoryBuffer.register_statistics(product)
        torch.save(evil(), tmp_path / 'evil.pth')
        capsys.readouterr()
        with pytest.raises((pickle.UnpicklingError, TypeError)):
            mmengine.runner.CheckpointLoader.load_checkpoint(str(tmp_path / 'evil.pth'))
        assert 'run' not in capsys.readouterr().out.split()


class Crafted:
    """Pickled as whatever calls and state are given."""

    def __init__(self, function: Any, arguments: tuple[Any, ...], state: Any) -> None:
        self.reduced = function, arguments, state

    def __reduce__(self) -> Any:
        return self.reduced


def crafted_array() -> Any:
    """An array whose memory would be taken for pointers."""
    dtype = Crafted(
        np.dtype, ('V8', False, True), (3, '|', None, ('a',), {'a': (np.dtype('f8'), 0)}, 8, 8, 0)
    )
    make = np.zeros(1).__reduce__()[0]
    return Crafted(make, (np.ndarray, (0,), b'b'), (1, (1,), dtype, False, b'A' * 8))


@pytest.mark.parametrize(
    'content',
    [
        crafted_array,
        lambda: np.array(['a', 1], dtype=object),
        lambda: np.zeros(2, dtype=[('a', 'f8')]),
        lambda: Crafted(np.dtype, ('f8', False, True), (3, '<', None, ('a',), {'a': 1}, 8, 8, 0)),
    ],
)
def test_array_of_anything_but_numbers_and_text_is_refused(tmp_path, content):
    torch.save({'x': content()}, tmp_path / 'x.pth')
    with (
        backend.accelerated(),
        pytest.raises(pickle.UnpicklingError, match='must be of (plain )?numbers or text'),
    ):
        mmengine.runner.CheckpointLoader.load_checkpoint(str(tmp_path / 'x.pth'))


def test_arrays_of_numbers_are_loaded_as_they_are(tmp_path):
    content = {
        'plain': np.arange(6, dtype='>i4').reshape(2, 3),
        'fortran': np.asfortranarray(np.eye(3)),
        'scalar': (np.float32(0.5), [np.int64(3), np.bool_(True)]),
        'complex': np.array([1j]),
    }
    torch.save(content, tmp_path / 'x.pth')
    with backend.accelerated():
        loaded = mmengine.runner.CheckpointLoader.load_checkpoint(str(tmp_path / 'x.pth'))
    for key in ('plain', 'fortran', 'complex'):
        assert type(loaded[key]) is np.ndarray
        np.testing.assert_array_equal(loaded[key], content[key])
        assert loaded[key].dtype == content[key].dtype
    assert loaded['scalar'] == content['scalar']
    loaded['plain'][0, 0] = 7  # its own memory


def test_what_describes_a_dataset_is_loaded_as_it_is(tmp_path):
    content = {
        'config': mmengine.config.ConfigDict(classes=['a'], nested={'palette': [(1, 2)]}),
        'weights': [mmengine.config.ConfigDict(values=np.ones(2))],
        'names': np.array(['nose', 'eye']),
        'bytes': np.array([b'nose']),
        'known': frozenset(['a']),
    }
    torch.save({'meta': {'dataset_meta': content}}, tmp_path / 'x.pth')
    with backend.accelerated():
        loaded = mmengine.runner.CheckpointLoader.load_checkpoint(str(tmp_path / 'x.pth'))
    loaded = loaded['meta']['dataset_meta']
    assert type(loaded['config']) is type(loaded['config'].nested) is mmengine.config.ConfigDict
    assert loaded['config'] == content['config']
    assert loaded['config'].nested.palette == [(1, 2)]
    assert type(loaded['weights'][0]['values']) is np.ndarray
    assert loaded['weights'][0]['values'].tolist() == [1.0, 1.0]
    assert loaded['names'].tolist() == ['nose', 'eye']
    assert loaded['bytes'].tolist() == [b'nose']
    assert loaded['known'] == {'a'}


def test_what_the_user_has_allowed_stays_allowed(tmp_path):
    torch.save({'x': np.array([1.5]), 'h': STOCK['HistoryBuffer']([1.0], [1])}, tmp_path / 'x.pth')
    make = np.zeros(1).__reduce__()[0]
    with (
        torch.serialization.safe_globals(
            [make, np.ndarray, np.dtype, type(np.dtype('f8')), type(np.dtype('i8'))]
        ),
        backend.accelerated(),
    ):
        allowed = set(torch.serialization.get_safe_globals())
        loaded = mmengine.runner.CheckpointLoader.load_checkpoint(str(tmp_path / 'x.pth'))
        assert set(torch.serialization.get_safe_globals()) == allowed
    assert loaded['x'].tolist() == [1.5]
    assert loaded['h'].data[0].tolist() == [1.0]


def test_one_cycle_schedule_is_resumed(tmp_path):
    schedule = {'type': 'OneCycleLR', 'eta_max': 0.1, 'total_steps': 30, 'by_epoch': False}
    run(tmp_path / 'stock', with_test=False, param_scheduler=schedule)
    backend.install()
    resumed = {'resume': True, 'load_from': str(tmp_path / 'stock' / 'epoch_2.pth')}
    log, _ = run(tmp_path / 'ours', with_test=False, param_scheduler=schedule, **resumed)
    whole, _ = outputs(tmp_path / 'stock')
    rates = re.compile(r'lr: [^ ]+')
    assert rates.findall(log) == rates.findall(whole)[-2:]


def test_statistic_that_nobody_can_import_survives_and_is_resumed(tmp_path):
    def last_two(buffer: Any) -> float:
        return buffer._log_history[-2:].sum()

    last_two.__module__, last_two.__qualname__ = '__main__', 'last_two'
    main = sys.modules['__main__']
    with (
        patch.dict(rm.HistoryBuffer._statistics_methods),
        patch.dict(STOCK['HistoryBuffer']._statistics_methods),
        patch.object(main, 'last_two', last_two, create=True),
    ):
        STOCK['HistoryBuffer'].register_statistics(last_two)
        torch.save({'h': STOCK['HistoryBuffer']([1.0, 2.0], [1, 1])}, tmp_path / 'stock.pth')
        with backend.accelerated():
            loaded = mmengine.runner.CheckpointLoader.load_checkpoint(str(tmp_path / 'stock.pth'))
            assert loaded['h'].statistics('last_two') == 3.0
            del STOCK['HistoryBuffer']._statistics_methods['last_two']
        assert STOCK['HistoryBuffer']([1.0], [1]).statistics('last_two') == 1.0


def test_nothing_is_allowed_outside_of_the_loading_of_a_checkpoint(tmp_path):
    backend.install()
    before = set(torch.serialization.get_safe_globals())
    torch.save({'h': mmengine.logging.HistoryBuffer([1.0], [1])}, tmp_path / 'h.pth')
    loaded = mmengine.runner.CheckpointLoader.load_checkpoint(str(tmp_path / 'h.pth'))
    assert loaded['h'].current() == 1.0
    assert set(torch.serialization.get_safe_globals()) == before
    with pytest.raises(pickle.UnpicklingError, match='HistoryBuffer'):
        torch.load(tmp_path / 'h.pth')


def test_history_of_mmengine_is_pickled_while_the_backend_is_on():
    history = STOCK['HistoryBuffer']([1.0, 2.0], [1, 3], max_length=5)
    backend.install()
    loaded = pickle.loads(pickle.dumps(history))
    assert type(loaded) is mmengine.logging.HistoryBuffer
    assert [array.tolist() for array in loaded.data] == [[1.0, 2.0], [1, 3]]
    assert loaded.max_length == 5
    data = pickle.dumps(loaded)
    backend.uninstall()
    again = pickle.loads(data)
    assert type(again) is STOCK['HistoryBuffer']
    assert [array.tolist() for array in again.data] == [[1.0, 2.0], [1, 3]]
    assert again.max_length == 5


def test_histories_of_others_in_a_hub_are_saved_as_mmengines():
    class Mine(STOCK['HistoryBuffer']):
        pass

    backend.install()
    scalars = {
        'plain': rm.HistoryBuffer([1.0], [1]),
        'stock': STOCK['HistoryBuffer']([2.0], [1]),
        'mine': Mine(),
    }
    hub = mmengine.logging.MessageHub('mixed', scalars, resumed_keys=dict.fromkeys(scalars, True))
    saved = hub.state_dict()['log_scalars']
    stock = STOCK['HistoryBuffer']
    assert [type(history) for history in saved.values()] == [stock, stock, Mine]
    assert all(isinstance(history, mmengine.logging.HistoryBuffer) for history in saved.values())
    hub.update_scalar('plain', 5.0)
    assert saved['plain'].data[0].tolist() == [1.0]


def test_example_runs(tmp_path, run_example):
    printed = run_example('mmengine_digits.py', '--epochs', '1', '--work-dir', tmp_path)
    assert 'Epoch(train) [1][10/25]  lr: 5.0000e-02' in printed
    assert 'Epoch(val) [1][4/4]    accuracy: 0.' in printed


def test_learning_rates_that_are_no_dict_are_an_error():
    backend.install()
    wrapper = types.SimpleNamespace(get_lr=lambda: [0.1])
    runner = types.SimpleNamespace(
        message_hub=mmengine.logging.MessageHub('rates'), optim_wrapper=wrapper, iter=3
    )
    with pytest.raises(
        rm.ArgumentTypeError, match=r'get_lr\(\) must return a dict of learning rates .* got \[0.1\]'
    ):
        mmengine.hooks.RuntimeInfoHook().before_train_iter(runner, 0)


def test_state_of_a_hub_loads_in_mmengines_own_after_uninstall():
    backend.install()
    hub = mmengine.logging.MessageHub('in_process')
    for value in (1.0, 3.0):
        hub.update_scalar('train/loss', value)
    state = hub.state_dict()
    backend.uninstall()
    stock = STOCK['MessageHub']('in_process_stock')
    stock.load_state_dict(state)
    assert stock.get_scalar('train/loss').mean() == 2.0
    backend.install()
    again = mmengine.logging.MessageHub('in_process_again')
    again.load_state_dict(stock.state_dict())
    assert isinstance(again.get_scalar('train/loss'), rm.HistoryBuffer)
    assert again.get_scalar('train/loss').data[0].tolist() == [1.0, 3.0]


def test_backend_with_a_way_of_its_own_to_write_records_is_asked(tmp_path):
    written = []

    class Backend(mmengine.visualization.LocalVisBackend):
        def _dump(self, value_dict, file_path, file_format):
            written.append((value_dict, Path(file_path).name, file_format))

    backend.install()
    Backend(str(tmp_path)).add_scalars({'loss': 1.0}, step=7, file_path='more.json')
    record = {'loss': 1.0, 'step': 7}
    assert written == [(record, 'more.json', 'json'), (record, 'scalars.json', 'json')]


def test_hub_with_a_way_of_its_own_to_record_is_asked():
    backend.install()

    class Hub(mmengine.logging.MessageHub):
        def update_scalar(self, key, value, count=1, resumed=True):
            super().update_scalar(key, 2 * value, count, resumed)

    runner = types.SimpleNamespace(message_hub=Hub('own_way'))
    mmengine.hooks.RuntimeInfoHook().after_train_iter(runner, 0, outputs={'loss': torch.tensor(1.5)})
    assert runner.message_hub.get_scalar('train/loss').current() == 3.0


def test_record_goes_to_both_files_as_before(tmp_path):
    record = {'loss': np.float64(0.1), 'count': np.int64(3), 'array': np.ones(2), 'text': 'a'}
    for name in ('stock', 'ours'):
        if name == 'ours':
            backend.install()
        writer = mmengine.visualization.LocalVisBackend(str(tmp_path / name))
        writer.add_scalars(record, step=7, file_path='more.json')
        writer.add_scalars({'step': 3})
        with pytest.raises(AssertionError, match='file_path must end with .json' if name == 'ours' else ''):
            writer.add_scalars(record, file_path='more.txt')
        with pytest.raises(
            AssertionError, match='scalar_dict must be a dict, got 1' if name == 'ours' else ''
        ):
            writer.add_scalars(1)
    for file in ('scalars.json', 'more.json'):
        assert (tmp_path / 'ours' / file).read_text() == (tmp_path / 'stock' / file).read_text()
    assert 'step' not in record


def test_memory_of_a_processor_of_mmengines_own_is_asked_for_without_the_device(monkeypatch):
    resets = []
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda **_: 1536 * 2**20 + 12345)
    monkeypatch.setattr(torch.cuda, 'reset_peak_memory_stats', lambda: resets.append(1))
    runner = types.SimpleNamespace(model=None)
    backend.install()
    assert STOCK['LogProcessor']()._get_max_memory(runner) == 1536
    assert mmengine.runner.LogProcessor()._get_max_memory(runner) == 1536
    assert resets == [1, 1]
