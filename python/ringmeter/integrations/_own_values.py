"""Integrations whose lines are one process's own."""

from __future__ import annotations

from .._errors import ArgumentError
from ..loop_logger import LoopLogger


def check_no_reduction(meter: LoopLogger, framework: str) -> None:
    """Raise an error if the lines of a meter are to be of all ranks, which not every rank of a job has here.

    Raises:
        ArgumentError: They are.
    """
    if meter.log_processor._reduction is not None:
        raise ArgumentError(
            f'log_processor must not reduce over ranks with {framework}, where not every rank has the lines'
        )
