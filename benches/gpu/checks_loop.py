"""LoopLogger on a device: times, lines, and nothing that waits."""

from __future__ import annotations

import contextlib
import itertools
import logging
import statistics
import time

import torch
from gpu_check import DEVICE, ON_CPU, Result, check, listed, main, require, require_equal, spin, synchronize

import ringmeter as rm


class Lines(logging.Handler):
    """Keeps the lines that it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def make_meter(**options: object) -> tuple[rm.LoopLogger, Lines]:
    """Return a logger of one long epoch, and where its lines go."""
    lines = Lines()
    logger = logging.Logger('quiet')
    logger.addHandler(lines)
    return rm.LoopLogger(max_epochs=1000, logger=logger, **options), lines  # type: ignore[arg-type]


@check('loop-time')
def device_time(result: Result) -> None:
    """Steps of 1 to 4 ms on the device, queued in much less: ``time`` against events beside the losses."""
    meter, _ = make_meter(interval=10)
    loss = torch.zeros((), device='cuda')
    meter.message_hub.update_scalar('train/warm', loss)
    spin(0.001)
    torch.cuda.synchronize()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(61)]
    queued = 0.0
    for i in meter.train(range(61)):
        start = time.perf_counter()
        spin(0.001 * (1 + i % 4))
        loss.add_(1)
        meter.log(loss=loss)
        events[i].record()
        queued += time.perf_counter() - start
    torch.cuda.synchronize()
    want = [a.elapsed_time(b) / 1e3 for a, b in itertools.pairwise(events)]
    got = listed(meter.message_hub.get_scalar('train/time'))[-len(want) :]
    ratios = [mine / theirs for mine, theirs in zip(got, want, strict=True)]
    result.figures.update(
        queued_ms=queued * 1e3,
        device_ms=sum(want) * 1e3,
        time_to_events_of_all=sum(got) / sum(want),
        time_to_events_median=statistics.median(ratios),
        time_to_events_range=[min(ratios), max(ratios)],
    )
    require(queued < sum(want) / 2, 'the host waited for the device')
    require(abs(sum(got) / sum(want) - 1) < 0.02, f'all in all: {sum(got):.4f} s, events: {sum(want):.4f} s')
    require(min(ratios) > 0.9 and max(ratios) < 1.1, f'one by one: from {min(ratios)} to {max(ratios)}')


@check('loop-sync')
def no_synchronization(result: Result) -> None:
    """Until the epoch ends. torch does not see calls of the driver: loop-ahead does."""
    meter, lines = make_meter(interval=5, idle_time=True)
    model = torch.nn.Linear(16, 8, device=DEVICE)
    data = torch.randn(40, 4, 16, device=DEVICE)
    synchronize()
    batches = meter.train(data.unbind())
    with contextlib.nullcontext() if ON_CPU else rm.no_sync():
        for _ in range(len(data)):
            parts = model(next(batches)).unbind(1)
            meter.log({f'loss{i}': part.square().mean() for i, part in enumerate(parts)}).backward()
    require_equal(list(batches), [], 'batches left')
    require_equal(len(lines.texts), 8, 'lines')
    require('loss7' in lines.texts[0], f'the line has no loss7: {lines.texts[0]}')
    result.figures['lines'] = len(lines.texts)


@check('loop-ahead')
def run_ahead(result: Result) -> None:
    """The host queues steps of 3 ms. One that writes a line must not wait for any of them."""
    for mode in ('deferred', 'now'):
        meter, lines = make_meter(interval=10, lines=mode)
        loss = torch.zeros((), device='cuda')
        meter.message_hub.update_scalar('train/warm', loss)
        spin(0.001)
        torch.cuda.synchronize()
        event = torch.cuda.Event()
        steps: list[float] = []
        is_busy: list[bool] = []  # when the step was over for the host
        start = time.perf_counter()
        for _ in meter.train(range(60)):
            now = time.perf_counter()
            steps.append(now - start)
            start = now
            if len(steps) > 1:
                is_busy.append(not event.query())
            spin(0.003)
            loss.add_(1)
            event.record()
            meter.log(loss=loss)
        steps = steps[1:]
        with_line = [steps[i] for i in range(9, len(steps), 10)]
        others = [step for i, step in enumerate(steps) if i % 10 != 9]
        result.figures[f'{mode}: step with a line, us'] = statistics.median(with_line) * 1e6
        result.figures[f'{mode}: other steps, us'] = statistics.median(others) * 1e6
        result.figures[f'{mode}: device busy after so many of {len(is_busy)} steps'] = sum(is_busy)
        require_equal(len(lines.texts), 6, f'lines, {mode}')
        if mode == 'deferred':
            require_equal(is_busy, [True] * len(is_busy), 'the device had something to do after each step')
            require(max(with_line) < 0.002, f'a step with a line took {max(with_line) * 1e3:.2f} ms')


if __name__ == '__main__':
    main()
