"""What a step of somebody's model returned, as scalars."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from .._errors import ArgumentError, ScalarError

_logger = logging.getLogger('ringmeter')


class Recorder(Protocol):
    """A pass, or another that knows the keys of names and takes scalars by key."""

    @property
    def keys(self) -> Mapping[str, str]: ...
    @property
    def record(self) -> Callable[[dict[str, Any]], None]: ...


class StepOutputs:
    """Records outputs that are scalars; what is none is left out, with one warning for each key."""

    def __init__(self) -> None:
        self._refused: set[str] = set()  # keys that had a value that is no scalar

    def record(self, running: Recorder, outputs: Any) -> None:
        """Record what a step of a pass returned: a mapping of names, one value (the loss), or None."""
        named = outputs if isinstance(outputs, Mapping) else {} if outputs is None else {'loss': outputs}
        scalars = {running.keys[str(name)]: value for name, value in named.items()}
        if self._refused:
            scalars = {
                key: value for key, value in scalars.items() if key not in self._refused or _is_scalar(value)
            }
        try:
            if scalars:
                running.record(scalars)
        except (ScalarError, ArgumentError):  # nothing was recorded
            for key, value in scalars.items():
                self._try(running, key, value)

    def _try(self, running: Recorder, key: str, value: Any) -> None:
        try:
            running.record({key: value})
        except (ScalarError, ArgumentError) as error:
            if key not in self._refused:
                _logger.warning('an output of the step is not recorded: %s', error)
            self._refused.add(key)


def _is_scalar(value: Any) -> bool:
    """Whether a hub will take it. Asks no device."""
    if isinstance(value, float | int):
        return True
    if isinstance(value, np.ndarray | np.generic):
        return value.size == 1 and value.dtype.kind in 'biuf'
    if isinstance(value, dict):
        return _is_scalar(value.get('value'))
    numel = getattr(value, 'numel', None)
    return callable(numel) and numel() == 1 and not (hasattr(value, 'is_complex') and value.is_complex())
