"""ringmeter records the scalars of a training run and turns them into log lines."""

import importlib

from ._after_import import call_after_import
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

# torch.compile needs torch._dynamo; who does without need not pay for importing either.
call_after_import('torch._dynamo', lambda: importlib.import_module('ringmeter._compile'))
