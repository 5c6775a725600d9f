"""Sinks: what the files hold and what the real clients got, with faults, ranks and ends of a process."""

from __future__ import annotations

import csv
import json
import logging
import math
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import ringmeter as rm
from ringmeter import sinks
from ringmeter._rank import _VARIABLES
from ringmeter.readers import LogFileError

IN_ROWS = [
    ({'train/loss': 0.1, 'train/lr': 1e-05}, 10),
    ({'val/accuracy, "top 1"': 3, 'train/loss': math.nan}, 20),
    ({'train/loss': -math.inf, 'train/half': np.float32(0.5), 'note': 'text', 'all': [1, 2]}, 20),
    ({'done': True}, np.int64(21)),
]


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for names in _VARIABLES:
        for name in names:
            monkeypatch.delenv(name, raising=False)


def add_all(sink):
    for scalars, step in IN_ROWS:
        sink.add_scalars(scalars, step)


def train(meter, values=(1.0, 2.0), accuracy=0.5):
    for value in meter.train(values):
        meter.log(loss=value)
    for _ in meter.val([0]):
        meter.log(accuracy=accuracy)


def quiet(sink, **more):
    return rm.LoopLogger(max_epochs=1, interval=1, logger=logging.Logger('quiet'), sinks=[sink], **more)


# ---- files ----


def test_json_lines_are_mmengines(tmp_path):
    backend = pytest.importorskip('mmengine.visualization').LocalVisBackend(str(tmp_path / 'theirs'))
    ours = sinks.JSONLines(tmp_path / 'ours' / 'scalars.json')
    for scalars, step in [
        ({'loss': 0.5, 'lr': 0.1}, 3),
        ({'acc': math.nan, 'step': 7}, 4),
        ({'n': np.int64(3)}, 5),
    ]:
        backend.add_scalars(dict(scalars), step)
        ours.add_scalars(scalars, step)
    theirs = tmp_path / 'theirs' / 'scalars.json'
    assert ours.path.read_text() == theirs.read_text()
    assert [record['step'] for record in sinks.read_json_lines(theirs)] == [3, 7, 5]


def test_json_file_that_was_cut_off_is_read_up_to_the_cut_and_gone_on_with(tmp_path, caplog):
    path = tmp_path / 'scalars.json'
    path.write_text('{"loss": 1.0, "step": 1}\n{"loss": 0.5, "st')
    assert sinks.read_json_lines(path) == [{'loss': 1.0, 'step': 1}]
    warning = f'{path}:2: expected a JSON object, got \'{{"loss": 0.5, "st\': left out'
    assert [record.getMessage() for record in caplog.records] == [warning]
    sink = sinks.JSONLines(path)
    sink.add_scalars({'loss': 0.25}, 2)
    sink.add_scalars({'loss': 0.125}, 3)
    assert [record['step'] for record in sinks.read_json_lines(path)] == [1, 2, 3]
    assert [record.getMessage() for record in caplog.records] == [warning, warning]


@pytest.mark.parametrize('cut', range(1, 60))
def test_any_cut_leaves_whole_records(tmp_path, cut, caplog):
    path = tmp_path / 'scalars.json'
    path.write_text('{"loss_\\u00e4": 1.0, "step": 1}\n{"loss": 0.5, "step": 2}\n'[:cut])
    before = sinks.read_json_lines(path) if cut >= 31 else []
    sinks.JSONLines(path).add_scalars({'loss': 3.0}, 3)
    assert sinks.read_json_lines(path) == [*before, {'loss': 3.0, 'step': 3}]


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('\nstep,name,value\n1,a,2\n', r":2: expected a JSON object, got 'step,name,value'"),
        ('{"a": 1}\n[1]\n', r":2: expected a JSON object, got '\[1\]'"),
        ('{"a": 1}\n2026/11/23 07:43:08 - x - INFO - y\n', ':2: expected a JSON object'),
        ('{"loss": 0.5, "st', ':1: expected a JSON object'),
    ],
)
def test_file_of_something_else_is_no_file_of_json_lines(tmp_path, text, message):
    path = tmp_path / 'a.json'
    path.write_text(text)
    with pytest.raises(LogFileError, match=message):
        sinks.read_json_lines(path)


