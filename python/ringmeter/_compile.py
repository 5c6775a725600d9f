"""Recording inside of functions that ``torch.compile`` compiles. Imported when torch._dynamo is.

A call of a hub's method becomes one operator in the graph. Its kernel runs whenever the compiled code comes
to it, in the order of the program, and calls the eager method with the real tensors.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch._dynamo
from torch import Tensor
from torch._dynamo.comptime import ComptimeContext, comptime
from torch._subclasses.fake_tensor import is_fake
from torch.utils._python_dispatch import _disable_current_modes

from . import _core
from ._choices import note_choice
from ._handles import hub_of
from .message_hub import MessageHub

F = TypeVar('F', bound=Callable[..., Any])

# The operator claims to change `state`. Of all that should keep an operator without results from being moved
# or removed as dead code, this alone does in every torch since 2.4. Inductor's cache goes by the name alone:
# another schema needs another digit.
_library = torch.library.Library('ringmeter', 'DEF')  # type: ignore[no-untyped-call]
_library.define(  # type: ignore[no-untyped-call]
    'append_v1(Tensor(a!) state, Tensor[] values, SymInt hub, str[] keys, SymInt[] counts, bool resumed)'
    ' -> ()'
)


def _append(
    _state: Tensor,
    values: Sequence[Tensor],
    hub: int,
    keys: Sequence[str],
    counts: Sequence[int],
    resumed: bool,
) -> None:
    target = hub_of(hub)
    if target is not None:  # nobody can ask a hub that is gone
        entries = zip(keys, values, counts, strict=True)
        log_dict = {key: {'value': value, 'count': count} for key, value, count in entries}
        _core.Hub.update_scalars(target, log_dict, resumed)


_library.impl('append_v1', _append, 'CompositeExplicitAutograd')  # type: ignore[no-untyped-call]
torch.library.register_fake('ringmeter::append_v1', lambda *_: None, lib=_library)


class _States:
    """A tensor of one element for each device, named like ``cuda_0``: what the operator claims to change.

    On the device of the values, since one on the CPU would keep inductor from CUDA graphs. Attributes, since
    a dict would be guarded as a whole: with another device in it, everything would be compiled again.
    """


_states = _States()


def _name_of(device: torch.device) -> str:
    return f'{device.type}_{device.index}'


def _make_state(device: torch.device) -> None:
    if not hasattr(_states, _name_of(device)):
        # While torch traces, and yet a real tensor.
        with torch.inference_mode(False), _disable_current_modes():
            state = torch.zeros(1, device=device)
        torch._dynamo.mark_static_address(state)
        setattr(_states, _name_of(device), state)


def _make_state_while_tracing(context: ComptimeContext) -> None:
    _make_state(context.get_local('device').as_python_constant())


def _call_operator(
    hub: MessageHub, keys: list[str], values: list[Tensor], counts: list[int], resumed: bool
) -> None:
    device = values[0].device
    for value in values:
        if value.device.type != 'cpu':
            device = value.device
    comptime(_make_state_while_tracing, lambda: _make_state(device))  # the latter in torch.export, non-strict
    state = getattr(_states, _name_of(device))
    torch.ops.ringmeter.append_v1.default(state, values, hub._handle, keys, counts, resumed)


def _is_traceable(key: Any, value: Any, count: Any) -> bool:
    return isinstance(key, str) and isinstance(value, Tensor) and type(count) is int


def _disable(function: F) -> F:
    why = {}
    if 'reason' in inspect.signature(torch.compiler.disable).parameters:  # since torch 2.8
        why['reason'] = (
            'ringmeter records what is not a tensor between two graphs, since torch.compile would compile '
            'again for each new number. With fullgraph=True, give it a tensor or record it outside'
        )
    disabled: F = torch.compiler.disable(function, **why)  # type: ignore[no-untyped-call]
    return disabled


@_disable
def _update_scalar_between_graphs(hub: MessageHub, key: Any, value: Any, count: Any, resumed: Any) -> None:
    _core.Hub.update_scalar(hub, key, value, count, resumed)


@_disable
def _update_scalars_between_graphs(hub: MessageHub, log_dict: Any, resumed: Any) -> None:
    _core.Hub.update_scalars(hub, log_dict, resumed)


def _trace_update_scalar(
    self: MessageHub, /, key: Any, value: Any, count: Any = 1, resumed: Any = True
) -> None:
    if _is_traceable(key, value, count) and isinstance(resumed, bool):
        _call_operator(self, [key], [value], [count], resumed)
    else:
        _update_scalar_between_graphs(self, key, value, count, resumed)


def _trace_update_scalars(self: MessageHub, /, log_dict: Any, resumed: Any = True) -> None:
    keys, values, counts = [], [], []
    is_traceable = isinstance(log_dict, dict) and isinstance(resumed, bool)
    if is_traceable:
        for key, entry in log_dict.items():
            value, count = entry, 1
            if isinstance(entry, dict):
                value, count = entry.get('value'), entry.get('count', 1)
            is_traceable = is_traceable and _is_traceable(key, value, count)
            keys.append(key)
            values.append(value)
            counts.append(count)
    if not is_traceable:
        _update_scalars_between_graphs(self, log_dict, resumed)
    elif keys:
        _call_operator(self, keys, values, counts, resumed)


def _trace(hub: MessageHub, method: str, arguments: tuple[Any, ...]) -> bool:
    """Put a call into the graph that the eager method got while torch traces: in torch.export, non-strict."""
    values = arguments[0].values() if method == 'update_scalars' else (arguments[1],)
    values = [value.get('value') if isinstance(value, dict) else value for value in values]
    is_tracing = torch._C._len_torch_dispatch_stack() > 0
    if not is_tracing or not any(is_fake(value) for value in values if isinstance(value, Tensor)):
        return False
    if not torch.compiler.is_compiling():  # nothing is computed, and no graph made
        return True
    if method == 'update_scalars':
        _trace_update_scalars(hub, *arguments)
    else:
        key, value, count, resumed = arguments
        _trace_update_scalar(hub, key, value, 1 if count is None else count, resumed)
    return True


def _substitute() -> None:
    torch.compiler.substitute_in_graph(MessageHub.update_scalar)(_trace_update_scalar)  # type: ignore[arg-type]
    torch.compiler.substitute_in_graph(MessageHub.update_scalars)(_trace_update_scalars)  # type: ignore[arg-type]


def _replace() -> None:
    is_compiling = torch.compiler.is_compiling
    record, record_all = MessageHub.update_scalar, MessageHub.update_scalars

    def update_scalar(self: MessageHub, key: Any, value: Any, count: Any = 1, resumed: Any = True) -> None:
        if is_compiling():
            _trace_update_scalar(self, key, value, count, resumed)
        else:
            record(self, key, value, count, resumed)

    def update_scalars(self: MessageHub, log_dict: Any, resumed: Any = True) -> None:
        if is_compiling():
            _trace_update_scalars(self, log_dict, resumed)
        else:
            record_all(self, log_dict, resumed)

    for method in (update_scalar, update_scalars):
        method.__qualname__ = f'MessageHub.{method.__name__}'
        setattr(MessageHub, method.__name__, method)


# Before 2.12, torch looks for no substitute when a method is called on an instance. 2.12 does, but leaves a
# function uncompiled that has a graph break inside of one. A method in Python costs every eager call 0.1 to
# 0.2 us, a substitute nothing.
if tuple(int(part) for part in torch.__version__.split('.')[:2]) >= (2, 13):
    _substitute()
    note_choice('torch.compile of MessageHub', f'substitutes in the graph: torch is {torch.__version__}')
else:
    _replace()
    note_choice('torch.compile of MessageHub', f'methods in Python: torch is {torch.__version__}')
_core.set_tracer(_trace)
