"""Recording inside of functions that torch.compile compiles: as in eager, in one graph."""

from __future__ import annotations

import copy
import gc
import importlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import ringmeter as rm

torch = pytest.importorskip('torch')
counters = importlib.import_module('torch._dynamo.utils').counters
# Of torch's own making, when it compiles; they would also be raised as errors in the middle of that.
pytestmark = pytest.mark.filterwarnings('ignore')
VERSION = tuple(int(part) for part in torch.__version__.split('.')[:2])


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def compiled(function: Callable[..., Any], **kwargs: Any) -> Callable[..., Any]:
    return torch.compile(function, **({'backend': 'aot_eager', 'fullgraph': True} | kwargs))


def graphs() -> int:
    return counters['stats']['unique_graphs']


def data(hub: rm.MessageHub) -> dict[str, Any]:
    """Values and counts by key, with their types, in the order in which the keys came."""
    return {
        key: [[array.dtype.kind, *array.tolist()] for array in buffer.data]
        for key, buffer in hub.log_scalars.items()
    }


class Spying(rm.HistoryBuffer):
    """Tells a list of every update, so that the order shows across keys."""

    def __init__(self, key: str, seen: list[Any]) -> None:
        super().__init__()
        self.name, self.seen = key, seen

    def update(self, log_val: Any, count: Any = 1) -> None:
        self.seen.append((self.name, log_val, count))


def many_appends(hub: rm.MessageHub, x: Any, w: Any) -> Any:
    # Sums of small integers: exact in any order of adding.
    t = x.clone()
    for i in range(8):
        t = t * w + i
        hub.update_scalar(f'a{i % 3}', t.sum())
        t.add_(1)
        hub.update_scalars({'b': {'value': t.max(), 'count': 7}, f'a{i % 3}': t.sum()})
        view = t[0]
        hub.update_scalar('view', view)
        t[0] = 5.0
        hub.update_scalar('view', view, count=2)
        hub.update_scalar('w', w)
    return t.sum()


@pytest.mark.parametrize('grad', [False, True])
@pytest.mark.parametrize('backend', ['aot_eager', 'inductor'])
def test_values_and_their_order_are_those_of_eager(backend: str, grad: bool) -> None:
    seen: dict[str, list[Any]] = {'eager': [], 'compiled': []}
    functions = {'eager': many_appends, 'compiled': compiled(many_appends, backend=backend)}
    for name, function in functions.items():
        keys = ('a0', 'a1', 'a2', 'b', 'view', 'w')
        hub = rm.MessageHub(
            name, {key: Spying(key, seen[name]) for key in keys}, None, dict.fromkeys(keys, True)
        )
        for step in range(3):
            result = function(hub, torch.arange(4.0) + step, torch.tensor(2.0, requires_grad=grad))
            if grad:
                result.backward()
    assert len(seen['eager']) == 3 * 8 * 6
    assert seen['compiled'] == seen['eager']
    assert not counters['graph_break']


def forms(hub: rm.MessageHub, x: Any) -> Any:
    total = (x * 2).sum()
    hub.update_scalar('positional', total, 3, False)
    hub.update_scalar(key='named', value=total, count=x.shape[0], resumed=False)
    hub.update_scalar('one element', x[0:1].reshape(1, 1))
    hub.update_scalars(OrderedDict(z=total, positional_too={'value': total, 'count': 5}), False)
    hub.update_scalars(log_dict={'positional': total + 1}, resumed=False)
    hub.update_scalars({})
    for dtype in (torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int64, torch.bool):
        hub.update_scalar(str(dtype), total.to(dtype))
    return x + 1


@pytest.mark.parametrize('grad', [False, True])
def test_every_form_of_call_records_what_eager_does(grad: bool) -> None:
    eager, other = rm.MessageHub('eager'), rm.MessageHub('compiled')
    function = compiled(forms)
    for length in (3, 3, 4, 5, 6):
        x = torch.arange(1.0, length + 1, requires_grad=grad)
        forms(eager, x)
        function(other, x)
    assert data(other) == data(eager)
    assert list(other.log_scalars) == list(eager.log_scalars)
    assert other._resumed_keys == eager._resumed_keys
    assert eager.get_scalar('named').data[1].tolist() == [3, 3, 4, 5, 6]
    assert graphs() <= 2  # one for the first length, one for all others
    assert not counters['graph_break']


@pytest.mark.parametrize('backend', ['aot_eager', 'inductor'])
def test_nothing_is_lost_when_nothing_is_returned(backend: str) -> None:
    hub = rm.MessageHub('h')

    def record(x: Any) -> None:
        hub.update_scalar('input', x)
        hub.update_scalar('square', x * x)

    function = compiled(record, backend=backend)
    for i in range(4):
        function(torch.tensor(float(i)))
    assert hub.get_scalar('input').data[0].tolist() == [0, 1, 2, 3]
    assert hub.get_scalar('square').data[0].tolist() == [0, 1, 4, 9]
    assert graphs() == 1


