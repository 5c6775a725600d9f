"""Classes that many projects carry a copy of, under the same names: import them from here in its place."""

from .event_history import EventHistory
from .event_storage import EventStorage, get_event_storage, has_event_storage
from .event_writers import CommonMetricPrinter, EventWriter, JSONWriter
from .metric_logger import MetricLogger
from .smoothed_value import SmoothedValue

__all__ = [
    'CommonMetricPrinter',
    'EventHistory',
    'EventStorage',
    'EventWriter',
    'JSONWriter',
    'MetricLogger',
    'SmoothedValue',
    'get_event_storage',
    'has_event_storage',
]
