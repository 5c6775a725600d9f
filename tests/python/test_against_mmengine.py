"""The same histories given to mmengine's classes and to ours: the same numbers, types, lines and records.

Values are multiples of 1/1024 where whole lines are compared: all sums are exact then, whatever their order, so
two right answers are the same answer. mmengine 0.10.7 is the one that is followed.
"""

from __future__ import annotations

import copy
import datetime
import math
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ringmeter as rm

torch = pytest.importorskip('torch')
mm_logging = pytest.importorskip('mmengine.logging')
mm_runner = pytest.importorskip('mmengine.runner')

GRID = st.integers(-(2**24), 2**24).map(lambda k: k / 1024)
NAN = math.nan


def same(ours: Any, theirs: Any) -> bool:
    """Whether two values are the same, in type as well; NaN is itself."""
    if type(ours) is not type(theirs):
        return False
    if isinstance(ours, np.ndarray):
        return ours.dtype == theirs.dtype and np.array_equal(ours, theirs, equal_nan=ours.dtype.kind == 'f')
    if isinstance(ours, torch.Tensor):
        return torch.equal(ours, theirs)
    return bool(ours == theirs) or (ours != ours and theirs != theirs)


def assert_same_items(ours: dict[Any, Any], theirs: dict[Any, Any]) -> None:
    """Same keys in the same order, same values of the same types."""
    assert list(ours) == list(theirs)
    for key, value in ours.items():
        assert same(value, theirs[key]), f'{key!r}: {value!r} and {theirs[key]!r}'


# ---- histories ----

NUMBERS: dict[str, st.SearchStrategy[Any]] = {
    'bool': st.booleans(),
    'int': st.one_of(st.integers(-(2**40), 2**40), st.booleans()),
    'grid': GRID,
    'float': st.floats(-1e9, 1e9),
    'mixed': st.one_of(st.booleans(), st.integers(-100, 100), GRID),
    'special': st.one_of(GRID, st.sampled_from([NAN, math.inf, -math.inf, 5e-324, 1e300])),
}
COUNTS = st.one_of(st.just(1), st.integers(0, 100), st.floats(0.5, 100.0))


@given(
    data=st.data(),
    numbers=st.sampled_from(sorted(NUMBERS)),
    start=st.integers(0, 3),
    size=st.integers(1, 40),
    max_length=st.sampled_from([1, 3, 10, 1_000_000]),
)
@settings(max_examples=300)
def test_history_has_the_same_arrays_and_statistics_when_updated_alike(
    data: st.DataObject, numbers: str, start: int, size: int, max_length: int
) -> None:
    pairs = [(data.draw(NUMBERS[numbers]), data.draw(COUNTS)) for _ in range(size)]
    start = min(start, max_length, size)
    values, counts = [value for value, _ in pairs[:start]], [count for _, count in pairs[:start]]
    ours = rm.HistoryBuffer(values, counts, max_length)
    theirs = mm_logging.HistoryBuffer(values, counts, max_length)
    for pair in pairs[start:]:
        ours.update(*pair)
        theirs.update(*pair)

    for own, other in zip(ours.data, theirs.data, strict=True):
        assert same(own, other)
    assert same(ours.current(), theirs.current())
    for window in (None, 1, 2, 5, 1000):
        with np.errstate(all='ignore'):
            assert same(ours.max(window), theirs.max(window))
            assert same(ours.min(window), theirs.min(window))
            mean = theirs.mean(window)
            rounding = np.abs(theirs.data[0][-(window or 1000) :]).sum() * 1e-15
        assert type(ours.mean(window)) is type(mean)
        if numbers == 'special' and np.isfinite(mean):
            assert ours.mean(window) == pytest.approx(mean, rel=1e-15, abs=rounding)
        elif numbers == 'float':
            assert ours.mean(window) == pytest.approx(mean, rel=1e-15, abs=rounding)
        else:
            assert ours.mean(window) == pytest.approx(mean, rel=1e-15, nan_ok=True)


