"""MetricLogger and SmoothedValue against what torchvision's reference scripts compute and print."""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import pickle
import random
import re
import subprocess
import sys
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ringmeter as rm
from ringmeter import compat
from ringmeter.compat import MetricLogger, SmoothedValue
from ringmeter.compat._totals import Totals

torch = pytest.importorskip('torch')

EVERY_FIELD = '{median:.4f} {avg:.4f} {global_avg:.4f} {max:.4f} {value:.4f}'


def recorded(values, **arguments):
    meter = SmoothedValue(**arguments)
    for value in values:
        meter.update(value)
    return meter


# ---- meters ----


@pytest.mark.parametrize('window', [1, 2, 7, 20])
@pytest.mark.parametrize('scale', [1e-5, 1.0, 100.0, 1e30, 1e39])
def test_window_statistics_are_those_of_torch_in_float32(window, scale):
    source = random.Random(0)
    meter, seen = SmoothedValue(window, EVERY_FIELD), []
    for _ in range(60):
        seen.append(source.gauss(1.0, 1.0) * scale)
        meter.update(seen[-1])
        tensor = torch.tensor(seen[-window:], dtype=torch.float32)
        assert meter.median == tensor.median().item()
        assert meter.avg == pytest.approx(tensor.mean().item(), rel=0, abs=0, nan_ok=True)
        assert meter.exact_avg == pytest.approx(math.fsum(seen[-window:]) / len(seen[-window:]), rel=1e-15)
        assert meter.max == max(seen[-window:])
        assert meter.value == seen[-1]
        assert meter.deque == tuple(seen[-window:])
        assert math.isclose(meter.global_avg, math.fsum(seen) / len(seen), rel_tol=1e-14)


def test_median_of_an_even_number_is_the_lower_one():
    assert recorded([1.0, 2.0, 3.0, 4.0]).median == 2.0


def test_text_has_the_mean_of_all_and_the_median_of_the_window():
    assert str(recorded([9.0, 1.0, 3.0, 2.0], window_size=3)) == '2.0000 (3.7500)'


def test_text_is_rounded_from_float32():
    # The double nearest to 2.00005 is below it, its float32 is above.
    assert f'{2.00005:.4f}' == '2.0000'
    assert str(recorded([2.00005], fmt='{median:.4f} {avg:.4f} {value:.4f}')) == '2.0001 2.0001 2.0000'


def test_integers_stay_integers():
    assert str(recorded([3, 5], fmt='{median} {max} {value:d} {avg} {global_avg}')) == '3 5 5 4.0 4.0'


@pytest.mark.parametrize('as_tensor', [False, True])
def test_n_counts_for_the_global_average_only(as_tensor):
    meter = SmoothedValue()
    for value, n in [(50.0, 8), (75.0, 8), (100.0, 4)]:
        meter.update(torch.tensor(value, dtype=torch.float16) if as_tensor else value, n=n)
    assert (meter.count, meter.total, meter.global_avg) == (20, 1400.0, 70.0)
    assert (meter.avg, meter.median, meter.deque) == (75.0, 75.0, (50.0, 75.0, 100.0))


@pytest.mark.parametrize('value', [2.0, np.float32(2), np.array(2.0), np.array([2.0]), np.array([[2]])])
def test_whatever_is_one_number_may_be_weighted(value):
    meter = SmoothedValue()
    meter.update(value, n=np.int64(3))
    assert (repr(meter.count), meter.total, meter.value) == ('3', 6.0, 2.0)


@pytest.mark.parametrize(('n', 'count'), [(1, '2'), (64, '65'), (0.5, '1.5')])
def test_count_is_an_integer_unless_a_weight_is_none(n, count):
    meter = recorded([1.0])
    meter.update(1.0, n=n)
    assert repr(meter.count) == count


def test_weighted_float16_does_not_overflow():
    meter = SmoothedValue()
    meter.update(torch.tensor(90.0, dtype=torch.float16, requires_grad=True), n=1024)
    assert meter.global_avg == 90.0


