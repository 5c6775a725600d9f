"""Log files of six formats, as the frameworks wrote them, and as they should not be."""

from __future__ import annotations

import json
import math
import os
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ringmeter as rm
from ringmeter import compat
from ringmeter.readers import EmptyLogError, LogFile, LogFileError, Run, Series, _json_table, read
from ringmeter.readers._axes import elapsed, epoch_length
from ringmeter.readers._json_table import JsonTable
from ringmeter.sinks import CSV, read_json_lines

DATA = Path(__file__).with_name('data')


def find(run: Run, mode: str, key: str) -> Series:
    series = run.find(mode, key)
    assert series is not None, [(one.mode, one.key) for one in run.series]
    return series


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


# ---- what the frameworks wrote ----


@pytest.mark.parametrize('name', ['mmengine_scalars.json', 'mmengine.log'])
def test_mmengine_files_give_the_same_curves(name: str) -> None:
    run = read(DATA / name)
    loss, accuracy = find(run, 'train', 'loss'), find(run, 'val', 'accuracy')
    np.testing.assert_allclose(loss.values, [3.1651, 2.9438, 1.9080, 1.0644, 0.5244, 0.3941], atol=6e-5)
    assert loss.axes['iter'].tolist() == [10, 20, 35, 45, 60, 70]
    np.testing.assert_allclose(loss.axes['epoch'], [0.4, 0.8, 1.4, 1.8, 2.4, 2.8])
    np.testing.assert_allclose(accuracy.values, [0.7086, 0.9141, 0.9180], atol=6e-5)
    assert accuracy.axes['iter'].tolist() == [25, 50, 75]
    assert accuracy.axes['epoch'].tolist() == [1, 2, 3]
    assert find(run, 'train', 'grad_norm').values.size == 6
    assert run.notes == []


@pytest.mark.parametrize('name', ['scalars.json', 'ringmeter.log'])
def test_files_of_a_loop_logger_give_the_same_curves(name: str) -> None:
    run = read(DATA / name)
    assert find(run, 'train', 'loss').axes['iter'].tolist() == [10, 20, 35, 45, 60, 70]
    assert find(run, 'val', 'accuracy').axes['iter'].tolist() == [25, 50, 75]
    assert find(run, 'train', 'loss1').values[0] == pytest.approx(2.3301, abs=6e-5)
    assert find(run, 'val', 'time').values.size == 3
    assert run.eta == ('0:00:00' if name == 'ringmeter.log' else None)


