"""Plan of a sweep as text for a terminal: its design points, the expected schedule, totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from sweeps.search.bounds import DEVICE_MEMORY
from tracker.numbers import memory, percent, plural, rough_duration
from tracker.price import with_price

if TYPE_CHECKING:
    from sweeps.search.devices import Device
    from sweeps.search.plan import Plan, PlannedPoint
    from sweeps.search.schedule import Extent, Schedule, ScheduledTrial
    from tracker.price import Price

_MOST_ROWS = 40  # above which a round is one row
_NAMED = 2  # names that a folded row spells out; more are counted


def print_plan(
    plan: Plan, schedule: Schedule | None, following: str, price: Price | None = None
) -> None:
    """Every design point, the expected schedule where there is one, totals, and the next command.

    *price*: costs are shown in money too.
    """
    console = Console(highlight=False, markup=False)
    console.print(_design_table(plan, price))
    text = [
        f"{planned.point.label} DOES NOT FIT: {planned.problem}"
        for planned in plan.points
        if planned.problem
    ]
    text += _pruned(plan)
    if schedule is None:
        text += _whole(plan, price)
    else:
        console.print(_schedule_table(schedule))
        text += schedule_lines(schedule, plan, price)
    text += [_memory_line(plan), *_fitted_lines(plan), _disk_line(plan)]
    for line in [*text, f"next: {following}"]:
        console.print(line, soft_wrap=not console.is_terminal)


def _design_table(plan: Plan, price: Price | None) -> Table:
    table = Table(
        title="Expected cost of each design point", title_justify="left", box=box.SIMPLE_HEAD
    )
    for name in ("model", "method", "mix"):
        table.add_column(name, overflow="fold")
    for name in ("examples", "steps", "tokens", "time", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    if price:
        table.add_column(price.currency, justify="right", no_wrap=True)
    for planned in _by_size(plan.points):
        point = planned.point
        table.add_row(
            point.model,
            point.method.name,
            point.mix,
            f"{point.volume:,}",
            f"{planned.steps:,}",
            f"{planned.train_tokens:,}",
            rough_duration(planned.seconds),
            memory(planned.peak_bytes),
            *([price.text(planned.seconds).removesuffix(f" {price.currency}")] if price else []),
        )
    return table


def _memory_line(plan: Plan) -> str:
    """Memory of the devices, and whether training or evaluation has the peak."""
    phases = Counter(planned.peak_phase for planned in plan.points)
    peak = " or ".join(sorted(phases, key=lambda phase: -phases[phase]))
    found = ", ".join(_device(device) for device in plan.devices)
    return f"memory is that of tensors at the peak of {peak}; {found}"


def _device(device: Device) -> str:
    name = "the host" if device.name is None else f"GPU {device.name}"
    shared = (
        "" if device.workers == 1 else f", {memory(device.share)} for each of its {device.workers}"
    )
    return (
        f"{name} has {memory(device.alone)} beside its {plural(device.workers, 'worker')}{shared}"
    )


def _fitted_lines(plan: Plan) -> list[str]:
    """Design points that are run in smaller parts to keep within the device, a line for each way."""
    ways: dict[str, list[str]] = {}
    for planned in plan.points:
        if planned.fitted:
            named = f"{planned.point.model} {planned.point.method.name}"
            ways.setdefault(planned.fitted, []).append(named)
    return [
        f"{', '.join(dict.fromkeys(names))}: {way}, to keep within the device"
        for way, names in ways.items()
    ]


def _disk_line(plan: Plan) -> str:
    disk = f"disk for checkpoints and kept models at most {memory(plan.disk_bytes)}"
    if plan.free_bytes is None or plan.free_bytes >= plan.disk_bytes:
        return disk
    return (
        f"{disk}, MORE THAN THE {memory(plan.free_bytes)} THAT ARE FREE; free some, or name another "
        "--workspace"
    )


def _by_size(points: Sequence[PlannedPoint]) -> list[PlannedPoint]:
    """Points grouped as they come, each group by ascending training-set size."""
    groups: dict[object, list[PlannedPoint]] = {}
    for planned in points:
        groups.setdefault(planned.point.curve, []).append(planned)
    return [
        p for group in groups.values() for p in sorted(group, key=lambda p: p.point.volume or 0)
    ]


def _cost(seconds: float, price: Price | None) -> str:
    return with_price(rough_duration(seconds), price, seconds)


def _pruned(plan: Plan) -> list[str]:
    """How many design points each constraint rules out before they run, a line each."""
    counts = Counter((p.constraint, p.limit) for p in plan.pruned)
    return [
        f"{plural(n, 'design point')} left out: none fits the {memory(limit)} of a device even a row at a "
        "time; engine.run_unfit: true runs them in a new sweep"
        if name == DEVICE_MEMORY
        else f"{plural(n, 'design point')} left out: {name} <= {limit:,.6g} rules them out before they run"
        for (name, limit), n in counts.items()
    ]


def _whole(plan: Plan, price: Price | None) -> list[str]:
    wall = rough_duration(plan.seconds / plan.workers)
    return [
        f"{plural(len(plan.points), 'design point')}, {plural(plan.trials, 'trial')} with base models, "
        "tuning and repeats",
        f"about {_cost(plan.seconds, price)} of device time, {wall} with {plural(plan.workers, 'worker')} "
        f"(from {plan.basis})",
    ]


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
    """A row per round and design point, its settings and seeds together; a row per round if long."""
    rounds = [list(trials) for _, trials in groupby(schedule.trials, key=lambda trial: trial.round)]
    rows = [_row(part) for trials in rounds for part in _by_design_point(trials)]
    return rows if len(rows) <= _MOST_ROWS else [_row(trials) for trials in rounds]


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


def schedule_lines(schedule: Schedule, plan: Plan, price: Price | None = None) -> list[str]:
    """The schedule's extent against the full grid's, where it ends, and what the expectation rests on."""
    extent, grid = schedule.extent, schedule.grid
    wall = rough_duration(extent.seconds / plan.workers)
    done = sum(trial.done for trial in schedule.trials)
    text = [
        f"expected: {extent.trials} trials, about {_cost(extent.seconds, price)} of device time, at best "
        f"{wall} with {plural(plan.workers, 'worker')} (from {plan.basis})",
        f"then {schedule.stop}",
        f"every configuration at every training-set size would be {_extent(grid)}: expected is "
        f"{percent(extent.seconds / grid.seconds, 0)} of that time",
    ]
    if done:
        text.append(f"{done} of the {extent.trials} trials have run")
    if schedule.measured:
        basis = f"{plural(schedule.measured, 'finished trial')} of this sweep"
    else:
        basis = "typical learning curves of fine-tunes; nothing is measured yet"
    text.append(f"an expectation from {basis}: measured results decide which trials run")
    least, most = _extent(schedule.least), _extent(schedule.most)
    if least != most:
        text.append(
            f"between {least} and {most} on {schedule.samples} samples of the curves; the one in the middle "
            "is shown"
        )
    return text


def _by_design_point(trials: Sequence[ScheduledTrial]) -> Iterable[list[ScheduledTrial]]:
    """Trials of a round by stage and design point, each in the place of its first trial."""
    groups: dict[tuple[object, ...], list[ScheduledTrial]] = {}
    for trial in trials:
        c = trial.configuration
        key = (trial.stage, *c.pair, c.mix, c.volume)
        groups.setdefault(key, []).append(trial)
    return groups.values()


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
        time=rough_duration(sum(trial.seconds for trial in trials)),
    )


def _names(several: str, names: Iterable[str]) -> str:
    distinct = list(dict.fromkeys(names))
    if len(distinct) <= _NAMED:
        return ", ".join(distinct)
    return f"{len(distinct)} {several}"


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
    return f"{extent.trials} trials in {rough_duration(extent.seconds)}"