def test_weights_may_come_and_go_in_one_meter():
    logger = MetricLogger()
    logger.update(acc=10.0)
    logger.meters['acc'].update(20.0, n=3)
    logger.update(acc=30.0)
    logger.meters['acc'].update(40.0, n=0)
    assert (logger.acc.count, logger.acc.total) == (5, 100.0)


@pytest.mark.parametrize('n', [math.nan, math.inf, '2', None])
def test_n_that_is_no_number_changes_nothing(n):
    meter = recorded([1.0])
    with pytest.raises(rm.ArgumentTypeError, match='^n must be a finite number, got '):
        meter.update(2.0, n=n)
    assert meter.deque == (1.0,)


def test_value_that_is_no_number_changes_nothing():
    meter = recorded([1.0])
    with pytest.raises(rm.ScalarError, match='value must be one real number, got 2 elements'):
        meter.update(torch.ones(2), n=3)
    assert (meter.deque, meter.count, meter.total) == ((1.0,), 1, 1.0)


def test_nan_stays_in_the_global_average_and_leaves_the_window():
    meter = recorded([math.nan, 1.0], window_size=2)
    assert math.isnan(meter.median)
    meter.update(3.0)
    assert (meter.median, meter.avg, meter.max) == (1.0, 2.0, 3.0)
    assert math.isnan(meter.global_avg)


def test_meter_without_values_shows_nan():
    assert str(SmoothedValue(fmt=EVERY_FIELD)) == 'nan nan nan nan nan'


def test_reset_forgets_window_and_totals():
    meter = recorded([1.0, 2.0])
    meter.update(7.0, n=2)
    meter.reset()
    assert str(meter) == 'nan (nan)'
    meter.update(5.0)
    assert (str(meter), meter.count, meter.value) == ('5.0000 (5.0000)', 1, 5.0)


def test_count_and_total_may_be_set():
    meter = recorded([1.0, 2.0])
    meter.update(3.0, n=5)
    meter.count, meter.total = 10, 50.0
    assert (meter.count, meter.total, meter.global_avg, meter.median) == (10, 50.0, 5.0, 2.0)
    meter.update(16.0)
    assert (meter.count, meter.total, meter.global_avg) == (11, 66.0, 6.0)
    empty = SmoothedValue()
    empty.count, empty.total = 2, 3.0
    assert empty.global_avg == 1.5


@pytest.mark.parametrize('n', [1, 2])
def test_global_average_is_of_more_than_the_ring_keeps(monkeypatch, n):
    monkeypatch.setattr('ringmeter.compat.smoothed_value.FOLD_EVERY', 100)
    meter = SmoothedValue()
    meter._use(rm.HistoryBuffer(max_length=250))
    meter._surplus = Totals(rm.HistoryBuffer(max_length=250))
    for value in range(10_000):
        meter.update(float(value), n)
    assert len(meter.history) == 250
    assert (meter.count, meter.total) == (10_000 * n, 49_995_000.0 * n)


def test_global_averages_of_a_logger_are_of_more_than_the_rings_keep(monkeypatch):
    monkeypatch.setattr('ringmeter.compat._meters.FOLD_EVERY', 100)
    logger = MetricLogger()
    logger.message_hub.log_scalars['loss'] = rm.HistoryBuffer(max_length=250)
    for value in range(10_000):
        logger.update(loss=float(value))
    assert len(logger.message_hub.get_scalar('loss')) == 250
    assert logger.loss.global_avg == 4999.5


@pytest.mark.parametrize('window_size', [0, -1])
def test_window_size_must_be_at_least_1(window_size):
    with pytest.raises(rm.ArgumentError, match=f'window_size must be at least 1, got {window_size}'):
        SmoothedValue(window_size)


def test_window_size_must_be_an_int():
    with pytest.raises(rm.ArgumentTypeError, match='window_size must be an int, got 2.5'):
        SmoothedValue(2.5)


def test_meter_can_be_pickled():
    meter = pickle.loads(pickle.dumps(recorded([1.0, 2.0])))
    meter.update(6.0, n=2)
    assert (meter.deque, meter.global_avg) == ((1.0, 2.0, 6.0), 3.75)


