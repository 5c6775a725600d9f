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


class Channel:
    """What the ranks of a group send each other.

    On CUDA it has a stream of its own: it waits for the other ranks, and not for the work of this one.

    Args:
        torch: Torch, with an initialised process group.
        group: Who takes part. It is not held.
    """

    def __init__(self, torch: Any, group: Any) -> None:
        distributed = torch.distributed
        self.torch, self.device, self.world_size = torch, device_of(torch, group), group.size()
        self.all_gather = distributed.all_gather
        self.all_gather_into = None  # a tensor
        if distributed.get_backend(group) in _INTO_TENSOR:
            newer = getattr(distributed, 'all_gather_single', None)
            self.all_gather_into = newer or distributed.all_gather_into_tensor
        self.free: _Buffers | None = None
        self._stream = torch.cuda.Stream() if self.device == 'cuda' else None

    def on_stream(self) -> AbstractContextManager[Any]:
        return nullcontext() if self._stream is None else self.torch.cuda.stream(self._stream)


class _Buffers:
    """What one collective reads and writes, and the next one after it."""

    def __init__(self, channel: Channel, size: int) -> None:
        torch, memory = channel.torch, bytearray(size)
        self.size, self.payload = size, memoryview(memory)
        with torch.inference_mode(False):  # tensors that are made in it can be written to in it only
            self.host_own = torch.frombuffer(memory, dtype=torch.uint8)
            self.own = self.host_own.to(channel.device)
            self.all = self.own.new_empty(channel.world_size * size)
        self.host_all = self.all.numpy() if channel.device == 'cpu' else None


class Gathering:
    """The collective, under way.

    Args:
        channel: Where.
        group: Its group.
        payload: This rank's bytes.
        size: How many bytes every rank sends. Where that is too few for one of them, all send it again.
    """

    def __init__(self, channel: Channel, group: Any, payload: bytes, size: int) -> None:
        self._channel, self._group, self._payload = channel, group, payload
        with channel.on_stream():
            buffers, channel.free = channel.free, None
            if buffers is None or buffers.size != size:
                buffers = _Buffers(channel, size)
            self._buffers = buffers
            fitting = payload[:size]
            buffers.payload[: len(fitting)] = fitting
            if buffers.own is not buffers.host_own:
                buffers.own.copy_(buffers.host_own)
            self._work = self._start()

    def wait(self) -> RankTable:
        """Return what the ranks sent, which is there until the next collective begins.

        Raises:
            RuntimeError: A rank is dead, or did not come in time.
        """
        channel, buffers = self._channel, self._buffers
        with channel.on_stream():
            self._work.wait()
            received = buffers.all.cpu().numpy() if buffers.host_all is None else buffers.host_all
        table = RankTable(received, channel.world_size)
        channel.free = buffers
        if table.size <= buffers.size:
            return table
        return Gathering(channel, self._group, self._payload, rounded(table.size)).wait()

    def _start(self) -> Any:
        channel, buffers, group = self._channel, self._buffers, self._group
        if channel.all_gather_into is not None:
            return channel.all_gather_into(buffers.all, buffers.own, group=group, async_op=True)
        parts = list(buffers.all.chunk(channel.world_size))
        return channel.all_gather(parts, buffers.own, group=group, async_op=True)


def rounded(size: int) -> int:
    """Return a number of bytes to send that has room for so many."""
    return -(-size // _ROUNDED_TO) * _ROUNDED_TO
