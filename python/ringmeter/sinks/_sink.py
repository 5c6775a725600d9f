"""What a sink is, and what those here do with their arguments."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any, Protocol

from .._errors import ArgumentTypeError


class Sink(Protocol):
    """Takes the records of lines.

    Where a sink has further methods ``open()``, ``flush()`` and ``close()``, :class:`LoopLogger` calls them:
    when it is made, at the end of each epoch, and at the end of the run.
    """

    def add_scalars(self, scalars: dict[str, Any], step: int) -> None:
        """Take the record of a line: numbers by name, such as ``'train/loss'``."""


def check_record(scalars: Any, step: Any) -> None:
    """Raise :class:`ArgumentTypeError` unless this is a record and its step."""
    if not isinstance(scalars, Mapping):
        raise ArgumentTypeError(f'scalars must be a mapping of numbers by name, got {scalars!r}')
    if not hasattr(step, '__index__'):
        raise ArgumentTypeError(f'step must be an int, got {step!r}')


def numbers(scalars: Any, step: Any) -> dict[str, Any]:
    """Return those of a record that are one real number each, as Python's own.

    Raises:
        ArgumentTypeError: This is no record, or no step.
    """
    check_record(scalars, step)
    plain = {str(name): _plain(value) for name, value in scalars.items()}
    return {name: value for name, value in plain.items() if isinstance(value, Real)}


def _plain(value: Any) -> Any:
    if not hasattr(value, 'item'):
        return value
    try:
        return value.item()
    except (TypeError, ValueError, RuntimeError):  # of several elements: numpy's is a ValueError, torch's not
        return None
