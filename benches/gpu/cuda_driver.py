"""The CUDA driver without torch and without ringmeter: what some checks compare with, and break."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

# `empty` does nothing. `crash` writes to an address that nobody has. `hold` ends when the host stores a one
# to `flag`, or after so many looks that something is wrong.
PTX = b"""
.version 6.0
.target sm_70
.address_size 64
.visible .entry empty() { ret; }
.visible .entry crash()
{
  .reg .b64 %rd<2>;
  .reg .b32 %r<2>;
  mov.u64 %rd1, 64;
  mov.u32 %r1, 1;
  st.global.u32 [%rd1], %r1;
  ret;
}
.visible .entry hold(.param .u64 flag)
{
  .reg .pred %p<3>;
  .reg .b64 %rd<3>;
  .reg .b32 %r<4>;
  ld.param.u64 %rd1, [flag];
  cvta.to.global.u64 %rd2, %rd1;
  mov.u32 %r1, 0;
LOOK:
  ld.volatile.global.u32 %r2, [%rd2];
  setp.ne.u32 %p1, %r2, 0;
  @%p1 bra DONE;
  add.u32 %r1, %r1, 1;
  setp.lt.u32 %p2, %r1, 4000000;
  @%p2 bra LOOK;
DONE:
  ret;
}
"""

TIMER = """
#include <time.h>
typedef int (*Launch)(void*, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void*,
                      void**, void**);
typedef int (*Ask)(void*, int*);
static double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}
extern "C" double launch_seconds(Launch launch, void* function, void* stream, int n) {
  const double start = now();
  for (int i = 0; i < n; ++i)
    if (launch(function, 1, 1, 1, 1, 1, 1, 0, stream, nullptr, nullptr) != 0) return -1.0;
  return (now() - start) / n;
}
extern "C" double ask_seconds(Ask is_capturing, void* stream, int n) {
  const double start = now();
  for (int i = 0, status; i < n; ++i)
    if (is_capturing(stream, &status) != 0) return -1.0;
  return (now() - start) / n;
}
"""


class Driver:
    """Its functions, by name; an error code raises."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL('libcuda.so.1')
        self.call('cuInit', 0)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function. Pointers and handles must be given as ``ctypes.c_void_p``."""
        code = self._library[name](*arguments)
        if code != 0:
            raise RuntimeError(f'{name} returned {code}')

    def address(self, name: str) -> ctypes.c_void_p:
        """Return where a function is."""
        return ctypes.cast(self._library[name], ctypes.c_void_p)

    def current_context(self) -> int:
        """Return the handle of the context of this thread, 0 if it has none."""
        context = ctypes.c_void_p()
        self.call('cuCtxGetCurrent', ctypes.byref(context))
        return context.value or 0

    def active_contexts(self) -> list[bool]:
        """Return for each device whether it has a primary context."""
        count = ctypes.c_int()
        self.call('cuDeviceGetCount', ctypes.byref(count))
        active = []
        for device in range(count.value):
            flags, is_active = ctypes.c_uint(), ctypes.c_int()
            self.call('cuDevicePrimaryCtxGetState', device, ctypes.byref(flags), ctypes.byref(is_active))
            active.append(bool(is_active.value))
        return active

    def retain_context(self, device: int = 0) -> None:
        """Make the primary context of a device current."""
        context = ctypes.c_void_p()
        self.call('cuDevicePrimaryCtxRetain', ctypes.byref(context), device)
        self.call('cuCtxSetCurrent', context)

    def load(self, ptx: bytes) -> ctypes.c_void_p:
        """Load a module into the current context."""
        module = ctypes.c_void_p()
        self.call('cuModuleLoadData', ctypes.byref(module), ctypes.c_char_p(ptx))
        return module

    def function(self, module: ctypes.c_void_p, name: str) -> ctypes.c_void_p:
        """Return a kernel of a module."""
        function = ctypes.c_void_p()
        self.call('cuModuleGetFunction', ctypes.byref(function), module, ctypes.c_char_p(name.encode()))
        return function

    def launch(self, function: ctypes.c_void_p, stream: int, *parameters: ctypes.c_uint64) -> None:
        """Launch one thread of a kernel."""
        pointers = [ctypes.cast(ctypes.pointer(each), ctypes.c_void_p) for each in parameters]
        array = (ctypes.c_void_p * max(1, len(pointers)))(*pointers)
        sizes = (1, 1, 1, 1, 1, 1, 0)
        self.call('cuLaunchKernel', function, *sizes, ctypes.c_void_p(stream), array, None)

    def count_nodes(self, graph: int) -> int:
        """Return how many nodes a ``CUgraph`` has."""
        count = ctypes.c_size_t()
        self.call('cuGraphGetNodes', ctypes.c_void_p(graph), None, ctypes.byref(count))
        return count.value


class Timer:
    """Times driver calls in C, where nothing of Python is in between."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        compiler = next(
            filter(shutil.which, filter(None, (os.environ.get('CXX'), 'c++', 'g++', 'clang++'))), None
        )
        if compiler is None:
            raise RuntimeError('no C++ compiler')
        with tempfile.TemporaryDirectory() as folder:
            source, library = Path(folder, 'timer.cpp'), Path(folder, 'timer.so')
            source.write_text(TIMER)
            subprocess.run([compiler, '-O2', '-shared', '-fPIC', '-o', library, source], check=True)
            self._library = ctypes.CDLL(str(library))
        for name in ('launch_seconds', 'ask_seconds'):
            self._library[name].restype = ctypes.c_double

    def launch_seconds(self, function: ctypes.c_void_p, stream: int, n: int) -> float:
        """Return the host's time for one launch, of ``n``."""
        address = self._driver.address('cuLaunchKernel')
        return self._checked(self._library.launch_seconds, address, function, ctypes.c_void_p(stream), n)

    def ask_seconds(self, stream: int, n: int) -> float:
        """Return the host's time for one cuStreamIsCapturing, of ``n``."""
        address = self._driver.address('cuStreamIsCapturing')
        return self._checked(self._library.ask_seconds, address, ctypes.c_void_p(stream), n)

    @staticmethod
    def _checked(function: Callable[..., float], *arguments: Any) -> float:
        seconds = function(*arguments)
        if seconds < 0:
            raise RuntimeError('a call that was to be timed failed')
        return seconds
