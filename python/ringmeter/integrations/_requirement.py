"""What an integration says when its framework is not there."""

from __future__ import annotations

import re
from importlib import metadata


def require(package: str, minimum: str, extra: str) -> None:
    """Raise an error that tells what to install, unless the package is there.

    Args:
        package: Its name as pip knows it.
        minimum: The oldest version that works.
        extra: The extra of ringmeter that brings it.

    Raises:
        ImportError: It is missing, or older than that.
    """
    try:
        found = metadata.version(package)
    except metadata.PackageNotFoundError:
        found = ''
    if _numbers(found) < _numbers(minimum):
        raise ImportError(
            f"{package} must be {minimum} or newer, got {found or 'none'}: pip install 'ringmeter[{extra}]'",
            name=package,
        )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r'\d+', version)[:3]]
