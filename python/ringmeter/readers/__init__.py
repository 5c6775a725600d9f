"""Reads log files of training runs, of ringmeter and of others."""

from ._run import LogFileError, Run, Series
from .log_file import LogFile, read

__all__ = ['LogFile', 'LogFileError', 'Run', 'Series', 'read']
