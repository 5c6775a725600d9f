"""The live display: what a terminal shows, when there is none, and that it never waits, stops or stays."""

from __future__ import annotations

import io
import logging
import re
import sys

import pytest

import ringmeter as rm
from ringmeter import _progress
from ringmeter._rank import _VARIABLES

rich = pytest.importorskip('rich')
from rich.console import Console  # noqa: E402
from rich.progress import Progress  # noqa: E402

SHOW_CURSOR, HIDE_CURSOR = '\x1b[?25h', '\x1b[?25l'


class Terminal(io.StringIO):
    def __init__(self, monkeypatch):
        super().__init__()
        self._monkeypatch = monkeypatch

    def isatty(self):
        return True

    def meter(self, **arguments):
        self._monkeypatch.setattr(sys, 'stdout', self)  # not earlier: pytest sets it before each test
        return rm.LoopLogger(**arguments)


@pytest.fixture
def screen(monkeypatch):
    """A terminal of 100 columns, sys.stdout from its meter on; the display is updated after every iteration."""
    for names in _VARIABLES:
        for name in names:
            monkeypatch.delenv(name, raising=False)
    screen = Terminal(monkeypatch)
    monkeypatch.setattr(
        'rich._console',
        Console(force_terminal=True, force_jupyter=False, width=100, _environ={'TERM': 'xterm-256color'}),
    )
    monkeypatch.setattr(_progress, '_SHORTEST', 0.0)
    monkeypatch.setattr(_progress, '_SHARE', 0)
    return screen


def frames(screen):
    """The bars that were drawn, without colours."""
    text = re.sub(r'\x1b\[[\d;?]*[A-Za-z]', '', screen.getvalue())
    return [line.rstrip() for line in re.split(r'[\r\n]+', text) if '━' in line]


def count(frame):
    return re.search(r'\d+/\d+(?= +|$)', frame.split('━')[-1])[0]


def test_bar_shows_the_epoch_its_iterations_and_values(screen):
    meter = screen.meter(max_epochs=12, interval=2, progress=True)
    meter.epoch = 4
    for value in meter.train([1.0, 2.0, 3.0]):
        meter.message_hub.update_scalar('train/lr', 0.01)
        meter.log(loss_a=value, other=7.0)
    shown = frames(screen)
    last = shown[-1]
    assert last.startswith('epoch 5/12 ━')
    assert count(last) == '3/3'
    assert ' it/s ' in last
    assert re.search(r'\d:\d\d:\d\d eta \d:\d\d:\d\d lr: 1.0000e-02  loss: 2.0000  los', last)
    assert 'other' not in ''.join(shown)


def test_lines_are_above_the_bar_and_whole(screen):
    meter = screen.meter(max_epochs=1, interval=2, progress=True)
    for value in meter.train([1.0, 2.0]):
        meter.log({f'loss_{i}': value for i in range(8)} | {'[red]': 1.0})
        sys.stdout.write('from the loop\n')
    text = re.sub(r'\x1b\[[\d;?]*[A-Za-z]', '', screen.getvalue())
    (line,) = (line for line in re.split(r'[\r\n]+', text) if 'INFO' in line)
    assert line.endswith('loss_7: 1.5000  [red]: 1.0000  loss: 12.0000')
    assert text.count('from the loop\n') == 2


def test_lines_of_other_loggers_are_above_the_bar(screen, monkeypatch):
    meter = screen.meter(max_epochs=1, progress=True)
    other = logging.getLogger('test_progress.other')
    handler = logging.StreamHandler(screen)
    without = logging.StreamHandler(object())  # such a stream need not be able to say what it is
    looking = type('', (type(logging.lastResort),), {'stream': property(lambda _: screen)})()
    monkeypatch.setattr(other, 'propagate', False)
    monkeypatch.setattr(other, 'handlers', [looking, handler, without])
    for _ in meter.train([0]):
        monkeypatch.setattr(other, 'handlers', [handler])
        other.warning('careful')
    assert handler.stream is screen
    before, after = screen.getvalue().split('careful')
    assert before.endswith('\x1b[2K')  # the bar is gone
    assert '━' in after  # and there again


