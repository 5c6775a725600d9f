"""Rows: what logging costs an iteration under mmengine's own Runner, with the backend on and without it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
import logging
import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import mmengine.logging
import mmengine.visualization
import torch
from harness import OURS, Contender, Row, Settings, at_least, measure
from mmengine.hooks import IterTimerHook, LoggerHook, RuntimeInfoHook
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from peers import some_values
from shares import STEP, share_row

from ringmeter.integrations import mmengine as backend

TOPIC = 'Integrations'
LOSSES = ('loss_cls', 'loss_bbox', 'loss_mask', 'loss_rpn')
KEYS = ('data_time', 'lr', 'grad_norm', 'loss', *LOSSES, 'time')
_numbers = itertools.count()
_nowhere = Path(os.devnull).open('w')  # noqa: SIM115
EPOCH = 1_000  # iterations; a line every tenth of them


class Model(BaseModel):  # type: ignore[misc]
    """A toy: two layers, four losses."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 4))

    def forward(self, inputs: torch.Tensor, mode: str = 'tensor') -> Any:  # noqa: ARG002
        losses = self.layers(inputs).square().mean(0)
        return dict(zip(LOSSES, losses.unbind(), strict=True))


class Training:
    """The hooks that log, of a Runner in the middle of its training."""

    def __init__(self, name: str, folder: str, entries: int) -> None:
        self.name, self.entries = name, entries
        self.switch()
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter('ignore')
            self.runner = _make_runner(Path(folder) / name)
        for handler in self.runner.logger.handlers:
            if type(handler) is not logging.FileHandler:  # the console
                handler.setStream(_nowhere)
        kinds = (RuntimeInfoHook, IterTimerHook, LoggerHook)
        self.hooks = [hook for hook in self.runner.hooks if isinstance(hook, kinds)]
        self.batch = {'inputs': torch.randn(8, 16)}
        self.outputs = self.runner.model.train_step(self.batch, self.runner.optim_wrapper)
        sum(self.runner.model(**self.batch).values()).backward()  # there are gradients to clip
        norm = torch.tensor(3.25)
        self.runner.optim_wrapper.clip_func = lambda *_, **__: norm
        self.histories = {
            f'train/{key}': (some_values(entries, seed=number), [1] * entries)
            for number, key in enumerate(KEYS)
        }
        self.reset()

    def switch(self) -> None:
        """Turn the backend on or off."""
        backend.install() if self.name == OURS else backend.uninstall()

    def reset(self) -> None:
        """Let the histories be what the row is about; full ones do not grow."""
        self.switch()
        if not self.entries:
            self.runner.message_hub.log_scalars.clear()
        for key, (values, counts) in self.histories.items() if self.entries else ():
            if key not in self.runner.message_hub.log_scalars:
                self.runner.message_hub.log_scalars[key] = mmengine.logging.HistoryBuffer(
                    values, counts, max_length=self.entries
                )

    def log_ten(self) -> None:
        """What logging does in ten iterations, with a line at the end."""
        runner, wrapper, loop = self.runner, self.runner.optim_wrapper, self.runner.train_loop
        for _ in range(10):
            batch_idx = loop._iter % EPOCH
            for hook in self.hooks:
                hook.before_train_iter(runner, batch_idx, self.batch)
            wrapper._clip_grad()
            for hook in self.hooks:
                hook.after_train_iter(runner, batch_idx, self.batch, self.outputs)
            loop._iter += 1

    def train_ten(self) -> None:
        """Ten iterations of the toy, with what logging does in them."""
        runner, wrapper, loop = self.runner, self.runner.optim_wrapper, self.runner.train_loop
        for _ in range(10):
            batch_idx = loop._iter % EPOCH
            for hook in self.hooks:
                hook.before_train_iter(runner, batch_idx, self.batch)
            outputs = runner.model.train_step(self.batch, wrapper)
            for hook in self.hooks:
                hook.after_train_iter(runner, batch_idx, self.batch, outputs)
            loop._iter += 1

    def check(self) -> None:
        """Raise unless it records and writes what it should."""
        self.reset()
        self.log_ten()
        histories = self.runner.message_hub.log_scalars
        for key in LOSSES:
            got, want = float(histories[f'train/{key}'].mean(10)), float(self.outputs[key])
            if abs(got - want) > 1e-12:
                raise AssertionError(f'{key}: {got!r}, not {want!r}')
        if set(histories) != {f'train/{key}' for key in KEYS}:
            raise AssertionError(f'keys: {sorted(histories)}')
        (records,) = Path(self.runner.work_dir).glob('*/vis_data/scalars.json')
        record = json.loads(records.read_text().splitlines()[-1])
        if record['step'] % 10 != 0 or record['grad_norm'] != 3.25:
            raise AssertionError(f'record: {record}')


