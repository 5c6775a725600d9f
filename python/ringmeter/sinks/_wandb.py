"""Scalars for Weights & Biases."""

from __future__ import annotations

import importlib
from typing import Any
from weakref import WeakSet

from .._errors import ArgumentError
from ._missing import missing
from ._sink import numbers

_STEP = 'global_step'
_MODES = ('train', 'val', 'test')


_owners: WeakSet[WandB] = WeakSet()  # sinks whose run one of them has started


class WandB:
    """Hands scalars to a run of Weights & Biases: one ``run.log`` a record.

    The step goes along as ``global_step``, and is the x axis of ``train/*``, ``val/*`` and ``test/*``. The
    run's own step only counts the calls: W&B drops what is logged for an earlier one, such as after a run was
    resumed from a checkpoint, or beside calls of your own. NaN and infinities are kept.

    Args:
        run: The run to be used. Without one it is ``wandb.run``, or a new one, which :meth:`close` finishes.
        **init: Arguments of ``wandb.init`` for a new run, such as ``project``.

    Raises:
        ArgumentError: Both are given.
    """

    def __init__(self, run: Any = None, **init: Any) -> None:
        if run is not None and init:
            raise ArgumentError(f'run must not be given together with arguments of wandb.init, got {init!r}')
        self._run = run
        self._init = init
        self._is_own = False
        self._is_defined = False

    def open(self) -> None:
        """Find the run, or start one.

        Raises:
            ImportError: wandb is not there.
        """
        if self._run is None:
            try:
                wandb = importlib.import_module('wandb')
                active = wandb.run
            except (ImportError, AttributeError):  # a folder of earlier runs can be imported, too
                raise missing('WandB', 'wandb', 'wandb') from None
            self._is_own = active is None or any(active is other._run for other in _owners)
            self._run = wandb.init(**self._init) if active is None else active
            if self._is_own:
                _owners.add(self)
        if not self._is_defined:
            for mode in _MODES:
                self._run.define_metric(f'{mode}/*', step_metric=_STEP)
            self._is_defined = True

    def add_scalars(self, scalars: dict[str, Any], step: int) -> None:
        """Log the numbers of a record.

        Raises:
            ArgumentTypeError: This is no record, or no step.
        """
        found = numbers(scalars, step)
        self.open()
        self._run.log({**found, _STEP: step})

    def close(self) -> None:
        """Finish a run that was started here, unless another sink has taken it."""
        if self._is_own:
            _owners.discard(self)
            run, self._run, self._is_own, self._is_defined = self._run, None, False, False
            if not any(run is other._run for other in _owners):
                run.finish()

    def leave_run(self) -> None:
        """Leave a run that was started here to the end of the process: W&B then tells one that failed."""
        self._is_own = False

    def __str__(self) -> str:
        return 'WandB'
