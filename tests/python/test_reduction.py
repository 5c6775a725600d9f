"""Lines of all ranks: four processes under torchrun, which do what is in tests/ranks/reduction.py."""

from __future__ import annotations

import importlib
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import ringmeter as rm
from ringmeter import _core
from ringmeter._core import RankTable
from ringmeter._ranks import Field, Item, Line, Reduction, StepQueue
from ringmeter._ranks._combine import Union
from ringmeter._ranks._payload import pack, unpack_names

pytest.importorskip('torch')
PROGRAMS = Path(__file__).parents[1] / 'ranks'


def run_ranks(script, folder, *arguments):
    """Run a script in four processes, and return what each wrote into the folder."""
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '4']
    done = subprocess.run(
        [*command, str(PROGRAMS / script), str(folder), *arguments],
        env=os.environ | {'OMP_NUM_THREADS': '1', 'GLOO_SOCKET_IFNAME': 'lo'},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {int(file.stem): json.loads(file.read_text()) for file in folder.glob('?.json')}


@pytest.fixture(scope='module')
def ranks(tmp_path_factory):
    return run_ranks('reduction.py', tmp_path_factory.mktemp('ranks'))


# The entries of each rank: as many values as counts.
LOSSES = [[rank + i + 0.25 for i in range(4 + rank)] for rank in range(4)]
COUNTS = [[rank + 1] * (4 + rank) for rank in range(4)]
MEANS = [np.sum(values) / np.sum(counts) for values, counts in zip(LOSSES, COUNTS, strict=True)]
WEIGHTS = [np.sum(counts) for counts in COUNTS]


@pytest.mark.parametrize(
    ('how', 'loss', 'most', 'least', 'time', 'boxes'),
    [
        ('mean', np.average(MEANS, weights=WEIGHTS), 9.25, 1.25, 0.25, 4.5),
        ('sum', np.sum(MEANS), 9.25, 1.25, 0.25, 18),
        ('min', np.min(MEANS), 3.25, 1.25, 0.1, 3),
        ('max', np.max(MEANS), 9.25, 7.25, 0.4, 6),
    ],
)
def test_line_has_the_numbers_of_all_ranks(ranks, how, loss, most, least, time, boxes):
    results = [ranks[rank]['reductions'][how] for rank in range(4)]
    assert all(result == results[0] for result in results)
    tag = results[0]['tag']
    assert tag['loss'] == pytest.approx(loss, rel=1e-14)
    assert (tag['loss_max'], tag['loss_min']) == (most, least)
    assert tag['time'] == pytest.approx(time, rel=1e-14)
    assert (tag['boxes'], tag['lr'], tag['iter']) == (boxes, 0.1, 1)
    shown = f'boxes: {boxes:.4f}' if how == 'mean' else f'boxes: {boxes}  '
    assert shown in results[0]['line']
    assert results[0]['calls'] == 1


def test_mean_of_medians_is_weighted(ranks):
    medians = [np.median(values[-3:]) for values in LOSSES]
    weights = [np.sum(counts[-3:]) for counts in COUNTS]
    expected = np.average(medians, weights=weights)
    assert ranks[2]['reductions']['mean']['tag']['loss_median'] == pytest.approx(expected, rel=1e-14)


def test_default_is_each_ranks_own_without_a_collective(ranks):
    for rank in range(4):
        own = ranks[rank]['reductions']['None']
        assert own['tag']['loss'] == pytest.approx(MEANS[rank], rel=1e-14)
        assert own['calls'] == 0


@pytest.mark.parametrize('keys', [1, 8, 200])
def test_line_takes_one_collective_whatever_the_number_of_keys(ranks, keys):
    for rank in range(4):
        assert ranks[rank]['keys'][str(keys)] == [[1, keys + 0.5 + step / 2] for step in range(3)]


def test_only_many_new_keys_take_one_more(ranks):
    assert [calls for calls, *_ in ranks[0]['new keys']] == [1, 1, 1, 1, 2, 1, 2, 1]
    assert [keys for _, keys, _ in ranks[0]['new keys']] == [4, 4, 7, 7, 107, 107, 407, 407]
    assert all(ranks[rank]['new keys'] == ranks[0]['new keys'] for rank in range(4))
    assert '6_299: 302.0000' in ranks[0]['new keys'][-1][-1]  # which rank 3 alone has


@pytest.mark.parametrize('lines', ['now', 'deferred'])
def test_loop_logger_writes_the_same_lines_on_all_ranks(ranks, lines):
    results = [ranks[rank][lines] for rank in range(4)]
    assert results[2]['lines'] == results[0]['lines']
    own_loader = [re.sub(r'/3\]', '/2]', line).replace('[3/2]', '[2/2]') for line in results[1]['lines']]
    assert own_loader == results[0]['lines']  # the header counts this rank's batches
    assert [len(result['records']) > 0 for result in results] == [True, False, False, False]
    assert results[3]['lines'] == []  # silent, and yet the others have its numbers
    shown = [re.sub(r'eta.*?data_time: .*?\)  |  data_time.*', '', line) for line in results[0]['lines']]
    assert shown == [
        'INFO Epoch(train) [1][2/7]    loss: 2.0000',
        'INFO Epoch(train) [1][4/7]    loss: 4.0000',
        'INFO Epoch(train) [1][6/7]    loss: 6.0000',
        'INFO Epoch(val) [1][2/2]    ',
        'INFO Epoch(val) [1][2/2]    accuracy: 0.8000',
        'INFO Epoch(train) [2][2/7]    loss: 10.5000',
        'INFO Epoch(train) [2][4/7]    loss: 14.0000',
        'INFO Epoch(train) [2][6/7]    loss: 16.0000',
        'INFO Epoch(val) [2][2/2]    ',
        'INFO Epoch(val) [2][2/2]    accuracy: 0.8000',
    ]
    record = json.loads(results[0]['records'][0])
    line = results[0]['lines'][0]
    assert f'time: {record["time"]:.4f} (max {record["time_max"]:.4f} @ r{record["time_max_rank"]})' in line
    assert record['time'] <= record['time_max'] < 10


def test_deferred_collective_comes_two_iterations_later_on_every_rank(ranks):
    # Of seven iterations, of which each has one collective of its own, the second, fourth and sixth have lines.
    assert ranks[0]['now']['counts'][:7] == [1, 3 - 1, 4, 5, 7, 8, 10]
    assert ranks[0]['deferred']['counts'][:7] == [1, 2, 3, 5, 6, 8, 9]
    for rank in range(4):
        for lines in ('now', 'deferred'):
            assert ranks[rank][lines]['counts'] == ranks[0][lines]['counts']
            assert ranks[rank][lines]['all'] == 14 + 10


def test_nans_of_all_ranks_are_counted(ranks):
    odd = ranks[1]['odd']
    assert odd['nan']['line'].endswith('loss: nan 4/20')
    assert odd['one nan']['line'].endswith('loss: nan 1/4')
    assert math.isnan(odd['one nan']['tag']['loss'])
    assert odd['inf']['line'].endswith('loss: inf')


def test_ranks_with_other_keys_get_the_union(ranks):
    for rank in range(4):
        union = ranks[rank]['odd']['union']
        assert list(union['tag']) == ['both', 'only_0_loss', 'only_1_loss', 'epoch', 'iter']
        assert union['tag']['both'] == 1.5
        assert union['tag']['only_0_loss'] == np.average([0 / 1, 2 / 3], weights=[1, 3])
        assert union['tag']['only_1_loss'] == pytest.approx(np.average([1 / 2, 3 / 4], weights=[2, 4]))


def test_strict_is_the_same_error_on_every_rank(ranks):
    for rank in range(4):
        odd = ranks[rank]['odd']
        assert odd['strict'] == {
            'error': 'the line of iteration 5 of train: all ranks must show the same keys, but '
            "'only_0' is not on rank 1, 3; 'only_1' is not on rank 0, 2",
            'calls': 1,
        }
        assert odd['strict and same']['tag']['both'] == 1.5
        assert odd['order']['tag'] == {'b': 6, 'a': 6, 'epoch': 1, 'iter': 1}


def test_slowest_rank_is_named(ranks):
    slowest = ranks[3]['odd']['slowest']
    assert 'time: 0.2500 (max 0.4000 @ r0)  data_time: 0.0100 (max 0.0100 @ r0)' in slowest['line']
    assert (slowest['tag']['time_max'], slowest['tag']['time_max_rank']) == (0.4, 0)


def test_group_reduces_over_its_own_ranks(ranks):
    for rank in (1, 3):
        group = ranks[rank]['odd']['group']
        assert group['tag']['loss'] == pytest.approx(np.average(MEANS[1::2], weights=WEIGHTS[1::2]))
        assert 'time: 0.3000 (max 0.4000 @ r3)' in group['line']
    assert ranks[0]['odd']['group'].startswith('group must be a process group that this rank is in')


def test_odd_windows_and_names(ranks):
    odd = ranks[0]['odd']
    assert odd['no weight']['tag']['loss'] == 2.0
    assert odd['unicode']['tag']['größe loss\n'] == 1.5
    assert odd['empty']['calls'] == 1
    assert odd['by interval']['tag']['loss'] == pytest.approx(np.average(MEANS, weights=WEIGHTS))


def test_rank_that_cannot_make_its_line_takes_part(ranks):
    assert ranks[0]['failing'] == [
        {'x': 3, 'y': 3, 'epoch': 1, 'iter': 1},
        {'x': 4, 'y': 4, 'epoch': 1, 'iter': 1},
    ]
    assert ranks[1]['failing'] == ['no', {'x': 4, 'y': 4, 'epoch': 1, 'iter': 1}]


def test_ranks_at_different_lines_go_on_without_each_other(ranks):
    for rank in range(4):
        result = ranks[rank]['misaligned']
        assert result['lines'] == [[1, 4.0], [1, 1.0], [0, 1.0]]
        (message,) = result['logged']
        here = 'iteration 2 of val' if rank == 2 else 'iteration 2 of train'
        other = (
            'rank 0 is at the line of iteration 2 of train'
            if rank == 2
            else 'rank 2 is at the line of iteration 2 of val'
        )
        assert message == (
            f'ERROR the line of {here}: reducing over 4 ranks failed: {other}. '
            'From here on, lines show the values of this rank alone'
        )


def test_group_is_not_held_when_its_user_ends_it(ranks):
    assert [ranks[rank]['held'] for rank in range(4)] == [False] * 4


# ---- misuse ----


@pytest.fixture(scope='module')
def misused(tmp_path_factory):
    return run_ranks('reduction_misuse.py', tmp_path_factory.mktemp('misuse'))


def test_names_and_numbers_that_fit_into_no_payload(misused):
    for rank in range(4):
        odd = misused[rank]['odd values']
        assert odd['tag'] == {
            "'a\\x00b'": '4.0', "'x'": str(4 * 2**53), "'enormous'": 'inf', "'epoch'": '1', "'iter'": '1'
        }  # fmt: skip
        assert odd['line'] == misused[0]['odd values']['line']


def test_loops_with_one_log_processor_have_their_lines_in_turns(misused):
    # The keys of a line of the one need two collectives while one of the other is under way.
    assert all(misused[rank]['two loops'] == [[1] * 12, [1] * 11] for rank in range(4))


def test_rank_that_cannot_make_a_line_that_waits_takes_part(misused):
    for rank in range(4):
        later = misused[rank]['raises later']
        assert later['raised'] == (['no'] if rank == 1 else [])
        others = [] if rank == 1 else ['9.0000']
        assert later['y'] == ['12.0000'] * 2 + others + ['12.0000'] * 5


def test_state_of_one_rank_takes_no_collective(misused):
    assert misused[0]['state of one']['states'] == [[1, 5], [2, 13]]
    assert all(misused[rank]['state of one']['x'] == ['4.0000'] * 6 for rank in range(4))


def test_rank_that_trains_where_an_exception_is_handled_takes_part(misused):
    # The last line waits until the end of the epoch.
    assert all(misused[rank]['handles an exception'] == ['4.0000'] * 3 for rank in range(4))


def test_lines_begin_in_inference_mode_and_go_on_outside(misused):
    lines = [misused[rank]['evaluates first'] for rank in range(4)]
    assert (
        lines == [['4.0000  data_time: ' + lines[0][0].partition('data_time: ')[2], '4.0000', '4.0000']] * 4
    )


def test_destroyed_group_is_an_error_that_names_the_line(misused):
    for rank in range(4):
        assert misused[rank]['groups that end'] == [[1, 4], [1, 1], [1, 4]]
        (message,) = misused[rank]['logged']
        assert message.startswith('ERROR the line of iteration 1 of train: reducing over 4 ranks failed: ')
        assert 'is not initialized' in message


# ---- faults ----


@pytest.mark.parametrize('fault', ['dies', 'hangs'])
def test_rank_that_does_not_come_is_an_error_that_names_the_line(tmp_path, fault):
    ranks = run_ranks('reduction_faults.py', tmp_path, fault)
    assert sorted(ranks) == [0, 1, 2]
    for result in ranks.values():
        assert result['lines'] == [6.0, result['own'], result['own']]
        assert result['calls'] == [1, 1, 0]
        (message,) = result['logged']
        assert message.startswith('ERROR the line of iteration 2 of train: reducing over 4 ranks failed: ')
        assert result['seconds'] < 60


# ---- mmengine ----


@pytest.fixture(scope='module')
def runners(tmp_path_factory):
    pytest.importorskip('mmengine')
    return run_ranks('reduction_mmengine.py', tmp_path_factory.mktemp('runners'))


@pytest.mark.parametrize('lines', ['now', 'deferred'])
def test_runner_of_mmengine_writes_the_lines_of_all_ranks(runners, lines):
    seen = [runners[rank][lines]['seen'] for rank in range(4)]
    assert all(one == seen[0] for one in seen)
    training = [line for _, _, line in seen[0] if line.startswith('Epoch(train)')]
    # Rank r has the numbers r, r + 4, r + 8 ...: those of iteration i are from 4i - 4 to 4i - 1.
    assert [float(line.rsplit('loss: ', 1)[1]) for line in training] == [13.5, 29.5] * 2
    assert all(calls == 1 for calls, *_ in seen[0])
    log = runners[0][lines]['log']
    assert [log.index(line) for _, _, line in seen[0] if line in log] == sorted(
        log.index(line) for _, _, line in seen[0]
    )
    assert '[2][10/10]    mean: 19.5000' in log


def test_deferred_lines_of_a_runner_come_two_iterations_later(runners):
    iterations = {
        lines: [step for _, step, line in runners[1][lines]['seen'] if line.startswith('Epoch(train)')]
        for lines in ('now', 'deferred')
    }
    assert iterations == {'now': [3, 7, 13, 17], 'deferred': [5, 9, 15, 19]}


# ---- values that do not land ----


@pytest.fixture
def forbid_waits():
    yield lambda: _core.set_waits_allowed(False)  # as in no_sync()
    _core.set_waits_allowed(True)


def test_once_values_did_not_land_in_time_later_ones_are_not_waited_for(cuda, stream, caplog, forbid_waits):
    steps, begun = StepQueue(Reduction('mean')), []
    before = _core.get_wait_timeout()
    rm.set_wait_timeout(0.05)
    cuda.pause(stream)
    rm.HistoryBuffer().update(cuda.FakeCudaTensor(0.0))
    steps.add('line 0', begun.append)
    steps.flush()
    rm.set_wait_timeout(before)
    forbid_waits()
    for number in (1, 2):
        steps.add(f'line {number}', begun.append)
    steps.flush()
    cuda.pause(stream, False)
    cuda.sync(stream)
    steps.add('line 3', begun.append)
    steps.flush()
    assert begun == [False, False, False, True]
    late = 'is left out: its values did not land in time'
    assert caplog.messages == [f'line {number} {late}' for number in range(3)]


def test_line_that_must_not_wait_is_begun_all_the_same(cuda, stream, forbid_waits):
    steps, begun = StepQueue(Reduction('mean')), []
    cuda.pause(stream)
    rm.HistoryBuffer().update(cuda.FakeCudaTensor(0.0))
    steps.add('line', begun.append)
    forbid_waits()
    with pytest.raises(rm.SyncError):
        steps.flush()
    assert begun == [False]  # the other ranks are waiting


# ---- one process ----


def test_end_of_a_forked_process_leaves_lines_to_its_parent(monkeypatch):
    steps, begun = StepQueue(Reduction('mean')), []
    steps.add('line', begun.append)
    monkeypatch.setattr(os, 'getpid', lambda: 0)
    steps.flush_at_exit()
    assert begun == []
    monkeypatch.undo()
    steps.flush_at_exit()
    assert begun == [True]


def test_numbers_of_many_ranks_are_those_of_numpy():
    random = np.random.default_rng(5)
    values, weights = random.normal(size=(300, 5)), random.integers(0, 4, size=(300, 5))
    line, fields = Line('train', 7), {'mean': 'a', 'sum': 'b', 'min': 'c', 'max': 'd', 'first': 'e_time'}
    known, payload = {}, b''
    for rank in range(300):
        numbers = zip(fields, values[rank].tolist(), weights[rank].tolist(), strict=True)
        items = [
            Item(Field(fields[how], how, False), value, weight, rank, 2) for how, value, weight in numbers
        ]
        if not known:
            ((schema, names),) = RankTable(pack(line, items, known), 1).schemas()
            known[schema] = unpack_names(names)
        payload += pack(line, items, known)
    reduced = Union(known).reduce(RankTable(payload, 300), range(1000, 1300))
    assert [reduced[name].value for name in fields.values()] == pytest.approx(
        [
            np.average(values[:, 0], weights=weights[:, 0]),
            math.fsum(values[:, 1]),
            values[:, 2].min(),
            values[:, 3].max(),
            values[0, 4],
        ],
        rel=1e-13,
    )
    assert (reduced['a'].nans, reduced['a'].entries) == (300 * 299 / 2, 600)
    assert (reduced['e_time'].most, reduced['e_time'].slowest) == (
        values[:, 4].max(),
        1000 + values[:, 4].argmax(),
    )


@pytest.mark.parametrize(
    ('received', 'ranks', 'error', 'message'),
    [
        (bytes(95), 2, ValueError, 'received must be as many bytes for each rank'),
        (bytes(96), 0, ValueError, 'received must be as many bytes for each rank'),
        (bytes(94), 2, ValueError, 'rows are too short for a header'),
        (np.zeros(96), 2, TypeError, 'received must be contiguous bytes'),
        (np.zeros(192, dtype=np.uint8)[::2], 2, TypeError, 'received must be contiguous bytes'),
    ],
)
def test_table_refuses_what_is_none(received, ranks, error, message):
    with pytest.raises(error, match=message):
        RankTable(received, ranks)


@pytest.mark.parametrize('entries', [math.nan, math.inf, -1.0, 1e19])
def test_table_refuses_numbers_of_entries_that_are_none(entries):
    item = Item(Field('=a', 'mean', False), 1.0, 1.0, 0, entries)
    table = RankTable(pack(Line('train', 7), [item], {}), 1)
    ((schema, names),) = table.schemas()
    union = Union({schema: unpack_names(names)})
    with pytest.raises(RuntimeError, match='what a rank sent is garbled'):
        union.reduce(table, [0])


@pytest.fixture
def runner():
    meter = rm.LoopLogger(max_epochs=1)
    meter.train_loop = range(25)
    meter.train_loop = type('Loop', (), {'dataloader': range(25)})()
    for i in range(3):
        meter.message_hub.update_scalars({'train/loss': i + 0.5, 'train/boxes': i, 'train/time': 0.5})
    meter.message_hub.update_info('eta', 60.0)
    return meter


@pytest.mark.parametrize('how', ['mean', 'sum', 'min', 'max'])
def test_one_process_shows_its_own(runner, how):
    plain = rm.LogProcessor(nan_counts=True).get_log_after_iter(runner, 2, 'train')
    assert rm.LogProcessor(nan_counts=True, reduce=how).get_log_after_iter(runner, 2, 'train') == plain


@pytest.mark.parametrize('hierarchy', [False, True])
def test_histories_that_are_not_ours_are_reduced(runner, hierarchy):
    theirs = pytest.importorskip('mmengine.logging').HistoryBuffer([math.nan, 1.0, 2.5], [1, 1, 1])
    runner.message_hub.log_scalars['train/theirs_loss'] = theirs
    runner.message_hub.log_scalars['train/theirs'] = theirs
    options = {'window_size': 2, 'log_with_hierarchy': hierarchy}
    tag, line = rm.LogProcessor(**options).get_log_after_iter(runner, 2, 'train')
    assert '  theirs_loss: 1.7500  theirs: 2.5000' in line
    assert rm.LogProcessor(reduce='mean', **options).get_log_after_iter(runner, 2, 'train') == (tag, line)
    whole = rm.LogProcessor(3, nan_counts=True, reduce='mean')
    assert 'theirs_loss: nan ' in whole.get_log_after_iter(runner, 2, 'train')[1]


@pytest.mark.parametrize(
    ('options', 'error', 'message'),
    [
        (
            {'reduce': 'median'},
            rm.ArgumentError,
            "reduce must be None or one of mean, sum, min, max, got 'median'",
        ),
        ({'strict': True}, rm.ArgumentError, 'reduce must be given with strict, slowest_rank or group'),
        ({'slowest_rank': True}, rm.ArgumentError, 'reduce must be given with'),
        ({'reduce': 'mean', 'group': 3}, rm.ArgumentTypeError, 'group must be a process group'),
    ],
)
def test_bad_options_are_refused(options, error, message):
    with pytest.raises(error, match=re.escape(message)):
        rm.LogProcessor(**options)
    with pytest.raises(error, match=re.escape(message)):
        rm.LoopLogger(max_epochs=1, **options)


def test_loop_logger_refuses_to_reduce_beside_a_log_processor():
    with pytest.raises(rm.ArgumentError, match='reduce, strict, .* must be given to the log_processor'):
        rm.LoopLogger(max_epochs=1, log_processor=rm.LogProcessor(), reduce='mean')


def test_nan_counts_of_an_interval_are_those_since_the_last_line(runner):
    processor = rm.LogProcessor('interval', nan_counts=True)
    processor.get_log_after_iter(runner, 2, 'train')
    for value in (math.nan, 1.0):
        runner.message_hub.update_scalar('train/loss', value)
    _, line = processor.get_log_after_iter(runner, 4, 'train')
    assert 'loss: nan 1/2' in line


@pytest.mark.parametrize('framework', ['lightning', 'transformers', 'accelerate'])
def test_integrations_whose_lines_are_rank_zeros_refuse(framework):
    pytest.importorskip(framework)
    module = importlib.import_module(f'ringmeter.integrations.{framework}')
    make = module.RingmeterTracker if framework == 'accelerate' else module.RingmeterCallback
    arguments = ('run',) if framework == 'accelerate' else ()
    with pytest.raises(rm.ArgumentError, match='log_processor must not reduce over ranks with'):
        make(*arguments, log_processor=rm.LogProcessor(reduce='mean'))