@pytest.mark.parametrize('name', ['mean', 'max', 'min', 'current'])
def test_statistics_by_name_are_the_same(name: str) -> None:
    ours, theirs = rm.HistoryBuffer([1, 2, 5], [1, 1, 2]), mm_logging.HistoryBuffer([1, 2, 5], [1, 1, 2])
    assert same(ours.statistics(name), theirs.statistics(name))


@pytest.mark.parametrize(
    'misuse',
    [
        lambda buffer: buffer([1, 2], [1]),
        lambda buffer: buffer().update('1'),
        lambda buffer: buffer().update(1, '1'),
        lambda buffer: buffer().update(None),
        lambda buffer: buffer().current(),
        lambda buffer: buffer([1], [1]).statistics('no such statistic'),
        lambda buffer: buffer([1], [1]).mean(2.5),
        lambda buffer: buffer([1], [1]).max('3'),
        lambda buffer: buffer.register_statistics(buffer.mean),
    ],
)
def test_misuse_of_a_history_is_caught_by_what_catches_mmengines(misuse: Callable[[Any], Any]) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        misuse(mm_logging.HistoryBuffer)
    with pytest.raises(theirs.type):
        misuse(rm.HistoryBuffer)


def test_history_that_is_too_long_warns_alike() -> None:
    for buffer in (rm.HistoryBuffer, mm_logging.HistoryBuffer):
        with pytest.warns(
            UserWarning, match=r'The length of history buffer\(4\) exceeds the max_length\(2\)'
        ):
            assert buffer([1, 2, 3, 4], [1] * 4, 2).data[0].tolist() == [3, 4]


# ---- hubs ----

WRAPPERS: list[Callable[[Any], Any]] = [
    lambda number: number,
    np.float32,
    np.float64,
    np.float16,
    np.array,
    lambda number: np.array([[number]]),
    torch.tensor,
    lambda number: torch.tensor([[number]]),
    lambda number: torch.tensor(float(number), requires_grad=True),
    lambda number: torch.tensor(float(number), dtype=torch.float64) * 1,
    lambda number: torch.nn.Parameter(torch.tensor(float(number))),
    lambda number: torch.tensor(number, dtype=torch.float16),
    lambda number: torch.tensor(number, dtype=torch.bfloat16),
    lambda number: torch.tensor(number).to(torch.float32)[..., None],
    lambda number: np.int8(int(number)),
    lambda number: np.uint16(abs(int(number))),
    lambda number: torch.tensor(int(number), dtype=torch.int32),
    lambda number: torch.tensor(abs(int(number)), dtype=torch.uint8),
    lambda number: torch.tensor(bool(number)),
]
WRAPPED = st.tuples(st.sampled_from(WRAPPERS), st.one_of(st.integers(-100, 100), st.booleans(), st.integers(-800, 800).map(lambda k: k / 8)))  # fmt: skip
HUB_COUNTS = st.one_of(st.just(1), st.integers(0, 64), st.booleans())
WRAPPED_COUNTS = st.tuples(st.sampled_from([int, np.int64, torch.tensor, np.array]), st.integers(0, 64))
KEYS = st.sampled_from(['train/loss', 'train/acc', 'val/acc', 'lr', 'a b'])
INFOS = st.one_of(st.integers(), st.text(max_size=3), st.none(), st.lists(st.integers(), max_size=2))
OPERATIONS = st.one_of(
    st.tuples(st.just('scalar'), KEYS, WRAPPED, st.none()),
    st.tuples(st.just('scalar'), KEYS, WRAPPED, HUB_COUNTS),
    st.tuples(
        st.just('scalars'), st.dictionaries(KEYS, st.tuples(WRAPPED, st.one_of(st.none(), WRAPPED_COUNTS)))
    ),
    st.tuples(st.just('info'), st.sampled_from(['iter', 'epoch', 'val/matrix', 'train/loss']), INFOS),
    st.tuples(st.just('infos'), st.dictionaries(st.sampled_from(['iter', 'x', 'y']), INFOS)),
    st.tuples(st.just('pop'), st.sampled_from(['iter', 'epoch', 'x', 'no such info'])),
)


