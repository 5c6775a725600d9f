"""Files of one JSON object a line: ringmeter's and mmengine's ``scalars.json``, and the like."""

from __future__ import annotations

from typing import Any

from ._axes import axes_of_train
from ._columns import NAN, Records
from ._json_objects import EXPECTED, ObjectLines
from ._json_table import JsonTable, Kinds, kinds_of
from ._reader import Reader
from ._run import Run

_STEP_ONLY = 'step only'
_POSITIONS = frozenset(('epoch', 'iter', 'step', 'iteration'))


class JsonLinesReader(Reader):
    """Reads files of JSON lines. Their records differ in what they count by: ``position`` is the key."""

    expected = EXPECTED
    position: tuple[str, ...]

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._objects = ObjectLines(path)
        self._tables: dict[str, JsonTable] = {}

    def feed(self, lines: list[bytes], first: int) -> None:
        start = 0
        while start < len(lines):
            record = self._objects.parse(lines[start], first + start)
            if record is not None:
                kinds = kinds_of(record)
                group = self._group(kinds)
                if group is not None:
                    records = self._tables.setdefault(group, JsonTable()).parse(lines, start, kinds)
                    if records is not None:
                        self._append_records(records, group)
                        start += records.size
                        continue
                self._take(record, lines[start], first + start)
            start += 1

    def feed_last(self, line: bytes, number: int) -> None:
        self.feed([line], number)

    def _take(self, record: dict[str, Any], line: bytes, number: int) -> None:
        try:
            self._append(record)
        except KeyError:
            names = ' or '.join(repr(name) for name in self.position)
            raise self.error(number, line, f' with a number as {names}') from None
        except OverflowError:
            raise self.error(number, line, ' with numbers that a float can hold') from None

    def _append(self, record: dict[str, Any]) -> None:
        """Take a record.

        Raises:
            KeyError: It does not say where in the run it is.
        """
        raise NotImplementedError

    def _group(self, kinds: Kinds) -> str | None:
        """Return which records a record can be taken together with; None: it depends on those before it."""
        raise NotImplementedError

    def _append_records(self, records: Records, group: str) -> None:
        """Take many records of a group."""
        raise NotImplementedError


class ScalarsJsonReader(JsonLinesReader):
    """``vis_data/scalars.json`` of mmengine and ringmeter.

    Records of training have ``iter``, and ``epoch`` where the run counts epochs. The others have only a
    ``step``: the number of epochs, or of iterations, at which they were evaluated.
    """

    format = 'scalars.json'
    position = ('iter', 'step')

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._epoch = self._iter = 0.0
        self._has_iter = False

    def _append(self, record: dict[str, Any]) -> None:
        items = [item for item in record.items() if item[0] not in _POSITIONS]
        iteration = record.get('iter')
        if iteration is not None:
            self._iter = as_position(iteration)
            self._epoch = as_position(record.get('epoch', NAN))
            self._has_iter = True
            self.columns.append('train', items, self._iter, self._epoch)
            return
        step = as_position(record['step'])
        if not self._has_iter:
            self.columns.append(_STEP_ONLY, items, step, as_position(record.get('epoch', NAN)))
        elif step == self._epoch:
            self.columns.append(_STEP_ONLY, items, NAN, step)
        else:
            self.columns.append(_STEP_ONLY, items, step if step > self._iter else self._iter, NAN)

    def _group(self, kinds: Kinds) -> str | None:
        if not kinds.get('epoch', True):
            return None
        if kinds.get('iter', False):
            return 'iter'
        return 'step' if kinds.get('step', False) and 'iter' not in kinds and not self._has_iter else None

    def _append_records(self, records: Records, group: str) -> None:
        mode = 'train' if group == 'iter' else _STEP_ONLY
        self.columns.append_records(mode, records, group, 'epoch', _POSITIONS)
        if group == 'iter':
            self._has_iter = True
            self._iter, self._epoch = self.columns.iter[-1], self.columns.epoch[-1]

    def run(self) -> Run:
        modes = {_STEP_ONLY: 'val' if self._has_iter else 'train'}
        axes = axes_of_train(self.columns, mode='train' if self._has_iter else _STEP_ONLY)
        return Run(self.path, self.format, self.columns.series(axes, modes), notes=self._objects.notes())


def as_position(value: Any) -> float:
    """Return a number of the axes.

    Raises:
        KeyError: It is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise KeyError(value)
    return float(value)