def test_file_with_nothing_in_it_has_no_records(tmp_path):
    (tmp_path / 'a.json').write_text('\n')
    assert sinks.read_json_lines(tmp_path / 'a.json') == []


def test_csv_has_a_row_a_scalar_and_never_changes_what_it_has(tmp_path):
    path = tmp_path / 'logs' / 'scalars.csv'
    sink = sinks.CSV(path)
    before = ''
    for scalars, step in IN_ROWS:
        sink.add_scalars(scalars, step)
        now = path.read_text()
        assert now.startswith(before)
        before = now
    sinks.CSV(path).add_scalars({'two\nlines': 1.5}, 30)  # a run that goes on
    with path.open(newline='') as file:
        rows = list(csv.reader(file))
    assert rows == [
        ['step', 'name', 'value'],
        ['10', 'train/loss', '0.1'],
        ['10', 'train/lr', '1e-05'],
        ['20', 'val/accuracy, "top 1"', '3'],
        ['20', 'train/loss', 'nan'],
        ['20', 'train/loss', '-inf'],
        ['20', 'train/half', '0.5'],
        ['21', 'done', '1'],
        ['30', 'two lines', '1.5'],
    ]


def test_name_that_is_no_unicode_is_escaped_in_lines_and_files(tmp_path):
    logger = logging.Logger('quiet')
    logger.addHandler(logging.FileHandler(tmp_path / 'a.log', encoding='utf-8'))
    meter = rm.LoopLogger(max_epochs=1, interval=1, logger=logger, sinks=[sinks.CSV(tmp_path / 'a.csv')])
    name = os.fsdecode(b'acc_\xe9')
    for value in meter.train([1.0]):
        meter.log(**{name: value})
    for value in meter.val([0.5]):
        meter.log(**{name: value})
    meter.close()
    logger.handlers[0].close()
    lines = (tmp_path / 'a.log').read_text('utf-8').splitlines()
    assert [r'  acc_\udce9: 1.0000' in lines[0], r'  acc_\udce9: 0.5000' in lines[-1]] == [True, True]
    with (tmp_path / 'a.csv').open(encoding='utf-8', newline='') as file:
        names = [row['name'] for row in csv.DictReader(file)]
    assert {r'train/acc_\udce9', r'val/acc_\udce9', 'train/time'} <= set(names)


def test_csv_is_read_by_pandas(tmp_path):
    pandas = pytest.importorskip('pandas')
    add_all(sinks.CSV(tmp_path / 'scalars.csv'))
    table = pandas.read_csv(tmp_path / 'scalars.csv')
    assert table['value'].dtype == np.float64
    wide = table.pivot_table(values='value', index='step', columns='name')
    assert wide.loc[10, 'train/loss'] == 0.1
    assert wide.loc[20, 'val/accuracy, "top 1"'] == 3


@pytest.mark.parametrize(
    'cut', ['', 'st', 'step,name,value', 'step,name,value\n1,a', 'step,name,value\n1,"a,']
)
def test_row_of_a_csv_that_was_cut_off_does_not_stay(tmp_path, cut):
    path = tmp_path / 'scalars.csv'
    path.write_text(cut)
    sinks.CSV(path).add_scalars({'b': 2.0}, 2)
    assert path.read_text() == 'step,name,value\n2,b,2.0\n'


@pytest.mark.parametrize('text', ['step,loss\n1,0.5\n', 'loss', 'step,name\n'])
def test_csv_with_other_columns_stays_as_it_is(tmp_path, text):
    path = tmp_path / 'metrics.csv'
    path.write_text(text)
    with pytest.raises(
        rm.ArgumentError, match="metrics.csv must have the columns 'step,name,value', or be new"
    ):
        sinks.CSV(path).add_scalars({'a': 1.0}, 1)
    assert path.read_text() == text