def do(hub: Any, operation: tuple[Any, ...], resumed: dict[str, bool]) -> Any:
    name, what, *more = operation
    if name == 'scalar':
        (wrap, number), count = more
        arguments = {} if count is None else {'count': count}
        return hub.update_scalar(what, wrap(number), **arguments, resumed=resumed.get(what, True))
    if name == 'scalars':
        made = {}
        for key, ((wrap, number), count) in what.items():
            if resumed.get(key, True):
                made[key] = (
                    wrap(number) if count is None else {'value': wrap(number), 'count': count[0](count[1])}
                )
        return hub.update_scalars(made)
    if name == 'info':
        return hub.update_info(what, more[0], resumed=resumed.get(what, True))
    if name == 'infos':
        return hub.update_info_dict(what)
    return hub.pop_info(what, 'default')


@given(
    operations=st.lists(OPERATIONS, min_size=1, max_size=25),
    resumed=st.fixed_dictionaries({'train/acc': st.booleans(), 'epoch': st.booleans()}),
)
@settings(max_examples=200)
def test_hub_holds_the_same_when_used_alike(operations: list[Any], resumed: dict[str, bool]) -> None:
    ours, theirs = rm.MessageHub('hub'), mm_logging.MessageHub('hub')
    for operation in operations:
        assert do(ours, operation, resumed) == do(theirs, operation, resumed)
    assert list(ours.log_scalars) == list(theirs.log_scalars)
    for key, buffer in ours.log_scalars.items():
        assert buffer is ours.get_scalar(key)
        for own, other in zip(buffer.data, theirs.get_scalar(key).data, strict=True):
            assert same(own, other), key
    assert_same_items(ours.runtime_info, theirs.runtime_info)
    assert_same_items(ours._resumed_keys, theirs._resumed_keys)
    assert ours.get_info('iter', 'default') == theirs.get_info('iter', 'default')

    state, their_state = ours.state_dict(), theirs.state_dict()
    assert list(state['log_scalars']) == list(their_state['log_scalars'])
    assert_same_items(state['runtime_info'], dict(their_state['runtime_info']))

    # What either saved is the same to load.
    from_ours, from_theirs = rm.MessageHub('ours'), rm.MessageHub('theirs')
    from_ours.load_state_dict(state)
    from_theirs.load_state_dict(their_state)
    assert list(from_ours.log_scalars) == list(from_theirs.log_scalars)
    for key, buffer in from_ours.log_scalars.items():
        for own, other in zip(buffer.data, from_theirs.get_scalar(key).data, strict=True):
            assert same(own, other), key
    assert_same_items(from_ours.runtime_info, from_theirs.runtime_info)


@pytest.mark.parametrize(
    'misuse',
    [
        lambda hub: hub.update_scalar('a', np.zeros(2)),
        lambda hub: hub.update_scalar('a', torch.zeros(0)),
        lambda hub: hub.update_scalar('a', [1.0]),
        lambda hub: hub.update_scalar('a', '1'),
        lambda hub: hub.update_scalars([1]),
        lambda hub: hub.update_scalars({'a': {'count': 1}}),
        lambda hub: hub.update_scalars({'a': {'value': 1, 'count': 0.5}}),
        lambda hub: hub.update_scalar('a', 1) or hub.update_scalar('a', 1, resumed=False),
        lambda hub: hub.update_info('a', 1) or hub.update_info('a', 1, resumed=False),
        lambda hub: hub.update_info_dict([1]),
        lambda hub: hub.get_scalar('unknown'),
        lambda hub: hub.load_state_dict({'log_scalars': {}}),
        lambda hub: type(hub)(''),
        lambda hub: type(hub)(5),
        lambda hub: type(hub)('x', log_scalars=[1]),
        lambda hub: type(hub)('x', log_scalars={'a': 1}),
        lambda hub: type(hub)('x', resumed_keys={'a': True}),
        lambda hub: type(hub).get_instance(5),
    ],
)
def test_misuse_of_a_hub_is_caught_by_what_catches_mmengines(misuse: Callable[[Any], Any]) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        misuse(mm_logging.MessageHub('hub'))
    with pytest.raises(theirs.type):
        misuse(rm.MessageHub('hub'))


# ---- lines ----


