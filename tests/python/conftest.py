"""One Hypothesis profile for all tests: the same examples on every run, no files left behind.

And CUDA without a GPU: fixtures for tests with tensors that say they are on a device.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

import ringmeter
from ringmeter import _choices, _core

settings.register_profile(
    'fixed',
    derandomize=True,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.load_profile('fixed')


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Those with a device last. One that has been used is in use from then on: loops on the CPU look at its
    # clock too, and their lines come when that has landed.
    items.sort(key=lambda item: 'cuda' in getattr(item, 'fixturenames', ()))


@pytest.fixture(scope='session')
def fake_cuda() -> ModuleType:
    """The module of tests/fake_cuda/fake_tensor.cpp, built; its driver is the one that ringmeter will load."""
    path = Path(__file__).parents[1] / 'fake_cuda' / 'build.py'
    spec = importlib.util.spec_from_file_location('fake_cuda_build', path)
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    try:
        module: ModuleType = build.load()
    except RuntimeError as error:
        pytest.fail(str(error), pytrace=False)
    return module


@pytest.fixture(scope='session', autouse=True)
def _named_before_use(request: pytest.FixtureRequest) -> None:
    # ringmeter loads the driver once a process, so its name must be there before the first test of all. If it
    # cannot be built, the tests that need it say so.
    if any('fake_cuda' in getattr(item, 'fixturenames', ()) for item in request.session.items):
        with contextlib.suppress(pytest.fail.Exception):
            request.getfixturevalue('fake_cuda')


@pytest.fixture
def cuda(fake_cuda: ModuleType) -> Iterator[ModuleType]:
    """The same, with nothing counted, failing, paused or delayed, neither before the test nor after."""
    fake_cuda.reset()
    yield fake_cuda
    fake_cuda.restore()
    fake_cuda.reset()


@pytest.fixture
def stream(cuda: ModuleType) -> int:
    """A stream of device 0 that is the current one; the device is in use."""
    handle: int = cuda.new_stream(0)
    cuda.set_stream(0, handle)
    ringmeter.HistoryBuffer().update(cuda.FakeCudaTensor(0.0))
    _core.land_arrived()
    return handle


@pytest.fixture
def written() -> tuple[logging.Logger, list[str]]:
    """A logger, and the texts that it got."""
    texts: list[str] = []
    return _logger_to(lambda record: texts.append(record.getMessage())), texts


@pytest.fixture
def logged() -> tuple[logging.Logger, list[logging.LogRecord]]:
    """A logger, and the records that it got."""
    records: list[logging.LogRecord] = []
    return _logger_to(records.append), records


def _logger_to(emit: Callable[[logging.LogRecord], None]) -> logging.Logger:
    handler = logging.Handler()
    handler.emit = emit  # type: ignore[method-assign]
    logger = logging.Logger('written')
    logger.addHandler(handler)
    return logger


@pytest.fixture
def chosen(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Returns what the library has chosen on its own since the test began, as debug logs tell it."""
    monkeypatch.setattr(_choices, '_made', {})
    return _choices.choices


@pytest.fixture(scope='session')
def run_example() -> Callable[..., str]:
    """Runs a program of examples/ with arguments, and returns what it printed."""
    folder = Path(__file__).parents[2] / 'examples'

    def run(name: str, *arguments: str | Path) -> str:
        done = subprocess.run(
            [sys.executable, '-W', 'ignore', folder / name, *arguments],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def run_with_fake(fake_cuda: ModuleType) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Runs code in a process of its own, on the fake driver, where ``import fake_cuda_tensor`` works."""
    folder = str(Path(str(fake_cuda.__file__)).parent)
    path = os.pathsep.join(filter(None, [folder, os.environ.get('PYTHONPATH')]))
    environment = {**os.environ, 'PYTHONPATH': path}

    def run(code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, '-W', 'error', '-c', code],
            check=False,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run