@pytest.mark.parametrize('kind', [sinks.CSV, sinks.JSONLines])
def test_line_that_a_full_disk_cut_off_is_mended(tmp_path, kind, monkeypatch):
    sink = kind(tmp_path / 'file')
    sink.add_scalars({'a': 1.0}, 1)
    whole = sink.path.read_text()
    write = os.write
    sizes = [3, 0]

    def fill_up(file, data):
        size = sizes.pop(0)
        if size == 0:
            raise OSError(28, 'full')
        return write(file, data[:size])

    with monkeypatch.context() as patch:
        patch.setattr(os, 'write', fill_up)
        with pytest.raises(OSError, match='full'):
            sink.add_scalars({'b': 2.0}, 2)
    assert len(sink.path.read_text()) == len(whole) + 3
    sink.add_scalars({'c': 3.0}, 3)
    lines = sink.path.read_text().splitlines()
    assert lines[-1] == ('3,c,3.0' if kind is sinks.CSV else '{"c": 3.0, "step": 3}')


@pytest.mark.parametrize('kind', [sinks.CSV, sinks.JSONLines])
def test_threads_that_begin_together_write_whole_lines(tmp_path, kind):
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for attempt in range(20):
            sink = kind(tmp_path / f'file{attempt}')
            begin = threading.Barrier(8)

            def work(number, sink=sink, begin=begin):
                begin.wait()
                for step in range(5):
                    sink.add_scalars({f'{number}/{i}': 1.5 for i in range(300)}, step)

            threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            lines = sink.path.read_text().splitlines()
            if kind is sinks.CSV:
                assert lines.pop(0) == 'step,name,value'
                assert sorted(lines) == sorted(
                    f'{step},{number}/{i},1.5' for step in range(5) for number in range(8) for i in range(300)
                )
            else:
                assert [len(json.loads(line)) for line in lines] == [301] * 40
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize('kind', [sinks.CSV, sinks.JSONLines])
def test_sink_is_lazy_and_checks_what_it_gets(tmp_path, kind):
    with pytest.raises(rm.ArgumentTypeError, match='path must be a str or a path, got 3'):
        kind(3)
    sink = kind(tmp_path / 'folder' / 'file')
    with pytest.raises(rm.ArgumentTypeError, match='scalars must be a mapping of numbers by name, got 0.5'):
        sink.add_scalars(0.5, 1)
    with pytest.raises(rm.ArgumentTypeError, match="step must be an int, got 'x'"):
        sink.add_scalars({}, 'x')
    assert list(tmp_path.iterdir()) == []


# ---- the loop ----


class Board:
    def __init__(self, log=None):
        self.log = [] if log is None else log

    def open(self):
        self.log.append('open')

    def add_scalars(self, scalars, step):
        self.log.append((step, scalars))

    def flush(self):
        self.log.append('flush')

    def close(self):
        self.log.append('close')


def test_loop_opens_writes_flushes_and_closes():
    board = Board()
    meter = quiet(board)
    assert board.log == ['open']
    train(meter)
    meter.close()
    meter.close()
    train(meter)
    assert [entry if isinstance(entry, str) else (entry[0], sorted(entry[1])) for entry in board.log] == [
        'open',
        (1, ['train/data_time', 'train/loss', 'train/time']),
        (2, ['train/data_time', 'train/loss', 'train/time']),
        'flush',
        (2, ['val/accuracy', 'val/data_time', 'val/time']),
        'flush',
        'flush',
        'close',
    ]


def test_meter_that_is_dropped_closes_its_sinks():
    board = Board()
    meter = quiet(board)
    del meter
    assert board.log == ['open', 'close']


def test_sink_that_cannot_open_is_an_error_at_the_start(tmp_path):
    (tmp_path / 'file').write_text('in the way')
    board = Board()
    path = tmp_path / 'file' / 'scalars.csv'
    with pytest.raises(OSError, match='file'):
        rm.LoopLogger(max_epochs=1, sinks=[board, sinks.CSV(path)])
    assert board.log == ['open', 'close']


