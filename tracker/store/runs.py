"""Runs of sweeps and trials in MLflow: how they are found and read.

Tags that identify runs: ``sft.kind`` is ``sweep``, ``trial`` or ``model``; a trial's run is named
by ``mlflow.parentRunId`` and ``sft.key``. A client is passed, MLflow itself is imported late.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from tracker.errors import InputError, RefusedError, StoreError
from tracker.store import mlflow_names
from tracker.store.artifacts import Artifacts
from tracker.store.journal import Step
from tracker.trial import TakenOver
from tracker.validation import did_you_mean, options, unknown

Client = Any  # mlflow.MlflowClient
Run = Any  # mlflow.entities.Run
Metric = Any  # mlflow.entities.Metric
Point = TypeVar("Point")

PARENT = "mlflow.parentRunId"
RUNNING = "RUNNING"  # MLflow's status
FACT = "sft.fact."
#: Tag of a trial's run: the optimizer steps that it will take.
STEPS = "sft.steps"
#: States of a sweep that a driver is at work on.
LIVE = ("running", "paused")
#: The fact that names what a sweep's driver could not bring to the store.
UNDELIVERED = "undelivered"
_NAMED, _REASON_CHARACTERS = 20, 200
_SILENT_SECONDS = 120.0  # a driver gives a sign of life about every 30
_PAGE = 1000
_CURVE_POINTS = 60  # of a running trial's curve: what a small chart can show
_ACTIVE_ONLY, _DELETED_ONLY = 1, 2  # mlflow.entities.ViewType


class Undelivered(NamedTuple):
    """What the store lacks of a sweep, such as ``trial 3``, and why it does not take it."""

    what: str
    why: str

    @staticmethod
    def as_text(reasons: Mapping[str, str]) -> str:
        """*reasons* by what is undelivered, as the sweep's fact ``undelivered``: as much as a tag takes."""
        shown = [[what, why[:_REASON_CHARACTERS]] for what, why in reasons.items()]
        if len(shown) > _NAMED:
            shown = [*shown[:_NAMED], [f"{len(shown) - _NAMED} more", ""]]
        return json.dumps(shown, ensure_ascii=False) if shown else ""


class SweepInfo(NamedTuple):
    """Summary of a sweep. Times in epoch seconds; ``counts``: trials by status or ``running``."""

    name: str
    state: str
    planned: int | None
    started_at: float
    ended_at: float | None
    counts: dict[str, int]
    facts: dict[str, str]

    @property
    def is_live(self) -> bool:
        """Whether a driver is at work on it."""
        return self.state in LIVE

    @property
    def ended(self) -> int:
        """How many trials have ended, however."""
        return sum(number for status, number in self.counts.items() if status != "running")

    @property
    def to_come(self) -> int | None:
        """How many trials are planned in all; ``None`` where the sweep does not say, or needs no more.

        A finished sweep may have fewer than were planned at most: it stopped early, or two were the same.
        """
        return None if self.state == "finished" else self.planned

    @property
    def undelivered(self) -> list[Undelivered]:
        """What its driver could not bring to the store."""
        try:
            return [Undelivered(*each) for each in json.loads(self.facts.get(UNDELIVERED, ""))]
        except (ValueError, TypeError):
            return []

    def as_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {**self._asdict(), "undelivered": [each._asdict() for each in self.undelivered]}

    def silent_since(self, now: float) -> float | None:
        """Time of its driver's last sign of life, where that is too long before *now*; epoch seconds.

        ``None`` for a sweep that nobody should be at work on, and where no sign was ever recorded.
        """
        try:
            seen_at = float(self.facts.get("seen_at", ""))
        except ValueError:
            return None
        return seen_at if self.is_live and now - seen_at > _SILENT_SECONDS else None


class LiveTrial(NamedTuple):
    """Running trial. ``step`` and ``loss`` as last sent; ``started_at``: epoch seconds.

    ``steps``: optimizer steps that it will take; ``None`` where its driver did not say.

    ``curve``: (optimizer step, training loss in nats per token) so far, thinned evenly.
    """

    key: str
    number: int
    stage: str
    model: str
    method: str
    mix: str
    volume: int
    started_at: float
    step: int | None
    loss: float | None
    curve: tuple[tuple[int, float], ...] = ()
    steps: int | None = None


class FinishedRun(NamedTuple):
    """Run of another MLflow experiment, with status FINISHED."""

    run_id: str
    name: str | None
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]


