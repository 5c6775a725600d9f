"""Lightning as the user has it: from the package ``lightning``, or from ``pytorch_lightning``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import TYPE_CHECKING

from .._requirement import require

if TYPE_CHECKING:
    import lightning.pytorch as pl

__all__ = ['pl']

_PACKAGES = {  # as pip knows them, with the oldest version that works
    'lightning.pytorch': ('lightning', '2.1'),
    'pytorch_lightning': ('pytorch-lightning', '2.0'),
}


def _choose() -> str:
    """Return the module that was imported already; if none was, one that is there."""
    imported = [name for name in _PACKAGES if sys.modules.get(name) is not None]
    installed = [name for name in _PACKAGES if importlib.util.find_spec(name.partition('.')[0])]
    return [*imported, *installed, *_PACKAGES][0]


if not TYPE_CHECKING:
    _module = _choose()
    require(*_PACKAGES[_module], 'lightning')
    pl = importlib.import_module(_module)
