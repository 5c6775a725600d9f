"""get_logger: lines, files, ranks, repeated warnings, faults; and what debug logs tell."""

from __future__ import annotations

import gc
import logging
import logging.handlers
import os
import re
import signal
import subprocess
import sys
import threading
from collections import OrderedDict
from functools import partial
from pathlib import Path

import pytest

import ringmeter as rm
from ringmeter import _choices
from ringmeter._loggers import _library
from ringmeter._loggers._repeats import RepeatedWarnings
from ringmeter._rank import _VARIABLES

CONSOLE = r'\d\d/\d\d \d\d:\d\d:\d\d'
FILE = r'\d{4}/\d\d/\d\d \d\d:\d\d:\d\d'


@pytest.fixture(autouse=True)
def _alone(monkeypatch):
    for names in _VARIABLES:
        for name in names:
            monkeypatch.delenv(name, raising=False)
    for name in ('FORCE_COLOR', 'NO_COLOR'):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def new(request):
    """Names of loggers that nobody has had; they are taken down afterwards."""
    names = []

    def name(base='log'):
        names.append(f'{request.node.name}.{len(names)}.{base}'.replace('.', '_'))
        return names[-1]

    yield name
    for logger in (
        value
        for key, value in logging.Logger.manager.loggerDict.items()
        if isinstance(value, logging.Logger) and any(key.startswith(each) for each in names)
    ):
        _library.leave_library(logger)
        for handler in logger.handlers[:]:
            logger.removeHandler(handler)
            handler.close()


def as_rank(monkeypatch, rank, size=64):
    monkeypatch.setenv('RANK', str(rank))
    monkeypatch.setenv('WORLD_SIZE', str(size))


def lines(path):
    return Path(path).read_text().splitlines()


# ---- lines ----


def test_lines_have_the_month_on_the_console_and_the_year_in_the_file(tmp_path, capsys, new):
    name = new()
    logger = rm.get_logger(name, tmp_path / 'new' / 'exp.log')
    assert logger is logging.getLogger(name)
    logger.info('loss %.1f', 0.5)
    logger.debug('not shown')
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(f'{CONSOLE} - {name} - INFO - loss 0.5', line)
    (line,) = lines(tmp_path / 'new' / 'exp.log')
    assert re.fullmatch(f'{FILE} - {name} - INFO - loss 0.5', line)


@pytest.mark.parametrize('color', [False, True])
@pytest.mark.parametrize('level', [logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR])
def test_lines_are_mmengines(monkeypatch, new, color, level):
    mmengine = pytest.importorskip('mmengine.logging.logger')
    if color:
        monkeypatch.setenv('FORCE_COLOR', '1')
        # termcolor looks at that too, but once a process.
        monkeypatch.setattr(mmengine, 'colored', partial(mmengine.colored, force_color=True))
    logger = rm.get_logger(new(), log_level='DEBUG')
    record = logger.makeRecord('net', level, '/src/train.py', 7, 'loss: %s', (1,), None, 'step')
    theirs = mmengine.MMFormatter(color=color, datefmt='%m/%d %H:%M:%S').format(record)
    assert logger.handlers[0].format(record) == theirs
    assert ('\033' in theirs) == color


@pytest.mark.parametrize(
    ('is_terminal', 'variables', 'expected'),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {'NO_COLOR': '1'}, False),
        (True, {'TERM': 'dumb'}, False),
        (False, {'FORCE_COLOR': '1'}, True),
    ],
)
def test_level_has_a_colour_on_terminals_only(
    tmp_path, monkeypatch, capsys, new, is_terminal, variables, expected
):
    monkeypatch.setenv('TERM', 'xterm')
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    logger = rm.get_logger(new(), tmp_path / 'exp.log')
    monkeypatch.setattr(sys.stdout, 'isatty', lambda: is_terminal, raising=False)
    logger.critical('stop')
    assert ('\033[31mCRITICAL\033[0m' in capsys.readouterr().out) == expected
    assert '\033' not in (tmp_path / 'exp.log').read_text()


