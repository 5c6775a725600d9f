"""What has landed of the scalars of a mode, for displays that must not wait."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def landed_means(
    histories: Mapping[str, Any],
    mode: str,
    names: Iterable[str],
    window_size: int,
    starts: Mapping[str, int] | None = None,
) -> dict[str, float]:
    """Return means over the newest values that have landed, by name; a name without any is left out.

    Args:
        histories: By key, as in a hub.
        mode: The part of their keys in front of the names.
        names: Which of them.
        window_size: Over how many values.
        starts: Positions before which nothing counts, by key.
    """
    means = {}
    for name in names:
        key = f'{mode}/{name}'
        history = histories.get(key)
        if history is None:
            continue
        landed = history.landed - (starts or {}).get(key, 0)
        if landed > 0:
            means[name] = float(history.mean(min(window_size, landed), landed=True))
    return means
