"""Loops whose losses are on a CUDA device, on a driver without a GPU: lines, times, NaNs."""

from __future__ import annotations

import gc
import json
import logging
import math
import time

import pytest

import ringmeter as rm


def texts(lines):
    return [record.getMessage() for record in lines]


def losses_of(lines):
    return [text.rpartition('loss: ')[2] for text in texts(lines)]


def test_line_is_written_as_of_its_iteration_once_its_values_have_landed(cuda, stream, logged):
    logger, lines = logged
    meter = rm.LoopLogger(max_epochs=1, interval=2, window_size=2, logger=logger)
    loss = cuda.FakeCudaTensor(0.0)
    seen = []
    for batch in meter.train([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]):
        seen.append(len(lines))
        if batch == 1.0:
            cuda.pause(stream)
        loss.write(batch)
        meter.log(loss=loss)
        if batch == 5.0:
            cuda.pause(stream, False)
            cuda.sync(stream)
    # Those of iterations 2 and 4 waited until the end of iteration 5.
    assert seen[:6] == [0, 0, 0, 0, 0, 2]
    assert losses_of(lines) == ['1.5000', '3.5000', '5.5000', '7.5000']
    assert [text[:21] for text in texts(lines)] == [f'Epoch(train) [1][{i}/8]' for i in (2, 4, 6, 8)]
    assert lines[0].created < lines[1].created


def test_lines_never_wait_inside_an_epoch_and_all_are_there_at_its_end(cuda, stream, logged):
    logger, lines = logged
    meter = rm.LoopLogger(max_epochs=1, interval=1, logger=logger)
    cuda.pause(stream)  # whoever waits for it in the loop waits for ever
    for batch in meter.train([1.0, 2.0, 3.0, 4.0, 5.0]):
        meter.log(loss=cuda.FakeCudaTensor(batch))
        assert lines == []
        if batch == 5.0:
            cuda.pause(stream, False)
    assert losses_of(lines) == ['1.0000', '1.5000', '2.0000', '2.5000', '3.0000']


def test_lines_now_wait(cuda, stream, logged):
    logger, lines = logged
    meter = rm.LoopLogger(max_epochs=1, interval=1, logger=logger, lines='now')
    cuda.delay(stream, 5000)
    for n, batch in enumerate(meter.train([1.0, 2.0, 3.0])):
        assert len(lines) == n
        meter.log(loss=cuda.FakeCudaTensor(batch))


def test_custom_windows_and_rates_are_those_of_the_iteration(cuda, stream, logged, tmp_path):
    logger, lines = logged

    class Optimizer:
        param_groups = [{'lr': 0.1}]  # noqa: RUF012

    custom = [
        {'data_src': 'loss', 'log_name': 'loss_epoch', 'method_name': 'mean', 'window_size': 'epoch'},
        {'data_src': 'loss', 'log_name': 'loss_new', 'method_name': 'max', 'window_size': 'interval'},
        {'data_src': 'loss', 'log_name': 'loss_now', 'method_name': 'current'},
    ]
    meter = rm.LoopLogger(
        Optimizer(),
        max_epochs=1,
        interval=2,
        window_size=1,
        custom_cfg=custom,
        logger=logger,
        work_dir=tmp_path,
    )
    cuda.pause(stream)
    for n, batch in enumerate(meter.train([4.0, 3.0, 2.0, 1.0, 0.0, 0.5])):
        Optimizer.param_groups[0]['lr'] = 0.1 * (n + 2)
        meter.log(loss=cuda.FakeCudaTensor(batch))
        if n == 4:
            cuda.pause(stream, False)
    records = [json.loads(line) for line in (tmp_path / 'vis_data' / 'scalars.json').read_text().splitlines()]
    picked = [(r['step'], r['loss'], r['loss_epoch'], r['loss_new'], r['loss_now']) for r in records]
    assert picked == [(2, 3.0, 3.5, 4.0, 3.0), (4, 1.0, 2.5, 2.0, 1.0), (6, 0.5, 1.75, 0.5, 0.5)]
    assert [round(r['lr'], 3) for r in records] == [0.2, 0.4, 0.6]
    assert len(lines) == 3


