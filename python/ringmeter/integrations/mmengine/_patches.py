"""Replacing what modules and classes of others hold, and putting it back."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from types import ModuleType
from typing import Any

_MISSING = object()


class Patches:
    """Replacements, which :meth:`undo` takes back.

    What somebody else has replaced in the meantime stays as it is.
    """

    def __init__(self) -> None:
        self._objects: list[tuple[Any, Any]] = []  # replaced wherever a module has them: old, new
        self._attributes: list[tuple[Any, str, Any, Any]] = []  # owner, name, old, new
        self._items: list[tuple[MutableMapping[Any, Any], Any, Any, Any]] = []

    def replace_in_modules(self, replacements: list[tuple[Any, Any]]) -> None:
        """Let every name in every loaded module that means ``old`` mean ``new``, for pairs of them."""
        _exchange(replacements)
        self._objects += replacements

    def replace_attribute(self, owner: Any, name: str, new: Any) -> None:
        """Replace an attribute of a class or module that it has itself."""
        self._attributes.append((owner, name, vars(owner).get(name, _MISSING), new))
        setattr(owner, name, new)

    def replace_item(self, mapping: MutableMapping[Any, Any], key: Any, new: Any) -> None:
        """Replace an item of a mapping."""
        self._items.append((mapping, key, mapping.get(key, _MISSING), new))
        mapping[key] = new

    def replaced(self) -> list[tuple[str, str]]:
        """Return the names of what was replaced, and of what replaces it: classes and functions."""
        objects = [(_name_of(old), new) for old, new in self._objects]
        methods = [(f'{_name_of(owner)}.{name}', new) for owner, name, _, new in self._attributes]
        return [(name, _name_of(new)) for name, new in objects + methods if callable(new)]

    def undo(self) -> None:
        """Put everything back, in modules that were loaded since too."""
        _exchange([(new, old) for old, new in self._objects])
        for owner, name, old, new in reversed(self._attributes):
            if vars(owner).get(name) is new:
                if old is _MISSING:
                    delattr(owner, name)
                else:
                    setattr(owner, name, old)
        for mapping, key, old, new in reversed(self._items):
            if mapping.get(key) is new:
                if old is _MISSING:
                    del mapping[key]
                else:
                    mapping[key] = old


def _name_of(thing: Any) -> str:
    return f'{thing.__module__}.{thing.__qualname__}'


def _exchange(replacements: list[tuple[Any, Any]]) -> None:
    by_id = {id(old): new for old, new in replacements}
    for module in list(sys.modules.values()):
        if not isinstance(module, ModuleType) or module.__name__.startswith('ringmeter.'):
            continue
        names = vars(module)
        for name, value in list(names.items()):
            new = by_id.get(id(value))
            if new is not None:
                names[name] = new