class Loop:
    def __init__(self, size: int) -> None:
        self.dataloader = [None] * size


class Runner:
    """What a log processor asks of a runner."""

    def __init__(self, hub: Any, setup: dict[str, Any]) -> None:
        self.message_hub = hub
        self.iter = setup['iter']
        self.epoch = setup['epoch']
        self.max_iters = setup['max_iters']
        self.max_epochs = setup['max_epochs']
        self.train_loop, self.val_loop, self.test_loop = (Loop(size) for size in setup['sizes'])
        self._train_loop = {'none': None, 'config': {'type': 'EpochBasedTrainLoop'}, 'loop': self.train_loop}[
            setup['train_loop']
        ]
        self.model = object()


SETUPS = st.fixed_dictionaries({
    'iter': st.one_of(st.integers(0, 30), st.integers(0, 10**6)),
    'epoch': st.one_of(st.integers(0, 9), st.integers(0, 1500)),
    'max_iters': st.sampled_from([1, 99, 1000, 90000]),
    'max_epochs': st.sampled_from([1, 9, 10, 100, 12345]),
    'sizes': st.tuples(*[st.sampled_from([1, 9, 10, 250, 5000])] * 3),
    'train_loop': st.sampled_from(['none', 'config', 'loop', 'loop']),
})  # fmt: skip
NAMES = ['loss', 'loss_cls', 'acc', 'lr', 'base_lr', 'model.lr', 'momentum', 'grad_norm', 'sub/loss', 'count', 'time', 'data_time']  # fmt: skip
SHOWN_NUMBERS = st.one_of(
    GRID, GRID, st.integers(-50, 50), st.sampled_from([NAN, math.inf, -math.inf, 0.0, 1e10, 2.0**-10])
)
PAIRS = st.lists(st.tuples(SHOWN_NUMBERS, st.sampled_from([1, 1, 1, 2, 16])), min_size=1, max_size=14)
BOOLEANS = st.lists(st.tuples(st.booleans(), st.just(1)), min_size=1, max_size=3)
TIMES = st.lists(st.tuples(st.integers(0, 5000).map(lambda k: k / 1024), st.just(1)), min_size=1, max_size=14)
ETAS = st.one_of(st.integers(0, 10**4), st.floats(0, 1e7), st.sampled_from([0, 86399.99, 86400, 10**8]))
ARRAYS = st.sampled_from([
    np.array([[1, 2], [3, 4]]), np.array(1.5), np.zeros((0, 2)), torch.tensor([[0.5, 1.5]]), torch.tensor(3),
    torch.nn.Parameter(torch.ones(2)),
])  # fmt: skip
SHOWN_INFOS = st.one_of(
    ARRAYS, st.dictionaries(st.text(max_size=3), st.integers(), max_size=2), st.lists(GRID, max_size=3),
    st.text(max_size=8), st.none(), st.booleans(), GRID, st.integers(), st.just(np.float64(0.25)),
    st.just(np.float32(0.1)), st.just(np.int64(7)), st.just((1, 2)),
)  # fmt: skip
ANY_KEYS = st.sampled_from(NAMES + ['val/loss', 'val/loss_cls', 'val/val/loss', 'flag'])


