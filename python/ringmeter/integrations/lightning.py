"""Recording and log lines for Lightning, from the package ``lightning`` or ``pytorch_lightning``."""

from __future__ import annotations

from ._lightning_bar import RingmeterProgressBar, RingmeterRichProgressBar
from ._lightning_callback import RingmeterCallback

__all__ = ['RingmeterCallback', 'RingmeterProgressBar', 'RingmeterRichProgressBar']
