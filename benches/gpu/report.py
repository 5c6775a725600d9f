"""Text of what the checks found."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def table(checks: list[Json]) -> str:
    """Return a line for each check."""
    names = max((len(check['name']) for check in checks), default=0)
    lines = []
    for check in checks:
        missed = sum(not goal['met'] for goal in check['goals'])
        status = check['status'] + (f', {missed} of {len(check["goals"])} goals missed' if missed else '')
        shown = status if check['status'] == 'passed' else f'{status}: {check["note"]}'
        lines.append(f'{check["name"]:<{names}}  {check["seconds"]:5.1f} s  {check["shows"]}: {shown}')
        lines += [f'{"":<{names}}           {line}' for line in _found(check)]
    return '\n'.join(lines)


def _found(check: Json) -> list[str]:
    lines = []
    if check['figures']:
        lines.append(', '.join(f'{name} {_text(value)}' for name, value in check['figures'].items()))
    for name, cell in check['cells'].items():
        lines.append(f'{name}: {_text(cell["median"])} {cell["unit"]} ({cell["ratio"]:.3g}x {cell["to"]})')
    for goal in check['goals']:
        verdict = 'met' if goal['met'] else 'MISSED'
        bound = 'at least' if goal['at_least'] else 'at most'
        lines.append(f'{goal["text"]}: {goal["value"]:.4g}, {bound} {goal["limit"]:g}: {verdict}')
    return lines


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.4g}'
    if isinstance(value, list):
        return ' to '.join(_text(each) for each in value)
    return str(value)


def failures(checks: list[Json]) -> str:
    """Return what those that failed had printed."""
    parts = [
        f'--- {check["name"]}: {check["note"]}\n{check["tail"]}'
        for check in checks
        if check['status'] == 'failed'
    ]
    return '\n'.join(parts)


def summary(machine: Json, checks: list[Json]) -> str:
    """Return the machine, and how many checks ended how."""
    counts = {
        status: sum(check['status'] == status for check in checks)
        for status in ('passed', 'failed', 'skipped')
    }
    goals = [goal for check in checks for goal in check['goals']]
    return (
        f'{machine["device"] or "no CUDA device"}, driver {machine["driver"]}, CUDA {machine["cuda"]}, '
        f'torch {machine["torch"]}, Python {machine["python"]}, {machine["cpu"]}, {machine["cores"]} cores; '
        f'{machine["date"][:10]}, commit {machine["commit"]}\n'
        + ', '.join(f'{count} {status}' for status, count in counts.items())
        + f'; {sum(goal["met"] for goal in goals)} of {len(goals)} goals met; {machine["seconds"]:.0f} s'
    )
