"""A plan as tables and words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from sweeps.schedule_text import duration, schedule_lines, schedule_table

if TYPE_CHECKING:
    from rich.console import Console

    from sweeps.search.plan import Plan
    from sweeps.search.schedule import Schedule


def print_plan(plan: Plan, schedule: Schedule | None, console: Console) -> None:
    """Every cell, the expected schedule where there is one, then all in all."""
    console.print(_cells(plan))
    lines = [
        f"{c.cell.model} {c.cell.method} {c.cell.mix} {c.cell.volume:,} DOES NOT FIT: {c.problem}"
        for c in plan.cells
        if c.problem
    ]
    if schedule is None:
        lines += _whole(plan)
    else:
        console.print(schedule_table(schedule))
        lines += schedule_lines(schedule, plan)
    memory, disk = _size(plan.device_bytes), _size(plan.disk_bytes)
    for line in [*lines, f"device memory {memory}; disk for checkpoints at most {disk}"]:
        console.print(line, soft_wrap=not console.is_terminal)


def _cells(plan: Plan) -> Table:
    table = Table(title="What each cell takes", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("model", "method", "mix"):
        table.add_column(name, overflow="fold")
    for name in ("examples", "steps", "tokens", "time", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    for c in plan.cells:
        table.add_row(
            c.cell.model,
            c.cell.method,
            c.cell.mix,
            f"{c.cell.volume:,}",
            f"{c.steps:,}",
            f"{c.train_tokens:,}",
            duration(c.seconds),
            _size(c.peak_bytes),
        )
    return table


def _whole(plan: Plan) -> list[str]:
    wall = duration(plan.seconds / plan.workers)
    return [
        f"{len(plan.cells)} cells, {plan.trials} trials with baselines, tuning and repeats",
        f"about {duration(plan.seconds)} of device time, {wall} with {plan.workers} workers "
        f"(from {plan.basis})",
    ]


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
