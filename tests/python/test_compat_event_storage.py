"""EventStorage and its writers against fvcore's history and what detectron2 prints."""

from __future__ import annotations

import json
import logging
import math
import random
import threading

import fvcore.common.history_buffer as fvcore
import numpy as np
import pytest

import ringmeter as rm
from ringmeter.compat import (
    CommonMetricPrinter,
    EventStorage,
    EventWriter,
    JSONWriter,
    get_event_storage,
    has_event_storage,
)

torch = pytest.importorskip('torch')


# ---- histories ----


@pytest.mark.parametrize('as_tensor', [False, True])
def test_histories_answer_as_fvcores(as_tensor):
    source = random.Random(0)
    storage, theirs = EventStorage(start_iter=7), fvcore.HistoryBuffer()
    for i in range(300):
        value = source.gauss(1.0, 0.5)
        storage.put_scalar('loss', torch.tensor(value, dtype=torch.float64) if as_tensor else value)
        theirs.update(value, 7 + i)
        storage.step()
        ours = storage.history('loss')
        assert ours.latest() == theirs.latest()
        for window in (1, 2, 20, 1000):
            assert ours.median(window) == theirs.median(window)
            assert ours.avg(window) == pytest.approx(theirs.avg(window), rel=1e-14)
        assert ours.global_avg() == pytest.approx(theirs.global_avg(), rel=1e-12)
    assert ours.values() == theirs.values()
    assert all(type(number) is float for number in (ours.latest(), ours.median(3), ours.avg(3)))


def test_median_with_a_nan_is_nan_until_it_leaves_the_window():
    storage = EventStorage()
    storage.put_scalar('loss', math.nan)
    storage.put_scalar('loss', 2.0)
    assert math.isnan(storage.history('loss').median(2))
    assert storage.history('loss').median(1) == 2.0


def test_integers_are_floats():
    storage = EventStorage()
    storage.put_scalar('num', 3, smoothing_hint=False)
    assert repr((storage.latest(), storage.history('num').values())) == "({'num': (3.0, 0)}, [(3.0, 0)])"


def test_global_average_is_of_more_than_the_ring_keeps(monkeypatch):
    monkeypatch.setattr('ringmeter.compat.event_storage.FOLD_EVERY', 100)
    storage = EventStorage()
    storage.message_hub.log_scalars['loss'] = rm.HistoryBuffer(max_length=250)
    for value in range(10_000):
        storage.put_scalar('loss', value)
    assert len(storage.message_hub.get_scalar('loss')) == 250
    assert storage.history('loss').global_avg() == 4999.5
    assert storage.history('loss').latest() == 9999.0


def test_samples_are_those_of_the_last_iterations():
    storage = EventStorage()
    for i in range(100):
        storage.put_scalar('every', i)
        for _ in range(3):
            storage.put_scalar('thrice', i)
        if i % 10 == 0:
            storage.put_scalar('tenth', i)
        storage.step()
    counts = [storage.count_samples(name) for name in ('every', 'thrice', 'tenth')]
    assert counts == [20, 60, 2]
    assert [storage.count_samples(name, 1) for name in ('every', 'thrice', 'tenth')] == [1, 3, 1]
    assert storage.count_samples('thrice', 1000) == 300
    storage.put_scalar('every', 0.0, cur_iter=5)  # an earlier one
    assert storage.count_samples('every', 20) == 101


def test_history_of_an_unknown_name_is_a_key_error_that_knows_those_alike():
    storage = EventStorage()
    storage.put_scalar('loss_cls', 1.0)
    with pytest.raises(KeyError, match="'loss_clz' is not found .*, did you mean 'loss_cls'"):
        storage.history('loss_clz')


# ---- the storage ----


def test_scalars_have_the_iteration_that_they_were_put_in():
    storage = EventStorage(start_iter=10)
    storage.put_scalars(loss=torch.tensor(0.5), acc=np.float32(0.25))
    storage.step()
    storage.put_scalar('loss', 1.5)
    storage.iter = 40
    storage.put_scalar('val', 7.0, smoothing_hint=False)
    storage.put_scalars(late=8.0, cur_iter=39)
    assert storage.latest() == {'loss': (1.5, 11), 'acc': (0.25, 10), 'val': (7.0, 40), 'late': (8.0, 39)}
    assert storage.latest_with_smoothing_hint(20)['loss'] == (1.0, 11)
    assert storage.latest_with_smoothing_hint(1)['loss'] == (1.5, 11)
    assert storage.smoothing_hints() == {'loss': True, 'acc': True, 'val': False, 'late': True}
    assert (storage.iter, storage.iteration) == (40, 40)
    assert list(storage.histories()) == ['loss', 'acc', 'val', 'late']


def test_innermost_storage_is_the_one_to_be_had():
    assert not has_event_storage()
    with EventStorage(1) as outer:
        with EventStorage(2) as inner:
            assert get_event_storage() is inner
        assert get_event_storage() is outer
        assert has_event_storage()
    assert not has_event_storage()


