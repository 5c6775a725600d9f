"""Importing the package."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import ringmeter as rm


def run(code: str) -> str:
    return subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True).stdout


def test_import_pulls_in_no_framework() -> None:
    code = (
        'import sys, ringmeter\n'
        'print([name for name in ("torch", "mmengine", "pandas", "matplotlib", "rich") if name in sys.modules])'
    )
    assert run(code).strip() == '[]'


def test_hub_works_without_torch() -> None:
    code = (
        'import sys, pickle, ringmeter as rm\n'
        'sys.modules["torch"] = None\n'
        'hub = rm.MessageHub("h"); hub.update_scalars(dict(a=1, b=2.5))\n'
        'state = pickle.loads(pickle.dumps(hub.state_dict()))\n'
        'other = rm.MessageHub("o"); other.load_state_dict(state)\n'
        'print(other.get_scalar("a").current(), other.get_scalar("b").current())'
    )
    assert run(code).strip() == '1 2.5'


def test_version_is_that_of_the_distribution() -> None:
    assert rm.__version__ == importlib.metadata.version('ringmeter')