@pytest.mark.parametrize('wrong', ['csv', 3])
def test_sinks_must_be_a_sequence(wrong):
    with pytest.raises(rm.ArgumentTypeError, match='sinks must be a sequence of sinks, got '):
        rm.LoopLogger(max_epochs=1, sinks=wrong)


@pytest.mark.parametrize('wrong', ['scalars.csv', sinks.CSV, None])
def test_each_sink_must_be_one(wrong):
    board = Board()
    with pytest.raises(
        rm.ArgumentTypeError, match=r'sinks\[1\] must have add_scalars\(scalars, step\), got '
    ):
        rm.LoopLogger(max_epochs=1, sinks=[board, wrong])
    assert board.log == []


@pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')
def test_full_disk_is_reported_once_and_training_goes_on(written):
    logger, texts = written
    board = Board()
    meter = rm.LoopLogger(
        max_epochs=1, interval=1, logger=logger, sinks=[sinks.JSONLines('/dev/full'), board]
    )
    train(meter)
    meter.close()
    assert [text for text in texts if 'failed' in text] == [
        "/dev/full failed, its records are lost: OSError(28, 'No space left on device')"
    ]
    assert [entry[0] for entry in board.log if isinstance(entry, tuple)] == [1, 2, 2]


def test_sink_that_fails_slowly_is_left_alone_for_ten_times_as_long(monkeypatch, written):
    now = [0.0]
    monkeypatch.setattr('ringmeter.sinks._sink_list.time.monotonic', lambda: now[0])
    tries = []

    class Server:
        def add_scalars(self, scalars, step):
            tries.append(step)
            if step < 25:
                now[0] += 1.0
                raise ConnectionError('down')

    meter = rm.LoopLogger(max_epochs=1, logger=written[0], sinks=[Server()])
    for step in range(33):
        meter._writer.sinks.add_scalars({}, step)
        now[0] += 1.0
    assert tries == [0, 10, 20, 30, 31, 32]
    assert [text for text in written[1] if 'failed' in text] == [
        f"{meter._writer.sinks[0]} failed, its records are lost: ConnectionError('down')"
    ]


def test_flush_that_fails_slowly_is_left_alone_and_records_go_on(monkeypatch, written):
    now = [0.0]
    monkeypatch.setattr('ringmeter.sinks._sink_list.time.monotonic', lambda: now[0])

    class Server(Board):
        def flush(self):
            self.log.append('flush')
            now[0] += 1.0
            raise ConnectionError('down')

    server = Server()
    meter = rm.LoopLogger(max_epochs=1, logger=written[0], sinks=[server])
    for step in range(11):
        meter._writer.sinks.add_scalars({}, step)
        meter.flush()
        now[0] += 1.0
    assert [entry[0] for entry in server.log if isinstance(entry, tuple)] == list(range(11))
    assert server.log.count('flush') == 2
    assert sum('failed' in text for text in written[1]) == 1


def test_environment_that_turns_odd_does_not_stop_training(monkeypatch):
    board = Board()
    meter = rm.LoopLogger(max_epochs=1, logger=logging.Logger('quiet'), sinks=[board])
    monkeypatch.setenv('RANK', 'foo')
    train(meter)
    meter.close()
    assert any(isinstance(entry, tuple) for entry in board.log)


def test_other_ranks_open_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv('RANK', '1')
    monkeypatch.setenv('WORLD_SIZE', '2')
    board = Board()
    meter = rm.LoopLogger(
        max_epochs=1,
        logger=logging.Logger('quiet'),
        sinks=[
            board,
            sinks.CSV(tmp_path / 'a.csv'),
            sinks.TensorBoard(tmp_path / 'b'),
            sinks.WandB(),
            sinks.MLflow(),
        ],
    )
    train(meter)
    meter.close()
    assert board.log == []
    assert list(tmp_path.iterdir()) == []


