"""Comparability of the rows of an outside table: what cannot be compared is refused or noted."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tracker.errors import InputError
from tracker.importing.readers import Source
from tracker.importing.rows import Measurement, Problems, Shares, StatedConfiguration, mix_name
from tracker.numbers import count
from tracker.trial import Status, TrialRecord
from tracker.validation import did_you_mean, options


class ModelFacts(NamedTuple):
    """Parameters and family of a model, from any row of the table."""

    parameters: int | None
    family: str | None


def check_directions(rows: Iterable[Measurement], problems: Problems) -> None:
    """Check that every metric has one direction, and the one of its kind."""
    stated: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        name, direction = row.metric_name, row.cells.direction
        if row.metric is None or name is None or direction is None:
            continue
        stated[name][direction].append(row.place)
        if direction != row.metric.direction:
            text = f"direction: found {direction} for {name}; allowed: {row.metric.direction}"
            problems.add(f"nature of {name}", row.place, text)
    for name, places in stated.items():
        if len(places) > 1:
            both = " and ".join(f"{way} ({_places(where)})" for way, where in places.items())
            first = next(iter(places.values()))[0]
            problems.add("directions", first, f"{name} has two directions: {both}; give it one")


def _places(places: Sequence[str]) -> str:
    lines = [place.rpartition(":")[2] for place in places]
    rest = f" and {len(lines) - 3} more" if len(lines) > 3 else ""
    return f"rows {', '.join(lines[:3])}{rest}"


def model_facts(rows: Iterable[Measurement], problems: Problems) -> dict[str, ModelFacts]:
    """Parameters and family by model; two of either for one model are a problem."""
    facts: dict[str, ModelFacts] = {}
    for row in rows:
        model = row.stated.configuration.model
        known = facts.get(model, ModelFacts(None, None))
        for name in ModelFacts._fields:
            old, new = getattr(known, name), getattr(row.cells, name)
            if old is not None and new is not None and old != new:
                text = f"{model} has {name} {new} here and {old} above: two models need two names"
                problems.add(f"{name} of {model}", row.place, text)
        facts[model] = ModelFacts(
            known.parameters if row.cells.parameters is None else row.cells.parameters,
            known.family or row.cells.family,
        )
    return facts


def one_metric_each(
    rows: Sequence[Measurement], metric: str | None, source: str, problems: Problems
) -> tuple[list[Measurement], list[str]]:
    """Rows of one metric of each kind per task, and notes on those left out.

    Where a task has several, *metric* says which to take; without it that is a problem.
    """
    counts: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row.metric is not None and row.task and row.metric_name:
            counts[row.task, row.metric.kind][row.metric_name] += 1
    names = sorted({name for counted in counts.values() for name in counted})
    if metric is not None and metric not in names:
        hint = did_you_mean(metric, names)
        text = f"--metric {metric}: no such metric; found: {options(names)}{hint}"
        problems.add("metric", source, text)
        return list(rows), []
    dropped: set[tuple[str, str, str]] = set()
    notes = []
    for (task, kind), counted in counts.items():
        if len(counted) < 2:
            continue
        several = ", ".join(f"{name} ({count(n)} rows)" for name, n in sorted(counted.items()))
        if metric in counted:
            dropped |= {(task, kind, name) for name in counted if name != metric}
            notes.append(f"{task} has {several}; {metric} is taken")
        else:
            what = {"score": "scores", "error": "errors", "loss_nats": "losses per token"}.get(
                kind, kind
            )
            text = f"task {task!r} has several {what}: {several}; say which one with --metric NAME"
            problems.add("kinds", source, text)
    kept = [
        row
        for row in rows
        if row.metric is None or (row.task, row.metric.kind, row.metric_name) not in dropped
    ]
    return kept, notes


def curves_of_several_epochs(
    configurations: Iterable[StatedConfiguration],
) -> set[StatedConfiguration]:
    """Curves whose trials differ in epochs, which their names must then state."""
    epochs: defaultdict[StatedConfiguration, set[float | None]] = defaultdict(set)
    for configuration in configurations:
        epochs[configuration.curve].add(configuration.epochs)
    return {curve for curve, counts in epochs.items() if len(counts) > 1}


def mixes_of_several_replays(configurations: Iterable[StatedConfiguration]) -> set[str]:
    """Mixes run with more than one replay fraction, which their names must then state."""
    fractions: defaultdict[str, set[float]] = defaultdict(set)
    for stated in configurations:
        if stated.volume:
            fractions[stated.configuration.mix].add(stated.replay or 0.0)
    return {mix for mix, replays in fractions.items() if len(replays) > 1}


def mix_shares(rows: Iterable[Measurement], problems: Problems) -> dict[str, Shares]:
    """Shares of the tasks by mix, from any row; two kinds of shares for one mix are a problem.

    A mix is known by its name (column ``mix``), or by its shares where it has none; what one row says
    of a named mix holds for all.
    """
    found: dict[str, Shares] = {}
    for row in rows:
        mix, shares = row.stated.configuration.mix, row.shares
        if not mix or shares is None:
            continue
        known = found.setdefault(mix, shares)
        if known != shares:
            text = f"has shares {mix_name(shares)} here and {mix_name(known)} above"
            problems.add("mix", row.place, f"mix {mix!r} {text}: two mixes need two names")
    return found


def check_replay(rows: Iterable[Measurement], problems: Problems) -> None:
    """Check that replay is stated for every tuned row or for none: an empty cell is not known to be 0."""
    tuned = [row for row in rows if row.stated.volume]
    silent = [row for row in tuned if row.stated.replay is None]
    if len(silent) < len(tuned):
        for row in silent:
            text = "replay: found nothing, and a fraction in other rows; allowed: 0 where none is"
            problems.add("replay", row.place, f"{text} replayed")


def check_measured(records: Sequence[TrialRecord], source: str) -> None:
    """Check that a complete trial measured a task; raises InputError."""
    if not any(r.result.tasks for r in records if r.result.status is Status.COMPLETE):
        raise InputError(f"{source}: no row holds the value of a task; there is nothing to compare")


def plain_name(text: str) -> str:
    """Name made of *text*: what is no letter, digit or ``@.+-`` becomes ``_``."""
    return re.sub(r"[^\w@.+\-]+", "_", text.strip()).lstrip(".+-") or "_"


def notes(
    source: Source, rows: Sequence[Measurement], records: Sequence[TrialRecord]
) -> Iterator[str]:
    """Notes on the table for the sweep's answers, a sentence each."""
    if source.unknown:
        yield f"columns not known and left out: {options(source.unknown)}"
        hidden = _hidden(source, rows)
        if hidden:
            yield (
                f"repeats of one configuration differ in {options(hidden)}, which is left out: they "
                f"count as seeds; if they are configurations, use --map variant={hidden[0]}"
            )
    empty = sum(r.value is None and r.cells.status is Status.COMPLETE for r in rows)
    if empty:
        yield f"{count(empty)} rows hold no value and were left out"
    yield from _tokenizers(records)
    if any(
        r.metric_name and r.metric_name.casefold().endswith(("perplexity", "ppl")) for r in rows
    ):
        yield "perplexities were taken as their logarithm, nats per token"
    if all(s.n is None for record in records for s in record.result.tasks):
        yield (
            "the table does not say on how many rows it measured: what the rows' choice does to a "
            "value is unknown, so intervals rest on repeats and on the laws' residuals alone"
        )