def test_process_without_an_output_has_the_lines_in_the_file_alone(tmp_path, monkeypatch, capsys, new):
    logger = rm.get_logger(new(), tmp_path / 'exp.log')
    with monkeypatch.context() as patch:
        patch.setattr(sys, 'stdout', None)
        logger.info('line')
    assert capsys.readouterr().err == ''
    assert len(lines(tmp_path / 'exp.log')) == 1


@pytest.mark.parametrize(
    ('level', 'expected'), [('warn', 30), ('Debug', 10), (7, 7), (logging.ERROR, 40), ('Notice', 25), (0, 1)]
)
def test_level_is_a_name_or_number_of_logging(monkeypatch, new, level, expected):
    monkeypatch.setitem(logging._nameToLevel, 'Notice', 25)  # what addLevelName does, and cannot undo
    assert rm.get_logger(new(), log_level=level).level == expected


# ---- the same logger again, children, others ----


def test_logger_that_is_there_gets_no_second_handler_but_a_new_file(tmp_path, capsys, new):
    name = new()
    logger = rm.get_logger(name, tmp_path / 'a.log')
    assert rm.get_logger(name) is logger
    assert rm.get_logger(name, tmp_path / 'a.log') is logger
    logger.info('once')
    rm.get_logger(name, tmp_path / 'b.log')
    logger.info('twice')
    assert [line.split(' - ')[-1] for line in capsys.readouterr().out.splitlines()] == ['once', 'twice']
    assert [line.split(' - ')[-1] for line in lines(tmp_path / 'a.log')] == ['once', 'twice']
    assert [line.split(' - ')[-1] for line in lines(tmp_path / 'b.log')] == ['twice']


def test_children_write_through_it_once(tmp_path, capsys, new):
    name = new()
    rm.get_logger(name, tmp_path / 'a.log')
    child = rm.get_logger(f'{name}.data', tmp_path / 'data.log')
    logging.getLogger(f'{name}.net').info('from net')
    child.info('from data')
    out = capsys.readouterr().out.splitlines()
    assert [line.split(' - ', 1)[1] for line in out] == [
        f'{name}.net - INFO - from net',
        f'{name}.data - INFO - from data',
    ]
    assert len(lines(tmp_path / 'a.log')) == 2
    assert [line.split(' - ')[-1] for line in lines(tmp_path / 'data.log')] == ['from data']


def test_child_that_was_set_up_first_writes_alone(tmp_path, capsys, new):
    name = new()
    child = rm.get_logger(f'{name}.data')
    rm.get_logger(name, tmp_path / 'a.log')
    child.info('once')
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert lines(tmp_path / 'a.log') == []


def test_levels_that_others_have_set_stay(tmp_path, written, new):
    name = new()
    logging.getLogger(name).addHandler(written[0].handlers[0])
    logger = rm.get_logger(name)
    logger.debug('not asked for')
    logger.info('line')
    assert written[1] == ['line']
    logger.setLevel('ERROR')
    rm.get_logger(name).info('not any more')
    child = logging.getLogger(f'{name}.data')
    assert rm.get_logger(child.name).level == logging.NOTSET
    assert written[1] == ['line']
    logger.setLevel('DEBUG')
    rm.get_logger(name, tmp_path / 'exp.log').debug('still asked for')
    assert written[1] == ['line', 'still asked for']
    assert lines(tmp_path / 'exp.log') == []


def test_root_logger_gets_nothing(capsys, new, caplog):
    rm.get_logger(new()).warning('once')
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert caplog.records == []


def test_loggers_of_one_file_do_not_overwrite_each_other(tmp_path, new):
    first, second = new('first'), new('second')
    rm.get_logger(first, tmp_path / 'exp.log').info('a')
    rm.get_logger(second, tmp_path / 'exp.log').info('b')
    logging.getLogger(first).info('c')
    assert [line.split(' - ')[-1] for line in lines(tmp_path / 'exp.log')] == ['a', 'b', 'c']


