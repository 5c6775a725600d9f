"""Doing things at the same step on every rank."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from .. import _core
from .._errors import DeviceError
from .._landing import short_waits, warn_left_out
from ._reduction import Reduction

_STEPS = 2  # after which a line begins: its values have landed by then, as a rule

Finish = Callable[[], None]
Start = Callable[[bool], 'Finish | None']


class _Waiting(NamedTuple):
    """What is put off."""

    step: int  # when it begins
    mark: tuple[int, ...]  # of the values that it needs
    what: str
    start: Start
    handled: BaseException | None  # the exception that was being handled when it was put off


class StepQueue:
    """What takes a collective, put off: it begins two steps later, and is finished a step after that.

    When values land differs from rank to rank, and ranks that began with a line when its values are there
    would begin at different places among the collectives of the training. So this waits for the values, if
    need be, at a step that is the same everywhere.

    Args:
        reduction: Whose collectives they are.
    """

    def __init__(self, reduction: Reduction) -> None:
        self.reduction = reduction
        self._step = 0
        self._process = os.getpid()
        self._waiting: deque[_Waiting] = deque()
        self._finish: Finish | None = None  # of the one that has begun
        self._is_late = False  # the newest values waited for have not landed in time

    def add(self, what: str, start: Start) -> None:
        """Call ``start(has_landed)`` two steps from now, and what it returns one step later.

        ``has_landed`` is False, and there is a warning, when what has been recorded so far cannot land.
        """
        handled = sys.exc_info()[1]
        self._waiting.append(_Waiting(self._step + _STEPS, _core.mark(), what, start, handled))

    def run_landed(self) -> None:
        """A step is over, on every rank: do what is due."""
        self._step += 1
        self._finish_begun()
        while self._waiting and self._waiting[0].step <= self._step:
            self._begin()

    def flush(self) -> None:
        """Do all of it, in order.

        Where an exception is being handled, the other ranks may be elsewhere: then without them. Unless all
        of it was put here while that was handled already: the training may have been called from there.
        """
        handled = sys.exc_info()[1]
        if handled is None or all(waiting.handled is handled for waiting in self._waiting):
            self._do_all()
        else:
            with self.reduction.switched_off():
                self._do_all()

    def flush_at_exit(self) -> None:
        """The same without the other ranks, waiting no longer than two seconds for the values of each.

        Not in a process that was forked: this is about its parent's lines.
        """
        if os.getpid() != self._process:
            return
        with short_waits(), self.reduction.switched_off():
            self._do_all()

    def _do_all(self) -> None:
        while self._finish is not None or self._waiting:
            self._finish_begun()
            if self._waiting:
                self._begin()

    def _begin(self) -> None:
        self._finish_begun()
        line = self._waiting.popleft()
        try:
            has_landed = self._wait_for(line.mark, line.what)
        except Exception:  # such as: waiting is forbidden. The others do not wait for this rank
            self._finish = line.start(False)
            raise
        self._finish = line.start(has_landed)

    def _wait_for(self, mark: tuple[int, ...], what: str) -> bool:
        """Return whether values have landed. Once some did not in time, later ones are not waited for."""
        problem: object = 'its values did not land in time'
        try:
            _core.land_arrived()
            has_landed = _core.has_landed(mark) if self._is_late else _core.wait_for(mark)
            self._is_late = not has_landed
        except DeviceError as error:
            has_landed, problem = False, error
        if not has_landed:
            warn_left_out(what, problem)
        return has_landed

    def _finish_begun(self) -> None:
        finish, self._finish = self._finish, None
        if finish is not None:
            finish()
