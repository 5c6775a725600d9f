"""HistoryBuffer against a list of numbers, with math.fsum, exact integers and numpy as oracles.

Anything that can be done to a history is done in random order: pushes of every kind of number, one by one and
in bulk across the borders of leaves, chunks and laps of the ring, questions about any window now and as of
earlier positions, copies and pickles.
"""

from __future__ import annotations

import copy
import functools
import math
import pickle
import random
import struct
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import ringmeter as rm

# How far behind the newest entry a whole window may end and still be answered (HistoryBuffer's docstring).
SLACK = 1024
STATISTICS = ('current', 'mean', 'min', 'max', 'median', 'sum', 'std', 'ema', 'quantile', 'count')
OF_EMPTY = ('mean', 'sum', 'count')
DTYPES: tuple[type, ...] = (np.bool_, np.int64, np.float64)
NAN = math.nan
LARGEST = sys.float_info.max

# The NaNs by which the ring marks slots that hold nothing (csrc/core/slot.h): a user may record them too.
MARKS = [struct.unpack('<d', struct.pack('<Q', 0x7FF452494E470000 + i))[0] for i in (0, 1, 2)]

# ---- what numbers there are ----

GRID = st.integers(-(2**20), 2**20).map(lambda k: k / 1024)
SPECIAL = st.sampled_from([
    *MARKS, NAN, math.inf, -math.inf, 0.0, -0.0, 5e-324, -5e-324, 2.2250738585072014e-308, LARGEST, -LARGEST,
])  # fmt: skip
EDGE_INTS = st.sampled_from([
    *(sign * 2**53 + d for sign in (1, -1) for d in (-2, -1, 0, 1, 2, 3)),
    *(-(2**63) + d for d in (0, 1, 2, 1023, 1024, 1025)), *(2**63 - d for d in (1, 2, 512, 513, 1025)),
])  # fmt: skip
EDGE_UINTS = st.sampled_from(
    [2**63 + d for d in (-1, 0, 1, 1023, 1024, 1025, 2047, 2049)] + [2**64 - 1, 2**64 - 2]
)
BEYOND = st.sampled_from([2**64, -(2**63) - 1, 10**30, -(10**300)])

PALETTES: dict[str, st.SearchStrategy[Any]] = {
    'bool': st.booleans(),
    'small': st.one_of(st.integers(-1000, 1000), st.booleans()),
    'int': st.one_of(EDGE_INTS, st.integers(-(2**63), 2**63 - 1), st.integers(-9, 9)),
    'uint': st.one_of(EDGE_UINTS, st.integers(0, 2**64 - 1), st.integers(0, 9)),
    'grid': GRID,
    'float': st.floats(-1e6, 1e6),
    'wild': st.one_of(st.floats(allow_subnormal=True), SPECIAL, GRID, BEYOND, EDGE_INTS, EDGE_UINTS),
}
BULK: dict[str, Callable[[random.Random], Any]] = {
    'bool': lambda r: r.random() < 0.5,
    'small': lambda r: r.randint(-1000, 1000),
    'int': lambda r: r.randint(-(2**63), 2**63 - 1) if r.random() < 0.1 else r.randint(-(2**40), 2**40),
    'uint': lambda r: r.randint(0, 2**64 - 1) if r.random() < 0.1 else r.randint(0, 2**40),
    'grid': lambda r: r.randint(-(2**20), 2**20) / 1024,
    'float': lambda r: r.gauss(1e3, 1.0),
    'wild': lambda r: (
        r.choice([NAN, math.inf, -math.inf])
        if r.random() < 0.001
        else r.uniform(-1, 1) * 10.0 ** r.randint(-300, 290)
    ),
}
COUNTS = st.one_of(
    st.just(1), st.integers(-3, 1000), st.integers(0, 2**40), st.booleans(), st.floats(0, 1e12)
)
BULK_COUNTS: list[Callable[[random.Random], Any]] = [
    lambda _: 1,
    lambda r: r.randint(0, 64),
    lambda r: 1 if r.random() < 0.999 else r.randint(2, 9),
    lambda r: r.uniform(0.5, 2.0),
]
WINDOWS = st.one_of(
    st.sampled_from([None, 'global', 1, 2, 10**6, 2**70, np.int64(7)]),
    st.sampled_from([63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 2048]),
    st.integers(1, 3100),
)
# One less, as many as and one more than a block of each size, and some that no block divides.
SIZES = st.sampled_from([2, 3, 50, 63, 64, 65, 127, 128, 129, 500, 1023, 1024, 1025, 2047, 3333, 8191, 8193])
SMOOTHINGS = st.sampled_from([0.0, 0.3, 0.9, 0.99])  # -60 / log2() of them is nowhere near an integer
FRACTIONS = st.one_of(
    st.sampled_from([0.0, 0.25, 0.5, 0.75, 0.9, 1.0]), st.floats(0, 1, allow_subnormal=False)
)


