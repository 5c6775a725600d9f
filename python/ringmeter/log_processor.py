"""Log lines and records from the scalars of a hub, as mmengine 0.10.7 writes them."""

from __future__ import annotations

import datetime
import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ._core import format_scalars
from ._errors import ArgumentError, ArgumentTypeError
from .history_buffer import HistoryBuffer

_MODES = ('train', 'val', 'test')
_NAMED_WINDOWS = ('epoch', 'global', 'interval')


class LogProcessor:
    """Turns what a hub recorded into the text of log lines and the records that go with them.

    The lines are mmengine's character for character, but for one of its bugs: a key belongs to a mode when
    it begins with ``'<mode>/'``, where mmengine compares without the slash and takes ``value_loss`` for a
    value of ``val``.

    A window is a number of entries, or ``'epoch'`` (those of the running epoch: as many as it has had
    iterations), ``'global'`` (all) or ``'interval'`` (those that no line of this processor has reported yet;
    a key without any is left out of the line).

    Args:
        window_size: Window of the mean of every key that ``mean_pattern`` matches: a number, ``'global'`` or
            ``'interval'``. The other keys show their newest value.
        by_epoch: Whether lines count epochs (``Epoch(train) [1][10/25]``) or iterations
            (``Iter(train) [10/1000]``).
        custom_cfg: Rules for single keys: dicts of ``data_src`` (the key, without its mode), ``method_name``
            (of a statistic), ``window_size``, and further arguments of that statistic. Without ``log_name``
            the rule replaces what is shown for the key, with it it adds an item of that name.
        num_digits: Digits after the point.
        log_with_hierarchy: Whether the keys of the records keep their mode (``train/loss``).
        mean_pattern: Regular expression of the keys to be averaged.

    Raises:
        ArgumentError: A rule has no ``data_src`` or ``method_name``, two have the same name, a window is
            less than 1, or ``'epoch'`` is asked for lines that do not count epochs.
        ArgumentTypeError: A window is none of the kinds above.
    """

    def __init__(
        self,
        window_size: int | str = 10,
        by_epoch: bool = True,
        custom_cfg: Sequence[dict[str, Any]] | None = None,
        num_digits: int = 4,
        log_with_hierarchy: bool = False,
        mean_pattern: str = r'.*(loss|time|data_time|grad_norm).*',
    ) -> None:
        self.window_size = window_size
        self.by_epoch = by_epoch
        self.custom_cfg = list(custom_cfg or [])
        self.num_digits = num_digits
        self.log_with_hierarchy = log_with_hierarchy
        self.mean_pattern = re.compile(mean_pattern)
        self._is_mean: dict[str, bool] = {}  # what mean_pattern said of each key
        self._is_mean_pattern = self.mean_pattern
        self._reported: dict[str, int] = {}  # position of each history at its last line
        self._check_custom_cfg()

    # ---- lines ----

    def get_log_after_iter(self, runner: Any, batch_idx: int, mode: str) -> tuple[dict[str, Any], str]:
        """Return the record and the line after an iteration.

        Args:
            runner: A mmengine ``Runner``, a :class:`LoopLogger`, or anything with their ``message_hub``,
                ``iter``, ``epoch``, ``max_iters``, ``max_epochs`` and loops.
            batch_idx: Number of the batch in its loop, from 0.
            mode: ``'train'``, ``'val'`` or ``'test'``.
        """
        if mode not in _MODES:
            raise ArgumentError(f'mode must be one of {", ".join(_MODES)}, got {mode!r}')
        custom_cfg = self._parse_windows_size(runner, batch_idx, self.custom_cfg)
        log_tag = self._collect_scalars(custom_cfg, runner, mode)
        tag = (
            self._collect_scalars(custom_cfg, runner, mode, True)
            if self.log_with_hierarchy
            else dict(log_tag)
        )
        self._mark_reported(runner, mode)

        lr_tag = {}
        for key, value in tag.items():
            if key.endswith('lr'):
                name = self._remove_prefix(key, f'{mode}/')
                log_tag.pop(name)
                lr_tag[name] = value
        header = self._header(runner, batch_idx, mode, tag)
        tag['iter'] = 0 if _is_not_built(runner._train_loop) else runner.iter + 1
        line = f'{header}{format_scalars(lr_tag, self.num_digits, True, " ")}  '

        if 'time' in log_tag and 'data_time' in log_tag and 'eta' in runner.message_hub.runtime_info:
            eta = datetime.timedelta(seconds=int(runner.message_hub.get_info('eta')))
            time, data_time = log_tag.pop('time'), log_tag.pop('data_time')
            digits = self.num_digits
            line += f'eta: {eta}  time: {time:.{digits}f}  data_time: {data_time:.{digits}f}  '
        if _has_device_memory():
            tag['memory'] = self._get_max_memory(runner)
            line += f'memory: {tag["memory"]}  '
        if mode == 'train':
            line += format_scalars(log_tag, self.num_digits)
        elif mode == 'val':
            losses = {name: value for name, value in log_tag.items() if name.startswith('val/loss')}
            line += format_scalars(losses, self.num_digits)
        return tag, line

    def get_log_after_epoch(
        self, runner: Any, batch_idx: int, mode: str, with_non_scalar: bool = False
    ) -> tuple[dict[str, Any], str]:
        """Return the record and the line after a validation or test epoch.

        Args:
            runner: As in :meth:`get_log_after_iter`.
            batch_idx: As in :meth:`get_log_after_iter`; mmengine passes the number of batches.
            mode: ``'val'`` or ``'test'``.
            with_non_scalar: Whether the record has the hub's information of that mode too (the line has it).
        """
        if mode not in ('val', 'test'):
            raise ArgumentError(f"mode must be 'val' or 'test', got {mode!r}")
        custom_keys = {self._remove_prefix(cfg['data_src'], f'{mode}/') for cfg in self.custom_cfg}
        over_epoch: list[dict[str, Any]] = [
            {'data_src': key, 'window_size': 'epoch', 'method_name': 'mean'}
            for key in ('time', 'data_time')
            if key not in custom_keys
        ]
        custom_cfg = self._parse_windows_size(runner, batch_idx, [*self.custom_cfg, *over_epoch])
        scalars = self._collect_scalars(custom_cfg, runner, mode, self.log_with_hierarchy)
        self._mark_reported(runner, mode)
        infos = self._collect_non_scalars(runner, mode)
        times = {
            key: scalars.pop(key)
            for key in list(scalars)
            if key in ('time', 'data_time', f'{mode}/time', f'{mode}/data_time')
        }
        shown = {name: _on_own_lines(value) for name, value in {**scalars, **infos, **times}.items()}
        size = self._get_dataloader_size(runner, mode)
        if self.by_epoch:
            epoch = f'[{self._get_epoch(runner, mode)}]' if mode == 'val' else ''
            line = f'Epoch({mode}) {epoch}[{size}/{size}]  '
        else:
            line = f'Iter({mode}) [{size}/{size}]  '
        tag = {**scalars, **(infos if with_non_scalar else {}), **times}
        return tag, f'{line}  {format_scalars(shown, self.num_digits)}'

    def _header(self, runner: Any, batch_idx: int, mode: str, tag: dict[str, Any]) -> str:
        if not self.by_epoch:
            total = runner.max_iters if mode == 'train' else self._get_dataloader_size(runner, mode)
            done = self._get_iter(runner, batch_idx) if mode == 'train' else batch_idx + 1
            return f'Iter({mode}) [{_align(done, total)}/{total}]  '
        total = self._get_dataloader_size(runner, mode)
        done = self._get_iter(runner, batch_idx)
        if mode == 'test':
            return f'Epoch({mode}) [{_align(done, total)}/{total}]  '
        epoch = self._get_epoch(runner, mode)
        shown_epoch = f'[{epoch}]'
        if not _is_not_built(runner._train_loop):
            # Aligned with the widest epoch number and its brackets, and a space in front.
            shown_epoch = shown_epoch.rjust(len(str(runner.max_epochs)) + 3)
        tag['epoch'] = epoch
        return f'Epoch({mode}){shown_epoch}[{_align(done, total)}/{total}]  '

    # ---- values ----

    def _collect_scalars(
        self, custom_cfg: list[dict[str, Any]], runner: Any, mode: str, reserve_prefix: bool = False
    ) -> dict[str, Any]:
        prefix = f'{mode}/'
        start = 0 if reserve_prefix else len(prefix)
        buffers: dict[str, HistoryBuffer] = {
            key[start:]: buffer
            for key, buffer in runner.message_hub.log_scalars.items()
            if key.startswith(prefix)
        }
        if self._is_mean_pattern is not self.mean_pattern:
            self._is_mean, self._is_mean_pattern = {}, self.mean_pattern
        window: Any = self.window_size
        tag: dict[str, Any] = {}
        for key, buffer in buffers.items():
            is_mean = self._is_mean.get(key)
            if is_mean is None:
                is_mean = self._is_mean[key] = self.mean_pattern.search(key) is not None
            if not is_mean:
                tag[key] = buffer.current()
            elif window != 'interval':
                tag[key] = buffer.mean(window)
            elif new := self._not_reported(buffer, prefix + key[len(prefix) - start :]):
                tag[key] = buffer.mean(new)
        for cfg in custom_cfg:
            source, name = cfg['data_src'], cfg.get('log_name', cfg['data_src'])
            if reserve_prefix:
                source, name = prefix + source, prefix + name
            if source not in buffers:
                continue
            arguments = {key: value for key, value in cfg.items() if key not in ('data_src', 'log_name')}
            if arguments.get('window_size') == 'interval':
                arguments['window_size'] = self._not_reported(buffers[source], prefix + cfg['data_src'])
                if not arguments['window_size']:
                    tag.pop(name, None)
                    continue
            tag[name] = buffers[source].statistics(**arguments)
        return tag

    def _collect_non_scalars(self, runner: Any, mode: str) -> dict[str, Any]:
        prefix = f'{mode}/'
        start = 0 if self.log_with_hierarchy else len(prefix)
        infos = runner.message_hub.runtime_info
        return {key[start:]: value for key, value in infos.items() if key.startswith(prefix)}

    def _not_reported(self, buffer: HistoryBuffer, key: str) -> int:
        """Number of entries since the last line; all of them when the history was replaced."""
        new = buffer.position - self._reported.get(key, 0)
        return new if new >= 0 else buffer.position

    def _mark_reported(self, runner: Any, mode: str) -> None:
        if self.window_size != 'interval' and not any(
            cfg.get('window_size') == 'interval' for cfg in self.custom_cfg
        ):
            return
        for key, buffer in runner.message_hub.log_scalars.items():
            if key.startswith(f'{mode}/'):
                self._reported[key] = buffer.position

    # ---- rules ----

    def _check_custom_cfg(self) -> None:
        _check_window(self.window_size, ('global', 'interval'), 'window_size')
        named = _NAMED_WINDOWS if self.by_epoch else ('global', 'interval')
        names = set()
        for cfg in self.custom_cfg:
            for required in ('data_src', 'method_name'):
                if required not in cfg:
                    raise ArgumentError(f'custom_cfg: each rule must have a {required!r}, got {cfg!r}')
            _check_window(cfg.get('window_size'), named, f'custom_cfg for {cfg["data_src"]!r}: window_size')
            name = cfg.get('log_name', cfg['data_src'])
            if name in names:
                raise ArgumentError(f'custom_cfg: log_name must differ between rules, got {name!r} twice')
            names.add(name)

    def _parse_windows_size(
        self, runner: Any, batch_idx: int, custom_cfg: Sequence[dict[str, Any]] | None = None
    ) -> list[dict[str, Any]]:
        """Return copies of the rules, with a number for each window but ``'interval'``."""
        parsed = []
        for cfg in self.custom_cfg if custom_cfg is None else custom_cfg:
            window = cfg.get('window_size')
            _check_window(window, _NAMED_WINDOWS, f'custom_cfg for {cfg["data_src"]!r}: window_size')
            if window == 'epoch':
                parsed.append(cfg | {'window_size': batch_idx + 1})
            elif window == 'global':
                parsed.append(cfg | {'window_size': runner.iter + 1})
            else:
                parsed.append(cfg)
        return parsed

    @staticmethod
    def _remove_prefix(string: str, prefix: str) -> str:
        return string.removeprefix(prefix)

    # ---- the runner ----

    def _get_max_memory(self, runner: Any) -> int:
        """Return the most memory that tensors took on the model's device since the last line, in MB."""
        torch = sys.modules['torch']
        device = getattr(runner.model, 'output_device', None)
        accelerator = torch.musa if 'torch_musa' in sys.modules else torch.cuda
        most = int(accelerator.max_memory_allocated(device=device)) // (1024 * 1024)
        accelerator.reset_peak_memory_stats()
        return most

    def _get_iter(self, runner: Any, batch_idx: int) -> int:
        return batch_idx + 1 if self.by_epoch else int(runner.iter) + 1

    def _get_epoch(self, runner: Any, mode: str) -> int:
        if mode == 'train':
            return int(runner.epoch) + 1
        if mode == 'val':  # the epoch was counted when its training ended
            return 0 if _is_not_built(runner._train_loop) else int(runner.epoch)
        raise ArgumentError(f"mode must be 'train' or 'val', got {mode!r}")

    def _get_cur_loop(self, runner: Any, mode: str) -> Any:
        if mode == 'train':
            return runner.train_loop
        return runner.val_loop if mode == 'val' else runner.test_loop

    def _get_dataloader_size(self, runner: Any, mode: str) -> int:
        return len(self._get_cur_loop(runner, mode).dataloader)


def _check_window(window: Any, named: tuple[str, ...], what: str) -> None:
    if window is None or (isinstance(window, str) and window in named):
        return
    if isinstance(window, str):
        raise ArgumentError(f'{what} must be an int or one of {", ".join(named)}, got {window!r}')
    if not isinstance(window, int):
        raise ArgumentTypeError(f'{what} must be an int or one of {", ".join(named)}, got {window!r}')
    if window < 1:
        raise ArgumentError(f'{what} must be at least 1, got {window!r}')


def _is_not_built(loop: Any) -> bool:
    """Whether a runner has no loop, or only the configuration of one."""
    return loop is None or isinstance(loop, dict)


def _align(number: int, widest: int) -> str:
    return str(number).rjust(len(str(widest)))


def _has_device_memory() -> bool:
    torch = sys.modules.get('torch')
    if torch is None:
        return False
    return bool(torch.cuda.is_available()) or 'torch_musa' in sys.modules


def _on_own_lines(value: Any) -> Any:
    """Text of an array with line breaks around it; anything else as it is."""
    torch = sys.modules.get('torch')
    if isinstance(value, np.ndarray) or (torch is not None and isinstance(value, torch.Tensor)):
        return f'\n{value}\n'
    return value