def rules(by_epoch: bool) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rules that mmengine takes: no 'epoch' but by epoch, and a window in each otherwise."""
    named = ['global', 'epoch'] if by_epoch else ['global']
    windows = st.one_of(st.integers(1, 20), st.sampled_from(named))
    required = {'data_src': st.sampled_from([*NAMES, 'unknown', 'val/loss'])}
    ranges = {'method_name': st.sampled_from(['mean', 'max', 'min'])}
    log_name = {'log_name': st.sampled_from(['renamed', 'loss_long', 'warm_lr', 'other', 'time'])}
    one = st.fixed_dictionaries(required | ranges | {'window_size': windows}, optional=log_name)
    if by_epoch:
        without = st.fixed_dictionaries(required | ranges, optional=log_name)
        newest = st.fixed_dictionaries(required | {'method_name': st.just('current')}, optional=log_name)
        one = st.one_of(one, one, without, newest)
    return st.lists(one, max_size=4, unique_by=lambda rule: rule.get('log_name', rule['data_src']))


@st.composite
def cases(draw: st.DrawFn) -> dict[str, Any]:
    """Everything that a line depends on."""
    histories = {}
    for mode in draw(st.sampled_from([['train'], ['train', 'val'], ['val', 'train', 'test']])):
        timed = draw(st.sampled_from([[], ['lr', 'data_time', 'time']]))
        for name in dict.fromkeys(timed + draw(st.lists(ANY_KEYS, max_size=8, unique=True))):
            pairs = BOOLEANS if name == 'flag' else TIMES if 'time' in name else PAIRS
            histories[f'{mode}/{name}'] = draw(pairs)
    for name in draw(
        st.lists(st.sampled_from(['loss', 'other/loss', 'Train/loss', '/train/loss']), max_size=1)
    ):
        histories[name] = draw(PAIRS)
    infos = draw(
        st.dictionaries(
            st.sampled_from(['val/matrix', 'val/names', 'test/matrix', 'test/table', 'other', 'train/x']),
            SHOWN_INFOS,
            max_size=4,
        )
    )
    if draw(st.booleans()):
        infos['eta'] = draw(ETAS)
    by_epoch = draw(st.booleans())
    arguments = draw(
        st.fixed_dictionaries(
            {'by_epoch': st.just(by_epoch), 'custom_cfg': rules(by_epoch)},
            optional={
                'window_size': st.sampled_from([1, 2, 10, 1000]),
                'num_digits': st.sampled_from([2, 4, 6]),
                'log_with_hierarchy': st.booleans(),
                'mean_pattern': st.sampled_from(['.*', 'loss', 'nothing']),
            },
        )
    )
    return {'histories': histories, 'infos': infos, 'arguments': arguments, 'setup': draw(SETUPS)}


def fill(hub: Any, case: dict[str, Any]) -> None:
    for key, pairs in case['histories'].items():
        for value, count in pairs:
            hub.update_scalar(key, value, count)
    for key, info in case['infos'].items():
        hub.update_info(key, info)


def both(case: dict[str, Any]) -> list[tuple[Any, Runner]]:
    """A processor and a runner of ours, and of mmengine's."""
    made = []
    for hub, processor in (
        (rm.MessageHub('hub'), rm.LogProcessor),
        (mm_logging.MessageHub('hub'), mm_runner.LogProcessor),
    ):
        fill(hub, case)
        made.append((processor(**copy.deepcopy(case['arguments'])), Runner(hub, case['setup'])))
    return made


def lines_of(case: dict[str, Any], ask: Callable[[Any, Any], tuple[Any, str]]) -> list[tuple[Any, Any]]:
    """What both answer: a record and a line, or the exception that both raise."""
    answers: list[tuple[Any, Any]] = []
    for processor, runner in both(case):
        try:
            with np.errstate(all='ignore'):
                answers.append(ask(processor, runner))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            answers.append((None, error))
    return answers


def assert_same_lines(case: dict[str, Any], ask: Callable[[Any, Any], tuple[Any, str]]) -> None:
    (tag, line), (their_tag, their_line) = lines_of(case, ask)
    if isinstance(their_line, Exception):
        assert isinstance(line, type(their_line)), (line, their_line)
        return
    assert line == their_line
    assert_same_items(tag, their_tag)


@given(case=cases(), mode=st.sampled_from(['train', 'val', 'test']), batch_idx=st.one_of(st.integers(0, 8), st.integers(0, 4999)))  # fmt: skip
@settings(max_examples=300)
def test_line_after_an_iteration_is_the_same(case: dict[str, Any], mode: str, batch_idx: int) -> None:
    assert_same_lines(case, lambda processor, runner: processor.get_log_after_iter(runner, batch_idx, mode))


@given(
    case=cases(),
    mode=st.sampled_from(['val', 'test']),
    batch_idx=st.integers(0, 20),
    non_scalar=st.booleans(),
)
@settings(max_examples=300)
def test_line_after_an_epoch_is_the_same(
    case: dict[str, Any], mode: str, batch_idx: int, non_scalar: bool
) -> None:
    assert_same_lines(
        case, lambda processor, runner: processor.get_log_after_epoch(runner, batch_idx, mode, non_scalar)
    )


