"""What integrations say when their framework is missing or too old."""

from __future__ import annotations

import pytest

from ringmeter.integrations._requirement import require


def test_package_that_is_there_is_no_error():
    require('numpy', '1.23', 'numpy')


def test_package_that_is_missing_names_the_extra():
    with pytest.raises(
        ImportError, match=r"^no-such must be 2\.1 or newer, got none: pip install 'ringmeter\[nothing\]'$"
    ):
        require('no-such', '2.1', 'nothing')


def test_package_that_is_too_old_names_both_versions(monkeypatch):
    monkeypatch.setattr('importlib.metadata.version', lambda _: '2.9.10.post1')
    with pytest.raises(ImportError, match=r'^old must be 2\.10 or newer, got 2\.9\.10\.post1: pip install'):
        require('old', '2.10', 'old')
    require('old', '2.9', 'old')
    require('old', '2.9.10', 'old')


def test_package_may_be_there_under_another_name():
    require('no-such', '1.23', 'numpy', 'none-either', 'numpy')