def kind_of(number: Any) -> int:
    if isinstance(number, bool):
        return 0
    return 1 if isinstance(number, int) and -(2**63) <= number < 2**64 else 2


def as_kind(number: Any, kind: int) -> Any:
    return float(number) if kind == 2 else number


# ---- the oracles ----


def total(numbers: list[Any]) -> float:
    """The correctly rounded sum, where NaN and infinities add up as IEEE has it; OverflowError beyond."""
    if numbers and all(isinstance(number, int) for number in numbers):
        return float(sum(numbers))
    rest = [number for number in numbers if not math.isfinite(number)]
    return sum(rest) if rest else math.fsum(numbers)


def is_near(result: float, expected: float, ulps: float, size: float = 0.0) -> bool:
    if not math.isfinite(expected) or not math.isfinite(result):
        return result == expected or (math.isnan(result) and math.isnan(expected))
    return abs(result - expected) <= ulps * math.ulp(max(abs(expected), size))


def whole(number: int) -> Any:
    """An exact integer in the type that a history of integers answers with."""
    if -(2**63) <= number < 2**63:
        return np.int64(number)
    return np.uint64(number) if 0 <= number < 2**64 else np.float64(number)


def typed(number: Any, kind: int) -> Any:
    return whole(number) if kind == 1 else DTYPES[kind](number)


def array_of(numbers: list[Any], kind: int) -> Any:
    if kind == 1:
        return np.array(numbers, dtype=np.uint64 if any(n >= 2**63 for n in numbers) else np.int64)
    return np.array(numbers, dtype=DTYPES[kind])


def check_same(result: Any, expected: Any) -> None:
    assert type(result) is type(expected)
    assert result == expected or (math.isnan(result) and math.isnan(expected))


def check_statistic(
    name: str, result: Any, values: list[Any], counts: list[Any], kinds: tuple[int, int], **more: Any
) -> None:
    """Compare a statistic over these entries with what the oracle says of them."""
    kind, count_kind = kinds
    floats = [float(value) for value in values]
    has_nan = any(math.isnan(value) for value in floats)
    finite = [abs(value) for value in floats if math.isfinite(value)]
    size = max(finite, default=0.0)
    may_overflow = size * len(floats) > LARGEST

    if name == 'current':
        check_same(result, typed(values[-1], kind))
    elif name in ('min', 'max'):
        extreme = min(values) if name == 'min' else max(values)
        check_same(result, typed(NAN if has_nan else extreme, kind))
    elif name == 'count' and count_kind < 2:
        check_same(result, np.int64(sum(counts)))
    elif name == 'sum' and kind < 2:
        check_same(result, whole(sum(values)))
    else:
        assert type(result) is np.float64
        if name == 'count':
            assert is_near(result, math.fsum(counts), 1)
        elif name == 'sum' and not may_overflow:
            assert is_near(result, total(values), 1)
        elif name == 'mean' and not may_overflow:
            with np.errstate(all='ignore'):
                assert is_near(result, np.divide(total(values), np.float64(total(counts))), 1)
        elif name == 'median' and size < LARGEST / 2:
            with np.errstate(invalid='ignore'):
                check_same(result, np.median(np.array(floats)))
        elif name == 'quantile' and size < LARGEST / 2:
            check_quantile(result, floats, **more)
        elif name == 'std':
            check_std(result, floats)
        elif name == 'ema' and not may_overflow:
            check_ema(result, floats, **more)


def check_quantile(result: Any, floats: list[float], q: float) -> None:
    if any(math.isnan(value) for value in floats):
        assert math.isnan(result)
        return
    index = q * (len(floats) - 1)
    ordered = sorted(floats)
    lower, upper = ordered[math.floor(index)], ordered[math.ceil(index)]
    if lower == upper:
        assert result == lower
    elif math.isfinite(lower) and math.isfinite(upper):
        expected = float(np.quantile(np.array([f for f in ordered if math.isfinite(f)] or [0.0]), q))
        if len(ordered) != sum(map(math.isfinite, ordered)):  # numpy's own is NaN next to an infinity
            expected = float(np.interp(index - math.floor(index), [0, 1], [lower, upper]))
        assert is_near(result, expected, 4, max(abs(lower), abs(upper)))
        assert lower <= result <= upper
    else:
        with np.errstate(invalid='ignore'):
            check_same(result, np.quantile(np.array(floats), q))