@given(data=st.data(), case=cases(), mode=st.sampled_from(['train', 'val']))
@settings(max_examples=100)
def test_line_is_the_same_up_to_rounding_when_values_are_any_floats(
    data: st.DataObject, case: dict[str, Any], mode: str
) -> None:
    floats = st.lists(st.tuples(st.floats(-1e6, 1e6), st.integers(1, 1000)), min_size=1, max_size=20)
    case['histories'] = {key: data.draw(floats) for key in case['histories']}
    (tag, line), (their_tag, their_line) = lines_of(
        case, lambda processor, runner: processor.get_log_after_iter(runner, 3, mode)
    )
    if isinstance(their_line, Exception):
        assert isinstance(line, type(their_line))
        return
    assert list(tag) == list(their_tag)
    for key, value in tag.items():
        assert value == pytest.approx(their_tag[key], rel=1e-13, abs=1e-8), key
    number = re.compile(r'-?\d+(?:\.\d+)?(?:e[-+]\d+)?')
    assert number.sub('#', line) == number.sub('#', their_line)
    for own, other in zip(number.findall(line), number.findall(their_line), strict=True):
        digits = len(other.partition('.')[2].partition('e')[0])
        assert float(own) == pytest.approx(
            float(other), rel=1e-12 + 1.5 * 10.0**-digits, abs=1.5 * 10.0**-digits
        )


BASE: dict[str, Any] = {
    'histories': {
        'train/lr': [(0.0625, 1)],
        'train/data_time': [(0.25, 1), (0.5, 1)],
        'train/time': [(1.0, 1), (0.5, 1)],
        'train/loss': [(3.0, 1), (1.0, 1)],
        'train/acc': [(0.5, 2)],
    },
    'infos': {'eta': 3600 * 24 * 3 + 61.7},
    'arguments': {},
    'setup': {
        'iter': 41, 'epoch': 4, 'max_iters': 1000, 'max_epochs': 120, 'sizes': (10, 10, 10), 'train_loop': 'loop',
    },
}  # fmt: skip


def test_line_is_the_expected_text() -> None:
    """One line in full, so that the comparisons here are known to compare lines."""
    (_, line), (_, their_line) = lines_of(BASE, lambda p, runner: p.get_log_after_iter(runner, 1, 'train'))
    assert line == their_line
    assert line == (
        'Epoch(train)   [5][ 2/10]  lr: 6.2500e-02  eta: 3 days, 0:01:01  time: 0.7500  data_time: 0.3750  '
        'loss: 2.0000  acc: 0.5000'
    )


@pytest.mark.parametrize('hierarchy', [False, True])
@pytest.mark.parametrize('mode', ['train', 'val', 'test'])
def test_memory_is_the_same_when_there_is_a_device(
    monkeypatch: pytest.MonkeyPatch, mode: str, hierarchy: bool
) -> None:
    resets = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda device=None: 1536 * 1024 * 1024 + 12345)  # noqa: ARG005
    monkeypatch.setattr(torch.cuda, 'reset_peak_memory_stats', lambda: resets.append(1))
    case = BASE | {'arguments': {'log_with_hierarchy': hierarchy}}
    assert_same_lines(case, lambda processor, runner: processor.get_log_after_iter(runner, 1, mode))
    assert len(resets) == 2  # one by each
    (tag, line), _ = lines_of(case, lambda processor, runner: processor.get_log_after_iter(runner, 1, mode))
    assert '  memory: 1536  ' in line
    assert tag['memory'] == 1536


def test_memory_is_asked_of_the_device_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'max_memory_allocated', lambda device=None: asked.append(device) or 0)
    monkeypatch.setattr(torch.cuda, 'reset_peak_memory_stats', lambda: None)
    for processor, runner in both(BASE):
        runner.model = Loop(0)
        runner.model.output_device = 'cpu'  # type: ignore[attr-defined]
        processor.get_log_after_iter(runner, 1, 'train')
    assert asked == ['cpu', 'cpu']


