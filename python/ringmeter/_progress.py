"""A live display of the passes that run: rich's bars, below the log lines."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ._choices import note_choice
from ._core import format_iteration
from ._errors import ArgumentError, ArgumentTypeError
from ._landed_values import landed_means
from ._rank import current_rank

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from ._passes import Pass

_logger = logging.getLogger('ringmeter')
_SHORTEST = 0.1  # seconds between two updates
_SHARE = 50  # an update comes no sooner than so many times as long as the last one took
_MOST = 4  # values, where no names are given
_EVERYTHING = 1 << 62  # a window


def checked_names(progress: Any) -> tuple[str, ...] | None:
    """Return the names to show of an argument ``progress``: none where it chooses; None without a display."""
    if isinstance(progress, bool):
        return () if progress else None
    if isinstance(progress, str) or not isinstance(progress, Sequence):
        raise ArgumentTypeError(f'progress must be a bool or a sequence of names, got {progress!r}')
    for name in progress:
        if not isinstance(name, str):
            raise ArgumentTypeError(f'progress must be a bool or a sequence of names, got {name!r} in it')
    if not progress:
        raise ArgumentError('progress must be a bool or at least one name, got none')
    return tuple(progress)


def terminal() -> Console | None:
    """Return rich's console where a live display makes sense: on a terminal, in the process of rank 0."""
    if current_rank().number != 0:
        return None
    try:
        import rich
    except ImportError:
        note_choice('progress', 'lines alone: rich is not installed')
        return None
    console = rich.get_console()
    is_live = console.is_interactive and not console.is_jupyter and console.file.isatty()
    note_choice('progress', 'bars of rich' if is_live else 'lines alone: the output is no live terminal')
    return console if is_live else None


class ProgressDisplay:
    """One bar for each pass that runs, with values as far as they have landed.

    It is there while a pass runs, and gone before anything else is written: an exception, too. The loop
    itself draws it, at most ten times a second and in a fiftieth of the time; there is no thread. Passes
    that are shorter than that have none. Whatever goes wrong with it ends it, not the loop.

    Args:
        names: What to show, without modes; if none are given, the learning rate and the losses of training,
            and everything of an evaluation, up to four values.
        logger: Whose lines on the terminal come above the bars, besides those of all that have a name.
        window_size: Over how many values the means of training are.
        digits: Digits of values after the point.
    """

    def __init__(self, names: tuple[str, ...], logger: logging.Logger, window_size: int, digits: int) -> None:
        self._names = names
        self._logger = logger
        self._window_size = window_size
        self._digits = digits
        self._begun: float | None = None  # the first pass
        self._passes: list[Pass] = []  # that run, the innermost last
        self._bars: dict[int, _Bar] = {}  # of passes, by id
        self._progress: Progress | None = None
        self._streams: list[tuple[Any, Any]] = []  # handlers, and where they wrote
        self._next = 0.0  # nothing is drawn before
        self._next_start = 0.0  # nor does it begin again
        self._is_broken = False

    def show(self, passes: Sequence[Pass]) -> None:
        """Show these passes, the innermost last, from here on; none ends the display."""
        now = time.monotonic()
        if self._begun is None:
            self._begun = now
        self._passes = list(passes)
        self._guarded(lambda: self._show(now) if passes else self._stop())

    def update(self, running: Pass) -> None:
        """An iteration has ended."""
        now = time.monotonic()
        if now >= self._next and self._passes:
            self._guarded(lambda: self._update(running, now))

    def close(self) -> None:
        """End the display."""
        self._passes.clear()
        self._guarded(self._stop)

    def _guarded(self, action: Callable[[], None]) -> None:
        if self._is_broken:
            return
        try:
            action()
        except Exception as error:
            self._is_broken = True
            with suppress(Exception):
                self._stop()
            _logger.warning('the progress display ends: %r', error)

    def _show(self, now: float) -> None:
        if self._progress is None:
            self._start(now)
        progress = self._progress
        if progress is None:
            return
        for gone in self._bars.keys() - set(map(id, self._passes)):
            progress.remove_task(self._bars.pop(gone).task)
        for running in self._passes:
            if id(running) not in self._bars:
                self._bars[id(running)] = self._bar_of(running, progress)
            bar = self._bars[id(running)]
            bar.recent.clear()  # another one ran, or comes
            progress.update(bar.task, completed=_done(running))
        if now >= self._next:
            self._draw(progress, time.monotonic())  # to begin it is not counted here

    def _draw(self, progress: Progress, begin: float) -> None:
        progress.refresh()
        after = time.monotonic()
        self._next = after + max(_SHORTEST, _SHARE * (after - begin))

    def _start(self, now: float) -> None:
        if now < self._next_start:
            self._next = self._next_start
            return
        console = terminal()
        if console is None:
            self._next = math.inf
            return
        self._streams = list(_terminals_of(self._logger))
        progress = _make_progress(console)
        begin = time.monotonic()
        self._progress = progress
        progress.start()
        for handler, _ in self._streams:
            with suppress(AttributeError):  # it looks for its stream each time, as logging.lastResort
                handler.setStream(_Above(console))
        after = time.monotonic()
        self._next, self._next_start = 0.0, after + _SHARE * (after - begin)

    def _stop(self) -> None:
        progress, self._progress = self._progress, None
        self._bars.clear()
        if progress is not None:
            begin = time.monotonic()
            progress.stop()
            self._next_start += _SHARE * (time.monotonic() - begin)
        for handler, stream in self._streams:
            handler.setStream(stream)
        self._streams.clear()

    def _bar_of(self, running: Pass, progress: Progress) -> _Bar:
        meter, total = running._meter, running.loop.size
        title = running.mode
        starts: dict[str, int] = {}
        if running.mode != 'train':
            title = f'  {title}' if self._bars else title
            starts = getattr(running, '_starts', starts)
        elif meter.log_processor.by_epoch:
            title = f'epoch {meter.epoch + 1}'
            title += '' if meter.max_epochs is None else f'/{meter.max_epochs}'
        elif meter.max_iters is not None:
            total = meter.max_iters
        task = progress.add_task(title, total=total, clock='', speed='', shown='')
        return _Bar(task, starts)

    def _update(self, running: Pass, now: float) -> None:
        if self._progress is None:
            self._show(now)
            return
        progress, bar = self._progress, self._bars.get(id(running))
        if progress is None or bar is None or self._begun is None:
            return
        done = _done(running)
        bar.recent.append((now, done))
        begin, before = bar.recent[0]
        speed = f'{(done - before) / (now - begin):.3g} it/s' if now > begin and done > before else ''
        eta = running._meter.message_hub.runtime_info.get('eta')
        clock = _clock(now - self._begun)
        if isinstance(eta, float | int):
            clock += f' eta {_clock(eta)}'
        shown = format_iteration('', self._values(running, bar), self._digits, None, None, '').strip()
        progress.update(bar.task, completed=done, clock=clock, speed=speed, shown=shown)
        self._draw(progress, now)

    def _values(self, running: Pass, bar: _Bar) -> dict[str, float]:
        hub, mode = running._meter.message_hub, running.mode
        known = dict(hub.log_scalars)  # others may add some meanwhile
        histories = {key: value for key, value in known.items() if hasattr(value, 'landed')}
        names = self._names or _first_names(list(histories), mode)
        if mode != 'train':
            return landed_means(histories, mode, names, _EVERYTHING, bar.starts)
        values: dict[str, float] = {}
        for name in names:
            values |= landed_means(histories, mode, [name], 1 if name.endswith('lr') else self._window_size)
        return values