@pytest.mark.parametrize('error', [AssertionError, RuntimeError])
def test_storage_outside_of_a_block_is_an_error(error):
    with pytest.raises(error, match="must be called inside a 'with EventStorage"):
        get_event_storage()


def test_blocks_that_end_out_of_order_are_an_error():
    outer, inner = EventStorage(), EventStorage()
    outer.__enter__()
    inner.__enter__()
    with pytest.raises(AssertionError, match='blocks must end in the opposite order'):
        outer.__exit__(None, None, None)
    inner.__exit__(None, None, None)
    outer.__exit__(None, None, None)
    assert not has_event_storage()


def test_name_scope_comes_before_names_and_ends_with_an_exception():
    storage = EventStorage()
    with pytest.raises(KeyError), storage.name_scope('eval/'):
        storage.put_scalar('ap', 1.0)
        with storage.name_scope('box'):
            storage.put_scalars(ap=2.0)
        raise KeyError
    storage.put_scalar('ap', 3.0)
    assert storage.latest() == {'eval/ap': (1.0, 0), 'box/ap': (2.0, 0), 'ap': (3.0, 0)}


def test_another_smoothing_hint_is_an_error_and_changes_nothing():
    storage = EventStorage()
    storage.put_scalar('loss', 1.0)
    with pytest.raises(
        AssertionError, match="scalar 'loss': smoothing_hint must stay what it was, True, got False"
    ):
        storage.put_scalars(new=2.0, loss=3.0, smoothing_hint=False)
    assert storage.latest() == {'loss': (1.0, 0)}
    assert storage.smoothing_hints() == {'loss': True}


def test_scalar_that_is_no_number_changes_nothing():
    storage = EventStorage()
    with pytest.raises(rm.ScalarError, match="series 'b': value must be one real number, got 2 elements"):
        storage.put_scalars(a=1.0, b=torch.ones(2))
    assert storage.latest() == storage.smoothing_hints() == {}


def test_iterations_must_be_integers():
    with pytest.raises(rm.ArgumentTypeError, match='start_iter must be an int, got 1.5'):
        EventStorage(1.5)
    storage = EventStorage()
    with pytest.raises(rm.ArgumentTypeError, match="cur_iter must be an int, got 'x'"):
        storage.put_scalar('a', 1.0, cur_iter='x')
    assert storage.latest() == {}
    storage.put_scalar('a', 1.0, cur_iter=np.int64(3))
    assert storage.latest() == {'a': (1.0, 3)}


def test_scalars_may_be_put_and_read_by_other_threads():
    storage, problems = EventStorage(), []

    def put(name):
        for i in range(3000):
            storage.put_scalars(**{name: i, f'{name}2': i}, cur_iter=i)

    def read():
        try:
            while any(thread.is_alive() for thread in threads):
                for value, iteration in storage.latest_with_smoothing_hint(1).values():
                    assert value == iteration
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=put, args=(name,)) for name in 'ab']
    reader = threading.Thread(target=read)
    for thread in (*threads, reader):
        thread.start()
    for thread in (*threads, reader):
        thread.join()
    assert problems == []
    assert storage.latest() == dict.fromkeys(storage.histories(), (2999.0, 2999))


def test_images_and_histograms_are_kept_for_a_writer():
    storage = EventStorage(start_iter=3)
    image = torch.zeros(3, 2, 2)
    storage.put_image('sample', image)
    storage.put_histogram('weights', torch.tensor([0.0, 1.0, 1.5, 4.0], requires_grad=True), bins=4)
    assert storage._vis_data == [('sample', image, 3)]
    assert storage._histograms == [
        {
            'tag': 'weights',
            'min': 0.0,
            'max': 4.0,
            'num': 4,
            'sum': 6.5,
            'sum_squares': 19.25,
            'bucket_limits': [1.0, 2.0, 3.0, 4.0],
            'bucket_counts': [1.0, 2.0, 0.0, 1.0],
            'global_step': 3,
        }
    ]
    storage.clear_images()
    storage.clear_histograms()
    assert storage._vis_data == storage._histograms == []


# ---- metrics.json ----


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_records_are_of_the_iterations_that_have_new_scalars(tmp_path):
    path = tmp_path / 'metrics.json'
    with EventStorage() as storage:
        writer = JSONWriter(path)
        for k in range(60):
            if k % 17 == 0:
                storage.put_scalar('key2', k, smoothing_hint=False)
            storage.put_scalar('key', k, smoothing_hint=False)
            if (k + 1) % 20 == 0:
                writer.write()
            storage.step()
        writer.write()  # nothing new
        writer.close()
    assert path.read_text().splitlines() == [
        '{"iteration": 17, "key2": 17.0}',
        '{"iteration": 19, "key": 19.0}',
        '{"iteration": 34, "key2": 34.0}',
        '{"iteration": 39, "key": 39.0}',
        '{"iteration": 51, "key2": 51.0}',
        '{"iteration": 59, "key": 59.0}',
    ]


