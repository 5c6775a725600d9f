"""ringmeter records the scalars of a training run and turns them into log lines."""

from ._errors import ArgumentError, ArgumentTypeError, PendingError, ScalarError
from .history_buffer import HistoryBuffer
from .log_processor import LogProcessor
from .loop_logger import LoopLogger
from .message_hub import MessageHub

__all__ = [
    'ArgumentError',
    'ArgumentTypeError',
    'HistoryBuffer',
    'LogProcessor',
    'LoopLogger',
    'MessageHub',
    'PendingError',
    'ScalarError',
]
__version__ = '0.1.0'
