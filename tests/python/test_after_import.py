"""Being called when somebody imports a module."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringmeter._after_import import call_after_import

NAME = 'ringmeter_test_slow_module'


@pytest.fixture(autouse=True)
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, 'meta_path', list(sys.meta_path))
    monkeypatch.setattr(
        sys, 'dont_write_bytecode', True
    )  # sources of equal size and time are told apart by it
    path = tmp_path / f'{NAME}.py'
    path.write_text('import time\ntime.sleep(0.02)\nvalue = 1\n')
    yield path
    sys.modules.pop(NAME, None)


def test_function_is_called_once_after_the_import() -> None:
    before = list(sys.meta_path)
    calls = []
    call_after_import(NAME, lambda: calls.append(sys.modules[NAME].value))
    assert calls == []
    module = importlib.import_module(NAME)
    assert calls == [1]
    assert sys.meta_path == before
    importlib.reload(module)
    assert calls == [1]


def test_module_keeps_its_own_loader(source: Path) -> None:
    call_after_import(NAME, lambda: None)
    module = importlib.import_module(NAME)
    expected = type(importlib.util.spec_from_file_location('other', source).loader)
    assert type(module.__loader__) is type(module.__spec__.loader) is expected
    assert module.__loader__.get_source(NAME) == source.read_text()


def test_function_is_called_at_once_when_the_module_is_there() -> None:
    importlib.import_module(NAME)
    before = list(sys.meta_path)
    calls = []
    call_after_import(NAME, lambda: calls.append(1))
    assert calls == [1]
    assert sys.meta_path == before


def test_import_that_fails_does_not_count(source: Path) -> None:
    good = source.read_text()
    calls = []
    call_after_import(NAME, lambda: calls.append(1))
    source.write_text('raise OSError("broken")')
    with pytest.raises(OSError, match='broken'):
        importlib.import_module(NAME)
    assert calls == []
    source.write_text(good)
    importlib.invalidate_caches()
    importlib.import_module(NAME)
    assert calls == [1]


def test_module_that_does_not_exist_is_not_found() -> None:
    calls = []
    call_after_import('ringmeter_test_no_module', lambda: calls.append(1))
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module('ringmeter_test_no_module')
    assert calls == []


def test_looking_for_the_module_is_no_import(source: Path) -> None:
    calls = []
    call_after_import(NAME, lambda: calls.append(1))
    spec = importlib.util.find_spec(NAME)
    assert spec.origin == str(source)
    assert spec.loader.get_source(NAME) == source.read_text()
    assert calls == []
    importlib.import_module(NAME)
    assert calls == [1]


def test_several_functions_are_all_called() -> None:
    before = list(sys.meta_path)
    calls = []
    for i in range(3):
        call_after_import(NAME, lambda i=i: calls.append(i))
    importlib.import_module(NAME)
    assert sorted(calls) == [0, 1, 2]
    assert sys.meta_path == before


@pytest.mark.parametrize('place', [0, 1, 99])
def test_other_finders_have_their_say(place: int) -> None:
    class Other:
        """As other packages do it: asks all finders, itself left out."""

        is_busy = False
        found = 0

        def find_spec(self, name, path, target=None):
            if name != NAME or self.is_busy:
                return None
            self.is_busy = True
            try:
                spec = importlib.util.find_spec(name)
            finally:
                self.is_busy = False
            self.found += 1
            return spec

    other = Other()
    calls = []
    call_after_import(NAME, lambda: calls.append(1))
    sys.meta_path.insert(place, other)
    assert importlib.import_module(NAME).value == 1
    assert calls == [1]
    assert other.found == (place != 99)  # the last is not asked: the path finder has found it


def test_what_the_function_raises_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise AttributeError('torch has changed')

    call_after_import(NAME, fail)
    with caplog.at_level(logging.WARNING, logger='ringmeter'):
        assert importlib.import_module(NAME).value == 1
    assert f'cannot work together with {NAME}' in caplog.text
    assert 'torch has changed' in caplog.text


def test_function_is_called_once_when_threads_import_at_the_same_time() -> None:
    calls, values = [], []
    start = threading.Barrier(8)

    def import_it() -> None:
        start.wait()
        values.append(importlib.import_module(NAME).value)

    def ask_for_it() -> None:
        start.wait()
        call_after_import(NAME, lambda: calls.append(sys.modules[NAME].value))

    threads = [threading.Thread(target=import_it if i % 2 else ask_for_it) for i in range(8)]
    call_after_import(NAME, lambda: calls.append(sys.modules[NAME].value))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    importlib.import_module(NAME)
    assert values == [1] * 4
    assert calls == [1] * 5


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, '-c', code], check=True, capture_output=True, text=True
    ).stdout.strip()


def test_import_of_ringmeter_does_not_import_dynamo() -> None:
    pytest.importorskip('torch')
    code = (
        'import sys, torch, ringmeter as rm\n'
        'rm.MessageHub("h").update_scalar("loss", torch.ones(()))\n'
        'print([name for name in ("torch._dynamo", "ringmeter._compile") if name in sys.modules])'
    )
    assert run(code) == '[]'
