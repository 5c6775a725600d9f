"""Switches the backend on when it is imported: for ``custom_imports`` of a config.

As any module it does so once in a process. Where a config is of mmengine's lazy kind, which imports nothing,
or the backend has been uninstalled meanwhile, call :func:`install`.
"""

from __future__ import annotations

from . import install

install()
