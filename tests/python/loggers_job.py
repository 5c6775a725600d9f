"""What each rank of the job in test_loggers_job.py does."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path

import ringmeter as rm


def train(work_dir: Path, **arguments: object) -> None:
    meter = rm.LoopLogger(max_epochs=1, work_dir=work_dir, name=work_dir.name, **arguments)  # type: ignore[arg-type]
    for value in meter.train([1.0] * 10):
        meter.log(loss=value)


def main(folder: Path, examples: str) -> None:
    rank = int(os.environ['RANK'])
    # Of the launcher: torch has not been imported.
    logger = rm.get_logger('before', folder / 'before' / 'exp.log', 'DEBUG')
    logger.warning('warning of %d', rank)
    logger.error('error of %d', rank)
    has_torch = 'torch' in sys.modules
    # Of torch.distributed, whatever the launcher says, and though every rank comes in another second.
    import torch

    torch.distributed.init_process_group('gloo')
    os.environ['RANK'] = 'unknown'
    time.sleep(1.1 * rank)
    train(folder / 'debug', log_level='DEBUG')
    train(folder / 'every', all_ranks=True)
    train(folder / 'first')
    logging.getLogger('ringmeter').debug('behind it')
    sys.path.insert(0, examples)
    from ddp_digits import train as train_digits

    train_digits(1, str(folder / 'digits'), 'INFO')
    report = {'has_torch': has_torch, 'hubs': list(rm.MessageHub._instance_dict)}
    (folder / f'report{rank}.json').write_text(json.dumps(report))
    torch.distributed.destroy_process_group()


if __name__ == '__main__':
    main(Path(sys.argv[1]), sys.argv[2])
