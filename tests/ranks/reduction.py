"""What each rank does in test_reduction.py: run by torchrun with a folder, writes what it saw there."""

from __future__ import annotations

import json
import logging
import sys
import weakref
from pathlib import Path

import torch
import torch.distributed as dist

import ringmeter as rm

COLLECTIVES = (
    'all_gather', 'all_gather_into_tensor', 'all_gather_object', 'all_gather_single', 'all_reduce', 'all_to_all', 'barrier',
    'broadcast', 'gather', 'reduce', 'reduce_scatter_tensor', 'scatter',
)  # fmt: skip
calls = []
kept = []  # to the end of the process


def count_collectives():
    for name in COLLECTIVES:
        real = getattr(dist, name, None)

        def counted(*args, _real=real, _name=name, **kwargs):
            calls.append(_name)
            return _real(*args, **kwargs)

        setattr(dist, name, counted)


class Runner:
    """As much of one as LogProcessor asks for."""

    def __init__(self, name):
        self.message_hub = rm.MessageHub.get_instance(name)
        self.iter = self.epoch = 0
        self.max_iters, self.max_epochs, self.model = 100, 10, None
        self.train_loop = self._train_loop = self.val_loop = self.test_loop = self
        self.dataloader = range(25)


def line_of(name, values, mode='train', windows=10, **options):
    """Return the record and line of what was recorded, with how many collectives they took."""
    runner = Runner(name)
    for key, entries in values.items():
        for value, count in entries:
            runner.message_hub.update_scalar(f'{mode}/{key}', value, count)
    before = len(calls)
    processor = rm.LogProcessor(windows, **options)
    try:
        tag, line = processor.get_log_after_iter(runner, 4, mode)
    except rm.ArgumentError as error:
        return {'error': str(error), 'calls': len(calls) - before}
    return {'tag': tag, 'line': line, 'calls': len(calls) - before}


def reductions(rank):
    """The same numbers under every way to reduce."""
    out = {}
    for how in ('mean', 'sum', 'min', 'max', None):
        out[str(how)] = line_of(f'how {how}', numbers(rank), reduce=how, custom_cfg=[
            {'data_src': 'loss', 'log_name': 'loss_max', 'window_size': 3, 'method_name': 'max'},
            {'data_src': 'loss', 'log_name': 'loss_min', 'window_size': 3, 'method_name': 'min'},
            {'data_src': 'loss', 'log_name': 'loss_median', 'window_size': 3, 'method_name': 'median'},
        ])  # fmt: skip
    return out


def numbers(rank):
    return {
        'lr': [(0.1 * (rank + 1), 1)],
        'loss': [(rank + i + 0.25, rank + 1) for i in range(4 + rank)],
        'time': [(0.1 * (rank + 1), 1)] * 3,
        'data_time': [(0.01, 1)] * 3,
        'boxes': [(rank + 3, 1)],
    }


def key_counts(rank):
    """Several lines of 1, 8 and 200 keys: how many collectives each takes."""
    out = {}
    for keys in (1, 8, 200):
        runner = Runner(f'{keys} keys')
        processor = rm.LogProcessor(reduce='mean', log_with_hierarchy=keys == 8)
        for step in range(3):
            runner.message_hub.update_scalars(
                {
                    f'train/decoder.layer_{key}/loss_of_the_part': float(rank + key + step)
                    for key in range(keys)
                }
            )
            before = len(calls)
            tag, _ = processor.get_log_after_iter(runner, step, 'train')
            out.setdefault(str(keys), []).append([len(calls) - before, max(map(float, tag.values()))])
    return out


def new_keys(rank):
    """A run in which new keys come: a few at a time, or a hundred, and others on each rank."""
    runner, out = Runner('new keys'), []
    processor = rm.LogProcessor(reduce='mean')
    for step, new in enumerate((1, 0, 3, 0, 100, 0, 100 * rank, 0)):
        runner.message_hub.update_scalars({f'train/{step}_{i}': float(i + rank) for i in range(new)})
        runner.message_hub.update_scalar('train/a', 1.0)
        before = len(calls)
        tag, line = processor.get_log_after_iter(runner, step, 'train')
        out.append([len(calls) - before, len(tag), line])
    return out


def loop(rank, folder, lines):
    """A LoopLogger with a gradient all_reduce in each step."""
    logger = logging.getLogger(f'loop {lines}')
    logger.setLevel('INFO')
    logger.addHandler(handler := Lines())
    meter = rm.LoopLogger(
        max_epochs=2, interval=2, lines=lines, logger=logger, work_dir=folder / f'{lines}{rank}', reduce='mean',
        slowest_rank=True, custom_cfg=[{'data_src': 'loss', 'method_name': 'mean', 'window_size': 'interval'}],
    )  # fmt: skip
    meter._is_silent = rank == 3
    counts, started = [], len(calls)
    for epoch in meter.epochs():
        for batch in meter.train(range(7)):
            dist.all_reduce(gradient := torch.ones(4) * rank)
            meter.log(loss=torch.tensor(float(10 * epoch + batch + rank)))
            assert gradient[0] == 6
            counts.append(len(calls) - started)
        for batch in meter.val(range(2 + rank % 2)):  # one more batch makes no more lines
            meter.log(accuracy=float(batch))
    meter.flush()
    file = folder / f'{lines}{rank}' / 'vis_data' / 'scalars.json'
    return {'counts': counts, 'lines': handler.lines, 'all': len(calls) - started,
            'records': file.read_text().splitlines() if file.exists() else []}  # fmt: skip


