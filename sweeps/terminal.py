"""Answers of the command line as text: status, recommend, laws, predict, import, train."""

from __future__ import annotations

import shlex
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table

from sweeps.standing import takeover_line
from tracker.decision.explain import lines, quality_text, score_line, summary
from tracker.decision.majority import majorities, majority_text
from tracker.metrics import MEASURE_NAMES, Interval, Measure
from tracker.numbers import (
    count,
    duration,
    in_measure,
    limits,
    number,
    percent,
    plural,
    points,
    probability,
    quality,
    quality_gap,
    score,
    work,
)
from tracker.price import with_price
from tracker.store import file_changes
from tracker.store.test_reads import reads_line
from tracker.trial import Status

if TYPE_CHECKING:
    from sweeps.finetune.final import FinalModel, MergedModel
    from sweeps.standing import Standing
    from tracker.decision.law_report import EveryLaw
    from tracker.decision.predict import Forecast
    from tracker.decision.recommendation import Recommendation
    from tracker.export.config import Config
    from tracker.importing.trials import OutsideTable
    from tracker.price import Price
    from tracker.store.runs import Undelivered
    from tracker.store.store import SweepInfo
    from tracker.task import SuiteScore
    from tracker.trial import Cost, TrialRecord, TrialResult

#: Of a table that goes to a file or a pipe.
_WIDTH = 120
_DAY_SECONDS = 86400.0
_MOST_TASKS = 5  # that the short report of laws names
_MOST_REASONS = 2  # likewise
_MOST_FAILED = 10  # trials that the status names
_MEASURES = {**MEASURE_NAMES, "error": "error, lower is better"}


def print_lines(text: Iterable[str]) -> None:
    """Lines as they are, folded to a terminal where there is one."""
    console = Console(highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())
    for line in text:
        console.print(line)


# -- run and status ----------------------------------------------------------------------------------------


def ended_line(records: Sequence[TrialRecord]) -> str:
    """How many trials ended, by status, and their device time."""
    counts = Counter(record.result.status.value for record in records)
    statuses = ", ".join(f"{n:,} {status}" for status, n in counts.items())
    seconds = sum(record.spent_seconds for record in records)
    taken = takeover_line(records)
    text = f"{plural(len(records), 'trial')} ended: {statuses}; {duration(seconds)} of device time"
    return f"{text}; {taken}" if taken else text


def status_lines(
    info: SweepInfo, standing: Standing, place: str = "", now: float | None = None
) -> list[str]:
    """One sweep's state as of *now* (epoch seconds), its costs, best and running trials, the next command.

    *place*: the options that name its workspace or store.
    """
    planned = f" of {info.to_come:,}" if info.to_come else ""
    counts = ", ".join(f"{n:,} {status}" for status, n in info.counts.items())
    text = [f"{info.name}: {info.state}, {info.ended:,}{planned} trials ended ({counts})"]
    text += [f"  {line}" for line in (*standing.lines(), *file_changes.lines(info.facts))]
    text += failed_lines(standing.failed, f"sft-select run FILE{place}", indent="  ")
    text += undelivered_lines(info.undelivered, f"sft-select run FILE{place}", indent="  ")
    if silence := _silence(info, time.time() if now is None else now):
        text.append(f"  {silence}")
    for trial in standing.running:
        loss = f", loss {trial.loss:.3f}" if trial.loss is not None else ""
        step = step_words(trial.step, trial.steps)
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


def step_words(step: int | None, steps: int | None) -> str:
    """Where a running trial is: ``step 12 of 40``."""
    if not step:
        return "starting"
    return f"step {step:,}" + (f" of {steps:,}" if steps else "")


# -- recommend, laws and predict ---------------------------------------------------------------------------


def recommendation_lines(
    answer: Recommendation, *, why: bool, train: str | None, price: Price | None = None
) -> list[str]:
    """The choice, how sure it is, majorities of rows and what to do next; all the rest with *why*.

    *train*: the command that trains it, where it was written to a file; *price*: of device time.
    """
    *first, following = summary(answer)
    seconds = answer.choice.measured.device_seconds
    if price is not None and seconds is not None:
        first.append(f"Cost: {with_price(duration(seconds), price, seconds)} to train and evaluate")
    text = [*first, f"Next: {train}" if train else following]
    if why:
        return [*text, *lines(answer)[len(summary(answer)) :]]
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
    expected = {measured.task: measured for measured in config.scores}
    text = []
    for measured in final.scores("validation"):
        before = expected.get(measured.task)
        sweep = ""
        if before is not None and before.score is not None:
            sweep = f"; the sweep measured {score(before.score)} on {plural(before.n, 'row')}"
        text.append(f"validation {measured.task}: {score_line(measured)}{sweep}")
    for measured in final.scores("test"):
        text.append(f"test       {measured.task}: {score_line(measured)}, all of them")
        if (reads := final.test_reads.get(measured.task)) is not None:
            text.append(f"           {reads_line(reads)}")
    weights = {} if config.recommendation is None else config.recommendation.objective.weights
    weighed = [task for task, weight in weights.items() if weight > 0]
    found = majorities([final.result], weighed or [task.name for task in config.trial.tasks], {})
    text += [f"majority   {majority_text(majority)}" for majority in found]
    text += _weighted_quality(final.result, config.recommendation)
    text += [_suite_line(suite) for suite in final.result.general if suite.forgetting is not None]
    text += _cost_line(final.result.cost)
    return [*text, f"registered as {final.name} version {final.version}; files in {final.folder}"]


def merge_lines(merged: MergedModel | None) -> list[str]:
    """The merged model's validation scores beside the adapter's; nothing where none was merged."""
    if merged is None:
        return []
    text = [
        f"merged     {each.task}: {number(each.merged, 4)}, {number(each.adapter, 4)} by the adapter"
        for each in merged.merge.scores
    ]
    return [*text, f"merged model in {merged.folder}"]


def _weighted_quality(result: TrialResult, answer: Recommendation | None) -> list[str]:
    """The weighted quality, which the choice was made by, beside what was predicted."""
    from sweeps.search.strategies.strategy import weighted_score

    measured = None if answer is None else weighted_score(result, answer.objective)
    if answer is None or measured is None:
        return []
    noise = ""
    if answer.noise_floor is not None:
        floor = quality_gap(answer.noise_floor, scored=answer.scored, signed=False)
        noise = f"; the noise floor of one run is {floor}"
    return [
        f"validation quality, weighted: {quality(measured, scored=answer.scored)} "
        f"(predicted on average over seeds: "
        f"{quality_text(answer.choice.quality, scored=answer.scored)}{noise})"
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
