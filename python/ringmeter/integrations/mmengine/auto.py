"""Switches the backend on when it is imported: for ``custom_imports`` of a config."""

from __future__ import annotations

from . import install

install()