def test_validation_line_comes_after_the_lines_of_training(cuda, stream, logged):
    logger, lines = logged
    meter = rm.LoopLogger(max_epochs=2, interval=2, logger=logger)
    cuda.delay(stream, 500)
    for _ in meter.epochs():
        for batch in meter.train([1.0, 2.0, 3.0, 4.0]):
            meter.log(loss=cuda.FakeCudaTensor(batch))
        for batch in meter.val([0.5]):
            meter.log(accuracy=cuda.FakeCudaTensor(batch))
    assert [text.partition(')')[0] for text in texts(lines)] == [
        'Epoch(train',
        'Epoch(train',
        'Epoch(val',
    ] * 2
    assert 'accuracy: 0.5000' in texts(lines)[2]


def test_debug_log_tells_the_clock_and_that_lines_wait(cuda, stream, logged, chosen):
    meter = rm.LoopLogger(max_epochs=1, interval=2, logger=logged[0])
    cuda.delay(stream, 500)
    for batch in meter.train([1.0, 2.0, 3.0, 4.0]):
        meter.log(loss=cuda.FakeCudaTensor(batch))
    assert 'Get train/time from the clock of the device' in chosen()
    assert 'Get lines of values that have not landed from a queue, until they have' in chosen()


def test_line_whose_values_cannot_land_is_left_out_with_a_warning(cuda, stream, logged, caplog):
    logger, lines = logged
    meter = rm.LoopLogger(max_epochs=1, interval=1, logger=logger)
    cuda.pause(stream)
    rm.set_wait_timeout(0.02)
    try:
        for batch in meter.train([1.0]):
            meter.log(loss=cuda.FakeCudaTensor(batch))
    finally:
        rm.set_wait_timeout(600)
    assert lines == []
    assert 'the line of iteration 1 of train is left out: its values did not land in time' in caplog.text
    cuda.pause(stream, False)
    assert meter.message_hub.get_scalar('train/loss').current() == 1.0


def test_lines_behind_one_that_does_not_land_are_not_waited_for(cuda, stream, logged, caplog):
    logger, lines = logged
    meter = rm.LoopLogger(max_epochs=1, interval=1, logger=logger)
    cuda.pause(stream)
    rm.set_wait_timeout(0.3)
    begin = time.monotonic()
    try:
        for batch in meter.train([1.0] * 40):
            meter.log(loss=cuda.FakeCudaTensor(batch))
    finally:
        rm.set_wait_timeout(600)
        cuda.pause(stream, False)
    assert time.monotonic() - begin < 6  # 12 if each were waited for
    assert lines == []
    (warning,) = [record.getMessage() for record in caplog.records if 'left out' in record.getMessage()]
    assert warning == (
        'the line of iteration 1 of train, with 39 behind it, is left out: its values did not land in time'
    )


def test_line_knows_the_histories_of_its_time(cuda, stream, logged):
    logger, lines = logged
    meter = rm.LoopLogger(max_epochs=1, interval=2, logger=logger)
    cuda.pause(stream)
    for batch in meter.train([1.0, 2.0, 3.0, 4.0]):
        meter.log(loss=cuda.FakeCudaTensor(batch), extra=batch)
        if batch == 3.0:
            del meter.message_hub.log_scalars['train/extra']
            meter.message_hub.log_scalars['train/loss'] = rm.HistoryBuffer()
        if batch == 4.0:
            cuda.pause(stream, False)
    assert losses_of(lines) == ['1.5000  extra: 2.0000', '4.0000  extra: 4.0000']


