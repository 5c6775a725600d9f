"""RingmeterCallback and RingmeterMixin in Hugging Face's own Trainer: rows, lines, times, checkpoints, faults."""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shutil
import subprocess
import sys

import pytest

os.environ['HF_HUB_OFFLINE'] = '1'
torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

from transformers import Trainer, TrainerCallback, TrainingArguments  # noqa: E402

import ringmeter as rm  # noqa: E402
from ringmeter.integrations.transformers import (  # noqa: E402
    RingmeterCallback,
    RingmeterMixin,
    _callback,  # noqa: E402
)


class MyTrainer(RingmeterMixin, Trainer):
    pass


class Net(torch.nn.Module):
    """Its loss is the square of the distance between a weight and the batch's mean."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x, labels=None):
        return {'loss': (self.weight - x.mean()) ** 2, 'logits': x * self.weight}


class Data(torch.utils.data.Dataset):
    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        return {'x': torch.tensor([float(index % 7)]), 'labels': torch.tensor([0.0])}


class Lines(logging.Handler):
    def __init__(self):
        super().__init__()
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


@pytest.fixture
def lines():
    return Lines()


@pytest.fixture
def make(tmp_path, lines):
    """Makes a trainer of 6 batches an epoch, two epochs, on data in order."""

    def make(cls=MyTrainer, model=None, callback=None, callbacks=(), eval_dataset=None, **arguments):
        logger = logging.Logger('lines')
        logger.addHandler(lines)
        options = {'interval': 1, 'window_size': 1, 'logger': logger, **(callback or {})}
        args = TrainingArguments(
            output_dir=str(tmp_path),
            **{
                'per_device_train_batch_size': 2,
                'per_device_eval_batch_size': 2,
                'num_train_epochs': 2,
                'learning_rate': 0.125,
                'logging_steps': 1,
                'logging_nan_inf_filter': False,
                'save_strategy': 'no',
                'report_to': [],
                'disable_tqdm': True,
                'use_cpu': True,
                'seed': 1,
                **arguments,
            },
        )
        return cls(
            model or Net(),
            args,
            train_dataset=Data(12),
            eval_dataset=eval_dataset or Data(6),
            callbacks=[*callbacks, RingmeterCallback(**options)],
        )

    return make


def meter_of(trainer):
    (callback,) = [each for each in trainer.callback_handler.callbacks if isinstance(each, RingmeterCallback)]
    return callback.meter


def values(trainer, key):
    return meter_of(trainer).message_hub.get_scalar(key).data[0].tolist()


def logged(trainer, name):
    return [logs[name] for logs in trainer.state.log_history if name in logs]


def names(text):
    return re.findall(r'(\w+): ', text.partition(']')[2])


def records(folder):
    return [json.loads(line) for line in (folder / 'vis_data/scalars.json').read_text().splitlines()]


# ---- rows ----


@pytest.mark.parametrize('accumulation', [1, 2, 4])
def test_each_step_has_the_loss_the_norm_and_the_rate_that_trainer_logs(make, accumulation):
    trainer = make(gradient_accumulation_steps=accumulation)
    trainer.train()
    for key, name in [('loss', 'loss'), ('grad_norm', 'grad_norm'), ('lr', 'learning_rate')]:
        assert values(trainer, f'train/{key}') == logged(trainer, name)
    steps = {1: 12, 2: 6, 4: 4}[accumulation]
    assert trainer.state.global_step == steps
    assert len(values(trainer, 'train/time')) == len(values(trainer, 'train/data_time')) == steps


def test_trainer_is_left_as_it_is(make):
    def log_history(trainer):
        trainer.train()
        times = ('_runtime', '_per_second', 'total_flos')
        return [
            {name: value for name, value in logs.items() if not name.endswith(times)}
            for logs in trainer.state.log_history
        ], trainer.model.weight.item()

    arguments = {'eval_strategy': 'steps', 'eval_steps': 4, 'logging_steps': 3, 'max_grad_norm': 0.5}
    plain = make(Trainer, **arguments)
    plain.remove_callback(RingmeterCallback)
    assert log_history(make(**arguments)) == log_history(plain)


def test_callback_alone_has_what_trainer_logs(make, lines):
    trainer = make(Trainer, logging_steps=3, max_steps=7)
    trainer.train()
    assert values(trainer, 'train/loss') == logged(trainer, 'loss')
    assert values(trainer, 'train/grad_norm') == logged(trainer, 'grad_norm')
    assert len(values(trainer, 'train/loss')) == 2
    assert len(values(trainer, 'train/lr')) == len(values(trainer, 'train/time')) == 7
    third, sixth = logged(trainer, 'loss')
    assert 'loss' not in lines.texts[1]
    assert f'loss: {third:.4f}' in lines.texts[2]  # of the step that it is logged at
    assert f'loss: {sixth:.4f}' in lines.texts[5]


def test_mixin_adds_the_callback_if_there_is_none(tmp_path, capsys):
    args = TrainingArguments(
        output_dir=str(tmp_path), max_steps=4, logging_steps=2, report_to=[], disable_tqdm=True, use_cpu=True,
        logging_nan_inf_filter=False, save_strategy='no', per_device_train_batch_size=2,
    )  # fmt: skip
    trainer = MyTrainer(Net(), args, train_dataset=Data(8))
    trainer.train()
    assert trainer.ringmeter is trainer.ringmeter
    assert values(trainer, 'train/loss') == logged_losses(trainer)
    found = re.findall(r'Iter\(train\) \[\d/4\]', capsys.readouterr().out)
    assert found == ['Iter(train) [2/4]', 'Iter(train) [4/4]']
    assert [record['step'] for record in records(tmp_path)] == [2, 4]
    assert len(list(tmp_path.glob('*.log'))) == 1


def logged_losses(trainer):
    """What each pair of steps adds up to, by Trainer's logs."""
    pairs = logged(trainer, 'loss')
    losses = values(trainer, 'train/loss')
    assert [(a + b) / 2 for a, b in zip(losses[::2], losses[1::2], strict=True)] == pytest.approx(pairs)
    return losses


