"""What share of a training step is its logging."""

from __future__ import annotations

from harness import OURS, Cell, Row, at_most

STEP = 'the step itself'


def share_row(topic: str, title: str, cells: dict[str, Cell], limit: float | None = 5.0) -> Row:
    """Return it for each way to log.

    Args:
        topic: Of the row.
        title: What the step is.
        cells: The times of logging in it, and of the step without it, which is named :data:`STEP`.
        limit: What ours may take, in percent; None for no goal.
    """
    step = cells[STEP].value
    shares = {
        name: Cell(100 * cell.value / (step + cell.value), 1.0, name != OURS)
        for name, cell in cells.items()
        if name == OURS or cell.is_peer
    }
    goals = [] if limit is None else [at_most(f'at most {limit:g} %', shares[OURS].value, limit)]
    return Row(topic, f'share of logging in {title}', shares, goals, unit='%')