def test_line_whose_window_has_left_a_short_history_is_left_out(cuda, stream, logged, caplog):
    logger, lines = logged
    meter = rm.LoopLogger(max_epochs=1, interval=3000, logger=logger)
    meter.message_hub.log_scalars['train/short'] = rm.HistoryBuffer(max_length=2)
    cuda.pause(stream)
    for batch in meter.train(range(6000)):
        meter.log(loss=cuda.FakeCudaTensor(1.0), short=float(batch))
        if batch == 5999:
            cuda.pause(stream, False)
    assert len(lines) == 1
    assert "left out: series 'train/short': at must be a position whose window" in caplog.text


def test_lines_that_wait_are_written_before_a_state_is_loaded(cuda, stream, logged):
    logger, lines = logged
    meter = rm.LoopLogger(max_iters=4, interval=1, logger=logger)
    state = meter.state_dict()
    cuda.delay(stream, 2000)
    for batch in meter.train([1.0, 2.0, 3.0, 4.0]):
        meter.log(loss=cuda.FakeCudaTensor(batch))
        if batch == 2.0:
            break
    meter.load_state_dict(state)
    assert losses_of(lines) == ['1.0000']  # the line of an iteration that was left is not written


def test_lines_that_wait_are_written_at_exit(run_with_fake):
    done = run_with_fake("""
import logging, sys
import fake_cuda_tensor as cuda, ringmeter as rm
logger = logging.Logger('x')
logger.addHandler(logging.StreamHandler(sys.stdout))
stream = cuda.new_stream(0)
cuda.set_stream(0, stream)
cuda.delay(stream, 200_000)
meter = rm.LoopLogger(max_iters=5, interval=1, logger=logger)
for batch in meter.train([1.0, 2.0]):
    meter.log(loss=cuda.FakeCudaTensor(batch))
    if batch == 2.0:
        sys.exit(3)
""")
    assert done.stderr == ''
    assert done.returncode == 3
    assert done.stdout.count('Iter(train)') == 1


# ---- times ----


def times(meter, mode='train'):
    return meter.message_hub.get_scalar(f'{mode}/time').data[0].tolist()


def test_time_is_that_of_the_device_and_takes_no_launch(cuda, stream):
    meter = rm.LoopLogger(max_epochs=1, logger=logging.Logger('quiet'))
    before = cuda.calls('cuLaunchKernel')
    for batch in meter.train([1.0, 2.0, 3.0, 4.0]):
        meter.log(a=cuda.FakeCudaTensor(batch), loss=cuda.FakeCudaTensor(batch))
    assert cuda.calls('cuLaunchKernel') == before + 5  # one to start with
    # The fake's clock goes on by 32 ns whenever it is read, and its kernels by one for each shuffle.
    on_device = times(meter)[1:]
    assert len(times(meter)) == 4
    assert all(0 < seconds < 1e-5 for seconds in on_device)
    meter.log(loss=1.0)


def test_time_is_that_of_the_device_from_the_first_iteration_of_later_epochs(cuda, stream):
    meter = rm.LoopLogger(max_epochs=2, logger=logging.Logger('quiet'))
    for _ in meter.epochs():
        for batch in meter.train([1.0, 2.0, 3.0]):
            meter.log(loss=cuda.FakeCudaTensor(batch))
        time.sleep(0.01)
    assert all(0 < seconds < 1e-5 for seconds in times(meter)[3:])


def test_time_is_that_of_the_host_where_nothing_is_on_a_device(cuda, stream):
    meter = rm.LoopLogger(max_epochs=1, logger=logging.Logger('quiet'))
    for batch in meter.train([1.0, 2.0, 3.0]):
        time.sleep(0.002)
        meter.log(loss=batch)
    assert all(seconds > 0.002 for seconds in times(meter))


