"""Progress bars of Lightning that do not wait for a device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..._errors import ArgumentError, ArgumentTypeError
from ..._landed_values import landed_means
from ...loop_logger import _check_at_least_1
from ._callback import RingmeterCallback
from ._package import pl


class _Landed(pl.callbacks.ProgressBar):
    """A bar that shows what a RingmeterCallback recorded, as far as it has landed."""

    def __init__(self, names: Sequence[str] = ('loss',), window_size: int = 1, **arguments: Any) -> None:
        if isinstance(names, str):
            raise ArgumentTypeError(f'names must be a sequence of names, got {names!r}')
        _check_at_least_1(window_size=window_size)
        super().__init__(**arguments)
        self._names = tuple(names)
        self._window_size = window_size
        self._callback: RingmeterCallback | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        self._callback = _callback_of(trainer, type(self).__name__)

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Return what to show: never waits, and never asks the trainer for values, which would."""
        if self._callback is None:
            return {}
        histories = self._callback.meter.message_hub.log_scalars
        return {**landed_means(histories, 'train', self._names, self._window_size)}


def _callback_of(trainer: Any, who: str) -> RingmeterCallback:
    for callback in trainer.callbacks:
        if isinstance(callback, RingmeterCallback):
            return callback
    raise ArgumentError(f'callbacks of the trainer must include a RingmeterCallback for {who}, got none')


class RingmeterProgressBar(_Landed, pl.callbacks.TQDMProgressBar):
    """Lightning's TQDM bar, showing the newest values that have landed of what a callback recorded.

    Goes with a :class:`RingmeterCallback` among the trainer's callbacks. What ``self.log(prog_bar=True)``
    logs is not shown: Lightning converts it in each step, bar or not.

    Args:
        names: Scalars of training to show.
        window_size: Over how many of the newest values that have landed their means are.
        **arguments: As for ``TQDMProgressBar``.

    Raises:
        ArgumentError: ``window_size`` is less than 1; or, when the trainer starts, it has no
            :class:`RingmeterCallback`.
        ArgumentTypeError: ``names`` is one str, or ``window_size`` is not an int.
    """


class RingmeterRichProgressBar(_Landed, pl.callbacks.RichProgressBar):
    """The same with Lightning's Rich bar, which needs the package ``rich``."""