class Net(torch.nn.Module):
    def __init__(self, hub: rm.MessageHub) -> None:
        super().__init__()
        self.hub = hub
        self.scale = torch.nn.Parameter(torch.tensor(2.0))
        self.register_buffer('steps', torch.zeros((), dtype=torch.long))

    def forward(self, x: Any) -> Any:
        self.steps += 1
        loss = (x * self.scale).sum()
        self.hub.update_scalars({'loss': loss, 'scale': self.scale, 'step': self.steps})
        return loss


def test_training_in_mode_reduce_overhead_records_every_step() -> None:
    net = Net(rm.MessageHub('h'))
    function = torch.compile(net, mode='reduce-overhead', fullgraph=True)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.25)
    for _ in range(4):
        optimizer.zero_grad()
        function(torch.ones(2)).backward()
        optimizer.step()
    assert net.hub.get_scalar('scale').data[0].tolist() == [2, 1.5, 1, 0.5]
    assert net.hub.get_scalar('loss').data[0].tolist() == [4, 3, 2, 1]
    assert net.hub.get_scalar('step').data[0].tolist() == [1, 2, 3, 4]


def test_each_module_records_in_its_own_hub() -> None:
    first = Net(rm.MessageHub('first'))
    second = Net(copy.deepcopy(first.hub))
    assert first.hub._handle != second.hub._handle

    function = compiled(lambda x: first(x) + 2 * second(2 * x))
    for _ in range(3):
        function(torch.ones(2))
    assert first.hub.get_scalar('loss').data[0].tolist() == [4, 4, 4]
    assert second.hub.get_scalar('loss').data[0].tolist() == [8, 8, 8]

    first.hub = rm.MessageHub('third')  # compiled again
    function(torch.ones(2))
    assert len(second.hub.get_scalar('loss')) == 4
    assert first.hub.get_scalar('loss').data[0].tolist() == [4]


def test_current_hub_is_found_in_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rm.MessageHub, '_instance_dict', {})
    hubs = [rm.MessageHub.get_instance('first')]

    def record(x: Any) -> Any:
        rm.MessageHub.get_current_instance().update_scalar('x', x.sum())
        return x + 1

    function = compiled(record)
    function(torch.ones(2))
    hubs.append(rm.MessageHub.get_instance('second'))
    function(torch.ones(3))
    assert [hub.get_scalar('x').data[0].tolist() for hub in hubs] == [[2], [3]]


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
def test_modes_without_grad_record(mode: Any) -> None:
    hub = rm.MessageHub('h')
    function = compiled(lambda x: hub.update_scalar('x', x.sum()))
    with mode():
        function(torch.ones(2))
    function(torch.ones(2, requires_grad=True))
    assert hub.get_scalar('x').data[0].tolist() == [2, 2]


def test_function_transforms_record_the_value_itself() -> None:
    hub = rm.MessageHub('h')

    def loss(x: Any) -> Any:
        value = (x * x).sum()
        hub.update_scalar('loss', value)
        return value

    function = compiled(torch.func.grad(loss))
    assert function(torch.full((2,), 3.0)).tolist() == [6, 6]
    assert hub.get_scalar('loss').data[0].tolist() == [18]


def test_python_numbers_are_recorded_between_two_graphs() -> None:
    hub = rm.MessageHub('h')
    compilations = []

    def record(x: Any, lr: float, step: int) -> Any:
        hub.update_scalar('x', x.sum())
        hub.update_scalar('lr', lr)
        hub.update_scalars({'x': x.sum() + 1, 'step': step, 'lr': lr})
        hub.update_scalar('x', x.sum() + 2)
        return x + 1

    function = compiled(record, fullgraph=False)
    for step in range(12):
        function(torch.full((2,), float(step)), step / 4, step)
        compilations.append(graphs())
    assert hub.get_scalar('x').data[0].tolist() == [2 * step + i for step in range(12) for i in range(3)]
    assert hub.get_scalar('lr').data[0].tolist() == [step / 4 for step in range(12) for _ in range(2)]
    assert hub.get_scalar('step').data[0].tolist() == list(range(12))
    assert compilations[0] >= 2
    if VERSION >= (2, 8):  # before, torch compiles again for each float that a function is given
        assert compilations[-1] == compilations[3]


def test_python_number_with_fullgraph_raises_and_says_why() -> None:
    hub = rm.MessageHub('h')
    why = (
        'ringmeter records what is not a tensor between two graphs' if VERSION >= (2, 8) else 'between_graphs'
    )
    for record in (
        lambda x: hub.update_scalar('x', 0.5) or x + 1,
        lambda x: hub.update_scalars({'t': x.sum(), 'x': 0.5}) or x + 1,
    ):
        with pytest.raises(torch._dynamo.exc.Unsupported, match=why):
            compiled(record)(torch.ones(2))
    assert hub.log_scalars == {}