def test_line_is_the_same_when_times_are_integers() -> None:
    histories = {'train/time': [(2, 1)], 'train/data_time': [(1, 1)], 'train/loss': [(1, 1)]}
    for pattern in ('nothing', '.*'):
        case = BASE | {'histories': histories, 'arguments': {'mean_pattern': pattern}}
        assert_same_lines(case, lambda processor, runner: processor.get_log_after_iter(runner, 1, 'train'))


def test_rates_are_those_of_the_record_when_the_pattern_sees_the_mode() -> None:
    histories = {'train/lr': [(1.0, 1), (2.0, 1)], 'train/loss': [(1.0, 1)]}
    for pattern in ('^train/lr', '^lr'):
        case = BASE | {'histories': histories}
        case['arguments'] = {'mean_pattern': pattern, 'log_with_hierarchy': True}
        assert_same_lines(case, lambda processor, runner: processor.get_log_after_iter(runner, 1, 'train'))


def test_names_of_scalars_and_infos_may_be_the_same() -> None:
    case = BASE | {
        'histories': {'val/acc': [(0.5, 1)], 'val/time': [(0.25, 1)]},
        'infos': {'val/acc': 'text', 'val/time': [1, 2]},
    }
    for non_scalar in (False, True):
        assert_same_lines(case, lambda p, runner, n=non_scalar: p.get_log_after_epoch(runner, 1, 'val', n))


@pytest.mark.parametrize(
    'misuse',
    [
        lambda processor: processor(
            by_epoch=False, custom_cfg=[{'data_src': 'loss', 'method_name': 'mean', 'window_size': 'epoch'}]
        ),  # fmt: skip
        lambda processor: processor(custom_cfg=[{'method_name': 'mean', 'window_size': 1}]),
        lambda processor: processor(custom_cfg=[{'data_src': 'loss', 'method_name': 'mean'}] * 2),
        lambda processor: processor().get_log_after_iter(None, 1, 'epoch'),
        lambda processor: processor().get_log_after_epoch(None, 1, 'train'),
        lambda processor: processor()._get_epoch(None, 'test'),
    ],
)
def test_misuse_of_a_processor_is_caught_by_what_catches_mmengines(misuse: Callable[[Any], Any]) -> None:
    with pytest.raises(Exception) as theirs:  # noqa: PT011
        misuse(mm_runner.LogProcessor)
    with pytest.raises(theirs.type):
        misuse(rm.LogProcessor)


# ---- losses ----

TENSORS = st.lists(GRID, min_size=1, max_size=5).map(
    lambda numbers: torch.tensor(numbers, dtype=torch.float64)
)


@given(
    losses=st.dictionaries(
        st.sampled_from(['loss_cls', 'loss_box', 'aux_loss', 'acc', 'recall', 'decode.loss_ce']),
        st.one_of(TENSORS, TENSORS.map(lambda t: t[0]), st.lists(TENSORS, min_size=1, max_size=3)),
        min_size=1,
    )
)
@settings(max_examples=150)
def test_losses_are_reduced_and_summed_as_parse_losses_does(losses: dict[str, Any]) -> None:
    from mmengine.model import BaseModel

    class Model(BaseModel):
        def forward(self) -> None: ...

    their_total, log_vars = Model().parse_losses(losses)
    meter = rm.LoopLogger(max_iters=1)
    total = meter.log(losses)
    recorded = {key: buffer.current() for key, buffer in meter.message_hub.log_scalars.items()}
    if any('loss' in key for key in losses):
        assert torch.equal(total, their_total)
    else:  # theirs is a loss of 0 that no model returned
        assert total is None
        del log_vars['loss']
    assert recorded == {f'train/{key}': float(value) for key, value in log_vars.items()}


# ---- a real Runner ----


