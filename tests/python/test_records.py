"""Records as text: what json.dumps() writes, to the letter."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ringmeter._core import format_record

NUMBERS = [
    0.0, -0.0, 1.0, -1.5, 0.1, 1 / 3, 100.0, 1e15, 9007199254740993.0, 1e16, 1.5e16, 1e17, 1e22, 1e23, 123456.789,
    1e-4, 1.25e-4, 1e-5, 1.5e-5, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308,
    9999999999999998.0, 99999999999999980.0, 0.00012345678901234567, math.inf, -math.inf, math.nan,
]  # fmt: skip


@pytest.mark.parametrize('value', NUMBERS)
def test_number_is_written_as_json_has_it(value):
    assert format_record({'x': value}) == json.dumps({'x': value})
    assert format_record({'x': np.float64(value)}) == json.dumps({'x': np.float64(value)})


@given(st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack('d', struct.pack('Q', bits))[0]))
def test_any_double_is_written_as_json_has_it(value):
    assert format_record({'x': value}) == json.dumps({'x': value})


@given(st.floats(width=32), st.floats(-1e6, 1e6))
def test_usual_numbers_are_written_as_json_has_them(single, double):
    record = {'single': single, 'double': double, 'product': single * double}
    assert format_record(record) == json.dumps(record)


PLAIN = st.one_of(
    st.floats(),
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.none(),
    st.text(st.characters(codec='ascii')),
)


@given(st.dictionaries(st.text(max_size=5), PLAIN))
@example({})
@example({'loss': 1, 'lr': 'none'})
def test_record_is_none_or_what_json_has(record):
    assert format_record(record) in (json.dumps(record), None)
    texts = [text for item in record.items() for text in item if isinstance(text, str)]
    if all(' ' <= character <= '~' and character not in '"\\' for text in texts for character in text):
        assert format_record(record) is not None


@pytest.mark.parametrize(
    'record',
    [{'a': 2**63}, {'a': [1]}, {'a': {'b': 1}}, {'a': np.float32(1)}, {'a': np.True_}, {1: 1.0}, {'ä': 1}, {'"': 1}, {'\x7f': 1}],
)  # fmt: skip
def test_record_of_anything_else_is_left_to_json(record):
    assert format_record(record) is None


def test_record_must_be_a_dict():
    with pytest.raises(TypeError, match='expected a dict'):
        format_record([])