def test_scalars_of_micro_batches_become_their_mean(make):
    class Talkative(Net):
        def forward(self, x, labels=None):
            if self.training:
                trainer.ringmeter.meter.log(largest=x.max())
                rm.MessageHub.get_current_instance().update_scalar('train/each', x.max())
            return super().forward(x)

    trainer = make(
        model=Talkative(), gradient_accumulation_steps=2, max_steps=3, train_sampling_strategy='sequential'
    )
    trainer.train()
    each = values(trainer, 'train/each')
    assert len(each) == 6
    assert values(trainer, 'train/largest') == [
        (a + b) / 2 for a, b in zip(each[::2], each[1::2], strict=True)
    ]


def test_what_a_trainer_logs_besides_is_shown_and_what_is_no_scalar_is_left_out(make, lines, caplog):
    class Chatty(MyTrainer):
        def log(self, logs, *args, **kwargs):
            if 'loss' in logs:
                logs |= {'reward': 0.5 + self.state.global_step, 'sample': 'a cat', 'eval_other': 1.0}
            super().log(logs, *args, **kwargs)

    trainer = make(Chatty, max_steps=3)
    trainer.train()
    assert values(trainer, 'train/reward') == [1.5, 2.5, 3.5]
    assert 'train/eval_other' not in meter_of(trainer).message_hub.log_scalars
    assert ['reward: 2.5000' in text for text in lines.texts] == [False, True, False]
    assert [record.getMessage() for record in caplog.records if 'sample' in record.getMessage()] == [
        "an output of the step is not recorded: series 'train/sample': value must be one real number, "
        "got 'a cat' of type str"
    ]
    assert values(trainer, 'train/loss') == logged(trainer, 'loss')


@pytest.mark.parametrize('accumulation', [1, 2])
def test_loss_that_trainer_logs_behind_an_epoch_is_recorded(make, lines, accumulation):
    trainer = make(Trainer, logging_strategy='epoch', gradient_accumulation_steps=accumulation)
    trainer.train()
    assert len(logged(trainer, 'loss')) == 2
    assert values(trainer, 'train/loss') == logged(trainer, 'loss')
    assert f'loss: {logged(trainer, "loss")[0]:.4f}' in lines.texts[-1]


