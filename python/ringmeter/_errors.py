"""The exceptions of ringmeter.

Each derives from what a Python user would catch and from AssertionError, which is what mmengine raises
in the same place.
"""

from __future__ import annotations


class ScalarError(TypeError, ValueError, AssertionError):
    """A value or count is not one real number. Nothing was recorded."""


class ArgumentError(ValueError, AssertionError):
    """An argument has the right type and a wrong value. Nothing was changed."""


class ArgumentTypeError(TypeError, AssertionError):
    """An argument has the wrong type. Nothing was changed."""


class StateError(RuntimeError, AssertionError):
    """A function was called at the wrong time."""


class PendingError(RuntimeError):
    """A value that the answer needs is still on its way from a device, and did not land in time."""


class DeviceError(RuntimeError):
    """A device has failed, or cannot be used here. What had landed from it can still be read."""


class SyncError(RuntimeError):
    """Code inside of :func:`no_sync` waited for a device.

    Attributes:
        filename: The file of the line that did, known once the error has left the block.
        lineno: The number of that line.
    """

    filename: str | None = None
    lineno: int | None = None


class NanError(FloatingPointError):
    """A NaN was recorded, and it was asked for that this stops the run."""
