"""Which waits are found on a real GPU. ``python benches/gpu/verify.py`` runs these."""

from __future__ import annotations

import pytest

torch = pytest.importorskip('torch')

import ringmeter as rm  # noqa: E402

pytest_plugins = ['ringmeter.testing']
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device'),
]


@pytest.fixture(scope='module')
def tensor():
    tensor = torch.arange(64.0, device='cuda')
    rm.HistoryBuffer().update(tensor[0])
    torch.cuda.synchronize()
    return tensor


@pytest.fixture
def busy():
    """The current stream has something to do until the end of the test, half a second at most."""
    torch.cuda._sleep(500_000_000)
    yield
    torch.cuda.synchronize()


@pytest.mark.parametrize(
    'wait',
    [
        lambda t: t[0].item(),
        lambda t: float(t[0]),
        lambda t: bool(t.sum() > 0),
        lambda t: t.cpu(),
        lambda t: t.tolist(),
        lambda t: t.nonzero(),
        lambda t: t[t > 3],
        lambda _: torch.cuda.synchronize(),
        lambda _: torch.cuda.current_stream().synchronize(),
        lambda _: torch.cuda.Stream().synchronize(),
        lambda _: torch.cuda.default_stream().record_event().synchronize(),
    ],
)
def test_wait_is_found(no_sync, tensor, wait):
    with pytest.raises(rm.SyncError, match=r'test_no_sync\.py:\d+ does: lambda [t_]: ') as raised, no_sync():
        wait(tensor)
    assert raised.value.filename == __file__
    wait(tensor)


@pytest.mark.skipif(not hasattr(torch, 'accelerator'), reason='older than torch.accelerator')
def test_wait_for_the_accelerator_is_found(no_sync):
    with pytest.raises(rm.SyncError, match=r'torch\.accelerator\.synchronize\(\) must not'), no_sync():
        torch.accelerator.synchronize()


def test_synchronize_imported_by_name_is_found(no_sync):
    from torch.cuda import synchronize

    with pytest.raises(rm.SyncError, match=r'does: synchronize\(\) \(torch\.cuda\.sync'), no_sync():
        synchronize()


def test_mode_of_torch_is_restored(no_sync):
    for mode in (0, 1, 2, 0):
        torch.cuda.set_sync_debug_mode(mode)
        with no_sync(), no_sync():
            assert torch.cuda.get_sync_debug_mode() == 2
        assert torch.cuda.get_sync_debug_mode() == mode


def test_training_step_that_records_does_not_wait(no_sync):
    model = torch.nn.Linear(64, 8, device='cuda')
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    hub = rm.MessageHub('no_sync')
    batch = torch.randn(16, 64, device='cuda')

    def step():
        loss = model(batch).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        hub.update_scalars({'train/loss': loss, 'train/grad': model.weight.grad.norm()})

    step()
    with no_sync():
        for _ in range(20):
            step()
    assert hub.get_scalar('train/loss').count() == 21


def test_wait_in_backward_is_found(no_sync, tensor):
    def wait(grad):
        return grad * grad.sum().item()

    weight = tensor.clone().requires_grad_()
    weight.register_hook(wait)
    with pytest.raises(rm.SyncError, match=r'does: return grad \* grad\.sum\(\)\.item\(\)'), no_sync():
        weight.sum().backward()


def test_reading_what_has_not_landed_is_found(no_sync, tensor, busy):
    history = rm.HistoryBuffer()
    history.update(tensor[3])
    with no_sync():
        assert history.landed == 0
    with (
        pytest.raises(rm.SyncError, match=r'history\.mean\(\) \(values that are still on a device'),
        no_sync(),
    ):
        history.mean()
    torch.cuda.synchronize()
    with no_sync():
        history.mean(landed=True)
    assert history.mean() == 3.0
