"""Hugging Face's Trainer: a callback, and a mixin for the losses.

``class MyTrainer(RingmeterMixin, Trainer)`` records the loss of every step; ``Trainer(...,
callbacks=[RingmeterCallback()])`` alone has the losses that Trainer logs.
"""

from __future__ import annotations

from ._transformers_callback import RingmeterCallback
from ._transformers_mixin import RingmeterMixin

__all__ = ['RingmeterCallback', 'RingmeterMixin']
