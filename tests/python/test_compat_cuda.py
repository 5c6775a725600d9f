"""MetricLogger and EventStorage with values on a CUDA device, on a driver without a GPU."""

from __future__ import annotations

import gc
import json
import threading
import time

import ringmeter as rm
from ringmeter.compat import (
    CommonMetricPrinter,
    EventStorage,
    JSONWriter,
    MetricLogger,
    SmoothedValue,
    get_event_storage,
)


def meters_of(lines):
    """The part of each line that is about values."""
    return [line.split('  ')[3:-2] for line in lines if 'eta' in line]


# ---- MetricLogger ----


def test_update_never_waits_and_a_read_does(cuda, stream):
    logger = MetricLogger()
    cuda.pause(stream)  # who waits for it now waits for ever
    before = cuda.calls('cuLaunchKernel')
    for i in range(3):
        logger.update(loss=cuda.FakeCudaTensor(float(i)), acc=cuda.FakeCudaTensor(10.0 * i), lr=0.1)
    logger.meters['acc1'].update(cuda.FakeCudaTensor(70.0))
    assert logger.loss.count == 3
    assert cuda.calls('cuLaunchKernel') == before + 4  # one for each call
    cuda.pause(stream, False)
    assert str(logger) == (
        'loss: 1.0000 (1.0000)\tacc: 10.0000 (10.0000)\tlr: 0.1000 (0.1000)\tacc1: 70.0000 (70.0000)'
    )
    assert cuda.item_calls() == 0


def test_value_is_that_of_its_time(cuda, stream):
    loss, meter = cuda.FakeCudaTensor(0.0), SmoothedValue()
    cuda.pause(stream)
    for i in range(4):
        loss.write(float(i))
        meter.update(loss)
    cuda.pause(stream, False)
    assert meter.deque == (0.0, 1.0, 2.0, 3.0)


def test_lines_come_when_their_values_have_landed_as_of_their_iteration(cuda, stream, capsys):
    logger = MetricLogger(delimiter='  ')
    logger.add_meter('lr', SmoothedValue(window_size=1, fmt='{value:.2f}'))
    seen, out = [], ''
    for i in logger.log_every(range(8), 2, 'A'):
        out += capsys.readouterr().out
        seen.append(out.count('\n'))
        if i == 1:
            cuda.pause(stream)
        logger.update(loss=cuda.FakeCudaTensor(float(i)), lr=i / 100)
        logger.meters['acc'].update(10.0 * i, n=i)
        if i == 5:
            cuda.pause(stream, False)
        if i in (0, 5):
            cuda.sync(stream)
    out += capsys.readouterr().out
    # Those of iterations 2 and 4 wait until the end of iteration 5.
    assert seen[2:7] == [1, 1, 1, 1, 3]
    assert meters_of(out.splitlines()) == [
        ['lr: 0.00', 'loss: 0.0000 (0.0000)', 'acc: 0.0000 (nan)'],
        ['lr: 0.02', 'loss: 1.0000 (1.0000)', 'acc: 10.0000 (16.6667)'],
        ['lr: 0.04', 'loss: 2.0000 (2.0000)', 'acc: 20.0000 (30.0000)'],
        ['lr: 0.06', 'loss: 3.0000 (3.0000)', 'acc: 30.0000 (43.3333)'],
        ['lr: 0.07', 'loss: 3.0000 (3.5000)', 'acc: 30.0000 (50.0000)'],
    ]
    assert out.splitlines()[-1].startswith('A Total time: 0:00:00 (')


def test_lines_never_wait_inside_a_loop_and_all_are_there_before_the_total_time(
    cuda, stream, capsys, tmp_path
):
    logger = MetricLogger(output_file=tmp_path / 'metrics.json')
    cuda.pause(stream)
    for i in logger.log_every(range(5), 1):
        logger.update(loss=cuda.FakeCudaTensor(float(i)))
        assert capsys.readouterr().out == ''
        if i == 4:
            cuda.pause(stream, False)
    lines = capsys.readouterr().out.splitlines()
    assert [line[:6] for line in lines] == ['\t[0/5]', '\t[1/5]', '\t[2/5]', '\t[3/5]', '\t[4/5]', ' Total']
    records = [json.loads(line) for line in (tmp_path / 'metrics.json').read_text().splitlines()]
    assert [(record['iteration'], record['loss']) for record in records] == [
        (0, 0.0), (1, 0.0), (2, 1.0), (3, 1.0), (4, 2.0)
    ]  # fmt: skip


