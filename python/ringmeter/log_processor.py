"""Log lines and records from the scalars of a hub, as mmengine 0.10.7 writes them."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

from ._core import collect_scalars, format_header, format_iteration, format_scalars, lost_replays
from ._errors import ArgumentError, ArgumentTypeError
from ._ranks import (
    ASIDE,
    RECORDED,
    SHOWN,
    Draft,
    Field,
    Item,
    Line,
    Reduced,
    Reduction,
    is_integer,
    items_of,
    record_of,
    texts_of,
)
from ._sources import Source, not_reported, position_of, source_of, with_nan_counts
from .history_buffer import HistoryBuffer

_logger = logging.getLogger('ringmeter')

# Beginnings of the names that the lines of an iteration show, apart from rates and times (None: no name).
_SHOWN = {'train': '', 'val': 'val/loss', 'test': None}
_NAMED_WINDOWS = ('epoch', 'global', 'interval')


class LogProcessor:
    """Turns what a hub recorded into the text of log lines and the records that go with them.

    The lines are mmengine's character for character, but for one of its bugs: a key belongs to a mode when
    it begins with ``'<mode>/'``, where mmengine compares without the slash and takes ``value_loss`` for a
    value of ``val``.

    A window is a number of entries, or ``'epoch'`` (those of the running epoch: as many as it has had
    iterations), ``'global'`` (those of the run: as many as it has had training iterations) or ``'interval'``
    (those that no line of this processor has reported yet; a key without any is left out of the line).

    Args:
        window_size: Window of the mean of every key that ``mean_pattern`` matches: a number, ``'global'`` or
            ``'interval'``. The other keys show their newest value.
        by_epoch: Whether lines count epochs (``Epoch(train) [1][10/25]``) or iterations
            (``Iter(train) [  10/1000]``).
        custom_cfg: Rules for single keys: dicts of ``data_src`` (the key, without its mode), ``method_name``
            (of a statistic), ``window_size``, and further arguments of that statistic. Without ``log_name``
            the rule replaces what is shown for the key, with it it adds an item of that name.
        num_digits: Digits after the point.
        log_with_hierarchy: Whether the keys of the records keep their mode (``train/loss``).
        mean_pattern: Regular expression of the keys to be averaged.
        nan_counts: Whether lines show how many values of a window are NaN, as ``nan 2/10``, where the
            statistic is one. Records keep the statistic.
        reduce: ``'mean'``, ``'sum'``, ``'min'`` or ``'max'``: lines and records are of all ranks of
            torch.distributed, the same on each, by one collective a line. Every rank must then ask for the
            same lines in the same order. Means are weighted with the counts of the windows; rules of ``max``
            and ``min`` stay maximum and minimum under ``'mean'`` and ``'sum'``; learning rates are those of
            the first rank, times are averaged under ``'sum'``. None: each rank has its own values, as in
            mmengine.
        strict: With ``reduce``: whether ranks with different keys are an error, on all of them. Otherwise the
            line has the keys of all, each reduced over the ranks that have it.
        slowest_rank: With ``reduce``: whether times show the largest and the rank that has it, as
            ``time: 0.3100 (max 0.4400 @ r5)``, and records have them as ``time_max`` and ``time_max_rank``.
        group: With ``reduce``: the process group to use; None: the default one.

    Raises:
        ArgumentError: A rule has no ``data_src`` or ``method_name``, two have the same name, a window is
            less than 1, or ``'epoch'`` is asked for lines that do not count epochs; ``reduce`` is none of
            the above, or is not given and what goes with it is.
        ArgumentTypeError: A window is none of the kinds above, or a rule is not a dict, or ``group`` is no
            process group that this rank is in.
    """

    def __init__(
        self,
        window_size: int | str = 10,
        by_epoch: bool = True,
        custom_cfg: Sequence[dict[str, Any]] | None = None,
        num_digits: int = 4,
        log_with_hierarchy: bool = False,
        mean_pattern: str = r'.*(loss|time|data_time|grad_norm).*',
        nan_counts: bool = False,
        reduce: str | None = None,
        strict: bool = False,
        slowest_rank: bool = False,
        group: Any = None,
    ) -> None:
        self.window_size = window_size
        self.by_epoch = by_epoch
        self.custom_cfg = list(custom_cfg or [])
        self.num_digits = num_digits
        self.log_with_hierarchy = log_with_hierarchy
        self.mean_pattern = re.compile(mean_pattern)
        self.nan_counts = nan_counts
        self._rules: dict[tuple[str, bool], _Rules] = {}  # by mode and whether it stays in the names
        self._is_memory_shown: bool | None = None  # unknown until torch is loaded
        self._reported: dict[str, int] = {}  # position of each history at its last line
        self._sources: dict[str, Source] | None = None  # of what is being collected, where that is asked for
        self._lost = _by_key(lost_replays())  # replayed values that are known to be lost, by key
        self.slowest_rank = slowest_rank
        self._check_custom_cfg()
        if reduce is None and (strict or slowest_rank or group is not None):
            raise ArgumentError('reduce must be given with strict, slowest_rank or group')
        self._reduction = None if reduce is None else Reduction(reduce, strict, group)

    # ---- lines ----

    def get_log_after_iter(self, runner: Any, batch_idx: int, mode: str) -> tuple[dict[str, Any], str]:
        """Return the record and the line after an iteration.

        Args:
            runner: A mmengine ``Runner``, a :class:`LoopLogger`, or anything with their ``message_hub``,
                ``iter``, ``epoch``, ``max_iters``, ``max_epochs`` and loops.
            batch_idx: Number of the batch in its loop, from 0.
            mode: ``'train'``, ``'val'`` or ``'test'``.
        """
        if mode not in _SHOWN:
            raise ArgumentError(f'mode must be one of {", ".join(_SHOWN)}, got {mode!r}')
        if self._reduction is not None:
            line = Line(mode, self._done(runner, batch_idx, mode))
            return self._reduction.run(line, partial(self._draft_after_iter, runner, batch_idx, mode))
        shown, tag = self._collect_after_iter(runner, batch_idx, mode)
        header, eta, memory = self._complete(tag, runner, batch_idx, mode)
        return tag, format_iteration(header, shown, self.num_digits, eta, memory, _SHOWN[mode])

    def _collect_after_iter(
        self, runner: Any, batch_idx: int, mode: str, items: list[Item] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the scalars of the line and those of the record.

        ``items`` gets what there is to be reduced.
        """
        custom_cfg = self._parse_windows_size(runner, batch_idx, self.custom_cfg) if self.custom_cfg else []
        sources: dict[str, Source] = {}
        if items is None and not self.nan_counts:
            shown = self._collect_scalars(custom_cfg, runner, mode)
        else:
            shown, sources = self._collect_with_sources(custom_cfg, runner, mode)
        tag, tag_sources = shown.copy(), sources
        if self.log_with_hierarchy:  # where mean_pattern sees the mode, the rates may differ
            tag, tag_sources = self._collect_with_sources(custom_cfg, runner, mode, True)
            prefix = f'{mode}/'
            shown |= {key.removeprefix(prefix): value for key, value in tag.items() if key.endswith('lr')}
        if items is not None:
            assert self._reduction is not None
            items += items_of(shown, sources, self._reduction.how, SHOWN)
            if self.log_with_hierarchy:
                items += items_of(tag, tag_sources, self._reduction.how, RECORDED)
        elif self.nan_counts:
            shown = with_nan_counts(shown, sources)
        is_by_interval = self.window_size == 'interval' or (custom_cfg and _has_interval(custom_cfg))
        if is_by_interval and mode == 'train':  # the others are reported at their end
            self._mark_reported(runner, mode)
        lost = lost_replays()
        if lost:
            self._report_lost(lost)
        return shown, tag

    def _complete(
        self, tag: dict[str, Any], runner: Any, batch_idx: int, mode: str
    ) -> tuple[str, Any, int | None]:
        """Put into the record where it is in the run. Return the line's header, the time left, the memory."""
        is_built = _is_built(runner._train_loop)
        epoch = max_epochs = None
        if self.by_epoch and mode != 'test':
            epoch = tag['epoch'] = self._get_epoch(runner, mode)
            max_epochs = runner.max_epochs if is_built else None
        if self.by_epoch or mode != 'train':
            done, total = batch_idx + 1, self._get_dataloader_size(runner, mode)
        else:
            done, total = self._get_iter(runner, batch_idx), runner.max_iters
        tag['iter'] = runner.iter + 1 if is_built else 0
        memory = None
        if self._is_memory_shown is not False and self._has_device_memory():
            memory = tag['memory'] = self._get_max_memory(runner)
        header = format_header('Epoch' if self.by_epoch else 'Iter', mode, epoch, max_epochs, done, total)
        return header, runner.message_hub.runtime_info.get('eta'), memory

    def _done(self, runner: Any, batch_idx: int, mode: str) -> int:
        """Return the number of the iteration that the line shows."""
        return self._get_iter(runner, batch_idx) if mode == 'train' else batch_idx + 1

    def _draft_after_iter(self, runner: Any, batch_idx: int, mode: str) -> Draft:
        """Return the line of this rank, to be completed with what the others say."""
        items: list[Item] = []
        shown, tag = self._collect_after_iter(runner, batch_idx, mode, items)
        header, eta, memory = self._complete(tag, runner, batch_idx, mode)
        for name, value in (('eta', eta), ('memory', memory)):
            if isinstance(value, Real):
                items.append(Item(Field(ASIDE + name, 'max', is_integer(value)), value))

        def complete(reduced: Mapping[str, Reduced]) -> tuple[dict[str, Any], str]:
            own = {name: tag[name] for name in ('epoch', 'iter', 'memory') if name in tag}
            scope = RECORDED if self.log_with_hierarchy else SHOWN
            record = record_of(tag, reduced, scope, self.slowest_rank) | own
            text = texts_of(shown, reduced, SHOWN, self.slowest_rank, self.nan_counts, self.num_digits)
            left, most = reduced.get(f'{ASIDE}eta'), reduced.get(f'{ASIDE}memory')
            if most is not None:
                record['memory'] = most.value
            return record, format_iteration(
                header,
                text,
                self.num_digits,
                left and left.value,
                most and most.value,
                _SHOWN[mode],
            )

        return Draft(items, complete)

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
        make = partial(self._draft_after_epoch, runner, batch_idx, mode, with_non_scalar)
        return make().complete({}) if self._reduction is None else self._reduction.run(Line(mode, 0), make)

    def _draft_after_epoch(self, runner: Any, batch_idx: int, mode: str, with_non_scalar: bool) -> Draft:
        """Return the line of this rank, to be completed with what the others say, if they do."""
        custom_keys = {self._remove_prefix(cfg['data_src'], f'{mode}/') for cfg in self.custom_cfg}
        over_epoch: list[dict[str, Any]] = [
            {'data_src': key, 'window_size': 'epoch', 'method_name': 'mean'}
            for key in ('time', 'data_time')
            if key not in custom_keys
        ]
        custom_cfg = self._parse_windows_size(runner, batch_idx, [*self.custom_cfg, *over_epoch])
        scalars, sources = self._collect_with_sources(custom_cfg, runner, mode, self.log_with_hierarchy)
        items: list[Item] = []
        shown = scalars
        if self._reduction is not None:
            items = items_of(scalars, sources, self._reduction.how, SHOWN)
        elif self.nan_counts:
            shown = with_nan_counts(scalars, sources)
        self._mark_reported(runner, mode)
        infos = self._collect_non_scalars(runner, mode)
        size = self._get_dataloader_size(runner, mode)
        size = batch_idx + 1 if size is None else size
        if self.by_epoch:
            epoch = f'[{self._get_epoch(runner, mode)}]' if mode == 'val' else ''
            line = f'Epoch({mode}) {epoch}[{size}/{size}]  '
        else:
            line = f'Iter({mode}) [{size}/{size}]  '

        def complete(reduced: Mapping[str, Reduced]) -> tuple[dict[str, Any], str]:
            record = record_of(scalars, reduced, SHOWN, self.slowest_rank)
            in_text = texts_of(shown, reduced, SHOWN, self.slowest_rank, self.nan_counts, self.num_digits)
            text_of_times, times = _take_times(in_text, mode), _take_times(record, mode)
            parts = (
                {name: _on_own_lines(value) for name, value in part.items()}
                for part in (in_text, infos, text_of_times)
            )
            text = '  '.join(format_scalars(part, self.num_digits) for part in parts if part)
            return {**record, **(infos if with_non_scalar else {}), **times}, f'{line}  {text}'

        return Draft(items, complete)

    # ---- values ----

    def _collect_with_sources(self, *arguments: Any) -> tuple[dict[str, Any], dict[str, Source]]:
        """Return what there is to be shown, and what that is of, as far as a subclass lets that be known."""
        sources = self._sources = {}
        try:
            return self._collect_scalars(*arguments), sources
        finally:
            self._sources = None

    def _collect_scalars(
        self, custom_cfg: list[dict[str, Any]], runner: Any, mode: str, reserve_prefix: bool = False
    ) -> dict[str, Any]:
        sources = self._sources
        hub = runner.message_hub
        buffers, positions = hub.log_scalars, getattr(hub, 'positions', None)
        rules = self._rules.get((mode, reserve_prefix))
        if rules is None or rules.mean_pattern is not self.mean_pattern:
            rules = self._rules[mode, reserve_prefix] = _Rules(mode, reserve_prefix, self.mean_pattern)
        if self.window_size == 'interval':
            tag = collect_scalars(buffers, rules, 1, positions, sources)
            means = [key.removeprefix(f'{mode}/') for key, rule in rules.items() if rule and rule[1]]
            every_mean = {'method_name': 'mean', 'window_size': 'interval'}
            custom_cfg = [*({'data_src': key} | every_mean for key in means), *custom_cfg]
        else:
            tag = collect_scalars(buffers, rules, self.window_size, positions, sources)
        if sources is not None and len(sources) < len(tag):  # histories that are not ours
            self._find_other_sources(hub, rules, tag, sources)
        if not custom_cfg:
            return tag
        prefix = f'{mode}/'
        for cfg in custom_cfg:
            arguments = cfg.copy()
            source = arguments.pop('data_src')
            name = arguments.pop('log_name', source)
            buffer = buffers.get(prefix + source)
            if buffer is not None:
                name = prefix + name if reserve_prefix else name
                self._apply(arguments, hub, prefix + source, buffer, name, tag)
        return tag

    def _apply(
        self, arguments: dict[str, Any], hub: Any, key: str, buffer: Any, name: str, tag: dict[str, Any]
    ) -> None:
        """Put what a rule asks for into the record."""
        positions = getattr(hub, 'positions', None)
        position = position_of(positions, key, buffer)
        if isinstance(buffer, HistoryBuffer):
            if position == 0:
                return
            if positions is not None:
                arguments['at'] = position
        if arguments.get('window_size') == 'interval':
            arguments['window_size'] = not_reported(self._reported, position, key)
            if arguments['window_size'] == 0:
                tag.pop(name, None)
                return
        tag[name] = buffer.statistics(**arguments)
        if self._sources is not None:
            method, window = arguments['method_name'], arguments.get('window_size')
            self._sources[name] = source_of(key, buffer, position, method, window)

    def _find_other_sources(
        self, hub: Any, rules: _Rules, tag: dict[str, Any], sources: dict[str, Source]
    ) -> None:
        positions = getattr(hub, 'positions', None)
        for key, history in list(hub.log_scalars.items()):  # other threads may begin to record keys
            rule = rules[key]
            if rule is None or rule[0] not in tag or rule[0] in sources:
                continue
            method, window = ('mean', self.window_size) if rule[1] else ('current', 1)
            if hasattr(history, 'size'):  # of an epoch
                method, window = 'mean', history.size
            position = position_of(positions, key, history)
            sources[rule[0]] = source_of(key, history, position, method, window)

    def _collect_non_scalars(self, runner: Any, mode: str) -> dict[str, Any]:
        prefix = f'{mode}/'
        start = 0 if self.log_with_hierarchy else len(prefix)
        infos = runner.message_hub.runtime_info
        return {key[start:]: value for key, value in infos.items() if key.startswith(prefix)}

    def _mark_reported(self, runner: Any, mode: str) -> None:
        """From here on, 'interval' windows have nothing of what the hub holds for that mode."""
        hub = runner.message_hub
        positions = getattr(hub, 'positions', None)
        for key, buffer in list(hub.log_scalars.items()):
            if key.startswith(f'{mode}/'):
                self._reported[key] = position_of(positions, key, buffer)

    def _report_lost(self, replays: list[tuple[Any, int]]) -> None:
        """Warn of replays of CUDA graphs whose values were overwritten since the last line."""
        lost = _by_key(replays)
        if lost != self._lost:
            new = {key: number - self._lost.get(key, 0) for key, number in lost.items()}
            text = ', '.join(f'{number} of {key!r}' for key, number in new.items() if number > 0)
            _logger.warning('values of CUDA graph replays were overwritten before they were read: %s', text)
            self._lost = lost

    # ---- rules ----

    def _check_custom_cfg(self) -> None:
        _check_window(self.window_size, ('global', 'interval'), 'window_size')
        named = _NAMED_WINDOWS if self.by_epoch else ('global', 'interval')
        names = set()
        for cfg in self.custom_cfg:
            if not isinstance(cfg, dict):
                raise ArgumentTypeError(f'custom_cfg must be a list of dicts, got {cfg!r} in it')
            for required in ('data_src', 'method_name'):
                if required not in cfg:
                    raise ArgumentError(f'custom_cfg: each rule must have a {required!r}, got {cfg!r}')
            _check_window(cfg.get('window_size'), named, 'custom_cfg for %r: window_size', cfg['data_src'])
            if cfg['method_name'] not in HistoryBuffer._statistics_methods:
                _logger.warning(
                    'custom_cfg for %r: there is no statistic %r yet', cfg['data_src'], cfg['method_name']
                )
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
            if window == 'epoch':
                parsed.append(cfg | {'window_size': batch_idx + 1})
            elif window == 'global':
                parsed.append(cfg | {'window_size': runner.iter + 1})
            else:  # may have been changed since the rules were checked
                _check_window(window, _NAMED_WINDOWS, 'custom_cfg for %r: window_size', cfg['data_src'])
                parsed.append(cfg)
        return parsed

    @staticmethod
    def _remove_prefix(string: str, prefix: str) -> str:
        return string.removeprefix(prefix)

    # ---- the runner ----

    def _has_device_memory(self) -> bool:
        if self._is_memory_shown is None:
            torch = sys.modules.get('torch')
            if torch is None:
                return False
            self._is_memory_shown = bool(torch.cuda.is_available()) or 'torch_musa' in sys.modules
        return self._is_memory_shown

    def _get_max_memory(self, runner: Any) -> int:
        """Return the most memory that tensors took on the model's device since the last line, in MB."""
        torch = sys.modules['torch']
        accelerator = torch.musa if 'torch_musa' in sys.modules else torch.cuda
        return take_max_memory(accelerator, getattr(runner.model, 'output_device', None))

    def _get_iter(self, runner: Any, batch_idx: int) -> int:
        return batch_idx + 1 if self.by_epoch else runner.iter + 1

    def _get_epoch(self, runner: Any, mode: str) -> int:
        if mode == 'train':
            return runner.epoch + 1  # type: ignore[no-any-return]
        if mode == 'val':  # the epoch was counted when its training ended
            return runner.epoch if _is_built(runner._train_loop) else 0
        raise ArgumentError(f"mode must be 'train' or 'val', got {mode!r}")

    def _get_cur_loop(self, runner: Any, mode: str) -> Any:
        if mode == 'train':
            return runner.train_loop
        return runner.val_loop if mode == 'val' else runner.test_loop

    def _get_dataloader_size(self, runner: Any, mode: str) -> int | None:
        try:
            return len(self._get_cur_loop(runner, mode).dataloader)
        except TypeError:  # not known
            return None