def test_losses_of_micro_batches_add_up_as_trainer_adds_them(make):
    class Half(Net):
        def forward(self, x, labels=None):
            outputs = super().forward(x)
            return outputs | {'loss': outputs['loss'].bfloat16()}

    class Static(Trainer):
        static = torch.zeros(())  # as in a CUDA graph, whose next replay overwrites what it returned

        def training_step(self, *args, **kwargs):
            return self.static.copy_(super().training_step(*args, **kwargs))

    class MyStatic(RingmeterMixin, Static):
        pass

    for cls, model in ((MyTrainer, Half()), (MyStatic, Net())):
        trainer = make(cls, model=model, gradient_accumulation_steps=3)
        trainer.train()
        assert values(trainer, 'train/loss') == logged(trainer, 'loss')


@pytest.mark.parametrize('accumulation', [1, 2])
def test_losses_that_a_model_logs_leave_the_loss_to_trainer(make, accumulation):
    class Parts(Net):
        def forward(self, x, labels=None):
            outputs = super().forward(x)
            total = trainer.ringmeter.meter.log(loss_a=outputs['loss'], loss_b=3 * outputs['loss'])
            assert total == 4 * outputs['loss']
            return outputs

    trainer = make(
        model=Parts(), gradient_accumulation_steps=accumulation, eval_strategy='epoch', num_train_epochs=1
    )
    trainer.train()
    assert values(trainer, 'train/loss') == logged(trainer, 'loss')
    assert values(trainer, 'val/loss') == logged(trainer, 'eval_loss')
    assert values(trainer, 'train/loss_b') == pytest.approx(
        [3 * loss for loss in values(trainer, 'train/loss_a')]
    )
    assert len(values(trainer, 'train/loss_a')) == trainer.state.global_step


# ---- lines ----


def test_lines_count_steps_and_show_what_mmengine_does(make, lines, tmp_path):
    trainer = make(callback={'interval': 4})
    trainer.train()
    assert [text.partition('  ')[0] for text in lines.texts] == [
        f'Iter(train) [{step:2}/12]' for step in (4, 8, 12)
    ]
    assert {tuple(names(text)) for text in lines.texts} == {
        ('lr', 'eta', 'time', 'data_time', 'loss', 'grad_norm')
    }
    found = records(tmp_path)
    assert [record['step'] for record in found] == [4, 8, 12]
    assert [record['loss'] for record in found] == logged(trainer, 'loss')[3::4]


def test_interval_is_that_of_trainers_logs(make, lines):
    trainer = make(callback={'interval': None}, logging_steps=0.25)
    trainer.train()
    assert [text[:19] for text in lines.texts] == [f'Iter(train) [{step:2}/12]' for step in (3, 6, 9, 12)]


def test_interval_is_that_of_trainers_logs_behind_an_evaluation_too(make, lines):
    trainer = make(callback={'interval': None}, logging_steps=4)
    trainer.evaluate()
    lines.texts.clear()
    trainer.train()
    assert [text[:19] for text in lines.texts] == [f'Iter(train) [{step:2}/12]' for step in (4, 8, 12)]


def test_evaluation_has_a_line_of_its_metrics(make, lines, tmp_path):
    trainer = make(
        eval_strategy='steps', eval_steps=6, callback={'interval': 6},
    )  # fmt: skip
    trainer.compute_metrics = lambda prediction: {'mean': float(prediction.predictions.mean())}
    trainer.train()
    assert [text.partition(']')[0] for text in lines.texts] == [
        'Iter(train) [ 6/12', 'Iter(val) [3/3', 'Iter(train) [12/12', 'Iter(val) [3/3',
    ]  # fmt: skip
    assert [sorted(names(text)) for text in lines.texts[1::2]] == [['data_time', 'loss', 'mean', 'time']] * 2
    assert values(trainer, 'val/loss') == logged(trainer, 'eval_loss')
    assert values(trainer, 'val/mean') == logged(trainer, 'eval_mean')
    found = [record for record in records(tmp_path) if 'mean' in record]
    assert [(record['step'], record['loss']) for record in found] == list(
        zip((6, 12), logged(trainer, 'eval_loss'), strict=True)
    )


