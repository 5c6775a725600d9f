"""RingmeterCallback and the bars in Lightning's own trainer: rows, lines, loggers, checkpoints, faults."""

from __future__ import annotations

import copy
import csv
import io
import json
import logging
import math
import pickle
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path

import pytest

torch = pytest.importorskip('torch')
pl = pytest.importorskip('lightning.pytorch')

from torch.utils.data import DataLoader, IterableDataset, TensorDataset  # noqa: E402

import ringmeter as rm  # noqa: E402
from ringmeter.integrations.lightning import (  # noqa: E402
    RingmeterCallback,
    RingmeterProgressBar,
    RingmeterRichProgressBar,
)

pytestmark = [
    pytest.mark.filterwarnings('ignore:The .* does not have many workers'),
    pytest.mark.filterwarnings(
        'ignore:The number of training batches .* is smaller than the logging interval'
    ),
    pytest.mark.filterwarnings('ignore:You.re resuming from a checkpoint that ended before the epoch ended'),
    pytest.mark.filterwarnings('ignore:`training_step` returned `None`'),
    pytest.mark.filterwarnings('ignore:You defined a `validation_step` but have no `val_dataloader`'),
    pytest.mark.filterwarnings('ignore:Checkpoint directory .* exists and is not empty'),
    pytest.mark.filterwarnings('ignore:.*LeafSpec.*is deprecated'),
]


