"""Makes Markdown of a result: ``python benches/table.py benches/results/cpu.json [--readme README.md]``."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

BEGIN, END = '<!-- bench:begin -->', '<!-- bench:end -->'
OURS = 'ringmeter'
COLUMNS = (OURS, 'mmengine', 'fvcore', 'SmoothedValue')
TIME_UNITS = (('s', 1.0), ('ms', 1e-3), ('µs', 1e-6), ('ns', 1e-9))
Json = dict[str, Any]


def main() -> None:
    """Print the short table, or put it into a README."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('result', type=Path)
    parser.add_argument('--readme', type=Path, help=f'replace what stands between {BEGIN} and {END} in it')
    parser.add_argument('--all', action='store_true', help='every row, and every goal')
    arguments = parser.parse_args()
    result = json.loads(arguments.result.read_text())
    text = full_report(result) if arguments.all else short_report(result)
    if arguments.readme is None:
        print(text)
    else:
        replace_between_markers(arguments.readme, text)


def replace_between_markers(path: Path, text: str) -> None:
    """Put ``text`` between the markers of a file."""
    before = path.read_text()
    if before.count(BEGIN) != 1 or before.count(END) != 1 or before.index(BEGIN) > before.index(END):
        raise SystemExit(f'{path} must have one line {BEGIN} and, after it, one line {END}')
    head, rest = before.split(BEGIN)
    tail = rest.split(END)[1]
    path.write_text(f'{head}{BEGIN}\n{text}\n{END}{tail}')


def short_report(result: Json) -> str:
    """Return the rows that a user asks about first, what was measured on, and which goals were missed."""
    rows = [row for row in result['rows'] if row['headline']]
    return f'{_values(rows)}\n\n{_machine(result["machine"])}\n\n{_summary(result["rows"])}'


def full_report(result: Json) -> str:
    """Return every row and every goal."""
    parts = [_machine(result['machine'])]
    for topic in dict.fromkeys(row['topic'] for row in result['rows']):
        rows = [row for row in result['rows'] if row['topic'] == topic]
        parts.append(f'### {topic}\n\n{_values(rows)}')
    parts += [f'### Goals\n\n{_goals(result["rows"])}', _summary(result['rows'])]
    return '\n\n'.join(parts)


# ---- tables ----


def _values(rows: list[Json]) -> str:
    lines = [['', *COLUMNS, 'others']]
    for row in rows:
        cells = [_cell(row, name) for name in COLUMNS]
        others = [f'{name} {_cell(row, name)}' for name in row['cells'] if name not in COLUMNS]
        lines.append([row['title'], *cells, '; '.join(others)])
    return _markdown(lines)


def _goals(rows: list[Json]) -> str:
    lines = [['', 'goal', 'measured', '']]
    for row in rows:
        for goal in row['goals']:
            met = 'met' if goal['met'] else '**missed**'
            lines.append([row['title'], goal['text'], _measured(goal), met])
    return _markdown(lines)


def _summary(rows: list[Json]) -> str:
    goals = [(row, goal) for row in rows for goal in row['goals']]
    missed = [(row, goal) for row, goal in goals if not goal['met']]
    text = f'{len(goals) - len(missed)} of {len(goals)} goals are met.'
    if missed:
        text += ' Missed:\n\n' + '\n'.join(
            f'- {row["title"]}: {goal["text"]}, measured {_measured(goal)}' for row, goal in missed
        )
    return text


def _machine(machine: Json) -> str:
    packages = ', '.join(f'{name} {version}' for name, version in machine['packages'].items())
    kind = 'quick run, ' if machine['settings']['quick'] else ''
    return (
        f'{machine["cpu"]}, {machine["cores"]} cores, Python {machine["python"]}, {packages}; '
        f'{kind}{machine["date"][:10]}, commit {machine["commit"]}, load before {machine["load_before"]}. '
        'In brackets: times ours.'
    )


def _markdown(lines: list[list[str]]) -> str:
    head, *body = ['| ' + ' | '.join(line) + ' |' for line in lines]
    return '\n'.join([head, '|---' * len(lines[0]) + '|', *body])


# ---- numbers ----


def _cell(row: Json, name: str) -> str:
    cell = row['cells'].get(name)
    if cell is None:
        return ''
    text = _quantity(cell['value'], row['unit'])
    has_ratio = name != OURS and row['unit'] in ('s', 'B')
    return text if not has_ratio else f'{text} ({_three_digits(cell["ratio"])}x)'


def _quantity(value: float, unit: str) -> str:
    if unit != 's':
        return f'{_three_digits(value)} {unit}'
    name, size = next(((name, size) for name, size in TIME_UNITS if value >= size), TIME_UNITS[-1])
    return f'{_three_digits(value / size)} {name}'


def _measured(goal: Json) -> str:
    return _quantity(goal['value'], 's') if goal['unit'] == 's' else _three_digits(goal['value'])


def _three_digits(value: float) -> str:
    if value >= 1e6:
        return f'{value:.1e}'
    return f'{value:,.0f}' if value >= 100 else f'{value:.3g}'


if __name__ == '__main__':
    main()
