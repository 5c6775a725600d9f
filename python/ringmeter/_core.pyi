"""The C++ core: histories, the scalars of a hub, and the text of numbers."""

from collections.abc import Mapping
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

class History:
    """A named history in the ring; base of ringmeter.HistoryBuffer."""

    @property
    def key(self) -> str | None: ...
    @property
    def position(self) -> int: ...
    @property
    def max_length(self) -> int: ...
    @property
    def _kinds(self) -> tuple[int, int]: ...
    def update(self, log_val: Any, count: Any = 1) -> None: ...
    def current(self, *, at: SupportsIndex | None = None) -> Any: ...
    def mean(
        self, window_size: SupportsIndex | str | None = None, *, at: SupportsIndex | None = None
    ) -> np.float64: ...
    def max(
        self, window_size: SupportsIndex | str | None = None, *, at: SupportsIndex | None = None
    ) -> Any: ...
    def min(
        self, window_size: SupportsIndex | str | None = None, *, at: SupportsIndex | None = None
    ) -> Any: ...
    def sum(
        self, window_size: SupportsIndex | str | None = None, *, at: SupportsIndex | None = None
    ) -> Any: ...
    def count(
        self, window_size: SupportsIndex | str | None = None, *, at: SupportsIndex | None = None
    ) -> Any: ...
    def std(
        self, window_size: SupportsIndex | str | None = None, *, at: SupportsIndex | None = None
    ) -> np.float64: ...
    def median(
        self, window_size: SupportsIndex | str | None = None, *, at: SupportsIndex | None = None
    ) -> np.float64: ...
    def quantile(
        self,
        q: float,
        window_size: SupportsIndex | str | None = None,
        *,
        at: SupportsIndex | None = None,
    ) -> np.float64: ...
    def ema(
        self,
        window_size: SupportsIndex | str | None = None,
        smoothing: float = 0.9,
        *,
        at: SupportsIndex | None = None,
    ) -> np.float64: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def _reset(self, max_length: int, kind: int, count_kind: int, key: str | None, /) -> None: ...
    def _extend(
        self, values: NDArray[np.float64], lows: NDArray[np.float64], counts: NDArray[np.float64], /
    ) -> None: ...
    def _copy(
        self,
        at: SupportsIndex | None,
        values: NDArray[np.float64],
        lows: NDArray[np.float64],
        counts: NDArray[np.float64],
        /,
    ) -> None: ...

class Hub:
    """The scalars of a message hub; base of ringmeter.MessageHub."""

    _log_scalars: dict[str, Any]
    _resumed_keys: dict[str, bool]
    def update_scalar(self, key: str, value: Any, count: Any = 1, resumed: bool = True) -> None: ...
    def update_scalars(self, log_dict: dict[str, Any], resumed: bool = True) -> None: ...

def format_scalars(
    scalars: Mapping[str, Any], digits: SupportsIndex, scientific: bool = False, separator: str = '  '
) -> str: ...
def set_history_class(cls: type[History], /) -> None: ...
def set_hub_class(cls: type[Hub], /) -> None: ...
