"""Recording and log lines for Lightning, from the package ``lightning`` or ``pytorch_lightning``."""

from __future__ import annotations

from ._bar import RingmeterProgressBar, RingmeterRichProgressBar
from ._callback import RingmeterCallback

__all__ = ['RingmeterCallback', 'RingmeterProgressBar', 'RingmeterRichProgressBar']