class _Bar:
    """Of one pass."""

    def __init__(self, task: TaskID, starts: dict[str, int]) -> None:
        self.task = task
        self.starts = starts  # positions of histories where it began
        self.recent: deque[tuple[float, int]] = deque(maxlen=30)  # times of updates, and iterations then


class _Above:
    """A stream whose lines appear above the bars."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text.from_ansi(text.removesuffix('\n')), soft_wrap=True)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


def _terminals_of(logger: logging.Logger) -> Iterator[tuple[Any, Any]]:
    """Yield the handlers that write to a terminal, of this logger and all others, and where they write."""
    named = list(logging.Logger.manager.loggerDict.values())
    loggers = [logger, logging.getLogger(), *(each for each in named if isinstance(each, logging.Logger))]
    for handler in {handler: None for each in loggers for handler in each.handlers}:
        stream = getattr(handler, 'stream', None)
        is_terminal = getattr(stream, 'isatty', lambda: False)
        if isinstance(handler, logging.StreamHandler) and not isinstance(stream, _Above) and is_terminal():
            yield handler, stream


def _make_progress(console: Console) -> Progress:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.table import Column

    def text(form: str, ratio: int | None = None) -> TextColumn:
        column = Column(ratio=ratio, no_wrap=True, overflow='ellipsis')
        return TextColumn(form, markup=False, table_column=column)

    return Progress(
        text('{task.description}'),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        text('{task.fields[speed]}'),
        text('{task.fields[clock]}'),
        text('{task.fields[shown]}', ratio=1),
        console=console,
        auto_refresh=False,
        transient=True,
        expand=True,
    )


def _done(running: Pass) -> int:
    """Return how many iterations a bar has behind it: of the run, where lines count those of the run."""
    meter = running._meter
    is_of_the_run = (
        running.mode == 'train' and not meter.log_processor.by_epoch and meter.max_iters is not None
    )
    return meter.iter if is_of_the_run else running.done


def _first_names(keys: list[str], mode: str) -> list[str]:
    names = [key.removeprefix(f'{mode}/') for key in keys if key.startswith(f'{mode}/')]
    if mode == 'train':
        losses = sorted((name for name in names if 'loss' in name), key=lambda name: name != 'loss')
        return [*(name for name in names if name == 'lr'), *losses][:_MOST]
    return [name for name in names if not name.endswith('time')][:_MOST]


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f'{minutes // 60}:{minutes % 60:02}:{seconds:02}'