def test_lines_that_count_iterations_have_a_bar_of_the_run(screen):
    meter = screen.meter(max_iters=5, progress=['only'])
    for _ in meter.epochs():
        for _ in meter.train([0] * 3):
            meter.log(only=3, loss=1.0)
    assert frames(screen)[-1].startswith('train ━')
    assert count(frames(screen)[-1]) == '5/5'
    assert frames(screen)[-1].endswith(' only: 3.0000')


def test_validation_has_a_bar_below_with_means_over_it(screen):
    meter = screen.meter(max_epochs=2, progress=True)
    for _ in meter.epochs():
        for _ in meter.train([0, 1]):
            meter.log(loss=1.0)
            for value in meter.val([meter.epoch, meter.epoch + 1.0]):
                meter.log(accuracy=value)
    shown = frames(screen)
    assert shown[-4].startswith('epoch 2/2 ━')
    assert count(shown[-4]) == '1/2'
    assert [frame.split()[-1] for frame in shown if 'accuracy' in frame][-1] == '1.5000'
    assert sum(frame.startswith('  val ') for frame in shown) > 4
    assert count(shown[-1]) == '2/2'


def leave_by_break(meter):
    for _ in meter.train([0, 1]):
        for _ in meter.val([0, 1]):
            break
        break


def leave_by_exception(meter):
    with pytest.raises(KeyboardInterrupt):
        for _ in meter.train([0, 1]):
            for _ in meter.val([0, 1]):
                raise KeyboardInterrupt


def leave_by_close(meter):
    held = meter.train([0, 1])
    next(held)
    meter.close()


def leave_by_load(meter):
    held = meter.train([0, 1])
    next(held)
    meter.load_state_dict(meter.state_dict())


@pytest.mark.parametrize('leave', [leave_by_break, leave_by_exception, leave_by_close, leave_by_load])
def test_bar_is_gone_when_no_loop_runs(screen, leave):
    meter = screen.meter(max_epochs=1, progress=True)
    (handler,) = meter.logger.handlers
    leave(meter)
    assert HIDE_CURSOR in screen.getvalue()
    assert screen.getvalue().rfind(SHOW_CURSOR) > screen.getvalue().rfind(HIDE_CURSOR)
    assert sys.stdout is screen
    assert handler.stream is screen
    meter._progress.update(meter._progress)  # by a loop that somebody still holds
    sys.stdout.write('after')
    assert screen.getvalue().endswith('after')


def test_no_terminal_has_the_lines_alone(capsys):
    meter = rm.LoopLogger(max_epochs=1, interval=1, progress=True)
    for _ in meter.train([0]):
        meter.log(loss=1.0)
    (line,) = capsys.readouterr().out.splitlines()
    assert re.search(r'Epoch\(train\) \[1\]\[1/1\] .*loss: 1.0000$', line)


@pytest.mark.parametrize('why', ['no rich', 'another rank', 'dumb', 'notebook', 'file'])
def test_no_display_without_a_live_terminal(screen, monkeypatch, chosen, why):
    if why == 'no rich':
        monkeypatch.setitem(sys.modules, 'rich', None)
    elif why == 'another rank':
        monkeypatch.setenv('RANK', '1')
    elif why == 'dumb':
        monkeypatch.setattr('rich._console', Console(force_terminal=True, _environ={'TERM': 'dumb'}))
    elif why == 'notebook':
        monkeypatch.setattr('rich._console', Console(force_jupyter=True, force_terminal=True))
    else:
        monkeypatch.setattr(screen, 'isatty', lambda: False)
    meter = screen.meter(max_epochs=1, progress=True, logger=logging.Logger('quiet'))
    for _ in meter.train([0]):
        meter.log(loss=1.0)
    assert screen.getvalue() == ''
    said = [choice for choice in chosen() if choice.startswith('Get progress from lines alone: ')]
    reason = 'rich is not installed' if why == 'no rich' else 'the output is no live terminal'
    assert said == ([] if why == 'another rank' else [f'Get progress from lines alone: {reason}'])