class Net(pl.LightningModule):
    """Its loss is the square of the batch's mean times a weight; `seen` has the losses as numbers."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1, bias=False)
        torch.nn.init.constant_(self.layer.weight, 2.0)
        self.seen = []

    def loss(self, batch):
        loss = self.layer(batch[0]).mean() ** 2
        self.seen.append(loss.item())
        return loss

    def training_step(self, batch, batch_idx):
        return self.loss(batch)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


class Validated(Net):
    def validation_step(self, batch, batch_idx):
        return {'accuracy': batch[0].mean()}

    def test_step(self, batch, batch_idx):
        return batch[0].mean()


def loader(size, batch_size=1):
    return DataLoader(TensorDataset(torch.arange(1.0, size + 1)[:, None]), batch_size=batch_size)


class Stream(IterableDataset):
    def __init__(self, size):
        self.size = size

    def __iter__(self):
        return ((torch.full((1,), float(i)),) for i in range(self.size))


@pytest.fixture
def trainer_of(tmp_path):
    """Makes trainers on the CPU that write nothing but what is asked for."""

    def make(*callbacks, cls=pl.Trainer, **arguments):
        return cls(
            **{
                'accelerator': 'cpu',
                'max_epochs': None if 'max_steps' in arguments else 1,
                'logger': False,
                'enable_checkpointing': any(isinstance(c, pl.callbacks.Checkpoint) for c in callbacks),
                'enable_progress_bar': any(isinstance(c, pl.callbacks.ProgressBar) for c in callbacks),
                'enable_model_summary': False,
                'default_root_dir': tmp_path,
                'callbacks': list(callbacks),
                **arguments,
            }
        )

    return make


def values(callback, key):
    return callback.meter.message_hub.get_scalar(key).data[0].tolist()


def headers(texts):
    return [re.match(r'\w+\(\w+\) +[^ ]*(\[ *\d+/\d+\])?', text)[0] for text in texts]


def without_times(text):
    return re.sub(r'(eta|time|data_time): [\d.:]+ *', '', text)


# ---- rows and lines ----


def test_loss_is_what_the_step_returns_whatever_it_logs(trainer_of):
    class Parts(Net):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            assert callback.meter.log(loss_a=loss, loss_b=loss) == 2 * loss
            return loss

    callback, module = RingmeterCallback(logger=logging.Logger('quiet')), Parts()
    trainer_of(callback).fit(module, loader(4))
    assert values(callback, 'train/loss') == module.seen
    assert values(callback, 'train/loss_a') == values(callback, 'train/loss_b') == module.seen


def test_losses_rates_and_times_of_each_step_are_recorded_and_shown(trainer_of, written):
    logger, texts = written
    callback, module = RingmeterCallback(logger=logger, interval=5), Net()
    trainer_of(callback, max_epochs=2).fit(module, loader(10))
    assert values(callback, 'train/loss') == module.seen
    assert values(callback, 'train/lr') == [0.01] * 20
    assert len(values(callback, 'train/time')) == len(values(callback, 'train/data_time')) == 20
    assert [without_times(text) for text in texts] == [
        f'Epoch(train) [{epoch}][{done:2}/10]  lr: 1.0000e-02  '
        f'loss: {math.fsum(module.seen[: 10 * epoch - 10 + done][-10:]) / min(10, 10 * epoch - 10 + done):.4f}'
        for epoch in (1, 2)
        for done in (5, 10)
    ]
    assert 'eta: 0:00:' in texts[0]
    assert (callback.meter.epoch, callback.meter.iter) == (2, 20)


def test_dict_of_outputs_is_recorded_without_what_is_no_scalar(trainer_of, written, caplog):
    class Dict(Net):
        def training_step(self, batch, batch_idx):
            return {
                'loss': self.loss(batch),
                'hits': torch.tensor(batch_idx),
                'one': torch.ones(1, 1, requires_grad=True),
                'number': 0.5,
                'weighted': {'value': 6.0, 'count': 3},
                'predictions': torch.zeros(3, 2),
                'name': 'x',
                'nested': {'a': 1},
                'sometimes': None if batch_idx < 2 else 1.0,
                'complex': torch.tensor(1j),
            }

    callback, module = RingmeterCallback(logger=written[0]), Dict()
    trainer_of(callback, max_epochs=2).fit(module, loader(4))
    recorded = {
        key: buffer.data[0].tolist()
        for key, buffer in callback.meter.message_hub.log_scalars.items()
        if not key.endswith(('time', 'lr'))
    }
    assert recorded == {
        'train/loss': module.seen,
        'train/hits': [0, 1, 2, 3] * 2,
        'train/one': [1.0] * 8,
        'train/number': [0.5] * 8,
        'train/weighted': [6.0] * 8,
        'train/sometimes': [1.0] * 4,
    }
    warnings = [record.getMessage() for record in caplog.records if 'output' in record.getMessage()]
    assert [re.search("'train/.*?'", warning)[0] for warning in warnings] == [
        "'train/predictions'",
        "'train/name'",
        "'train/nested'",
        "'train/sometimes'",
        "'train/complex'",
    ]
    assert warnings[0] == (
        "an output of the step is not recorded: series 'train/predictions': value must be one real number, "
        'got 6 elements (shape (3, 2))'
    )


def test_step_that_returns_none_is_a_row_without_loss(trainer_of, written):
    class Skips(Net):
        def training_step(self, batch, batch_idx):
            return None if batch_idx == 1 else self.loss(batch)

    callback, module = RingmeterCallback(logger=written[0], interval=3), Skips()
    trainer_of(callback).fit(module, loader(3))
    assert values(callback, 'train/loss') == module.seen
    assert len(module.seen) == 2
    assert len(values(callback, 'train/time')) == 3
    assert headers(written[1]) == ['Epoch(train) [1][3/3]']


def test_module_records_more_with_the_hub_and_the_meter(trainer_of, written):
    class Records(Validated):
        def training_step(self, batch, batch_idx):
            rm.MessageHub.get_current_instance().update_scalar('train/mean', batch[0].mean())
            callback.meter.log(double=2 * batch[0].mean())
            return self.loss(batch)

        def on_validation_epoch_end(self):
            callback.meter.log(f1=0.75)

    callback = RingmeterCallback(logger=written[0], interval=2)
    trainer_of(callback).fit(Records(), loader(2), loader(2))
    assert values(callback, 'train/mean') == [1.0, 2.0]
    assert values(callback, 'train/double') == [2.0, 4.0]
    assert 'mean: 2.0000' in written[1][0]
    assert 'f1: 0.7500' in written[1][-1]


def test_micro_batches_are_one_row_for_each_optimizer_step(trainer_of, written):
    logger, texts = written
    callback, module = RingmeterCallback(logger=logger, interval=2), Net()
    trainer = trainer_of(callback, accumulate_grad_batches=4, max_epochs=2)
    trainer.fit(module, loader(10))
    parts = [module.seen[i:j] for i, j in ((0, 4), (4, 8), (8, 10), (10, 14), (14, 18), (18, 20))]
    assert values(callback, 'train/loss') == pytest.approx([sum(part) / len(part) for part in parts])
    assert callback.meter.iter == trainer.global_step == 6
    assert len(values(callback, 'train/lr')) == len(values(callback, 'train/time')) == 6
    assert headers(texts) == ['Epoch(train) [1][2/3]', 'Epoch(train) [2][2/3]']


def test_schedule_of_accumulation_is_followed(trainer_of, written):
    schedule = pl.callbacks.GradientAccumulationScheduler({0: 1, 1: 2})
    callback = RingmeterCallback(logger=written[0], interval=1)
    trainer_of(callback, schedule, max_epochs=2).fit(Net(), loader(4))
    assert headers(written[1]) == [
        *(f'Epoch(train) [1][{i}/4]' for i in (1, 2, 3, 4)),
        *(f'Epoch(train) [2][{i}/2]' for i in (1, 2)),
    ]


class Manual(Net):
    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def configure_optimizers(self):
        return [torch.optim.SGD(self.parameters(), lr=lr) for lr in (0.1, 0.2)]

    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(self.loss(batch))
            optimizer.step()
        return {'g_loss': self.seen[-2], 'd_loss': self.seen[-1]}


def test_manual_optimization_is_a_row_for_each_batch_that_steps(trainer_of, written):
    callback, module = RingmeterCallback(logger=written[0], interval=2), Manual()
    trainer = trainer_of(callback)
    trainer.fit(module, loader(4))
    assert (trainer.global_step, callback.meter.iter) == (8, 4)
    assert values(callback, 'train/g_loss') == module.seen[::2]
    assert values(callback, 'train/d_loss') == module.seen[1::2]
    assert 'train/loss' not in callback.meter.message_hub.log_scalars
    assert values(callback, 'train/SGD.lr') == [0.1] * 4
    assert values(callback, 'train/SGD-1.lr') == [0.2] * 4
    assert written[1][0].startswith('Epoch(train) [1][2/4]  SGD.lr: 1.0000e-01 SGD-1.lr: 2.0000e-01  eta: ')


def test_manual_accumulation_is_one_row_for_each_step_and_for_the_rest(trainer_of, written):
    class Accumulates(Manual):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

        def training_step(self, batch, batch_idx):
            loss = self.loss(batch)
            self.manual_backward(loss)
            if batch_idx % 3 == 2:
                self.optimizers().step()
            return loss

    callback, module = RingmeterCallback(logger=written[0]), Accumulates()
    trainer_of(callback).fit(module, loader(7))
    means = [sum(part) / len(part) for part in (module.seen[:3], module.seen[3:6], module.seen[6:])]
    assert values(callback, 'train/loss') == pytest.approx(means)


def test_what_a_step_logs_itself_is_one_row_for_each_manual_step(trainer_of, written):
    class Accumulates(Manual):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

        def training_step(self, batch, batch_idx):
            callback.meter.log(number=batch_idx)
            self.manual_backward(self.loss(batch))
            if batch_idx % 3 == 2:
                self.optimizers().step()

    callback = RingmeterCallback(logger=written[0])
    trainer_of(callback, max_epochs=2).fit(Accumulates(), loader(6))
    assert values(callback, 'train/number') == [1.0, 4.0] * 2


def test_lines_of_manual_accumulation_know_how_many_steps_there_will_be(trainer_of, written, tmp_path):
    class Accumulates(Manual):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

        def training_step(self, batch, batch_idx):
            self.manual_backward(self.loss(batch))
            if batch_idx % 3 == 2:
                self.optimizers().step()

        def on_train_batch_end(self, outputs, batch, batch_idx):
            if (self.current_epoch, batch_idx) == (0, 2):
                self.trainer.save_checkpoint(tmp_path / 'x.ckpt')

    logger, texts = written
    of_epoch = ['[{}][1/3]', '[{}][2/3]', '[{}][3/3]']
    lines = [f'Epoch(train) {text.format(epoch)}' for epoch in (1, 2) for text in of_epoch]
    callback = RingmeterCallback(logger=logger, interval=1)
    trainer_of(callback, max_epochs=2).fit(Accumulates(), loader(8))
    assert headers(texts) == lines
    assert callback.meter.message_hub.get_info('eta') == 0.0
    texts.clear()
    resumed = RingmeterCallback(logger=logger, interval=1)
    trainer_of(resumed, max_epochs=2).fit(Accumulates(), loader(8), ckpt_path=tmp_path / 'x.ckpt')
    assert headers(texts) == lines[1:]


def test_integers_of_manual_optimization_stay_integers(trainer_of, written):
    class Counts(Manual):
        def training_step(self, batch, batch_idx):
            return {**super().training_step(batch, batch_idx), 'hits': torch.tensor(batch_idx)}

    callback = RingmeterCallback(logger=written[0], interval=3)
    trainer_of(callback).fit(Counts(), loader(3))
    assert written[1][0].endswith('hits: 2')


def test_manual_steps_that_the_trainer_does_not_see_are_said(trainer_of, written, caplog):
    class Raw(Manual):
        def training_step(self, batch, batch_idx):
            loss = self.loss(batch)
            self.manual_backward(loss)
            self.optimizers(use_pl_optimizer=False)[0].step()
            return loss

    callback, module = RingmeterCallback(logger=written[0]), Raw()
    trainer_of(callback, max_epochs=2).fit(module, loader(3))
    means = [sum(module.seen[:3]) / 3, sum(module.seen[3:]) / 3]
    assert values(callback, 'train/loss') == pytest.approx(means)
    assert 'the trainer counted no optimizer step, so an epoch becomes one iteration' in caplog.text


def test_names_of_schedulers_name_the_rates(trainer_of, written):
    class Named(Manual):
        def configure_optimizers(self):
            first, second = super().configure_optimizers()
            scheduler = torch.optim.lr_scheduler.StepLR(first, 1)
            return [first, second], [{'scheduler': scheduler, 'name': 'generator'}]

    callback = RingmeterCallback(logger=written[0])
    trainer_of(callback).fit(Named(), loader(1))
    rates = [key for key in callback.meter.message_hub.log_scalars if key.endswith('lr')]
    assert rates == ['train/generator.lr', 'train/SGD.lr']


def test_groups_without_a_rate_have_none_recorded(trainer_of, written):
    class Finds(torch.optim.SGD):
        """Sets its rate when it steps, as Adafactor does."""

        def __init__(self, parameters):
            super().__init__(parameters, lr=0.5)
            self.param_groups[0]['lr'] = None

        def step(self, closure=None):
            self.param_groups[0]['lr'] = 0.5
            return super().step(closure)

    class Adaptive(Net):
        def configure_optimizers(self):
            return Finds(self.parameters())

    callback, module = RingmeterCallback(logger=written[0]), Adaptive()
    trainer_of(callback).fit(module, loader(3))
    assert values(callback, 'train/lr') == [0.5, 0.5]
    assert values(callback, 'train/loss') == module.seen


# ---- lengths ----


def test_max_steps_gives_lines_that_count_iterations(trainer_of, written):
    callback = RingmeterCallback(logger=written[0], interval=2)
    trainer = trainer_of(callback, max_steps=7)
    trainer.fit(Net(), loader(3))
    assert headers(written[1]) == ['Iter(train) [2/7]', 'Iter(train) [4/7]', 'Iter(train) [6/7]']
    assert 'eta: 0:00:00' in written[1][-1]
    assert callback.meter.iter == 7


def test_log_processor_chooses_the_lines(trainer_of, written):
    by_iter = rm.LogProcessor(by_epoch=False)
    callback = RingmeterCallback(logger=written[0], interval=2, log_processor=by_iter)
    trainer_of(callback).fit(Net(), loader(4))
    assert headers(written[1]) == ['Iter(train) [2/4]', 'Iter(train) [4/4]']


def test_loaders_without_length_give_lines_that_count_iterations(trainer_of, written):
    callback = RingmeterCallback(logger=written[0], interval=2)
    data = DataLoader(Stream(5), batch_size=None)
    trainer_of(callback).fit(Validated(), data, data)
    assert [text.split('  ')[0] for text in written[1]] == [
        'Iter(train) [2]',
        'Iter(train) [4]',
        'Iter(val) [2]',
        'Iter(val) [4]',
        'Iter(val) [5/5]',
    ]
    assert 'eta' not in ''.join(written[1])
    assert 'accuracy: 2.0000' in written[1][-1]


def test_eta_of_validation_is_not_that_of_training(trainer_of, written):
    callback = RingmeterCallback(logger=written[0], interval=1)
    data = DataLoader(Stream(4), batch_size=None)
    trainer_of(callback, val_check_interval=2).fit(Validated(), data, loader(2))
    assert headers(written[1])[2] == 'Iter(val) [1/2]'
    assert ['eta' in text for text in written[1] if 'train' in text] == [False] * 4


def test_max_steps_bound_loaders_without_length(trainer_of, written):
    callback = RingmeterCallback(logger=written[0], interval=2)
    trainer_of(callback, max_steps=4).fit(Net(), DataLoader(Stream(100), batch_size=None))
    assert headers(written[1]) == ['Iter(train) [2/4]', 'Iter(train) [4/4]']


def test_eta_of_manual_optimization_knows_how_many_steps_an_iteration_takes(trainer_of, written):
    callback = RingmeterCallback(logger=written[0], interval=2)
    trainer_of(callback, max_steps=8).fit(Manual(), loader(2))
    assert headers(written[1]) == ['Iter(train) [2/4]', 'Iter(train) [4/4]']


# ---- evaluation ----


def test_sanity_check_leaves_nothing_behind(trainer_of, written):
    class Counts(Validated):
        checked = 0

        def validation_step(self, batch, batch_idx):
            self.checked += self.trainer.sanity_checking
            rm.MessageHub.get_current_instance().update_scalar('val/direct', 1.0)
            return super().validation_step(batch, batch_idx)

    callback, module = RingmeterCallback(logger=written[0]), Counts()
    trainer_of(callback, num_sanity_val_steps=2).fit(module, loader(2), loader(3))
    assert module.checked == 2
    assert values(callback, 'val/accuracy') == [1.0, 2.0, 3.0]
    assert values(callback, 'val/direct') == [1.0] * 3
    assert headers(written[1]) == ['Epoch(train) [1][2/2]', 'Epoch(val) [1][3/3]']


def test_validation_inside_of_an_epoch_has_its_lines_there_and_its_time_for_itself(trainer_of, written):
    class Slow(Validated):
        def validation_step(self, batch, batch_idx):
            time.sleep(0.05)
            return super().validation_step(batch, batch_idx)

    callback = RingmeterCallback(logger=written[0], interval=2)
    trainer = trainer_of(callback, val_check_interval=2, max_epochs=2, num_sanity_val_steps=0)
    trainer.fit(Slow(), loader(4), loader(3))
    of_epoch = ['train) [{}][2/4]', 'val) [{}][2/3]', 'val) [{}][3/3]']
    of_epoch += ['train) [{}][4/4]', *of_epoch[1:]]
    assert headers(written[1]) == [f'Epoch({text.format(epoch)}' for epoch in (1, 2) for text in of_epoch]
    assert min(values(callback, 'val/time')) >= 0.05
    times = values(callback, 'train/time')
    assert sorted(times)[-2] < 0.15  # all but the first, unless the machine stands still


def test_several_loaders_have_lightnings_suffix(trainer_of, written):
    class Two(Validated):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            callback.meter.log(twice=2 * batch[0].mean())
            return super().validation_step(batch, batch_idx)

        def on_validation_epoch_end(self):
            callback.meter.log(overall=0.5)

    callback = RingmeterCallback(logger=written[0])
    trainer_of(callback).fit(Two(), loader(1), [loader(2), loader(4)])
    assert values(callback, 'val/accuracy/dataloader_idx_0') == [1.0, 2.0]
    assert values(callback, 'val/accuracy/dataloader_idx_1') == [1.0, 2.0, 3.0, 4.0]
    assert without_times(written[1][-1]).strip() == (
        'Epoch(val) [1][6/6]    twice/dataloader_idx_0: 3.0000  accuracy/dataloader_idx_0: 1.5000  '
        'twice/dataloader_idx_1: 5.0000  accuracy/dataloader_idx_1: 2.5000  overall: 0.5000'
    )


def test_validate_and_test_run_on_their_own(trainer_of, written):
    callback = RingmeterCallback(logger=written[0])
    trainer = trainer_of(callback)
    trainer.validate(Validated(), loader(2), verbose=False)
    trainer.test(Validated(), loader(4), verbose=False)
    assert [without_times(text).strip() for text in written[1]] == [
        'Epoch(val) [0][2/2]    accuracy: 1.5000',
        'Epoch(test) [4/4]    loss: 2.5000',
    ]


def test_test_after_training_goes_on_with_the_meter_of_another_trainer_too(trainer_of, written):
    callback = RingmeterCallback(logger=written[0])
    trainer_of(callback).fit(Validated(), loader(2))
    meter = callback.meter
    trainer_of(callback).test(Validated(), loader(2), verbose=False)
    assert callback.meter is meter
    assert headers(written[1]) == ['Epoch(train) [1][2/2]', 'Epoch(test) [2/2]']


def test_prediction_leaves_no_file(trainer_of, tmp_path):
    class Predicts(Net):
        def predict_step(self, batch, batch_idx):
            return batch[0]

    callback = RingmeterCallback(work_dir=tmp_path / 'work')
    assert len(trainer_of(callback).predict(Predicts(), loader(2))) == 2
    assert not (tmp_path / 'work').exists()


# ---- ends and beginnings ----


def test_early_stop_ends_the_run_with_its_lines(trainer_of, written):
    class Logs(Validated):
        def validation_step(self, batch, batch_idx):
            self.log('metric', 1.0)
            return super().validation_step(batch, batch_idx)

    callback = RingmeterCallback(logger=written[0])
    stop = pl.callbacks.EarlyStopping('metric', patience=1)
    trainer_of(stop, callback, max_epochs=9).fit(Logs(), loader(2), loader(1))
    assert headers(written[1]) == [
        'Epoch(train) [1][2/2]',
        'Epoch(val) [1][1/1]',
        'Epoch(train) [2][2/2]',
        'Epoch(val) [2][1/1]',
    ]


@pytest.mark.parametrize('where', ['training_step', 'validation_step'])
def test_exception_loses_no_line_and_another_run_begins_anew(trainer_of, written, where, cuda, stream):
    class Fails(Validated):
        def training_step(self, batch, batch_idx):
            if where == 'training_step' and batch_idx == 3:
                raise ZeroDivisionError
            return {'loss': self.loss(batch), 'fake': cuda.FakeCudaTensor(float(batch_idx))}

        def validation_step(self, batch, batch_idx):
            if where == 'validation_step':
                raise ZeroDivisionError
            return super().validation_step(batch, batch_idx)

    callback = RingmeterCallback(logger=written[0], interval=1)
    cuda.delay(stream, 20_000)
    with pytest.raises(ZeroDivisionError):
        trainer_of(callback, num_sanity_val_steps=0).fit(Fails(), loader(4), loader(1))
    done = 3 if where == 'training_step' else 4
    assert headers(written[1]) == [f'Epoch(train) [1][{i + 1}/4]' for i in range(done)]
    assert callback.meter.iter == done
    cuda.delay(stream, 0)
    first = callback.meter
    trainer_of(callback).fit(Net(), loader(2))
    assert callback.meter is not first
    assert rm.MessageHub.get_current_instance() is callback.meter.message_hub
    assert len(values(callback, 'train/loss')) == 2


def test_second_fit_of_a_trainer_goes_on(trainer_of, written):
    callback, module = RingmeterCallback(logger=written[0]), Net()
    trainer = trainer_of(callback)
    trainer.fit(module, loader(3))
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, loader(3))
    assert headers(written[1]) == ['Epoch(train) [1][3/3]', 'Epoch(train) [2][3/3]']
    assert values(callback, 'train/loss') == module.seen
    assert callback.meter.iter == trainer.global_step == 6


def test_two_callbacks_keep_histories_and_states_of_their_own(trainer_of, written, tmp_path):
    first = RingmeterCallback(logger=written[0], interval=2)
    second = RingmeterCallback(logger=written[0], interval=3, name='second')
    trainer = trainer_of(first, second)
    trainer.fit(Net(), loader(6))
    assert sorted(headers(written[1])) == [f'Epoch(train) [1][{i}/6]' for i in (2, 3, 4, 6, 6)]
    trainer.save_checkpoint(tmp_path / 'x.ckpt')
    states = torch.load(tmp_path / 'x.ckpt', weights_only=True)['callbacks']
    assert sorted(states) == ["RingmeterCallback{'name': 'ringmeter'}", "RingmeterCallback{'name': 'second'}"]


def test_current_hub_is_that_of_the_callback_that_runs(trainer_of, written):
    class Records(Net):
        def training_step(self, batch, batch_idx):
            rm.MessageHub.get_current_instance().update_scalar('train/direct', batch_idx)
            return self.loss(batch)

    first, second = RingmeterCallback(logger=written[0]), RingmeterCallback(logger=written[0])
    for callback in (first, second, first):
        trainer_of(callback).fit(Records(), loader(2))
        assert values(callback, 'train/direct') == [0, 1]


# ---- checkpoints ----


class Stops(pl.Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == self.step:
            raise ZeroDivisionError


@pytest.mark.parametrize('accumulated', [1, 2])
@pytest.mark.parametrize('saved_at', [2, 5, 7])  # in the first epoch, at its end, in the second
def test_run_that_goes_on_from_a_checkpoint_is_the_run_that_was_not_interrupted(
    trainer_of, written, tmp_path, saved_at, accumulated
):
    logger, texts = written
    data, how = loader(5 * accumulated), {'max_epochs': 3, 'accumulate_grad_batches': accumulated}
    whole = RingmeterCallback(logger=logger, interval=2)
    trainer_of(whole, **how).fit(Net(), data)
    lines, texts[:] = [without_times(text) for text in texts], []

    def save():
        return pl.callbacks.ModelCheckpoint(
            str(tmp_path), filename='{step}', save_top_k=-1, every_n_train_steps=1
        )

    callback = RingmeterCallback(logger=logger, interval=2)
    with pytest.raises(ZeroDivisionError):
        trainer_of(callback, save(), Stops(saved_at), **how).fit(Net(), data)
    texts.clear()
    state = torch.load(tmp_path / f'step={saved_at}.ckpt', weights_only=True)
    (ours,) = (state for key, state in state['callbacks'].items() if key.startswith('Ringmeter'))
    assert ours['iter'] == saved_at
    resumed = RingmeterCallback(logger=logger, interval=2)

    class Resumable(Net):
        """Lightning begins the epoch's batches anew; the losses go on where they were."""

        def on_train_batch_start(self, batch, batch_idx):
            if self.trainer.global_step < 5 * self.trainer.current_epoch + 5:
                batch[0][:] = batch_idx + 1.0

    trainer_of(resumed, save(), **how).fit(Resumable(), data, ckpt_path=tmp_path / f'step={saved_at}.ckpt')
    for key in ('train/loss', 'train/lr'):
        assert values(resumed, key) == pytest.approx(values(whole, key))
    assert len(values(resumed, 'train/time')) == 15
    assert [without_times(text) for text in texts] == lines[-len(texts) :]
    assert len(texts) == len(lines) - len([line for line in (2, 4, 7, 9, 12, 14) if line <= saved_at])
    assert (resumed.meter.epoch, resumed.meter.iter) == (3, 15)


