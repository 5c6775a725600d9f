"""Every check of a machine with a GPU: where it is, what it shows, how long it may take."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Check:
    """One check, which runs in a process of its own: ``python <file> <name>``.

    Args:
        name: What ``--only`` goes by. A name up to a dash picks all that begin so.
        file: Which holds it.
        shows: What is known once it has passed.
        seconds: When it counts as hung.
        env: What its environment has besides.
        on_cpu: Whether ``--device cpu`` runs it, to find its typing errors without a GPU.
        function: The name it is registered under, if that is another.
    """

    name: str
    file: str
    shows: str
    seconds: float = 60.0
    env: dict[str, str] = field(default_factory=dict)
    on_cpu: bool = False
    function: str = ''


ALLOCATOR = 'PYTORCH_CUDA_ALLOC_CONF'
CHURN = 'values stay right while their memory is freed and used again'

PLAN = (
    Check('H1', 'checks_start.py', 'the kernels load; how long the first update takes', 150),
    Check('H2', 'checks_values.py', '1e6 values of 4 threads: none lost, torn, misplaced', 90, on_cpu=True),
    Check('H3', 'checks_cost.py', 'CPU time of a call', 60, on_cpu=True),
    Check('H4', 'checks_cost.py', 'stream time of a value', 60),
    Check('H5', 'checks_wait.py', 'a call returns while the device is busy; its value arrives by itself', 60),
    Check('H6-graph', 'checks_graphs.py', 'a captured graph: a value for each replay', 60),
    Check('H6-overrun', 'checks_graphs.py', 'replays that nobody read are counted, exactly', 60),
    Check('H6-overhead', 'checks_graphs.py', 'stream time that three captured values add to a replay', 60),
    Check('H6-callables', 'checks_graphs.py', 'make_graphed_callables: a value for each call', 60),
    Check('H6-compile', 'checks_compile.py', "torch.compile(mode='reduce-overhead'): a value a step", 150,
          on_cpu=True),
    Check('H7-hooks', 'checks_values.py', 'backward hooks, side streams', 60, on_cpu=True),
    Check('H7-churn', 'checks_values.py', f'{CHURN}, native allocator', 60, on_cpu=True),
    Check('H7-expandable', 'checks_values.py', f'{CHURN}, expandable segments', 60,
          {ALLOCATOR: 'expandable_segments:True'}, function='H7-churn'),
    Check('H7-async', 'checks_values.py', f'{CHURN}, cudaMallocAsync', 60,
          {ALLOCATOR: 'backend:cudaMallocAsync'}, function='H7-churn'),
    Check('H8', 'checks_graphs.py', 'a thread captures, in mode global, while another records and reads', 60),
    Check('H8-first', 'checks_graphs.py', 'the first value of a process is recorded inside of a capture', 60),
    Check('H9-memcheck', 'checks_failure.py', 'compute-sanitizer memcheck finds nothing', 150),
    Check('H9-racecheck', 'checks_failure.py', 'compute-sanitizer racecheck finds nothing', 150),
    Check('H9-blocking', 'checks_values.py', 'CUDA_LAUNCH_BLOCKING=1 works', 60,
          {'CUDA_LAUNCH_BLOCKING': '1'}, function='H7-hooks'),
    Check('H10', 'checks_failure.py', 'a kernel that crashes is one clear error, and the process exits', 90),
    Check('H11', 'checks_cost.py', 'from the end of a kernel to its value on the host', 60),
    Check('H12', 'checks_start.py', 'no context is created or left current that was not before', 60),
    Check('H13-queue', 'checks_wait.py', 'a full launch queue stops no other Python thread', 60),
    Check('H13-fork', 'checks_failure.py', 'values in flight while DataLoader workers are forked', 60,
          on_cpu=True),
    Check('dtypes', 'checks_values.py', 'every dtype, exactly', 90, on_cpu=True),
    Check('arrays', 'checks_values.py', 'CuPy and JAX arrays', 60,
          {'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'}),
    Check('loop-time', 'checks_loop.py', "LoopLogger's time is the device's", 60),
    Check('loop-sync', 'checks_loop.py', "nothing in a loop waits, says no_sync()", 60,
          on_cpu=True),
    Check('loop-ahead', 'checks_loop.py', 'writing a line leaves the queue of the device full', 60),
    Check('tests', 'checks_failure.py', 'pytest -m gpu tests/gpu', 150),
    Check('bench-adamw', 'bench_step.py', 'a launch-bound step that logs 8 losses, AdamW', 120, on_cpu=True),
    Check('bench-sgd', 'bench_step.py', 'the same with SGD', 120, on_cpu=True),
)  # fmt: skip


def pick(only: str) -> list[Check]:
    """Return the checks that a list such as ``H3,H5`` names; all without one."""
    names = [name.strip() for name in only.split(',') if name.strip()]
    known = {part for check in PLAN for part in (check.name, check.name.partition('-')[0])}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f'no such check: {", ".join(unknown)}; --list shows all')
    return [
        check for check in PLAN if not names or check.name in names or check.name.partition('-')[0] in names
    ]
