"""One Hypothesis profile for all tests: the same examples on every run, no files left behind.

And CUDA without a GPU: fixtures for tests with tensors that say they are on a device.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    'fixed',
    derandomize=True,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.load_profile('fixed')

ROOT = Path(__file__).parents[2]
FAKE_BUILD = ROOT / 'build' / 'fake_cuda'
FAKE_FOLDER = FAKE_BUILD / 'tests' / 'fake_cuda'
FAKE_DRIVER = FAKE_FOLDER / 'libfake_cuda.so'


def find_tool(name: str) -> str:
    """A program of the environment that runs the tests, or else of the machine."""
    tool = shutil.which(name, path=sysconfig.get_path('scripts')) or shutil.which(name)
    if tool is None:
        pytest.fail(f'the fake CUDA driver needs {name} to be built', pytrace=False)
    return tool


def build_fake_cuda() -> None:
    try:
        import pybind11
    except ImportError:
        pytest.fail('the fake CUDA driver needs pybind11 to be built', pytrace=False)
    cmake = find_tool('cmake')
    configure = [
        cmake, '-S', ROOT, '-B', FAKE_BUILD, '-G', 'Ninja', f'-DCMAKE_MAKE_PROGRAM={find_tool("ninja")}',
        '-DRINGMETER_PYTHON=OFF', '-DRINGMETER_TESTS=ON', '-DRINGMETER_FAKE_TENSOR=ON',
        f'-Dpybind11_DIR={pybind11.get_cmake_dir()}', f'-DPython_EXECUTABLE={sys.executable}',
    ]  # fmt: skip
    FAKE_BUILD.mkdir(parents=True, exist_ok=True)
    with (FAKE_BUILD / '.lock').open('w') as lock:  # of two sessions, one builds
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (configure, [cmake, '--build', FAKE_BUILD, '--target', 'fake_cuda_tensor']):
            done = subprocess.run(
                command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            if done.returncode != 0:
                pytest.fail(f'the fake CUDA driver was not built:\n{done.stdout}', pytrace=False)


@pytest.fixture(scope='session')
def fake_cuda() -> ModuleType:
    """The module of tests/fake_cuda/fake_tensor.cpp, built; its driver is the one that ringmeter will load."""
    build_fake_cuda()
    os.environ['RINGMETER_CUDA_DRIVER'] = str(FAKE_DRIVER)
    suffix = sysconfig.get_config_var('EXT_SUFFIX')
    path = FAKE_FOLDER / f'fake_cuda_tensor{suffix}'
    spec = importlib.util.spec_from_file_location('fake_cuda_tensor', path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules['fake_cuda_tensor'] = module
    spec.loader.exec_module(module)
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
