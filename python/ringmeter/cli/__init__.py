"""The command ``ringmeter``: pictures, times and a live view of log files."""

from ._main import main

__all__ = ['main']
