"""Reading a file of any of the formats, at once or while it grows."""

from __future__ import annotations

import csv
import os
from contextlib import closing
from typing import BinaryIO

from ._json_table import parse_object
from ._reader import Reader
from ._run import EmptyLogError, LogFileError, Run
from .detectron2_json import Detectron2JsonReader
from .json_lines import ScalarsJsonReader
from .lightning_csv import LightningCsvReader
from .mmengine_text import MmengineTextReader
from .trainer_state import TrainerStateReader

_CHUNK = 1 << 20  # bytes of lines that are handed on together
_HEAD = 4096  # bytes that tell whether a file was written anew, as Lightning does for a new column
_LONGEST_HEADER = 1_000_000  # bytes of a first line
EXPECTED = (
    'expected JSON lines (scalars.json, metrics.json), a trainer_state.json, a metrics.csv, '
    "or a text log with lines as 'Epoch(train) [1][10/25]'"
)


def read(path: str | os.PathLike[str]) -> Run:
    """Return what a log file holds.

    Which format it has is told by its beginning. Damaged lines of JSON are left out, and so is a last line
    that is cut off, as of a file that is still written. The notes of the run tell of them.

    Raises:
        LogFileError: It cannot be read, is of none of the formats, holds nothing, or a line is wrong.
    """
    with closing(LogFile(path)) as file:
        return file.read(is_complete=True)


class LogFile:
    """A log file that may grow, or be replaced by another of its name.

    Raises:
        LogFileError: It cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.fspath(path)
        self._open()

    def close(self) -> None:
        """Close it."""
        self._file.close()

    def _open(self) -> None:
        try:
            self._file: BinaryIO = open(self.path, 'rb', buffering=1 << 20)  # noqa: PTH123, SIM115
        except IsADirectoryError:
            message = 'is a directory: expected a file, such as vis_data/scalars.json in it'
            raise LogFileError(self.path, None, message) from None
        except OSError as error:
            raise LogFileError(self.path, None, f'cannot be read: {error.strerror}') from None
        self._reader: Reader | None = None
        self._number = 1  # of the next line that a reader gets
        self._undecided: list[bytes] = []  # complete lines that tell no format yet
        self._rest = b''  # of a line whose end has not come yet
        self._head = b''  # the first bytes of what was read

    def read(self, is_complete: bool = False) -> Run:
        """Return what the file holds up to now.

        Args:
            is_complete: Whether nothing more will be read of it, so that a last line without an end counts.

        Raises:
            EmptyLogError: There is nothing in it yet.
            LogFileError: As :func:`read`.
        """
        if not is_complete and not self._file.seekable():
            raise LogFileError(self.path, None, 'is a pipe, which cannot be followed: expected a file')
        try:
            if not is_complete and self._is_replaced():
                self._file.close()
                self._open()
            self._feed_lines()
            if not is_complete:
                self._head = os.pread(self._file.fileno(), min(self._file.tell(), _HEAD), 0)
        except OSError as error:
            raise LogFileError(self.path, None, f'cannot be read: {error.strerror}') from None
        if is_complete or (self._reader is not None and self._reader.is_whole):
            self._feed_rest()
        if self._reader is None:
            raise self._nothing_readable()
        run = self._reader.run()
        if not run.series:
            if isinstance(self._reader, MmengineTextReader):
                kind = EmptyLogError if self._reader.has_begun else LogFileError
                raise kind(self.path, None, f'not a log: {EXPECTED}')
            raise EmptyLogError(self.path, None, '; '.join(['no numbers in it', *run.notes]))
        return run

    def _is_replaced(self) -> bool:
        """Whether there is another file of that name now, or this one became shorter or begins otherwise."""
        try:
            there = os.stat(self.path)  # noqa: PTH116
        except OSError:
            return False  # it may come back
        here = os.fstat(self._file.fileno())
        if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            return True
        if there.st_size < self._file.tell() or (self._reader is not None and self._reader.is_whole):
            return True
        return os.pread(self._file.fileno(), len(self._head), 0) != self._head

    def _feed_lines(self) -> None:
        while lines := self._file.readlines(_CHUNK):
            lines[0] = self._rest + lines[0]
            self._rest = b'' if lines[-1].endswith(b'\n') else lines.pop()
            if self._reader is None:
                self._recognise(lines)
            if self._reader is not None:
                self._reader.feed(lines, self._number)
                self._number += len(lines)
            elif lines:
                self._undecided += lines
                if sum(map(len, self._undecided)) > _CHUNK:
                    raise self._nothing_readable()

    def _recognise(self, lines: list[bytes]) -> None:
        """Choose a reader by the first line that is neither blank nor damaged; it gets those before too."""
        if lines and not self._undecided:
            lines[0] = lines[0].removeprefix(b'\xef\xbb\xbf')
        self._reader = _reader_of(lines, self.path, self._number + len(self._undecided))
        if self._reader is not None:
            self._reader.feed(self._undecided, self._number)
            self._number += len(self._undecided)

    def _feed_rest(self) -> None:
        if not self._rest.strip():
            return
        if self._reader is None:
            lines = [self._rest]
            self._recognise(lines)
            (self._rest,) = lines
        if self._reader is not None:
            self._reader.feed_last(self._rest, self._number)
            self._rest = b''

    def _nothing_readable(self) -> LogFileError:
        for number, line in enumerate(self._undecided, self._number):
            if line.strip():
                return ScalarsJsonReader(self.path).error(number, line)
        if self._rest.strip():
            number = self._number + len(self._undecided)
            return EmptyLogError(self.path, number, f'the first line is cut off: {EXPECTED}')
        return EmptyLogError(self.path, None, f'the file is empty: {EXPECTED}')


def _reader_of(lines: list[bytes], path: str, first: int) -> Reader | None:
    """Return a reader of what begins with these lines, or None while they are blank or damaged."""
    for number, line in enumerate(lines, first):
        if b'\0' in line[:_LONGEST_HEADER]:
            raise LogFileError(path, number, f'not a log, but binary data: {EXPECTED}')
        text = line.strip()
        if text.startswith(b'{'):
            reader = _reader_of_json(line, path, number)
            if reader is not None:
                return reader
        elif text:
            header = text[:_LONGEST_HEADER].decode(errors='replace')
            is_table = ',' in header and 'step' in next(csv.reader([header]), [])
            return LightningCsvReader(path) if is_table else MmengineTextReader(path)
    return None


def _reader_of_json(line: bytes, path: str, number: int) -> Reader | None:
    record = parse_object(line)
    if record is None:
        is_begin = line.strip() == b'{' or b'"log_history"' in line
        return TrainerStateReader(path) if is_begin else None
    if 'log_history' in record:
        return TrainerStateReader(path)
    if 'iteration' in record:
        return Detectron2JsonReader(path)
    if 'iter' in record or 'step' in record:
        return ScalarsJsonReader(path)
    names = "'iter', 'step', 'iteration' or 'log_history'"
    raise ScalarsJsonReader(path).error(number, line, f' with {names}')
