"""Answers of the command line as text: status, recommend, laws, predict, import, train, plan."""

from __future__ import annotations

import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from tracker.decision.explain import lines, quality_text, summary
from tracker.decision.majority import majorities, majority_text
from tracker.metrics import Interval, Measure
from tracker.numbers import (
    count,
    in_measure,
    limits,
    percent,
    plural,
    points,
    probability,
    quality,
    quality_gap,
    score,
    work,
)
from tracker.trial import Status

if TYPE_CHECKING:
    from sweeps.finetune.final import FinalModel
    from sweeps.search.plan import Plan
    from sweeps.search.schedule import Extent, Schedule, ScheduledTrial
    from tracker.decision.law_report import EveryLaw
    from tracker.decision.predict import Forecast
    from tracker.decision.recommendation import Recommendation
    from tracker.export.config import Config
    from tracker.importing.trials import OutsideTable
    from tracker.store.runs import Undelivered
    from tracker.store.store import LiveTrial, SweepInfo
    from tracker.task import SuiteScore
    from tracker.trial import Cost, TrialRecord, TrialResult

#: Of a table that goes to a file or a pipe.
_WIDTH = 120
_DAY_SECONDS = 86400.0
_MOST_TASKS = 5  # that the short report of laws names
_MOST_REASONS = 2  # likewise
_MOST_FAILED = 10  # trials that the status names
_MEASURES = {
    "score": "score",
    "error": "error, lower is better",
    "bits_per_byte": "bits per byte",
    "loss_nats": "loss in nats",
}


def print_lines(text: Iterable[str]) -> None:
    """Lines as they are, folded to a terminal where there is one."""
    console = Console(highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())
    for line in text:
        console.print(line)


def duration(seconds: float) -> str:
    """A rough duration in seconds, minutes or hours: ``8 s``, ``11 min``, ``1.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def memory(size: float) -> str:
    """Bytes in the unit that reads best: ``37 MiB``, ``20.3 GiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit != "GiB" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


# -- run and status ----------------------------------------------------------------------------------------


def ended_line(records: Sequence[TrialRecord]) -> str:
    """How many trials ended, by status, and their device time."""
    counts = Counter(record.result.status.value for record in records)
    statuses = ", ".join(f"{n:,} {status}" for status, n in counts.items())
    seconds = sum(record.result.cost.device_seconds or 0.0 for record in records)
    return f"{plural(len(records), 'trial')} ended: {statuses}; {duration(seconds)} of device time"


def status_lines(
    info: SweepInfo,
    running: Sequence[LiveTrial],
    place: str = "",
    now: float | None = None,
    failed: Sequence[TrialRecord] = (),
) -> list[str]:
    """One sweep's state, what runs in it as of *now* (epoch seconds), what *failed*, and the next command.

    *place*: the options that name its workspace or store.
    """
    planned = f" of {info.to_come:,}" if info.to_come else ""
    counts = ", ".join(f"{n:,} {status}" for status, n in info.counts.items())
    text = [f"{info.name}: {info.state}, {info.ended:,}{planned} trials ended ({counts})"]
    text += failed_lines(failed, f"sft-select run FILE{place}", indent="  ")
    text += undelivered_lines(info.undelivered, f"sft-select run FILE{place}", indent="  ")
    if silence := _silence(info, time.time() if now is None else now):
        text.append(f"  {silence}")
    for trial in running:
        loss = f", loss {trial.loss:.3f}" if trial.loss is not None else ""
        step = f"step {trial.step:,}" if trial.step is not None else "starting"
        text.append(f"  {trial.model} {trial.method} {trial.mix} {trial.volume:,}: {step}{loss}")
    if info.state == "finished":
        text.append(f"  next: sft-select recommend {shlex.quote(info.name)}{place}")
    elif not info.is_live:
        text.append(f"  to go on: sft-select run FILE{place}, with its sweep file")
    return text


def failed_lines(records: Iterable[TrialRecord], again: str, indent: str = "") -> list[str]:
    """The trials among *records* that failed, and the command *again* with the option that retries them."""
    failed = [record for record in records if record.result.status is Status.FAILED]
    if not failed:
        return []
    named = [f"  {indent}trial {r.number}: {r.result.reason or 'failed'}" for r in failed]
    more = [f"  {indent}{len(failed) - _MOST_FAILED} more"] if len(failed) > _MOST_FAILED else []
    return [
        f"{indent}{plural(len(failed), 'trial')} failed:",
        *named[:_MOST_FAILED],
        *more,
        f"{indent}once the cause is mended, to run them again: {again} --retry-failed",
    ]