@pytest.mark.parametrize('other', ['sub/../exp.log', 'link.log'])
def test_loggers_share_a_file_however_its_path_is_written(tmp_path, new, other):
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'link.log').symlink_to('exp.log')
    first, second = (rm.get_logger(new(), tmp_path / path) for path in ('exp.log', other))
    first.info('a')
    second.info('b')
    assert [line.split(' - ')[-1] for line in lines(tmp_path / 'exp.log')] == ['a', 'b']


def test_file_mode_says_what_becomes_of_an_older_file(tmp_path, new):
    path = tmp_path / 'exp.log'
    path.write_text('old\n')
    rm.get_logger(new(), path, file_mode='a').info('new')
    assert [line.split(' - ')[-1] for line in lines(path)] == ['old', 'new']
    other = tmp_path / 'other.log'
    other.write_text('old\n')
    rm.get_logger(new(), other).info('new')
    assert [line.split(' - ')[-1] for line in lines(other)] == ['new']
    third = tmp_path / 'third.log'
    third.write_text('old\n')
    rotates = {'type': 'RotatingFileHandler', 'maxBytes': 1000}
    for config in (None, rotates):
        with pytest.raises(FileExistsError, match='the log file cannot be written: .*third.log'):
            rm.get_logger(new(), third, file_mode='x', file_handler=config)
    rm.get_logger(new(), third, file_handler=rotates).info('new')
    assert [line.split(' - ')[-1] for line in lines(third)] == ['old', 'new']


@pytest.mark.parametrize('mode', ['w', 'a', 'x'])
def test_file_that_is_cut_or_moved_or_closed_by_others_keeps_its_lines(tmp_path, new, mode):
    path = tmp_path / 'exp.log'
    logger = rm.get_logger(new(), path, file_mode=mode, file_handler={'type': 'WatchedFileHandler'})
    logger.info('a')
    path.rename(tmp_path / 'exp.log.1')
    path.touch()
    logger.info('b')
    assert len(lines(tmp_path / 'exp.log.1')) == 1
    path.write_text('')  # as copytruncate of logrotate does
    logger.info('c')
    logger.handlers[0].close()  # as dictConfig does with all handlers
    logger.info('d')
    assert [line.split(' - ')[-1] for line in lines(path)] == ['c', 'd']
    assert path.read_text().startswith('20')


def test_file_has_lines_after_somebody_has_configured_logging(tmp_path):
    code = """if True:
        import logging.config, sys, ringmeter as rm
        logger = rm.get_logger('train', sys.argv[1])
        logger.info('before')
        logging.config.dictConfig({'version': 1, 'disable_existing_loggers': False})
        logger.info('behind')
    """
    subprocess.run([sys.executable, '-c', code, tmp_path / 'exp.log'], check=True, stdout=subprocess.DEVNULL)
    assert [line.split(' - ')[-1] for line in lines(tmp_path / 'exp.log')] == ['before', 'behind']


# ---- ranks ----


def test_ranks_but_the_first_print_errors_and_write_nothing(tmp_path, capsys, monkeypatch, new):
    as_rank(monkeypatch, 5)
    logger = rm.get_logger(new(), tmp_path / 'exp.log')
    logger.warning('quiet')
    logger.error('loud')
    assert not logger.isEnabledFor(logging.WARNING)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith(' - loud')
    assert list(tmp_path.iterdir()) == []
    for critical in (
        rm.get_logger(new(), log_level='CRITICAL'),
        rm.LoopLogger(max_epochs=1, log_level='CRITICAL').logger,
    ):
        critical.error('not asked for')
    assert capsys.readouterr().out == ''


@pytest.mark.parametrize('arguments', [{'log_level': 'DEBUG'}, {'all_ranks': True}])
def test_each_rank_has_a_file_beside_that_of_the_first(tmp_path, capsys, monkeypatch, new, arguments):
    names = {0: 'tmp.log', 1: 'tmp_rank1.log', 56: 'tmp_rank56.log', 63: 'tmp_rank63.log'}
    for rank in names:
        as_rank(monkeypatch, rank)
        rm.get_logger(new(), tmp_path / 'tmp' / 'tmp.log', **arguments).info('rank %d', rank)
    assert {path.name for path in (tmp_path / 'tmp').iterdir()} == set(names.values())
    for rank, name in names.items():
        own = [line.split(' - ')[-1] for line in lines(tmp_path / 'tmp' / name) if ' - INFO - ' in line]
        assert own == [f'rank {rank}']
    out = capsys.readouterr().out
    assert re.findall(r'INFO - (.*)', out) == ['rank 0']


