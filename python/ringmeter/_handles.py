"""Numbers that stand for hubs in compiled code, which takes no objects."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from .message_hub import MessageHub

_numbers = itertools.count(2)  # torch.compile makes a special case of 0 and 1
_hubs: WeakValueDictionary[int, MessageHub] = WeakValueDictionary()


def new_handle(hub: MessageHub) -> int:
    """Return a number for ``hub`` that no other hub of this process has or will have."""
    handle = next(_numbers)
    _hubs[handle] = hub
    return handle


def hub_of(handle: int) -> MessageHub | None:
    """Return the hub of that number; None when it is gone."""
    return _hubs.get(handle)