class OurHubRunner:
    """A runner of mmengine with a hub of ours that holds the same."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self.message_hub = rm.MessageHub('copy')
        for key, buffer in runner.message_hub.log_scalars.items():
            values, counts = buffer.data
            for value, count in zip(values.tolist(), counts.tolist(), strict=True):
                self.message_hub.update_scalar(key, value, count)
        self.message_hub.runtime_info.update(runner.message_hub.runtime_info)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)


@pytest.mark.filterwarnings('ignore')  # theirs
@pytest.mark.parametrize('by_epoch', [True, False])
def test_lines_are_those_of_a_real_runner(tmp_path: Any, by_epoch: bool) -> None:
    from mmengine.evaluator import BaseMetric
    from mmengine.hooks import Hook
    from mmengine.model import BaseModel

    class Toy(BaseModel):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(2, 1)

        def forward(self, inputs: Any, targets: Any, mode: str = 'tensor') -> Any:
            outputs = self.linear(torch.stack(list(inputs)))
            if mode == 'loss':
                error = outputs.squeeze(1) - torch.as_tensor(targets, dtype=torch.float32)
                return {'loss_sq': error.square(), 'loss_abs': [error.abs().mean(), error.abs().max()]}
            return outputs

    class Accuracy(BaseMetric):
        def process(self, data_batch: Any, data_samples: Any) -> None:  # noqa: ARG002
            self.results.append(len(data_samples))

        def compute_metrics(self, results: list[Any]) -> dict[str, Any]:
            return {'acc': 0.1 * sum(results), 'seen': sum(results), 'matrix': np.eye(2)}

    compared = []

    class Compare(Hook):
        priority = 'LOWEST'

        def compare(self, runner: Any, ask: Callable[[Any, Any], tuple[Any, str]]) -> None:
            their_tag, their_line = ask(runner.log_processor, runner)
            for any_runner in (runner, OurHubRunner(runner)):
                tag, line = ask(rm.LogProcessor(by_epoch=by_epoch, custom_cfg=custom_cfg), any_runner)
                assert line == their_line
                assert list(tag) == list(their_tag)
                for key, value in tag.items():
                    assert np.allclose(value, their_tag[key], rtol=1e-13, atol=0), key
            compared.append(their_line)

        def after_train_iter(
            self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
        ) -> None:  # noqa: ARG002
            self.compare(
                runner, lambda processor, given: processor.get_log_after_iter(given, batch_idx, 'train')
            )

        def after_val_iter(
            self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None
        ) -> None:  # noqa: ARG002
            self.compare(
                runner, lambda processor, given: processor.get_log_after_iter(given, batch_idx, 'val')
            )

        def after_val_epoch(self, runner: Any, metrics: Any = None) -> None:  # noqa: ARG002
            self.compare(
                runner,
                lambda processor, given: processor.get_log_after_epoch(
                    given, len(runner.val_dataloader), 'val', True
                ),
            )

    source = random.Random(7)
    items = [(torch.tensor([source.random(), source.random()]), source.random()) for _ in range(12)]
    loader = {
        'dataset': items, 'batch_size': 3, 'num_workers': 0, 'sampler': {'type': 'DefaultSampler', 'shuffle': False},
    }  # fmt: skip
    custom_cfg = [
        {'data_src': 'loss', 'log_name': 'loss_long', 'method_name': 'mean', 'window_size': 'global'},
        {'data_src': 'loss', 'log_name': 'loss_min', 'method_name': 'min', 'window_size': 3},
    ]
    train = (
        {'by_epoch': True, 'max_epochs': 2}
        if by_epoch
        else {'by_epoch': False, 'max_iters': 8, 'val_interval': 4}
    )
    runner = mm_runner.Runner(
        model=Toy(),
        work_dir=str(tmp_path),
        train_dataloader=loader,
        val_dataloader=loader,
        optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.01, 'momentum': 0.9}},
        train_cfg=train,
        val_cfg={},
        val_evaluator=[Accuracy()],
        log_processor={'by_epoch': by_epoch, 'custom_cfg': custom_cfg},
        default_hooks={'checkpoint': None},
        custom_hooks=[Compare()],
        experiment_name=f'ringmeter_{tmp_path.name}_{datetime.datetime.now().timestamp()}',
    )
    runner.train()
    assert len(compared) == 8 + 2 * (4 + 1)
    assert any('loss_long: ' in line and 'loss_min: ' in line and 'eta: ' in line for line in compared)
