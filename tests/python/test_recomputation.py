"""Values that activation checkpointing would record twice."""

from __future__ import annotations

import pytest

import ringmeter as rm

torch = pytest.importorskip('torch')
from torch.utils.checkpoint import checkpoint  # noqa: E402

both_kinds = pytest.mark.parametrize('use_reentrant', [False, True])


@pytest.fixture
def hub():
    return rm.MessageHub('recomputation')


def values(hub, key):
    return hub.get_scalar(key).data[0].tolist()


@both_kinds
@pytest.mark.parametrize('as_tensor', [False, True])
def test_repeated_forward_is_recorded_once(hub, use_reentrant, as_tensor):
    calls = []

    def block(x):
        calls.append(1)
        y = (x * 2).sin()
        total = y.sum()
        hub.update_scalar('a', total.detach() if as_tensor else 1.5)
        hub.update_scalars({'b': total.detach() if as_tensor else 1.5})
        return y

    x = torch.ones(3, requires_grad=True)
    for _ in range(2):
        checkpoint(block, x, use_reentrant=use_reentrant).sum().backward()
    assert len(calls) == 4
    assert len(hub.get_scalar('a')) == len(hub.get_scalar('b')) == 2


@both_kinds
def test_repeated_forward_is_recorded_again_when_asked_for(hub, use_reentrant):
    hub.skip_recompute = False

    def block(x):
        hub.update_scalar('a', 1.0)
        return (x * 2).sin()

    x = torch.ones(3, requires_grad=True)
    checkpoint(block, x, use_reentrant=use_reentrant).sum().backward()
    assert len(hub.get_scalar('a')) == 2


@both_kinds
def test_hooks_are_recorded_inside_and_outside_of_checkpoints(hub, use_reentrant):
    def record(name):
        return lambda grad: hub.update_scalar(name, grad.sum())

    inside = torch.nn.Linear(3, 3)
    inside.weight.register_hook(record('inside'))

    def block(x):
        return inside(x).sin()

    x = torch.ones(3, requires_grad=True)
    x.register_hook(record('outside'))
    checkpoint(block, x * 2, use_reentrant=use_reentrant).sum().backward()
    assert len(hub.get_scalar('inside')) == 1
    assert len(hub.get_scalar('outside')) == 1


@pytest.mark.filterwarnings('ignore:None of the inputs')
@both_kinds
def test_nested_checkpoints_record_once(hub, use_reentrant):
    def inner(x):
        hub.update_scalar('inner', x.sum().detach())
        return x.sin()

    def outer(x):
        hub.update_scalar('outer', x.sum().detach())
        return checkpoint(inner, x * 2, use_reentrant=use_reentrant).cos()

    x = torch.ones(3, requires_grad=True)
    checkpoint(outer, x, use_reentrant=use_reentrant).sum().backward()
    assert len(hub.get_scalar('outer')) == 1
    assert len(hub.get_scalar('inner')) == 1


def test_custom_backward_is_recorded(hub):
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            hub.update_scalar('grad', grad.sum())
            return grad * 2

    Doubled.apply(torch.ones(3, requires_grad=True)).sum().backward()
    assert values(hub, 'grad') == [3.0]
