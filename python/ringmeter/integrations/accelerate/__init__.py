"""A tracker of Hugging Face accelerate that takes tensors as they are: ``Accelerator(log_with='ringmeter')``.

With a version of accelerate that has no ``register_tracker_class``, give it an instance:
``Accelerator(log_with=RingmeterTracker('<name>', '<folder>'))``.
"""

from __future__ import annotations

from .._requirement import require

require('accelerate', '0.34', 'accelerate')

from ._tracker import RingmeterTracker  # noqa: E402

__all__ = ['RingmeterTracker']