def test_records_are_smoothed_over_iterations(tmp_path):
    with EventStorage() as storage:
        writer = JSONWriter(tmp_path / 'metrics.json', window_size=10)
        for k in range(20):
            storage.put_scalar('key1', k)
            if (k + 1) % 2 == 0:
                storage.put_scalar('key2', k)
            if (k + 1) % 5 == 0:
                storage.put_scalar('key3', k)
            if (k + 1) % 10 == 0:
                writer.write()
            storage.step()
        writer.close()
    assert records(tmp_path / 'metrics.json') == [
        {'iteration': 9, 'key1': 4.5, 'key2': 5.0, 'key3': 6.5},
        {'iteration': 19, 'key1': 14.5, 'key2': 15.0, 'key3': 16.5},
    ]


def test_records_are_appended_to_a_file_that_is_there(tmp_path):
    path = tmp_path / 'metrics.json'
    path.write_text('{"iteration": 0}\n')
    with EventStorage(1) as storage:
        storage.put_scalar('a', 1.0)
        JSONWriter(path).write()
    assert records(path) == [{'iteration': 0}, {'a': 1.0, 'iteration': 1}]


def test_file_that_cannot_be_made_is_an_error_and_one_that_goes_is_reported_once(tmp_path, caplog):
    with pytest.raises(OSError, match='directory'):
        JSONWriter(tmp_path)
    writer = JSONWriter(tmp_path / 'folder' / 'metrics.json')
    writer._file.path.unlink()
    writer._file.path.parent.rmdir()
    with EventStorage() as storage:
        for i in range(2):
            storage.put_scalar('a', i)
            writer.write()
            storage.step()
    assert caplog.text.count('cannot be written, its records are lost') == 1


# ---- lines ----


@pytest.fixture
def line_of(caplog, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)

    def line_of(printer):
        caplog.clear()
        with caplog.at_level(logging.INFO, 'detectron2.utils.events'):
            printer.write()
        return [record.getMessage() for record in caplog.records]

    return line_of


def test_line_has_everything_that_was_put(line_of, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda: 2345.6 * 2**20)
    with EventStorage() as storage:
        printer = CommonMetricPrinter(max_iter=1000)
        for i in range(5):
            storage.put_scalars(total_loss=float(10 + i), loss_cls=torch.tensor(0.123456))
            storage.put_scalar('[metric] iou', 0.5 + i)
            storage.put_scalars(time=1.0 + i, data_time=0.1 * i, lr=0.00123456, smoothing_hint=False)
            storage.step()
        assert line_of(printer) == [
            ' eta: 0:49:42  iter: 5  total_loss: 12  loss_cls: 0.1235  [metric] iou: 2.5  '
            'time: 3.0000  last_time: 5.0000  data_time: 0.2000  last_data_time: 0.4000   '
            'lr: 0.0012346  max_mem: 2346M'
        ]
        assert storage.latest()['eta_seconds'] == (2982.0, 5)


def test_line_has_only_what_was_put(line_of):
    with EventStorage():
        assert line_of(CommonMetricPrinter()) == [' iter: 0       lr: N/A  ']


def test_window_of_a_line_is_of_iterations(line_of):
    with EventStorage() as storage:
        for i in range(10):
            storage.put_scalar('loss', i)
            if i % 5 == 0:
                storage.put_scalar('loss_rare', i)
            storage.step()
        assert line_of(CommonMetricPrinter(window_size=4)) == [
            ' iter: 10  loss: 7.5  loss_rare: 5     lr: N/A  '
        ]


def test_time_left_is_estimated_when_no_time_is_put(line_of, monkeypatch):
    now = [50.0]
    monkeypatch.setattr('time.perf_counter', lambda: now[0])
    with EventStorage() as storage:
        printer = CommonMetricPrinter(max_iter=100)
        lines = []
        for i in (0, 20, 20):
            storage.iter = i
            now[0] += 30.0
            lines += line_of(printer)
    assert lines == [
        ' iter: 0       lr: N/A  ',
        ' eta: 0:01:58  iter: 20       lr: N/A  ',  # 30 s for 20 iterations, 79 are left
        ' iter: 20       lr: N/A  ',
    ]


def test_nothing_is_printed_after_the_last_iteration(line_of):
    with EventStorage(start_iter=10):
        assert line_of(CommonMetricPrinter(max_iter=10)) == []


def test_lines_go_to_the_logger_that_is_given(caplog):
    with EventStorage(), caplog.at_level(logging.INFO, 'mine'):
        CommonMetricPrinter(logger=logging.getLogger('mine')).write()
    assert [(record.name, record.levelname) for record in caplog.records] == [('mine', 'INFO')]


@pytest.mark.parametrize('make', [CommonMetricPrinter, lambda: JSONWriter('/dev/null')])
def test_writers_need_a_storage(make):
    with pytest.raises(AssertionError, match="inside a 'with EventStorage"):
        make().write()
    make().close()


def test_writer_of_ones_own_must_write():
    class Own(EventWriter):
        pass

    with pytest.raises(NotImplementedError):
        Own().write()
    Own().close()