def test_importing_loads_no_client():
    code = """if True:
        import sys, ringmeter.sinks as sinks
        sinks.TensorBoard('x'), sinks.WandB(project='x'), sinks.MLflow()
        print([name for name in ('torch', 'tensorboardX', 'wandb', 'mlflow', 'rich') if name in sys.modules])
    """
    assert subprocess.check_output([sys.executable, '-c', code], text=True) == '[]\n'


@pytest.mark.parametrize(
    ('sink', 'blocked', 'message'),
    [
        (sinks.WandB(), ['wandb'], r"WandB needs wandb: pip install 'ringmeter\[wandb\]'"),
        (sinks.MLflow(), ['mlflow'], r"MLflow needs mlflow: pip install 'ringmeter\[mlflow\]'"),
        (
            sinks.TensorBoard('x'),
            ['torch.utils.tensorboard', 'tensorboardX'],
            r"TensorBoard needs tensorboard: pip install 'ringmeter\[tensorboard\]'",
        ),
    ],
)
def test_client_that_is_missing_is_named(monkeypatch, sink, blocked, message):
    for name in blocked:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=message):
        rm.LoopLogger(max_epochs=1, sinks=[sink])


def test_folder_of_wandbs_runs_is_not_taken_for_the_client(monkeypatch):
    monkeypatch.setitem(sys.modules, 'wandb', ModuleType('wandb'))  # what importing such a folder gives
    with pytest.raises(ImportError, match='WandB needs wandb: '):
        sinks.WandB().open()


# ---- TensorBoard ----


@pytest.fixture(params=['torch.utils.tensorboard', 'tensorboardX'])
def tensorboard(request, monkeypatch):
    """The module whose writer the sink takes."""
    pytest.importorskip('tensorboard')
    module = pytest.importorskip(request.param)
    if request.param == 'tensorboardX':
        monkeypatch.setitem(sys.modules, 'torch.utils.tensorboard', None)
    return module


def events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder)).Reload()
    return {
        tag: [(event.step, event.value) for event in accumulator.Scalars(tag)]
        for tag in accumulator.Tags()['scalars']
    }


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_tensorboard_reads_what_was_added(tensorboard, tmp_path):
    meter = quiet(sinks.TensorBoard(tmp_path))
    assert type(meter._writer.sinks[0]._writer).__module__.startswith(tensorboard.__name__)
    train(meter, values=(1.0, math.nan, math.inf))
    meter.close()
    found = events(tmp_path)
    assert set(found) == {f'{mode}/{name}' for mode in ('train', 'val') for name in ('time', 'data_time')} | {
        'train/loss',
        'val/accuracy',
    }
    assert str(found['train/loss']) == '[(1, 1.0), (2, nan), (3, nan)]'
    assert found['val/accuracy'] == [(3, 0.5)]


@pytest.mark.filterwarnings('ignore::DeprecationWarning')
def test_tensorboard_writer_of_ones_own_stays_open(tensorboard, tmp_path):
    writer = tensorboard.SummaryWriter(str(tmp_path))
    sink = sinks.TensorBoard(writer=writer)
    sink.add_scalars({'a': 1.0}, 1)
    sink.close()
    if tensorboard.__name__ != 'tensorboardX':  # whose flush() leaves its queue alone
        assert events(tmp_path) == {'a': [(1, 1.0)]}
    writer.add_scalar('a', 2.0, 2)
    writer.close()
    assert events(tmp_path) == {'a': [(1, 1.0), (2, 2.0)]}


def test_tensorboard_folder_that_cannot_be_written_is_an_error_at_the_start(tensorboard, tmp_path):
    (tmp_path / 'file').write_text('in the way')
    with pytest.raises(OSError, match='file'):
        rm.LoopLogger(max_epochs=1, sinks=[sinks.TensorBoard(tmp_path / 'file' / 'logs')])


@pytest.mark.parametrize('arguments', [{}, {'log_dir': 'x', 'writer': object()}])
def test_tensorboard_needs_a_folder_or_a_writer(arguments):
    with pytest.raises(
        rm.ArgumentError, match='exactly one of log_dir and writer must be given, got log_dir='
    ):
        sinks.TensorBoard(**arguments)