def test_rank_that_is_not_a_number_is_one_error_and_no_file(tmp_path, monkeypatch, new):
    monkeypatch.setenv('SLURM_PROCID', 'first')
    name = new()
    with pytest.raises(rm.ArgumentError, match="environment variable SLURM_PROCID must be an int .* 'first'"):
        rm.get_logger(name, tmp_path / 'exp.log')
    assert list(tmp_path.iterdir()) == []
    assert logging.getLogger(name).handlers == []


# ---- repeated warnings ----


def test_warning_is_shown_once_and_other_lines_as_often_as_they_come(capsys, new):
    logger = rm.get_logger(new())
    for number in (1, 1, 2):
        logger.warning('slow loader %d', number)
        logger.info('line')
    texts = [line.split(' - ')[-1] for line in capsys.readouterr().out.splitlines()]
    assert texts == ['slow loader 1', 'line', 'line', 'slow loader 2', 'line']


def test_memory_of_warnings_is_bounded_and_forgets_the_oldest():
    repeats = RepeatedWarnings(logging.Handler())
    logger = logging.Logger('x')

    def passes(text):
        return repeats.filter(logger.makeRecord('x', logging.WARNING, '', 0, text, (), None))

    assert [passes('first'), passes('often'), passes('first')] == [True, True, False]
    for number in range(5000):
        assert passes(f'other {number}')
        assert not passes('often')
    assert len(repeats._seen) == 1024
    assert passes('first')
    assert not passes('other 4999')


def test_warning_with_arguments_that_do_not_fit_does_not_stop_who_logs(capsys, new, monkeypatch):
    monkeypatch.setattr(logging, 'raiseExceptions', False)
    rm.get_logger(new()).warning('%d', 'x')
    assert capsys.readouterr().out == ''


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
@pytest.mark.filterwarnings('ignore:.*multi-threaded.*fork:DeprecationWarning')
def test_repeated_warning_of_a_forked_child_waits_for_no_thread_of_its_parent(new):
    logger = rm.get_logger(new())
    in_filter, forked = threading.Event(), threading.Event()

    class Slow(OrderedDict):
        def move_to_end(self, *arguments):
            in_filter.set()
            forked.wait(30)
            super().move_to_end(*arguments)

    logger.handlers[0].filters[0]._seen = Slow()
    thread = threading.Thread(target=logger.warning, args=('from the parent',))
    thread.start()
    assert in_filter.wait(30)
    child = os.fork()
    if child == 0:
        signal.alarm(10)  # ends it
        forked.set()
        logger.warning('from the child')
        os._exit(0)
    forked.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


# ---- kinds of files ----


def test_file_rotates_when_it_is_configured(tmp_path, new):
    config = {'type': 'RotatingFileHandler', 'maxBytes': 300, 'backupCount': 2}
    logger = rm.get_logger(new(), tmp_path / 'exp.log', file_handler=config)
    for number in range(40):
        logger.info('line %d', number)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ['exp.log', 'exp.log.1', 'exp.log.2']
    assert all(path.stat().st_size <= 300 for path in tmp_path.iterdir())
    assert lines(tmp_path / 'exp.log')[-1].endswith(' - INFO - line 39')
    assert config == {'type': 'RotatingFileHandler', 'maxBytes': 300, 'backupCount': 2}


def test_file_handlers_are_those_of_logging(tmp_path, new):
    class Mine(logging.FileHandler):
        pass

    for kind, config in [
        ('TimedRotatingFileHandler', {'when': 'MIDNIGHT', 'interval': 1, 'backupCount': 365}),
        ('WatchedFileHandler', {}),
        ('FileHandler', {'encoding': 'latin-1'}),
        (Mine, {}),
    ]:
        logger = rm.get_logger(new(), tmp_path / f'{kind}.log', file_handler={'type': kind, **config})
        cls = kind if kind is Mine else getattr(logging.handlers, kind, logging.FileHandler)
        assert isinstance(logger.handlers[0], cls)
        logger.info('über')
        encoding = config.get('encoding', 'utf-8')
        assert (tmp_path / f'{kind}.log').read_bytes().endswith('über\n'.encode(encoding))


