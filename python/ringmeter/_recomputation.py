"""Telling a forward pass that activation checkpointing repeats from everything else that runs in backward."""

from __future__ import annotations

import sys
from types import FrameType

# Functions that repeat a forward pass, by the end of their file's path. All of them call the engine, too, and
# hooks run inside of that: whatever is nearer tells which it is.
_REPEATING = {
    'unpack_hook': ('torch/utils/checkpoint.py',),
    'backward': (
        'torch/utils/checkpoint.py',
        'activation_checkpointing/checkpointing.py',  # DeepSpeed
        'tensor_parallel/random.py',  # Megatron-LM
        'checkpoint/checkpoint_activations.py',  # fairscale
    ),
}
_ENGINE = ('torch/autograd/graph.py', 'torch/autograd/__init__.py')


def is_recomputing() -> bool:
    """Return whether the caller is called by a forward pass that is repeated. Asked only during backward."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        files = _REPEATING.get(code.co_name)
        if files is not None and code.co_filename.replace('\\', '/').endswith(files):
            return True
        if code.co_filename.replace('\\', '/').endswith(_ENGINE):
            return False
        frame = frame.f_back
    return False