def test_display_that_fails_ends_and_the_loop_does_not(screen, monkeypatch, caplog):
    meter = screen.meter(max_epochs=1, progress=True, logger=logging.Logger('quiet'))
    seen = 0
    for _ in meter.train([0] * 4):
        meter.log(loss=1.0)
        monkeypatch.setattr(meter._progress, '_values', lambda *_: 1 / 0)
        seen += 1
    assert seen == 4
    assert [record.getMessage() for record in caplog.records] == [
        "the progress display ends: ZeroDivisionError('division by zero')"
    ]
    assert sys.stdout is screen


def test_it_is_drawn_ten_times_a_second_at_most(screen, monkeypatch):
    monkeypatch.setattr(_progress, '_SHORTEST', 0.1)
    now = [0.0]
    monkeypatch.setattr('ringmeter._progress.time.monotonic', lambda: now[0])
    meter = screen.meter(max_epochs=1, progress=True, logger=logging.Logger('quiet'))
    drawn = []
    draw = meter._progress._draw
    monkeypatch.setattr(
        meter._progress, '_draw', lambda progress, now: drawn.append(now) or draw(progress, now)
    )
    for _ in meter.train([0] * 1000):
        meter.log(loss=1.0)
        now[0] += 1 / 256
    assert len(drawn) == 1 + 999 // 26  # 26/256 s is the first time at or above a tenth


def test_passes_that_are_short_have_no_bar_each(screen, monkeypatch):
    monkeypatch.setattr(_progress, '_SHARE', 50)
    now = [0.0]

    def a_millisecond_later():
        now[0] += 1e-3
        return now[0]

    monkeypatch.setattr('ringmeter._progress.time.monotonic', a_millisecond_later)
    meter = screen.meter(max_epochs=1000, progress=True, logger=logging.Logger('quiet'))
    for _ in meter.epochs():
        for _ in meter.train([0]):
            meter.log(loss=1.0)
    begun = screen.getvalue().count(HIDE_CURSOR)
    assert begun > 10
    assert begun - 1 <= now[0] / (50 * 2e-3)  # it takes one to begin and one to end


def test_bars_that_took_long_to_begin_are_drawn_as_often(screen, monkeypatch):
    monkeypatch.setattr(_progress, '_SHARE', 50)
    now = [0.0]
    monkeypatch.setattr('ringmeter._progress.time.monotonic', lambda: now[0])
    begin = Progress.start
    monkeypatch.setattr(Progress, 'start', lambda self: (begin(self), now.__setitem__(0, now[0] + 60.0)))
    meter = screen.meter(max_epochs=1, progress=True, logger=logging.Logger('quiet'))
    for _ in meter.train([0] * 4):
        meter.log(loss=1.0)
        now[0] += 0.25
    assert count(frames(screen)[-1]) == '4/4'


def test_it_shows_what_has_landed_and_does_not_wait(screen, cuda, stream):
    meter = screen.meter(max_epochs=1, progress=True, logger=logging.Logger('quiet'))
    cuda.pause(stream)
    for value in meter.train([1.0, 3.0]):
        meter.log(loss=cuda.FakeCudaTensor(value))
        assert meter.message_hub.get_scalar('train/loss').landed == 0
        if value == 3.0:
            assert 'loss:' not in screen.getvalue()
            cuda.pause(stream, False)
            assert float(meter.message_hub.get_scalar('train/loss').mean(2)) == 2.0
    assert frames(screen)[-1].endswith('loss: 2.0000')


@pytest.mark.parametrize('wrong', ['loss', 3, None, ['loss', 3]])
def test_progress_is_a_bool_or_names(wrong):
    with pytest.raises(rm.ArgumentTypeError, match='progress must be a bool or a sequence of names, got '):
        rm.LoopLogger(max_epochs=1, progress=wrong)


def test_progress_needs_a_name():
    with pytest.raises(rm.ArgumentError, match='progress must be a bool or at least one name, got none'):
        rm.LoopLogger(max_epochs=1, progress=[])
