"""The C++ core: histories, the scalars of a hub, and the text of numbers."""

from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

@disjoint_base
class History:
    """A named history in the ring; base of ringmeter.HistoryBuffer."""

    @property
    def key(self) -> str | None: ...
    @property
    def position(self) -> int: ...
    @property
    def landed(self) -> int: ...
    @property
    def max_length(self) -> int: ...
    @property
    def _kinds(self) -> tuple[int, int]: ...
    def update(self, log_val: Any, count: Any = 1) -> None: ...
    def current(self, *, at: SupportsIndex | None = None, landed: bool = False) -> Any: ...
    def mean(
        self,
        window_size: SupportsIndex | str | None = None,
        *,
        at: SupportsIndex | None = None,
        landed: bool = False,
    ) -> np.float64: ...
    def max(
        self,
        window_size: SupportsIndex | str | None = None,
        *,
        at: SupportsIndex | None = None,
        landed: bool = False,
    ) -> Any: ...
    def min(
        self,
        window_size: SupportsIndex | str | None = None,
        *,
        at: SupportsIndex | None = None,
        landed: bool = False,
    ) -> Any: ...
    def sum(
        self,
        window_size: SupportsIndex | str | None = None,
        *,
        at: SupportsIndex | None = None,
        landed: bool = False,
    ) -> Any: ...
    def count(
        self,
        window_size: SupportsIndex | str | None = None,
        *,
        at: SupportsIndex | None = None,
        landed: bool = False,
    ) -> Any: ...
    def std(
        self,
        window_size: SupportsIndex | str | None = None,
        *,
        at: SupportsIndex | None = None,
        landed: bool = False,
    ) -> np.float64: ...
    def median(
        self,
        window_size: SupportsIndex | str | None = None,
        *,
        at: SupportsIndex | None = None,
        landed: bool = False,
    ) -> np.float64: ...
    def quantile(
        self,
        q: float,
        window_size: SupportsIndex | str | None = None,
        *,
        at: SupportsIndex | None = None,
        landed: bool = False,
    ) -> np.float64: ...
    def ema(
        self,
        window_size: SupportsIndex | str | None = None,
        smoothing: float = 0.9,
        *,
        at: SupportsIndex | None = None,
        landed: bool = False,
    ) -> np.float64: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    def _reset(self, max_length: int, kind: int, count_kind: int, key: str | None, /) -> None: ...
    def _extend(
        self, values: NDArray[np.float64], lows: NDArray[np.float64], counts: NDArray[np.float64], /
    ) -> None: ...
    def _land(self, position: int, value: float, /) -> None: ...
    def _copy(
        self,
        at: SupportsIndex | None,
        values: NDArray[np.float64],
        lows: NDArray[np.float64],
        counts: NDArray[np.float64],
        /,
    ) -> None: ...

@disjoint_base
class Hub:
    """The scalars of a message hub; base of ringmeter.MessageHub."""

    _log_scalars: dict[str, Any]
    _runtime_info: dict[str, Any]
    _resumed_keys: dict[str, bool]
    skip_recompute: bool
    @property
    def log_scalars(self) -> dict[str, Any]: ...
    @property
    def runtime_info(self) -> dict[str, Any]: ...
    def update_scalar(self, key: str, value: Any, count: Any = 1, resumed: bool = True) -> None: ...
    def update_scalars(self, log_dict: dict[str, Any], resumed: bool = True) -> None: ...
    def update_info(self, key: str, value: Any, resumed: bool = True) -> None: ...

def collect_scalars(
    log_scalars: dict[str, Any],
    rules: dict[str, tuple[str, bool] | None],
    window: SupportsIndex | str | None,
    /,
) -> dict[str, Any]: ...
def format_header(
    form: str, mode: str, epoch: int | None, max_epochs: int | None, done: int, total: int, /
) -> str: ...
def format_iteration(
    header: str, scalars: dict[str, Any], digits: int, eta: Any, memory: Any, shown: str | None, /
) -> str: ...
def format_scalars(scalars: dict[str, Any], digits: int, /) -> str: ...
def set_history_class(cls: type[History], /) -> None: ...
def set_hub_class(cls: type[Hub], /) -> None: ...
def set_wait_timeout(seconds: float, /) -> None: ...
def get_wait_timeout() -> float: ...
def land_arrived() -> int: ...
def mark() -> tuple[int, ...]: ...
def has_landed(mark: tuple[int, ...], /) -> bool: ...
def wait_for(mark: tuple[int, ...], /) -> bool: ...
def close(seconds: float, /) -> None: ...
def device_problem(ordinal: int, /) -> str: ...
def device_states() -> list[tuple[int, int, int, int]]: ...
def lost_replays() -> list[tuple[Any, int]]: ...
def replay_totals(history: History, /) -> list[tuple[int, int, float, float, float, Any]]: ...