def test_several_evaluation_sets_have_a_line_each(make, lines):
    sets = {'long': Data(6), 'short': Data(2)}
    trainer = make(
        eval_dataset=sets, eval_strategy='epoch', num_train_epochs=1, callback={'interval': 6}
    )  # fmt: skip
    trainer.train()
    assert [text[:15] for text in lines.texts[1:]] == ['Iter(val) [3/3]', 'Iter(val) [1/1]']
    assert values(trainer, 'val/long_loss') == logged(trainer, 'eval_long_loss')
    assert values(trainer, 'val/short_loss') == logged(trainer, 'eval_short_loss')


def test_evaluation_without_the_mixin_has_no_times(make, lines):
    trainer = make(Trainer, eval_strategy='epoch', num_train_epochs=1)
    trainer.train()
    assert lines.texts[-1] == f'Iter(val) [3/3]    loss: {logged(trainer, "eval_loss")[0]:.4f}'


def test_evaluation_and_prediction_work_without_training(make, lines):
    trainer = make(callback={'interval': 10})
    loss = trainer.evaluate()['eval_loss']
    test_loss = trainer.predict(Data(4)).metrics['test_loss']
    assert [re.sub('  (data_)?time: [0-9.]+', '', text) for text in lines.texts] == [
        f'Iter(val) [3/3]    loss: {loss:.4f}',
        f'Iter(test) [2/2]    loss: {test_loss:.4f}',
    ]


def test_only_the_process_of_rank_0_writes(make, lines, tmp_path, monkeypatch):
    monkeypatch.setattr(MyTrainer, 'is_world_process_zero', lambda _: False)
    trainer = make(save_strategy='steps', save_steps=6, eval_strategy='epoch')
    trainer.train()
    assert lines.texts == []
    assert not (tmp_path / 'vis_data').exists()
    assert not list(tmp_path.glob('**/ringmeter.pt'))
    assert values(trainer, 'train/loss') == logged(trainer, 'loss')


def test_progress_bars_and_lines_share_the_console(tmp_path, capfd):
    args = TrainingArguments(
        output_dir=str(tmp_path), max_steps=3, report_to=[], use_cpu=True, logging_nan_inf_filter=False,
        save_strategy='no', disable_tqdm=False,
    )  # fmt: skip
    MyTrainer(Net(), args, train_dataset=Data(24), callbacks=[RingmeterCallback(interval=1)]).train()
    shown = capfd.readouterr().out.splitlines()
    assert [line.partition(' - INFO - ')[2][:17] for line in shown if ' - INFO - ' in line] == [
        f'Iter(train) [{step}/3]' for step in (1, 2, 3)
    ]


