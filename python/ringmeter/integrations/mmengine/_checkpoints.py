"""Histories in checkpoints that load with and without ringmeter.

A history is pickled as an instance of whatever ``mmengine.logging.history_buffer.HistoryBuffer`` is, with the
state that mmengine's own has.
"""

from __future__ import annotations

import copyreg
import sys
from typing import Any

import ringmeter

from ..._state import saved_data

PATH = 'mmengine.logging.history_buffer'  # the module in which pickle looks for the class
DEFAULTS = ('min', 'max', 'current', 'mean')  # statistics that every history of mmengine's has


def state_of(buffer: Any) -> dict[str, Any]:
    """Return what mmengine keeps of a history, be it ours or its own."""
    if isinstance(buffer, ringmeter.HistoryBuffer):
        values, counts = saved_data(buffer)
        methods = buffer._registered_statistics()
        own = {'_log_history': values, '_count_history': counts, 'max_length': buffer.max_length}
    else:
        own, methods = {}, buffer._statistics_methods
    # Those that every history has stay unnamed: pickle would look them up with getattr().
    methods = {name: method for name, method in methods.items() if name not in DEFAULTS}
    return {**buffer.__dict__, **own, 'statistics_methods': methods}


def reduce_history(buffer: Any, is_own_class: bool = False) -> tuple[Any, ...]:
    """Tell pickle how to make a history again: of its own class, or of the one in mmengine's place then."""
    if is_own_class:
        return copyreg.__newobj__, (type(buffer),), state_of(buffer)  # type: ignore[attr-defined]
    return sys.modules[PATH].HistoryBuffer, (), state_of(buffer)