class Lines(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(f'{record.levelname} {record.getMessage()}')


def odd_ones(rank, folder):
    """NaNs, other keys, other windows, groups."""
    nan, inf = float('nan'), float('inf')
    pair = dist.new_group([1, 3], backend='gloo')
    out = {
        'nan': line_of('nan', {'loss': [(nan if i == rank else i, 1) for i in range(5)]}, reduce='mean', nan_counts=True),
        'one nan': line_of('one nan', {'loss': [(nan if rank == 2 else 1.0, 1)]}, reduce='max', nan_counts=True),
        'inf': line_of('inf', {'loss': [(inf if rank == 1 else 1.0, 1)]}, reduce='mean', nan_counts=True),
        'empty': line_of('empty', {}, reduce='mean'),
        'union': line_of('union', {'both': [(rank, 1)], f'only_{rank % 2}_loss': [(rank, rank + 1)]}, reduce='mean'),
        'strict': line_of('strict', {'both': [(rank, 1)], f'only_{rank % 2}': [(rank, 1)]}, reduce='mean', strict=True),
        'strict and same': line_of('same', {'both': [(rank, 1)]}, reduce='mean', strict=True),
        'order': line_of('order', {key: [(rank, 1)] for key in ('ab' if rank else 'ba')}, reduce='sum', strict=True),
        'slowest': line_of('slowest', numbers(3 - rank), reduce='mean', slowest_rank=True),
        'no weight': line_of('no weight', {'loss': [(0.0 if rank else 4.0, 0 if rank else 2)]}, reduce='mean'),
        'unicode': line_of('unicode', {'größe loss\n': [(rank, 1)]}, reduce='mean'),
        'by interval': line_of('by interval', numbers(rank), reduce='mean', windows='interval'),
    }  # fmt: skip
    if rank in (1, 3):
        out['group'] = line_of('group', numbers(rank), reduce='mean', group=pair, slowest_rank=True)
    else:
        try:
            rm.LogProcessor(reduce='mean', group=pair)
        except rm.ArgumentTypeError as error:
            out['group'] = str(error)
    return out


def failing_rank(rank):
    """A line that one rank cannot make, and then one that all can."""
    runner = Runner('failing')
    processor = rm.LogProcessor(reduce='sum', custom_cfg=[
        {'data_src': 'x', 'method_name': 'only_rank_1_fails', 'log_name': 'y'},
    ])  # fmt: skip
    runner.message_hub.update_scalar('train/x', 1.0)
    out, failing = [], [True]

    def only_rank_1_fails(buffer):
        if failing[0] and rank == 1:
            raise ZeroDivisionError('no')
        return buffer.current()

    rm.HistoryBuffer.register_statistics(only_rank_1_fails)
    for failing[0] in (True, False):
        try:
            out.append(processor.get_log_after_iter(runner, 0, 'train')[0])
        except ZeroDivisionError as error:
            out.append(str(error))
    return out


def misaligned(rank):
    """A rank whose loader is shorter. The last check: the group is not used after it."""
    handler = Lines()
    logging.getLogger('ringmeter').addHandler(handler)
    runner, out = Runner('misaligned'), []
    processor = rm.LogProcessor(reduce='sum')
    kept.append(processor)
    runner.message_hub.update_scalar('train/loss', 1.0)
    runner.message_hub.update_scalar('val/loss', 1.0)
    for step in range(3):
        before = len(calls)
        mode = 'val' if rank == 2 and step == 1 else 'train'
        tag, _ = processor.get_log_after_iter(runner, step, mode)
        out.append([len(calls) - before, float(tag['loss'])])
    return {'lines': out, 'logged': handler.lines}


def main(folder):
    dist.init_process_group('gloo')
    count_collectives()
    rank = dist.get_rank()
    results = {
        'reductions': reductions(rank),
        'keys': key_counts(rank),
        'new keys': new_keys(rank),
        'now': loop(rank, folder, 'now'),
        'deferred': loop(rank, folder, 'deferred'),
        'odd': odd_ones(rank, folder),
        'failing': failing_rank(rank),
        'misaligned': misaligned(rank),
    }
    group = weakref.ref(dist.group.WORLD)
    dist.destroy_process_group()
    results['held'] = group() is not None
    (folder / f'{rank}.json').write_text(json.dumps(results, default=float))


if __name__ == '__main__':
    main(Path(sys.argv[1]))