def check_std(result: Any, floats: list[float]) -> None:
    if not all(map(math.isfinite, floats)):
        assert math.isnan(result)
        return
    size = max(map(abs, floats))
    if size > 1e150:  # squares overflow, in numpy too
        return
    mean = math.fsum(floats) / len(floats)
    expected = math.sqrt(math.fsum((value - mean) ** 2 for value in floats) / len(floats))
    assert result >= 0
    assert result == pytest.approx(expected, rel=1e-11, abs=4 * math.ulp(size) + 1e-150)


def check_ema(result: Any, floats: list[float], smoothing: float) -> None:
    """The formula of csrc/core/series.h, terms below 2^-60 of the newest left out."""
    weights = []
    for i in range(len(floats)):
        weight = smoothing**i
        if weight < 2.0**-60:
            break
        weights.append(weight)
    terms = [weight * value for weight, value in zip(weights, reversed(floats), strict=False)]
    if not all(map(math.isfinite, terms)):
        check_same(result, np.float64(total(terms)))
        return
    tolerance = 1e-13 * math.fsum(map(abs, terms)) / math.fsum(weights) + 1e-320
    assert abs(result - math.fsum(terms) / math.fsum(weights)) <= tolerance


def in_window(name: str, window: Any) -> dict[str, Any]:
    return {} if name == 'current' or window is None else {'window_size': window}


def answers(buffer: rm.HistoryBuffer, window: Any, **at: int) -> dict[str, Any]:
    more: dict[str, Any] = {'quantile': {'q': 0.3}}
    return {
        name: buffer.statistics(name, **in_window(name, window), **more.get(name, {}), **at)
        for name in STATISTICS
    }


# ---- the model ----


