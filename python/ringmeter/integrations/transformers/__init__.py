"""Hugging Face's Trainer: a callback, and a mixin for the losses.

``class MyTrainer(RingmeterMixin, Trainer)`` records the loss of every step; ``Trainer(...,
callbacks=[RingmeterCallback()])`` alone has the losses that Trainer logs.
"""

from __future__ import annotations

from .._requirement import require

require('transformers', '4.46', 'transformers')
require('torch', '1.13', 'transformers')

from ._callback import RingmeterCallback  # noqa: E402
from ._mixin import RingmeterMixin  # noqa: E402

__all__ = ['RingmeterCallback', 'RingmeterMixin']
