"""The logger of torchvision's reference scripts."""

from __future__ import annotations

import copy
import logging
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from .. import _core
from .._errors import ArgumentError, ScalarError
from .._landing import HubAt, LandingQueue
from .._outputs import RecordsFile
from .._ranks import initialised_torch
from ..message_hub import MessageHub
from ._across_ranks import add_up
from ._meters import Meters
from ._progress import VARIANTS, Progress, at_least_1, max_memory, number_of_iterations
from .smoothed_value import SmoothedValue

Batch = TypeVar('Batch')
_logger = logging.getLogger('ringmeter')


class MetricLogger:
    """Meters by name, and lines about them while a loader is iterated.

    As in torchvision's reference scripts and the many projects that carry it along, in place of the copy:
    same methods, same lines. But :meth:`update` never waits for a device, and neither does
    :meth:`log_every`: a line is printed once its values have landed, normally an iteration or two later, as
    of its iteration, in order, and all of them before the line of the total time. With values on a CUDA
    device ``time`` is the time that passes there. Who asks for a number (``str(logger)``, a meter's
    ``global_avg``) waits for it.

    Args:
        delimiter: What is between the parts of a line.
        output_file: Where each line also goes as a JSON object, as DINOv2 has it, of rank 0 only.
        variant: Whose lines: ``'detr'`` (torchvision's detection, DETR, DeiT, MAE, BLIP), ``'torchvision'``
            (classification, segmentation: no line for the last iteration, no seconds per iteration at the
            end), ``'dino'`` (6 digits) or ``'dinov2'`` (6 digits for times).
        lines: ``'deferred'`` as above, or ``'now'``: a line waits for its values.
        write: What to do with a line; ``print`` unless given. For instance ``logging.getLogger('x').info``.

    Raises:
        ArgumentError: ``variant`` or ``lines`` is none of the above.

    Attributes:
        meters: The meters by name; one that is not there is made.
        message_hub: The :class:`ringmeter.MessageHub` that holds their histories.

    Examples:
        >>> logger = MetricLogger(delimiter='  ')
        >>> logger.add_meter('lr', SmoothedValue(window_size=1, fmt='{value:.3f}'))
        >>> for loss in (0.5, 0.7, 0.9):
        ...     logger.update(loss=loss, lr=0.01)
        >>> print(logger)
        lr: 0.010  loss: 0.7000 (0.7000)
        >>> logger.loss.max
        0.9
    """

    def __init__(
        self,
        delimiter: str = '\t',
        output_file: str | Path | None = None,
        *,
        variant: str = 'detr',
        lines: str = 'deferred',
        write: Callable[[str], Any] | None = None,
    ) -> None:
        for name, value, known in (
            ('variant', variant, tuple(VARIANTS)),
            ('lines', lines, ('deferred', 'now')),
        ):
            if value not in known:
                raise ArgumentError(f'{name} must be one of {", ".join(map(repr, known))}, got {value!r}')
        self.delimiter = delimiter
        self.output_file = output_file
        self.message_hub = MessageHub('metric_logger')
        self._variant = VARIANTS[variant]
        digits = self._variant.meter_digits
        self.meters = Meters(self.message_hub, f'{{median:.{digits}f}} ({{global_avg:.{digits}f}})')
        self._write = write
        self._records = None if output_file is None else RecordsFile(Path(output_file), _logger)
        self._is_deferred = lines == 'deferred'
        self._lines = LandingQueue()
        weakref.finalize(self, self._lines.flush_at_exit)
        self._loops = 0  # begun

    def update(self, **kwargs: Any) -> None:
        """Record a value for each name; None is passed over. Does not wait for a device.

        Raises:
            ScalarError: A value is not one real number. Nothing was recorded.
        """
        try:
            self.meters.record(kwargs)
        except ScalarError:  # nothing was recorded
            given = {name: value for name, value in kwargs.items() if value is not None}
            if len(given) == len(kwargs):
                raise
            self.meters.record(given)

    def add_meter(self, name: str, meter: Any) -> None:
        """Use a meter for a name: a :class:`SmoothedValue`, or anything with ``update(value)``.

        One with an ``update`` of its own gets numbers: those on a device are waited for. A line that is
        printed later shows it as it was, if ``copy.deepcopy`` can copy it.

        Raises:
            ArgumentTypeError: It has no ``update``.
        """
        self.meters[name] = meter

    def __getattr__(self, attr: str) -> Any:
        meters = self.__dict__.get('meters', {})
        if attr in meters:
            return meters[attr]
        raise AttributeError(f'{type(self).__name__!r} object has no attribute {attr!r}')

    def __str__(self) -> str:
        return self.delimiter.join(f'{name}: {meter}' for name, meter in self.meters.items())

    def global_avg(self) -> str:
        """Return the mean of all values of each meter, as BLIP has it."""
        return self.delimiter.join(f'{name}: {meter.global_avg:.4f}' for name, meter in self.meters.items())

    def synchronize_between_processes(self) -> None:
        """Add up ``count`` and ``total`` of each meter over all ranks, of up to 64 in one collective.

        Every rank must call it. Does nothing without ``torch.distributed``. Waits for the values.

        Raises:
            ArgumentError: The names of the meters differ between ranks. Nothing was changed.
        """
        ours = {name: meter for name, meter in self.meters.items() if isinstance(meter, SmoothedValue)}
        add_up(ours)
        for name, meter in self.meters.items():
            if name not in ours and hasattr(meter, 'synchronize_between_processes'):
                meter.synchronize_between_processes()

    def log_every(
        self,
        iterable: Iterable[Batch],
        print_freq: int,
        header: str | None = None,
        n_iterations: int | None = None,
        start_iteration: int = 0,
    ) -> Iterator[Batch]:
        """Iterate over batches, printing a line every ``print_freq`` iterations, and the total time.

        Args:
            iterable: The batches.
            print_freq: See above.
            header: What each line begins with.
            n_iterations: Number of iterations to stop at, for an iterable without ``len()`` or end.
            start_iteration: Number of the first. From another than 0, ``len()`` too is a number to stop at.

        Raises:
            ArgumentTypeError: The number of iterations is not known, or ``print_freq`` is not an int.
            ArgumentError: ``print_freq`` or ``n_iterations`` is less than 1.
        """
        total = number_of_iterations(iterable, n_iterations)
        print_freq = at_least_1('print_freq', print_freq)
        progress = self._progress(total, header or '')
        timer = progress.timer
        self.meters.timers.append(timer)
        try:
            for iteration, batch in enumerate(iterable, start_iteration):
                timer.begin_batch(is_first=True)
                yield batch
                timer.end_iteration()
                if progress.is_due(iteration, print_freq):
                    self._put_line(progress, iteration)
                self._lines.run_landed()
                self.meters.pass_iteration()
                if iteration >= total - 1 and (n_iterations is not None or start_iteration):
                    break
            self._lines.flush()
            self._print(progress.closing_line())
        finally:
            self.meters.timers.remove(timer)
            progress.close()
            self._lines.flush()

    # ---- inside ----

    def _progress(self, total: int, header: str) -> Progress:
        self._loops += 1
        name = f'log_every {self._loops}'
        return Progress(self.message_hub, name, total, header, self.delimiter, self._variant)

    def _put_line(self, progress: Progress, iteration: int) -> None:
        """Print a line, now or as of now once its values have landed."""
        hub, memory = self.message_hub, max_memory()
        if not self._is_deferred or (not _core.has_captures(hub.log_scalars) and self._lines.is_clear()):
            self._write_line(progress, iteration, memory)
            return
        now = HubAt(hub)
        frozen, frozen_progress = self._as_of(now), progress.as_of(now)

        def write_later() -> None:
            now.settle()
            frozen._write_line(frozen_progress, iteration, memory)

        self._lines.add(f'the line of iteration {iteration}', write_later)

    def _as_of(self, now: HubAt) -> MetricLogger:
        frozen = copy.copy(self)
        frozen.meters = {  # type: ignore[assignment]
            name: meter._as_of(now, name) if isinstance(meter, SmoothedValue) else _copy(meter)
            for name, meter in self.meters.items()
        }
        return frozen

    def _write_line(self, progress: Progress, iteration: int, memory: float | None) -> None:
        torch = initialised_torch()
        if self._records is not None and (torch is None or torch.distributed.get_rank() == 0):
            medians = {
                name: meter.median for name, meter in self.meters.items() if hasattr(type(meter), 'median')
            }
            self._records.append(
                {
                    'iteration': iteration,
                    'iter_time': progress.time.exact_avg,
                    'data_time': progress.data_time.exact_avg,
                    **medians,
                }
            )
        self._print(progress.line(iteration, str(self), memory))

    def _print(self, line: str) -> None:
        # Looked up each time: scripts replace print on all ranks but the first.
        (self._write or print)(line)


def _copy(meter: Any) -> Any:
    """Return a copy of a meter of the user's, or itself where it cannot be copied."""
    try:
        return copy.deepcopy(meter)
    except Exception:
        return meter
