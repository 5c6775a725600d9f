"""Rows: what recording CUDA tensors costs, apart from the driver.

There is no GPU in it: the driver is the tests' own, which runs a launch in the call and takes next to no
time. What a launch takes on a GPU comes on top, once for a call (benches/gpu/verify.py measures both there).
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from harness import OURS, Contender, Row, Settings, at_most, in_time, measure

import ringmeter

TOPIC = 'Recording CUDA tensors, the driver left out'
KEYS = [f'train/loss{i}' for i in range(8)]


def rows(settings: Settings) -> list[Row]:
    """Measure everything about tensors on a device."""
    cuda = _fake_cuda()
    cuda.set_stream(0, cuda.new_stream(0))
    hub = ringmeter.MessageHub('device')
    one, eight = _one(cuda, hub), _eight(cuda, hub)
    cuda.immediate(True)
    try:
        cells = measure([one], settings)
        cells_of_eight = measure([eight], settings)
    finally:
        cuda.immediate(False)
    launch = 2e-6  # of cuLaunchKernel on recent servers, as reported; an assumption
    ratio = (cells_of_eight[OURS].value + launch) / (cells[OURS].value + launch)
    return [
        Row(TOPIC, 'a tensor by key', cells, [in_time(cells, 0.5e-6)]),
        Row(
            TOPIC,
            'a dict of 8 tensors',
            cells_of_eight,
            [at_most('at most 1.5 times one, with a launch of 2 µs each', ratio, 1.5)],
        ),
    ]


def _fake_cuda() -> ModuleType:
    path = Path(__file__).parents[1] / 'tests' / 'fake_cuda' / 'build.py'
    spec = importlib.util.spec_from_file_location('fake_cuda_build', path)
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    module: ModuleType = build.load()
    return module


def _one(cuda: Any, hub: ringmeter.MessageHub) -> Contender:
    x = cuda.FakeCudaTensor(0.5)

    def check() -> None:
        hub.update_scalar(KEYS[0], x)
        assert hub.get_scalar(KEYS[0]).current() == 0.5

    names = {'hub': hub, 'key': KEYS[0], 'x': x}
    return Contender(OURS, 'hub.update_scalar(key, x)', names, check)


def _eight(cuda: Any, hub: ringmeter.MessageHub) -> Contender:
    losses = {key: cuda.FakeCudaTensor(float(i)) for i, key in enumerate(KEYS)}

    def check() -> None:
        hub.update_scalars(losses)
        got = [float(hub.get_scalar(key).current()) for key in KEYS]
        assert got == [float(i) for i in range(8)], got

    return Contender(OURS, 'hub.update_scalars(losses)', {'hub': hub, 'losses': losses}, check)
