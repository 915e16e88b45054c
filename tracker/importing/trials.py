"""Trials of an outside results table: rows grouped into trials, and trials written as a sweep.

Rows that agree in model, method with its hyper-parameters, mix, examples, epochs and seed are one
trial, over all its tasks and metrics. Repeated rows of one configuration are further seeds. What
cannot be compared is refused or named, never mixed in silence.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tracker.importing import comparability as comparable
from tracker.importing.metric_names import Direction, metric_of
from tracker.importing.readers import Source, read_csv
from tracker.importing.rows import (
    COSTS,
    Measurement,
    Problems,
    Row,
    Shares,
    StatedConfiguration,
    costs_of,
    measurements,
)
from tracker.numbers import count
from tracker.store.store import Store
from tracker.task import SuiteScore, TaskScore
from tracker.trial import (
    Cost,
    MixSpec,
    ModelSpec,
    Objective,
    Status,
    TrainSpec,
    TrialRecord,
    TrialResult,
    TrialSpec,
)

#: ``TrialRecord.stage`` of every outside trial.
STAGE = "import"


class OutsideTable(NamedTuple):
    """An outside table as a sweep: its trials, every task weighted alike, and notes for its reader.

    ``origin`` names the table; ``digest`` is that of its content and of how it was read.
    """

    records: tuple[TrialRecord, ...]
    objective: Objective
    notes: tuple[str, ...]
    origin: str
    digest: str


class Run(NamedTuple):
    """The rows of one trial, each with a value; ``first`` is there even where none has."""

    first: Measurement
    seed: int
    rows: tuple[Measurement, ...]


class _Facts(NamedTuple):
    """What the table says of models and of mixes, by name, wherever it says it."""

    models: Mapping[str, comparable.ModelFacts]
    shares: Mapping[str, Shares]


def read_table(
    path: Path,
    columns: Mapping[str, str] | None = None,
    metric: str | None = None,
    direction: Direction | None = None,
) -> OutsideTable:
    """Read the trials in the CSV file *path*, also gzipped.

    Columns ``model method task metric examples value`` must be there;
    :data:`tracker.importing.rows.OPTIONAL` may, and ``mix:TASK``, the share of TASK in the examples.
    *columns* gives the table's names by ours. *metric* is the one to take where a task has several
    of one kind; *direction* that of metrics whose names are not known, where no column says it. A method
    ``adalora/r32`` is ``adalora`` in the variant ``r32``; examples 0 is the untouched base, whatever its
    method.

    Raises InputError with every problem found, each as ``file:line: ...``.
    """
    return outside_table(read_csv(path, columns or {}), columns, metric, direction)


def outside_table(
    source: Source,
    columns: Mapping[str, str] | None = None,
    metric: str | None = None,
    direction: Direction | None = None,
) -> OutsideTable:
    """Trials of *source*, which was read with *columns*; raises as :func:`read_table` does."""
    problems = Problems()
    found = measurements((_directed(row, direction) for row in source.rows), problems)
    comparable.check_directions(found, problems)
    facts = _Facts(comparable.model_facts(found, problems), comparable.mix_shares(found, problems))
    comparable.check_replay(found, problems)
    found, chosen = comparable.one_metric_each(found, metric, source.name, problems)
    found, copies = _without_copies(found)
    runs = _runs(found, problems)
    problems.raise_any()
    records, unsure = _records(runs, facts, source.origin)
    comparable.check_measured(records, source.name)
    tasks = dict.fromkeys(s.task for record in records for s in record.result.tasks)
    return OutsideTable(
        records=records,
        objective=Objective(weights=dict.fromkeys(tasks, 1.0)),
        notes=(
            *comparable.notes(source, found, records),
            *chosen,
            *comparable.mix_notes(facts.shares, found),
            *([f"{count(copies)} rows are copies of others and count once"] if copies else []),
            *unsure,
        ),
        origin=source.origin,
        digest=_digest(source, columns or {}, metric, direction),
    )


def write_sweep(
    store: Store,
    name: str,
    table: OutsideTable,
    watch: Callable[[Sequence[TrialRecord]], Iterable[TrialRecord]] = tuple,
) -> None:
    """Write *table* into *store* as the finished sweep *name*, all or nothing; what is there already stays.

    *watch* hands the records on as they are written. Raises StoreError where *name* is a sweep of
    another table or of our own.
    """
    store.import_sweep(
        name,
        watch(table.records),
        spec_text=f"name: {name}\norigin: {json.dumps(table.origin)}\n",
        spec_digest=table.digest,
        planned=len(table.records),
        objective=table.objective,
        notes=table.notes,
    )


def _directed(row: Row, direction: Direction | None) -> Row:
    """*row* with the *direction* of a metric that is not known by its name and has none in the table."""
    name = row.cells.get("metric", "")
    if direction is None or "direction" in row.cells or metric_of(name, None) is not None:
        return row
    return row._replace(cells={**row.cells, "direction": direction})


def _digest(
    source: Source, columns: Mapping[str, str], metric: str | None, direction: Direction | None
) -> str:
    how = [source.digest, sorted(columns.items()), metric]
    read_as = json.dumps([*how, direction] if direction else how)  # as ever without one
    return hashlib.sha256(read_as.encode()).hexdigest()


def _without_copies(rows: Sequence[Measurement]) -> tuple[list[Measurement], int]:
    """*rows* less exact copies, and how many those were: a copied row is no second measurement.

    Tables list the untouched base once per method; those are one measurement and not counted.
    """
    seen: set[object] = set()
    kept, copies = [], 0
    for row in rows:
        cells, base = row.cells, row.stated.volume == 0
        content: tuple[object, ...] = (row.stated, row.task, row.metric_name, row.value, cells.run)
        if not base:
            content = (*content, cells.seed, row.se, cells.n, costs_of(cells), row.unknown)
        if row.value is not None and content in seen:
            copies += not base
            continue
        seen.add(content)
        kept.append(row)
    return kept, copies


def _runs(rows: Iterable[Measurement], problems: Problems) -> list[Run]:
    """The trials in order of appearance, with seeds that tell those of one configuration apart."""
    grouped: dict[tuple[object, ...], list[Measurement]] = {}
    times: defaultdict[tuple[object, ...], int] = defaultdict(int)
    for row in rows:
        cells = row.cells
        trial: tuple[object, ...] = (row.stated, cells.status, cells.run, cells.seed)
        measured = (*trial, row.task, row.metric_name)
        if cells.seed is None and cells.run is None:
            trial = (*trial, times[measured])
        elif row.value is not None and times[measured]:
            text = (
                f"{row.metric_name} of {row.task} stands there twice for one configuration and seed"
            )
            problems.add("repeated", row.place, f"{text}, with different values")
        times[measured] += 1
        grouped.setdefault(trial, []).append(row)
    taken: defaultdict[StatedConfiguration, set[int]] = defaultdict(set)
    runs = []
    for rows_of_trial in grouped.values():
        first = rows_of_trial[0]
        used, seed = taken[first.stated], first.cells.seed
        if seed is None or seed in used:  # a diverged run may state the seed of a complete one
            seed = next(i for i in range(len(used) + 1) if i not in used)
        used.add(seed)
        measured_rows = tuple(row for row in rows_of_trial if row.value is not None)
        runs.append(Run(first, seed, measured_rows))
    return runs


def _records(
    runs: Iterable[Run], facts: _Facts, origin: str
) -> tuple[tuple[TrialRecord, ...], list[str]]:
    """The trials, numbered in order, and notes on the costs that rows of one trial state differently."""
    runs = [run for run in runs if run.rows or run.first.cells.status is not Status.COMPLETE]
    configurations = [run.first.stated for run in runs]
    epochs = comparable.curves_of_several_epochs(configurations)
    replays = comparable.mixes_of_several_replays(configurations)
    records, unsure = [], dict.fromkeys(COSTS, 0)
    for number, run in enumerate(runs):
        cost = _cost(run, unsure)
        spec = _spec(run, facts, origin, epochs)
        mix = _mix(run.first.stated, facts.shares, replays)
        result = TrialResult(
            spec=spec.model_copy(update={"mix": mix}),
            status=run.first.cells.status,
            reason=None if run.first.cells.status is Status.COMPLETE else f"as {origin} says",
            tasks=_task_scores(run.rows),
            general=_suite_scores(run.rows),
            cost=cost,
        )
        records.append(TrialRecord(number=number, stage=STAGE, result=result))
    notes = [
        f"{name} differs between the rows of one trial in {count(trials)} trials and is left out there"
        for name, trials in unsure.items()
        if trials
    ]
    return tuple(records), notes


def _spec(
    run: Run, facts: _Facts, origin: str, varied: Collection[StatedConfiguration]
) -> TrialSpec:
    """All but the mix; *varied*: the curves whose variant states their epochs."""
    stated = run.first.stated
    configuration, epochs = stated.configuration, stated.epochs
    method = configuration.method
    if epochs is not None and stated.curve in varied:
        variant = " ".join(filter(None, (method.variant, f"{epochs:g} epochs")))
        method = method.model_copy(update={"variant": variant})
    schedule = {} if epochs is None or not epochs.is_integer() else {"epochs": int(epochs)}
    model = configuration.model
    return TrialSpec(
        model=ModelSpec(
            name=model,
            path=model,
            parameters=facts.models[model].parameters,
            family=facts.models[model].family,
        ),
        method=method,
        volume=stated.volume,
        examples=_examples(run, facts.shares.get(configuration.mix)),
        tasks=(),
        train=TrainSpec(**schedule),
        seed=run.seed,
        origin=origin,
    )


def _mix(
    stated: StatedConfiguration, shares: Mapping[str, Shares], varied: Collection[str]
) -> MixSpec | None:
    """The mix of *stated*; ``None`` where the table says nothing of it.

    *varied*: the mixes whose name states their replay.
    """
    mix, replay = stated.configuration.mix, stated.replay or 0.0
    suffix = f"replay {replay:g}" if replay and (not mix or mix in varied) else ""
    name = " ".join(filter(None, (mix, suffix)))
    if not name:
        return None
    return MixSpec(name=name, weights=dict(shares.get(mix, {})), replay=replay)


def _examples(run: Run, shares: Shares | None) -> dict[str, int]:
    """The volume by task; empty where the table does not say and more than one was measured."""
    volume = run.first.stated.volume
    if shares and volume:
        return split(volume, shares)
    tasks = dict.fromkeys(row.task for row in run.rows if row.task and not _is_suite(row))
    return dict.fromkeys(tasks, volume) if len(tasks) == 1 and volume else {}


def split(volume: int, shares: Shares) -> dict[str, int]:
    """*volume* examples by task as *shares* say, whole ones that sum to it (largest remainders)."""
    total = sum(shares.values())
    exact = {task: volume * share / total for task, share in shares.items()}
    counts = {task: int(count) for task, count in exact.items()}
    by_rest = sorted(exact, key=lambda task: (counts[task] - exact[task], task))
    for task in by_rest[: volume - sum(counts.values())]:
        counts[task] += 1
    return counts


def _is_suite(row: Measurement) -> bool:
    return row.metric is not None and row.metric.kind == "forgetting"


def _task_scores(rows: Sequence[Measurement]) -> tuple[TaskScore, ...]:
    fields: dict[str, dict[str, object]] = {}
    for row in rows:
        if row.metric is None or row.task is None or _is_suite(row):
            continue
        kind = row.metric.kind
        score = fields.setdefault(row.task, {"task": row.task})
        score |= {kind: row.value, f"{kind}_se": row.se, "n": row.cells.n or score.get("n")}
        if kind == "score" or (kind == "error" and "score" not in score):
            score["score_name"] = comparable.plain_name(row.metric_name or kind)
    return tuple(TaskScore.model_validate(score) for score in fields.values())


def _suite_scores(rows: Sequence[Measurement]) -> tuple[SuiteScore, ...]:
    """A table states forgetting as a relative rise: the loss before is 1 in its own unit."""
    return tuple(
        SuiteScore(
            suite=row.task,
            measure="bits_per_byte",
            n=row.cells.n,
            before=1.0,
            after=1.0 + row.value,
            after_se=row.se,
        )
        for row in rows
        if _is_suite(row) and row.task and row.value is not None
    )


def _cost(run: Run, unsure: dict[str, int]) -> Cost:
    """What the trial's rows agree on; *unsure* counts by name what they do not."""
    stated: dict[str, object] = {}
    for name, *values in zip(
        COSTS, *(costs_of(row.cells) for row in (run.first, *run.rows)), strict=True
    ):
        different = {*values} - {None}
        if len(different) == 1:
            stated[name] = different.pop()
        unsure[name] += len(different) > 1
    return Cost.model_validate({"device": "not stated", **stated})
