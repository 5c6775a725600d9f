"""torch.compile with CUDA graphs."""

from __future__ import annotations

from typing import Any

import torch
from gpu_check import DEVICE, ON_CPU, Result, check, listed, main, require_equal, synchronize
from torch._dynamo.utils import counters

import ringmeter as rm

STEPS = 12


@check('H6-compile')
def reduce_overhead(result: Result) -> None:
    """Once with and once without gradients. The first steps run eagerly, are captured, then replayed."""
    hub = rm.MessageHub('compile')
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1)).to(DEVICE)

    @torch.compile(mode='reduce-overhead', fullgraph=True)
    def step(x: torch.Tensor) -> torch.Tensor:
        loss: torch.Tensor = model(x).square().mean()
        hub.update_scalars({'loss': loss, 'double': loss * 2})
        hub.update_scalar('again', loss)
        return loss

    def run(is_training: bool) -> list[float]:
        losses = []
        for _ in range(STEPS):
            torch.compiler.cudagraph_mark_step_begin()
            with torch.set_grad_enabled(is_training):
                loss = step(torch.randn(16, 64, device=DEVICE))
            if is_training:
                loss.backward()
            losses.append(loss.detach().clone())
        synchronize()
        return [loss.item() for loss in losses]

    want = run(is_training=False) + run(is_training=True)
    require_equal(listed(hub.get_scalar('loss')), want, 'loss')
    require_equal(listed(hub.get_scalar('double')), [2 * loss for loss in want], 'double')
    require_equal(listed(hub.get_scalar('again')), want, 'again')
    skips: Any = counters['inductor']['cudagraph_skips']
    result.figures.update(steps=2 * STEPS, cudagraph_skips=skips)
    if not ON_CPU:
        require_equal(skips, 0, 'graphs that torch skipped')
        # Without graphs the values would be right as well.
        captured = len(rm._core.replay_totals(hub.get_scalar('loss')))
        require_equal(captured > 0, True, 'a value was captured')
        result.figures['captured_nodes'] = captured


if __name__ == '__main__':
    main()
