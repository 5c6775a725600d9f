"""LoopLogger driven by the events of a trainer that owns its loop."""

from __future__ import annotations

import json
import logging
import math
import re

import pytest

import ringmeter as rm
from ringmeter._loop import Loop
from ringmeter._passes import EvaluationPass, TrainPass, TrialPass

torch = pytest.importorskip('torch')


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by a second whenever it is asked."""
    seconds = iter(range(10_000))
    monkeypatch.setattr('time.perf_counter', lambda: float(next(seconds)))


def train(running, values, **how):
    for value in values:
        running.begin_batch()
        running.record({'train/loss': value})
        running.end_batch(**how)


def values(meter, key):
    return meter.message_hub.get_scalar(key).data[0].tolist()


def test_events_give_the_lines_of_the_generators(written, clock):
    logger, texts = written
    meters = [rm.LoopLogger(max_epochs=2, interval=2, logger=logger) for _ in range(2)]
    for _ in meters[0].epochs():
        for batch in meters[0].train([1.0, 2.0, 3.0, 4.0]):
            meters[0].log(loss=batch)
            if batch == 3.0:
                for each in meters[0].val([0.5, 0.7]):
                    meters[0].log(accuracy=each)
    of_generators, texts[:] = texts[:], []

    meters[1]._start_run(None, epoch=0, iters=0, max_epochs=2, max_iters=8)
    for _ in range(2):
        running = TrainPass(meters[1], Loop('train', 4))
        for batch in [1.0, 2.0, 3.0, 4.0]:
            running.begin_batch()
            meters[1].log(loss=batch)
            if batch == 3.0:
                evaluation = EvaluationPass(meters[1], Loop('val', 2))
                for each in (0.5, 0.7):
                    evaluation.begin_batch()
                    meters[1].log(accuracy=each)
                    evaluation.end_batch()
                evaluation.end()
            running.end_batch()
        running.end()
    assert texts == of_generators
    assert len(texts) == 8
    assert (meters[1].epoch, meters[1].iter) == (2, 8)


def test_evaluation_between_two_iterations_takes_none_of_their_time(written, clock):
    meter = rm.LoopLogger(max_epochs=1, logger=written[0])
    running = TrainPass(meter, Loop('train', 3))
    train(running, [1.0, 2.0])
    evaluation = EvaluationPass(meter, Loop('val', 1))
    evaluation.begin_batch()
    evaluation.end_batch()
    evaluation.close()
    train(running, [3.0])
    assert values(meter, 'train/time') == [2.0, 2.0, 3.0]  # the tick of its beginning is training's
    assert values(meter, 'train/data_time') == [1.0, 1.0, 2.0]
    assert values(meter, 'val/time') == [2.0]


def test_micro_batches_make_one_row_of_their_means(written, clock):
    meter = rm.LoopLogger(max_epochs=1, interval=2, logger=written[0])
    meter._start_run(None, epoch=0, iters=0, max_epochs=1, max_iters=2)
    running = TrainPass(meter, Loop('train', 2))
    running.accumulates = True
    for i, loss in enumerate([1.0, 2.0, 6.0, 4.0, 5.0, 9.0]):
        running.begin_batch()
        running.record({'train/loss': torch.tensor(loss), 'train/acc': {'value': i, 'count': 2}})
        if i == 4:
            meter.log(rare=7)
        running.end_batch(ends_iteration=i % 3 == 2)
    running.end()
    assert values(meter, 'train/loss') == [3.0, 6.0]
    assert values(meter, 'train/rare') == [7.0]
    acc = meter.message_hub.get_scalar('train/acc')
    assert [array.tolist() for array in acc.data] == [[3, 12], [6, 6]]
    # Three times a tick of loading and one of work; loading is all that passes between two batches.
    assert values(meter, 'train/time') == [6.0, 6.0]
    assert values(meter, 'train/data_time') == [3.0, 3.0]
    assert meter.iter == 2
    (text,) = written[1]
    assert re.sub(r'time: [\d.]+', 'time', text) == (
        'Epoch(train) [1][2/2]    eta: 0:00:00  time  data_time  loss: 4.5000  acc: 12  rare: 7.0000'
    )


def test_mean_of_micro_batches_neither_waits_nor_overflows_nor_sees_later_changes():
    from torch.utils._python_dispatch import TorchDispatchMode

    class NoReads(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            assert function is not torch.ops.aten._local_scalar_dense.default
            return function(*args, **(kwargs or {}))

    meter = rm.LoopLogger(max_epochs=1, logger=logging.Logger('quiet'))
    running = TrainPass(meter, Loop('train', 1))
    running.accumulates = True
    half = torch.tensor([60_000.0], dtype=torch.float16, requires_grad=True)
    with NoReads():
        for i in range(4):
            running.begin_batch()
            running.record({'train/loss': half, 'train/hit': torch.tensor(i < 3), 'train/n': i})
            running.end_batch(ends_iteration=False)
    with torch.no_grad():
        half.zero_()
    running.begin_batch()
    running.end_batch()
    assert values(meter, 'train/loss') == [60_000.0]
    assert values(meter, 'train/hit') == [0.75]
    assert values(meter, 'train/n') == [1.5]


def test_micro_batch_with_a_value_that_is_no_number_adds_nothing():
    meter = rm.LoopLogger(max_epochs=1, logger=logging.Logger('quiet'))
    running = TrainPass(meter, Loop('train', 1))
    running.accumulates = True
    running.begin_batch()
    running.record({'train/loss': 1.0})
    for bad in ('x', torch.zeros(2), torch.tensor(1j), None):
        with pytest.raises(rm.ScalarError, match="series 'train/x': value must be one real number"):
            running.record({'train/loss': 5.0, 'train/x': bad})
    for bad in ('x', 1.5, torch.tensor(0.5), None):
        with pytest.raises(rm.ScalarError, match="^series 'train/x': count must be an int, got "):
            running.record({'train/loss': 5.0, 'train/x': {'value': 1.0, 'count': bad}})
    running.end_batch()
    assert values(meter, 'train/loss') == [1.0]
    assert 'train/x' not in meter.message_hub.log_scalars


def test_micro_batches_may_have_tensors_that_cannot_be_added_as_they_are():
    meter = rm.LoopLogger(max_epochs=1, logger=logging.Logger('quiet'))
    running = TrainPass(meter, Loop('train', 1))
    running.accumulates = True
    running.begin_batch()
    for odd in (torch.ones(1).to_sparse(), torch.ones(1)):
        running.record({'train/odd': odd, 'train/count': {'value': 4.0, 'count': torch.tensor(2)}})
    with pytest.raises(rm.ScalarError, match="series 'train/odd': value must be one real number, but Tensor"):
        running.record({'train/odd': torch.empty((), device='meta')})
    running.end_batch()
    assert values(meter, 'train/odd') == [1.0]
    assert [array.tolist() for array in meter.message_hub.get_scalar('train/count').data] == [[8.0], [4]]


def test_lines_count_iterations_when_the_number_of_batches_is_not_known(written):
    logger, texts = written
    meter = rm.LoopLogger(max_epochs=1, interval=2, logger=logger)
    meter._start_run(None, epoch=0, iters=0, max_epochs=None, max_iters=None)
    meter.log_processor.by_epoch = False
    running = TrainPass(meter, Loop('train', None))
    train(running, [1.0, 2.0, 3.0, 4.0])
    running.end()
    evaluation = EvaluationPass(meter, Loop('val', None))
    for accuracy in (0.25, 0.5, 0.75):
        evaluation.begin_batch()
        meter.log(accuracy=accuracy)
        evaluation.end_batch()
    evaluation.end()
    assert [text.split('  ')[0] for text in texts] == [
        'Iter(train) [2]',
        'Iter(train) [4]',
        'Iter(val) [2]',
        'Iter(val) [3/3]',
    ]
    assert 'eta' not in ' '.join(texts)
    assert 'accuracy: 0.5000' in texts[-1]


def test_run_goes_on_inside_of_an_epoch(written):
    logger, texts = written
    meter = rm.LoopLogger(max_epochs=1, interval=2, logger=logger)
    meter._start_run(None, epoch=3, iters=33, max_epochs=4, max_iters=40)
    running = TrainPass(meter, Loop('train', 10), done=3)
    train(running, [1.0, 2.0, 3.0])
    meter.flush()
    assert meter._state_at(meter.iter)['iter'] == 36
    assert [text.split('  ')[0] for text in texts] == ['Epoch(train) [4][ 4/10]', 'Epoch(train) [4][ 6/10]']
    assert meter.message_hub.get_info('iter') == 35


def test_trial_leaves_nothing_behind():
    meter = rm.LoopLogger(max_epochs=1, logger=logging.Logger('quiet'))
    hub = meter.message_hub
    hub.update_scalar('val/known', 1.0)
    hub.update_info('val/table', 'before')
    running = TrialPass(meter, Loop('val', 2))
    for _ in range(2):
        running.begin_batch()
        meter.log(accuracy=0.5)
        hub.update_scalars({'val/known': 2.0, 'val/new': 3.0})
        hub.update_info('val/table', 'after')
        running.end_batch()
    running.end()
    assert {key: buffer.data[0].tolist() for key, buffer in hub.log_scalars.items()} == {'val/known': [1.0]}
    assert hub.get_info('val/table') == 'before'
    hub.update_scalar('val/known', 4.0)
    assert values(meter, 'val/known') == [1.0, 4.0]
    meter.log(loss=1.0)
    assert values(meter, 'train/loss') == [1.0]


class Sink:
    def __init__(self):
        self.records = []

    def add_scalars(self, scalars, step):
        self.records.append((step, scalars))


def test_sinks_get_the_records_with_modes_and_the_steps_of_the_trainer(tmp_path):
    meter = rm.LoopLogger(max_epochs=1, interval=2, logger=logging.Logger('quiet'), work_dir=tmp_path)
    sink = Sink()
    meter._writer.sinks.append(sink)
    running = TrainPass(meter, Loop('train', 2))
    train(running, [1.0, 2.0], step=20)
    evaluation = EvaluationPass(meter, Loop('val', 1), step=20)
    evaluation.begin_batch()
    meter.log(accuracy=0.5)
    evaluation.end_batch()
    evaluation.end()
    assert [(step, sorted(scalars)) for step, scalars in sink.records] == [
        (20, ['train/data_time', 'train/loss', 'train/time']),
        (20, ['val/accuracy', 'val/data_time', 'val/time']),
    ]
    assert sink.records[0][1]['train/loss'] == 1.5
    lines = (tmp_path / 'vis_data' / 'scalars.json').read_text().splitlines()
    assert [json.loads(line)['step'] for line in lines] == [20, 1]  # as mmengine: an epoch's number


def test_sink_that_raises_is_reported_once_and_training_goes_on(written):
    logger, texts = written

    class Broken:
        def add_scalars(self, scalars, step):
            raise OSError(28, 'No space left')

        def __str__(self):
            return 'Board'

    meter = rm.LoopLogger(max_epochs=1, interval=1, logger=logger)
    sink = Sink()
    meter._writer.sinks += [Broken(), sink]
    train(TrainPass(meter, Loop('train', 3)), [1.0, 2.0, 3.0])
    meter.flush()
    failures = [text for text in texts if 'failed' in text]
    assert failures == ["Board failed, its records are lost: OSError(28, 'No space left')"]
    assert [step for step, _ in sink.records] == [1, 2, 3]


def test_process_without_lines_records_all_the_same(written):
    meter = rm.LoopLogger(max_epochs=1, interval=1, logger=written[0])
    meter._is_silent = True
    sink = Sink()
    meter._writer.sinks.append(sink)
    running = TrainPass(meter, Loop('train', 1))
    train(running, [1.0])
    evaluation = EvaluationPass(meter, Loop('val', 1))
    evaluation.begin_batch()
    evaluation.end_batch()
    evaluation.end()
    assert written[1] == []
    assert sink.records == []
    assert values(meter, 'train/loss') == [1.0]


def test_pass_that_stops_in_the_middle_loses_no_line(cuda, stream, written):
    logger, texts = written
    meter = rm.LoopLogger(max_epochs=1, interval=1, logger=logger)
    running = TrainPass(meter, Loop('train', 5))
    cuda.delay(stream, 2000)
    train(running, [cuda.FakeCudaTensor(float(i)) for i in range(3)])
    running.begin_batch()
    running.close()
    meter._flush_lines()
    assert [re.findall(r'loss: ([\d.]+)', text) for text in texts] == [['0.0000'], ['0.5000'], ['1.0000']]
    meter.log(loss=9.0)
    assert values(meter, 'train/loss') == [0.0, 1.0, 2.0, 9.0]


def test_scalars_between_two_iterations_are_no_iteration_of_their_own(cuda, stream):
    meter = rm.LoopLogger(max_epochs=1, logger=logging.Logger('quiet'))
    running = TrainPass(meter, Loop('train', 5))
    for i in range(3):
        meter.log(before=cuda.FakeCudaTensor(float(i)))
        running.begin_batch()
        meter.log(loss=cuda.FakeCudaTensor(float(i)))
        running.end_batch()
        meter.log(behind=cuda.FakeCudaTensor(float(i)))
    assert len(values(meter, 'train/time')) == 3
    assert len(values(meter, 'train/behind')) == 3


def test_nan_stops_a_trainer_that_asked_for_it():
    meter = rm.LoopLogger(max_epochs=1, logger=logging.Logger('quiet'), on_nan='raise')
    running = TrainPass(meter, Loop('train', 2))
    running.begin_batch()
    running.record({'train/loss': math.nan})
    with pytest.raises(rm.NanError, match='iteration 1$'):
        running.end_batch()
        running.end()