class HistoryMachine(RuleBasedStateMachine):
    """A history, and lists of everything that was ever pushed into it."""

    @initialize(
        max_length=st.sampled_from([1, 2, 5, 64, 127, 128, 129, 1000, 1024, 1025, 2048, 3000]),
        start=st.sampled_from(['empty', 'hub', 'given']),
        palette=st.sampled_from(sorted(PALETTES)),
        data=st.data(),
    )
    def begin(self, max_length: int, start: str, palette: str, data: st.DataObject) -> None:
        self.palette = palette
        self.max_length = max_length
        self.key: str | None = None
        self.values: list[Any] = []
        self.counts: list[Any] = []
        self.kinds = (2, 2)  # HistoryBuffer() is made of empty arrays, and those are of floats
        self.has_negative = self.has_huge = False  # integers below 0, and from 2**63 up
        self.has_wide = False  # integers that no double holds
        self.remembered: list[tuple[int, Any, tuple[int, int], dict[str, Any]]] = []
        if start == 'empty':
            self.buffer = rm.HistoryBuffer(max_length=max_length)
            return
        size = data.draw(st.integers(1, min(max_length, 40)))
        values = [self.admit(data.draw(PALETTES[palette])) for _ in range(size)]
        self.kinds = (0, 0)
        for value in values:
            self.note(value, 1)
        if start == 'given':
            self.buffer = rm.HistoryBuffer(
                array_of([as_kind(value, self.kinds[0]) for value in values], self.kinds[0]),
                self.counts,
                max_length=max_length,
            )
        else:  # as mmengine: the dtypes of the first value
            self.max_length = 1_000_000
            self.key = 'train/loss'
            hub = rm.MessageHub('model')
            for value in values:
                hub.update_scalar(self.key, value)
            self.buffer = hub.get_scalar(self.key)

    def admit(self, value: Any) -> Any:
        """Make a float of the integer by which negative ones and ones from 2**63 up would meet.

        No integer dtype holds both, so the arrays of such a history are of floats.
        """
        if kind_of(value) < 2:
            if self.has_negative if value >= 2**63 else self.has_huge and value < 0:
                return float(value)
            self.has_negative |= value < 0
            self.has_huge |= value >= 2**63
            self.has_wide |= int(float(value)) != value
        return value

    def note(self, value: Any, count: Any) -> None:
        self.values.append(value)
        self.counts.append(count)
        self.kinds = (max(self.kinds[0], kind_of(value)), max(self.kinds[1], kind_of(count)))

    # ---- doing ----

    @rule(palette=st.sampled_from(sorted(PALETTES)))
    def turn_to(self, palette: str) -> None:
        self.palette = palette

    @rule(data=st.data(), size=st.integers(1, 20), counts=st.sampled_from([st.none(), COUNTS]))
    def push(self, data: st.DataObject, size: int, counts: st.SearchStrategy[Any]) -> None:
        for _ in range(size):
            value, count = self.admit(data.draw(PALETTES[self.palette])), data.draw(counts)
            if count is None:
                self.buffer.update(value)
            else:
                self.buffer.update(value, count)
            self.note(value, 1 if count is None else count)

    @rule(size=SIZES, seed=st.integers(0, 2**32), counts=st.sampled_from(BULK_COUNTS))
    def push_many(self, size: int, seed: int, counts: Callable[[random.Random], Any]) -> None:
        source = random.Random(seed)
        draw = BULK[self.palette]
        for _ in range(size):
            value, count = self.admit(draw(source)), counts(source)
            self.buffer.update(value, count)
            self.note(value, count)

    @rule(way=st.sampled_from(['copy', 'deepcopy', 'pickle', 'as_of', 'state']))
    def replace_by_a_copy(self, way: str) -> None:
        if way == 'copy':
            copied = copy.copy(self.buffer)
        elif way == 'deepcopy':
            copied = copy.deepcopy(self.buffer)
        elif way == 'pickle':
            copied = pickle.loads(pickle.dumps(self.buffer))
        elif way == 'as_of':
            copied = self.buffer.as_of(self.buffer.position)
        else:
            hub, other = rm.MessageHub('one'), rm.MessageHub('other')
            hub.log_scalars['train/loss'] = self.buffer
            hub.update_info('train/loss', None)  # marks the key as resumed
            other.load_state_dict(hub.state_dict())
            copied = other.get_scalar('train/loss')
            self.key = 'train/loss'
        assert copied is not self.buffer
        self.buffer = copied
        self.values = self.values[-self.max_length :]
        self.counts = self.counts[-self.max_length :]
        self.remembered = []

    # ---- asking ----

    def entries(self, window: Any, at: int) -> tuple[list[Any], list[Any]]:
        size = self.max_length if window in (None, 'global') else min(int(window), self.max_length)
        begin = max(0, at - size)
        values = [as_kind(value, self.kinds[0]) for value in self.values[begin:at]]
        return values, [as_kind(count, self.kinds[1]) for count in self.counts[begin:at]]

    def check(self, name: str, result: Any, values: list[Any], counts: list[Any], **more: Any) -> None:
        if name in ('sum', 'mean') and self.has_wide and self.kinds[0] == 2:
            return  # test_sum_is_that_of_the_data_when_a_float_follows_wide_integers
        check_statistic(name, result, values, counts, self.kinds, **more)

    @rule(window=WINDOWS, q=FRACTIONS, smoothing=SMOOTHINGS, by_name=st.booleans())
    def ask(self, window: Any, q: float, smoothing: float, by_name: bool) -> None:
        for name in STATISTICS:
            method = self.buffer.statistics if by_name else getattr(self.buffer, name)
            more = {'quantile': {'q': q}, 'ema': {'smoothing': smoothing}}.get(name, {})
            arguments = ([name] if by_name else [], in_window(name, window) | more)
            if self.values:
                entries = self.entries(window, len(self.values))
                self.check(name, method(*arguments[0], **arguments[1]), *entries, **more)
            elif name in OF_EMPTY:
                check_same(method(*arguments[0], **arguments[1]), np.float64(NAN if name == 'mean' else 0.0))
            else:
                with pytest.raises(rm.ArgumentError, match=f'{name} needs at least one recorded value'):
                    method(*arguments[0], **arguments[1])

    @precondition(lambda self: self.values)
    @rule(window=WINDOWS, back=st.one_of(st.integers(0, SLACK), st.integers(0, 6000)))
    def ask_about_earlier(self, window: Any, back: int) -> None:
        at = max(1, len(self.values) - back)
        for name in STATISTICS:
            more = {'quantile': {'q': 0.5}}.get(name, {})
            values, counts = self.entries(1 if name == 'current' else window, at)
            try:
                result = self.buffer.statistics(name, **in_window(name, window), **more, at=at)
            except rm.ArgumentError as error:
                self.check_is_too_far_back(error, at, len(values))
            else:
                more = {'smoothing': 0.9} if name == 'ema' else more
                self.check(name, result, values, counts, **more)

    def check_is_too_far_back(self, error: rm.ArgumentError, at: int, size: int) -> None:
        assert 'at must be a position whose window is still in the ring' in str(error)
        assert at - size < len(self.values) - self.max_length - SLACK

    @precondition(lambda self: self.values)
    @rule(window=WINDOWS)
    def remember(self, window: Any) -> None:
        self.remembered.append((len(self.values), window, self.kinds, answers(self.buffer, window)))

    @precondition(lambda self: self.remembered)
    @rule(data=st.data())
    def recall(self, data: st.DataObject) -> None:
        at, window, kinds, before = data.draw(st.sampled_from(self.remembered))
        if at >= len(self.values) - SLACK and kinds == self.kinds:
            for name, again in answers(self.buffer, window, at=at).items():
                check_same(again, before[name])  # to the last bit

    @rule(back=st.integers(0, 4000))
    def compare_arrays(self, back: int) -> None:
        at = max(0, len(self.values) - back)
        values, counts = self.entries(None, at)
        if back == 0:
            arrays = [*self.buffer.data, self.buffer._log_history, self.buffer._count_history]
        else:
            try:
                copied = self.buffer.as_of(at)
            except rm.ArgumentError as error:
                self.check_is_too_far_back(error, at, len(values))
                return
            assert (copied.key, copied.max_length) == (self.key, self.max_length)
            assert copied.position == len(copied) == len(values)
            arrays = [*copied.data] * 2
        expected = [array_of(values, self.kinds[0]), array_of(counts, self.kinds[1])] * 2
        for array, wanted in zip(arrays, expected, strict=True):
            assert array.dtype == wanted.dtype
            np.testing.assert_array_equal(array, wanted)

    @invariant()
    def is_as_long_as_it_should_be(self) -> None:
        if not hasattr(self, 'buffer'):
            return
        assert len(self.buffer) == min(len(self.values), self.max_length)
        assert self.buffer.position == len(self.values)
        assert self.buffer.max_length == self.max_length
        assert self.buffer.key == self.key
        assert bool(self.buffer) is True


