"""``trainer_state.json`` of transformers' Trainer."""

from __future__ import annotations

import json
from typing import Any

from ._columns import NAN
from ._reader import Reader
from ._run import LogFileError, Run
from .json_lines import as_position

_HISTORY = '"log_history"'
_SUMMARY = frozenset((
    'train_runtime', 'train_loss', 'train_samples_per_second', 'train_steps_per_second', 'total_flos', 'step',
    'epoch', 'num_input_tokens_seen',
))  # fmt: skip


class TrainerStateReader(Reader):
    """One JSON object, with a list ``log_history`` of records that have ``step`` and ``epoch``.

    The last record sums the run up: it is no point of a curve.
    """

    format = 'trainer_state.json'
    expected = "a JSON object with a list 'log_history'"
    is_whole = True

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._seconds: float | None = None
        self._parts: list[bytes] = []

    def feed(self, lines: list[bytes], first: int) -> None:  # noqa: ARG002
        self._parts += lines

    def feed_last(self, line: bytes, number: int) -> None:  # noqa: ARG002
        self._parts.append(line)

    def run(self) -> Run:
        text = b''.join(self._parts).decode(errors='replace')
        self._parts = []
        for index, record in enumerate(self._records(text)):
            try:
                self._append(record)
            except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
                line = next((line for _, line in _up_to_the_cut(text)[index:]), 1)
                what = " of objects with a number as 'step', and numbers that a float can hold"
                raise self.error(line, json.dumps(record), what) from None
        series = self.columns.series(self.columns.axes())
        return Run(self.path, self.format, series, None, self._seconds, list(self.notes))

    def _records(self, text: str) -> list[Any]:
        """Return the records; of a file that is cut off, those before."""
        try:
            history = json.loads(text)['log_history']
            if type(history) is list:
                return history
            raise TypeError
        except json.JSONDecodeError as error:
            last = text.count('\n') + (not text.endswith('\n'))
            if error.lineno < last:
                raise self.error(error.lineno, text.splitlines()[error.lineno - 1]) from None
        except (KeyError, TypeError, RecursionError):
            raise LogFileError(self.path, None, f'expected {self.expected}') from None
        records = [record for record, _ in _up_to_the_cut(text)]
        self.notes.append(f'{self.path}:{last}: the file is cut off here; {len(records)} records were read')
        return records

    def _append(self, record: dict[str, Any]) -> None:
        step = as_position(record['step'])
        if 'train_runtime' in record:
            if step > 0:
                self._seconds = float(record['train_runtime']) / step
            record = {name: value for name, value in record.items() if name not in _SUMMARY}
        items = [item for item in record.items() if item[0] not in ('step', 'epoch')]
        self.columns.append('train', items, step, float(record.get('epoch', NAN)))


def _up_to_the_cut(text: str) -> list[tuple[Any, int]]:
    """Return the records, and the line that each begins in."""
    start = text.find(_HISTORY)
    start = text.find('[', start) + 1 if start >= 0 else len(text)
    decoder, records = json.JSONDecoder(), []
    while start > 0:
        while start < len(text) and text[start] in ' \t\r\n,':
            start += 1
        try:
            record, end = decoder.raw_decode(text, start)
        except json.JSONDecodeError:
            break
        records.append((record, text.count('\n', 0, start) + 1))
        start = end
    return records