# ---- Weights & Biases, offline ----


def records_of(folder):
    """Yield the records of an offline run's file, which is a log as LevelDB's, of protobufs."""
    import wandb
    from wandb.proto import wandb_internal_pb2

    wandb.teardown()  # waits for the process that writes
    (path,) = folder.glob('wandb/offline-run-*/*.wandb')
    data, block, position, whole = path.read_bytes(), 32768, 7, b''
    while position + 7 <= len(data):
        if block - position % block < 7:
            position += block - position % block
            continue
        _, size, kind = struct.unpack_from('<IHB', data, position)
        whole += data[position + 7 : position + 7 + size]
        position += 7 + size
        if kind not in (1, 4):  # the first or a middle part of a record
            continue
        record = wandb_internal_pb2.Record()
        record.ParseFromString(whole)
        whole = b''
        yield record


def history_of(folder):
    """Return the rows of an offline run's history, and its x axes."""
    rows, axes = [], {}
    for record in records_of(folder):
        if record.WhichOneof('record_type') == 'history':
            rows.append(
                {
                    '/'.join(item.nested_key) or item.key: json.loads(item.value_json)
                    for item in record.history.item
                }
            )
        elif record.WhichOneof('record_type') == 'metric':
            axes[record.metric.glob_name or record.metric.name] = record.metric.step_metric
    return rows, axes


@pytest.fixture
def wandb(monkeypatch, tmp_path):
    module = pytest.importorskip('wandb')
    monkeypatch.setenv('WANDB_SILENT', 'true')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('WANDB_DIR', str(tmp_path))
    yield module
    module.teardown()


def test_wandb_keeps_every_record_though_steps_go_back(wandb, tmp_path):
    sink = sinks.WandB(project='digits')
    meter = quiet(sink)
    assert wandb.run.project == 'digits'
    train(meter, values=(1.0, math.nan))
    sink.add_scalars({'train/loss': math.inf}, 1)  # of a run that was taken back
    meter.close()
    assert wandb.run is None
    rows, axes = history_of(tmp_path)
    assert axes | {'train/*': 'global_step', 'val/*': 'global_step', 'test/*': 'global_step'} == axes
    shown = [(row['global_step'], row.get('train/loss'), row.get('val/accuracy')) for row in rows]
    assert str(shown) == str([(1, 1, None), (2, math.nan, None), (2, None, 0.5), (1, math.inf, None)])
    assert [row['_step'] for row in rows] == [0, 1, 2, 3]


def test_wandb_run_that_others_started_goes_on(wandb, tmp_path):
    run = wandb.init(project='mine')
    run.log({'own': 1.0}, step=100)
    sink = sinks.WandB()
    sink.add_scalars({'train/loss': 0.5}, 1)
    sink.close()
    assert wandb.run is run
    sinks.WandB(run).add_scalars({'train/loss': 0.25}, 2)
    run.finish()
    rows, _ = history_of(tmp_path)
    assert [row['train/loss'] for row in rows if 'train/loss' in row] == [0.5, 0.25]


def test_wandb_run_that_a_later_sink_took_goes_on(wandb, tmp_path):
    meter = quiet(sinks.WandB())
    train(meter, values=(1.0,))
    meter = quiet(sinks.WandB())  # a notebook's cell, once more: the one before is closed behind this
    train(meter, values=(2.0,))
    meter.close()
    assert wandb.run is None
    rows, _ = history_of(tmp_path)
    assert [row['train/loss'] for row in rows if 'train/loss' in row] == [1.0, 2.0]


def test_wandb_that_is_switched_off_is_no_fault(wandb, monkeypatch, tmp_path):
    monkeypatch.setenv('WANDB_MODE', 'disabled')
    logger = logging.Logger('strict')
    meter = rm.LoopLogger(max_epochs=1, interval=1, logger=logger, sinks=[sinks.WandB()])
    train(meter)
    assert meter._writer.sinks._failed == []
    meter.close()
    assert not list(tmp_path.glob('wandb/*run*'))


