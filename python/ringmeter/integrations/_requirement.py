"""What an integration says when its framework is not there."""

from __future__ import annotations

import contextlib
import re
from importlib import metadata


def require(package: str, minimum: str, extra: str, *others: str) -> None:
    """Raise an error that tells what to install, unless the package is there.

    Args:
        package: Its name as pip knows it.
        minimum: The oldest version that works.
        extra: The extra of ringmeter that brings it.
        *others: Packages that hold the same under other names.

    Raises:
        ImportError: It is missing, or older than that.
    """
    found = ''
    for name in (package, *others):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found = found or metadata.version(name)
    if _numbers(found) < _numbers(minimum):
        raise ImportError(
            f"{package} must be {minimum} or newer, got {found or 'none'}: pip install 'ringmeter[{extra}]'",
            name=package,
        )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r'\d+', version)[:3]]