def take_max_memory(accelerator: Any, device: Any) -> int:
    """Return the most memory that tensors took on a device of ``torch.cuda`` since the last call, in MB."""
    most = int(accelerator.max_memory_allocated(device=device)) // (1024 * 1024)
    accelerator.reset_peak_memory_stats()
    return most


class _Rules(dict[str, 'tuple[str, bool] | None']):
    """What to show for each key of a hub: None, or its name in the record and whether it is averaged."""

    def __init__(self, mode: str, reserve_prefix: bool, mean_pattern: re.Pattern[str]) -> None:
        super().__init__()
        self._prefix = f'{mode}/'
        self._reserve_prefix = reserve_prefix
        self.mean_pattern = mean_pattern

    def __missing__(self, key: str) -> tuple[str, bool] | None:
        rule = None
        if key.startswith(self._prefix):
            name = key if self._reserve_prefix else key.removeprefix(self._prefix)
            rule = name, self.mean_pattern.search(name) is not None
        self[key] = rule
        return rule


def _check_window(window: Any, named: tuple[str, ...], what: str, *names: str) -> None:
    if window is None or (isinstance(window, int) and window >= 1) or window in named:
        return
    what = what % names
    if isinstance(window, str):
        raise ArgumentError(f'{what} must be an int or one of {", ".join(named)}, got {window!r}')
    if not isinstance(window, int):
        raise ArgumentTypeError(f'{what} must be an int or one of {", ".join(named)}, got {window!r}')
    if window < 1:
        raise ArgumentError(f'{what} must be at least 1, got {window!r}')


def _by_key(replays: list[tuple[Any, int]]) -> dict[str | None, int]:
    numbers: dict[str | None, int] = {}
    for history, number in replays:
        numbers[history.key] = numbers.get(history.key, 0) + number
    return numbers


def _has_interval(rules: list[dict[str, Any]]) -> bool:
    return any(rule.get('window_size') == 'interval' for rule in rules)


def _is_built(loop: Any) -> bool:
    """Whether a runner has a loop, not only the configuration of one."""
    return loop is not None and not isinstance(loop, dict)


def _take_times(scalars: dict[str, Any], mode: str) -> dict[str, Any]:
    """Remove the times of an epoch, and return them."""
    names = [f'{key}{end}' for key in ('time', 'data_time') for end in ('', '_max', '_max_rank')]
    wanted = {*names, *(f'{mode}/{name}' for name in names)}
    return {key: scalars.pop(key) for key in list(scalars) if key in wanted}


def _on_own_lines(value: Any) -> Any:
    """Text of an array with line breaks around it; anything else as it is."""
    torch = sys.modules.get('torch')
    if isinstance(value, np.ndarray) or (torch is not None and isinstance(value, torch.Tensor)):
        return f'\n{value}\n'
    return value
