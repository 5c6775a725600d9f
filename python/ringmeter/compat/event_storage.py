"""The storage through which the parts of a detectron2 trainer exchange scalars."""

from __future__ import annotations

import copy
import operator
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from .._errors import ArgumentError, ArgumentTypeError, StateError
from .._landing import HubAt, LandingQueue
from ..message_hub import MessageHub
from ._totals import FOLD_EVERY
from .event_history import EventHistory

T = TypeVar('T', bound='EventStorage')

_stack: list[EventStorage] = []


def get_event_storage() -> EventStorage:
    """Return the storage whose ``with`` block is running, the innermost.

    Raises:
        StateError: There is none. It is an AssertionError, as in detectron2, and a RuntimeError.
    """
    if not _stack:
        raise StateError("get_event_storage() must be called inside a 'with EventStorage(...)' block")
    return _stack[-1]


def has_event_storage() -> bool:
    """Return whether there is one for :func:`get_event_storage`."""
    return bool(_stack)


class EventStorage:
    """The scalars of a training run, each with its iteration: detectron2's, with the same methods.

    :meth:`put_scalar` and :meth:`put_scalars` never wait for a device. Who asks for a number does, and only
    for that. Writers that print or save numbers use :meth:`when_landed` instead of waiting.

    A scalar that is put while a CUDA graph is captured has no iteration in its replays: use a
    :class:`ringmeter.MessageHub` there.

    Args:
        start_iter: Number of the first iteration.

    Raises:
        ArgumentTypeError: ``start_iter`` is not an int.

    Attributes:
        message_hub: The :class:`ringmeter.MessageHub` that holds the values.

    Examples:
        >>> with EventStorage() as storage:
        ...     for loss in (4.0, 2.0, 3.0):
        ...         get_event_storage().put_scalar('loss', loss)
        ...         storage.step()
        >>> storage.latest()
        {'loss': (3.0, 2)}
        >>> storage.history('loss').median(20), storage.history('loss').global_avg()
        (3.0, 3.0)
    """

    def __init__(self, start_iter: int = 0) -> None:
        self._iter = _as_iteration('start_iter', start_iter)
        self.message_hub = MessageHub('event_storage')
        self._iterations = MessageHub('iterations of event_storage')
        self._histories: dict[str, EventHistory] = {}
        self._smoothing_hints: dict[str, bool] = {}
        self._names: dict[bool, set[str]] = {True: set(), False: set()}  # by their hint
        self._current_prefix = ''
        self._lines = LandingQueue()
        self._until_fold = FOLD_EVERY
        # Writers copied from detectron2 read these.
        self._vis_data: list[tuple[str, Any, int]] = []
        self._histograms: list[dict[str, Any]] = []

    # ---- recording ----

    def put_scalar(
        self, name: str, value: Any, smoothing_hint: bool = True, cur_iter: int | None = None
    ) -> None:
        """Record a scalar of the running iteration. Does not wait for a device.

        Args:
            name: Its name; what :meth:`name_scope` says comes before it.
            value: One real number, as for :class:`ringmeter.MessageHub`.
            smoothing_hint: Whether writers show a median of it instead of the newest value.
            cur_iter: The iteration it is of, if not the running one.

        Raises:
            ScalarError: The value is not one real number. Nothing was recorded.
            ArgumentError: ``smoothing_hint`` is not what it was before for that name. Nothing was recorded.
            ArgumentTypeError: ``cur_iter`` is not an int.
        """
        name = self._current_prefix + name
        iteration = self._iter if cur_iter is None else _as_iteration('cur_iter', cur_iter)
        is_known = name in self._names[smoothing_hint]
        if not is_known:
            self._check_hint((name,), smoothing_hint)
        self.message_hub.update_scalar(name, value)
        self._iterations.update_scalar(name, iteration)
        if not is_known:
            self._adopt((name,), smoothing_hint)
        self._until_fold -= 1
        if self._until_fold == 0:
            self._fold()

    def put_scalars(self, *, smoothing_hint: bool = True, cur_iter: int | None = None, **kwargs: Any) -> None:
        """Record several scalars at once, as :meth:`put_scalar`: all of them, or none when one is wrong."""
        scalars = kwargs
        if self._current_prefix:
            scalars = {self._current_prefix + name: value for name, value in kwargs.items()}
        iteration = self._iter if cur_iter is None else _as_iteration('cur_iter', cur_iter)
        are_known = self._names[smoothing_hint].issuperset(scalars)
        if not are_known:
            self._check_hint(scalars, smoothing_hint)
        self.message_hub.update_scalars(scalars)
        self._iterations.update_scalars(dict.fromkeys(scalars, iteration))
        if not are_known:
            self._adopt(scalars, smoothing_hint)
        self._until_fold -= 1
        if self._until_fold == 0:
            self._fold()

    def _check_hint(self, names: Iterable[str], smoothing_hint: bool) -> None:
        for name in names:
            before = self._smoothing_hints.get(name, smoothing_hint)
            if before != smoothing_hint:
                raise ArgumentError(
                    f'scalar {name!r}: smoothing_hint must stay what it was, {before}, got {smoothing_hint!r}'
                )

    def _adopt(self, names: Iterable[str], smoothing_hint: bool) -> None:
        for name in names:
            self._smoothing_hints.setdefault(name, smoothing_hint)
            self._names[smoothing_hint].add(name)
            if name not in self._histories:
                buffer, iterations = self.message_hub.get_scalar(name), self._iterations.get_scalar(name)
                self._histories[name] = EventHistory(name, buffer, iterations)

    def _fold(self) -> None:
        self._until_fold = FOLD_EVERY
        for history in self._histories.values():
            history._fold()

    def put_image(self, img_name: str, img_tensor: Any) -> None:
        """Keep an image for a writer that shows images."""
        self._vis_data.append((img_name, img_tensor, self._iter))

    def put_histogram(self, hist_name: str, hist_tensor: Any, bins: int = 1000) -> None:
        """Keep a histogram of a tensor for a writer that shows them. Waits for its device, twice."""
        torch = sys.modules['torch']
        values = hist_tensor.detach().float()
        counts = torch.histc(values, bins=bins).tolist()
        summary = torch.stack([values.min(), values.max(), values.sum(), values.square().sum()])
        low, high, total, squares = summary.tolist()
        edges = torch.linspace(low, high, bins + 1, dtype=torch.float32, device='cpu')
        self._histograms.append(
            {
                'tag': hist_name,
                'min': low,
                'max': high,
                'num': len(hist_tensor),
                'sum': total,
                'sum_squares': squares,
                'bucket_limits': edges[1:].tolist(),
                'bucket_counts': counts,
                'global_step': self._iter,
            }
        )

    def clear_images(self) -> None:
        """Forget the images: a writer has them."""
        self._vis_data = []

    def clear_histograms(self) -> None:
        """Forget the histograms: a writer has them."""
        self._histograms = []

    # ---- asking ----

    def history(self, name: str) -> EventHistory:
        """Return the history of a name.

        Raises:
            KeyError: Nothing was put under that name. Tells of names that are spelled alike.
        """
        if name not in self._histories:
            self.message_hub.get_scalar(name)
        return self._histories[name]

    def histories(self) -> dict[str, EventHistory]:
        """Return all histories by name."""
        return self._histories

    def latest(self) -> dict[str, tuple[float, int]]:
        """Return for each name the newest value and its iteration."""
        return {name: self._latest(name) for name in list(self._histories)}

    def latest_with_smoothing_hint(self, window_size: int = 20) -> dict[str, tuple[float, int]]:
        """Return the same, with a median over ``window_size`` iterations of what is to be smoothed."""
        return {name: self._latest_or_median(name, window_size) for name in list(self._histories)}

    def _latest(self, name: str) -> tuple[float, int]:
        history = self._histories[name]._now()
        return history.latest(), history.latest_iteration()

    def _latest_or_median(self, name: str, window_size: int) -> tuple[float, int]:
        if not self._smoothing_hints[name]:
            return self._latest(name)
        history = self._histories[name]._now()
        return history.median(history.count_samples(window_size)), history.latest_iteration()

    def count_samples(self, name: str, window_size: int = 20) -> int:
        """Return how many values of a name are of its last ``window_size`` iterations. Does not wait."""
        return self.history(name).count_samples(window_size)

    def smoothing_hints(self) -> dict[str, bool]:
        """Return the ``smoothing_hint`` of each name."""
        return self._smoothing_hints

    # ---- iterations and scopes ----

    def step(self) -> None:
        """An iteration ended."""
        self.iter = self._iter + 1

    @property
    def iter(self) -> int:
        """Number of the running iteration. May be set."""
        return self._iter

    @iter.setter
    def iter(self, val: int) -> None:
        self._iter = int(val)
        self._lines.run_landed()

    @property
    def iteration(self) -> int:
        """The same."""
        return self._iter

    def __enter__(self: T) -> T:
        _stack.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        if not _stack or _stack[-1] is not self:
            raise StateError("'with EventStorage(...)' blocks must end in the opposite order of their begin")
        _stack.pop()
        self.flush()

    @contextmanager
    def name_scope(self, name: str) -> Iterator[None]:
        """Put ``<name>/`` before the names of all scalars that are put inside of the ``with`` block."""
        before = self._current_prefix
        self._current_prefix = name.rstrip('/') + '/'
        try:
            yield
        finally:
            self._current_prefix = before

    # ---- writers ----

    def when_landed(self, write: Callable[[EventStorage], None], what: str = 'a writer') -> None:
        """Call ``write(storage)`` with this storage as it is now, once its values have landed.

        At once when they have; if not when a later iteration begins, or from :meth:`flush`, in the order of
        these calls. For writers: whatever they ask of the ``storage`` that they get does not wait.

        Args:
            write: What to do.
            what: What it is about, for the warning when its values cannot land.
        """
        if self._lines.is_clear():
            write(self)
            return
        positions = HubAt(self._iterations).positions
        frozen = copy.copy(self)
        frozen._histories = {
            name: history._as_of(positions)
            for name, history in list(self._histories.items())
            if name in positions
        }
        self._lines.add(what, partial(write, frozen))

    def flush(self) -> None:
        """Wait for what :meth:`when_landed` put off. The end of the ``with`` block does it too."""
        self._lines.flush()


def _as_iteration(name: str, value: Any) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise ArgumentTypeError(f'{name} must be an int, got {value!r}') from None
