"""A plan in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sweeps.search.plan import Plan


def plan_lines(plan: Plan) -> list[str]:
    """A row per cell, then what all trials together are expected to take."""
    width = max(len(cell.cell.model) for cell in plan.cells)
    lines = [
        f"{c.cell.model:{width}} {c.cell.method:8} {c.cell.mix:10} {c.cell.volume:>8,} examples "
        f"{c.steps:>6,} steps {c.train_tokens:>11,} tokens {_duration(c.seconds):>10} "
        f"{_size(c.peak_bytes):>9}" + (f"  DOES NOT FIT: {c.problem}" if c.problem else "")
        for c in plan.cells
    ]
    wall = plan.seconds / plan.workers
    return [
        *lines,
        "",
        f"{len(plan.cells)} cells, {plan.trials} trials with baselines, tuning and repeats",
        f"about {_duration(plan.seconds)} of device time, {_duration(wall)} with {plan.workers} "
        f"workers (from {plan.basis})",
        f"device memory {_size(plan.device_bytes)}; disk for checkpoints at most {_size(plan.disk_bytes)}",
    ]


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
