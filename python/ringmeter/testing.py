"""For tests of training code: ``pytest_plugins = ['ringmeter.testing']``, or import the fixture."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import pytest

from . import _no_sync


@pytest.fixture
def no_sync() -> Callable[[], AbstractContextManager[None]]:
    """:func:`ringmeter.no_sync`. On a machine where that cannot tell, the test is skipped, with the reason.

    ::

        def test_step_does_not_wait(no_sync):
            step(batch)  # what compiles, tunes or captures waits the first time
            with no_sync():
                step(batch)
    """
    with suppress(ImportError):
        import torch  # noqa: F401  # the test may be the first to need it
    problem = _no_sync.cannot_tell()
    if problem:
        pytest.skip(f'no_sync() cannot tell whether the code waits: {problem}')
    return _no_sync.no_sync
