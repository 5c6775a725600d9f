"""Log lines that do not wait for the device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from . import _core
from ._choices import note_choice
from ._errors import ArgumentError
from ._landing import LATE_ERRORS, HubAt, LandingQueue, warn_left_out
from ._loop import View
from ._ranks import Draft, Line, StepQueue

if TYPE_CHECKING:
    from .log_processor import LogProcessor

Write = Callable[[dict[str, Any], str], None]


class DeferredLines:
    """Lines of a :class:`LogProcessor`, made once their values have landed, as of when they were asked for.

    For a hook or loop of your own; :class:`LoopLogger` has one. In place of
    ``write(*log_processor.get_log_after_iter(runner, batch_idx, mode))``, which waits for a device:

    Examples:
        >>> import ringmeter as rm
        >>> hub = rm.MessageHub('deferred')
        >>> class Runner:
        ...     message_hub, iter, epoch, max_iters, model = hub, 0, 0, 1, None
        ...     train_loop = _train_loop = ()
        >>> lines = DeferredLines(rm.LogProcessor(by_epoch=False))
        >>> hub.update_scalar('train/loss', 0.5)
        >>> lines.after_iter(Runner, 0, 'train', lambda tag, line: print(line))
        Iter(train) [1/1]    loss: 0.5000
        >>> lines.write_landed()  # after each iteration
        >>> lines.flush()  # at the end

    With a log processor that reduces over ranks, a line waits in any case: its collective begins in the
    second :meth:`write_landed` after it, which every rank must therefore call after each iteration, and it
    is written in the third.

    Args:
        log_processor: What makes the lines.
    """

    def __init__(self, log_processor: LogProcessor) -> None:
        self._log_processor = log_processor
        self._landing = LandingQueue()
        self._reduction = log_processor._reduction
        self._steps = None if self._reduction is None else StepQueue(self._reduction)
        self._queue: LandingQueue | StepQueue = self._steps or self._landing

    def after_iter(
        self, runner: Any, batch_idx: int, mode: str, write: Callable[[dict[str, Any], str], None]
    ) -> None:
        """Call ``write(tag, line)`` with the record and line of an iteration that has just ended.

        At once when everything has landed; if not, from a later :meth:`write_landed` or from :meth:`flush`,
        in the order of these calls. The line knows nothing of what was recorded in between.

        Args:
            runner: As for :meth:`LogProcessor.get_log_after_iter`.
            batch_idx: Likewise.
            mode: Likewise.
            write: What to do with them.
        """
        processor = self._log_processor
        if mode not in ('train', 'val', 'test'):
            raise ArgumentError(f'mode must be one of train, val, test, got {mode!r}')
        line = Line(mode, processor._done(runner, batch_idx, mode))
        if not _core.has_captures(runner.message_hub.log_scalars) and self._landing.is_clear():
            if self._steps is None:
                write(*processor.get_log_after_iter(runner, batch_idx, mode))
                return
            draft: Draft | None = None
            try:
                draft = processor._draft_after_iter(runner, batch_idx, mode)
            finally:  # where it cannot be made here, the others have it without this rank
                self._put_off(line, lambda: draft, write)
            return
        hub = HubAt(runner.message_hub)
        names = ('iter', 'epoch', 'max_iters', 'max_epochs', f'{mode}_loop')
        own = {name: getattr(runner, name) for name in names if hasattr(runner, name)}
        view = View(runner, message_hub=hub, **own)
        make = processor.get_log_after_iter if self._steps is None else processor._draft_after_iter

        def make_later() -> Draft | tuple[dict[str, Any], str]:
            hub.settle()
            return make(view, batch_idx, mode)

        self._put_off(line, make_later, write)

    def _put_off(self, line: Line, make: Callable[[], Any], write: Write) -> None:
        """Write what ``make()`` gives: drafts, if any, where ranks are reduced, else records and lines."""
        if self._steps is None:
            note_choice('lines of values that have not landed', 'a queue, until they have')
            self._landing.add(str(line), lambda: write(*make()))
        else:
            self._steps.add(str(line), partial(self._start, line, make, write))

    def _start(
        self, line: Line, make: Callable[[], Any], write: Write, has_landed: bool
    ) -> Callable[[], None]:
        """Begin with a line of all ranks, whatever happens on this one. Return what writes it."""
        assert self._reduction is not None
        draft: Draft | None = None
        try:
            draft = make() if has_landed else None
        except LATE_ERRORS as error:
            warn_left_out(str(line), error)
        except Exception:
            self._reduction.start(line, None)()
            raise
        finish = self._reduction.start(line, None if draft is None else draft.items)

        def write_reduced() -> None:
            reduced = finish()
            if draft is not None:
                write(*draft.complete(reduced))

        return write_reduced

    def write_landed(self) -> None:
        """Write the lines whose values have landed meanwhile. Never waits, unless it is for other ranks."""
        self._queue.run_landed()

    def flush(self) -> None:
        """Write all lines, waiting for their values.

        A line whose values cannot land is left out, with a warning.
        """
        self._queue.flush()

    def flush_at_exit(self) -> None:
        """The same, waiting no longer than two seconds for values."""
        self._queue.flush_at_exit()