def test_time_of_a_loop_inside_is_not_counted(cuda, stream):
    meter = rm.LoopLogger(max_epochs=1, logger=logging.Logger('quiet'))
    for batch in meter.train([1.0, 2.0, 3.0, 4.0]):
        meter.log(loss=cuda.FakeCudaTensor(batch))
        if batch == 2.0:
            for each in meter.val([float(i) for i in range(1000)]):
                meter.log(accuracy=cuda.FakeCudaTensor(each))
    seconds = times(meter)
    assert len(seconds) == 4
    assert len(times(meter, 'val')) == 1000
    assert seconds[2] < sum(times(meter, 'val')[1:]) / 10


def test_idle_time_is_recorded_when_asked_for(cuda, stream, logged):
    logger, lines = logged
    meter = rm.LoopLogger(max_epochs=1, interval=4, logger=logger, idle_time=True)
    for batch in meter.train([1.0, 2.0, 3.0, 4.0]):
        meter.log(loss=cuda.FakeCudaTensor(batch))
    idle = meter.message_hub.get_scalar('train/idle_time').data[0]
    assert len(idle) == 4
    assert (idle > 0).all()
    assert 'idle_time: 0.0000' in texts(lines)[0]


# ---- NaNs ----


def test_nans_are_counted_on_the_line_and_kept_in_the_record(cuda, stream, logged, tmp_path):
    logger, lines = logged
    meter = rm.LoopLogger(max_epochs=1, interval=4, window_size=3, logger=logger, work_dir=tmp_path)
    for batch in meter.train([math.nan, 2.0, math.nan, 4.0]):
        meter.log(other=batch, loss=cuda.FakeCudaTensor(batch))
    assert losses_of(lines) == ['nan 1/3']
    assert 'other: 4.0000' in texts(lines)[0]
    record = json.loads((tmp_path / 'vis_data' / 'scalars.json').read_text())
    assert math.isnan(record['loss'])


def test_nans_are_shown_as_such_when_asked_for(logged):
    logger, lines = logged
    meter = rm.LoopLogger(max_epochs=1, interval=2, logger=logger, on_nan='show')
    for batch in meter.train([math.nan, 2.0]):
        meter.log(loss=batch)
    assert losses_of(lines) == ['nan']


def test_nans_of_an_evaluation_are_counted(logged):
    logger, lines = logged
    meter = rm.LoopLogger(max_epochs=1, logger=logger)
    for batch in meter.train([1.0]):
        meter.log(loss=batch)
    for batch in meter.val([1.0, math.nan, 3.0]):
        meter.log(accuracy=batch)
    assert 'accuracy: nan 1/3' in texts(lines)[-1]


def test_nan_stops_the_run_naming_iteration_and_key_when_asked_for(cuda, stream, logged):
    logger, _ = logged
    meter = rm.LoopLogger(max_epochs=1, logger=logger, on_nan='raise')
    done = []
    with pytest.raises(rm.NanError, match=r"series 'train/loss': a NaN was recorded in iteration 3$"):
        for batch in meter.train([1.0, 2.0, math.nan, 4.0, 5.0, 6.0]):
            meter.log(loss=cuda.FakeCudaTensor(batch))
            cuda.sync(stream)
            done.append(batch)
    assert len(done) in (3, 4)


def test_nan_of_a_value_that_lands_late_is_found_by_the_end_of_the_epoch(cuda, stream, logged):
    logger, _ = logged
    meter = rm.LoopLogger(max_epochs=1, logger=logger, on_nan='raise')
    cuda.delay(stream, 2000)
    with pytest.raises(rm.NanError, match=r"series 'train/loss': a NaN was recorded in iteration 6$"):
        for batch in meter.train([1.0, 2.0, 3.0, 4.0, 5.0, math.nan]):
            meter.log(loss=cuda.FakeCudaTensor(batch))


