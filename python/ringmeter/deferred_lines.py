"""Log lines that do not wait for the device."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import _core
from ._choices import note_choice
from ._landing import HubAt, LandingQueue
from ._loop import View

if TYPE_CHECKING:
    from .log_processor import LogProcessor


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

    Args:
        log_processor: What makes the lines.
    """

    def __init__(self, log_processor: LogProcessor) -> None:
        self._log_processor = log_processor
        self._queue = LandingQueue()

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
        make = self._log_processor.get_log_after_iter
        if not _core.has_captures(runner.message_hub.log_scalars) and self._queue.is_clear():
            write(*make(runner, batch_idx, mode))
            return
        hub = HubAt(runner.message_hub)
        names = ('iter', 'epoch', 'max_iters', 'max_epochs', f'{mode}_loop')
        own = {name: getattr(runner, name) for name in names if hasattr(runner, name)}
        view = View(runner, message_hub=hub, **own)

        def make_later() -> tuple[dict[str, Any], str]:
            hub.settle()
            return make(view, batch_idx, mode)

        self._put_off(f'the line of iteration {batch_idx + 1} of {mode}', make_later, write)

    def _put_off(
        self,
        what: str,
        make: Callable[[], tuple[dict[str, Any], str]],
        write: Callable[[dict[str, Any], str], None],
    ) -> None:
        note_choice('lines of values that have not landed', 'a queue, until they have')
        self._queue.add(what, lambda: write(*make()))

    def write_landed(self) -> None:
        """Write the lines whose values have landed meanwhile. Never waits."""
        self._queue.run_landed()

    def flush(self) -> None:
        """Write all lines, waiting for their values.

        A line whose values cannot land is left out, with a warning.
        """
        self._queue.flush()

    def flush_at_exit(self) -> None:
        """The same, waiting no longer than two seconds for each."""
        self._queue.flush_at_exit()
