"""Calling a function when somebody else imports a module that is too slow to import for its sake."""

from __future__ import annotations

import contextlib
import importlib
import logging
import sys
import threading
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

_logger = logging.getLogger('ringmeter')


def call_after_import(name: str, function: Callable[[], Any]) -> None:
    """Call ``function`` once, when the module ``name`` has been imported; now if it has been already.

    An import that fails is none: the next that succeeds counts. What ``function`` raises is logged and
    leaves the import as it is.
    """
    finder = _Finder(name, function)
    sys.meta_path.insert(0, finder)
    _wait_for_import(name)
    if name in sys.modules:
        finder.finish()


def _wait_for_import(name: str) -> None:
    """Wait for an import by another thread, which may have asked the finders before there was one more."""
    lock_and_unlock = getattr(importlib._bootstrap, '_lock_unlock_module', None)
    if lock_and_unlock is not None:
        lock_and_unlock(name)


class _Finder:
    """Finds one module, through the other finders, and sees it loaded. Then it takes itself away."""

    def __init__(self, name: str, function: Callable[[], Any]) -> None:
        self._name = name
        self._function = function
        self._lock = threading.Lock()
        self._is_finished = False

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._name or self._is_finished:
            return None
        # Those behind this one: importlib.util.find_spec() would come back here.
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader, self)  # type: ignore[assignment]
                return spec
        return None

    def finish(self) -> None:
        with self._lock:
            is_first, self._is_finished = not self._is_finished, True
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self)
        if is_first:
            _logger.debug('Get import of %s from sys.meta_path', self._name)
            try:
                self._function()
            except Exception:
                _logger.warning('ringmeter cannot work together with %s', self._name, exc_info=True)


class _Loader:
    """The loader of a module until it is executed: from then on the module has its own."""

    def __init__(self, loader: Any, finder: _Finder) -> None:
        self._loader = loader
        self._finder = finder

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._finder.finish()

    def __getattr__(self, name: str) -> Any:  # get_source() and the like
        return getattr(self._loader, name)
