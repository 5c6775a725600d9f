"""ringmeter records the scalars of a training run and turns them into log lines."""

import importlib

from ._after_import import call_after_import
from ._devices import device_info, set_wait_timeout
from ._errors import (
    ArgumentError,
    ArgumentTypeError,
    DeviceError,
    NanError,
    PendingError,
    ScalarError,
    SyncError,
)
from ._loggers import get_logger
from ._no_sync import no_sync
from .deferred_lines import DeferredLines
from .history_buffer import HistoryBuffer, ReplayTotals
from .log_processor import LogProcessor
from .loop_logger import LoopLogger
from .message_hub import MessageHub

__all__ = [
    'ArgumentError',
    'ArgumentTypeError',
    'DeferredLines',
    'DeviceError',
    'HistoryBuffer',
    'LogProcessor',
    'LoopLogger',
    'MessageHub',
    'NanError',
    'PendingError',
    'ReplayTotals',
    'ScalarError',
    'SyncError',
    'device_info',
    'get_logger',
    'no_sync',
    'set_wait_timeout',
]
__version__ = '0.1.0'

# torch.compile needs torch._dynamo; who does without need not pay for importing either.
call_after_import('torch._dynamo', lambda: importlib.import_module('ringmeter._compile'))
