"""The text log of mmengine and ringmeter: ``<timestamp>.log``, or what was on the console."""

from __future__ import annotations

import calendar
import re

from ._columns import NAN
from ._json_table import parse_object
from ._reader import Reader
from ._run import Run

_COLOUR = re.compile(r'\x1b\[[0-9;]*m')
_LINE = re.compile(
    r'(?:(?P<year>\d{4})/)?(?P<date>(?:0[1-9]|1[0-2])/\d\d \d\d:\d\d:\d\d)(?:,\d+)? - .*? - '
    r'(?P<form>Epoch|Iter)\((?P<mode>train|val|test)\)\s+'
    r'(?:\[\s*(?P<epoch>\d+)\])?\[\s*(?P<done>\d+)(?:/(?P<total>\d+))?\]\s*(?P<items>.*)'
)
_DATE = re.compile(rb'(?:\x1b\[[0-9;]*m)?(?:\d{4}/)?\d\d/\d\d \d\d:\d\d:\d\d')
_YEAR = 365 * 86400


class MmengineTextReader(Reader):
    """Lines as ``08/21 02:58:41 - mmengine - INFO - Epoch(train) [1][10/25]  lr: 1.0000e-02  ...``.

    Dates may have a year and lines may have colours. Lines of other kinds are passed over, and so are those
    that show how far an evaluation is.

    Attributes:
        has_begun: Whether a logger has written to the file, be it of other things.
    """

    format = 'text log'
    expected = "a line with 'Epoch(train) [...]' or 'Iter(train) [...]'"

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.has_begun = False
        self._start: float | None = None
        self._seconds = self._iter = 0.0
        self._length: int | None = None  # iterations of a training epoch

    def feed(self, lines: list[bytes], first: int) -> None:
        for number, line in enumerate(lines, first):
            self.has_begun = self.has_begun or is_dated(line)
            if line.startswith(b'{') and (parse_object(line) or {}).keys() & {'iter', 'step', 'iteration'}:
                raise self.error(number, line, ' and not JSON, as before')
            if b'(train)' in line or b'(val)' in line or b'(test)' in line:
                match = _LINE.match(_COLOUR.sub('', line.decode(errors='replace')).strip())
                if match is not None:
                    self._append(match)

    def feed_last(self, line: bytes, number: int) -> None:
        if line.strip():
            super().feed_last(line, number)

    def _append(self, match: re.Match[str]) -> None:
        items = dict(_numbers(match['items']))
        mode, done = match['mode'], int(match['done'])
        self.eta = _text(match['items'], 'eta') or (None if mode == 'train' else self.eta)
        seconds = self._elapsed(match['year'], match['date'])
        if mode == 'train':
            self._append_train(match, items, done, seconds)
        elif match['total'] == match['done'] and not _text(match['items'], 'eta'):
            epoch = float(match['epoch']) if match['epoch'] else NAN
            if self._length is not None and match['epoch']:
                self._iter = max(self._iter, int(match['epoch']) * self._length)
            self.columns.append(mode, items.items(), self._iter, epoch, seconds)

    def _append_train(self, match: re.Match[str], items: dict[str, float], done: int, seconds: float) -> None:
        epoch = NAN
        self._iter = done
        if match['form'] == 'Epoch' and match['epoch']:
            before = int(match['epoch']) - 1
            epoch = before + 1.0
            if match['total']:
                self._length = int(match['total'])
                self._iter = before * self._length + done
                epoch = before + done / self._length
        self.columns.append('train', items.items(), self._iter, epoch, seconds)

    def _elapsed(self, year: str | None, date: str) -> float:
        """Return the seconds since the first line. Dates without a year may pass the end of one."""
        month, day, hour, minute, second = (int(date[i : i + 2]) for i in (0, 3, 6, 9, 12))
        now = float(calendar.timegm((int(year or 2000), month, day, hour, minute, second)))
        if self._start is None:
            self._start = now
        while not year and now - self._start < self._seconds - _YEAR / 2:
            now += _YEAR + 86400  # 2000 has a 29th of February
        self._seconds = max(self._seconds, now - self._start)
        return self._seconds

    def run(self) -> Run:
        series = self.columns.series(self.columns.axes())
        return Run(self.path, self.format, series, self.eta, notes=list(self.notes))


def is_dated(line: bytes) -> bool:
    """Whether a line begins as those of a text log do."""
    return _DATE.match(line) is not None


def _numbers(items: str) -> list[tuple[str, float]]:
    """Return the items that are numbers. ``nan 2/10`` is a NaN."""
    found = []
    for item in items.split('  '):
        name, _, value = item.strip().partition(': ')
        if not value or name == 'eta':
            continue
        try:
            found.append((name, float(value.split(maxsplit=1)[0])))
        except ValueError:
            continue
    return found


def _text(items: str, name: str) -> str | None:
    for item in items.split('  '):
        if item.strip().startswith(f'{name}: '):
            return item.strip().removeprefix(f'{name}: ')
    return None