@pytest.mark.parametrize(('end', 'code'), [('', 0), ('sys.exit(3)', 3), ('1 / 0', 1)])
def test_wandb_tells_a_process_that_failed(wandb, tmp_path, end, code):
    lines = f"""
import sys, ringmeter as rm, ringmeter.sinks
meter = rm.LoopLogger(max_epochs=1, interval=1, sinks=[rm.sinks.WandB()])
for value in meter.train([1.0, 2.0]):
    meter.log(loss=value)
{end}
"""
    subprocess.run([sys.executable, '-c', lines], check=False, capture_output=True, timeout=120)
    ends = [record.exit for record in records_of(tmp_path) if record.WhichOneof('record_type') == 'exit']
    assert [end.exit_code for end in ends] == [code]


def test_wandb_takes_a_run_or_arguments():
    with pytest.raises(rm.ArgumentError, match='run must not be given together with arguments of wandb.init'):
        sinks.WandB(object(), project='x')


# ---- MLflow, with files ----


@pytest.fixture
def mlflow(monkeypatch, tmp_path):
    module = pytest.importorskip('mlflow')
    monkeypatch.setenv('MLFLOW_ALLOW_FILE_STORE', 'true')
    monkeypatch.setenv('MLFLOW_TRACKING_URI', (tmp_path / 'runs').as_uri())
    monkeypatch.setenv('MLFLOW_ASYNC_LOGGING_THREADPOOL_SIZE', '1')  # two disturb each other in a file
    yield module
    module.end_run()
    module.config.enable_async_logging(False)


def metric(mlflow, run_id, name):
    entries = mlflow.MlflowClient().get_metric_history(run_id, name)
    return sorted(((entry.step, entry.value) for entry in entries), key=lambda entry: entry[0])


@pytest.mark.parametrize('in_background', [False, True])
def test_mlflow_has_what_was_logged(mlflow, in_background):
    mlflow.config.enable_async_logging(in_background)
    meter = quiet(sinks.MLflow(run_name='digits'))
    run = mlflow.active_run()
    train(meter, values=(1.0, math.nan, math.inf))
    meter.close()
    assert mlflow.active_run() is None
    ended = mlflow.get_run(run.info.run_id)
    assert (ended.info.run_name, ended.info.status) == ('digits', 'FINISHED')
    assert str(metric(mlflow, run.info.run_id, 'train/loss')) == '[(1, 1.0), (2, nan), (3, nan)]'
    assert metric(mlflow, run.info.run_id, 'val/accuracy') == [(3, 0.5)]


def test_mlflow_record_asks_the_store_for_nothing(mlflow, monkeypatch):
    def get_run(store, run_id):  # reads the files that a thread of MLflow is perhaps writing
        raise ValueError("Metric 'train/loss' is malformed. No data found.")

    sink = sinks.MLflow()
    sink.open()
    monkeypatch.setattr('mlflow.store.tracking.file_store.FileStore.get_run', get_run)
    sink.add_scalars({'train/loss': 0.5}, 1)
    sink.close()


def test_mlflow_tells_of_any_record_that_is_lost_in_the_background(mlflow, monkeypatch):
    stored = []

    def log_batch(store, run_id, metrics, params, tags):
        stored.extend(metric.step for metric in metrics)
        if stored == [1]:
            raise OSError('full')

    monkeypatch.setattr('mlflow.store.tracking.file_store.FileStore.log_batch', log_batch)
    mlflow.config.enable_async_logging()
    sink = sinks.MLflow()
    sink.add_scalars({'a': 1.0}, 1)
    sink.add_scalars({'a': 2.0}, 2)
    with pytest.raises(mlflow.exceptions.MlflowException, match='full'):
        sink.flush()
    for step in range(3, 1200):  # more than may wait
        sink.add_scalars({'a': 3.0}, step)
    assert len(sink._pending) == 1024
    sink.close()
    assert stored == list(range(1, 1200))


