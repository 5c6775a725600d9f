"""When log calls that come with a step, or without, make a line, and of what."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from ..._loop import Loop, View
from ..._passes import EvaluationPass
from ...loop_logger import LoopLogger

_MODES = {
    'train': 'train',
    'val': 'val',
    'valid': 'val',
    'validation': 'val',
    'eval': 'val',
    'test': 'test',
}


class Keys(dict[str, str]):
    """The hub's keys of the names that users give: each with a mode in front."""

    def __missing__(self, name: str) -> str:
        first, slash, rest = str(name).partition('/')
        key = f'{_MODES[first]}/{rest}' if slash and first in _MODES else f'train/{name}'
        self[name] = key
        return key


class Names:
    """What a call records, by its keys."""

    def __init__(self, keys: Iterable[str]) -> None:
        modes = {key: key.partition('/')[0] for key in keys}
        self.training = frozenset(key for key, mode in modes.items() if mode == 'train')
        self.evaluations = [mode for mode in dict.fromkeys(modes.values()) if mode != 'train']
        self.newest = 0  # the number of the step of training that had them last


class Steps:
    """Joins the calls of a step, and writes the lines that are due at its end.

    Args:
        meter: What writes them.

    Attributes:
        keys: The hub's keys of the names.
    """

    def __init__(self, meter: LoopLogger) -> None:
        self.keys = Keys()
        self._meter = meter
        self._step = 0  # the newest
        self._is_open = False  # more calls may belong to it
        self._calls: list[Names] = []  # that it has
        self._evaluations: dict[str, EvaluationPass] = {}  # that it has, by mode
        self._before = 0  # the step of training before it
        self._count = 0  # of steps of training
        self._known: dict[tuple[str, ...], Names] = {}  # by their keys
        self._shown: dict[str, int] = {}  # by key: where its history stood at its last line

    def begin(self, step: int | None) -> None:
        """What follows belongs to the running step if it has this number, otherwise to another."""
        if not self._is_open or step is None or step != self._step:
            self.end()
            self._step = self._step + 1 if step is None else step
            self._is_open = True

    def record(self, scalars: dict[str, Any]) -> None:
        """Record scalars of the running step, by their keys.

        Raises:
            ScalarError: One is not one real number. Nothing was recorded.
        """
        keys = tuple(scalars)
        call = self._known.get(keys) or Names(keys)
        for mode in call.evaluations:
            if mode not in self._evaluations:
                self._evaluations[mode] = EvaluationPass(self._meter, Loop(mode, None), step=self._step)
        self._meter.message_hub.update_scalars(scalars)
        self._known[keys] = call
        self._calls.append(call)

    def end(self) -> None:
        """No more calls belong to the running step, if one does.

        Raises:
            NanError: With ``on_nan='raise'``.
        """
        if not self._is_open:
            return
        self._is_open = False
        self._meter._look_for_nans('train', self._step)
        if any(call.training for call in self._calls):
            self._count += 1
            if self._is_due():
                self.write_line()
            for call in self._calls:
                call.newest = self._count
        for mode, evaluation in self._evaluations.items():
            if not any(mode in call.evaluations for call in self._calls):  # all of it was refused
                evaluation.close()
                continue
            self._meter._look_for_nans(mode, self._step)
            evaluation.done = self._step  # the number in its line
            evaluation.end(waits=False)
        self._calls.clear()
        self._evaluations.clear()
        if self._meter._lines is not None:
            self._meter._lines.write_landed()

    def forget(self) -> None:
        """What the histories hold now is not to be shown: it is of a run that goes on here."""
        self._mark_shown(self._meter.message_hub.log_scalars)

    def _mark_shown(self, histories: dict[str, Any]) -> None:
        self._shown.update((key, getattr(buffer, 'position', 0)) for key, buffer in histories.items())

    def write_line(self) -> None:
        """Show what has been logged of training since its last line, if anything has."""
        fresh = {
            key: buffer
            for key, buffer in self._meter.message_hub.log_scalars.items()
            if key.startswith('train/') and getattr(buffer, 'position', -1) != self._shown.get(key, 0)
        }
        if not fresh:
            return
        self._mark_shown(fresh)
        loop = Loop('train', None)
        hub = SimpleNamespace(log_scalars=fresh, runtime_info={})
        runner = View(self._meter, message_hub=hub, iter=self._step - 1, train_loop=loop, _train_loop=loop)
        self._meter._write_line(runner, self._step - 1, 'train', self._step)

    def _is_due(self) -> bool:
        interval = self._meter.interval
        passes = self._step // interval != self._before // interval
        self._before = self._step
        return passes or any(map(self._has_rare_name, self._calls))

    def _has_rare_name(self, call: Names) -> bool:
        """Whether it has one that the steps of an interval before it did not have."""
        oldest = self._count - self._meter.interval
        if call.newest >= oldest:
            return False
        lately = frozenset().union(*(each.training for each in self._known.values() if each.newest >= oldest))
        return not call.training <= lately