def undelivered_lines(
    undelivered: Sequence[Undelivered], again: str, indent: str = ""
) -> list[str]:
    """What the store lacks of a sweep, one each, and the command *again* that sends it."""
    if not undelivered:
        return []
    named = [
        f"{indent}{each.what}: {each.why}" if each.why else f"{indent}{each.what}"
        for each in undelivered
    ]
    return [
        f"{indent}NOT in the tracking store, though kept in the workspace:",
        *(f"  {line}" for line in named),
        f"{indent}to send it again: {again}",
    ]


def _silence(info: SweepInfo, now: float) -> str | None:
    """A warning that the driver of a live sweep has been silent: it may have been killed."""
    seen_at = info.silent_since(now)
    if seen_at is None:
        return None
    form = "%H:%M" if now - seen_at < _DAY_SECONDS else "%Y-%m-%d %H:%M"
    since = time.strftime(form, time.localtime(seen_at))
    return f"no word from its driver since {since}; if none runs, go on with `sft-select run` as before"


# -- recommend, laws and predict ---------------------------------------------------------------------------


def recommendation_lines(answer: Recommendation, *, why: bool, train: str | None) -> list[str]:
    """The choice, how sure it is, majorities of rows and what to do next; all the rest with *why*.

    *train*: the command that trains it, where it was written to a file.
    """
    *first, following = summary(answer)
    text = [*first, f"Next: {train}" if train else following]
    if why:
        return [*text, *lines(answer)[len(text) :]]
    no_file = train or answer.missed
    file = "" if no_file else ", and -o recommended.yaml to write the file that trains it"
    return [*text, f"Add --why for the reasons, runners-up and caveats{file}"]


def laws_lines(found: EveryLaw) -> list[str]:
    """The laws of a sweep in about a dozen lines: per task its curves, then every other kind of law."""
    shown = sorted(found.metrics)[:_MOST_TASKS]
    text = [_curves_line(found, task) for task in shown]
    if others := len(found.metrics) - len(shown):
        text.append(f"{plural(others, 'more task')}: with --all")
    auxiliary = found.auxiliary
    if auxiliary.forgetting:
        text.append(_kind_line("forgetting", auxiliary.forgetting))
    if auxiliary.mixes:
        effects = Counter(law.effect for law in auxiliary.mixes.values())
        unclear = len(auxiliary.mixes) - effects["helps"] - effects["hurts"]
        text.append(
            f"{_kind_line('mixes', auxiliary.mixes)}; the other tasks help in {effects['helps']}, hurt in "
            f"{effects['hurts']}, unclear in {unclear}"
        )
    for proxy, verdict in ((True, "follows"), (False, "does not follow: decide on the score")):
        tasks = [task for task, law in auxiliary.loss_to_score.items() if law.proxy is proxy]
        if tasks:
            text.append(f"loss to score: the score {verdict} the loss on {', '.join(tasks)}")
    refused = {key.label: reason for key, reason in found.curves.refused.items()}
    text += _reasons("not fitted", refused | auxiliary.refused)
    return [*text, "Every law with its parameters: add --all"]


def _curves_line(found: EveryLaw, task: str) -> str:
    laws = {key: law for key, law in found.curves.laws.items() if key.task == task}
    glitches = sum(len(law.glitches) for law in laws.values())
    text = f"{_kind_line(f'{task} ({_MEASURES[found.metrics[task]]})', laws, noun='curve')}"
    errors = {
        key: law.held_out_error for key, law in laws.items() if law.held_out_error is not None
    }
    if errors:
        worst = max(errors, key=lambda key: errors[key])
        label = worst.label.removesuffix(f", {task}")
        text += f", worst {percent(errors[worst])} ({label})"
    return f"{text}; {plural(glitches, 'glitch', 'glitches') if glitches else 'no glitch'}"


def _kind_line(name: str, laws: Mapping[Any, Any], noun: str = "law") -> str:
    """How many laws of a kind there are, and their median held-out error."""
    errors = [law.held_out_error for law in laws.values() if law.held_out_error is not None]
    typical = f", median held-out error {percent(median(errors))}" if errors else ""
    return f"{name}: {plural(len(laws), noun)}{typical}"


def _reasons(what: str, refused: Mapping[str, str]) -> list[str]:
    """Refusals by reason with their number, the commonest first, each reason once."""
    counts = Counter(_general(label, reason) for label, reason in refused.items())
    text = [f"{what}: {n:,}: {reason}" for reason, n in counts.most_common(_MOST_REASONS)]
    if rest := sum(counts.values()) - sum(n for _, n in counts.most_common(_MOST_REASONS)):
        text.append(f"{what}: {rest:,} for other reasons")
    return text


def _general(label: str, reason: str) -> str:
    """*reason* without the name of the task that *label* ends with."""
    return reason.removeprefix(f"{label.rpartition(', ')[2]}: ")