def test_average_needs_no_torch():
    code = (
        'import sys\n'
        'from ringmeter.compat import MetricLogger\n'
        'logger = MetricLogger()\n'
        'for x in logger.log_every([1.0, 2.0], 1): logger.update(a=x)\n'
        'assert "torch" not in sys.modules\n'
        'print(logger.a.avg, logger)\n'
    )
    done = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == '1.5 a: 1.0000 (1.5000)'


@given(
    st.lists(
        st.tuples(st.floats(-1e6, 1e6), st.integers(1, 9), st.booleans()),
        min_size=1,
        max_size=60,
    ),
    st.integers(1, 25),
)
def test_any_sequence_of_updates_gives_what_the_definition_says(steps, window):
    logger = MetricLogger()
    logger.add_meter('x', SmoothedValue(window))
    for value, n, through_logger in steps:
        if through_logger:
            logger.update(x=torch.tensor(value, dtype=torch.float64))
        else:
            logger.x.update(value, n)
    weights = [1 if through_logger else n for _, n, through_logger in steps]
    total = math.fsum(value * weight for (value, _, _), weight in zip(steps, weights, strict=True))
    newest = torch.tensor([value for value, _, _ in steps[-window:]])
    assert logger.x.count == sum(weights)
    assert logger.x.total == pytest.approx(total, rel=1e-12, abs=1e-6)
    assert (logger.x.median, logger.x.avg) == (newest.median().item(), newest.mean().item())


# ---- loggers ----


def test_update_takes_tensors_numbers_and_passes_over_none():
    logger = MetricLogger(delimiter='  ')
    logger.update(loss=torch.tensor(0.25, requires_grad=True), lr=1, grad_norm=None)
    logger.update(loss=np.float32(0.75), lr=3, grad_norm=torch.tensor([5.0]))
    assert str(logger) == 'loss: 0.2500 (0.5000)  lr: 1.0000 (2.0000)  grad_norm: 5.0000 (5.0000)'


@pytest.mark.parametrize('others', [{}, {'grad_norm': None}])
def test_update_with_one_wrong_value_changes_nothing(others):
    logger = MetricLogger()
    with pytest.raises(rm.ScalarError, match="series 'acc': value must be one real number, got 3 elements"):
        logger.update(loss=1.0, acc=torch.ones(3), **others)
    assert len(logger.meters) == 0
    logger.update(loss=2.0)
    assert (logger.loss.count, logger.loss.value) == (1, 2.0)


def test_meters_are_those_that_were_added_in_the_order_of_their_names():
    logger = MetricLogger(delimiter='  ')
    logger.add_meter('lr', SmoothedValue(window_size=1, fmt='{value:.6f}'))
    logger.update(loss=1.0, lr=0.1)
    logger.update(loss=2.0, lr=0.2)
    assert str(logger) == 'lr: 0.200000  loss: 1.0000 (1.5000)'
    assert {name: meter.global_avg for name, meter in logger.meters.items()} == pytest.approx(
        {'lr': 0.15, 'loss': 1.5}
    )
    assert logger.global_avg() == 'lr: 0.1500  loss: 1.5000'
    assert logger.loss is logger.meters['loss']


def test_meters_of_new_names_are_made_at_any_time(capsys):
    logger = MetricLogger(delimiter='  ')
    for i in logger.log_every(range(2), 1):
        logger.update(**{f'in_{i}': 1.0})
    logger.update(a=2.0, b=3.0)  # as many as the times of the loop that are gone now
    assert list(logger.meters) == ['in_0', 'in_1', 'a', 'b']


def test_unknown_attribute_is_an_attribute_error():
    with pytest.raises(AttributeError, match="^'MetricLogger' object has no attribute 'loss'$"):
        _ = MetricLogger().loss


