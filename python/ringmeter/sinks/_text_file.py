"""Files that whole lines are appended to."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

from .._errors import ArgumentTypeError

_opening = threading.Lock()


def append_text(path: str | os.PathLike[str], text: str) -> None:
    """Append text to a file by a write of the system, which takes a third of what ``open`` takes.

    Lone surrogates are escaped.

    Raises:
        OSError: As ``os.open`` and ``os.write``.
    """
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        data = memoryview(text.encode(errors='backslashreplace'))
        while data:
            data = data[os.write(file, data) :]
    finally:
        os.close(file)


class TextFile:
    """A file of lines, of this run and of those that it goes on from.

    It is opened by the first line, not before. A line that a crash or a full disk has cut off does not become
    part of the next one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not isinstance(path, str | os.PathLike):
            raise ArgumentTypeError(f'path must be a str or a path, got {path!r}')
        self.path = Path(path)
        self._has_folder = False  # one that goes away later is not made again: it may be another disk's
        self._is_whole = False  # known to end with a line break, or to be empty

    def open(self) -> None:
        """Make the file and its folder, unless they are there.

        Raises:
            OSError: It cannot be written.
        """
        with _opening:
            self._open()

    def _open(self) -> None:
        self.make_folder()
        append_text(self.path, '')
        self._mend()
        self._is_whole = True

    def make_folder(self) -> None:
        """Make the folder alone, once.

        Raises:
            OSError: It cannot be made.
        """
        if not self._has_folder:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._has_folder = True

    def _append(self, text: str) -> None:
        if not self._is_whole:
            with _opening:
                if not self._is_whole:  # yet: another thread may have opened it
                    self._open()
        try:
            append_text(self.path, text)
        except BaseException:
            self._is_whole = False
            raise

    def _mend(self) -> None:
        """Let the next line begin on a line of its own."""
        raise NotImplementedError

    def __str__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({str(self.path)!r})'


def last_line(path: Path) -> tuple[int, bytes]:
    """Return where the last line of a file begins, and that line; it is empty after a line break."""
    with path.open('rb') as file:
        begin = file.seek(0, os.SEEK_END)
        tail = b''
        while begin > 0 and b'\n' not in tail:
            size = min(begin, 4096)
            begin = file.seek(begin - size)
            tail = file.read(size) + tail
    found = tail.rfind(b'\n') + 1
    return begin + found, tail[found:]


def without_line_breaks(name: Any) -> str:
    return ' '.join(str(name).splitlines())
