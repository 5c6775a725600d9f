"""Which process of a job this is."""

from __future__ import annotations

import os
import sys
from types import ModuleType
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
    distributed = initialised_distributed()
    if distributed is not None:
        return Rank(distributed.get_rank(), distributed.get_world_size())
    names = _launchers_variables()
    if names is None:
        return Rank(0, 1)
    rank_name, size_name = names
    number = _number_of(rank_name, least=0)
    size = _number_of(size_name, least=1) if os.environ.get(size_name) else number + 1
    if number >= size:
        raise ArgumentError(
            f'environment variable {rank_name} must be less than {size_name}={size}, got {number}'
        )
    return Rank(number, size)


def rank_source() -> str:
    """Return where :func:`current_rank` has it from, for debug logs."""
    rank = current_rank()
    names = _launchers_variables()
    if initialised_distributed() is not None:
        source = 'torch.distributed'
    else:
        source = 'no launcher' if names is None else f'environment variable {names[0]}'
    return f'{source}: {rank.number} of {rank.world_size}'


def initialised_distributed() -> ModuleType | None:
    """Return torch.distributed, once it is initialised."""
    distributed = sys.modules.get('torch.distributed')  # who has not imported it has not initialised it
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return distributed


def _launchers_variables() -> tuple[str, str] | None:
    for names in _VARIABLES:
        if os.environ.get(names[0]):
            return names
    return None


def _number_of(name: str, least: int) -> int:
    text = os.environ[name]
    if not text.strip().isdecimal() or int(text) < least:
        raise ArgumentError(f'environment variable {name} must be an int of at least {least}, got {text!r}')
    return int(text)
