"""ringmeter records the scalars of a training run and turns them into log lines."""

from ._devices import device_info, set_wait_timeout
from ._errors import ArgumentError, ArgumentTypeError, DeviceError, PendingError, ScalarError
from .history_buffer import HistoryBuffer
from .log_processor import LogProcessor
from .loop_logger import LoopLogger
from .message_hub import MessageHub

__all__ = [
    'ArgumentError',
    'ArgumentTypeError',
    'DeviceError',
    'HistoryBuffer',
    'LogProcessor',
    'LoopLogger',
    'MessageHub',
    'PendingError',
    'ScalarError',
    'device_info',
    'set_wait_timeout',
]
__version__ = '0.1.0'