class Runs:
    """The runs of one MLflow experiment, and their *artifacts*."""

    def __init__(self, client: Client, experiment_id: str, artifacts: Artifacts) -> None:
        self.client = client
        self.experiment_id = experiment_id
        self.artifacts = artifacts
        self._parents: dict[str, str] = {}  # name of a sweep → id of its run

    def search(self, condition: str, *, deleted: bool = False) -> Iterator[Run]:
        """Every run that matches MLflow's filter *condition*, the oldest first."""
        token: str | None = None
        while True:
            page = self.client.search_runs(
                [self.experiment_id],
                condition,
                _DELETED_ONLY if deleted else _ACTIVE_ONLY,
                max_results=_PAGE,
                order_by=["attributes.start_time ASC"],
                page_token=token,
            )
            yield from page
            token = page.token
            if not token:
                return

    def sweeps(self) -> dict[str, Run]:
        """Parent runs by the sweep's name, in the order in which they were begun."""
        sweeps: dict[str, Run] = {}
        for run in self.search("tags.`sft.kind` = 'sweep'"):
            sweeps.setdefault(tag_of(run.info.run_id, run.data.tags, "sft.sweep"), run)
        # Those that were deleted stay known. A new one: another thread may read the old.
        found = {name: run.info.run_id for name, run in sweeps.items()}
        self._parents = {**self._parents, **found}
        return sweeps

    def sweep(self, name: str) -> Run:
        """Parent run of the sweep; RefusedError with the names there are where it is missing."""
        if (parent := self._parent(name)) is not None:
            return parent
        known = self._parents.get(name)
        sweeps = self.sweeps()
        if name not in sweeps and known is not None:
            raise RefusedError(
                f"the MLflow run {known} of sweep {name!r} was deleted, and with it what the store shows of "
                "the sweep; restore it in MLflow, or run the sweep's file again, which makes another"
            )
        if name not in sweeps:
            raise RefusedError(no_such_sweep(name, sweeps))
        return sweeps[name]

    def _parent(self, name: str) -> Run | None:
        """Parent run by its id, where that is known and not deleted; a search takes far longer."""
        from mlflow.exceptions import MlflowException

        run_id = self._parents.get(name)
        if run_id is None:
            return None
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return run if run.info.lifecycle_stage == "active" else None

    def trial(self, parent_id: str, key: str) -> Run | None:
        """Run of the trial; of several, one that has ended."""
        return next(iter(self._copies(parent_id, key)), None)

    def of_trial(self, origin: TakenOver) -> str | None:
        """Id of the run of the trial *origin*, in whichever sweep; ``None`` where it is gone."""
        parent = self.sweeps().get(origin.sweep)
        run = None if parent is None else self.trial(parent.info.run_id, origin.key)
        return None if run is None else str(run.info.run_id)

    def only_trial(self, parent_id: str, key: str) -> Run | None:
        """Run of the trial, for the process that writes the sweep: further copies are deleted.

        A request sent twice over a bad connection may have made two.
        """
        kept, *others = self._copies(parent_id, key) or [None]
        for run in others:
            self.client.delete_run(run.info.run_id)
        return kept

    def _copies(self, parent_id: str, key: str) -> list[Run]:
        found = self.trials(parent_id, f"tags.`sft.key` = '{key}'")
        return sorted(found, key=is_ended, reverse=True)

    def trials(self, parent_id: str, condition: str, *, deleted: bool = False) -> Iterator[Run]:
        """Runs of the sweep's trials that match *condition*."""
        of_sweep = f"tags.`{PARENT}` = '{parent_id}' and tags.`sft.kind` = 'trial'"
        return self.search(f"{of_sweep} and {condition}", deleted=deleted)

    def running(self, parent_id: str) -> list[Run]:
        """Runs of the sweep's trials under way."""
        return list(self.trials(parent_id, f"attributes.status = '{RUNNING}'"))

    def step_metrics(self, run_id: str) -> list[Metric]:
        """Every point of every ``train/…`` metric."""
        names = self.client.get_run(run_id).data.metrics
        steps = [name for name in names if name.startswith(mlflow_names.STEP_PREFIX)]
        return [point for name in steps for point in self.client.get_metric_history(run_id, name)]

    def history(self, run_id: str) -> list[Step]:
        """Every step of the run, in order; values are named ``train/…``."""
        values: dict[int, dict[str, float]] = defaultdict(dict)
        times: dict[int, int] = {}
        for point in self.step_metrics(run_id):
            values[point.step][point.key] = point.value
            times[point.step] = point.timestamp
        return [Step(step, times[step], values[step]) for step in sorted(values)]

    def text(self, run: Run, name: str) -> str:
        """Text artifact of the run."""
        return self.text_at(run.info.run_id, run.info.artifact_uri, name)

    def text_at(self, run_id: str, artifact_uri: str, name: str) -> str:
        """Text artifact of the run *run_id*, whose artifacts lie at *artifact_uri*."""
        return self.artifacts.text(run_id, artifact_uri, name)

    def live(self, run: Run) -> LiveTrial:
        """Running trial with its last loss."""
        tags, parameters = run.data.tags, run.data.params
        losses = self.client.get_metric_history(run.info.run_id, mlflow_names.step_metric("loss"))
        losses = sorted(losses, key=lambda point: point.step)
        last = losses[-1] if losses else None
        return LiveTrial(
            key=tag_of(run.info.run_id, tags, "sft.key"),
            number=number_of(run.info.run_id, tags, "sft.number"),
            stage=tag_of(run.info.run_id, tags, "sft.stage"),
            model=parameters.get("model.name", ""),
            method=parameters.get("method.name", ""),
            mix=parameters.get("mix", ""),
            volume=int(parameters.get("volume", 0)),
            started_at=run.info.start_time / 1000,
            step=last.step if last else None,
            loss=last.value if last else None,
            curve=tuple(
                (point.step, point.value) for point in evenly_spaced(losses, _CURVE_POINTS)
            ),
            steps=int(tags[STEPS]) if STEPS in tags else None,
        )


