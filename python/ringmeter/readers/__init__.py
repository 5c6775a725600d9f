"""Reads log files of training runs, of ringmeter and of others."""

from ._run import EmptyLogError, LogFileError, Run, Series
from .log_file import LogFile, read

__all__ = ['EmptyLogError', 'LogFile', 'LogFileError', 'Run', 'Series', 'read']
