"""What a sink says when its client is not there."""

from __future__ import annotations


def missing(sink: str, package: str, extra: str) -> ImportError:
    """Return the error that tells what to install."""
    return ImportError(f"{sink} needs {package}: pip install 'ringmeter[{extra}]'", name=package)