def test_trainer_state_has_training_and_evaluation_without_the_summary() -> None:
    run = read(DATA / 'trainer_state.json')
    loss, evaluated = find(run, 'train', 'loss'), find(run, 'val', 'loss')
    assert loss.axes['epoch'].tolist() == [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    assert loss.axes['iter'].tolist() == [5, 10, 15, 20, 25, 30]
    assert evaluated.name == 'eval_loss'
    assert evaluated.axes['iter'].tolist() == [10, 20, 30]
    assert loss.values.size == 6
    assert run.seconds_per_iter == 0.0873 / 30
    assert 'total_flos' not in {series.key for series in run.series}


def test_lightning_csv_counts_epochs_from_1_and_knows_their_length() -> None:
    run = read(DATA / 'metrics.csv')
    step, evaluated = find(run, 'train', 'loss_step'), find(run, 'val', 'loss')
    assert step.axes['iter'].tolist() == [3, 7, 11, 15, 19, 23, 27]
    np.testing.assert_allclose(step.axes['epoch'], [0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 2.8])
    assert evaluated.axes['epoch'].tolist() == [1, 2, 3]
    assert evaluated.values[2] == 0.009033666923642159


def test_detectron2_json_has_evaluations_among_the_records() -> None:
    run = read(DATA / 'metrics.json')
    loss = find(run, 'train', 'total_loss')
    assert loss.axes['iter'].tolist() == list(range(9, 100, 10))
    assert 'epoch' not in loss.axes
    assert find(run, 'val', 'bbox/AP').values.tolist() == [24.9, 29.9]


def test_detectron2_json_has_values_of_training_with_a_slash(tmp_path: Path) -> None:
    records: list[dict[str, float]] = [
        {'fast_rcnn/cls_accuracy': 0.5, 'iteration': n, 'total_loss': 1.0} for n in range(19, 200, 20)
    ]
    records[4]['bbox/AP'] = records[9]['bbox/AP'] = 30.0
    run = read(write(tmp_path / 'metrics.json', ''.join(json.dumps(record) + '\n' for record in records)))
    assert len(find(run, 'train', 'fast_rcnn/cls_accuracy').values) == 10
    assert find(run, 'val', 'bbox/AP').axes['iter'].tolist() == [99, 199]


def test_csv_of_our_sink_has_a_value_a_row(tmp_path: Path) -> None:
    sink = CSV(tmp_path / 'a.csv')
    sink.add_scalars({'train/loss': 0.5, 'train/a, b': 2, 'train/time': 0.25}, 10)
    sink.add_scalars({'val/acc': math.nan}, 20)
    run = read(sink.path)
    loss, acc = find(run, 'train', 'loss'), find(run, 'val', 'acc')
    assert (loss.values.tolist(), loss.axes['iter'].tolist()) == ([0.5], [10])
    assert find(run, 'train', 'a, b').values.tolist() == [2]
    assert (acc.axes['iter'].tolist(), acc.axes['time'].tolist()) == ([20], [2.5])


def test_what_our_own_writers_write_is_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer = compat.JSONWriter(tmp_path / 'metrics.json')
    with compat.EventStorage() as storage:
        for iteration in range(40):
            storage.iter = iteration
            storage.put_scalar('lr', 0.5**iteration, smoothing_hint=False)
            writer.write()
    writer.close()
    assert find(read(tmp_path / 'metrics.json'), 'train', 'lr').values.tolist() == [
        0.5**iteration for iteration in range(40)
    ]
    meter = rm.LoopLogger(max_epochs=2, interval=2, window_size=1, work_dir=tmp_path)
    for _ in meter.epochs():
        for value in meter.train([1.0, math.nan, 3.0, math.inf]):
            meter.log(loss=value)
        for value in meter.val([5.0]):
            meter.log(loss=value)
    capsys.readouterr()
    (text,) = tmp_path.glob('*.log')
    for path in (tmp_path / 'vis_data' / 'scalars.json', text):
        run = read(path)
        np.testing.assert_array_equal(find(run, 'train', 'loss').values, [math.nan, math.inf] * 2)
        assert find(run, 'val', 'loss').values.tolist() == [5.0, 5.0]
        assert find(run, 'val', 'loss').axes['iter'].tolist() == [4, 8]


# ---- text ----

LINE = ' - mmengine - INFO - Epoch(train) [2][10/20]  lr: 1.0000e-02  eta: 1 day, 2:03:04  loss: 0.5000\n'


@pytest.mark.parametrize(
    'date', ['08/21 02:58:41', '2023/08/21 02:58:41', '\x1b[32m08/21 02:58:41\x1b[0m', '08/21 02:58:41,123']
)
def test_text_reads_with_and_without_year_and_colours(tmp_path: Path, date: str) -> None:
    run = read(write(tmp_path / 'a.log', date + LINE))
    loss = find(run, 'train', 'loss')
    assert (loss.values.tolist(), loss.axes['iter'].tolist(), loss.axes['epoch'].tolist()) == (
        [0.5],
        [30],
        [1.5],
    )
    assert run.eta == '1 day, 2:03:04'


def test_text_times_pass_the_end_of_a_year(tmp_path: Path) -> None:
    text = '12/31 23:59:50' + LINE + '01/01 00:00:10' + LINE
    assert find(read(write(tmp_path / 'a.log', text)), 'train', 'loss').axes['time'].tolist() == [0, 20]


def test_text_leaves_out_progress_of_evaluations_and_counts_of_nans(tmp_path: Path) -> None:
    start = '08/21 02:58:41 - x - INFO - '
    text = (
        f'{start}Iter(train) [  10/1000]  loss: nan 2/10  lr: 1e-3\n'
        f'{start}Epoch(val) [1][1/2]  eta: 0:00:01  time: 0.1\n'
        f'{start}Epoch(val) [1][2/2]  eta: 0:00:00  time: 0.1\n'
        f'{start}Epoch(val) [1][2/2]    acc: 0.5  time: 0.2\n'
    )
    run = read(write(tmp_path / 'a.log', text))
    assert math.isnan(find(run, 'train', 'loss').values[0])
    assert find(run, 'val', 'time').values.tolist() == [0.2]
    assert find(run, 'val', 'acc').axes['iter'].tolist() == [10]


# ---- JSON ----

numbers = st.one_of(st.floats(), st.integers(-(2**70), 2**70))
keys = st.text(min_size=1, max_size=8).filter(lambda key: key not in ('iter', 'epoch', 'step', 'iteration'))


@given(
    names=st.lists(keys, min_size=1, max_size=5, unique=True),
    data=st.data(),
    separators=st.sampled_from([(', ', ': '), (',', ':'), (' ,\t', ' :\r ')]),
    ensure_ascii=st.booleans(),
)
def test_rows_of_the_core_are_what_json_reads(
    names: list[str], data: st.DataObject, separators: tuple[str, str], ensure_ascii: bool
) -> None:
    row = st.lists(numbers, min_size=len(names), max_size=len(names))
    rows = data.draw(st.lists(row, min_size=6, max_size=9))
    dumps = json.JSONEncoder(separators=separators, ensure_ascii=ensure_ascii).encode
    lines = [dumps(dict(zip(names, row, strict=True))).encode(errors='surrogatepass') + b'\n' for row in rows]
    table, kinds = JsonTable(), dict.fromkeys(names, True)
    assert table.parse(lines, 0, kinds) is None
    for start in (0, 1):
        records = table.parse(lines, start, kinds)
        assert records is not None
        (part,) = records.parts
        assert (part.names, part.rows.tolist()) == (names, list(range(len(rows) - start)))
        np.testing.assert_array_equal(part.table, np.array(rows, float)[start:])
    records = table.parse([*lines[:5], b'{"other": 1}\n', lines[0]], 0, kinds)
    assert records is not None
    assert records.size == 5


def test_few_lines_of_a_kind_are_taken_one_by_one() -> None:
    """It took 4 times as long where every other record had a list."""
    table, kinds, line, other = JsonTable(), {'a': True}, b'{"a": 1}\n', b'{"a": [1]}\n'
    lines = [line, *4 * [line], other, *5 * [line], other]
    taken = [table.parse(lines, start, kinds) for start in (0, 1, 2, 3, 4, 6)]
    assert taken[:5] == 5 * [None]
    assert taken[5] is not None
    assert taken[5].size == 5


values = st.one_of(numbers, st.none(), st.booleans(), st.text(max_size=5), st.just([1]))
mixed = st.dictionaries(st.sampled_from(['a', 'b', 'val/c', 'epoch', 'step']), values, max_size=4)


@given(
    records=st.lists(mixed, min_size=1, max_size=12),
    position=st.sampled_from(['iter', 'step', 'iteration']),
    ensure_ascii=st.booleans(),
)
def test_records_of_many_kinds_are_read_as_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]], position: str, ensure_ascii: bool
) -> None:
    """Each record comes several times, so that it is read by the core as well."""
    chosen = [record | {position: float(number)} for number, record in enumerate(3 * records)]
    path = tmp_path_factory.mktemp('records') / 'a.json'
    text = ''.join(json.dumps(record, ensure_ascii=ensure_ascii) + '\n' for record in chosen)
    path.write_bytes(text.encode(errors='surrogatepass'))
    runs = []
    for fewest in (1, 5, math.inf):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_json_table, '_FEWEST', fewest)
            try:
                run = read(path)
            except LogFileError as error:
                runs.append(str(error))
            else:
                runs.append(
                    [(one.name, one.mode, one.values.tolist(), as_lists(one.axes)) for one in run.series]
                )
    assert repr(runs[0]) == repr(runs[1]) == repr(runs[2])


