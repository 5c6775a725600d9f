"""What the library chose on its own, for debug logs."""

from __future__ import annotations

import logging

_logger = logging.getLogger('ringmeter')
_MOST = 256

_made: dict[str, str] = {}  # the newest source of each thing, in the order of the first


def note_choice(thing: str, source: str) -> None:
    """Log at DEBUG where something is got from, unless it is what that thing's newest note says.

    For what happens once, or once an epoch. It is remembered, for debug logs that begin later.
    """
    if _made.get(thing) == source:
        return
    if thing not in _made and len(_made) >= _MOST:
        _made.pop(next(iter(_made)), None)
    _made[thing] = source
    _logger.debug('Get %s from %s', thing, source)


def choices() -> list[str]:
    """Return the choices that hold, as they were logged."""
    return [f'Get {thing} from {source}' for thing, source in list(_made.items())]