def mix_notes(shares: Mapping[str, Shares], rows: Iterable[Measurement]) -> Iterator[str]:
    """Notes on mixes: tasks that have a share and that no row measures."""
    measured = sorted({row.task for row in rows if row.task})
    trained = dict.fromkeys(task for of_mix in shares.values() for task in of_mix)
    unmeasured = [task for task in trained if task not in measured]
    if unmeasured:
        hint = did_you_mean(unmeasured[0], measured)
        yield f"tasks with a share of a mix that no row measures: {options(unmeasured)}{hint}"


def _hidden(source: Source, rows: Sequence[Measurement]) -> list[str]:
    """Unknown columns in which the repeats of one configuration differ."""
    repeats: defaultdict[tuple[object, ...], list[tuple[str, ...]]] = defaultdict(list)
    for row in rows:
        if row.value is not None and row.stated.volume:
            what = (row.stated, row.cells.seed, row.task, row.metric_name)
            repeats[what].append(row.unknown)
    groups = [cells for cells in repeats.values() if len(cells) > 1]
    return [
        column
        for i, column in enumerate(source.unknown)
        if any(len({cells[i] for cells in group}) > 1 for group in groups)
    ]


def _tokenizers(records: Sequence[TrialRecord]) -> Iterator[str]:
    """Notes on losses in nats per token over several model families, whose tokenizers may differ."""
    models: defaultdict[str, set[tuple[str | None, str]]] = defaultdict(set)
    for record in records:
        model = record.result.spec.model
        for score in record.result.tasks:
            if score.loss_nats is not None and score.bits_per_byte is None:
                models[score.task].add((model.family, model.name))
    for task, found in models.items():
        families = {family for family, _ in found if family}
        unstated = {name for family, name in found if not family}
        if len(families) + bool(unstated) > 1 or len(unstated) > 1:
            of = f"{len(families)} families ({options(sorted(families))})" if families else ""
            rest = f"{len(unstated)} models whose family is not stated" if unstated else ""
            yield (
                f"{task}: loss in nats per token over {' and '.join(filter(None, (of, rest)))}: where "
                "tokenizers differ such losses do not compare exactly"
            )
