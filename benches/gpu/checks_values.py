"""Values: all there, in order, exact, whatever happens to their memory."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from gpu_check import (
    DEVICE,
    ON_CPU,
    Result,
    Skipped,
    check,
    listed,
    main,
    on_new_stream,
    require,
    require_equal,
    synchronize,
)

import ringmeter as rm

BOTH_HALVES = 0x1_0000_0001  # times i: either half of the 8 bytes tells i, so that a torn value shows
THREAD = 1 << 60
CHUNK = 10_000


@check('H2')
def many_values(result: Result) -> None:
    """Three threads record one key each, a fourth eight keys in one launch; the device has other work too."""
    each = 250_000 if not ON_CPU else 20_000
    hub = rm.MessageHub('many')
    errors: list[BaseException] = []

    def record(thread: int) -> None:
        try:
            with on_new_stream(), torch.no_grad():
                _record_one_by_one(hub, thread, each) if thread < 3 else _record_eight(hub, thread, each // 8)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=record, args=(number,)) for number in range(4)]
    matrix = torch.randn(512, 512, device=DEVICE)
    reads = 0
    for each_thread in threads:
        each_thread.start()
    while any(thread.is_alive() for thread in threads):
        matrix = (matrix @ matrix).clamp(-1, 1)
        if 't0' in hub.log_scalars:
            hub.get_scalar('t0').mean(100)
            reads += 1
        threads[0].join(0.005)
    if errors:
        raise errors[0]
    synchronize()
    for thread in range(3):
        require_equal(listed(hub.get_scalar(f't{thread}')), _expected(thread, each), f'thread {thread}')
    for key in range(8):
        want = _expected(3, each)[key::8]
        require_equal(listed(hub.get_scalar(f't3/{key}')), want, f'thread 3, key {key}')
    shared = listed(hub.get_scalar('all'))
    for thread in range(3):
        mine = [value for value in shared if value // THREAD == thread]
        require_equal(
            mine, _expected(thread, each)[::50], f'what thread {thread} recorded under a shared key'
        )
    result.figures.update(values=4 * each + len(shared), reads_meanwhile=reads)
    if not ON_CPU:
        result.figures['waits_for_room'] = rm.device_info()['cuda:0']['waits']


def _expected(thread: int, n: int) -> list[int]:
    return [i * BOTH_HALVES + thread * THREAD for i in range(n)]


def _chunk(thread: int, begin: int, size: int) -> tuple[torch.Tensor, ...]:
    numbers = torch.arange(begin, begin + size, device=DEVICE, dtype=torch.int64)
    return (numbers * BOTH_HALVES + thread * THREAD).unbind()


def _record_one_by_one(hub: rm.MessageHub, thread: int, n: int) -> None:
    key = f't{thread}'
    for begin in range(0, n, CHUNK):
        for i, value in enumerate(_chunk(thread, begin, min(CHUNK, n - begin))):
            hub.update_scalar(key, value)
            if i % 50 == 0:
                hub.update_scalar('all', value)


def _record_eight(hub: rm.MessageHub, thread: int, n: int) -> None:
    keys = [f't{thread}/{i}' for i in range(8)]
    for begin in range(0, n * 8, CHUNK):
        values = _chunk(thread, begin, min(CHUNK, n * 8 - begin))
        for i in range(0, len(values), 8):
            hub.update_scalars(dict(zip(keys, values[i : i + 8], strict=True)))


@check('H7-hooks')
def hooks(result: Result) -> None:
    """Gradients recorded by the threads of autograd, and values of one stream recorded on another."""
    hub = rm.MessageHub('hooks')
    layer = torch.nn.Linear(32, 32, device=DEVICE)
    norms: list[torch.Tensor] = []
    layer.weight.register_hook(lambda grad: hub.update_scalar('norm', grad.norm()))
    layer.register_full_backward_hook(lambda _m, _i, grads: hub.update_scalar('out', next(iter(grads)).sum()))
    for _ in range(50):
        with on_new_stream():
            layer.zero_grad()
            layer(torch.randn(8, 32, device=DEVICE, requires_grad=True)).square().mean().backward()
            assert layer.weight.grad is not None
            norms.append(layer.weight.grad.norm())
            synchronize()
    require_equal(listed(hub.get_scalar('norm')), [norm.item() for norm in norms], 'norms of gradients')
    require_equal(len(hub.get_scalar('out')), 50, 'values of a module hook')
    if ON_CPU:
        return
    first, second = torch.cuda.Stream(), torch.cuda.Stream()
    total = torch.zeros((), device=DEVICE)
    torch.cuda.synchronize()
    for _ in range(500):
        with torch.cuda.stream(first):
            total.add_(1)
        second.wait_stream(first)
        with torch.cuda.stream(second):
            hub.update_scalar('total', total)
        first.wait_stream(second)
    require_equal(listed(hub.get_scalar('total')), [float(i) for i in range(1, 501)], 'values of two streams')
    result.figures['values'] = 600


@check('H7-churn')
def churn(result: Result) -> None:
    """``del`` right after the call: what gets the same memory next must not be what is read."""
    hub = rm.MessageHub('churn')
    n = 20_000 if not ON_CPU else 2000
    same = 0
    for i in range(n):
        value = torch.full((), float(i), device=DEVICE)
        address = value.data_ptr()
        hub.update_scalar('a', value)
        del value
        other = torch.full((), -1.0, device=DEVICE)
        same += other.data_ptr() == address
        hub.update_scalars({f'b{k}': torch.full((), float(i + k), device=DEVICE) for k in range(3)})
        if i % 1000 == 0:  # large blocks come and go
            torch.empty(1 << 22, device=DEVICE).fill_(-1.0)
            if not ON_CPU:
                torch.cuda.empty_cache()
    require_equal(listed(hub.get_scalar('a')), [float(i) for i in range(n)], 'values')
    for k in range(3):
        require_equal(listed(hub.get_scalar(f'b{k}')), [float(i + k) for i in range(n)], f'values of b{k}')
    result.figures.update(values=4 * n, memory_used_again=same)
    if not ON_CPU:
        result.figures['allocator'] = torch.cuda.get_allocator_backend()
        require(same > n // 2, 'no memory was used again: nothing was shown')


@check('dtypes')
def dtypes(result: Result) -> None:
    """Every code of the types of 8 and 16 bits, and what is hard in the others."""
    hub = rm.MessageHub('dtypes')
    codes = {torch.uint8: np.arange(256, dtype=np.uint8), torch.int16: np.arange(65536).astype(np.int16)}
    names = ('float8_e4m3fn', 'float8_e4m3fnuz', 'float8_e5m2', 'float8_e5m2fnuz', 'float8_e8m0fnu',
             'float16', 'bfloat16')  # fmt: skip
    for name in names:
        dtype = getattr(torch, name, None)
        if dtype is None:
            continue
        stored = torch.from_numpy(codes[torch.uint8 if dtype.itemsize == 1 else torch.int16])
        want: Any = stored.view(dtype).to(torch.float32).to(torch.float64).numpy()
        for value in stored.to(DEVICE).view(dtype).unbind():
            hub.update_scalar(name, value)
        got = hub.get_scalar(name).data[0]
        require(np.array_equal(got, want, equal_nan=True), f'{name} differs')
        result.figures[name] = len(want)
    for name, values in _hard_values().items():
        tensor = torch.tensor(values, dtype=getattr(torch, name))
        for value in tensor.to(DEVICE).unbind():
            hub.update_scalar(name, value)
            require_equal(hub.get_scalar(name).current().item(), value.item(), name)
        require_equal(listed(hub.get_scalar(name)), tensor.tolist(), name)
        result.figures[name] = len(values)


def _hard_values() -> dict[str, list[Any]]:
    signed = {f'int{n}': [-(2 ** (n - 1)), -1, 0, 1, 2 ** (n - 1) - 1] for n in (8, 16, 32, 64)}
    unsigned = {f'uint{n}': [0, 1, 2**n - 1] for n in (8, 16, 32, 64)}
    signed['int64'] += [2**53 + 1, -(2**53) - 1]
    unsigned['uint64'] += [2**63, 2**63 + 1]
    floats = [0.1, -0.0, 5e-324, 1e-45, 3e38, float('inf'), -float('inf')]
    return {'bool': [True, False], **signed, **unsigned, 'float32': floats, 'float64': [*floats, 1e308]}


@check('arrays')
def arrays(result: Result) -> None:
    """Arrays of CuPy and JAX, where they are installed."""
    hub = rm.MessageHub('arrays')
    try:
        import cupy
    except ImportError:
        result.figures['cupy'] = 'not installed'
    else:
        with cupy.cuda.Stream(non_blocking=True):
            numbers = cupy.arange(1000, dtype=cupy.int64) * BOTH_HALVES
            for i in range(1000):
                hub.update_scalar('cupy', numbers[i])
        require_equal(listed(hub.get_scalar('cupy')), [i * BOTH_HALVES for i in range(1000)], 'CuPy')
        result.figures['cupy'] = cupy.__version__
        require_equal(rm.device_info()['cuda:0']['path'], 'driver', 'how CuPy arrays come')
    try:
        import jax
    except ImportError:
        result.figures['jax'] = 'not installed'
    else:
        numbers = jax.numpy.arange(100, dtype=jax.numpy.float32) / 8
        for i in range(100):
            hub.update_scalar('jax', numbers[i])
        require_equal(listed(hub.get_scalar('jax')), [i / 8 for i in range(100)], 'JAX')
        result.figures.update(jax=jax.__version__, jax_platform=jax.default_backend())
    if all(result.figures[name] == 'not installed' for name in ('cupy', 'jax')):
        raise Skipped('neither CuPy nor JAX is installed')


if __name__ == '__main__':
    main()
