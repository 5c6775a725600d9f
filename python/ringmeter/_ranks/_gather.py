"""One collective: every rank's bytes to every rank."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from .._core import RankTable
from .._rank import initialised_distributed

# Where each backend's tensors must be; others take them from the CPU.
_DEVICES = {'nccl': 'cuda', 'xccl': 'xpu', 'hccl': 'npu'}
_ROUNDED_TO = 64
_INTO_TENSOR = ('nccl', 'gloo')  # backends that take the result as one tensor, whatever the torch


def initialised_torch() -> Any:
    """Return torch when its ranks can talk to each other, else None."""
    return None if initialised_distributed() is None else sys.modules['torch']


def device_of(torch: Any, group: Any = None) -> str:
    """Return the kind of device that a group's backend takes tensors from."""
    return _DEVICES.get(torch.distributed.get_backend(group), 'cpu')


class Gathering:
    """The collective, under way.

    On CUDA it has a stream of its own: it waits for the other ranks, and not for the work of this one.

    Args:
        torch: Torch, with an initialised process group.
        group: Who takes part.
        payload: This rank's bytes.
        size: How many bytes every rank sends. Where that is too few for one of them, all send it again.
    """

    def __init__(self, torch: Any, group: Any, payload: bytes, size: int) -> None:
        device = device_of(torch, group)
        self._torch, self._stream = torch, torch.cuda.Stream() if device == 'cuda' else None
        self._group, self._payload, self._size = group, payload, size
        self._world_size = torch.distributed.get_world_size(group)
        own = torch.frombuffer(bytearray(payload[:size].ljust(size, b'\0')), dtype=torch.uint8)
        with self._on_stream():
            self._own = own.to(device)
            self._all = torch.empty(self._world_size * size, dtype=torch.uint8, device=device)
            self._work = self._start(torch.distributed, group)

    def wait(self) -> RankTable:
        """Return what the ranks sent.

        Raises:
            RuntimeError: A rank is dead, or did not come in time.
        """
        with self._on_stream():
            self._work.wait()
            received = self._all.cpu().numpy()
        table = RankTable(received, self._world_size)
        if table.size <= self._size:
            return table
        return Gathering(self._torch, self._group, self._payload, rounded(table.size)).wait()

    def _start(self, distributed: Any, group: Any) -> Any:
        if distributed.get_backend(group) in _INTO_TENSOR:
            gather = getattr(distributed, 'all_gather_single', None) or distributed.all_gather_into_tensor
            return gather(self._all, self._own, group=group, async_op=True)
        parts = list(self._all.chunk(self._world_size))
        return distributed.all_gather(parts, self._own, group=group, async_op=True)

    def _on_stream(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._stream is None else self._torch.cuda.stream(self._stream)


def rounded(size: int) -> int:
    """Return a number of bytes to send that has room for so many."""
    return -(-size // _ROUNDED_TO) * _ROUNDED_TO
