"""RingmeterTracker in accelerate's own Accelerator: lines, records, what is no scalar, processes, checkpoints."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip('torch')
accelerate = pytest.importorskip('accelerate')

import ringmeter as rm  # noqa: E402
from ringmeter.integrations.accelerate import RingmeterTracker  # noqa: E402

needs_names = pytest.mark.skipif(
    not hasattr(accelerate.tracking, 'register_tracker_class'), reason='accelerate before 1.15'
)


@pytest.fixture
def make(tmp_path, written):
    """Makes an accelerator with trackers that are ready, and returns it with its tracker."""

    def make(config=None, **options):
        tracker = RingmeterTracker('run', tmp_path, **{'logger': written[0], **options})
        accelerator = accelerate.Accelerator(log_with=tracker, cpu=True)
        accelerator.init_trackers('run', config=config)
        return accelerator, tracker.tracker

    return make


def records(tmp_path):
    return [json.loads(line) for line in (tmp_path / 'run/vis_data/scalars.json').read_text().splitlines()]


def values(meter, key):
    return meter.message_hub.get_scalar(key).data[0].tolist()


@needs_names
def test_tracker_is_known_by_its_name_and_takes_options(tmp_path, capsys):
    accelerator = accelerate.Accelerator(log_with='ringmeter', project_dir=tmp_path, cpu=True)
    options = {'ringmeter': {'interval': 2, 'window_size': 2}}
    accelerator.init_trackers('run', config={'lr': 0.1, 'depth': 3}, init_kwargs=options)
    for step in range(1, 5):
        accelerator.log({'train_loss': torch.tensor(2.0 * step), 'lr': 0.1}, step=step)
    accelerator.end_training()
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(' - INFO - ')[2] for line in lines] == [
        'Iter(train) [2]  lr: 1.0000e-01  train_loss: 3.0000',
        'Iter(train) [4]  lr: 1.0000e-01  train_loss: 7.0000',
    ]
    assert records(tmp_path) == [
        {'lr': 0.1, 'train_loss': 3.0, 'iter': 2, 'step': 2},
        {'lr': 0.1, 'train_loss': 7.0, 'iter': 4, 'step': 4},
    ]
    (log_file,) = (tmp_path / 'run').glob('*.log')
    assert [line[len('2026/') :] for line in log_file.read_text().splitlines()] == lines
    assert json.loads((tmp_path / 'run/vis_data/config.json').read_text()) == {'lr': 0.1, 'depth': 3}
    meter = accelerator.get_tracker('ringmeter', unwrap=True)
    assert values(meter, 'train/train_loss') == [2.0, 4.0, 6.0, 8.0]
    assert meter.message_hub.get_info('config') == {'lr': 0.1, 'depth': 3}


@needs_names
def test_name_without_a_folder_is_an_error_of_accelerate():
    with pytest.raises(ValueError, match='Logging with `ringmeter` requires a `logging_dir`'):
        accelerate.Accelerator(log_with='ringmeter', cpu=True)


def test_calls_of_one_step_belong_together(make, written, tmp_path):
    accelerator, _ = make(interval=2)
    for step in range(1, 4):
        accelerator.log({'loss': float(step)}, step=step)
        accelerator.log({'grad_norm': 10.0 * step}, step=step)
    accelerator.end_training()
    assert written[1] == [
        'Iter(train) [2]    loss: 1.5000  grad_norm: 15.0000',
        'Iter(train) [3]    loss: 2.0000  grad_norm: 20.0000',
    ]
    assert [record['step'] for record in records(tmp_path)] == [2, 3]


def test_calls_without_steps_are_steps(make, written):
    accelerator, _ = make(interval=3)
    for number in range(7):
        accelerator.log({'loss': float(number)})
    assert written[1] == ['Iter(train) [3]    loss: 1.0000', 'Iter(train) [6]    loss: 2.5000']
    accelerator.end_training()
    assert written[1][2:] == ['Iter(train) [7]    loss: 3.0000']


def test_line_comes_when_the_step_passes_a_multiple_of_the_interval(make, written):
    accelerator, _ = make(interval=100, window_size=1)
    for step in (0, 60, 120, 180, 200, 90, 95, np.int64(450)):
        accelerator.log({'loss': float(step)}, step=step)
    accelerator.end_training()
    assert [text.rpartition(' ')[2] for text in written[1]] == ['120.0000', '200.0000', '90.0000', '450.0000']


def test_step_with_a_name_that_was_not_logged_lately_has_a_line(make, written):
    accelerator, _ = make(interval=5, window_size=1)
    for step in range(1, 15):
        accelerator.log({'loss': float(step)}, step=step)
        if step in (7, 8, 14):
            accelerator.log({'accuracy': step / 16}, step=step)
    accelerator.end_training()
    assert written[1] == [
        'Iter(train) [5]    loss: 5.0000',
        'Iter(train) [7]    loss: 7.0000  accuracy: 0.4375',
        'Iter(train) [10]    loss: 10.0000  accuracy: 0.5000',
        'Iter(train) [14]    loss: 14.0000  accuracy: 0.8750',
    ]


def test_names_of_an_evaluation_have_lines_of_their_own(make, written, tmp_path):
    accelerator, meter = make(interval=10)
    accelerator.log({'train/loss': 1.0}, step=4)
    accelerator.log({'eval/loss': 0.5, 'test/loss': 2.5}, step=4)
    accelerator.log({'val/accuracy': 0.25}, step=4)
    accelerator.log({'loss': 3.0, 'validation/loss': 0.75}, step=5)
    accelerator.end_training()
    assert written[1] == [
        'Iter(val) [4/4]    loss: 0.5000  accuracy: 0.2500',
        'Iter(test) [4/4]    loss: 2.5000',
        'Iter(val) [5/5]    loss: 0.7500',
        'Iter(train) [5]    loss: 2.0000',
    ]
    assert [(record['step'], record['loss']) for record in records(tmp_path)] == [
        (4, 0.5), (4, 2.5), (5, 0.75), (5, 2.0),
    ]  # fmt: skip
    assert values(meter, 'train/loss') == [1.0, 3.0]


def test_evaluation_at_step_0_has_a_line(make, written):
    accelerator, _ = make()
    accelerator.log({'val/accuracy': 0.125}, step=0)
    accelerator.end_training()
    assert written[1] == ['Iter(val) [0/0]    accuracy: 0.1250']


def test_what_is_no_scalar_is_left_out_with_one_warning_each(make, written, caplog):
    accelerator, meter = make(interval=1)
    for step in range(1, 4):
        more = {'prompt': 'a cat', 'image': np.zeros((2, 2)), 'list': [1.0], 'none': None}
        accelerator.log({'loss': float(step), **more}, step=step)
    accelerator.end_training()
    assert values(meter, 'train/loss') == [1.0, 2.0, 3.0]
    assert list(meter.message_hub.log_scalars) == ['train/loss']
    assert [record.getMessage().partition(': value')[0] for record in caplog.records] == [
        f"an output of the step is not recorded: series 'train/{name}'"
        for name in ('prompt', 'image', 'list', 'none')
    ]
    assert written[1][-1] == 'Iter(train) [3]    loss: 2.0000'


def test_what_is_no_scalar_makes_no_lines(make, written, tmp_path):
    accelerator, _ = make(interval=10)
    for step in range(1, 21):
        accelerator.log({'loss': float(step)}, step=step)
        if step % 12 == 0:
            accelerator.log({'sample': 'a cat', 'val/image': np.zeros((2, 2))}, step=step)
    accelerator.end_training()
    assert [text[:16] for text in written[1]] == ['Iter(train) [10]', 'Iter(train) [20]']
    assert [record['step'] for record in records(tmp_path)] == [10, 20]


def test_logging_tensors_of_a_device_never_waits_for_it(make, written, cuda, stream):
    accelerator, _ = make(interval=1, window_size=1)
    cuda.pause(stream)  # whoever waits for it waits for ever
    for step in range(1, 4):
        accelerator.log({'loss': cuda.FakeCudaTensor(float(step)), 'lr': 0.5}, step=step)
        accelerator.log({'val/accuracy': cuda.FakeCudaTensor(step / 4)}, step=step)
    assert written[1] == []
    cuda.pause(stream, False)
    accelerator.end_training()
    assert written[1] == [
        'Iter(train) [1]  lr: 5.0000e-01  loss: 1.0000',
        'Iter(val) [1/1]    accuracy: 0.2500',
        'Iter(train) [2]  lr: 5.0000e-01  loss: 2.0000',
        'Iter(val) [2/2]    accuracy: 0.5000',
        'Iter(train) [3]  lr: 5.0000e-01  loss: 3.0000',
        'Iter(val) [3/3]    accuracy: 0.7500',
    ]
    assert cuda.item_calls() == 0


def test_nan_is_counted_or_stops_the_run(make, written):
    accelerator, _ = make(interval=2)
    accelerator.log({'loss': 1.0}, step=1)
    accelerator.log({'loss': math.nan}, step=2)
    accelerator.end_training()
    assert written[1] == ['Iter(train) [2]    loss: nan 1/2']
    accelerator, _ = make(on_nan='raise')
    accelerator.log({'val/loss': math.nan}, step=6)
    with pytest.raises(rm.NanError, match=r"series 'val/loss': a NaN was recorded in iteration 6"):
        accelerator.log({'loss': 1.0}, step=7)
    accelerator, _ = make(on_nan='raise')
    accelerator.log({'loss': torch.tensor(math.nan)}, step=7)
    with pytest.raises(rm.NanError, match=r"series 'train/loss': a NaN was recorded in iteration 7"):
        accelerator.log({'loss': 1.0}, step=8)


def test_values_that_the_model_records_are_shown(make, written):
    accelerator, _ = make(interval=1)
    rm.MessageHub.get_current_instance().update_scalar('train/aux', 4.0)
    accelerator.log({'loss': 1.0}, step=1)
    accelerator.end_training()
    assert written[1] == ['Iter(train) [1]    aux: 4.0000  loss: 1.0000']


def test_state_goes_through_the_checkpoints_of_accelerate(make, tmp_path):
    accelerator, meter = make()
    accelerator.register_for_checkpointing(meter)
    for step in (1, 2):
        accelerator.log({'loss': float(step)}, step=step)
    accelerator.save_state(str(tmp_path / 'checkpoint'))
    other, resumed = make()
    other.register_for_checkpointing(resumed)
    other.load_state(str(tmp_path / 'checkpoint'))
    other.log({'loss': 3.0}, step=3)
    assert values(resumed, 'train/loss') == [1.0, 2.0, 3.0]


def test_run_that_goes_on_shows_what_is_logged_in_it(make, written, tmp_path):
    accelerator, meter = make({'lr': 0.1, 'data': Path('old')}, interval=2)
    accelerator.register_for_checkpointing(meter)
    accelerator.log({'loss': 1.0, 'accuracy': 0.5}, step=1)
    accelerator.log({'loss': 2.0}, step=2)
    accelerator.save_state(str(tmp_path / 'checkpoint'))
    written[1].clear()
    other, resumed = make({'lr': 0.2}, interval=2)
    other.register_for_checkpointing(resumed)
    other.log({'loss': 9.0}, step=2)
    other.load_state(str(tmp_path / 'checkpoint'))
    other.log({'loss': 6.0}, step=3)
    other.end_training()
    assert written[1] == ['Iter(train) [2]    loss: 9.0000', 'Iter(train) [3]    loss: 3.0000']
    assert resumed.message_hub.get_info('config') == {'lr': 0.2}  # its own
    again, loaded = make(interval=2)
    again.register_for_checkpointing(loaded)
    again.load_state(str(tmp_path / 'checkpoint'))
    again.end_training()
    assert len(written[1]) == 2


def test_other_processes_write_nothing(make, written, tmp_path, monkeypatch):
    monkeypatch.setattr(accelerate.PartialState, 'is_main_process', False)
    accelerator, _ = make(interval=1, config={'lr': 0.1})
    accelerator.log({'loss': 1.0, 'val/loss': 1.0}, step=1)
    accelerator.end_training()
    assert written[1] == []
    assert list(tmp_path.iterdir()) == []


def test_tracker_without_a_folder_writes_no_files(written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    accelerator = accelerate.Accelerator(log_with=RingmeterTracker('run', logger=written[0]), cpu=True)
    accelerator.init_trackers('run', config={'lr': 0.1})
    accelerator.log({'loss': 1.0})
    accelerator.end_training()
    assert written[1] == ['Iter(train) [1]    loss: 1.0000']
    assert list(tmp_path.iterdir()) == []


def test_configuration_that_cannot_be_written_is_reported_and_stops_nothing(make, tmp_path, written):
    path = tmp_path / 'run/vis_data/config.json'
    accelerator, _ = make(config={'lr': 0.1, (1, 2): 3})
    path.unlink(missing_ok=True)
    path.mkdir()
    make(config={'lr': 0.1})
    accelerator.log({'loss': 1.0})
    accelerator.end_training()
    assert written[1][0].startswith(f'{path} cannot be written: keys must be str')
    assert written[1][1].startswith(f'{path} cannot be written: [Errno 21]')
    assert written[1][2] == 'Iter(train) [1]    loss: 1.0000'


@pytest.mark.parametrize(
    ('values', 'step', 'message'),
    [
        ([1.0], 1, r'values must be a mapping of scalars by name, got \[1\.0\]'),
        ({'loss': 1.0}, 1.5, r'step must be an int or None, got 1\.5'),
        ({'loss': 1.0}, torch.tensor(1), r'step must be an int or None, got tensor\(1\)'),
    ],
)
def test_arguments_of_log_are_checked(make, values, step, message):
    accelerator, meter = make()
    with pytest.raises(rm.ArgumentTypeError, match=f'^{message}$'):
        accelerator.log(values, step=step)
    assert meter.message_hub.log_scalars == {}


def test_options_are_checked():
    with pytest.raises(rm.ArgumentError, match='interval must be at least 1, got 0'):
        RingmeterTracker('run', interval=0)
    with pytest.raises(TypeError, match="unexpected keyword argument 'intervall'"):
        RingmeterTracker('run', intervall=10)


def test_missing_accelerate_names_the_extra():
    code = (
        'from importlib import metadata\n'
        'def version(package):\n'
        '    raise metadata.PackageNotFoundError(package)\n'
        'metadata.version = version\n'
        'import ringmeter.integrations.accelerate\n'
    )
    done = subprocess.run([sys.executable, '-c', code], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ImportError: accelerate must be 0.34 or newer, got none: pip install 'ringmeter[accelerate]'" in (
        done.stderr
    )


@needs_names
def test_example_runs(tmp_path, run_example):
    printed = run_example('accelerate_digits.py', '--epochs', '1', '--work-dir', tmp_path)
    assert re.findall(r'Iter\(\w+\) \[[0-9/]+\]    \w+', printed) == [
        'Iter(train) [10]    loss', 'Iter(train) [20]    loss',
        'Iter(val) [29/29]    accuracy', 'Iter(train) [29]    loss',
    ]  # fmt: skip
