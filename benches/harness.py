"""Times one-line calls against each other: interleaved rounds, medians, ratios, goals."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

OURS = 'ringmeter'
Check = Callable[[], None]


@dataclass(frozen=True)
class Settings:
    """How long to measure."""

    quick: bool
    rounds: int
    round_seconds: float

    @classmethod
    def make(cls, quick: bool) -> Settings:
        """Return the settings of a quick run (under a minute) or of a full one."""
        rounds, round_seconds = (9, 0.003) if quick else (51, 0.015)
        return cls(quick, rounds, round_seconds)


@dataclass(frozen=True)
class Contender:
    """One way to do what a row is about.

    Args:
        name: Whose way it is.
        call: The statement to be timed. Every name in it is a local variable of the timed loop.
        names: What those names are.
        check: Raises when the call does not do what it should. Runs once, before anything is timed.
        is_peer: Whether a user would take it instead of ours; a floor or a part of the work is none.
        before_round: Puts the objects back into the state that the row is about. Not timed.
        calls: Calls in a round; ``None`` lets the harness choose.
        parts: By how much the time of one call is divided.
    """

    name: str
    call: str
    names: dict[str, Any]
    check: Check
    is_peer: bool = True
    before_round: Callable[[], None] | None = None
    calls: int | None = None
    parts: int = 1


@dataclass(frozen=True)
class Cell:
    """What was measured of one contender; times are in seconds for one call."""

    value: float
    ratio: float  # to ours: the median over rounds of the ratio within a round
    is_peer: bool = True
    call: str = ''
    quartiles: tuple[float, float] | None = None
    calls: int | None = None
    rounds: int | None = None


@dataclass(frozen=True)
class Goal:
    """A figure that the project wants to reach. Missing it is reported, never an error."""

    text: str
    value: float
    limit: float
    at_least: bool = False
    unit: str = ''  # 's' for a time, otherwise a plain number

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass
class Row:
    """A line of the table. ``unit`` is ``'s'`` (for a call), ``'B'``, ``'%'``, ``'updates'`` or ``'ulp'``."""

    topic: str
    title: str
    cells: dict[str, Cell]
    goals: list[Goal] = field(default_factory=list)
    unit: str = 's'
    headline: bool = False  # also in the short table of the project's README


# ---- checks ----


def require_close(got: Any, want: float, tolerance: float, what: str) -> None:
    """Raise unless the numbers agree to a relative ``tolerance``."""
    if not math.isclose(float(got), want, rel_tol=tolerance, abs_tol=0.0):
        raise AssertionError(f'{what}: got {float(got)!r}, expected {want!r}')


def answers(call: str, names: dict[str, Any], want: float, tolerance: float = 1e-12) -> Check:
    """Return a check that the value of an expression is ``want``."""
    code = compile(call, 'call', 'eval')
    return lambda: require_close(eval(code, dict(names)), want, tolerance, call)


def takes(
    call: str,
    names: dict[str, Any],
    mean_of_last: Callable[[int], Any],
    values: Sequence[Any],
    tolerance: float = 1e-12,
) -> Check:
    """Return a check that a statement which records ``x`` recorded each of ``values``."""

    def check() -> None:
        code = compile(call, 'call', 'exec')
        for value in values:
            exec(code, {**names, 'x': value})
        want = math.fsum(map(float, values)) / len(values)
        require_close(mean_of_last(len(values)), want, tolerance, call)

    return check


# ---- timing ----


def compile_loop(call: str, names: dict[str, Any]) -> Callable[[int], float]:
    """Return a function that runs a statement n times and returns the seconds that took.

    They are seconds of the processor in this thread, in the program and in the kernel: what other processes
    take is left out, and so would be work in other threads, which no contender gives any.
    """
    source = (
        f'def make({", ".join(["clock", *names])}):\n'
        f'    def loop(n{"".join(f", {name}={name}" for name in names)}):\n'
        '        start = clock()\n'
        '        for _ in range(n):\n'
        f'            {call}\n'
        '        return clock() - start\n'
        '    return loop\n'
    )
    namespace: dict[str, Any] = {}
    exec(compile(source, f'<{call}>', 'exec'), namespace)
    loop: Callable[[int], float] = namespace['make'](time.thread_time, **names)
    return loop


def _prepare(contender: Contender) -> None:
    if contender.before_round is not None:
        contender.before_round()


def _choose_calls(contender: Contender, loop: Callable[[int], float], seconds: float) -> int:
    """Number of calls that take about so many seconds; at least one."""
    if contender.calls is not None:
        return contender.calls
    calls = 1
    while True:
        tries = []
        for _ in range(3):  # one that was interrupted would give far too few calls
            _prepare(contender)
            tries.append(loop(calls))
        if min(tries) >= seconds / 4:
            return max(1, round(calls * seconds / min(tries)))
        calls *= 4


def _settle_allocator() -> None:
    """Make and free a large array, so that glibc reuses large blocks from here on.

    Before that it takes and returns the pages of every one, and what copies arrays (mmengine) is some ten
    times slower. A training process has made large arrays: that better case is the one measured.
    """
    bytearray(31 * 2**20)


def measure(contenders: Iterable[Contender], settings: Settings) -> dict[str, Cell]:
    """Check every contender, then time them all. The first one is ours, and what ratios refer to.

    A round times each contender once; the next round starts with the next contender, so that nobody always
    runs after the same neighbour, and a machine that slows down slows everybody down.
    """
    entrants = list(contenders)
    for contender in entrants:
        contender.check()
    loops = [compile_loop(contender.call, contender.names) for contender in entrants]
    gc.collect()
    _settle_allocator()
    gc.disable()
    try:
        calls = [_choose_calls(*pair, settings.round_seconds) for pair in zip(entrants, loops, strict=True)]
        seconds: list[list[float]] = [[] for _ in entrants]
        for number in range(settings.rounds):
            for i in range(len(entrants)):
                who = (i + number) % len(entrants)
                _prepare(entrants[who])
                seconds[who].append(loops[who](calls[who]) / calls[who] / entrants[who].parts)
    finally:
        gc.enable()
    return {
        contender.name: _cell(contender, taken, seconds[0], n)
        for contender, taken, n in zip(entrants, seconds, calls, strict=True)
    }


def _cell(contender: Contender, seconds: list[float], ours: list[float], calls: int) -> Cell:
    lower, median, upper = statistics.quantiles(seconds, n=4, method='inclusive')
    return Cell(
        value=median,
        ratio=statistics.median(mine / reference for mine, reference in zip(seconds, ours, strict=True)),
        is_peer=contender.is_peer and contender.name != OURS,
        call=contender.call,
        quartiles=(lower, upper),
        calls=calls,
        rounds=len(seconds),
    )


# ---- goals ----


def at_most(text: str, value: float, limit: float) -> Goal:
    """A goal that is met up to ``limit``."""
    return Goal(text, value, limit)


def in_time(cells: dict[str, Cell], seconds: float) -> Goal:
    """The goal that our call takes at most so long."""
    unit, size = ('ms', 1e-3) if seconds >= 1e-3 else ('µs', 1e-6)
    return Goal(f'at most {seconds / size:g} {unit}', cells[OURS].value, seconds, unit='s')


def at_least(text: str, value: float, limit: float) -> Goal:
    """A goal that is met from ``limit`` on."""
    return Goal(text, value, limit, at_least=True)


def no_peer_faster(cells: dict[str, Cell], limit: float = 1.0) -> Goal:
    """The goal that every peer takes at least ``limit`` times as long as ours."""
    ratios = {name: cell.ratio for name, cell in cells.items() if cell.is_peer}
    fastest = min(ratios, key=lambda name: ratios[name])
    text = 'no peer is faster' if limit == 1.0 else f'no peer takes less than {limit:g} of our time'
    return at_least(f'{text} (fastest: {fastest})', ratios[fastest], limit)