TestHistoryMachine = HistoryMachine.TestCase
TestHistoryMachine.settings = settings(max_examples=100, stateful_step_count=40)


# ---- long histories: blocks of 8192 and 65536 entries ----

LONG = 200_000


@functools.cache
def long_history() -> tuple[rm.HistoryBuffer, list[float], list[int]]:
    source = random.Random(2026)
    values = [source.choice([1.0, 1e-3, 1e6, -1e6]) * source.gauss(1.0, 1.0) for _ in range(LONG)]
    counts = [1 if i < LONG // 2 else source.randint(1, 64) for i in range(LONG)]
    buffer = rm.HistoryBuffer(max_length=LONG // 2)
    for value, count in zip(values, counts, strict=True):
        buffer.update(value, count)
    return buffer, values, counts


@given(
    window=st.one_of(st.integers(1, LONG // 2), st.sampled_from([8191, 8192, 65535, 65536, 65537, LONG])),
    back=st.integers(0, SLACK),
    q=FRACTIONS,
)
@settings(max_examples=40)
def test_statistics_are_numpys_when_the_history_is_long(window: int, back: int, q: float) -> None:
    buffer, values, counts = long_history()
    at = len(values) - back
    begin = max(at - min(window, LONG // 2), 0)
    for name in STATISTICS:
        more = {'quantile': {'q': q}}.get(name, {})
        result = buffer.statistics(name, **in_window(name, window), **more, at=at)
        more = {'smoothing': 0.9} if name == 'ema' else more
        check_statistic(name, result, values[begin:at], counts[begin:at], (2, 2), **more)


@given(
    at=st.lists(st.integers(0, 70_000), min_size=1, max_size=3),
    what=st.sampled_from([NAN, math.inf, -math.inf]),
    window=st.integers(1, 70_000),
)
@settings(max_examples=60)
def test_nan_and_infinity_count_only_while_they_are_in_the_window(
    at: list[int], what: float, window: int
) -> None:
    values = np.arange(70_001) % 1000 / 8.0
    values[at] = what
    buffer = rm.HistoryBuffer(values, np.ones(len(values), dtype=int))
    in_window = values[-window:]
    with np.errstate(invalid='ignore'):
        check_same(buffer.max(window), in_window.max())
        check_same(buffer.min(window), in_window.min())
        check_same(buffer.mean(window), in_window.sum() / window)
        check_same(buffer.sum(window), in_window.sum())
        check_same(buffer.median(window), np.median(in_window))
        assert math.isfinite(buffer.std(window)) == np.isfinite(in_window).all()
        assert math.isfinite(buffer.ema(window, 0.5)) == np.isfinite(in_window[-60:]).all()