def test_lines_that_wait_know_the_meters_of_their_time(cuda, stream, capsys):
    class Own:
        last = None

        def update(self, value):
            self.last = value

        def __str__(self):
            return f'last {self.last}'

    logger = MetricLogger(delimiter='  ')
    logger.add_meter('own', Own())
    cuda.pause(stream)
    for i in logger.log_every(range(4), 1):
        if i == 1:
            logger.loss.reset()
        if i == 2:
            logger.add_meter('loss', SmoothedValue(fmt='{value:.1f}'))
        if i == 3:
            del logger.meters['loss']
            cuda.pause(stream, False)
        logger.update(loss=cuda.FakeCudaTensor(float(i)), own=i)
    assert meters_of(capsys.readouterr().out.splitlines()) == [
        ['own: last 0', 'loss: 0.0000 (0.0000)'],
        ['own: last 1', 'loss: 1.0000 (1.0000)'],
        ['own: last 2', 'loss: 2.0'],
        ['own: last 3', 'loss: 3.0000 (3.0000)'],
    ]


def test_meter_of_a_class_derived_from_ours_does_not_wait_either(cuda, stream, capsys):
    class Percent(SmoothedValue):
        updates = 0

        def update(self, value, n=1):
            super().update(value, n)
            self.updates += 1

        def __str__(self):
            return f'{self.value:.0f} % of {self.updates}'

    logger = MetricLogger(delimiter='  ')
    logger.add_meter('acc', Percent())
    cuda.pause(stream)  # who waits for it now waits for ever
    for i in logger.log_every(range(2), 1):
        logger.acc.update(cuda.FakeCudaTensor(50.0 + i))
        if i == 1:
            cuda.pause(stream, False)
    assert meters_of(capsys.readouterr().out.splitlines()) == [['acc: 50 % of 1'], ['acc: 51 % of 2']]


def test_meter_that_cannot_be_copied_is_in_lines_that_wait_as_it_is_then(cuda, stream, capsys):
    class Own:
        def __init__(self):
            self.lock, self.last = threading.Lock(), None

        def update(self, value):
            with self.lock:
                self.last = value

        def __str__(self):
            return f'last {self.last}'

    logger = MetricLogger(delimiter='  ')
    logger.add_meter('own', Own())
    cuda.pause(stream)
    for i in logger.log_every(range(2), 1):
        logger.update(loss=cuda.FakeCudaTensor(float(i)), own=i)
        if i == 1:
            cuda.pause(stream, False)
    assert meters_of(capsys.readouterr().out.splitlines()) == [
        ['own: last 1', 'loss: 0.0000 (0.0000)'],
        ['own: last 1', 'loss: 0.0000 (0.5000)'],
    ]


def test_lines_now_wait(cuda, stream, capsys):
    logger = MetricLogger(lines='now')
    cuda.delay(stream, 5000)
    for n, i in enumerate(logger.log_every(range(3), 1)):
        assert capsys.readouterr().out.count('\n') == min(n, 1)
        logger.update(loss=cuda.FakeCudaTensor(float(i)))


def test_line_whose_values_cannot_land_is_left_out_with_a_warning(cuda, stream, capsys, caplog):
    logger = MetricLogger()
    cuda.pause(stream)
    rm.set_wait_timeout(0.02)
    try:
        for i in logger.log_every(range(1), 1):
            logger.update(loss=cuda.FakeCudaTensor(float(i)))
    finally:
        rm.set_wait_timeout(600)
    assert capsys.readouterr().out.startswith(' Total time')
    assert 'the line of iteration 0 is left out: its values did not land in time' in caplog.text
    cuda.pause(stream, False)
    assert logger.loss.value == 0.0


def test_loop_that_is_left_prints_the_lines_that_were_due(cuda, stream, capsys):
    logger = MetricLogger(delimiter='  ')
    cuda.delay(stream, 2000)
    for i in logger.log_every(range(5), 1):
        logger.update(loss=cuda.FakeCudaTensor(float(i)))
        if i == 2:
            break
    assert meters_of(capsys.readouterr().out.splitlines()) == [
        ['loss: 0.0000 (0.0000)'],
        ['loss: 0.0000 (0.5000)'],
    ]


