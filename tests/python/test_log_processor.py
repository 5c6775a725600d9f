"""What LogProcessor adds to mmengine's, and how it refuses. Its lines: test_against_mmengine.py."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

import ringmeter as rm
from ringmeter._landing import HubAt


def make_runner(**histories: list[float]) -> Any:
    hub = rm.MessageHub('test')
    for key, values in histories.items():
        for value in values:
            hub.update_scalar(f'train/{key}', value)
    loop = SimpleNamespace(dataloader=[0] * 100)
    return SimpleNamespace(
        message_hub=hub, iter=0, epoch=0, max_iters=1000, max_epochs=9, _train_loop=loop, train_loop=loop
    )


def shown(processor: rm.LogProcessor, runner: Any) -> dict[str, float]:
    tag, _ = processor.get_log_after_iter(runner, 0, 'train')
    return {key: float(value) for key, value in tag.items() if key not in ('epoch', 'iter')}


def test_interval_window_covers_what_no_line_has_shown() -> None:
    runner = make_runner(loss=[1.0, 2.0, 6.0])
    rule = {'data_src': 'loss', 'window_size': 'interval', 'method_name': 'mean'}
    processor = rm.LogProcessor(custom_cfg=[rule])
    assert shown(processor, runner) == {'loss': 3.0}
    runner.message_hub.update_scalar('train/loss', 10.0)
    runner.message_hub.update_scalar('train/loss', 20.0)
    assert shown(processor, runner) == {'loss': 15.0}


def test_interval_window_leaves_a_key_out_when_nothing_is_new() -> None:
    runner = make_runner(loss=[1.0], rare=[5.0])
    processor = rm.LogProcessor(
        custom_cfg=[{'data_src': 'rare', 'window_size': 'interval', 'method_name': 'max'}]
    )
    assert shown(processor, runner) == {'loss': 1.0, 'rare': 5.0}
    assert shown(processor, runner) == {'loss': 1.0}


def test_interval_can_be_the_window_of_all_averages() -> None:
    runner = make_runner(loss=[1.0, 3.0], acc=[0.5])
    processor = rm.LogProcessor(window_size='interval')
    assert shown(processor, runner) == {'loss': 2.0, 'acc': 0.5}
    runner.message_hub.update_scalar('train/loss', 8.0)
    assert shown(processor, runner) == {'loss': 8.0, 'acc': 0.5}


def test_interval_windows_are_per_processor_and_survive_hierarchy() -> None:
    runner = make_runner(loss=[1.0, 3.0])
    rule = {'data_src': 'loss', 'window_size': 'interval', 'method_name': 'count', 'log_name': 'n'}
    first = rm.LogProcessor(custom_cfg=[rule], log_with_hierarchy=True)
    second = rm.LogProcessor(custom_cfg=[rule])
    assert shown(first, runner) == {'train/loss': 2.0, 'train/n': 2.0}
    runner.message_hub.update_scalar('train/loss', 5.0)
    assert shown(first, runner) == {'train/loss': 3.0, 'train/n': 1.0}
    assert shown(second, runner) == {'loss': 3.0, 'n': 3.0}


def test_interval_window_covers_everything_when_the_history_was_replaced() -> None:
    runner = make_runner(loss=[1.0] * 5)
    processor = rm.LogProcessor(window_size='interval')
    shown(processor, runner)
    runner.message_hub.log_scalars['train/loss'] = rm.HistoryBuffer([4.0, 6.0], [1, 1])
    assert shown(processor, runner) == {'loss': 5.0}


def test_global_can_be_the_window_of_all_averages() -> None:
    assert shown(rm.LogProcessor(window_size='global'), make_runner(loss=[0.0] * 99 + [100.0])) == {
        'loss': 1.0
    }


@pytest.mark.parametrize(
    ('rule', 'expected'),
    [
        ({'method_name': 'median', 'window_size': 3}, 4.0),
        ({'method_name': 'quantile', 'q': 0.25, 'window_size': 'global'}, 2.5),
        ({'method_name': 'sum', 'window_size': 2}, 13.0),
        ({'method_name': 'std', 'window_size': 2}, 2.5),
        ({'method_name': 'ema', 'smoothing': 0.5, 'window_size': 2}, (9 + 0.5 * 4) / 1.5),
        ({'method_name': 'count', 'window_size': 4}, 4.0),
        ({'method_name': 'current'}, 9.0),
    ],
)
def test_every_statistic_can_be_a_rule(rule: dict[str, Any], expected: float) -> None:
    runner = make_runner(loss=[1.0, 1.0, 4.0, 9.0])
    runner.iter = 2  # 'global' is as many entries as there were iterations: 1, 4, 9
    processor = rm.LogProcessor(custom_cfg=[{'data_src': 'loss', 'log_name': 'x'} | rule])
    assert shown(processor, runner)['x'] == pytest.approx(expected, rel=1e-15)


def test_a_key_belongs_to_a_mode_only_with_the_slash() -> None:
    hub = make_runner().message_hub
    for key in ('val/acc', 'value_loss', 'val_acc', 'validation/x'):
        hub.update_scalar(key, 1.0)
    hub.update_info('val/matrix', 'm')
    hub.update_info('value', 'v')
    runner = make_runner()
    runner.message_hub = hub
    runner.val_loop = runner.train_loop
    tag, line = rm.LogProcessor().get_log_after_epoch(runner, 0, 'val', with_non_scalar=True)
    assert tag == {'acc': 1.0, 'matrix': 'm'}
    assert line == 'Epoch(val) [0][100/100]    acc: 1.0000  matrix: m'


def test_changing_mean_pattern_takes_effect() -> None:
    import re

    runner = make_runner(acc=[1.0, 3.0])
    processor = rm.LogProcessor()
    assert shown(processor, runner) == {'acc': 3.0}
    processor.mean_pattern = re.compile('acc')
    assert shown(processor, runner) == {'acc': 2.0}


@pytest.mark.parametrize(
    'options', [{}, {'log_with_hierarchy': True}, {'nan_counts': True}, {'reduce': 'mean'}], ids=repr
)
def test_subclass_may_collect_with_the_arguments_of_mmengine(options: dict[str, Any]) -> None:
    class Doubling(rm.LogProcessor):
        def _collect_scalars(
            self, custom_cfg: Any, runner: Any, mode: str, reserve_prefix: bool = False
        ) -> dict[str, Any]:
            tag = super()._collect_scalars(custom_cfg, runner, mode, reserve_prefix)
            return {key: 2 * value for key, value in tag.items()} | {'more': 5.0}

    runner = make_runner(loss=[1.0])
    processor = Doubling(**options)
    assert list(shown(processor, runner).values()) == [2.0, 5.0]
    runner.message_hub.update_scalar('val/acc', 3.0)
    runner.val_loop = runner.train_loop
    tag, _ = processor.get_log_after_epoch(runner, 0, 'val')
    assert list(tag.values()) == [6.0, 5.0]


@pytest.mark.parametrize('options', [{}, {'nan_counts': True}, {'reduce': 'mean'}, {'window_size': 'global'}])
def test_histories_that_are_not_ours_are_in_lines_that_waited(options: dict[str, Any]) -> None:
    runner = make_runner(loss=[1.0])
    theirs = pytest.importorskip('mmengine.logging').HistoryBuffer([2.0, 4.0], [1, 1])
    runner.message_hub.log_scalars['train/theirs_loss'] = theirs
    assert shown(rm.LogProcessor(**options), runner) == {'loss': 1.0, 'theirs_loss': 3.0}
    runner.message_hub = HubAt(runner.message_hub)
    assert shown(rm.LogProcessor(**options), runner) == {'loss': 1.0, 'theirs_loss': 3.0}


@pytest.mark.parametrize('options', [{}, {'window_size': 'interval', 'reduce': 'mean'}])
def test_key_that_comes_while_a_line_is_made_is_in_it(options: dict[str, Any]) -> None:
    """As from another thread: the line was lost."""
    runner = make_runner(loss=[1.0])
    hub = runner.message_hub

    class Recording:
        _log_history = (5.0,)

        def current(self) -> float:
            hub.update_scalar('train/new', 3.0)
            return self._log_history[-1]

    hub.log_scalars['train/a'] = Recording()
    hub.update_scalar('train/b', 2.0)
    expected = {'loss': 1.0, 'a': 5.0, 'b': 2.0, 'new': 3.0}
    assert shown(rm.LogProcessor(**options), runner) == expected


@pytest.mark.parametrize(
    ('arguments', 'error', 'message'),
    [
        ({'window_size': 0}, rm.ArgumentError, 'window_size must be at least 1, got 0'),
        (
            {'window_size': 'epoch'},
            rm.ArgumentError,
            "must be an int or one of global, interval, got 'epoch'",
        ),
        ({'window_size': []}, rm.ArgumentTypeError, r'window_size must be an int or one of .*, got \[\]'),
        (
            {'custom_cfg': [{'data_src': 'loss', 'method_name': 'mean', 'window_size': -1}]},
            rm.ArgumentError,
            "custom_cfg for 'loss': window_size must be at least 1, got -1",
        ),
        (
            {'custom_cfg': [{'data_src': 'loss', 'method_name': 'mean', 'window_size': 'week'}]},
            rm.ArgumentError,
            "custom_cfg for 'loss': window_size must be an int or one of epoch, global, interval, got 'week'",
        ),
        (
            {
                'by_epoch': False,
                'custom_cfg': [{'data_src': 'x', 'method_name': 'mean', 'window_size': 'epoch'}],
            },
            rm.ArgumentError,
            "custom_cfg for 'x': window_size must be an int or one of global, interval, got 'epoch'",
        ),
        ({'custom_cfg': [{'method_name': 'mean'}]}, rm.ArgumentError, "each rule must have a 'data_src'"),
        ({'custom_cfg': [{'data_src': 'loss'}]}, rm.ArgumentError, "each rule must have a 'method_name'"),
        (
            {'custom_cfg': [{'data_src': 'loss', 'method_name': 'mean'}] * 2},
            rm.ArgumentError,
            "log_name must differ between rules, got 'loss' twice",
        ),
    ],
)
def test_constructor_refuses(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        rm.LogProcessor(**arguments)
    assert isinstance(caught.value, AssertionError)  # what mmengine raises


def test_unknown_statistic_is_named_with_its_series() -> None:
    runner = make_runner(loss=[1.0])
    processor = rm.LogProcessor(custom_cfg=[{'data_src': 'loss', 'method_name': 'avg'}])
    with pytest.raises(KeyError, match=r"series 'train/loss': statistic must be one of .*, got 'avg'"):
        processor.get_log_after_iter(runner, 0, 'train')


def test_modes_are_checked() -> None:
    with pytest.raises(rm.ArgumentError, match="mode must be one of train, val, test, got 'eval'"):
        rm.LogProcessor().get_log_after_iter(make_runner(), 0, 'eval')
    with pytest.raises(rm.ArgumentError, match="mode must be 'val' or 'test', got 'train'"):
        rm.LogProcessor().get_log_after_epoch(make_runner(), 0, 'train')


def test_statistic_that_is_not_known_yet_is_named_in_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger='ringmeter'):
        rm.LogProcessor(custom_cfg=[{'data_src': 'loss', 'method_name': 'men'}])
    assert "custom_cfg for 'loss': there is no statistic 'men' yet" in caplog.text