@pytest.mark.parametrize(
    ('arguments', 'error', 'text'),
    [
        ({'log_level': 'LOUD'}, rm.ArgumentError, "log_level must be one of 'DEBUG', .*, got 'LOUD'"),
        ({'log_level': -1}, rm.ArgumentError, 'log_level must be .* at least 0, got -1'),
        ({'log_level': None}, rm.ArgumentTypeError, 'log_level must be an int or a str, got None'),
        ({'file_mode': 'r'}, rm.ArgumentError, "file_mode must be one of 'w', 'a', 'x', got 'r'"),
        (
            {'file_handler': 'x'},
            rm.ArgumentTypeError,
            "file_handler must be a mapping with a 'type', got 'x'",
        ),
        (
            {'file_handler': {'type': 'Rotating'}},
            rm.ArgumentError,
            r"file_handler\['type'\] must be one of 'FileHandler', 'RotatingFileHandler', "
            "'TimedRotatingFileHandler', 'WatchedFileHandler' or .*, got 'Rotating'",
        ),
        ({'file_handler': {}}, rm.ArgumentError, r"file_handler\['type'\] must be one of .*, got None"),
        (
            {'file_handler': {'type': 'RotatingFileHandler', 'max': 3}},
            rm.ArgumentError,
            "file_handler must have arguments of RotatingFileHandler: .*'max'",
        ),
        (
            {'file_handler': {'type': 'TimedRotatingFileHandler', 'when': 'X'}},
            rm.ArgumentError,
            'file_handler must have values that TimedRotatingFileHandler takes: .*X',
        ),
        (
            {'file_handler': {'type': 'FileHandler', 'filename': 'x'}},
            rm.ArgumentError,
            "file_handler must not have 'filename': that is log_file",
        ),
        (
            {'log_file': None, 'file_handler': {'type': 'FileHandler'}},
            rm.ArgumentError,
            'file_handler needs log_file, got none',
        ),
    ],
)
def test_wrong_argument_is_one_error_and_changes_nothing(tmp_path, new, arguments, error, text):
    name = new()
    with pytest.raises(error, match=text):
        rm.get_logger(name, **{'log_file': tmp_path / 'exp.log', **arguments})
    assert list(tmp_path.iterdir()) == []
    assert (logging.getLogger(name).handlers, logging.getLogger(name).propagate) == ([], True)


@pytest.mark.parametrize('log_file', ['', '.', '/', 3])
@pytest.mark.parametrize('rank', [0, 1])
def test_log_file_must_be_a_path(monkeypatch, new, log_file, rank):
    as_rank(monkeypatch, rank)
    with pytest.raises(rm.ArgumentTypeError, match='log_file must be the path of a file or None, got '):
        rm.get_logger(new(), log_file)


@pytest.mark.parametrize('name', ['', None, 3])
def test_name_must_be_one(name):
    with pytest.raises(rm.ArgumentTypeError, match='name must be a str that is not empty'):
        rm.get_logger(name)


# ---- faults ----


def test_file_that_cannot_be_opened_is_one_error_and_changes_nothing(tmp_path, new):
    (tmp_path / 'file').write_text('')
    name = new()
    with pytest.raises(OSError, match='the log file cannot be written: .*file/exp.log') as error:
        rm.get_logger(name, tmp_path / 'file' / 'exp.log')
    assert error.value.filename == str(tmp_path / 'file' / 'exp.log')
    assert logging.getLogger(name).handlers == []


full = pytest.mark.skipif(not Path('/dev/full').exists(), reason='needs /dev/full')