@pytest.mark.parametrize(
    ('name', 'match'), [('lines', "'deferred', 'now'"), ('on_nan', "'count', 'show', 'raise'")]
)
def test_unknown_policies_are_refused(name, match):
    with pytest.raises(rm.ArgumentError, match=f"{name} must be one of {match}, got 'x'"):
        rm.LoopLogger(max_epochs=1, **{name: 'x'})


# ---- CUDA graphs ----


@pytest.mark.parametrize('when', ['deferred', 'now'])
def test_lines_of_replayed_steps_are_those_of_the_iteration(cuda, stream, logged, when):
    logger, lines = logged
    meter = rm.LoopLogger(max_epochs=1, interval=2, window_size=2, logger=logger, lines=when)
    loss = cuda.FakeCudaTensor(0.0)
    cuda.begin_capture(stream)
    meter.message_hub.update_scalar('train/loss', loss)
    graph = cuda.end_capture(stream)
    cuda.delay(stream, 300)
    for batch in meter.train([float(i) for i in range(1, 31)]):
        loss.write(batch)
        cuda.replay(graph, stream)
    assert losses_of(lines) == [f'{i - 0.5:.4f}' for i in range(2, 31, 2)]
    history = meter.message_hub.get_scalar('train/loss')
    assert history.data[0].tolist() == [float(i) for i in range(1, 31)]
    assert history.replay_totals() == rm.ReplayTotals(30, 0, 465.0, 1.0, 30.0, 30.0, 0)


def test_read_waits_for_replays_before_it(cuda, stream):
    hub = rm.MessageHub('replays')
    loss = cuda.FakeCudaTensor(7.0)
    cuda.begin_capture(stream)
    hub.update_scalar('loss', loss)
    graph = cuda.end_capture(stream)
    assert len(hub.get_scalar('loss')) == 0
    cuda.delay(stream, 3000)
    for _ in range(3):
        cuda.replay(graph, stream)
    assert hub.get_scalar('loss').max(2) == 7.0
    cuda.replay(graph, stream)
    assert hub.get_scalar('loss').current() == 7.0
    assert hub.get_scalar('loss').sum() == 28.0
    assert hub.get_scalar('loss').mean(landed=True) == 7.0


def test_copies_and_checkpoints_have_the_replays_before_them(cuda, stream):
    hub = rm.MessageHub('copies')
    loss = cuda.FakeCudaTensor(2.0)
    cuda.begin_capture(stream)
    hub.update_scalar('a', loss)
    graph = cuda.end_capture(stream)
    for _ in range(3):
        cuda.replay(graph, stream)
    assert hub.get_scalar('a').data[0].tolist() == [2.0, 2.0, 2.0]
    cuda.replay(graph, stream)
    other = rm.MessageHub('of the checkpoint')
    other.load_state_dict(hub.state_dict())
    assert other.get_scalar('a').count() == 4


def test_history_without_graphs_has_no_replay_totals():
    assert rm.HistoryBuffer().replay_totals() is None


def test_lost_replays_are_reported_once_a_line(logged, monkeypatch, caplog):
    _, lines = logged
    meter = rm.LoopLogger(max_epochs=1, interval=2, logger=logged[0], lines='now')
    loss = rm.HistoryBuffer()
    loss.update(1.0)
    meter.message_hub.log_scalars['train/loss'] = loss
    meter.message_hub.update_scalar('train/loss', 2.0)  # names it
    lost = {'train/loss': 0}
    monkeypatch.setattr(
        'ringmeter.log_processor.lost_replays',
        lambda: [(loss, lost['train/loss'])] if lost['train/loss'] else [],
    )
    for batch in meter.train([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]):
        if batch == 1.0:
            lost['train/loss'] = 5
        if batch == 5.0:
            lost['train/loss'] = 12
    assert len(lines) == 3
    assert [record.getMessage() for record in caplog.records] == [
        "values of CUDA graph replays were overwritten before they were read: 5 of 'train/loss'",
        "values of CUDA graph replays were overwritten before they were read: 7 of 'train/loss'",
    ]