def test_lines_that_wait_are_printed_at_exit(run_with_fake):
    done = run_with_fake("""
import sys
import fake_cuda_tensor as cuda
from ringmeter.compat import MetricLogger
stream = cuda.new_stream(0)
cuda.set_stream(0, stream)
cuda.delay(stream, 200_000)
logger = MetricLogger(delimiter='  ')
loop = logger.log_every(range(5), 1)  # held, so that it does not end with the exception
for i in loop:
    logger.update(loss=cuda.FakeCudaTensor(float(i)))
    if i == 1:
        sys.exit(3)
""")
    assert done.stderr == ''
    assert done.returncode == 3
    assert done.stdout.count('loss: 0.0000 (0.0000)') == 1


def test_logger_can_be_collected(cuda, stream):
    import weakref

    logger = MetricLogger()
    for i in logger.log_every(range(3), 1):
        logger.update(loss=cuda.FakeCudaTensor(float(i)))
    reference = weakref.ref(logger)
    del logger
    gc.collect()
    assert reference() is None


def test_time_is_that_of_the_device_and_takes_no_launch(cuda, stream, capsys):
    logger = MetricLogger()
    before = cuda.calls('cuLaunchKernel')
    for i in logger.log_every(range(4), 1):
        logger.update(loss=cuda.FakeCudaTensor(float(i)), acc=cuda.FakeCudaTensor(float(i)))
        time.sleep(0.002)
    assert cuda.calls('cuLaunchKernel') == before + 5  # one to start with
    # The fake's clock goes on by some nanoseconds whenever it is read; the host's by 2 ms in each iteration.
    assert capsys.readouterr().out.count('time: 0.0000\tdata: ') == 4


def test_time_of_a_loop_without_values_on_the_device_is_the_hosts(cuda, stream, capsys):
    logger = MetricLogger(delimiter='  ')
    for i in logger.log_every(range(2), 1):
        logger.update(loss=float(i))
        time.sleep(0.02)
    seconds = [float(line.split('time: ')[1].split()[0]) for line in capsys.readouterr().out.splitlines()[:2]]
    assert min(seconds) >= 0.02


def test_replays_of_a_cuda_graph_are_in_the_lines(cuda, stream, capsys):
    logger = MetricLogger(delimiter='  ')
    loss = cuda.FakeCudaTensor(0.0)
    cuda.begin_capture(stream, 0)
    logger.update(loss=loss)
    graph = cuda.end_capture(stream)
    cuda.delay(stream, 500)
    for i in logger.log_every(range(4), 2):
        loss.write(float(i))
        cuda.replay(graph, stream)
    assert meters_of(capsys.readouterr().out.splitlines()) == [
        ['loss: 0.0000 (0.0000)'],
        ['loss: 1.0000 (1.0000)'],
        ['loss: 1.0000 (1.5000)'],
    ]
    cuda.replay(graph, stream)
    assert (logger.loss.count, logger.loss.value) == (5, 3.0)


def test_replays_that_wait_count_as_often_as_was_captured(cuda, stream, capsys, monkeypatch):
    acc, three_times_acc = cuda.FakeCudaTensor(0.0), cuda.FakeCudaTensor(0.0)
    monkeypatch.setattr('ringmeter.compat.smoothed_value._product', lambda *_: three_times_acc)
    logger = MetricLogger(delimiter='  ')
    logger.update(acc=8.0)
    cuda.begin_capture(stream, 0)
    logger.meters['acc'].update(acc, n=4)
    graph = cuda.end_capture(stream)
    cuda.pause(stream)
    for i in logger.log_every(range(3), 1):
        acc.write(float(i))
        three_times_acc.write(3.0 * i)
        cuda.replay(graph, stream)
        if i == 2:
            cuda.pause(stream, False)
    assert meters_of(capsys.readouterr().out.splitlines()) == [
        ['acc: 0.0000 (1.6000)'],
        ['acc: 1.0000 (1.3333)'],
        ['acc: 1.0000 (1.5385)'],
    ]


# ---- EventStorage ----


def test_put_scalar_never_waits_and_a_read_does(cuda, stream):
    cuda.pause(stream)
    before = cuda.calls('cuLaunchKernel')
    with EventStorage() as storage:
        for i in range(4):
            losses = {'loss_cls': cuda.FakeCudaTensor(float(i)), 'loss_box': cuda.FakeCudaTensor(10.0 * i)}
            get_event_storage().put_scalars(**losses, lr=0.1)
            storage.put_scalar('acc', cuda.FakeCudaTensor(0.5))
            storage.step()
        assert cuda.calls('cuLaunchKernel') == before + 8
        assert storage.count_samples('loss_cls', 2) == 2
        assert storage.history('lr').latest() == 0.1
        cuda.pause(stream, False)
    assert storage.latest() == {'loss_cls': (3.0, 3), 'loss_box': (30.0, 3), 'lr': (0.1, 3), 'acc': (0.5, 3)}
    assert storage.history('loss_cls').values() == [(0.0, 0), (1.0, 1), (2.0, 2), (3.0, 3)]
    assert cuda.item_calls() == 0


