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
    """Every design point, the expected schedule where there is one, then all in all."""
    console.print(_points(plan))
    lines = [
        f"{point.model} {point.method.name} {point.mix} {point.volume:,} DOES NOT FIT: {problem}"
        for point, *_, problem in plan.points
        if problem
    ]
    if schedule is None:
        lines += _whole(plan)
    else:
        console.print(schedule_table(schedule))
        lines += schedule_lines(schedule, plan)
    memory, disk = _size(plan.device_bytes), _size(plan.disk_bytes)
    for line in [*lines, f"device memory {memory}; disk for checkpoints at most {disk}"]:
        console.print(line, soft_wrap=not console.is_terminal)


def _points(plan: Plan) -> Table:
    table = Table(title="What each cell takes", title_justify="left", box=box.SIMPLE_HEAD)
    for name in ("model", "method", "mix"):
        table.add_column(name, overflow="fold")
    for name in ("examples", "steps", "tokens", "time", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    for planned in plan.points:
        point = planned.point
        table.add_row(
            point.model,
            point.method.name,
            point.mix,
            f"{point.volume:,}",
            f"{planned.steps:,}",
            f"{planned.train_tokens:,}",
            duration(planned.seconds),
            _size(planned.peak_bytes),
        )
    return table


def _whole(plan: Plan) -> list[str]:
    wall = duration(plan.seconds / plan.workers)
    return [
        f"{len(plan.points)} cells, {plan.trials} trials with baselines, tuning and repeats",
        f"about {duration(plan.seconds)} of device time, {wall} with {plan.workers} workers "
        f"(from {plan.basis})",
    ]


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