# ---- found by a review ----


def test_logger_that_is_gone_leaves_the_time_out_as_it_was():
    meter = rm.LoopLogger(max_epochs=1, logger=logging.Logger('quiet'))
    del meter
    gc.collect()
    assert rm._core.get_wait_timeout() == 600.0


@pytest.mark.parametrize('interval', [3, 10])
@pytest.mark.parametrize('when', ['deferred', 'now'])
def test_line_of_an_evaluation_knows_all_replays(cuda, stream, logged, interval, when):
    logger, lines = logged
    meter = rm.LoopLogger(max_epochs=1, interval=interval, logger=logger, lines=when)
    accuracy = cuda.FakeCudaTensor(0.0)
    cuda.begin_capture(stream)
    meter.message_hub.update_scalar('val/acc', accuracy)
    graph = cuda.end_capture(stream)
    for batch in meter.train([1.0]):
        meter.log(loss=cuda.FakeCudaTensor(batch))
    cuda.delay(stream, 2000)
    for batch in meter.val([1.0, 2.0, 3.0, 4.0]):
        accuracy.write(batch)
        cuda.replay(graph, stream)
    assert 'acc: 2.5000' in texts(lines)[-1]


def test_time_over_two_streams_does_not_go_back(cuda, stream):
    meter = rm.LoopLogger(max_epochs=1, logger=logging.Logger('quiet'))
    other = cuda.new_stream(0)
    for i, batch in enumerate(meter.train([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])):
        if i == 2:
            cuda.pause(stream)
        cuda.set_stream(0, stream if i % 2 == 0 else other)
        meter.log(loss=cuda.FakeCudaTensor(batch))
        if i == 3:
            cuda.sync(other)
            cuda.pause(stream, False)
    assert all(0 <= seconds < 1 for seconds in times(meter))


def test_run_can_be_rolled_back_after_a_nan(cuda, stream, logged):
    logger, _ = logged
    meter = rm.LoopLogger(max_epochs=2, logger=logger, on_nan='raise')
    state = meter.state_dict()
    cuda.pause(stream)
    losses = [1.0, 2.0, math.nan, math.nan, math.nan, 6.0, 7.0]
    with pytest.raises(rm.NanError, match='iteration 3$'):
        for i, batch in enumerate(meter.train(losses)):
            meter.log(loss=cuda.FakeCudaTensor(batch))
            if i == 5:
                cuda.pause(stream, False)
                cuda.sync(stream)
    meter.load_state_dict(state)
    for batch in meter.train([1.0, 2.0]):
        meter.log(loss=cuda.FakeCudaTensor(batch))
    assert meter.epoch == 1


def test_nan_of_a_replay_stops_the_run(cuda, stream, logged):
    logger, _ = logged
    meter = rm.LoopLogger(max_epochs=1, logger=logger, on_nan='raise')
    loss = cuda.FakeCudaTensor(0.0)
    cuda.begin_capture(stream)
    meter.message_hub.update_scalar('train/loss', loss)
    graph = cuda.end_capture(stream)
    cuda.delay(stream, 1000)
    with pytest.raises(rm.NanError, match="'train/loss': a NaN was recorded in iteration 4$"):
        for batch in meter.train([1.0, 2.0, 3.0, math.nan]):
            loss.write(batch)
            cuda.replay(graph, stream)


@pytest.mark.parametrize('replacement', [None, rm.HistoryBuffer([9.0], [1])])
def test_watch_for_nans_stands_histories_that_go(cuda, stream, logged, replacement):
    logger, _ = logged
    meter = rm.LoopLogger(max_epochs=1, interval=2, logger=logger, on_nan='raise')
    cuda.pause(stream)
    for batch in meter.train([1.0, 2.0, 3.0, 4.0]):
        meter.log(loss=cuda.FakeCudaTensor(batch), a=batch)
        if batch == 3.0:
            del meter.message_hub.log_scalars['train/a']
            if replacement is not None:
                meter.message_hub.log_scalars['train/a'] = replacement
            cuda.pause(stream, False)
            cuda.sync(stream)
    assert meter.iter == 4