def as_lists(axes: dict[str, Any]) -> dict[str, list[float]]:
    return {name: axis.tolist() for name, axis in axes.items()}


@pytest.mark.parametrize('number', ['01', '1.', '-.5', '+1', '1e', '0x10', 'inf', '-NaN'])
def test_rows_that_are_no_json_are_none_of_the_core(number: str) -> None:
    with pytest.raises(ValueError, match='Expecting'):
        json.loads(f'{{"a": {number}}}')
    table = JsonTable()
    lines = [*5 * [b'{"a": 1}\n'], f'{{"a": {number}}}\n'.encode()]
    assert table.parse(lines, 0, {'a': True}) is None
    records = table.parse(lines, 0, {'a': True})
    assert records is not None
    assert records.size == 5


def test_values_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    text = '{"iter": 1, "loss": 1, "note": "a"}\n\n{"iter": 2, "loss": null, "ok": true, "box": [1]}\n'
    run = read(write(tmp_path / 'a.json', text))
    assert [(one.key, one.values.tolist()) for one in run.series] == [('loss', [1.0])]


def test_records_with_a_step_only_are_of_training_if_there_are_no_others(tmp_path: Path) -> None:
    text = ''.join(f'{{"step": {i}, "loss": {i}, "val/loss": {2 * i}}}\n' for i in range(5))
    run = read(write(tmp_path / 'a.json', text))
    assert find(run, 'train', 'loss').axes['iter'].tolist() == [0, 1, 2, 3, 4]
    assert find(run, 'val', 'loss').values.tolist() == [0, 2, 4, 6, 8]


