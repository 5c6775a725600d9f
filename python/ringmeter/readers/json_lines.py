"""Files of one JSON object a line: ringmeter's and mmengine's ``scalars.json``, and the like."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ._axes import axes_of_train
from ._columns import NAN
from ._json_objects import EXPECTED, ObjectLines
from ._json_table import parse_rows
from ._reader import Reader
from ._run import Numbers, Run

_STEP_ONLY = 'step only'
_POSITIONS = frozenset(('epoch', 'iter', 'step', 'iteration'))


class JsonLinesReader(Reader):
    """Reads files of JSON lines. Their records differ in what they count by: ``position`` is the key."""

    expected = EXPECTED
    position: tuple[str, ...]

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._objects = ObjectLines(path)
        self._names: list[str] = []  # of the record before

    def feed(self, lines: list[bytes], first: int) -> None:
        start = 0
        while start < len(lines):
            record = self._objects.parse(lines[start], first + start)
            if record is not None:
                names, before = list(record), self._names
                self._names = names
                if names == before and self._is_plain(names):
                    table = parse_rows(lines, start, names)
                    if len(table):
                        self._append_table(names, table)
                        start += len(table)
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

    def _is_plain(self, names: Collection[str]) -> bool:
        """Whether records of these names stand for themselves, so that many can be taken together."""
        raise NotImplementedError

    def _append_table(self, names: list[str], table: Numbers) -> None:
        """Take many records that have these names."""
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

    def _is_plain(self, names: Collection[str]) -> bool:
        return 'iter' in names or ('step' in names and not self._has_iter)

    def _append_table(self, names: list[str], table: Numbers) -> None:
        position = 'iter' if 'iter' in names else 'step'
        items = [index for index, name in enumerate(names) if name not in _POSITIONS]
        where = table[:, names.index(position)]
        epochs = table[:, names.index('epoch')] if 'epoch' in names else None
        mode = _STEP_ONLY
        if position == 'iter':
            mode, self._has_iter = 'train', True
            self._iter = float(where[-1])
            self._epoch = NAN if epochs is None else float(epochs[-1])
        self.columns.append_table(mode, [names[index] for index in items], table[:, items], where, epochs)

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
