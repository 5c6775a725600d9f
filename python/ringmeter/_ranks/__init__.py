"""One line from the numbers of all ranks: what they send each other, when, and what becomes of it."""

from ._combine import Reduced
from ._gather import device_of, initialised_torch
from ._items import ASIDE, HOWS, RECORDED, SHOWN, Item, Line
from ._reduction import Draft, KeysDifferError, Reduction
from ._schedule import StepQueue
from ._values import items_of, record_of, texts_of

__all__ = [
    'ASIDE',
    'HOWS',
    'RECORDED',
    'SHOWN',
    'Draft',
    'Item',
    'KeysDifferError',
    'Line',
    'Reduced',
    'Reduction',
    'StepQueue',
    'device_of',
    'initialised_torch',
    'items_of',
    'record_of',
    'texts_of',
]
