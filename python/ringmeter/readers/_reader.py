"""What the readers of the formats have in common."""

from __future__ import annotations

from ._columns import Columns
from ._run import LogFileError, Run


class Reader:
    """Takes the lines of a file in parts, and tells at any time what they hold.

    Attributes:
        format: The name of the format.
        expected: What a line of it is, for error messages.
    """

    format: str
    expected: str
    is_whole = False  # whether the file is one piece, that is rewritten rather than appended to

    def __init__(self, path: str) -> None:
        self.path = path
        self.columns = Columns()
        self.eta: str | None = None
        self.notes: list[str] = []

    def feed(self, lines: list[bytes], first: int) -> None:
        """Take complete lines.

        Args:
            lines: With their ends.
            first: The number of the first one.

        Raises:
            LogFileError: One of them is no line of this format.
        """
        raise NotImplementedError

    def feed_last(self, line: bytes, number: int) -> None:
        """Take a last line that has no end, as far as it can be relied on."""
        self.notes.append(f'{self.path}:{number}: the last line is cut off after {len(line)} bytes: left out')

    def run(self) -> Run:
        """Return what was read so far."""
        raise NotImplementedError

    def error(self, number: int, line: object, why: str = '') -> LogFileError:
        """Return the error that says what was expected of a line."""
        return unexpected(self.path, number, self.expected + why, line)


def unexpected(path: str, number: int, expected: str, line: object) -> LogFileError:
    """Return the error of a line that is not what was expected."""
    text = line.decode(errors='replace') if isinstance(line, bytes) else str(line)
    shown = text.strip()
    shown = shown if len(shown) <= 60 else f'{shown[:57]}...'
    return LogFileError(path, number, f'expected {expected}, got {shown!r}')
