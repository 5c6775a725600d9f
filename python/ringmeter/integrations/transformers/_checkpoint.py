"""The histories of a run in the checkpoint folders of Hugging Face's Trainer."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterable
from pathlib import Path

from torch import load, save

from ..._errors import ArgumentError, ArgumentTypeError
from ...loop_logger import LoopLogger

_logger = logging.getLogger('ringmeter')
NAME = 'ringmeter.pt'  # torch.load(..., weights_only=True) takes it


def save_state(meter: LoopLogger, folder: Path) -> None:
    """Write the state of a run. That this fails is said, and stops nothing."""
    try:
        if not folder.is_dir():
            raise FileNotFoundError(f'{folder} is not there')
        save(meter._state_at(meter.iter), folder / NAME)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError where a file cannot be written
        _logger.warning('%s cannot be saved: %s', folder / NAME, error)


def load_state(meter: LoopLogger, folders: Iterable[Path], step: int) -> None:
    """Take over the state in the first of the folders that has one. Without any, the histories begin anew."""
    files = [folder / NAME for folder in folders]
    path = next((path for path in files if path.is_file()), None)
    if path is None:
        _logger.warning(
            'the run goes on at step %d, its histories begin anew: there is no %s', step, files[0]
        )
        return
    try:
        meter.load_state_dict(load(path, map_location='cpu', weights_only=True))
    except (
        ArgumentError,
        ArgumentTypeError,
        OSError,
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
    ) as error:
        _logger.warning('the histories begin anew: %s cannot be loaded: %s', path, error)
