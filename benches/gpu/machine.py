"""What the figures depend on, as one line of JSON. Runs in a process of its own: it makes a context."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

PACKAGES = ('torch', 'numpy', 'triton', 'cupy-cuda13x', 'cupy-cuda12x', 'jax')


def facts() -> dict[str, Any]:
    """Return them. ``device`` is None when there is no CUDA device."""
    return {
        'device': torch.cuda.get_device_name(0) if torch.cuda.is_available() else None,
        'devices': torch.cuda.device_count(),
        'capability': torch.cuda.get_device_capability(0) if torch.cuda.is_available() else None,
        'driver': _driver(),
        'cuda': torch.version.cuda,
        'torch': torch.__version__,
        'python': platform.python_version(),
        'cpu': _cpu(),
        'cores': len(os.sched_getaffinity(0)),
        'load_before': round(os.getloadavg()[0], 2),
        'system': platform.platform(),
        'packages': {name: _version(name) for name in PACKAGES if _version(name)},
        'ringmeter': _origin('ringmeter'),
    }


def _driver() -> str | None:
    """The version of the driver's release, or else of the CUDA that it speaks."""
    if shutil.which('nvidia-smi'):
        command = ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader']
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return done.stdout.split()[0]
    about = Path('/proc/driver/nvidia/version')
    return about.read_text().splitlines()[0] if about.exists() else None


def _cpu() -> str:
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        if line.startswith('model name'):
            return line.split(':', 1)[1].strip()
    return platform.machine()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ''


def _origin(module: str) -> str:
    spec = importlib.util.find_spec(module)
    return '' if spec is None or spec.origin is None else spec.origin


if __name__ == '__main__':
    sys.stdout.write('\n' + json.dumps(facts()) + '\n')
