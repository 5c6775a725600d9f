"""Values on devices that the core has no driver for: ROCm, MPS, XPU and the like, and CUDA without a driver.

Each device has a stage: tensors that scalars are copied into where they are, one slot each, so that one copy
brings all of them to the host when somebody asks, or when the stage is full. Floats are staged in the widest
type that the device has, integers as int64.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from ._errors import DeviceError

if TYPE_CHECKING:
    from .history_buffer import HistoryBuffer

_logger = logging.getLogger('ringmeter')
_SIZE = 1024
_BOOL, _INT, _FLOAT = range(3)  # NumberKind of the core

# Of any thread: copying to the host lets other threads run.
_lock = threading.RLock()
_stages: dict[Any, _Stage] = {}
_held: list[Staged] = []


class Staged:
    """A value that a history gets later."""

    __slots__ = ('history', 'kind', 'position', 'value')

    def __init__(self, kind: int, value: Any = None) -> None:
        self.kind = kind
        self.value = value
        self.history: HistoryBuffer | None = None  # nobody wants it
        self.position = 0

    def assign(self, history: HistoryBuffer, position: int) -> None:
        self.history, self.position = history, position

    def land(self, number: float | bool) -> None:
        if self.history is not None:
            self.history._land(self.position, number)
        self.history = None


class _Stage:
    """The stage of one device for one kind of number."""

    def __init__(self, torch: Any, device: Any, dtype: Any) -> None:
        self._slots_tensor = torch.zeros(_SIZE, dtype=dtype, device=device)
        self._slots = self._slots_tensor.unbind()
        self._staged: list[Staged] = []

    def add(self, tensor: Any, staged: Staged) -> None:
        if len(self._staged) == _SIZE:
            self.flush()
        self._slots[len(self._staged)].copy_(tensor.reshape(()))
        self._staged.append(staged)

    def flush(self) -> None:
        if not self._staged:
            return
        numbers = self._slots_tensor[: len(self._staged)].to('cpu').tolist()
        staged, self._staged = self._staged, []
        for each, number in zip(staged, numbers, strict=True):
            each.land(bool(number) if each.kind == _BOOL else number)


def stage(torch: Any, tensor: Any) -> Staged:
    """Copy a tensor of one real element to the stage of its device."""
    is_float = tensor.is_floating_point()
    kind = _FLOAT if is_float else _BOOL if tensor.dtype == torch.bool else _INT
    staged = Staged(kind)
    with _lock:
        key = tensor.device, is_float
        if key not in _stages:
            _stages[key] = _make_stage(torch, tensor.device, is_float)
        _stages[key].add(tensor, staged)
    return staged


def _make_stage(torch: Any, device: Any, is_float: bool) -> _Stage:
    _logger.debug('scalars on %s are staged there and fetched together when they are asked for', device)
    if not is_float:
        return _Stage(torch, device, torch.int64)
    try:
        return _Stage(torch, device, torch.float64)
    except (TypeError, RuntimeError):  # MPS has none
        return _Stage(torch, device, torch.float32)


def hold(array: Any) -> Staged:
    """Keep an array that never changes until its number is asked for."""
    kind = _FLOAT if array.dtype.kind not in 'biu' else _BOOL if array.dtype.kind == 'b' else _INT
    staged = Staged(kind, array)
    with _lock:
        if len(_held) >= _SIZE:
            _flush_held()
        _held.append(staged)
    return staged


def _flush_held() -> None:
    while _held:
        _held[0].land(_held[0].value.item())
        del _held[0]


def flush() -> None:
    """Land everything that is staged. Waits for the devices.

    Raises:
        DeviceError: One of them failed; what is staged elsewhere has landed.
    """
    with _lock:
        problem = None
        for flush_one in (*(stage.flush for stage in _stages.values()), _flush_held):
            try:
                flush_one()
            except RuntimeError as error:
                problem = error
        if problem is not None:
            raise DeviceError(f'staged values cannot land: {problem}') from problem


def devices() -> list[str]:
    """Return the names of the devices that have a stage."""
    with _lock:
        return sorted({str(device) for device, _ in _stages})


def is_empty() -> bool:
    """Return whether nothing is staged."""
    return not _held and not any(stage._staged for stage in _stages.values())
