"""The names of files that each rank of a job has."""

from __future__ import annotations

import itertools
import os
import time
from pathlib import Path

from .._choices import note_choice
from .._rank import initialised_distributed

_asked = itertools.count()  # for the time of a run: the same number on every rank is the same run


def file_of_rank(path: str | os.PathLike[str], rank: int) -> Path:
    """Return ``exp.log`` for rank 0, ``exp_rank<rank>.log`` for the others.

    Examples:
        >>> file_of_rank('work_dir/exp.log', 56).as_posix()
        'work_dir/exp_rank56.log'
    """
    path = Path(path)
    return path if rank == 0 else path.with_name(f'{path.stem}_rank{rank}{path.suffix}')


def timestamp(is_shared: bool) -> str:
    """Return the time as in the names of log files.

    Args:
        is_shared: Whether it is to be the same on every rank, which must all ask then, equally often. It is,
            once torch.distributed is initialised: the first rank to ask leaves its time in the job's store,
            and nobody waits for anybody.
    """
    own = time.strftime('%Y%m%d_%H%M%S')
    if not is_shared:
        return own
    key = f'ringmeter/time of run {next(_asked)}'
    distributed = initialised_distributed()
    if distributed is None:
        note_choice('time in file names', 'this rank: torch.distributed is not initialised')
        return own
    try:
        store = distributed.distributed_c10d._get_default_store()
        shared = store.compare_set(key, '', own).decode()
    except Exception as error:  # a store without compare_set, or without any such function
        note_choice('time in file names', f'this rank: the store of the job cannot keep it: {error}')
        return own
    note_choice('time in file names', 'the store of the job: that of the rank that came first')
    return str(shared)