def test_evaluations_by_iteration_are_at_their_step(tmp_path: Path) -> None:
    text = '{"iter": 20, "loss": 1.0, "step": 20}\n{"acc": 0.5, "step": 25}\n'
    assert find(read(write(tmp_path / 'a.json', text)), 'val', 'acc').axes['iter'].tolist() == [25]


def test_epoch_length_is_what_agrees_with_all_rows() -> None:
    epochs = np.array([1.0, 1, 2, 2, 3])
    assert epoch_length(np.array([10.0, 20, 35, 45, 60]), epochs) == 25
    assert epoch_length(np.array([50.0, 100]), np.array([3.0, 5])) == 20
    assert epoch_length(np.array([10.0, 10]), np.array([1.0, 2])) is None
    assert epoch_length(np.array([10.0, 11]), np.array([1.0, 9])) is None
    assert epoch_length(np.array([]), np.array([])) is None


def test_elapsed_goes_on_after_a_resume() -> None:
    iters, seconds = np.array([10.0, 20, 30, 20, 30]), np.full(5, 0.5)
    assert elapsed(iters, seconds).tolist() == [5, 10, 15, 20, 25]
    assert elapsed(np.array([1010.0, 1020]), np.full(2, 0.5)).tolist() == [5, 10]


# ---- bad files ----


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', r'a\.log: the file is empty: expected JSON lines'),
        ('\n \n', r'a\.log: the file is empty'),
        ('hello\nworld\n', r'a\.log: not a log: expected JSON lines'),
        ('a,b\n1,2\n', r'a\.log: not a log'),
        ('{"a": 1}\n', r"a\.log:1: expected a JSON object with 'iter', 'step', 'iteration' or 'log_history', got"),
        ('{"iter": 1, "a"\n{"iter"\n', r"a\.log:1: expected a JSON object, got '\{\"iter\": 1"),
        ('\n{"iter": 1, "a"\n' * 60_000, r"a\.log:2: expected a JSON object"),
        ('{"iter": 1, "a": 2}\n[1]\n', r"a\.log:2: expected a JSON object, got '\[1\]'"),
        ('{"iter": 1, "a": 2}\n{"iteration": 2, "a": 2}\n', r"a\.log:2: expected a JSON object with a number as 'iter' or 'step'"),
        ('{"iter": "x", "a": 2}\n', r"a\.log:1: expected a JSON object with a number as 'iter' or 'step'"),
        ('{"iter": 1, "a": 2}\n08/21 02:58:41' + LINE, r"a\.log:2: expected a JSON object, got '08/21"),
        ('08/21 02:58:41' + LINE + '{"iter": 1, "a": 2}\n', r'a\.log:2: expected a line with .*not JSON'),
        ('{"iter": 1, "a": 1' + '0' * 400 + '}\n', r'a\.log:1: expected .* numbers that a float can hold'),
        ('{"iter": 1, "a": "x"}\n', r'a\.log: no numbers in it'),
        ('{"iter": 1, "a', r'a\.log:1: the first line is cut off'),
        ('epoch,step,loss\n0,1,0.5\n0,2\n', r"a\.log:3: expected a row of the table with 3 cells, got '0,2'"),
        ('epoch,step,loss\n0,1,x\n', r"a\.log:2: expected a row of the table with numbers, 'loss' too"),
        ('epoch,step,loss\n0,,1\n', r"a\.log:2: expected a row of the table with a number as 'step'"),
        ('{\n "a": 1\n}\n', r"a\.log: expected a JSON object with a list 'log_history'"),
        ('{\n "log_history": [{"loss": 1}]}\n', r"a\.log:2: expected .* with a number as 'step'"),
        ('{"log_history": [{"step": 1},\n{"step": 2, "epoch": "x"}]}\n', r"a\.log:2: expected .* numbers that a float can hold, got"),
        ('{"log_history": [{"step": 1, "train_runtime": "x"}]}\n', r"a\.log:1: expected .*, got .*train_runtime"),
        ('{"log_history": [{"step": 1, "loss": 1' + '0' * 400 + '}]}\n', r"a\.log:1: expected .* numbers that a float can hold"),
        ('{"log_history": {"a": 1}}\n', r"a\.log: expected a JSON object with a list 'log_history'"),
        ('21/08 02:58:41' + LINE, r'a\.log: not a log'),
        ('{\n "log_history": [1,\n oops],\n "b": 1}\n', r"a\.log:3: expected a JSON object with a list"),
        ('a\0b\n', r'a\.log:1: not a log, but binary data'),
    ],
)  # fmt: skip
def test_bad_file_names_the_place_and_what_was_expected(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LogFileError, match=message):
        read(write(tmp_path / 'a.log', text))