def test_run_goes_on_from_a_checkpoint_without_histories(trainer_of, written, tmp_path):
    trainer = trainer_of()
    trainer.fit(Net(), loader(3))
    trainer.save_checkpoint(tmp_path / 'x.ckpt')
    callback = RingmeterCallback(logger=written[0])
    trainer_of(callback, max_epochs=2).fit(Net(), loader(3), ckpt_path=tmp_path / 'x.ckpt')
    assert headers(written[1]) == ['Epoch(train) [2][3/3]']
    assert callback.meter.iter == 6
    assert len(values(callback, 'train/loss')) == 3


def test_rate_of_a_step_that_failed_is_not_in_the_checkpoint(trainer_of, written, tmp_path):
    class Fails(Net):
        def training_step(self, batch, batch_idx):
            if batch_idx == 2 and resumed is None:
                raise ZeroDivisionError
            return self.loss(batch)

    class Saves(pl.Callback):
        def on_exception(self, trainer, *_):
            trainer.save_checkpoint(tmp_path / 'x.ckpt')

    callback, resumed = RingmeterCallback(logger=written[0]), None
    with pytest.raises(ZeroDivisionError):
        trainer_of(callback, Saves()).fit(Fails(), loader(4))
    assert len(values(callback, 'train/lr')) == 2
    resumed = RingmeterCallback(logger=written[0])
    trainer_of(resumed).fit(Fails(), loader(4), ckpt_path=tmp_path / 'x.ckpt')
    assert len(values(resumed, 'train/lr')) == len(values(resumed, 'train/loss')) == 4


