"""What a model returns, as scalars: reduced and summed as mmengine's ``parse_losses`` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ._errors import ArgumentTypeError
from ._scalars import as_number


class Keys(dict[str, str]):
    """The keys of a mode by the names of its scalars."""

    def __init__(self, mode: str, suffix: str = '') -> None:
        super().__init__()
        self._mode = mode
        self._suffix = suffix
        self._losses: set[str] = set()

    def __missing__(self, name: str) -> str:
        if not isinstance(name, str):
            raise ArgumentTypeError(f'names of scalars must be of type str, got {name!r}')
        if 'loss' in name:
            self._losses.add(name)
        key = self[name] = f'{self._mode}/{name}{self._suffix}'
        return key

    def have_losses(self, scalars: Mapping[str, Any]) -> bool:
        """Return whether there is a loss among them: ``loss`` in its name, and not with a count."""
        for name in scalars:
            self[name]  # looks at a new one
        return any(name in scalars and not isinstance(scalars[name], dict) for name in self._losses)


def sum_of_losses(scalars: Mapping[str, Any], keys: Keys) -> Any:
    """Return the sum of the losses among them, of which there is one at least.

    Raises:
        ScalarError: One of them is not a number.
    """
    losses = {
        name: value for name, value in scalars.items() if 'loss' in name and not isinstance(value, dict)
    }
    first, *others = losses.values()
    try:
        return sum(others, first)
    except TypeError:
        for name, value in losses.items():
            if not isinstance(value, int | float):
                as_number(value, keys[name])  # says better what is wrong
        raise


def reduced(value: Any) -> Any:
    """Mean of a tensor, sum of the means of a list of tensors."""
    if isinstance(value, list | tuple) and value and all(hasattr(item, 'mean') for item in value):
        means = [item.mean() for item in value]
        return sum(means[1:], means[0])
    is_tensor = hasattr(value, 'is_floating_point')
    return value.mean() if is_tensor and value.ndim > 0 and value.is_floating_point() else value
