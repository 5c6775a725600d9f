"""What each rank does in test_reduction.py where one of them dies, or hangs until the others are done."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import reduction as checks
import torch.distributed as dist

import ringmeter as rm


def hang(folder):
    deadline = time.monotonic() + 120
    while len(list(folder.glob('?.json'))) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)


def main(folder, fault):
    dist.init_process_group('gloo', timeout=timedelta(seconds=5))
    checks.count_collectives()
    rank = dist.get_rank()
    handler = checks.Lines()
    logging.getLogger('ringmeter').addHandler(handler)
    runner = checks.Runner('faults')
    processor = rm.LogProcessor(reduce='sum')
    runner.message_hub.update_scalar('train/loss', float(rank))
    lines, counts, start = [], [], time.monotonic()
    for step in range(3):
        if rank == 3 and step == 1:
            if fault == 'hangs':
                hang(folder)
            os._exit(0)
        before = len(checks.calls)
        lines.append(float(processor.get_log_after_iter(runner, step, 'train')[0]['loss']))
        counts.append(len(checks.calls) - before)
    result = {'lines': lines, 'own': rank, 'calls': counts, 'logged': handler.lines}
    result['seconds'] = time.monotonic() - start
    (folder / f'{rank}.json').write_text(json.dumps(result))
    os._exit(0)  # the group cannot be left in order


if __name__ == '__main__':
    main(Path(sys.argv[1]), sys.argv[2])
