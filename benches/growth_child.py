"""Prints the seconds of an update of a history that grows, in a process that did nothing before.

``growth_child.py <whose> <entries>``. glibc then takes and gives back the pages of every array that is
copied; the other rows are measured in a state that spares mmengine that.
"""

from __future__ import annotations

import argparse
import importlib
import math
import statistics
import time

MODULES = {'ringmeter': 'ringmeter', 'mmengine': 'mmengine.logging'}
UPDATES = 1_000
X = 0.7315


def main() -> None:
    """Fill a history, check an update of it, and time some more."""
    parser = argparse.ArgumentParser()
    parser.add_argument('whose', choices=sorted(MODULES))
    parser.add_argument('entries', type=int)
    arguments = parser.parse_args()
    module = importlib.import_module(MODULES[arguments.whose])
    values = [1.0 + i % 7 for i in range(arguments.entries)]
    buffer = module.HistoryBuffer(values, [1] * len(values))
    hub = module.MessageHub('growth', log_scalars={'loss': buffer}, resumed_keys={'loss': True})

    hub.update_scalar('loss', X)
    want = math.fsum([*values, X]) / (len(values) + 1)
    if not math.isclose(hub.get_scalar('loss').mean(), want, rel_tol=1e-12):
        raise AssertionError(f'mean is {hub.get_scalar("loss").mean()!r}, expected {want!r}')

    seconds = []
    for _ in range(3):
        start = time.thread_time()
        for _ in range(UPDATES):
            hub.update_scalar('loss', X)
        seconds.append((time.thread_time() - start) / UPDATES)
    print(statistics.median(seconds))


if __name__ == '__main__':
    main()
