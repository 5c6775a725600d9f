"""Scalars for TensorBoard."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from .._errors import ArgumentError
from ._missing import missing
from ._sink import numbers


class TensorBoard:
    """Hands scalars to a ``SummaryWriter``, of ``torch.utils.tensorboard`` or else of ``tensorboardX``.

    NaN and infinities are written as they are; TensorBoard marks them on its curves. A writer that is made
    here begins with the first record, and is closed by :meth:`close`.

    Args:
        log_dir: Folder of the event files. A run that goes on adds a file to it.
        writer: A ``SummaryWriter`` to be used instead. It stays open.
        **options: Further arguments of ``SummaryWriter``.

    Raises:
        ArgumentError: Not exactly one of ``log_dir`` and ``writer`` is given.
    """

    def __init__(
        self, log_dir: str | os.PathLike[str] | None = None, *, writer: Any = None, **options: Any
    ) -> None:
        if (log_dir is None) == (writer is None):
            raise ArgumentError(
                f'exactly one of log_dir and writer must be given, got log_dir={log_dir!r}, writer={writer!r}'
            )
        self._log_dir = log_dir
        self._options = options
        self._writer = writer

    def open(self) -> None:
        """Make the writer.

        Raises:
            ImportError: There is neither torch with tensorboard, nor tensorboardX.
            OSError: The folder cannot be written.
        """
        if self._writer is None:
            self._writer = _writer_class()(str(self._log_dir), **self._options)

    def add_scalars(self, scalars: dict[str, Any], step: int) -> None:
        """Add one scalar for each number of a record.

        Raises:
            ArgumentTypeError: This is no record, or no step.
        """
        found = numbers(scalars, step)
        self.open()
        for name, value in found.items():
            self._writer.add_scalar(name, value, step)

    def flush(self) -> None:
        """Write what waits in the writer."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """Write what waits, and close a writer that was made here."""
        self.flush()
        if self._writer is not None and self._log_dir is not None:
            self._writer.close()
            self._writer = None

    def __str__(self) -> str:
        return 'TensorBoard'


def _writer_class() -> Any:
    for module in ('torch.utils.tensorboard', 'tensorboardX'):
        try:
            return import_module(module).SummaryWriter
        except ImportError:
            continue
    raise missing('TensorBoard', 'tensorboard', 'tensorboard')
