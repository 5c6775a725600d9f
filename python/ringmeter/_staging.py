"""Values on devices that the core has no driver for: ROCm, MPS, XPU and the like, and CUDA without a driver.

Each device has a stage: tensors that scalars are copied into where they are, one slot each, so that one copy
brings all of them to the host when somebody asks, or when the stage is full. Floats are staged in the widest
type that the device has, integers as int64.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any

from . import _core
from ._choices import note_choice
from ._errors import DeviceError, SyncError

if TYPE_CHECKING:
    from .history_buffer import HistoryBuffer

_SIZE = 1024
_BOOL, _INT, _FLOAT = range(3)  # NumberKind of the core
_UNSIGNED = object()  # the value of one of 64 bits, whose upper half is staged as negative numbers

# Of any thread: copying to the host lets other threads run.
_lock = threading.RLock()
_stages: dict[Any, _Stage] = {}
_held: list[Staged] = []


class Staged:
    """A value that a history gets later: it may come before it is known which."""

    __slots__ = ('history', 'kind', 'number', 'position', 'value')

    def __init__(self, kind: int, value: Any = None) -> None:
        self.kind = kind
        self.value = value  # the tensor or array, while somebody must keep it
        self.number: float | None = None
        self.history: HistoryBuffer | None = None  # nobody wants it, or it has it
        self.position = 0

    def assign(self, history: HistoryBuffer, position: int) -> None:
        with _lock:
            self.history, self.position = history, position
            if self.number is not None:
                self._give()

    def land(self, number: float | bool) -> None:
        """Under the lock. Once more, it does nothing."""
        if self.number is None:
            self.number = number
        if self.history is not None:
            self._give()

    def _give(self) -> None:
        history, self.history = self.history, None
        history._land(self.position, self.number)  # type: ignore[union-attr,arg-type]


class _Stage:
    """The stage of one device for one kind of number."""

    def __init__(self, torch: Any, device: Any, dtype: Any) -> None:
        self._torch = torch
        with torch.inference_mode(False):  # or it could only ever be written in that mode
            self._slots_tensor = torch.empty(_SIZE, dtype=dtype, device=device)
        if type(self._slots_tensor) is not torch.Tensor:
            raise TypeError(f'got a tensor on {device} under a mode that makes no real tensors')
        self._slots = self._slots_tensor.unbind()
        self.dtype = dtype
        self.staged: list[Staged] = []
        _synchronize(torch, device)

    def add(self, tensor: Any, staged: Staged) -> None:
        if len(self.staged) == _SIZE:
            self.flush()
        self._slots[len(self.staged)].copy_(tensor.reshape(()))
        self.staged.append(staged)

    def flush(self) -> None:
        staged = self.staged
        if not staged:
            return
        _require_waits()
        _synchronize(self._torch, self._slots_tensor.device)
        numbers = self._slots_tensor[: len(staged)].to('cpu').tolist()
        for each, number in zip(staged, numbers, strict=True):
            if each.kind == _BOOL:
                each.land(bool(number))
            else:
                each.land(number + 2**64 if each.value is _UNSIGNED and number < 0 else number)
        self.staged = []  # last: an interrupt loses nothing


def _require_waits() -> None:
    if not _core.waits_are_allowed():
        raise SyncError('values that are staged on a device must not be waited for')


def _synchronize(torch: Any, device: Any) -> None:
    """Wait for all streams of a device: each value was copied on one of its own."""
    if device.type in ('cuda', 'xpu'):
        getattr(torch, device.type).synchronize(device)


def stage(torch: Any, tensor: Any) -> Staged:
    """Copy a tensor of one real element to the stage of its device.

    Raises:
        DeviceError: The device failed, or the tensor is part of a CUDA graph.
        TypeError: It is no real tensor.
    """
    if tensor.device.type == 'cuda' and torch.cuda.is_current_stream_capturing():
        raise DeviceError(f'a value on {tensor.device} can be captured in a graph only with the CUDA driver')
    is_float = tensor.is_floating_point()
    kind = _FLOAT if is_float else _BOOL if tensor.dtype == torch.bool else _INT
    staged = Staged(kind, _UNSIGNED if str(tensor.dtype) == 'torch.uint64' else None)
    with _lock:
        key = tensor.device, is_float
        try:
            if key not in _stages:
                _stages[key] = _make_stage(torch, tensor.device, is_float)
            _stages[key].add(tensor, staged)
        except RuntimeError as error:
            raise DeviceError(f'a value cannot be staged on {tensor.device}: {error}') from error
    return staged


def _make_stage(torch: Any, device: Any, is_float: bool) -> _Stage:
    if not is_float:
        made = _Stage(torch, device, torch.int64)
    else:
        try:
            made = _Stage(torch, device, torch.float64)
        except (TypeError, RuntimeError):  # MPS has none
            made = _Stage(torch, device, torch.float32)
    kind = 'floats' if is_float else 'integers'
    note_choice(f'{kind} on {device}', f'a stage of {made.dtype} there, fetched together when asked for')
    return made


def hold(array: Any) -> Staged:
    """Keep an array that never changes until its number is asked for."""
    kind = _BOOL if array.dtype.kind == 'b' else _INT if array.dtype.kind in 'iu' else _FLOAT
    staged = Staged(kind, array)
    with _lock:
        if not _held:
            note_choice(f'values of {type(array).__name__}', 'the arrays, kept until they are asked for')
        if len(_held) >= _SIZE:
            _flush_held()  # those that cannot be read stay, for whoever asks for them
        _held.append(staged)
    return staged


def _flush_held() -> tuple[list[Staged], Exception | None]:
    """Return those that cannot be read, and why."""
    if _held:
        _require_waits()
    problem = None
    failed = []
    for each in _held[:]:
        try:
            each.land(each.value.item())
        except Exception as error:
            failed.append(each)
            problem = error
    _held[:] = failed
    return failed, problem


def flush(history: HistoryBuffer | None = None) -> None:
    """Land everything that is staged. Waits for the devices.

    Raises:
        DeviceError: One of them failed, and a value of that history was on it (of any, without one). What is
            staged elsewhere has landed.
    """
    with _lock:
        failures: list[tuple[list[Staged], Exception | None]] = [_flush_held()]
        for stage in list(_stages.values()):
            try:
                stage.flush()
            except RuntimeError as error:
                failures.append((stage.staged, error))
    for failed, problem in failures:
        if any(history is None or each.history is history for each in failed):
            raise DeviceError(f'staged values cannot land: {problem}') from problem


def devices() -> list[str]:
    """Return the names of the devices that have a stage."""
    with _lock:
        return sorted({str(device) for device, _ in _stages})


def is_empty() -> bool:
    """Return whether nothing is staged."""
    return not _held and not any(stage.staged for stage in _stages.values())


def _after_fork() -> None:
    """Let go of what another thread of the parent may have held."""
    global _lock  # noqa: PLW0603
    _lock = threading.RLock()


if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_after_fork)