RECORD = '{"iter": 1, "a": 2.5}'
DAMAGED = '{"lr": 0.1, "lo{"lr": 0.1, "loss": 3.0, "iter": 3, "step": 3}'


@pytest.mark.parametrize(
    ('lines', 'note'),
    [
        ([RECORD, DAMAGED, RECORD], "2: expected a JSON object, got '{}': left out"),
        ([DAMAGED, '', RECORD], "1: expected a JSON object, got '{}': left out"),
        ([RECORD, DAMAGED, DAMAGED[20:]], "2: expected a JSON object, got '{}': left out, as well as line 3"),
        ([RECORD] + 9 * [DAMAGED], "2: expected a JSON object, got '{}': left out, as well as lines 3, 4, 5, 6, 7 and 3 more"),
        ([RECORD, '\0\0\0' + RECORD], '2: expected a JSON object, got \'\\x00\\x00\\x00{{"iter": 1, "a": 2.5}}\': left out'),
        ([RECORD, '{"a": "\udcff"}'], '2: expected a JSON object, got \'{{"a": "\ufffd"}}\': left out'),
    ],
)  # fmt: skip
def test_damaged_lines_of_json_are_left_out_with_one_note(
    tmp_path: Path, lines: list[str], note: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / 'a.json'
    path.write_bytes('\n'.join([*lines, '']).encode(errors='surrogateescape'))
    expected = f'{path}:{note.format(DAMAGED[:57] + "...")}'
    run = read(path)
    assert find(run, 'train', 'a').values.tolist() == [2.5] * lines.count(RECORD)
    assert run.notes == [expected]
    assert read_json_lines(path) == [{'iter': 1, 'a': 2.5}] * lines.count(RECORD)
    assert [record.getMessage() for record in caplog.records] == [expected]


def test_damaged_lines_of_a_growing_file_are_counted_on(tmp_path: Path) -> None:
    path = write(tmp_path / 'a.json', f'{DAMAGED}\n{RECORD}\n')
    file = LogFile(path)
    file.read()
    with path.open('a') as appended:
        appended.write(f'{RECORD}\n{DAMAGED}\n')
    assert file.read().notes[0].endswith(': left out, as well as line 4')
    file.close()


def test_file_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    with pytest.raises(LogFileError, match=r'missing: cannot be read: No such file or directory'):
        read(tmp_path / 'missing')
    with pytest.raises(LogFileError, match=r'is a directory: expected a file, such as vis_data/'):
        read(tmp_path)


@pytest.mark.parametrize(
    'name', ['mmengine_scalars.json', 'mmengine.log', 'metrics.json', 'metrics.csv', 'trainer_state.json']
)
def test_file_that_is_cut_anywhere_reads_up_to_the_cut(tmp_path: Path, name: str) -> None:
    text = (DATA / name).read_text()
    whole = {(one.mode, one.key): one.values for one in read(DATA / name).series}
    for size in range(len(text) * 2 // 5, len(text), 37):
        run = read(write(tmp_path / name, text[:size]))
        for series in run.series:
            expected = whole[series.mode, series.key][: len(series.values)]
            np.testing.assert_array_equal(series.values, expected)
        assert text[size - 1] in '\n}' or len(run.notes) == 1
        assert all(f'{name}:' in note and ('cut off' in note or 'left out' in note) for note in run.notes)


# ---- files that grow ----


def test_text_log_without_lines_yet_is_empty_and_other_text_is_none(tmp_path: Path) -> None:
    with pytest.raises(EmptyLogError, match='not a log'):
        read(write(tmp_path / 'a.log', '2023/08/21 02:58:41 - mmengine - INFO - \n----\nPython: 3.11\n'))
    with pytest.raises(LogFileError, match='not a log') as raised:
        read(write(tmp_path / 'a.log', 'Python: 3.11\n'))
    assert type(raised.value) is LogFileError


def test_growing_file_is_read_on(tmp_path: Path) -> None:
    path = write(tmp_path / 'a.json', '{"iter": 1, "a": 1}\n{"iter": 2, "a')
    file = LogFile(path)
    assert find(file.read(), 'train', 'a').values.tolist() == [1]
    with path.open('a') as appended:
        appended.write('": 2}\n{"iter": 3, "a": 3}\n')
    assert find(file.read(), 'train', 'a').values.tolist() == [1, 2, 3]
    file.close()


@pytest.mark.parametrize('is_new_file', [False, True])
def test_file_that_is_truncated_or_replaced_is_read_anew(tmp_path: Path, is_new_file: bool) -> None:
    path = write(tmp_path / 'a.json', '{"iter": 1, "a": 1}\n{"iter": 2, "a": 2}\n')
    file = LogFile(path)
    file.read()
    if is_new_file:
        path.rename(tmp_path / 'old')
        assert len(find(file.read(), 'train', 'a').values) == 2  # none of its name, for now
    write(path, '')
    with pytest.raises(EmptyLogError, match='the file is empty'):
        file.read()
    write(path, '{"iter": 9, "b": 9}\n')
    assert find(file.read(), 'train', 'b').values.tolist() == [9]
    file.close()


def test_table_that_is_written_anew_for_a_new_column_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path / 'metrics.csv', 'step,loss\n' + ''.join(f'{n},0.5\n' for n in range(9)))
    file = LogFile(path)
    file.read()
    write(path, 'acc,loss,step\n' + ''.join(f',0.5,{n}\n' for n in range(9)) + '0.25,,8\n')
    run = file.read()
    assert len(find(run, 'train', 'loss').values) == 9
    assert find(run, 'train', 'acc').values.tolist() == [0.25]
    file.close()


def test_pipe_is_read_once_and_not_followed(tmp_path: Path) -> None:
    path = tmp_path / 'pipe'
    os.mkfifo(path)
    for follow in (False, True):
        with subprocess.Popen(['sh', '-c', f"echo '{RECORD}' > {path}"]):
            if follow:
                with (
                    closing(LogFile(path)) as file,
                    pytest.raises(LogFileError, match='a pipe, which cannot be followed'),
                ):
                    file.read()
            else:
                assert find(read(path), 'train', 'a').values.tolist() == [2.5]


def test_rewritten_trainer_state_is_read_anew(tmp_path: Path) -> None:
    record = {'log_history': [{'step': 1, 'loss': 2.0}]}
    path = write(tmp_path / 'trainer_state.json', json.dumps(record, indent=2))
    file = LogFile(path)
    assert len(find(file.read(), 'train', 'loss').values) == 1
    record['log_history'].append({'step': 2, 'loss': 1.0})
    write(path, json.dumps(record, indent=2))
    assert find(file.read(), 'train', 'loss').values.tolist() == [2, 1]
    assert find(file.read(), 'train', 'loss').values.tolist() == [2, 1]
    file.close()