@full
def test_full_disk_is_reported_once_and_logging_goes_on(capsys, new):
    logger = rm.get_logger(new(), '/dev/full')
    for number in range(1000):  # more than the buffer of a file holds
        logger.info('line %d', number)
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    out, err = capsys.readouterr()
    texts = [line.split(' - ')[-1] for line in out.splitlines()]
    assert [text for text in texts if text.startswith('line')] == [f'line {n}' for n in range(1000)]
    (report,) = [text for text in texts if not text.startswith('line')]
    assert report.startswith('/dev/full cannot be written, its lines are lost: [Errno 28]')
    assert err == ''


@full
def test_fault_is_reported_without_the_lock_that_a_failing_console_might_wait_for(new):
    logger = rm.get_logger(new(), '/dev/full')
    file_handler = logger.handlers[0]
    is_free = []

    def ask():
        is_free.append(file_handler.lock.acquire(timeout=10))
        if is_free[-1]:
            file_handler.lock.release()

    class Asks(logging.Handler):
        def emit(self, record):
            if 'cannot be written' in record.getMessage():
                thread = threading.Thread(target=ask)
                thread.start()
                thread.join()

    logger.addHandler(Asks())
    logger.info('line')
    assert is_free == [True]


@full
def test_console_on_a_full_disk_is_reported_in_the_file(tmp_path, capsys, monkeypatch, new):
    logger = rm.get_logger(new(), tmp_path / 'exp.log')
    with open('/dev/full', 'w', buffering=1) as console:  # noqa: PTH123
        monkeypatch.setattr(sys, 'stdout', console)
        logger.info('a')
        logger.info('b')
        monkeypatch.undo()
        with pytest.raises(OSError, match='space'):
            console.close()
    texts = [line.split(' - ')[-1] for line in lines(tmp_path / 'exp.log')]
    assert sorted(text[:33] for text in texts) == ['a', 'b', 'the console cannot be written, its'[:33]]
    assert capsys.readouterr().err == ''


def test_file_whose_folder_goes_away_does_not_stop_who_logs(tmp_path, capsys, new):
    folder = tmp_path / 'gone'
    config = {'type': 'WatchedFileHandler'}
    logger = rm.get_logger(new(), folder / 'exp.log', file_handler=config)
    (folder / 'exp.log').unlink()
    folder.rmdir()
    for _ in range(3):
        logger.info('line')
    out, err = capsys.readouterr()
    assert out.count('exp.log cannot be written, its lines are lost: [Errno 2]') == 1
    assert out.count(' - line') == 3
    assert err == ''
    folder.mkdir()
    logger.info('back')
    assert lines(folder / 'exp.log')[-1].endswith(' - back')


# ---- what the library chooses ----


def test_debug_log_has_what_the_library_chose_before_and_after(tmp_path, capsys, monkeypatch, new):
    monkeypatch.setattr(_choices, '_made', {})
    as_rank(monkeypatch, 2, 4)
    _choices.note_choice('values on xpu:0', 'a stage')
    logger = rm.get_logger(new(), tmp_path / 'exp.log', 'DEBUG')
    _choices.note_choice('train/time', 'the clock of the host')
    _choices.note_choice('train/time', 'the clock of the host')
    _library.LIBRARY.debug('something else')
    texts = [line.split(' - ', 2)[1:] for line in lines(tmp_path / 'exp_rank2.log')]
    assert ['ringmeter', 'DEBUG - Get values on xpu:0 from a stage'] in texts
    assert ['ringmeter', 'DEBUG - Get rank from environment variable RANK: 2 of 4'] in texts
    assert texts[-2:] == [
        ['ringmeter', 'DEBUG - Get train/time from the clock of the host'],
        ['ringmeter', 'DEBUG - something else'],
    ]
    assert capsys.readouterr().out == ''
    _library.leave_library(logger)
    assert not _library.LIBRARY.isEnabledFor(logging.DEBUG)
    assert _library.LIBRARY.propagate


