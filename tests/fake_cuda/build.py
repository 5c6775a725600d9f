"""Builds the CUDA driver without a GPU, and the Python module of its tensors."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[2]
BUILD = ROOT / 'build' / 'fake_cuda'
FOLDER = BUILD / 'tests' / 'fake_cuda'
DRIVER = FOLDER / 'libfake_cuda.so'


def _find_tool(name: str) -> str:
    """A program of the environment that this runs in, or else of the machine."""
    tool = shutil.which(name, path=sysconfig.get_path('scripts')) or shutil.which(name)
    if tool is None:
        raise RuntimeError(f'the fake CUDA driver needs {name} to be built')
    return tool


def _build() -> None:
    try:
        import pybind11
    except ImportError:
        raise RuntimeError('the fake CUDA driver needs pybind11 to be built') from None
    cmake = _find_tool('cmake')
    configure = [
        cmake, '-S', ROOT, '-B', BUILD, '-G', 'Ninja', f'-DCMAKE_MAKE_PROGRAM={_find_tool("ninja")}',
        '-DRINGMETER_PYTHON=OFF', '-DRINGMETER_TESTS=ON', '-DRINGMETER_FAKE_TENSOR=ON',
        f'-Dpybind11_DIR={pybind11.get_cmake_dir()}', f'-DPython_EXECUTABLE={sys.executable}',
    ]  # fmt: skip
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / '.lock').open('w') as lock:  # of two processes, one builds
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (configure, [cmake, '--build', BUILD, '--target', 'fake_cuda_tensor']):
            done = subprocess.run(
                command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            if done.returncode != 0:
                raise RuntimeError(f'the fake CUDA driver was not built:\n{done.stdout}')


def load() -> ModuleType:
    """Build it, make it the driver that ringmeter will load in this process, and return the module.

    Raises:
        RuntimeError: It was not built: with the output of what failed.
    """
    _build()
    os.environ['RINGMETER_CUDA_DRIVER'] = str(DRIVER)
    path = FOLDER / f'fake_cuda_tensor{sysconfig.get_config_var("EXT_SUFFIX")}'
    spec = importlib.util.spec_from_file_location('fake_cuda_tensor', path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules['fake_cuda_tensor'] = module
    spec.loader.exec_module(module)
    return module
