"""A plan and its expected schedule as tables and words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from sweeps.search.plan import Plan
from sweeps.search.schedule import Extent, Schedule, ScheduledTrial

_MOST_ROWS = 40  # above which a round is one row
_NAMED = 2  # names that a folded row spells out; more are counted


def print_plan(plan: Plan, schedule: Schedule | None, console: Console) -> None:
    """Every design point, the expected schedule where there is one, then all in all."""
    console.print(_cell_table(plan))
    lines = [
        f"{point.model} {point.method.name} {point.mix} {point.volume:,} DOES NOT FIT: {problem}"
        for point, *_, problem in plan.points
        if problem
    ]
    lines += _pruned(plan)
    if schedule is None:
        lines += _whole(plan)
    else:
        console.print(_schedule_table(schedule))
        lines += schedule_lines(schedule, plan)
    memory, disk = _size(plan.device_bytes), _size(plan.disk_bytes)
    for line in [*lines, f"device memory {memory}; disk for checkpoints at most {disk}"]:
        console.print(line, soft_wrap=not console.is_terminal)


def _cell_table(plan: Plan) -> Table:
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


def _pruned(plan: Plan) -> list[str]:
    """What the constraints leave out of the design, a line for each of them."""
    counts = Counter((p.constraint, p.limit) for p in plan.pruned)
    return [
        f"{count} cells are left out: {name} <= {limit:,.6g} forbids them before they run"
        for (name, limit), count in counts.items()
    ]


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


class Row(NamedTuple):
    """Trials of one round, alike in what the columns name; all columns are text."""

    round: str
    model: str
    method: str
    mix: str
    examples: str
    trials: str
    learning_rate: str
    time: str


def schedule_rows(schedule: Schedule) -> list[Row]:
    """A row per round and cell, trials that differ in setting or seed together; a row per round if long."""
    rounds = [list(own) for _, own in groupby(schedule.trials, key=lambda trial: trial.round)]
    rows = [_row(part) for own in rounds for part in _by_cell(own)]
    return rows if len(rows) <= _MOST_ROWS else [_row(own) for own in rounds]


def _schedule_table(schedule: Schedule) -> Table:
    """The rows as a table for 80 columns."""
    table = Table(
        title="Expected schedule by round; it will change with results",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for name in Row._fields:
        if name in ("examples", "trials", "time"):
            table.add_column(name, justify="right", no_wrap=True)
        else:
            table.add_column(name.replace("_", " "), overflow="fold")
    last = ""
    for row in schedule_rows(schedule):
        table.add_row(*row._replace(round="" if row.round == last else row.round))
        last = row.round
    return table


def schedule_lines(schedule: Schedule, plan: Plan) -> list[str]:
    """Its extent against the full grid's, where it ends, and what that rests on."""
    own, grid = schedule.extent, schedule.grid
    wall = duration(own.seconds / plan.workers)
    done = sum(trial.done for trial in schedule.trials)
    lines = [
        f"expected: {own.trials} trials, about {duration(own.seconds)} of device time, at best {wall} "
        f"with {plan.workers} workers (from {plan.basis})",
        f"then {schedule.stop}",
        f"every configuration at every volume would be {_extent(grid)}: expected is "
        f"{own.seconds / grid.seconds:.0%} of that time",
    ]
    if done:
        lines.append(f"{done} of the {own.trials} trials have run")
    if schedule.measured:
        basis = f"what {schedule.measured} finished trials of this sweep say of the others"
    else:
        basis = "scores as fine-tunes mostly show them; nothing is measured yet"
    lines.append(f"an expectation, from {basis}: the trials that run follow from results")
    least, most = _extent(schedule.least), _extent(schedule.most)
    if least != most:
        lines.append(
            f"on {schedule.samples} such surfaces it took between {least} and {most}; the one in the "
            "middle is shown"
        )
    return lines


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _by_cell(trials: Sequence[ScheduledTrial]) -> Iterable[list[ScheduledTrial]]:
    """Trials of a round by stage and cell, in the order in which each is first asked for."""
    found: dict[tuple[object, ...], list[ScheduledTrial]] = {}
    for trial in trials:
        c = trial.configuration
        key = (trial.stage, *c.pair, c.mix, c.volume)
        found.setdefault(key, []).append(trial)
    return found.values()


def _row(trials: Sequence[ScheduledTrial]) -> Row:
    tried = [trial.configuration for trial in trials]
    volumes = sorted({c.volume for c in tried if c.volume})
    ends = volumes if len(volumes) < 2 else [volumes[0], volumes[-1]]
    return Row(
        round=str(trials[0].round + 1),
        model=_names("models", [c.model for c in tried]),
        method=_names("methods", [c.method.name for c in tried]),
        mix=_names("mixes", [c.mix for c in tried if c.mix]),
        examples=" to ".join(f"{volume:,}" for volume in ends),
        trials=str(len(trials)),
        learning_rate=_settings(trials),
        time=duration(sum(trial.seconds for trial in trials)),
    )


def _names(plural: str, names: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(names))
    if len(distinct) <= _NAMED:
        return ", ".join(distinct)
    return f"{len(distinct)} {plural}"


def _settings(trials: Sequence[ScheduledTrial]) -> str:
    """Learning rates, how many settings where more than those differ, and seeds but the first."""
    methods = {trial.configuration.method for trial in trials}
    rates = sorted({m.learning_rate for m in methods if m.learning_rate is not None})
    seeds = sorted({trial.seed for trial in trials} - {0})
    words = []
    if len(methods) > len(rates) > 0:
        words.append(f"{len(methods)} settings")
    elif len(rates) > 1:
        words.append(f"{len(rates)} rates")
    elif rates:
        words.append(f"{rates[0]:.2g}")
    if seeds:
        words.append(f"seed {', '.join(map(str, seeds))}")
    return "; ".join(words)


def _extent(extent: Extent) -> str:
    return f"{extent.trials} trials in {duration(extent.seconds)}"