def no_such_sweep(name: str, sweeps: Iterable[str]) -> str:
    """Message that the store does not hold the sweep *name*; it holds *sweeps*."""
    if known := list(sweeps):
        return f"no such sweep in this store: {unknown(name, known)}"
    return "no such sweep: this store has none yet; start one with `sft-select run`"


def finished_runs(runs: Runs, experiment: str) -> list[FinishedRun]:
    """Finished runs of any *experiment* of the store of *runs*; InputError where it does not exist."""
    client = runs.client
    found = client.get_experiment_by_name(experiment)
    if found is None:
        known = [existing.name for existing in client.search_experiments()]
        hint = did_you_mean(experiment, known)
        raise InputError(
            f"--mlflow {experiment}: no such experiment; found: {options(known)}{hint}"
        )
    others = Runs(client, found.experiment_id, runs.artifacts)
    return [
        FinishedRun(run.info.run_id, run.info.run_name, run.data.params, run.data.metrics)
        for run in others.search("attributes.status = 'FINISHED'")
    ]


def evenly_spaced(points: Sequence[Point], most: int) -> list[Point]:
    """At most *most* of *points*, evenly, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    return [points[round(i * (len(points) - 1) / (most - 1))] for i in range(most)]


def tag_of(run_id: str, tags: Mapping[str, str], name: str) -> str:
    """Tag *name* of a run; StoreError where it was deleted."""
    if name not in tags:
        raise StoreError(
            f"MLflow run {run_id}: its tag {name} is missing; every run of ours has one: put it back, "
            "or delete the run"
        )
    return tags[name]


def number_of(run_id: str, tags: Mapping[str, str], name: str) -> int:
    """Whole number in the tag *name* of a run; StoreError where there is none."""
    text = tag_of(run_id, tags, name)
    if not (text.isascii() and text.isdigit()):
        raise StoreError(
            f"MLflow run {run_id}: its tag {name} is {text!r}; allowed: a whole number: put it back, "
            "or delete the run"
        )
    return int(text)


def is_ended(run: Run) -> bool:
    """Whether a trial's run is closed with its result. One that goes on keeps the time of its last end."""
    return run.info.status != RUNNING and "sft.result" in run.data.tags


def is_live(parent: Run) -> bool:
    """Whether a driver is at work on the sweep with this run."""
    return parent.data.tags.get("sft.state", "running") in LIVE


def sweep_info(name: str, parent: Run, counts: Mapping[str, int]) -> SweepInfo:
    """Summary of the sweep with run *parent*, with *counts* of its trials."""
    run_id, tags, end = parent.info.run_id, parent.data.tags, parent.info.end_time
    state = tags.get("sft.state", "running")
    return SweepInfo(
        name=name,
        state=state,
        planned=number_of(run_id, tags, "sft.planned") if tags.get("sft.planned") else None,
        started_at=parent.info.start_time / 1000,
        ended_at=end / 1000 if end and state not in LIVE else None,
        counts={status: count for status, count in counts.items() if count},
        facts={tag.removeprefix(FACT): v for tag, v in tags.items() if tag.startswith(FACT)},
    )