def print_forecast(forecast: Forecast, *, names: bool) -> None:
    """The predictions as a table of a terminal's width; other intervals and the domains are in the JSON.

    *names*: also those of the configurations without a prediction.
    """
    wide = None if sys.stdout.isatty() else _WIDTH
    console = Console(highlight=False, markup=False, width=wide)
    table = Table(
        title=f"{forecast.task} at {count(forecast.examples)} examples ({_MEASURES[forecast.measure]})",
        box=box.SIMPLE_HEAD,
        title_justify="left",
    )
    table.add_column("configuration", overflow="fold", min_width=24)
    for heading in ("value", "80 % interval", "P(best)", "beyond"):
        table.add_column(heading, justify="right", no_wrap=True)
    for p in forecast.predictions:
        table.add_row(
            p.label,
            in_measure(p.value, forecast.measure),
            _between(p.intervals["80"], forecast.measure),
            probability(p.p_best),
            f"{p.extrapolation:,.3g}×" if p.extrapolation > 1 else "",
        )
    console.print(table)
    for line in [*_forecast_lines(forecast, names), *(f"Note: {note}" for note in forecast.notes)]:
        console.print(line, soft_wrap=wide is not None)


def _between(bounds: Interval, measure: Measure) -> str:
    """An interval; of a score the ends 0 and 1 are the scale's, not the prediction's."""
    if measure == "score":
        if bounds.low <= 0 and bounds.high >= 1:
            return "unbounded"
        if bounds.low <= 0:
            return f"below {score(bounds.high)}"
        if bounds.high >= 1:
            return f"above {score(bounds.low)}"
    return limits(bounds.low, bounds.high, lambda value: in_measure(value, measure))


def _forecast_lines(forecast: Forecast, names: bool) -> list[str]:
    text = []
    if forecast.outside:
        text.append(
            f"{forecast.outside} of {len(forecast.predictions)} are extrapolated. beyond: N over the "
            "largest N measured, or under the smallest."
        )
    reasons = sorted(forecast.refused, key=lambda refused: refused.reason)
    for reason, group in groupby(reasons, key=lambda refused: refused.reason):
        labels = [refused.label for refused in group]
        hint = "" if names else " (their names with --all)"
        text.append(f"{plural(len(labels), 'configuration')} without a prediction: {reason}{hint}")
        text += [f"  {label}" for label in labels if names]
    return text


# -- import ------------------------------------------------------------------------------------


def imported(sweep: str, table: OutsideTable) -> dict[str, Any]:
    """The imported table as ``import --json`` prints it.

    Of the table, not of the store: reading thousands of trials back takes longer than writing them.
    """
    from tracker.metrics import measures_of

    results = [record.result for record in table.records]
    return {
        "sweep": sweep,
        "origin": table.origin,
        "trials": len(results),
        "by_status": Counter(result.status.value for result in results),
        "models": len({result.spec.model.name for result in results}),
        "methods": sorted({result.spec.method.name for result in results}),
        "examples": sorted({result.spec.volume for result in results}),
        "tasks": measures_of(results),
        "suites": sorted({score.suite for result in results for score in result.general}),
        "notes": list(table.notes),
    }


def import_lines(taken: Mapping[str, Any], place: str) -> list[str]:
    """What ``import`` took, as its JSON holds it, and the next command."""
    tasks = ", ".join(f"{task} (by {_MEASURES[m]})" for task, m in taken["tasks"].items())
    counts = ", ".join(f"{n:,} {status}" for status, n in taken["by_status"].items())
    volumes = taken["examples"]
    text = [
        f"imported {taken['origin']} as sweep {taken['sweep']}: "
        f"{plural(taken['trials'], 'trial')} ({counts})",
        f"models: {taken['models']}; methods: {', '.join(taken['methods'])}; "
        f"examples: {count(volumes[0])} to {count(volumes[-1])}",
        f"tasks: {tasks}",
    ]
    if taken["suites"]:
        text.append(f"general suites: {', '.join(taken['suites'])}")
    text += [f"note: {note}" for note in taken["notes"]]
    return [*text, f"next: sft-select recommend {shlex.quote(taken['sweep'])}{place}"]


# -- train -------------------------------------------------------------------------------------------------


def final_lines(final: FinalModel, config: Config) -> list[str]:
    """The scores of a final training beside what the sweep measured, its cost, and where the model is."""
    expected = {measured.task: measured.score for measured in config.scores}
    text = []
    for measured in final.scores("validation"):
        before = expected.get(measured.task)
        sweep = f" (the sweep measured {score(before)})" if before is not None else ""
        text.append(
            f"validation {measured.task}: {measured.score_name} {score(measured.score)}{sweep}"
        )
    for measured in final.scores("test"):
        error = (
            f" ± {points(measured.score_se, signed=False)}" if measured.score_se is not None else ""
        )
        text.append(
            f"test       {measured.task}: {measured.score_name} {score(measured.score)}{error}"
        )
    weights = {} if config.recommendation is None else config.recommendation.objective.weights
    weighed = [task for task, weight in weights.items() if weight > 0]
    found = majorities([final.result], weighed or [task.name for task in config.trial.tasks], {})
    text += [f"majority   {majority_text(majority)}" for majority in found]
    text += _weighted_quality(final.result, config.recommendation)
    text += [_suite_line(suite) for suite in final.result.general if suite.forgetting is not None]
    text += _cost_line(final.result.cost)
    return [*text, f"registered as {final.name} version {final.version}; files in {final.folder}"]