def test_loggers_of_the_library_itself_get_its_messages_once(tmp_path, capsys):
    library = rm.get_logger('ringmeter', tmp_path / 'lib.log', 'DEBUG')
    try:
        child = rm.get_logger('ringmeter.mine', tmp_path / 'mine.log', 'DEBUG')
        library.debug('once')
        child.debug('mine')
        assert [line.split(' - ')[-1] for line in lines(tmp_path / 'lib.log')][-2:] == ['once', 'mine']
        assert [line.split(' - ')[-1] for line in lines(tmp_path / 'mine.log')][-1:] == ['mine']
        assert capsys.readouterr().out.count('DEBUG - once') == 1
    finally:
        for logger in (library, child):
            for handler in logger.handlers[:]:
                logger.removeHandler(handler)
                handler.close()
            logger.setLevel(logging.NOTSET)
            logger.propagate = True


def test_choices_that_are_remembered_are_bounded(monkeypatch):
    monkeypatch.setattr(_choices, '_made', {})
    for number in range(1000):
        _choices.note_choice(f'thing {number}', 'there')
    assert len(_choices.choices()) == 256
    assert _choices.choices()[-1] == 'Get thing 999 from there'


# ---- LoopLogger ----


def train(**arguments):
    meter = rm.LoopLogger(max_epochs=1, name='loop', **arguments)
    for value in meter.train([1.0] * 10):
        meter.log(loss=value)
    for value in meter.val([1.0]):
        meter.log(accuracy=value)
    return meter


def test_loop_of_another_rank_writes_nothing_and_records_all(tmp_path, capsys, monkeypatch):
    as_rank(monkeypatch, 3)
    meter = train(work_dir=tmp_path)
    meter.logger.error('loud')
    assert [line.split(' - ')[-1] for line in capsys.readouterr().out.splitlines()] == ['loud']
    assert list(tmp_path.iterdir()) == []
    assert meter.message_hub.get_scalar('train/loss').count('global') == 10


def test_loop_of_another_rank_has_a_file_of_lines_when_all_ranks_do(tmp_path, capsys, monkeypatch, chosen):
    as_rank(monkeypatch, 3)
    train(work_dir=tmp_path, all_ranks=True)
    assert capsys.readouterr().out == ''
    (log_file,) = tmp_path.iterdir()
    assert re.fullmatch(r'\d{8}_\d{6}_rank3\.log', log_file.name)
    assert [line.split(' - ')[2] for line in lines(log_file)] == ['INFO', 'INFO']
    assert 'Get time in file names from this rank: torch.distributed is not initialised' in chosen()


def test_rank_has_a_time_of_its_own_when_the_store_cannot_keep_one(tmp_path, monkeypatch, chosen):
    distributed = pytest.importorskip('torch.distributed')
    distributed.init_process_group('gloo', store=distributed.HashStore(), rank=0, world_size=1)
    try:
        monkeypatch.setattr(distributed, 'get_world_size', lambda: 2)
        train(work_dir=tmp_path / 'kept', all_ranks=True)
        assert (
            'Get time in file names from the store of the job: that of the rank that came first' in chosen()
        )

        def fail():
            raise ValueError('Default process group has no store')

        monkeypatch.setattr(distributed.distributed_c10d, '_get_default_store', fail)
        train(work_dir=tmp_path / 'own', all_ranks=True)
    finally:
        distributed.destroy_process_group()
    (choice,) = [choice for choice in chosen() if choice.startswith('Get time in file names')]
    assert choice.endswith(
        'from this rank: the store of the job cannot keep it: Default process group has no store'
    )
    assert [len(list((tmp_path / name).glob('*.log'))) for name in ('kept', 'own')] == [1, 1]


def test_logger_that_is_given_has_the_lines_of_every_rank(tmp_path, monkeypatch, written):
    as_rank(monkeypatch, 3)
    train(work_dir=tmp_path, logger=written[0])
    assert [text.split()[0] for text in written[1]] == ['Epoch(train)', 'Epoch(val)']
    assert list(tmp_path.iterdir()) == []