def test_meters_behave_as_the_dict_that_they_are_elsewhere():
    logger = MetricLogger()
    reference = defaultdict(SmoothedValue)
    for meters in (logger.meters, reference):
        meters['a'].update(1.0)
        meters['b'] = recorded([2.0])
        assert meters.setdefault('c', recorded([3.0])).value == 3.0
        assert meters.setdefault('a', None).value == 1.0
        assert meters.get('d') is None
        assert 'd' not in meters
        assert [(name, meter.value) for name, meter in meters.items()] == [('a', 1.0), ('b', 2.0), ('c', 3.0)]
        assert meters.pop('b').value == 2.0
        del meters['c']
        assert list(meters) == ['a']
        meters.clear()
        assert len(meters) == 0
    logger.update(a=5.0)  # a new one
    assert logger.a.count == 1


def test_meter_with_an_update_of_its_own_gets_numbers():
    class AverageMeter:
        def __init__(self):
            self.seen = []

        def update(self, value):
            self.seen.append(value)

        def __str__(self):
            return f'{len(self.seen)} values'

    class Doubled(SmoothedValue):
        def update(self, value, n=1):
            super().update(2 * value, n)

    logger = MetricLogger()
    logger.add_meter('a', AverageMeter())
    logger.add_meter('b', Doubled())
    logger.update(a=torch.tensor(0.5), b=torch.tensor(1.5))
    assert logger.a.seen == [0.5]
    assert str(logger) == 'a: 1 values\tb: 3.0000 (3.0000)'


def test_meter_must_have_update():
    logger = MetricLogger()
    with pytest.raises(rm.ArgumentTypeError, match=r"meter 'lr' must have update\(\), got 0.1"):
        logger.add_meter('lr', 0.1)
    assert len(logger.meters) == 0


@pytest.mark.parametrize('duplicate', [copy.deepcopy, lambda logger: pickle.loads(pickle.dumps(logger))])
def test_copy_of_a_logger_records_for_itself(duplicate):
    logger = MetricLogger()
    logger.update(loss=1.0)
    other = duplicate(logger)
    other.update(loss=3.0, acc=5.0)
    assert str(logger) == 'loss: 1.0000 (1.0000)'
    assert str(other) == 'loss: 1.0000 (2.0000)\tacc: 5.0000 (5.0000)'


def test_hub_has_the_histories_for_any_other_statistic():
    logger = MetricLogger()
    for value in (1.0, 2.0, 3.0, 10.0):
        logger.update(loss=value)
    assert logger.message_hub.get_scalar('loss').quantile(0.5) == 2.5
    assert logger.loss.history is logger.message_hub.get_scalar('loss')


def test_synchronize_does_nothing_without_torch_distributed():
    logger = MetricLogger()
    logger.update(loss=1.0)
    logger.synchronize_between_processes()
    logger.loss.synchronize_between_processes()
    assert (logger.loss.count, logger.loss.total) == (1, 1.0)


# ---- lines ----