def _weighted_quality(result: TrialResult, answer: Recommendation | None) -> list[str]:
    """The weighted quality, which the choice was made by, beside what was predicted."""
    from sweeps.search.strategies.strategy import weighted_score

    measured = None if answer is None else weighted_score(result, answer.objective)
    if answer is None or measured is None:
        return []
    noise = ""
    if answer.noise_floor is not None:
        floor = quality_gap(answer.noise_floor, scored=measured > 0, signed=False)
        noise = f"; the noise floor of one run is {floor}"
    return [
        f"validation quality, weighted: {quality(measured)} "
        f"(predicted on average over seeds: {quality_text(answer.choice.quality)}{noise})"
    ]


def _suite_line(suite: SuiteScore) -> str:
    """A general suite's change: forgetting in points of a score, else in per cent."""
    lost = suite.forgetting or 0.0
    if suite.measure == "score":
        change = points(abs(lost), signed=False)
        ends = f"score {score(suite.before)} before, {score(suite.after)} after"
    else:
        change = f"{percent(abs(lost))} in bits per byte"
        ends = f"{suite.before:.3f} before, {suite.after:.3f} after"
    return f"general    {suite.suite}: {'lost' if lost >= 0 else 'gained'} {change} ({ends})"


def _cost_line(cost: Cost) -> list[str]:
    """Counted work, and the time it took on this device."""
    parts = [] if cost.flops is None else [work(cost.flops)]
    if cost.device_seconds is not None:
        parts.append(f"{cost.device_seconds:,.0f} s on {cost.device}")
    return [f"cost       {', '.join(parts)}"] if parts else []


# -- plan --------------------------------------------------------------------------------------------------

_MOST_ROWS = 40  # above which a round is one row
_NAMED = 2  # names that a folded row spells out; more are counted


def print_plan(plan: Plan, schedule: Schedule | None, following: str) -> None:
    """Every design point, the expected schedule where there is one, totals, and the next command."""
    console = Console(highlight=False, markup=False)
    console.print(_design_table(plan))
    text = [
        f"{point.label} DOES NOT FIT: {problem}" for point, *_, problem in plan.points if problem
    ]
    text += _pruned(plan)
    if schedule is None:
        text += _whole(plan)
    else:
        console.print(_schedule_table(schedule))
        text += schedule_lines(schedule, plan)
    available, disk = memory(plan.device_bytes), memory(plan.disk_bytes)
    text.append(f"device memory {available}; disk for checkpoints at most {disk}")
    for line in [*text, f"next: {following}"]:
        console.print(line, soft_wrap=not console.is_terminal)


def _design_table(plan: Plan) -> Table:
    table = Table(
        title="Expected cost of each design point", title_justify="left", box=box.SIMPLE_HEAD
    )
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
            memory(planned.peak_bytes),
        )
    return table


def _pruned(plan: Plan) -> list[str]:
    """How many design points each constraint rules out before they run, a line each."""
    counts = Counter((p.constraint, p.limit) for p in plan.pruned)
    return [
        f"{plural(n, 'design point')} left out: {name} <= {limit:,.6g} rules them out before they run"
        for (name, limit), n in counts.items()
    ]


def _whole(plan: Plan) -> list[str]:
    wall = duration(plan.seconds / plan.workers)
    return [
        f"{plural(len(plan.points), 'design point')}, {plural(plan.trials, 'trial')} with base models, "
        "tuning and repeats",
        f"about {duration(plan.seconds)} of device time, {wall} with {plural(plan.workers, 'worker')} "
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


def schedule_lines(schedule: Schedule, plan: Plan) -> list[str]:
    """The schedule's extent against the full grid's, where it ends, and what the expectation rests on."""
    extent, grid = schedule.extent, schedule.grid
    wall = duration(extent.seconds / plan.workers)
    done = sum(trial.done for trial in schedule.trials)
    text = [
        f"expected: {extent.trials} trials, about {duration(extent.seconds)} of device time, at best {wall} "
        f"with {plural(plan.workers, 'worker')} (from {plan.basis})",
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
        time=duration(sum(trial.seconds for trial in trials)),
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
    return f"{extent.trials} trials in {duration(extent.seconds)}"
