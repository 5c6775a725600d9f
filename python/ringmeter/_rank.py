"""Which process of a job this is."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from ._errors import ArgumentError

# Of launchers, in this order: the variables of a process's rank and of how many processes there are.
_VARIABLES = (
    ('RANK', 'WORLD_SIZE'),  # torchrun, accelerate, Lightning, DeepSpeed
    ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'),  # Open MPI
    ('PMI_RANK', 'PMI_SIZE'),  # MPICH, Intel MPI
    ('MV2_COMM_WORLD_RANK', 'MV2_COMM_WORLD_SIZE'),  # MVAPICH
    ('SLURM_PROCID', 'SLURM_NTASKS'),  # srun
)


class Rank(NamedTuple):
    """A process's number, from 0, and how many there are."""

    number: int
    world_size: int


def current_rank() -> Rank:
    """Return that of this process, now: torch.distributed's once that is initialised, else the launcher's.

    Raises:
        ArgumentError: The launcher's variable is not a number.
    """
    distributed = sys.modules.get('torch.distributed')  # who has not imported it has not initialised it
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return Rank(distributed.get_rank(), distributed.get_world_size())
    for rank_name, size_name in _VARIABLES:
        if os.environ.get(rank_name):
            number = _number_of(rank_name, least=0)
            size = _number_of(size_name, least=1) if os.environ.get(size_name) else number + 1
            if number >= size:
                raise ArgumentError(
                    f'environment variable {rank_name} must be less than {size_name}={size}, got {number}'
                )
            return Rank(number, size)
    return Rank(0, 1)


def _number_of(name: str, least: int) -> int:
    text = os.environ[name]
    if not text.strip().isdecimal() or int(text) < least:
        raise ArgumentError(f'environment variable {name} must be an int of at least {least}, got {text!r}')
    return int(text)