class Clock:
    """The host's, which goes on when it is told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now

    def batches(self, n, seconds=0.5):
        for i in range(n):
            self.now += seconds
            yield i


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr('time.perf_counter', clock)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    return clock


class Loader:
    def __init__(self, clock, n):
        self.clock, self.n = clock, n

    def __len__(self):
        return self.n

    def __iter__(self):
        return self.clock.batches(self.n)


def run(logger, clock, n=12, print_freq=5, **arguments):
    for i in logger.log_every(Loader(clock, n), print_freq, **arguments):
        clock.now += 1.5 if i < 11 else 61.5
        logger.update(loss=torch.tensor(float(i)))


def test_lines_are_those_of_detr(clock, capsys):
    run(MetricLogger(delimiter='  '), clock, header='Epoch: [3]')
    # The time is 2 s, and 62 s in the last iteration; eta is its mean times 12 - i.
    assert capsys.readouterr().out.splitlines() == [
        'Epoch: [3]  [ 0/12]  eta: 0:00:24  loss: 0.0000 (0.0000)  time: 2.0000  data: 0.5000',
        'Epoch: [3]  [ 5/12]  eta: 0:00:14  loss: 2.0000 (2.5000)  time: 2.0000  data: 0.5000',
        'Epoch: [3]  [10/12]  eta: 0:00:04  loss: 5.0000 (5.0000)  time: 2.0000  data: 0.5000',
        'Epoch: [3]  [11/12]  eta: 0:00:07  loss: 5.0000 (5.5000)  time: 7.0000  data: 0.5000',
        'Epoch: [3] Total time: 0:01:24 (7.0000 s / it)',
    ]


def test_lines_are_those_of_torchvisions_classification(clock, capsys):
    run(MetricLogger(variant='torchvision'), clock, header='Test:')
    assert capsys.readouterr().out.splitlines() == [
        'Test:\t[ 0/12]\teta: 0:00:24\tloss: 0.0000 (0.0000)\ttime: 2.0000\tdata: 0.5000',
        'Test:\t[ 5/12]\teta: 0:00:14\tloss: 2.0000 (2.5000)\ttime: 2.0000\tdata: 0.5000',
        'Test:\t[10/12]\teta: 0:00:04\tloss: 5.0000 (5.0000)\ttime: 2.0000\tdata: 0.5000',
        'Test: Total time: 0:01:24',
    ]


@pytest.mark.parametrize(
    ('variant', 'loss'), [('dino', '0.000000 (0.000000)'), ('dinov2', '0.0000 (0.0000)')]
)
def test_lines_are_those_of_dino_without_a_header(clock, capsys, variant, loss):
    run(MetricLogger(variant=variant), clock, n=1)
    assert capsys.readouterr().out.splitlines() == [
        f'\t[0/1]\teta: 0:00:02\tloss: {loss}\ttime: 2.000000\tdata: 0.500000',
        ' Total time: 0:00:02 (2.000000 s / it)',
    ]


def test_lines_have_the_memory_of_a_cuda_device(clock, capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda: 1234.6 * 2**20)
    run(MetricLogger(delimiter='  '), clock, n=1)
    assert capsys.readouterr().out.splitlines()[0] == (
        '  [0/1]  eta: 0:00:02  loss: 0.0000 (0.0000)  time: 2.0000  data: 0.5000  max mem: 1235'
    )


def test_lines_and_records_of_dinov2_start_and_stop_where_they_are_told(clock, capsys, tmp_path):
    logger = MetricLogger(delimiter='  ', output_file=tmp_path / 'metrics.json', variant='dinov2')
    seen = []
    for i in logger.log_every(clock.batches(1000), 2, 'Training', n_iterations=13, start_iteration=9):
        clock.now += 0.5
        logger.update(loss=float(i))
        seen.append(i)
    assert seen == [0, 1, 2, 3]
    assert capsys.readouterr().out.splitlines() == [
        'Training  [10/13]  eta: 0:00:03  loss: 0.0000 (0.5000)  time: 1.000000  data: 0.500000',
        'Training  [12/13]  eta: 0:00:01  loss: 1.0000 (1.5000)  time: 1.000000  data: 0.500000',
        'Training Total time: 0:00:04 (0.307692 s / it)',
    ]
    records = [json.loads(line) for line in (tmp_path / 'metrics.json').read_text().splitlines()]
    assert records == [
        {'iteration': 10, 'iter_time': 1.0, 'data_time': 0.5, 'loss': 0.0},
        {'iteration': 12, 'iter_time': 1.0, 'data_time': 0.5, 'loss': 1.0},
    ]


def test_loop_that_does_not_start_at_0_ends_with_the_number_of_its_batches(clock, capsys):
    seen = list(MetricLogger(variant='dinov2').log_every(Loader(clock, 10), 3, 'Resumed', start_iteration=6))
    assert seen == [0, 1, 2, 3]
    assert [line[:15] for line in capsys.readouterr().out.splitlines()] == [
        'Resumed\t[ 6/10]', 'Resumed\t[ 9/10]', 'Resumed Total t',
    ]  # fmt: skip


def test_lines_go_where_they_are_told(clock, caplog):
    logger = MetricLogger(write=logging.getLogger('mine').info, variant='torchvision')
    with caplog.at_level(logging.INFO, 'mine'):
        run(logger, clock, n=1)
    assert [record.getMessage()[:8] for record in caplog.records] == ['\t[0/1]\te', ' Total t']


def test_print_is_looked_up_for_each_line(clock, monkeypatch):
    printed = []
    logger = MetricLogger()
    monkeypatch.setattr('builtins.print', lambda *texts, **_: printed.append(texts))
    run(logger, clock, n=1)
    assert len(printed) == 2


def test_empty_loader_has_its_total_time(clock, capsys):
    assert list(MetricLogger().log_every([], 10, 'Test:')) == []
    assert capsys.readouterr().out == 'Test: Total time: 0:00:00 (0.0000 s / it)\n'


def test_loop_that_is_left_prints_no_total_and_the_next_is_timed_anew(clock, capsys):
    logger = MetricLogger(delimiter='  ')
    for i in logger.log_every(Loader(clock, 5), 1, 'A'):
        clock.now += 7.0
        logger.update(loss=1.0)
        if i == 1:
            break
    run(logger, clock, n=1, header='B')
    assert capsys.readouterr().out.splitlines() == [
        'A  [0/5]  eta: 0:00:37  loss: 1.0000 (1.0000)  time: 7.5000  data: 0.5000',
        'B  [0/1]  eta: 0:00:02  loss: 1.0000 (0.6667)  time: 2.0000  data: 0.5000',
        'B Total time: 0:00:02 (2.0000 s / it)',
    ]
    assert list(logger.message_hub.log_scalars) == ['loss']


def test_one_loop_may_run_inside_of_another(clock, capsys):
    logger = MetricLogger(delimiter='  ')
    for _ in logger.log_every(Loader(clock, 2), 1, 'outer'):
        run(logger, clock, n=1, header='inner')
    lines = [line for line in capsys.readouterr().out.splitlines() if 'outer' in line]
    assert lines == [
        'outer  [0/2]  eta: 0:00:05  loss: 0.0000 (0.0000)  time: 2.5000  data: 0.5000',
        'outer  [1/2]  eta: 0:00:02  loss: 0.0000 (0.0000)  time: 2.5000  data: 0.5000',
        'outer Total time: 0:00:05 (2.5000 s / it)',
    ]


def test_number_of_iterations_must_be_known():
    with pytest.raises(
        rm.ArgumentTypeError,
        match=r'n_iterations must be given for an iterable without len\(\), got generator',
    ):
        next(MetricLogger().log_every((x for x in [1]), 1))


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        ({'print_freq': 0}, rm.ArgumentError, 'print_freq must be at least 1, got 0'),
        ({'print_freq': 1.5}, rm.ArgumentTypeError, 'print_freq must be an int, got 1.5'),
        ({'print_freq': 1, 'n_iterations': 0}, rm.ArgumentError, 'n_iterations must be at least 1, got 0'),
        (
            {'print_freq': 1, 'n_iterations': 'x'},
            rm.ArgumentTypeError,
            "n_iterations must be an int, got 'x'",
        ),
    ],
)
def test_arguments_of_a_loop_are_checked(arguments, error, message):
    with pytest.raises(error, match=message):
        next(MetricLogger().log_every([1], **arguments))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'variant': 'mae'}, "variant must be one of 'torchvision', 'detr', 'dino', 'dinov2', got 'mae'"),
        ({'lines': 'later'}, "lines must be one of 'deferred', 'now', got 'later'"),
    ],
)
def test_arguments_of_a_logger_are_checked(arguments, message):
    with pytest.raises(rm.ArgumentError, match=message):
        MetricLogger(**arguments)


def test_subclass_may_have_a_text_of_its_own(clock, capsys):
    class Short(MetricLogger):
        def __str__(self):
            return ' '.join(f'{name}={meter.value:.1f}' for name, meter in self.meters.items())

    run(Short(delimiter='|'), clock, n=1)
    assert capsys.readouterr().out.splitlines()[0] == '|[0/1]|eta: 0:00:02|loss=0.0|time: 2.0000|data: 0.5000'


# ---- across ranks ----

RANK = """
import os, sys
import torch, torch.distributed as dist
from ringmeter import ArgumentError
from ringmeter.compat import MetricLogger, SmoothedValue
rank, store = int(sys.argv[1]), sys.argv[2]
dist.init_process_group('gloo', init_method=f'file://{store}', rank=rank, world_size=2)
calls, real = [], dist.all_reduce
dist.all_reduce = lambda *a, **k: (calls.append(a), real(*a, **k))[1]
logger = MetricLogger(output_file=sys.argv[3])
names = ['loss', 'acc'] if rank else ['acc', 'loss']
for i in logger.log_every(range(3), 2):
    for name in names:
        logger.meters[name].update(10.0 * rank + i + (name == 'acc'), n=rank + 1)