def test_batch_that_is_skipped_has_no_rate(trainer_of, written):
    class Skips(Net):
        def on_train_batch_start(self, batch, batch_idx):
            return -1 if batch_idx == 2 else None

    callback = RingmeterCallback(logger=written[0])
    trainer_of(callback, max_epochs=2).fit(Skips(), loader(4))
    assert len(values(callback, 'train/lr')) == len(values(callback, 'train/loss')) == 4


def test_going_back_to_a_checkpoint_forgets_what_came_after_it(trainer_of, written, tmp_path):
    class Late(Validated):
        def validation_step(self, batch, batch_idx):
            return {'late': 1.0} if self.current_epoch == 1 else {}

    save = pl.callbacks.ModelCheckpoint(str(tmp_path), filename='{epoch}', save_top_k=-1)
    callback = RingmeterCallback(logger=written[0])
    trainer = trainer_of(callback, save, max_epochs=2)
    trainer.fit(Late(), loader(2), loader(1))
    trainer.fit(Late(), loader(2), loader(1), ckpt_path=tmp_path / 'epoch=0.ckpt')
    assert len(values(callback, 'train/loss')) == 4
    assert values(callback, 'val/late') == [1.0]


def test_copies_and_pickles_have_the_histories(trainer_of):
    callback = RingmeterCallback(interval=3, work_dir='nowhere')
    callback.meter.log(loss=1.0)
    for other in (copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        assert values(other, 'train/loss') == [1.0]
        assert other.meter.interval == 3
        assert other.meter.message_hub is not callback.meter.message_hub


# ---- loggers and files ----


class Memory(pl.loggers.logger.Logger):
    """Keeps what it gets."""

    name, version, save_dir = 'memory', 3, None

    def __init__(self, save_dir=None, fails=False):
        super().__init__()
        self.save_dir = save_dir
        self.fails = fails
        self.records = []

    def log_metrics(self, metrics, step=None):
        if self.fails:
            raise ConnectionError('no route')
        self.records.append((step, metrics))

    def log_hyperparams(self, params, *args, **kwargs):
        pass


def test_loggers_get_the_statistics_of_the_lines_at_the_trainers_step(trainer_of, written, tmp_path):
    memory, table = Memory(str(tmp_path)), pl.loggers.CSVLogger(tmp_path, name='table')
    callback, module = RingmeterCallback(logger=written[0], interval=2), Validated()
    trainer_of(callback, logger=[memory, table], num_sanity_val_steps=0).fit(module, loader(4), loader(3))
    assert [(step, sorted(metrics)) for step, metrics in memory.records] == [
        *((step, ['train/data_time', 'train/loss', 'train/lr', 'train/time']) for step in (2, 4)),
        (4, ['val/accuracy', 'val/data_time', 'val/time']),
    ]
    assert memory.records[1][1]['train/loss'] == pytest.approx(sum(module.seen) / 4)
    assert {type(value) for _, metrics in memory.records for value in metrics.values()} == {float}
    with (tmp_path / 'table' / 'version_0' / 'metrics.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row['train/loss']) for row in rows if row['train/loss']] == [
        metrics['train/loss'] for _, metrics in memory.records[:2]
    ]
    assert [row['val/accuracy'] for row in rows if row['val/accuracy']] == ['2.0']


def test_logger_gets_the_step_of_manual_optimization(trainer_of, written, tmp_path):
    memory = Memory(str(tmp_path))
    callback = RingmeterCallback(logger=written[0], interval=2)
    trainer_of(callback, logger=memory).fit(Manual(), loader(4))
    assert [step for step, _ in memory.records] == [4, 8]


def test_table_is_written_line_by_line(trainer_of, written, tmp_path):
    class Looks(pl.Callback):
        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 5:
                self.seen = (tmp_path / 'table' / 'version_0' / 'metrics.csv').read_text()

    looks = Looks()
    table = pl.loggers.CSVLogger(tmp_path, name='table')
    trainer_of(RingmeterCallback(logger=written[0], interval=2), looks, logger=table).fit(Net(), loader(6))
    assert [row['step'] for row in csv.DictReader(io.StringIO(looks.seen))] == ['2', '4']


def test_logger_that_fails_is_reported_once_and_the_others_go_on(trainer_of, written, tmp_path):
    broken, memory = Memory(str(tmp_path), fails=True), Memory(str(tmp_path))
    callback = RingmeterCallback(logger=written[0], interval=1)
    trainer_of(callback, logger=[broken, memory]).fit(Net(), loader(3))
    assert [text for text in written[1] if 'lost' in text] == [
        "Memory failed, its records are lost: ConnectionError('no route')"
    ]
    assert [step for step, _ in memory.records] == [1, 2, 3]


def test_debug_log_tells_where_files_and_sinks_are_from(trainer_of, tmp_path, chosen):
    table = pl.loggers.CSVLogger(tmp_path, name='table')
    trainer_of(RingmeterCallback(), logger=table).fit(Net(), loader(1))
    folder = tmp_path / 'table' / 'version_0'
    assert f'Get work_dir of Lightning from its first logger: {folder}' in chosen()
    assert 'Get sinks of Lightning from trainer.loggers: CSVLogger' in chosen()


def test_files_are_where_the_logger_writes(trainer_of, tmp_path, capsys):
    table = pl.loggers.CSVLogger(tmp_path, name='table')
    callback = RingmeterCallback(interval=2)
    trainer = trainer_of(callback, logger=table)
    trainer.fit(Validated(), loader(4))
    trainer.test(Validated(), loader(1), verbose=False)
    folder = tmp_path / 'table' / 'version_0'
    (log_file,) = folder.glob('*.log')
    assert [text.split(' - ')[-1].split('  ')[0] for text in log_file.read_text().splitlines()] == [
        'Epoch(train) [1][2/4]',
        'Epoch(train) [1][4/4]',
        'Epoch(test) [1/1]',
    ]
    out = capsys.readouterr().out
    assert all(line[len('2026/') :] in out.splitlines() for line in log_file.read_text().splitlines())
    lines = (folder / 'vis_data' / 'scalars.json').read_text().splitlines()
    assert [json.loads(line)['step'] for line in lines] == [2, 4, 1]


def test_no_file_is_written_without_a_logger_or_in_a_trial_run(trainer_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer_of(RingmeterCallback()).fit(Net(), loader(2))
    trainer_of(RingmeterCallback(), logger=Memory('s3://bucket/runs')).fit(Net(), loader(2))
    trainer_of(RingmeterCallback(), logger=pl.loggers.CSVLogger('logs'), fast_dev_run=True).fit(
        Net(), loader(2)
    )
    assert list(tmp_path.iterdir()) == []


def test_work_dir_can_be_chosen(trainer_of, tmp_path):
    trainer_of(RingmeterCallback(work_dir=tmp_path / 'work')).fit(Net(), loader(2))
    assert sorted(path.suffix for path in (tmp_path / 'work').iterdir()) == ['', '.log']


def test_other_ranks_record_and_write_nothing(trainer_of, written, tmp_path):
    class SecondRank(pl.strategies.SingleDeviceStrategy):
        is_global_zero = False

    memory = Memory(str(tmp_path))
    callback = RingmeterCallback(logger=written[0], interval=1, work_dir=tmp_path / 'work')
    trainer = trainer_of(callback, logger=memory, strategy=SecondRank(), accelerator='auto')
    trainer.fit(Validated(), loader(2), loader(2))
    assert written[1] == []
    assert memory.records == []
    assert not (tmp_path / 'work').exists()
    assert len(values(callback, 'train/loss')) == 2


# ---- nothing waits ----


class OnDevice(Validated):
    def __init__(self, cuda):
        super().__init__()
        self.fake = cuda.FakeCudaTensor

    def training_step(self, batch, batch_idx):
        return {'loss': self.loss(batch), 'fake': self.fake(float(batch_idx))}

    def validation_step(self, batch, batch_idx):
        return {'accuracy': self.fake(float(batch_idx))}


class LandsAtTheEnd(pl.Callback):
    """Before it, whoever waits for the device waits in vain, and his line is left out."""

    def __init__(self, cuda, stream, texts):
        self.cuda, self.stream, self.texts = cuda, stream, texts

    def on_train_start(self, *_):
        rm.set_wait_timeout(0.5)
        self.cuda.pause(self.stream)

    def on_train_end(self, *_):
        assert self.texts == []
        self.land()

    def on_exception(self, *_):
        self.land()

    def land(self):
        rm.set_wait_timeout(600)
        self.cuda.pause(self.stream, False)


def test_nothing_waits_for_the_device_until_training_ends(trainer_of, written, cuda, stream):
    logger, texts = written
    callback = RingmeterCallback(logger=logger, interval=2)
    end = LandsAtTheEnd(cuda, stream, texts)
    trainer = trainer_of(end, callback, max_epochs=2, num_sanity_val_steps=0, val_check_interval=2)
    before = cuda.item_calls()
    trainer.fit(OnDevice(cuda), loader(4), loader(2))
    assert cuda.item_calls() == before
    of_epoch = ['train) [{}][2/4]', 'val) [{}][2/2]', 'val) [{}][2/2]']
    of_epoch += ['train) [{}][4/4]', *of_epoch[1:]]
    assert headers(texts) == [f'Epoch({text.format(epoch)}' for epoch in (1, 2) for text in of_epoch]
    assert [re.search(r'fake: ([\d.]+)', text)[1] for text in texts if 'train' in text] == [
        '1.0000',
        '3.0000',
    ] * 2
    assert [re.search(r'accuracy: ([\d.]+)', text)[1] for text in texts if 'accuracy' in text] == [
        '0.5000'
    ] * 4
    assert max(values(callback, 'train/time')[1:]) < 1e-3  # the fake device's clock, not the host's


@pytest.mark.parametrize('accumulated', [1, 3])
def test_hooks_read_no_tensor(trainer_of, written, accumulated):
    from torch.utils._python_dispatch import TorchDispatchMode

    class NoReads(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            assert 'local_scalar' not in str(function), function  # item(), float(), bool()
            assert 'device' not in (kwargs or {}), function  # cpu()
            return function(*args, **(kwargs or {}))

    class Watched(RingmeterCallback):
        def on_train_batch_start(self, *args):
            with NoReads():
                super().on_train_batch_start(*args)

        def on_train_batch_end(self, *args):
            with NoReads():
                super().on_train_batch_end(*args)

    class Dict(Net):
        def training_step(self, batch, batch_idx):
            return {'loss': self.loss(batch), 'hits': torch.tensor(batch_idx), 'no_scalar': torch.zeros(2)}

    callback, module = Watched(logger=written[0], interval=2), Dict()
    trainer_of(callback, accumulate_grad_batches=accumulated).fit(module, loader(6))
    sums = [sum(module.seen[i : i + accumulated]) for i in range(0, 6, accumulated)]
    assert values(callback, 'train/loss') == pytest.approx([total / accumulated for total in sums])
    assert len(written[1]) == 6 // accumulated // 2


def test_nan_on_the_device_stops_the_run_when_asked_for(trainer_of, written, cuda, stream):
    class Nan(OnDevice):
        def training_step(self, batch, batch_idx):
            return {'loss': self.loss(batch), 'fake': self.fake(math.nan if batch_idx == 2 else 0.0)}

    callback = RingmeterCallback(logger=written[0], on_nan='raise')
    with pytest.raises(rm.NanError, match=r"series 'train/fake': a NaN was recorded in iteration 3$"):
        trainer_of(callback).fit(Nan(cuda), loader(4))


def test_nan_on_the_device_stops_a_validation_on_its_own(trainer_of, written, cuda, stream):
    class Nan(OnDevice):
        def validation_step(self, batch, batch_idx):
            return {'fake': self.fake(math.nan)}

    callback = RingmeterCallback(logger=written[0], on_nan='raise')
    cuda.delay(stream, 20_000)
    with pytest.raises(rm.NanError, match=r"series 'val/fake': a NaN was recorded in iteration 0$"):
        trainer_of(callback).validate(Nan(cuda), loader(2), verbose=False)


class Refuses(pl.Trainer):
    """A trainer whose metrics nobody may read: that converts them."""

    @property
    def callback_metrics(self):
        raise AssertionError('read')

    progress_bar_metrics = logged_metrics = callback_metrics


@pytest.mark.parametrize('cls', [RingmeterProgressBar, RingmeterRichProgressBar])
def test_bar_shows_what_has_landed_and_asks_the_trainer_for_nothing(trainer_of, written, cuda, stream, cls):
    shown = []

    class Bar(cls):
        def get_metrics(self, trainer, pl_module):
            shown.append(super().get_metrics(trainer, pl_module))
            return shown[-1]

    callback = RingmeterCallback(logger=written[0])
    bar = Bar(names=('loss', 'fake', 'nothing'), refresh_rate=1)
    module = OnDevice(cuda)
    end = LandsAtTheEnd(cuda, stream, written[1])
    trainer_of(bar, end, callback, cls=Refuses, num_sanity_val_steps=0).fit(module, loader(3), loader(1))
    losses = [items.get('loss') for items in shown if 'loss' in items]
    assert losses[0] in module.seen
    assert losses[-1] == module.seen[-1]
    assert all('fake' not in items and 'nothing' not in items for items in shown)
    assert bar.get_metrics(None, None) == {'loss': module.seen[-1], 'fake': 2.0}


def test_bar_shows_the_newest_value_that_has_landed_while_others_are_on_their_way(
    trainer_of, written, cuda, stream
):
    class Pauses(LandsAtTheEnd):
        def on_train_start(self, *_):
            pass

        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            if batch_idx == 2:
                self.cuda.sync(self.stream)
                super().on_train_start()

    shown = []

    class Bar(RingmeterProgressBar):
        def get_metrics(self, trainer, pl_module):
            shown.append(super().get_metrics(trainer, pl_module))
            return shown[-1]

    pauses = Pauses(cuda, stream, written[1])
    callback = RingmeterCallback(logger=written[0])
    bar = Bar(['fake'], window_size=2)
    trainer_of(pauses, callback, bar, num_sanity_val_steps=0).fit(OnDevice(cuda), loader(5), loader(1))
    assert [items['fake'] for items in shown[2:]] == [0.5] * len(shown[2:])
    assert len(shown) >= 5
    assert bar.get_metrics(None, None) == {'fake': 3.5}


def test_bar_needs_the_callback(trainer_of):
    with pytest.raises(
        rm.ArgumentError,
        match='^callbacks of the trainer must include a RingmeterCallback for RingmeterProgressBar, got none$',
    ):
        trainer_of(RingmeterProgressBar()).fit(Net(), loader(1))


def test_lines_and_bar_do_not_garble_each_other(trainer_of, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr('sys.stdout', out)
    callback = RingmeterCallback(interval=2)
    trainer_of(RingmeterProgressBar(), callback).fit(Net(), loader(4))
    lines = [line.split('\r')[-1] for line in out.getvalue().split('\n') if 'INFO' in line]
    assert len(lines) == 2
    assert all(re.match(r'\d\d/\d\d \d\d:\d\d:\d\d - ringmeter - INFO - Epoch', line) for line in lines)
    assert 'loss=' in out.getvalue()


def test_example_learns_and_writes_its_lines_and_records(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('PL_GLOBAL_SEED', '0')  # which it sets, put back as it was
    monkeypatch.setattr('sys.argv', ['lightning_digits.py', '--epochs', '2', '--work-dir', str(tmp_path)])
    example = Path(__file__).parents[2] / 'examples' / 'lightning_digits.py'
    runpy.run_path(str(example), run_name='__main__')
    folder = tmp_path / 'lightning_logs' / 'version_0'
    (log_file,) = folder.glob('*.log')
    lines = log_file.read_text().splitlines()
    assert headers(line.split(' - ')[-1] for line in lines) == [
        *('Epoch(train) [1][10/25]', 'Epoch(train) [1][20/25]', 'Epoch(val) [1][4/4]'),
        *('Epoch(train) [2][10/25]', 'Epoch(train) [2][20/25]', 'Epoch(val) [2][4/4]'),
    ]
    accuracies = [float(re.search(r'accuracy: ([\d.]+)', line)[1]) for line in lines if '(val)' in line]
    assert accuracies[0] < accuracies[1]
    assert accuracies[1] > 0.8
    records = [json.loads(line) for line in (folder / 'vis_data' / 'scalars.json').read_text().splitlines()]
    assert [round(record['accuracy'], 4) for record in records if 'loss' not in record] == accuracies
    assert 'train/unsure' in (folder / 'metrics.csv').read_text()
    assert 'accuracy=' in capsys.readouterr().out


# ---- arguments, and which package ----


@pytest.mark.parametrize(
    ('arguments', 'match'),
    [
        ({'interval': 0}, 'interval must be at least 1, got 0'),
        ({'window_size': 0}, 'window_size must be at least 1, got 0'),
        ({'on_nan': 'x'}, "on_nan must be one of 'count', 'show', 'raise', got 'x'"),
        ({'custom_cfg': [{'data_src': 'loss'}]}, "each rule must have a 'method_name'"),
    ],
)
def test_wrong_arguments_are_refused_at_once(arguments, match):
    with pytest.raises(rm.ArgumentError, match=match):
        RingmeterCallback(**arguments)


@pytest.mark.parametrize('cls', [RingmeterProgressBar, RingmeterRichProgressBar])
@pytest.mark.parametrize(
    ('arguments', 'match'),
    [
        ({'names': 'loss'}, "names must be a sequence of names, got 'loss'"),
        ({'window_size': 0}, 'window_size must be at least 1, got 0'),
        ({'window_size': 'epoch'}, "window_size must be an int, got 'epoch'"),
    ],
)
def test_wrong_arguments_of_a_bar_are_refused_at_once(cls, arguments, match):
    with pytest.raises((rm.ArgumentError, rm.ArgumentTypeError), match=match):
        cls(**arguments)


def run(code):
    return subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', code], check=False, capture_output=True, text=True, timeout=120
    )


def test_pytorch_lightning_is_taken_when_that_was_imported():
    done = run("""
import pytorch_lightning as pl, sys, torch
from ringmeter.integrations.lightning import RingmeterCallback, RingmeterProgressBar
assert issubclass(RingmeterCallback, pl.Callback)
assert issubclass(RingmeterProgressBar, pl.callbacks.TQDMProgressBar)
assert 'lightning.pytorch' not in sys.modules
class Net(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
    def training_step(self, batch, batch_idx):
        return self.layer(batch).sum()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)
callback = RingmeterCallback(interval=2)
trainer = pl.Trainer(accelerator='cpu', logger=False, enable_checkpointing=False, max_epochs=1,
                     callbacks=[callback, RingmeterProgressBar()])
trainer.fit(Net(), torch.utils.data.DataLoader(torch.ones(4, 1)))
assert len(callback.meter.message_hub.get_scalar('train/loss')) == 4
""")
    assert done.returncode == 0, done.stderr
    assert 'INFO - Epoch(train) [1][4/4]' in done.stdout


def test_missing_package_is_an_error_that_names_the_extra():
    done = run("""
import sys
from importlib import metadata
sys.modules['lightning'] = sys.modules['pytorch_lightning'] = None
def version(name):
    raise metadata.PackageNotFoundError(name)
metadata.version = version
import ringmeter.integrations.lightning
""")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith(
        "ImportError: lightning must be 2.1 or newer, got none: pip install 'ringmeter[lightning]'"
    )