def test_mlflow_run_that_others_started_goes_on(mlflow):
    run = mlflow.start_run()
    sink = sinks.MLflow()
    sink.add_scalars({'train/loss': 0.5}, 1)
    sink.close()
    assert mlflow.active_run().info.run_id == run.info.run_id
    mlflow.end_run()
    sinks.MLflow(run.info.run_id).add_scalars({'train/loss': 0.25}, 2)
    assert metric(mlflow, run.info.run_id, 'train/loss') == [(1, 0.5), (2, 0.25)]


def test_mlflow_run_that_is_not_there_is_an_error_when_the_loop_is_made(mlflow):
    with pytest.raises(mlflow.exceptions.MlflowException, match=f'Run .*{"a" * 32}.* not found'):
        rm.LoopLogger(max_epochs=1, sinks=[sinks.MLflow('a' * 32)])


@pytest.mark.parametrize(
    ('name', 'allowed'),
    [
        ('val/acc@1 (top)', 'val/acc_1 _top_'),
        ('train/50%', 'train/50_'),
        ('/train//loss/', 'train/loss'),
        ('val/../loss', 'val/_/loss'),
        ('..', '_'),
        ('a:b-c.d_e f', 'a:b-c.d_e f'),
        ('x' * 300, 'x' * 250),
        ('/', '_'),
    ],
)
def test_names_that_mlflow_refuses_are_mapped(mlflow, name, allowed):
    sink = sinks.MLflow()
    sink.add_scalars({name: 1.0}, 1)
    assert metric(mlflow, mlflow.active_run().info.run_id, allowed) == [(1, 1.0)]
    sink.close()


def test_mlflow_takes_a_run_or_arguments():
    with pytest.raises(
        rm.ArgumentError, match='run_id must not be given together with arguments of mlflow.start_run'
    ):
        sinks.MLflow('1', run_name='x')


# ---- the end of a process ----


def test_forked_child_that_ends_leaves_the_sinks_of_its_parent_open():
    code = """if True:
        import os, sys, logging, ringmeter as rm
        class Board:
            def add_scalars(self, scalars, step): pass
            def close(self): print('closed by the', 'child' if os.getpid() != parent else 'parent', flush=True)
        parent = os.getpid()
        meter = rm.LoopLogger(max_epochs=1, logger=logging.Logger('quiet'), sinks=[Board()])
        child = os.fork()
        if child:
            os.waitpid(child, 0)
    """
    assert subprocess.check_output([sys.executable, '-c', code], text=True) == 'closed by the parent\n'


def test_process_that_ends_loses_nothing_and_ends_the_runs_it_started(tmp_path, wandb, mlflow):
    pytest.importorskip('torch.utils.tensorboard')
    code = f"""if True:
        import ringmeter as rm
        from ringmeter import sinks
        meter = rm.LoopLogger(max_epochs=1, interval=1, sinks=[
            sinks.TensorBoard({str(tmp_path / 'events')!r}), sinks.WandB(), sinks.MLflow()])
        for value in meter.train([1.0, 2.0]):
            meter.log(loss=value)
        print('end')
        raise SystemExit(0)
    """
    done = subprocess.run(
        [sys.executable, '-c', code], check=True, capture_output=True, text=True, timeout=120
    )
    assert 'failed' not in done.stdout + done.stderr
    assert events(tmp_path / 'events')['train/loss'] == [(1, 1.0), (2, 1.5)]
    assert [row['train/loss'] for row in history_of(tmp_path)[0]] == [1.0, 1.5]
    (run,) = mlflow.search_runs(output_format='list')
    assert (run.info.status, run.data.metrics['train/loss']) == ('FINISHED', 1.5)


def test_debug_log_names_the_sinks(tmp_path, caplog):
    caplog.set_level(logging.DEBUG, 'ringmeter')
    quiet(sinks.CSV(tmp_path / 'a.csv')).close()
    assert f'Get sink `CSV` from {tmp_path / "a.csv"}' in caplog.text
