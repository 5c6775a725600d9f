"""mmengine with the backend switched on: what an unmodified Runner prints, writes and saves, and what comes back."""

from __future__ import annotations

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

    METAINFO = {'classes': ('even', 'odd'), 'weights': np.array([0.5, 0.5])}
    metainfo = METAINFO

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
    return masked[masked.index('Epoch(train)' if 'Epoch(train)' in masked else 'Iter(train)') :], without_times(
        records.read_text()
    )


def run(work_dir: Path, with_test: bool = True, **config: Any) -> tuple[str, str]:
    runner = make_runner(work_dir, **config)
    runner.train()
    if with_test:
        runner.test()
    forget_runs()
    return outputs(work_dir)


# ---- a run ----


@pytest.mark.parametrize('with_val_loss', [False, True])
@pytest.mark.parametrize('by_epoch', [True, False])
def test_runner_prints_and_writes_what_it_does_without_the_backend(tmp_path, by_epoch, with_val_loss):
    log, records = run(tmp_path / 'stock', by_epoch=by_epoch, make_model=lambda: Model(with_val_loss))
    assert log.count('(train)') >= 6
    assert log.count('grad_norm: ') >= 6
    assert len(records.splitlines()) >= 8
    for lines in ('now', 'deferred'):
        with backend.accelerated(lines):
            ours = run(tmp_path / lines, by_epoch=by_epoch, make_model=lambda: Model(with_val_loss))
        assert ours == (log, records)


def test_validation_shows_its_lines_when_lines_are_deferred(tmp_path):
    log, _ = run(tmp_path / 'stock', with_test=False)
    with backend.accelerated('deferred'):
        ours, _ = run(tmp_path / 'ours', with_test=False)
    assert 'Epoch(val) [1][ 4/10]' in ours
    assert ours == log


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
    with backend.accelerated('deferred'):
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
    runner.test()
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
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, check=True)
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
    assert type(mmengine.registry.LOG_PROCESSORS.build({'type': 'LogProcessor'})) is mmengine.runner.LogProcessor


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