def test_errors_are_those_of_eager() -> None:
    hub = rm.MessageHub('h')
    hub.update_scalar('known', 1)
    x = torch.ones(2)
    with pytest.raises(rm.ScalarError, match="series 'x': value must be one real number, got 2 elements"):
        compiled(lambda x: hub.update_scalars({'fine': x.sum(), 'x': x * 2}))(x)
    with pytest.raises(rm.ArgumentError, match='resumed must stay what it was'):
        compiled(lambda x: hub.update_scalar('known', x.sum(), resumed=False))(x)
    with pytest.raises(rm.ArgumentTypeError, match='key must be a str, got 3'):
        compiled(lambda x: hub.update_scalar(3, x.sum()), fullgraph=False)(x)
    with pytest.raises(rm.ArgumentTypeError, match='log_dict must be a dict'):
        compiled(lambda x: hub.update_scalars(x) or x + 1, fullgraph=False)(x)
    with pytest.raises(rm.ScalarError, match='count must be an int'):
        compiled(lambda x: hub.update_scalar('x', x.sum(), 0.5), fullgraph=False)(x)
    assert data(hub) == {'known': [['i', 1], ['i', 1]]}


def test_history_breaks_the_graph_and_records_real_values() -> None:
    buffer = rm.HistoryBuffer()
    function = compiled(lambda x: buffer.update((x * 2).sum()) or x + 1, fullgraph=False)
    for i in range(3):
        function(torch.full((2,), float(i)))
    assert buffer.data[0].tolist() == [0, 4, 8]


def test_fake_tensor_is_not_recorded() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    hub = rm.MessageHub('h')
    with FakeTensorMode():
        value = torch.ones(2).sum()
    with pytest.raises(rm.ScalarError, match="series 'x'"):
        hub.update_scalar('x', value)
    assert hub.log_scalars == {}


def test_fake_tensor_is_passed_over_while_its_mode_is_on() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    hub = rm.MessageHub('h')
    with FakeTensorMode():  # what a model would do is looked at, nothing is computed
        hub.update_scalar('x', torch.ones(2).sum())
        hub.update_scalars({'y': torch.ones(2).sum()})
        with pytest.raises(rm.ScalarError, match="series 'z'"):
            hub.update_scalar('z', 'no number')
    assert hub.log_scalars == {}


@pytest.mark.skipif(VERSION < (2, 13), reason='the eager method is in Python there, or not traced')
def test_exported_program_records_when_it_runs() -> None:
    hub = rm.MessageHub('h')

    class Model(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = x * 2
            hub.update_scalar('a', y.sum())
            hub.update_scalars({'b': y.mean(), 'c': {'value': y.max(), 'count': 2}})
            return y + 1

    program = torch.export.export(Model(), (torch.ones(3),), strict=False)
    assert hub.log_scalars == {}
    module = program.module()
    for i in range(3):
        module(torch.full((3,), float(i)))
    assert {key: history.data[0].tolist() for key, history in hub.log_scalars.items()} == {
        'a': [0.0, 6.0, 12.0],
        'b': [0.0, 2.0, 4.0],
        'c': [0.0, 2.0, 4.0],
    }
    assert hub.get_scalar('c').count() == 6


def test_hub_that_is_gone_is_passed_over() -> None:
    hub = rm.MessageHub('h')
    handle = hub._handle
    append = torch.ops.ringmeter.append_v1.default
    append(torch.zeros(1), [torch.ones(())], handle, ['x'], [1], True)
    assert data(hub) == {'x': [['f', 1], ['i', 1]]}
    del hub
    gc.collect()
    append(torch.zeros(1), [torch.ones(())], handle, ['x'], [1], True)
    assert rm.MessageHub('h')._handle != handle


def test_threads_lose_nothing() -> None:
    hub = rm.MessageHub('h')
    function = compiled(lambda x: hub.update_scalar('x', x.sum()))
    function(torch.ones(2))
    threads = [
        threading.Thread(target=lambda: [function(torch.ones(2)) for _ in range(50)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert hub.get_scalar('x').data[0].tolist() == [2] * 201


def test_eager_calls_go_on_as_before() -> None:
    hub = rm.MessageHub('h')
    hub.update_scalar('x', torch.ones(()))
    hub.update_scalar(key='x', value=0.5, count=2, resumed=True)
    hub.update_scalars({'x': 3, 'y': {'value': 1, 'count': 4}}, resumed=True)
    assert data(hub) == {'x': [['f', 1, 0.5, 3], ['i', 1, 2, 1]], 'y': [['i', 1], ['i', 4]]}
    is_builtin = type(rm.MessageHub.update_scalar) is type(list.append)
    assert is_builtin == (VERSION >= (2, 13))  # not a Python function: it would be slower
