"""Scalars for MLflow."""

from __future__ import annotations

import importlib
import re
import time
from collections import deque
from typing import Any

from .._errors import ArgumentError
from ._missing import missing
from ._sink import numbers

_NOT_ALLOWED = re.compile(r'[^\w\-. :/]')  # in names
_LONGEST = 250  # name
_MOST = 1024  # records in the background


class MLflow:
    """Hands scalars to a run of MLflow: one ``MlflowClient.log_batch`` a record.

    MLflow refuses some names. In what it gets, characters other than letters, digits and ``_-. :/`` are
    ``_``; parts between slashes that are empty, ``.`` or ``..`` are left out or ``_``; and a name ends after
    250 characters. NaN is kept; databases store an infinity as the largest float.

    A record waits for the server, unless ``mlflow.config.enable_async_logging()`` is set.

    Args:
        run_id: The run to be used. Without one it is the active run, or a new one, which :meth:`close` ends.
        **start: Arguments of ``mlflow.start_run`` for a new run, such as ``run_name``. Its experiment and the
            server are those of ``mlflow.set_experiment`` and ``mlflow.set_tracking_uri``.

    Raises:
        ArgumentError: Both are given.
    """

    def __init__(self, run_id: str | None = None, **start: Any) -> None:
        if run_id is not None and start:
            raise ArgumentError(
                f'run_id must not be given together with arguments of mlflow.start_run, got {start!r}'
            )
        self._run_id = run_id
        self._start = start
        self._is_own = False
        self._mlflow: Any = None
        self._client: Any = None
        self._pending: deque[Any] = deque()  # records, where MLflow logs in the background

    def open(self) -> None:
        """Find the run, or start one.

        Raises:
            ImportError: mlflow is not there.
            Exception: MLflow's, where there is no run of that id.
        """
        if self._mlflow is None:
            try:
                self._mlflow = importlib.import_module('mlflow')
            except ImportError:
                raise missing('MLflow', 'mlflow', 'mlflow') from None
        client = self._client or self._mlflow.MlflowClient()
        if self._run_id is None:
            active = self._mlflow.active_run()
            run = active or self._mlflow.start_run(**self._start)
            self._is_own = active is None
            self._run_id = run.info.run_id
        elif self._client is None:
            client.get_run(self._run_id)
        self._client = client

    def add_scalars(self, scalars: dict[str, Any], step: int) -> None:
        """Log the numbers of a record.

        Raises:
            ArgumentTypeError: This is no record, or no step.
        """
        found = {_allowed(name): float(value) for name, value in numbers(scalars, step).items()}
        self.open()
        now = int(1000 * time.time())
        metrics = [self._mlflow.entities.Metric(name, value, now, step) for name, value in found.items()]
        # mlflow.log_metrics would ask for the run first: a request more for each record, which fails where a
        # thread of MLflow is writing to its files.
        logged = self._client.log_batch(self._run_id, metrics)
        if logged is not None:
            self._pending.append(logged)
            if len(self._pending) > _MOST:
                self._pending.popleft().wait()

    def flush(self) -> None:
        """Wait for what MLflow logs in the background."""
        while self._pending:
            self._pending.popleft().wait()

    def close(self) -> None:
        """Wait likewise, and end a run that was started here."""
        try:
            self.flush()
        finally:
            self._client = None
            if self._is_own:
                active = self._mlflow.active_run()
                if active is not None and active.info.run_id == self._run_id:
                    self._mlflow.end_run()
                self._run_id, self._is_own = None, False

    def __str__(self) -> str:
        return 'MLflow'


def _allowed(name: str) -> str:
    """Return the name under which MLflow takes a metric."""
    parts = [part for part in _NOT_ALLOWED.sub('_', name).split('/') if part]
    path = '/'.join('_' if set(part) <= {'.'} else part for part in parts)
    return path[:_LONGEST].rstrip('/') or '_'