def test_writers_write_what_was_there_once_it_has_landed(cuda, stream, logged, tmp_path):
    logger, lines = logged
    path = tmp_path / 'metrics.json'
    with EventStorage() as storage:
        printer, writer = CommonMetricPrinter(7, logger=logger), JSONWriter(path)
        cuda.pause(stream)
        for i in range(6):
            storage.iter = i  # as detectron2's trainer does at the beginning of each
            storage.put_scalars(loss=cuda.FakeCudaTensor(float(i)), time=2.0)
            if i == 3:
                storage.put_scalar('loss_late', 5.0)
            if i % 2:
                printer.write()
                writer.write()
            if i == 4:
                cuda.pause(stream, False)
                cuda.sync(stream)
            assert len(lines) == len(path.read_text().splitlines()) == 0 or i == 5
        assert len(lines) >= 2  # the last may not have landed yet
    assert [record.getMessage().partition('  time')[0] for record in lines] == [
        ' eta: 0:00:10  iter: 1  loss: 0.5  ',
        ' eta: 0:00:06  iter: 3  loss: 1.5  loss_late: 5  ',
        ' eta: 0:00:02  iter: 5  loss: 2.5  loss_late: 5  ',
    ]
    assert lines[0].created < lines[1].created
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {'iteration': 1, 'loss': 0.5, 'time': 2.0, 'eta_seconds': 10.0},
        {'iteration': 3, 'loss': 1.5, 'time': 2.0, 'eta_seconds': 6.0, 'loss_late': 5.0},
        {'iteration': 5, 'loss': 2.5, 'time': 2.0, 'eta_seconds': 2.0},
    ]


def test_writer_that_is_closed_has_written_everything(cuda, stream, logged, tmp_path):
    logger, lines = logged
    path = tmp_path / 'metrics.json'
    with EventStorage() as storage:
        for writer in (CommonMetricPrinter(logger=logger), JSONWriter(path)):
            cuda.delay(stream, 2000)
            storage.put_scalar('loss', cuda.FakeCudaTensor(1.0))
            writer.write()
            writer.close()
        assert len(lines) == len(path.read_text().splitlines()) == 1


def test_writer_of_two_storages_writes_in_order(cuda, stream, tmp_path):
    path = tmp_path / 'metrics.json'
    writer = JSONWriter(path)
    with EventStorage() as outer:
        cuda.delay(stream, 2000)
        outer.put_scalar('loss', cuda.FakeCudaTensor(1.0))
        writer.write()
        with EventStorage(start_iter=5) as inner:
            inner.put_scalar('acc', 2.0)
            writer.write()
        assert path.read_text() == '{"iteration": 0, "loss": 1.0}\n{"acc": 2.0, "iteration": 5}\n'


def test_writer_of_ones_own_need_not_wait(cuda, stream):
    seen = []
    with EventStorage() as storage:
        cuda.pause(stream)
        for i in range(3):
            storage.put_scalar('loss', cuda.FakeCudaTensor(float(i)))
            storage.when_landed(
                lambda then: seen.append((then.iter, then.latest(), then.history('loss').values()))
            )
            storage.step()
        assert seen == []
        cuda.pause(stream, False)
    assert seen == [
        (0, {'loss': (0.0, 0)}, [(0.0, 0)]),
        (1, {'loss': (1.0, 1)}, [(0.0, 0), (1.0, 1)]),
        (2, {'loss': (2.0, 2)}, [(0.0, 0), (1.0, 1), (2.0, 2)]),
    ]


def test_line_of_a_storage_whose_values_cannot_land_is_left_out(cuda, stream, logged, caplog):
    logger, lines = logged
    cuda.pause(stream)
    rm.set_wait_timeout(0.02)
    try:
        with EventStorage() as storage:
            storage.put_scalar('loss', cuda.FakeCudaTensor(1.0))
            CommonMetricPrinter(logger=logger).write()
    finally:
        rm.set_wait_timeout(600)
    assert lines == []
    assert 'the line of iteration 0 is left out: its values did not land in time' in caplog.text
    cuda.pause(stream, False)
    assert storage.latest() == {'loss': (1.0, 0)}
