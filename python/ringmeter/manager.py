"""Classes whose instances can be reached by name from anywhere."""

from __future__ import annotations

import threading
import warnings
from typing import Any, ClassVar, TypeVar

from ._errors import ArgumentTypeError

_lock = threading.RLock()
T = TypeVar('T', bound='ManagerMixin')


class ManagerMixin:
    """Base of classes with named global instances; each subclass has its own.

    Args:
        name: The name of the instance, not empty.
    """

    _instance_dict: ClassVar[dict[str, Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._instance_dict = {}

    def __init__(self, name: str = '') -> None:
        if not isinstance(name, str) or not name:
            raise ArgumentTypeError(f'name must be a str that is not empty, got {name!r}')
        self._instance_name = name

    @classmethod
    def get_instance(cls: type[T], name: str, **kwargs: Any) -> T:
        """Return the instance of that name, made from ``kwargs`` if there is none yet."""
        if not isinstance(name, str):
            raise ArgumentTypeError(f'name must be a str, got {name!r}')
        with _lock:
            instance: T | None = cls._instance_dict.get(name)
            if instance is None:
                instance = cls._instance_dict[name] = cls(name=name, **kwargs)
            elif kwargs:
                warnings.warn(
                    f'{cls.__name__} {name!r} exists already, so these are ignored: {", ".join(kwargs)}',
                    stacklevel=2,
                )
        return instance

    @classmethod
    def get_current_instance(cls: type[T]) -> T:
        """Return the instance that was made last, or that a trainer has begun a run with since.

        Raises:
            RuntimeError: None has been made.
        """
        instances: list[T] = list(cls._instance_dict.values())  # at once: torch.compile cannot trace the lock
        if not instances:
            raise RuntimeError(
                f'{cls.__name__}.get_instance(name) must be called before get_current_instance()'
            )
        return instances[-1]

    @classmethod
    def check_instance_created(cls, name: str) -> bool:
        """Tell whether there is an instance of that name."""
        return name in cls._instance_dict

    def _make_current(self) -> None:
        """Be the one that :meth:`get_current_instance` returns, as if it had been made last."""
        with _lock:
            self._instance_dict.pop(self._instance_name, None)
            self._instance_dict[self._instance_name] = self

    @property
    def instance_name(self) -> str:
        """The name of the instance."""
        return self._instance_name
