"""LoopLogger in real loops: lines, files, records, evaluation, checkpoints, errors."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

import ringmeter as rm

torch = pytest.importorskip('torch')

STAMP = r'\d\d/\d\d \d\d:\d\d:\d\d - ringmeter - INFO - '
TIMES = r'eta: 0:00:00  time: \d+\.\d{4}  data_time: \d+\.\d{4}  '


def optimizer(lr: float = 0.01, **more: Any) -> Any:
    return torch.optim.SGD([{'params': [torch.nn.Parameter(torch.zeros(1))], 'lr': lr, **more}])


def lines(captured: str) -> list[str]:
    return captured.splitlines()


def shows(line: str, form: str) -> bool:
    """Whether a line is the form, with any date and times in place of STAMP and TIMES."""
    pattern = re.escape(form).replace('STAMP', STAMP).replace('TIMES', TIMES)
    return re.fullmatch(pattern, line) is not None


def test_epoch_lines_are_mmengines_when_max_epochs_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    meter = rm.LoopLogger(optimizer(), max_epochs=2)
    for _ in meter.epochs():
        for value in meter.train([float(i) for i in range(25)]):
            meter.log({'loss1': value, 'loss2': 2 * value})
    out = lines(capsys.readouterr().out)
    assert len(out) == 4
    assert shows(
        out[0],
        'STAMPEpoch(train) [1][10/25]  lr: 1.0000e-02  TIMESloss1: 4.5000  loss2: 9.0000  loss: 13.5000',
    )
    assert shows(
        out[3],
        'STAMPEpoch(train) [2][20/25]  lr: 1.0000e-02  TIMESloss1: 14.5000  loss2: 29.0000  loss: 43.5000',
    )


def test_iteration_lines_when_max_iters_is_given(capsys: pytest.CaptureFixture[str]) -> None:
    meter = rm.LoopLogger(max_iters=55, interval=20)
    for _ in meter.epochs():
        for value in meter.train([1.0] * 25):
            meter.log(loss=value)
    out = lines(capsys.readouterr().out)
    assert [re.search(r'Iter\(train\) \[.*?\]', line)[0] for line in out] == [  # type: ignore[index]
        'Iter(train) [20/55]',
        'Iter(train) [40/55]',
    ]
    assert (meter.iter, meter.epoch) == (55, 3)


def test_short_epoch_has_a_line_at_its_end(capsys: pytest.CaptureFixture[str]) -> None:
    meter = rm.LoopLogger(max_epochs=1)
    for _ in meter.train([1, 2, 3]):
        meter.log(loss=1.0)
    (line,) = lines(capsys.readouterr().out)
    assert shows(line, 'STAMPEpoch(train) [1][3/3]    TIMESloss: 1.0000')


def test_scalars_of_the_model_reach_the_line_when_custom_cfg_names_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rule = {'data_src': 'loss_tmp', 'window_size': 20, 'method_name': 'mean'}
    meter = rm.LoopLogger(max_epochs=1, custom_cfg=[rule])
    for value in meter.train([float(i) for i in range(20)]):
        rm.MessageHub.get_current_instance().update_scalar('train/loss_tmp', value)
        meter.log(loss=0.0)
    assert 'loss_tmp: 9.5000  loss: 0.0000' in lines(capsys.readouterr().out)[1]


def test_files_hold_the_lines_and_records_when_work_dir_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meter = rm.LoopLogger(optimizer(0.5), max_epochs=1, work_dir=tmp_path)
    for value in meter.train([float(i) for i in range(20)]):
        meter.log(loss=value)
    for value in meter.val([1.0, 2.0]):
        meter.log(accuracy=value)
    (log_file,) = tmp_path.glob('*.log')
    assert re.fullmatch(r'\d{8}_\d{6}\.log', log_file.name)
    year = time.strftime('%Y/')
    assert log_file.read_text() == re.sub('^', year, capsys.readouterr().out.rstrip(), flags=re.M) + '\n'
    records = [json.loads(line) for line in (tmp_path / 'vis_data' / 'scalars.json').read_text().splitlines()]
    assert [record['step'] for record in records] == [10, 20, 1]
    train = records[1]
    assert (train['lr'], train['loss'], train['epoch'], train['iter']) == (0.5, 14.5, 1, 20)
    assert set(train) == {'data_time', 'lr', 'loss', 'time', 'epoch', 'iter', 'step'}
    assert set(records[2]) == {'accuracy', 'data_time', 'time', 'step'}


def test_no_file_is_written_without_work_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in rm.LoopLogger(max_epochs=1).train([1]):
        pass
    assert list(tmp_path.iterdir()) == []


def test_val_line_averages_what_was_logged_in_that_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    meter = rm.LoopLogger(max_epochs=2)
    for epoch in meter.epochs():
        for _ in meter.train([1] * 3):
            meter.log(loss=1.0)
        for size, correct in meter.val([(4, 1), (1, 1)]):
            meter.log(accuracy={'value': correct + epoch, 'count': size}, val_loss=torch.tensor(3.0))
        if epoch == 0:
            for _ in meter.val([0]):
                meter.log(only_once=7.0)
    out = [line.split('INFO - ')[1] for line in lines(capsys.readouterr().out) if '(val)' in line]
    assert re.sub(r'time: \d\.\d{4}', 'time', ' | '.join(out)) == (
        'Epoch(val) [1][2/2]    accuracy: 0.4000  val_loss: 3.0000  loss: 3.0000  data_time  time | '
        'Epoch(val) [1][1/1]    only_once: 7.0000  data_time  time | '
        'Epoch(val) [2][2/2]    accuracy: 0.8000  val_loss: 3.0000  loss: 3.0000  data_time  time'
    )


def test_val_has_lines_of_its_own_at_the_interval(capsys: pytest.CaptureFixture[str]) -> None:
    meter = rm.LoopLogger(max_epochs=1, interval=2)
    for _ in meter.test([0] * 5):
        pass
    out = [line.split('INFO - ')[1] for line in lines(capsys.readouterr().out)]
    assert [line.split('  ')[0] for line in out] == [
        'Epoch(test) [2/5]',
        'Epoch(test) [4/5]',
        'Epoch(test) [5/5]',
    ]


def test_val_may_run_inside_training(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr('time.perf_counter', lambda: float(next(clock)))
    meter = rm.LoopLogger(max_epochs=1, interval=1)
    for batch in meter.train([1, 2]):
        meter.log(loss=1.0)
        if batch == 1:
            for _ in meter.val([1, 2, 3]):
                meter.log(accuracy=0.5)
        meter.log(acc=3.0)
    out = [line.split('INFO - ')[1] for line in lines(capsys.readouterr().out)]
    assert [line for line in out if 'accuracy' in line] == [
        'Epoch(val) [1][3/3]    accuracy: 0.5000  data_time: 1.0000  time: 2.0000'
    ]
    assert out[-2:] == [
        'Epoch(train) [1][1/2]    eta: 0:00:03  time: 3.0000  data_time: 1.0000  loss: 1.0000  acc: 3.0000',
        'Epoch(train) [1][2/2]    eta: 0:00:00  time: 2.5000  data_time: 1.0000  loss: 1.0000  acc: 3.0000',
    ]
    assert len(meter.message_hub.get_scalar('train/acc')) == 2


def test_interval_window_of_val_is_not_used_up_by_lines_that_do_not_show_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rule = {'data_src': 'x', 'log_name': 'n', 'window_size': 'interval', 'method_name': 'count'}
    meter = rm.LoopLogger(max_epochs=1, custom_cfg=[rule])
    for _ in meter.val([0] * 25):
        meter.log(x=1.0)
    assert '  n: 25  ' in lines(capsys.readouterr().out)[-1]


def test_val_inside_training_keeps_the_scalars_of_both_apart() -> None:
    meter = rm.LoopLogger(max_epochs=1)
    for _ in meter.train([1]):
        meter.log(loss=1.0)
    for _ in meter.val([1]):
        meter.log(loss=2.0)
    meter.log(loss=3.0)
    history = {key: list(buffer.data[0]) for key, buffer in meter.message_hub.log_scalars.items()}
    assert history['train/loss'] == [1.0, 3.0]
    assert history['val/loss'] == [2.0]


def test_log_returns_the_sum_of_the_losses_with_its_gradient() -> None:
    x = torch.tensor([1.0, 3.0], requires_grad=True)
    meter = rm.LoopLogger(max_epochs=1)
    total = meter.log({'loss_a': x * 2, 'loss_b': [x, x.sum()], 'accuracy': torch.tensor(0.5)})
    assert total.item() == 4.0 + (2.0 + 4.0)
    total.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0 + 0.5 + 1.0] * 2
    recorded = {key: float(b.current()) for key, b in meter.message_hub.log_scalars.items()}
    assert recorded == {'train/loss_a': 4.0, 'train/loss_b': 6.0, 'train/accuracy': 0.5, 'train/loss': 10.0}


def test_log_takes_a_value_named_loss_for_the_sum() -> None:
    meter = rm.LoopLogger(max_epochs=1)
    assert meter.log({'loss': 5.0, 'loss_a': 2.0, 'loss_b': 3.0}) == 5.0
    assert float(meter.message_hub.get_scalar('train/loss').current()) == 5.0


def test_log_takes_a_value_with_a_count_for_no_loss() -> None:
    meter = rm.LoopLogger(max_epochs=1)
    assert meter.log({'loss_a': 2.0, 'loss_seen': {'value': 6.0, 'count': 3}}) == 2.0
    assert float(meter.message_hub.get_scalar('train/loss_seen').mean()) == 2.0


def test_log_changes_nothing_when_a_name_is_no_str() -> None:
    meter = rm.LoopLogger(max_epochs=1)
    with pytest.raises(rm.ArgumentTypeError, match='^names of scalars must be of type str, got 3$'):
        meter.log({'loss': 1.0, 3: 1.0})  # type: ignore[dict-item]
    assert meter.message_hub.log_scalars == {}


def test_log_returns_none_without_losses() -> None:
    assert rm.LoopLogger(max_epochs=1).log(accuracy=1.0) is None


def test_log_changes_nothing_when_a_value_is_not_a_number() -> None:
    meter = rm.LoopLogger(max_epochs=1)
    with pytest.raises(rm.ScalarError, match=r"series 'train/name': value must be one real number, got 'x'"):
        meter.log(loss=1.0, name='x')
    assert meter.message_hub.log_scalars == {}


def test_learning_rates_of_groups_and_optimizers_have_names(capsys: pytest.CaptureFixture[str]) -> None:
    first = torch.optim.SGD(
        [
            {'params': [torch.nn.Parameter(torch.zeros(1))], 'lr': 0.1},
            {'params': [torch.nn.Parameter(torch.zeros(1))], 'lr': 0.2, 'name': 'head'},
            {'params': [torch.nn.Parameter(torch.zeros(1))], 'lr': 0.3},
        ]
    )
    meter = rm.LoopLogger({'gen': first, 'disc': optimizer(0.4)}, max_epochs=1)
    for _ in meter.train([1]):
        first.param_groups[0]['lr'] = 0.5  # shown is the rate that the iteration began with
    assert (
        'gen.lr: 1.0000e-01 gen.head.lr: 2.0000e-01 gen.group2.lr: 3.0000e-01 disc.lr: 4.0000e-01  eta'
        in capsys.readouterr().out
    )


def test_times_are_those_of_the_loop() -> None:
    import time

    def slow_loader() -> Any:
        for _ in range(3):
            time.sleep(0.02)
            yield 0

    meter = rm.LoopLogger(max_epochs=1)
    for _ in meter.train(slow_loader(), length=3):
        time.sleep(0.03)
    data_times = meter.message_hub.get_scalar('train/data_time').data[0]
    times = meter.message_hub.get_scalar('train/time').data[0]
    assert (data_times >= 0.019).all()
    assert (times >= data_times + 0.029).all()  # no upper bound: the machine may be busy


def test_eta_is_the_mean_time_times_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr('time.perf_counter', lambda: float(next(clock)))
    meter = rm.LoopLogger(max_epochs=3)
    etas = []
    for _ in meter.train(['a', 'b']):
        etas.append(meter.message_hub.get_info('eta'))
    # Two ticks an iteration: 2 s each, 6 iterations in all.
    assert [*etas, meter.message_hub.get_info('eta')] == [0.0, 10.0, 8.0]


def test_eta_is_of_all_epochs_since_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0, 1, 2, 3, 12, *range(13, 1000)])  # the second iteration takes 10 s, the others 2
    monkeypatch.setattr('time.perf_counter', lambda: float(next(clock)))
    meter = rm.LoopLogger(max_epochs=2)
    for _ in meter.epochs():
        for _ in meter.train(['a', 'b']):
            pass
        if meter.epoch == 1:
            assert meter.message_hub.get_info('eta') == 6.0 * 2
    assert meter.message_hub.get_info('eta') == 0.0


def test_epochs_ends_when_the_body_trains_nothing() -> None:
    assert list(rm.LoopLogger(max_epochs=3).epochs()) == [0, 1, 2]


def test_break_ends_the_epoch() -> None:
    meter = rm.LoopLogger(max_epochs=2)
    seen = []
    for epoch in meter.epochs():
        for batch in meter.train([0, 1, 2]):
            seen.append((epoch, batch))
            if batch == 1:
                break
    assert seen == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert (meter.epoch, meter.iter) == (2, 4)


def test_run_ends_when_each_epoch_is_left_in_its_first_iteration() -> None:
    meter = rm.LoopLogger(max_iters=5)
    for _ in meter.epochs():
        for _ in meter.train([1.0] * 4):
            break
    assert (meter.epoch, meter.iter) == (5, 5)


def test_error_says_so_when_a_loader_has_run_dry() -> None:
    meter, loader = rm.LoopLogger(max_iters=5), iter([1, 2])
    with pytest.raises(
        RuntimeError,
        match=r'^train\(\) must get batches until max_iters=5, got none from list_iterator after 2: ',
    ):
        for _ in meter.epochs():
            for _ in meter.train(loader):
                pass


def test_train_yields_nothing_when_max_iters_is_reached(capsys: pytest.CaptureFixture[str]) -> None:
    meter = rm.LoopLogger(max_iters=5, interval=1)
    seen = [batch for _ in range(4) for batch in meter.train([1, 2, 3])]
    assert seen == [1, 2, 3, 1, 2]
    assert len(lines(capsys.readouterr().out)) == 5


def test_train_goes_on_when_max_epochs_is_passed(capsys: pytest.CaptureFixture[str]) -> None:
    meter = rm.LoopLogger(max_epochs=1)
    assert [batch for _ in range(2) for batch in meter.train([1, 2, 3])] == [1, 2, 3] * 2
    assert shows(lines(capsys.readouterr().out)[1], 'STAMPEpoch(train) [2][3/3]    TIMES')


def test_loops_can_run_again_after_an_exception() -> None:
    meter = rm.LoopLogger(max_epochs=2)
    with pytest.raises(ZeroDivisionError):
        for _ in meter.train([1]):
            raise ZeroDivisionError
    assert [batch for batch in meter.train([1, 2])] == [1, 2]  # noqa: C416


def test_checkpoint_resumes_where_it_was_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    meter = rm.LoopLogger(max_epochs=3)
    for epoch in meter.epochs():
        for value in meter.train([float(i) for i in range(4)]):
            meter.log(loss=value + 10 * epoch)
        if epoch == 0:
            torch.save(meter.state_dict(), tmp_path / 'state.pt')
    full = capsys.readouterr().out

    resumed = rm.LoopLogger(max_epochs=3)
    resumed.load_state_dict(torch.load(tmp_path / 'state.pt'))
    assert (resumed.epoch, resumed.iter) == (1, 4)
    for epoch in resumed.epochs():
        for value in resumed.train([float(i) for i in range(4)]):
            resumed.log(loss=value + 10 * epoch)
    masked = [re.sub(r'^.*INFO|time: \d\.\d{4}', '', line) for line in lines(full)]
    assert [
        re.sub(r'^.*INFO|time: \d\.\d{4}', '', line) for line in lines(capsys.readouterr().out)
    ] == masked[1:]
    assert list(resumed.message_hub.get_scalar('train/loss').data[0]) == list(
        meter.message_hub.get_scalar('train/loss').data[0]
    )


def test_interval_window_begins_anew_after_a_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    rule = {'data_src': 'loss', 'window_size': 'interval', 'method_name': 'mean'}
    meters = [rm.LoopLogger(max_epochs=2, custom_cfg=[rule]) for _ in range(2)]
    for _ in meters[0].train([1] * 3):
        meters[0].log(loss=100.0)
    meters[1].load_state_dict(meters[0].state_dict())
    for _ in meters[1].train([1] * 3):
        meters[1].log(loss=2.0)
    assert lines(capsys.readouterr().out)[-1].endswith('loss: 2.0000')


def test_checkpoint_leads_to_the_beginning_of_an_epoch_when_it_is_taken_inside() -> None:
    meter = rm.LoopLogger(max_epochs=3)
    states = []
    for _ in meter.epochs():
        for batch in meter.train([1, 2, 3]):
            if batch == 2:
                states.append(meter.state_dict())
        states.append(meter.state_dict())
    assert [(state['epoch'], state['iter']) for state in states] == [
        (0, 0),
        (1, 3),
        (1, 3),
        (2, 6),
        (2, 6),
        (3, 9),
    ]


def test_checkpoint_leads_to_the_running_iteration_when_iterations_count() -> None:
    meter = rm.LoopLogger(max_iters=5)
    states = [meter.state_dict() for _ in meter.epochs() for batch in meter.train([1, 2, 3]) if batch == 2]
    assert [(state['epoch'], state['iter']) for state in states] == [(0, 1), (1, 4)]


def test_epoch_is_not_done_in_a_checkpoint_when_an_exception_ended_it() -> None:
    meter = rm.LoopLogger(max_epochs=2)
    try:
        for _ in meter.epochs():
            for batch in meter.train([1, 2, 3]):
                if meter.epoch == 1 and batch == 2:
                    raise KeyboardInterrupt
    except KeyboardInterrupt:
        state = meter.state_dict()
    assert (state['epoch'], state['iter']) == (1, 3)
    for _ in meter.train([1]):
        break
    state = meter.state_dict()
    assert (state['epoch'], state['iter']) == (3, 6)


@pytest.mark.parametrize('part', ['epoch', 'iter'])
@pytest.mark.parametrize('number', ['2', None, 1.5, -3], ids=repr)
def test_load_state_dict_changes_nothing_when_a_number_is_damaged(part: str, number: Any) -> None:
    source = rm.LoopLogger(max_epochs=3)
    source.log(loss=1.0)
    state = source.state_dict() | {part: number}
    meter = rm.LoopLogger(max_epochs=3)
    with pytest.raises(
        rm.ArgumentError, match=rf"^state_dict\['{part}'\] must be an int of at least 0, got "
    ):
        meter.load_state_dict(state)
    assert meter.message_hub.log_scalars == {}


@pytest.mark.parametrize('state', [None, 'checkpoint.pt'])
def test_load_state_dict_refuses_what_is_no_mapping(state: Any) -> None:
    with pytest.raises(rm.ArgumentTypeError, match='^state_dict must be a mapping, got '):
        rm.LoopLogger(max_epochs=3).load_state_dict(state)


def test_state_dict_inside_of_an_evaluation_leaves_that_alone() -> None:
    meter = rm.LoopLogger(max_epochs=1)
    for x in meter.val([1.0, 2.0]):
        meter.log(accuracy=x)
        assert meter.state_dict()['epoch'] == 0
    assert meter.message_hub.get_scalar('val/accuracy').mean(2) == 1.5


def test_load_state_dict_refuses_what_is_not_a_state() -> None:
    meter = rm.LoopLogger(max_epochs=3)
    with pytest.raises(
        rm.ArgumentError, match=r"state_dict must have the key 'message_hub', got \['epoch', 'iter'\]"
    ):
        meter.load_state_dict({'epoch': 1, 'iter': 2})
    assert (meter.epoch, meter.iter) == (0, 0)


def test_each_logger_has_a_hub_of_its_own_and_the_newest_is_current() -> None:
    first, second = rm.LoopLogger(max_epochs=1, name='run'), rm.LoopLogger(max_epochs=1, name='run')
    assert first.message_hub is not second.message_hub
    assert rm.MessageHub.get_current_instance() is second.message_hub


def test_a_full_disk_is_reported_once_and_training_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meter = rm.LoopLogger(max_epochs=1, interval=1, work_dir=tmp_path)
    (tmp_path / 'vis_data').rmdir()
    (tmp_path / 'vis_data').write_text('in the way')
    seen = 0
    for _ in meter.train([1, 2, 3]):
        meter.log(loss=1.0)
        seen += 1
    out = capsys.readouterr().out
    assert seen == 3
    assert out.count('scalars.json cannot be written, its records are lost') == 1
    assert out.count('Epoch(train)') == 3


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({}, 'exactly one of max_epochs and max_iters must be given, got max_epochs=None, max_iters=None'),
        ({'max_epochs': 1, 'max_iters': 1}, 'exactly one of max_epochs and max_iters must be given'),
        ({'max_epochs': 0}, 'max_epochs must be at least 1, got 0'),
        ({'max_iters': 2.5}, 'max_iters must be an int, got 2.5'),
        ({'max_epochs': 1, 'interval': 0}, 'interval must be at least 1, got 0'),
        ({'max_epochs': 1, 'window_size': 0}, 'window_size must be at least 1, got 0'),
        (
            {'max_epochs': 1, 'custom_cfg': {'data_src': 'x'}},
            "custom_cfg must be a list of dicts, got 'data_src' in it",
        ),
        ({'max_epochs': 1, 'log_processor': 3}, 'log_processor must be a LogProcessor, got 3'),
        ({'max_epochs': 1, 'optimizer': 3}, 'optimizer must have param_groups, got int'),
        ({'max_epochs': 1, 'optimizer': {'a': 3}}, r"optimizer\['a'\] must have param_groups, got int"),
    ],
)
def test_constructor_refuses(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((rm.ArgumentError, rm.ArgumentTypeError), match=message):
        rm.LoopLogger(**arguments)


def test_loader_without_length_needs_one_for_epoch_lines() -> None:
    meter = rm.LoopLogger(max_epochs=1)
    with pytest.raises(
        rm.ArgumentTypeError, match=r'length must be given for a loader without len\(\), got list_'
    ):
        next(meter.train(iter([1, 2])))
    assert list(meter.train(iter([1, 2]), length=2)) == [1, 2]
    assert list(rm.LoopLogger(max_iters=5).train(iter([1, 2]))) == [1, 2]
    by_iter = rm.LoopLogger(max_epochs=1, log_processor=rm.LogProcessor(by_epoch=False))
    with pytest.raises(rm.ArgumentTypeError, match='length must be given'):
        next(by_iter.train(iter([1, 2])))


@pytest.mark.parametrize('loader', [None, 3])
def test_loader_must_be_iterable(loader: Any) -> None:
    with pytest.raises(rm.ArgumentTypeError, match=f'^dataloader must be iterable, got {loader}$'):
        next(rm.LoopLogger(max_iters=1).train(loader))


def test_log_refuses_what_is_no_mapping() -> None:
    with pytest.raises(
        rm.ArgumentTypeError, match=r'^values must be a mapping of scalars by name, .* got Tensor$'
    ):
        rm.LoopLogger(max_iters=1).log(torch.tensor(1.0))


def test_next_loop_begins_when_one_was_left_that_somebody_holds() -> None:
    """As a progress bar does that is left by break."""
    meter = rm.LoopLogger(max_epochs=3)
    held = meter.train([1, 2, 3])
    next(held)
    for _ in meter.val([1, 2]):
        meter.log(accuracy=1.0)
    assert list(meter.train([1, 2])) == [1, 2]
    assert (meter.epoch, meter.iter) == (2, 3)
    with pytest.raises(RuntimeError, match=r'^train\(\) must not go on after another loop took its place$'):
        next(held)
    assert (meter.epoch, meter.iter) == (2, 3)
    held_val = meter.val([1, 2])
    next(held_val)
    meter.log(accuracy=2.0)
    assert list(meter.train([1, 2])) == [1, 2]
    meter.log(loss=1.0)
    assert [len(buffer) for key, buffer in meter.message_hub.log_scalars.items() if 'time' not in key] == [
        3,
        1,
    ]