logger.synchronize_between_processes()
loss, acc = logger.loss, logger.acc
print(len(calls), type(loss.count).__name__, loss.count, loss.total, acc.count, acc.total, loss.deque)
loss.update(1.0)
loss.synchronize_between_processes()
print(len(calls), loss.count, loss.total)
logger.update(**{f'only_{rank}': 1.0})
try:
    logger.synchronize_between_processes()
except ArgumentError as error:
    print(error, loss.count)
many = MetricLogger()
many.update(**{f'class_{i:03}': i for i in range(200 if rank else 3)})
try:
    many.synchronize_between_processes()
except ArgumentError as error:
    print(str(error)[:56], many.class_002.count)
many = MetricLogger()
many.update(**{f'class_{i:03}': i for i in range(200)})
many.synchronize_between_processes()
print(len(calls), [many.meters[f'class_{i:03}'].total for i in (0, 63, 64, 199)])
dist.destroy_process_group()
"""


def test_ranks_add_up_all_meters_in_one_collective(tmp_path):
    ranks = [
        subprocess.Popen(
            [sys.executable, '-c', RANK, str(rank), str(tmp_path / 'store'), str(tmp_path / 'metrics.json')],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
        )
        for rank in range(2)
    ]
    outputs = [
        [line for line in rank.communicate(timeout=120)[0].splitlines() if 'time:' not in line]
        for rank in ranks
    ]
    # Rank 0 has 0, 1, 2 once each; rank 1 has 10, 11, 12, each of which counts twice; acc one more of each.
    assert [rank.returncode for rank in ranks] == [0, 0]
    assert outputs[0] == [
        '1 int 9 69.0 9 78.0 (0.0, 1.0, 2.0)',
        '2 20 140.0',
        'meters must have the same names on every rank, got acc, loss, only_0 here 20',
        'meters must have the same names on every rank, got class 1',
        '8 [0.0, 126.0, 128.0, 398.0]',
    ]
    assert outputs[1] == [
        '1 int 9 69.0 9 78.0 (10.0, 11.0, 12.0)',
        '2 20 140.0',
        'meters must have the same names on every rank, got acc, loss, only_1 here 20',
        'meters must have the same names on every rank, got class 1',
        '8 [0.0, 126.0, 128.0, 398.0]',
    ]
    assert len((tmp_path / 'metrics.json').read_text().splitlines()) == 2  # of rank 0


def test_example_trains(run_example):
    printed = run_example('metric_logger.py', '--epochs', '1', '--device', 'cpu')
    lines = [re.sub(r'[\d.]+', '#', line) for line in printed.splitlines()]
    values = 'eta: #:#:#  lr: #  loss: # (#)  acc#: # (#)  time: #  data: #'
    assert lines[:5] == [
        f'Epoch: [#]  [ #/#]  {values}',
        f'Epoch: [#]  [#/#]  {values}',
        f'Epoch: [#]  [#/#]  {values}',
        f'Epoch: [#]  [#/#]  {values}',
        'Epoch: [#] Total time: #:#:# (# s / it)',
    ]
    assert float(printed.split('Acc@1 ')[1]) > 60.0


def test_names_are_all_there():
    assert all(hasattr(compat, name) for name in compat.__all__)