def test_state_after_a_loader_failed_leads_back_to_the_beginning_of_the_epoch():
    def loader():
        yield 1.0
        yield 2.0
        raise OSError

    meter = rm.LoopLogger(max_epochs=2, logger=logging.Logger('quiet'))
    try:
        for batch in meter.train(loader(), length=4):
            meter.log(loss=batch)
    except OSError:
        state = meter.state_dict()
    assert (state['epoch'], state['iter']) == (0, 0)


def test_nan_of_an_iteration_that_was_left_is_found_when_the_run_goes_on():
    meter = rm.LoopLogger(max_epochs=3, logger=logging.Logger('quiet'), on_nan='raise')
    for batch in meter.train([1.0, 2.0, 3.0]):
        meter.log(loss=math.nan if batch == 2.0 else batch)
        if batch == 2.0:
            break
    meter.state_dict()  # can be saved all the same
    with pytest.raises(rm.NanError, match='iteration 2$'):
        for _ in meter.train([1.0]):
            pass


def test_nan_of_an_iteration_that_was_left_is_found_by_flush():
    meter = rm.LoopLogger(max_epochs=3, logger=logging.Logger('quiet'), on_nan='raise')
    for _ in meter.train([1.0, 2.0, 3.0]):
        meter.log(loss=math.nan)
        break
    with pytest.raises(rm.NanError, match='iteration 1$'):
        meter.flush()


@pytest.mark.parametrize('bad', [None, 'x', [1.0, 2.0], []])
def test_loss_that_is_no_number_is_named(bad):
    meter = rm.LoopLogger(max_epochs=1, logger=logging.Logger('quiet'))
    with pytest.raises(rm.ScalarError, match="series 'train/loss_a'"):
        meter.log(loss_b=1.0, loss_a=bad)
    assert meter.message_hub.log_scalars == {}


def test_lines_behind_a_value_that_never_lands_do_not_pile_up(cuda, stream, logged, caplog):
    logger, lines = logged
    meter = rm.LoopLogger(max_iters=1100, interval=1, logger=logger)
    cuda.pause(stream)
    rm.HistoryBuffer().update(cuda.FakeCudaTensor(1.0))
    for batch in meter.train(range(1100)):
        meter.log(loss=1.0)
        if batch == 1099:
            cuda.pause(stream, False)
    assert len(lines) == 1024
    assert caplog.text.count('is left out: 1024 others wait for values') == 1


def test_evaluation_that_is_left_and_kept_does_not_take_over_training():
    meter = rm.LoopLogger(max_epochs=1, logger=logging.Logger('quiet'))
    for batch in meter.train([1.0, 2.0, 3.0]):
        meter.log(loss=batch)
        kept = meter.val([5.0, 6.0])  # as a progress bar keeps it
        for each in kept:
            meter.log(accuracy=each)
            break
    hub = meter.message_hub
    assert hub.get_scalar('train/loss').data[0].tolist() == [1.0, 2.0, 3.0]
    assert hub.get_scalar('val/accuracy').data[0].tolist() == [5.0, 5.0, 5.0]
    assert len(times(meter)) == 3
    assert min(times(meter)) >= 0
    with pytest.raises(RuntimeError, match='val.. must not go on after another loop took its place'):
        next(kept)


def test_losses_that_only_their_sum_does_not_stand_are_not_recorded():
    class Item:
        def item(self):
            return 1.0

    meter = rm.LoopLogger(max_epochs=1, logger=logging.Logger('quiet'))
    with pytest.raises(TypeError, match='unsupported operand'):
        meter.log(loss_a=1.0, loss_b=Item())
    assert meter.message_hub.log_scalars == {}
