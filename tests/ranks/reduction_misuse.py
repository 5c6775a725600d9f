"""What each rank does in test_reduction.py that nobody should do, and that must stop nobody."""

from __future__ import annotations

import json
import logging
import sys
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import reduction as checks
import torch
import torch.distributed as dist

import ringmeter as rm


def meter_of(name, **options):
    """Return a LoopLogger, and what it logs."""
    logger = logging.getLogger(f'misuse {name}')
    logger.setLevel('INFO')
    logger.addHandler(handler := checks.Lines())
    return rm.LoopLogger(logger=logger, name=name, **options), handler.lines


def odd_values(rank):
    """Names and numbers that do not fit into a payload as they are."""
    enormous = 10**400

    def of_rank_1_alone(_):
        return enormous if rank == 1 else 5

    rm.HistoryBuffer.register_statistics(of_rank_1_alone)
    runner = checks.Runner('odd values')
    runner.message_hub.update_scalars({'train/a\0b': 1.0, 'train/x': 2**53})
    runner.message_hub.update_info('eta', -enormous if rank == 0 else 60)
    rules = [{'data_src': 'x', 'log_name': 'enormous', 'method_name': 'of_rank_1_alone'}]
    processor = rm.LogProcessor(reduce='sum', custom_cfg=rules)
    tag, line = processor.get_log_after_iter(runner, 0, 'train')
    return {'tag': {repr(name): str(value) for name, value in tag.items()}, 'line': repr(line)}


def two_loops(rank):
    """Loops side by side with one log processor: a line begins while another's collective is under way."""
    processor = rm.LogProcessor(by_epoch=False, reduce='mean')
    (one, lines), (other, other_lines) = (
        meter_of(name, max_iters=12, interval=1, log_processor=processor) for name in ('one', 'other')
    )
    for step, _ in zip(one.train(range(12)), other.train(range(12)), strict=False):
        one.log(x=float(rank), **{f'of one {step} {key}': 1.0 for key in range(600 * (step == 5))})
        other.log(x=float(rank), **{f'of other {step} {key}': 1.0 for key in range(900 * (step == 4))})
    other.flush()
    return [[line.count(': 1.5000') for line in lines] for lines in (lines, other_lines)]


def raises_later(rank):
    """A line that waits, and that rank 1 cannot make."""

    def refused_by_rank_1(buffer):
        if rank == 1 and buffer.current() == 2:
            raise ZeroDivisionError('no')
        return 3.0

    rm.HistoryBuffer.register_statistics(refused_by_rank_1)
    rules = [{'data_src': 'x', 'log_name': 'y', 'method_name': 'refused_by_rank_1'}]
    meter, lines = meter_of('later', max_iters=8, interval=1, custom_cfg=rules, reduce='sum')
    raised, step = [], 0
    while meter.iter < 8:
        try:
            for _ in meter.train(range(8 - step)):
                meter.log(x=float(step))
                step += 1
        except ZeroDivisionError as error:
            raised.append(str(error))
    return {'raised': raised, 'y': [line.rpartition('y: ')[2] for line in lines]}


def state_of_one(rank):
    """Rank 0 alone saves after an epoch that was left with a line that waits."""
    meter, lines = meter_of('state', max_epochs=2, interval=2, reduce='sum')
    states = []
    for epoch in meter.epochs():
        for step in meter.train(range(8)):
            meter.log(x=1.0)
            if (epoch, step) == (0, 4):
                break
        if rank == 0:
            state = meter.state_dict()
            states.append([state['epoch'], state['iter']])
        dist.barrier()
    meter.flush()
    return {'states': states, 'x': [line.rpartition('x: ')[2] for line in lines]}


def handles_an_exception(rank):
    """Rank 1 trains where an exception is handled."""

    def train():
        meter, lines = meter_of('handling', max_epochs=1, interval=2, reduce='sum')
        for _ in meter.train(range(6)):
            meter.log(x=1.0)
        return [line.rpartition('x: ')[2] for line in lines]

    try:
        if rank == 1:
            raise FileNotFoundError('no checkpoint')
    except FileNotFoundError:
        return train()
    return train()


def evaluates_first():
    """The first lines are made in inference mode, later ones outside of it."""
    meter, lines = meter_of('inference', max_epochs=1, interval=1, reduce='sum')
    with torch.inference_mode():
        for _ in meter.val(range(2)):
            meter.log(x=1.0)
    for _ in meter.train(range(2)):
        meter.log(x=1.0)
    return [line.rpartition('x: ')[2] for line in lines if 'x: ' in line]


def groups_that_end(rank, folder):
    """Groups that are destroyed while they are used, the default one and one of their own, and made anew."""
    runner = checks.Runner('groups')
    runner.message_hub.update_scalar('train/x', 1.0)
    own_group = dist.new_group()
    own, default = rm.LogProcessor(reduce='sum', group=own_group), rm.LogProcessor(reduce='sum')
    lines = []

    def add():
        lines.append([int(p.get_log_after_iter(runner, 0, 'train')[0]['x']) for p in (own, default)])

    dist.destroy_process_group(own_group)
    add()
    dist.destroy_process_group()
    add()
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=3 - rank, world_size=4)
    add()
    return lines


def main(folder):
    dist.init_process_group('gloo', timeout=timedelta(seconds=20))
    rank = dist.get_rank()
    handler = checks.Lines()
    logging.getLogger('ringmeter').addHandler(handler)
    results = {
        'odd values': odd_values(rank),
        'two loops': two_loops(rank),
        'raises later': raises_later(rank),
        'state of one': state_of_one(rank),
        'handles an exception': handles_an_exception(rank),
        'evaluates first': evaluates_first(),
    }
    assert [line for line in handler.lines if 'failed' in line] == []
    results['groups that end'] = groups_that_end(rank, folder)
    results['logged'] = [line for line in handler.lines if 'failed' in line]
    (folder / f'{rank}.json').write_text(json.dumps(results))


if __name__ == '__main__':
    main(Path(sys.argv[1]))
