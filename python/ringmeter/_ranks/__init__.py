"""One line from the numbers of all ranks: what they send each other, when, and what becomes of it."""

from ._channel import device_of, initialised_torch
from ._combine import Reduced
from ._items import ASIDE, HOWS, RECORDED, SHOWN, Field, Item, Line, is_integer
from ._reduction import Draft, KeysDifferError, Reduction
from ._schedule import StepQueue
from ._values import items_of, record_of, texts_of

__all__ = [
    'ASIDE',
    'HOWS',
    'RECORDED',
    'SHOWN',
    'Draft',
    'Field',
    'Item',
    'KeysDifferError',
    'Line',
    'Reduced',
    'Reduction',
    'StepQueue',
    'device_of',
    'initialised_torch',
    'is_integer',
    'items_of',
    'record_of',
    'texts_of',
]