def test_debug_log_of_a_loop_explains_it_and_ends_with_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(_choices, '_made', {})
    meter = train(work_dir=tmp_path, log_level='DEBUG')
    (log_file,) = tmp_path.glob('*.log')
    texts = [line.split(' - ')[-1] for line in lines(log_file)]
    assert texts == [line.split(' - ')[-1] for line in capsys.readouterr().out.splitlines()]
    expected = [
        'Get rank from no launcher: 0 of 1',
        f"Get log file of 'loop' from {log_file}",
        f'Get records in scalars.json from ScalarsFile: {tmp_path}/vis_data/scalars.json',
        f'Get lines from LoopLogger {meter.message_hub.instance_name!r}: later, when their values have landed',
        'Get train/time from the clock of the host',
        'Get val/time from the clock of the host',
    ]
    assert [text for text in texts if text.startswith('Get')] == expected
    assert sum(text.startswith('Epoch(') for text in texts) == 2
    del meter
    gc.collect()
    assert not _library.LIBRARY.isEnabledFor(logging.DEBUG)


@pytest.mark.parametrize('is_configured', [False, True])
def test_log_of_the_newest_loop_has_the_warnings_of_the_library(
    tmp_path, capsys, monkeypatch, caplog, is_configured
):
    if not is_configured:
        monkeypatch.setattr(logging.getLogger(), 'handlers', [])
    loops = [rm.LoopLogger(max_epochs=1, work_dir=tmp_path / name) for name in 'ab']
    _library.LIBRARY.error('both are there')
    _library.LIBRARY.info('no warning')
    del loops[1]
    gc.collect()
    _library.LIBRARY.warning('one is left')
    loops.clear()
    gc.collect()
    logs = [lines(next((tmp_path / name).glob('*.log'))) for name in 'ab']
    assert [[line.split(' - ')[-1] for line in log] for log in logs] == [['one is left'], ['both are there']]
    assert re.fullmatch(FILE + ' - ringmeter - WARNING - one is left', logs[0][0])
    printed = [line.split(' - ')[-1] for line in capsys.readouterr().out.splitlines()]
    assert printed == ([] if is_configured else ['both are there', 'one is left'])
    assert [record.message for record in caplog.records] == (
        ['both are there', 'one is left'] if is_configured else []
    )
    assert _library._warnings not in _library.LIBRARY.handlers


@full
def test_loop_goes_on_when_its_disk_is_full(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr('ringmeter._loggers._own.file_of_rank', lambda *_: Path('/dev/full'))
    meter = train(work_dir=tmp_path)
    out, err = capsys.readouterr()
    assert out.count('/dev/full cannot be written, its lines are lost') == 1
    assert out.count('Epoch(') == 2
    del meter
    gc.collect()
    assert (capsys.readouterr().out, err) == ('', '')


def test_work_dir_that_cannot_be_written_is_one_error(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match='the log file cannot be written: '):
        rm.LoopLogger(max_epochs=1, work_dir=tmp_path / 'file')


def test_end_of_a_loop_leaves_the_handlers_of_others_open(tmp_path, new):
    mine = rm.get_logger(new(), tmp_path / 'mine.log')
    meter = rm.LoopLogger(max_epochs=1, work_dir=tmp_path / 'loop')
    meter.logger.addHandler(mine.handlers[0])
    own = meter.logger
    own.info('a')
    stream = mine.handlers[0].stream
    del meter
    gc.collect()
    assert not stream.closed
    own.info('b')
    assert [line.split(' - ')[-1] for line in lines(tmp_path / 'mine.log')] == ['a', 'b']
    (log_file,) = (tmp_path / 'loop').glob('*.log')
    assert len(lines(log_file)) == 1


def test_lines_of_a_loop_come_back_when_logging_is_no_longer_disabled(capsys):
    logger = rm.LoopLogger(max_epochs=1).logger
    logger.info('a')
    logging.disable()
    try:
        logger.info('b')
    finally:
        logging.disable(logging.NOTSET)
    logger.info('c')
    logger.setLevel('ERROR')
    logger.info('d')
    assert [line.split(' - ')[-1] for line in capsys.readouterr().out.splitlines()] == ['a', 'c']


def test_level_of_a_loop_is_checked():
    with pytest.raises(rm.ArgumentError, match="log_level must be one of .*, got 'LOUD'"):
        rm.LoopLogger(max_epochs=1, log_level='LOUD')