def _make_runner(work_dir: Path) -> Any:
    dataset = torch.utils.data.TensorDataset(torch.zeros(EPOCH))
    runner = Runner(
        Model(),
        str(work_dir),
        train_dataloader={'dataset': dataset, 'batch_size': 1, 'sampler': {'type': 'DefaultSampler'}},
        train_cfg={'by_epoch': True, 'max_epochs': 10_000},
        optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 1e-3}, 'clip_grad': {'max_norm': 1.0}},
        experiment_name=f'bench_{work_dir.name}_{next(_numbers)}',
    )
    runner.train_loop  # noqa: B018  built when it is asked for
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    for stage in ('before_run', 'before_train', 'before_train_epoch'):
        runner.call_hook(stage)
    return runner


def rows(settings: Settings) -> list[Row]:
    """Measure at a fresh start, and with histories of 1,000 and of 100,000 iterations."""
    try:
        return [
            *_rows(settings, 0, 'a fresh start', 3.0),
            *_rows(settings, 1_000, '1k iterations of history', 3.0),
            *_rows(settings, 100_000, '100k iterations of history', 50.0),
        ]
    finally:
        backend.uninstall()


def _rows(settings: Settings, entries: int, what: str, limit: float) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        trainings = [Training(name, folder, entries) for name in (OURS, 'mmengine')]
        rows = [_hooks_row(settings, trainings, what, limit, headline=entries != 1_000)]
        if entries:
            rows.append(_share_row(settings, trainings, what))
        for training in trainings:
            for handler in training.runner.logger.handlers:
                handler.close()
    return rows


def _contenders(trainings: list[Training], call: str) -> list[Contender]:
    return [
        Contender(
            training.name,
            f'training.{call}()',
            {'training': training},
            training.check,
            before_round=training.reset,
            parts=10,
        )
        for training in trainings
    ]


def _hooks_row(settings: Settings, trainings: list[Training], what: str, limit: float, headline: bool) -> Row:
    """What the hooks and the clipping of gradients take, one iteration behind the other."""
    cells = measure(_contenders(trainings, 'log_ten'), settings)
    goal = at_least(f'at most 1/{limit:g} of what mmengine takes', cells['mmengine'].ratio, limit)
    title = f"logging in an iteration of mmengine's Runner: 9 keys, a line every 10th; {what}"
    return Row(TOPIC, title, cells, [goal], headline=headline)


def _share_row(settings: Settings, trainings: list[Training], what: str) -> Row:
    """What an iteration takes longer with them, where training has filled the caches in between."""
    model = Model()
    wrapper = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-3))
    names = {'model': model, 'batch': trainings[1].batch, 'wrapper': wrapper, 'ten': range(10)}
    call = 'for _ in ten: model.train_step(batch, wrapper)'
    bare = Contender(
        STEP, call, names, lambda: None, is_peer=False, before_round=trainings[1].reset, parts=10
    )
    cells = measure([*_contenders(trainings, 'train_ten'), bare], settings)
    step = cells[STEP].value
    logging_alone = {
        name: cell if name == STEP else dataclasses.replace(cell, value=cell.value - step)
        for name, cell in cells.items()
    }
    title = f"an iteration of a toy under mmengine's Runner, {what}"
    return share_row(TOPIC, title, logging_alone, limit=None)