def test_lines_wait_for_their_values_and_training_does_not(make, lines, cuda, stream):
    class OnDevice(Net):
        def forward(self, x, labels=None):
            hub = rm.MessageHub.get_current_instance()
            hub.update_scalar('train/aux', cuda.FakeCudaTensor(float(x.sum())))
            return super().forward(x)

    class Release(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            seen.append(len(lines.texts))
            if state.global_step == 6:
                cuda.pause(stream, False)

    seen = []
    trainer = make(model=OnDevice(), callbacks=[Release()], num_train_epochs=1)
    cuda.pause(stream)  # whoever waits for it in the first five steps waits for ever
    trainer.train()
    assert seen == [0] * 6
    assert len(lines.texts) == 6
    assert cuda.item_calls() == 0


# ---- times ----


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Slow(Net):
    """A step takes 10 s, a batch of an evaluation 1,000."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def forward(self, x, labels=None):
        self.clock.now += 10 if self.training else 1000
        return super().forward(x)


def test_times_are_those_of_the_loader_and_of_the_step(make, monkeypatch):
    clock = Clock()

    class Loaded(MyTrainer):
        def get_batch_samples(self, *args, **kwargs):
            clock.now += 1
            return super().get_batch_samples(*args, **kwargs)

        def log(self, *args, **kwargs):
            clock.now += 100
            super().log(*args, **kwargs)

        def _save_checkpoint(self, *args, **kwargs):
            clock.now += 10_000
            super()._save_checkpoint(*args, **kwargs)

    trainer = make(
        Loaded, model=Slow(clock), max_steps=6, logging_steps=2, eval_strategy='steps', eval_steps=3,
        save_strategy='steps', save_steps=4, gradient_accumulation_steps=2,
    )  # fmt: skip
    monkeypatch.setattr('time.perf_counter', clock)
    trainer.train()
    # 2 micro-batches of 10 s a step. A step that is logged has 100 s more, the one behind a checkpoint 10,000.
    assert values(trainer, 'train/data_time') == [1.0] * 6
    assert values(trainer, 'train/time') == [21.0, 121.0, 21.0, 121.0, 10_021.0, 121.0]
    assert values(trainer, 'val/time') == [1000.0] * 6


@pytest.mark.parametrize('strategy', [{'eval_steps': 2}, {'eval_strategy': 'epoch'}])
@pytest.mark.parametrize('cls', [Trainer, MyTrainer])
def test_time_of_an_evaluation_is_not_that_of_a_step(make, monkeypatch, cls, strategy):
    clock = Clock()
    trainer = make(cls, model=Slow(clock), **{'eval_strategy': 'steps', **strategy})
    monkeypatch.setattr('time.perf_counter', clock)
    trainer.train()
    assert values(trainer, 'train/time') == [10.0] * 12
    assert values(trainer, 'train/data_time') == [0.0] * 12
    assert len(values(trainer, 'val/loss')) == {'eval_steps': 6, 'eval_strategy': 2}[next(iter(strategy))]


def test_evaluation_that_was_announced_and_did_not_take_place_is_forgotten(make, lines, monkeypatch):
    class Without(MyTrainer):
        def _evaluate(self, *args, **kwargs):
            return {}

    clock = Clock()
    trainer = make(Without, model=Slow(clock), eval_strategy='steps', eval_steps=2, num_train_epochs=1)
    monkeypatch.setattr('time.perf_counter', clock)
    trainer.train()
    assert [text[:11] for text in lines.texts] == ['Iter(train)'] * 6
    assert values(trainer, 'train/time') == [10.0] * 6


# ---- NaNs ----


class NanAtStep3(Net):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x, labels=None):
        self.calls += 1
        outputs = super().forward(x)
        return outputs | {'loss': outputs['loss'] * (math.nan if self.calls == 3 else 1.0)}


def test_nan_that_trainer_hides_is_shown(make, lines, caplog, monkeypatch):
    _callback._warn_of_nan_filter.cache_clear()
    trainer = make(
        model=NanAtStep3(), max_steps=4, logging_nan_inf_filter=True, callback={'window_size': 4},
        max_grad_norm=0.0,
    )  # fmt: skip
    monkeypatch.setattr(torch.optim.AdamW, 'step', lambda *_, **__: None)  # a NaN would stay
    trainer.train()
    assert [math.isnan(loss) for loss in values(trainer, 'train/loss')] == [False, False, True, False]
    assert not any(map(math.isnan, logged(trainer, 'loss')))
    assert 'loss: nan 1/4' in lines.texts[3]
    make(logging_nan_inf_filter=True, max_steps=1).train()
    warnings = [record.getMessage() for record in caplog.records if 'nan_inf' in record.getMessage()]
    assert len(warnings) == 1
    assert warnings[0].startswith('logging_nan_inf_filter is on: Trainer waits for the device twice in every')


def test_no_warning_without_the_filter_or_without_training(make, caplog):
    _callback._warn_of_nan_filter.cache_clear()
    make(max_steps=1).train()
    make(logging_nan_inf_filter=True).evaluate()
    assert 'logging_nan_inf_filter' not in caplog.text


def test_nan_can_stop_the_run(make):
    trainer = make(model=NanAtStep3(), callback={'on_nan': 'raise'})
    with pytest.raises(rm.NanError, match=r"series 'train/loss': a NaN was recorded in iteration 3"):
        trainer.train()
    assert trainer.state.global_step in (3, 4)  # the NaN may land a step later


# ---- checkpoints ----


def test_run_goes_on_with_its_histories(make, tmp_path, lines):
    whole = make()
    whole.train()
    of_whole = {key: values(whole, key) for key in ('train/loss', 'train/grad_norm', 'train/lr')}
    first = make(save_strategy='steps', save_steps=4, callback={'window_size': 12})
    first.train()
    lines.texts.clear()
    resumed = make(save_strategy='steps', save_steps=4, callback={'window_size': 12})
    resumed.train(resume_from_checkpoint=str(tmp_path / 'checkpoint-8'))
    assert {key: values(resumed, key) for key in of_whole} == of_whole
    assert [text[:19] for text in lines.texts] == [f'Iter(train) [{step:2}/12]' for step in range(9, 13)]
    mean = sum(of_whole['train/loss']) / 12
    assert f'loss: {mean:.4f}' in lines.texts[-1]


def test_state_is_plain_data(make, tmp_path):
    trainer = make(save_strategy='steps', save_steps=6)
    trainer.train()
    state = torch.load(tmp_path / 'checkpoint-6/ringmeter.pt', weights_only=True)
    assert state['iter'] == 6
    meter = rm.LoopLogger(max_iters=12, logger=logging.getLogger('quiet'))
    meter.load_state_dict(state)
    assert meter.message_hub.get_scalar('train/loss').data[0].tolist() == logged(trainer, 'loss')[:6]


def test_last_checkpoint_and_one_that_was_moved_are_found(make, tmp_path):
    first = make(save_strategy='steps', save_steps=5)
    first.train()
    again = make()
    again.train(resume_from_checkpoint=True)  # the one of step 12
    assert values(again, 'train/loss') == values(first, 'train/loss')
    shutil.move(tmp_path / 'checkpoint-5', tmp_path / 'elsewhere')
    moved = make()
    moved.train(resume_from_checkpoint=str(tmp_path / 'elsewhere'))
    assert values(moved, 'train/loss')[:5] == values(first, 'train/loss')[:5]
    assert len(values(moved, 'train/loss')) == 12


def test_checkpoint_without_histories_is_reported(make, tmp_path, caplog):
    make(Trainer, save_strategy='steps', save_steps=8).train()
    (tmp_path / 'checkpoint-8/ringmeter.pt').unlink()
    trainer = make()
    trainer.train(resume_from_checkpoint=str(tmp_path / 'checkpoint-8'))
    assert len(values(trainer, 'train/loss')) == 4
    assert (
        'the run goes on at step 8, its histories begin anew: there is no '
        f'{tmp_path}/checkpoint-8/ringmeter.pt' in caplog.text
    )


@pytest.mark.parametrize('given', [True, 'True'])
def test_folder_that_the_arguments_only_call_for_is_found(make, given):
    make(save_strategy='steps', save_steps=5).train()
    trainer = make(Trainer, resume_from_checkpoint=given)
    trainer.train(resume_from_checkpoint=True)
    assert len(values(trainer, 'train/loss')) == 12


def test_histories_of_another_run_are_not_taken(make, tmp_path, caplog):
    first = make(save_strategy='steps', save_steps=8)
    first.train()
    shutil.copytree(tmp_path / 'checkpoint-8', tmp_path / 'other')
    (tmp_path / 'other/ringmeter.pt').unlink()
    for trainer in (make(), first):  # not those that a trainer has from before, either
        trainer.train(resume_from_checkpoint=str(tmp_path / 'other'))
        assert len(values(trainer, 'train/loss')) == 4
    assert caplog.text.count(f'its histories begin anew: there is no {tmp_path}/other/ringmeter.pt') == 2


def test_trainer_that_goes_back_to_a_checkpoint_forgets_what_came_after(make, tmp_path):
    trainer = make(save_strategy='steps', save_steps=4, eval_strategy='steps', eval_steps=6)
    trainer.train()
    trainer.train(resume_from_checkpoint=str(tmp_path / 'checkpoint-4'))
    assert len(values(trainer, 'train/loss')) == 12
    assert len(values(trainer, 'val/loss')) == 2


@pytest.mark.parametrize('content', [b'', b'no archive', b'state'])
def test_damaged_histories_are_reported(make, tmp_path, caplog, content):
    make(save_strategy='steps', save_steps=8).train()
    path = tmp_path / 'checkpoint-8/ringmeter.pt'
    path.write_bytes(content)
    if content == b'state':
        torch.save({'epoch': 0, 'iter': -1, 'message_hub': {}}, path)
    trainer = make()
    trainer.train(resume_from_checkpoint=str(tmp_path / 'checkpoint-8'))
    assert len(values(trainer, 'train/loss')) == 4
    assert f'the histories begin anew: {path} cannot be loaded: ' in caplog.text


def test_histories_that_cannot_be_saved_stop_nothing(make, tmp_path, caplog):
    class Blocked(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            (tmp_path / f'checkpoint-{state.global_step}/ringmeter.pt').mkdir()

    trainer = make(callbacks=[Blocked()], save_strategy='steps', save_steps=8)
    trainer.train()
    assert len(values(trainer, 'train/loss')) == 12
    assert f'{tmp_path}/checkpoint-8/ringmeter.pt cannot be saved: ' in caplog.text


def test_second_run_begins_anew(make, lines):
    trainer = make(max_steps=3)
    trainer.train()
    hub = meter_of(trainer).message_hub
    trainer.train()
    assert meter_of(trainer).message_hub is not hub
    assert len(hub.get_scalar('train/loss')) == len(values(trainer, 'train/loss')) == 3
    assert [text.partition('  ')[0] for text in lines.texts] == [
        f'Iter(train) [{i}/3]' for i in (1, 2, 3)
    ] * 2


# ---- faults ----


def test_options_are_checked():
    with pytest.raises(rm.ArgumentError, match='interval must be at least 1, got 0'):
        RingmeterCallback(interval=0)
    with pytest.raises(rm.ArgumentError, match="on_nan must be one of 'count', 'show', 'raise', got 'stop'"):
        RingmeterCallback(on_nan='stop')


@pytest.mark.parametrize(
    ('versions', 'message'),
    [
        ({}, 'transformers must be 4.46 or newer, got none'),
        ({'transformers': '4.45.2'}, 'transformers must be 4.46 or newer, got 4.45.2'),
        ({'transformers': '5.0.0rc1'}, 'torch must be 1.13 or newer, got none'),
    ],
)
def test_what_is_missing_or_too_old_names_the_extra(versions, message):
    code = (
        'from importlib import metadata\n'
        'def version(package):\n'
        f'    if package in {versions!r}:\n'
        f'        return {versions!r}[package]\n'
        '    raise metadata.PackageNotFoundError(package)\n'
        'metadata.version = version\n'
        'import ringmeter.integrations.transformers\n'
    )
    done = subprocess.run([sys.executable, '-c', code], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"ImportError: {message}: pip install 'ringmeter[transformers]'" in done.stderr


def test_example_runs(tmp_path, run_example):
    printed = run_example('transformers_text.py', '--steps', '30', '--work-dir', tmp_path)
    losses = [float(loss) for loss in re.findall(r'Iter\(train\) .* loss: ([0-9.]+)', printed)]
    assert len(losses) == 3
    assert losses[2] < losses[0] - 0.5
    assert re.findall(r'(Iter\(val\) .*)    loss: ', printed) == ['Iter(val) [5/5]']


def test_debug_log_tells_where_the_interval_is_from(make, chosen):
    make(callback={'interval': None}, logging_steps=3, num_train_epochs=1).train()
    assert 'Get interval of Trainer from logging_steps: 3' in chosen()


def test_trainer_says_who_writes_whatever_the_launcher_says(make, lines, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('SLURM_PROCID', '3')  # a job of runs that do not know of each other
    make(callback={'logger': None}, num_train_epochs=1).train()
    assert capsys.readouterr().out.count('Iter(train) [') == 6
    (log_file,) = tmp_path.glob('*.log')
    assert '_rank' not in log_file.name
    assert len(records(tmp_path)) == 6
