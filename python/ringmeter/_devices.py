"""How values come from devices in this process."""

from __future__ import annotations

import atexit
from typing import Any

from . import _core, _staging
from ._choices import note_choice


def device_info() -> dict[str, dict[str, Any]]:
    """Return, for each device that scalars were recorded from, how they come to the host.

    ``path`` is ``'driver'`` when a kernel writes each into host memory and nothing ever waits, ``'staging'``
    when they are copied aside on the device and fetched together (ROCm, MPS, XPU, and torch's CUDA tensors
    when the driver cannot be used: ``why`` says why), or ``'item'`` when each is waited for with ``.item()``
    (other CUDA arrays then). With the driver there are also ``recorded``, ``landed`` and
    ``waits``: how many values were launched, how many of those have landed, and how often a launch had to
    wait because 65,536 were on their way.
    """
    _core.land_arrived()
    info: dict[str, dict[str, Any]] = {
        f'cuda:{ordinal}': {
            'path': 'driver',
            'why': '',
            'recorded': recorded,
            'landed': landed,
            'waits': waits,
        }
        for ordinal, recorded, landed, waits in _core.device_states()
    }
    for device in _staging.devices():
        kind, _, ordinal = device.partition(':')
        why = _core.device_problem(int(ordinal or 0)) if kind == 'cuda' else f'no driver for {kind} devices'
        info.setdefault(device, {'path': 'staging', 'why': why})
    for unused, why in _core.device_problems():
        info.setdefault(f'cuda:{unused}', {'path': 'item', 'why': why})
    return info


def set_wait_timeout(seconds: float) -> None:
    """Set how long a read waits for values that are still on a device, before it raises PendingError.

    600 seconds unless set. The values are not lost by that: a later read waits for them again.

    Raises:
        ArgumentError: Not from 0 to 1e9.
    """
    _core.set_wait_timeout(seconds)


def report_choice(ordinal: int, problem: str) -> None:
    """Log how values come from a CUDA device, when that has been decided. Called by the core."""
    source = (
        f'the device, as the driver cannot be used: {problem}' if problem else 'the driver, without waiting'
    )
    note_choice(f'values on cuda:{ordinal}', source)


# Values still on their way at exit have two seconds to land; from then on the driver is left alone.
atexit.register(_core.close, 2.0)
