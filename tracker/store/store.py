"""Tracking store: sweeps, trials, control requests and models in MLflow.

One MLflow experiment per project, a parent run per sweep, a child run per trial; names as in
:mod:`tracker.store.mlflow_names`, tags ``sft.*``. Every write may be repeated, also after a crash
between any two of its steps, and ends in the same state: a trial's run is found by its key, metrics
carry the time at which they were measured (it is part of their identity in MLflow), a run is closed
last. One process at a time writes a sweep; any number read.

MLflow is imported by :meth:`Store.open`, not by this module: it costs seconds, and what it sends
home and prints is decided by the environment it finds.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from pydantic import ValidationError

from tracker.errors import RefusedError, StoreError
from tracker.frozen import Frozen
from tracker.store import (
    bulk_write,
    database_setup,
    exclusion,
    mlflow_names,
    model_registry,
    removal,
    tracking_uri,
)
from tracker.store.artifacts import Artifacts
from tracker.store.control import (
    ControlRecord,
    ControlReply,
    Request,
    answer_tag,
    control_records,
    request_tag,
)
from tracker.store.data_profile import DataProfile, keep_profile, read_profile
from tracker.store.fence import FencedClient
from tracker.store.finished_trials import FinishedTrials
from tracker.store.journal import Step
from tracker.store.mlflow_names import digest_of
from tracker.store.run_writer import RunWriter, SweepState
from tracker.store.runs import (
    FACT,
    LIVE,
    STEPS,
    FinishedRun,
    LiveTrial,
    Runs,
    SweepInfo,
    finished_runs,
    is_ended,
    is_live,
    sweep_info,
)
from tracker.store.test_reads import Reading, add_readings, count_readings
from tracker.store.worst_answers import TaskExamples, read_examples
from tracker.task import FileRef
from tracker.trial import Objective, TrialRecord, TrialSpec

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

__all__ = ["LiveTrial", "Store", "SweepInfo", "SweepState"]

Method = TypeVar("Method", bound=Callable[..., Any])

_QUESTION = "question.json"
_IMPORT = "import"  # the kind of a run that is to be a sweep once all of its trials are written
_OBJECTIVE = "sft.objective"  # of a sweep: says as well that its question is there


class Question(Frozen):
    """Objective of a sweep, resolved, and notes that its answers repeat, a sentence each."""

    objective: Objective
    notes: tuple[str, ...] = ()


def _guarded(method: Method) -> Method:
    """Turn what MLflow, its database or the network raise into a one-line ``StoreError``."""

    @functools.wraps(method)
    def guarded(self: Store, *args: Any, **kwargs: Any) -> Any:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return method(self, *args, **kwargs)
        except (MlflowException, SQLAlchemyError, OSError, UnicodeDecodeError) as error:
            self._forget()  # how far the call got is unknown: ask again next time
            raise tracking_uri.store_error(self._uri, error) from error

    return cast(Method, guarded)


class Store:
    """Tracking store of one project: writes and reads its sweeps and trials. Made by :meth:`open`."""

    def __init__(self, client: MlflowClient, experiment_id: str, workspace: Path, uri: str) -> None:
        self.client = client
        self.workspace = workspace
        self._runs = Runs(client, experiment_id, Artifacts(client, workspace, uri))
        self._uri = uri
        self._run_ids: dict[tuple[str, str], str] = {}  # by sweep and trial key
        self._writer = RunWriter(self._runs)
        self._objectives: dict[str, Objective | None] = {}  # by sweep
        self._sent_points: dict[str, set[tuple[str, int]]] = {}  # metric and step, by run id
        self._ended = FinishedTrials(
            self._runs, workspace / "cache", tracking_uri.database_file(uri)
        )

    @classmethod
    def open(
        cls,
        workspace: Path,
        uri: str | None = None,
        project: str = "sft-select",
        *,
        create: bool = True,
    ) -> Store:
        """Open the store of *project* at *uri*, an MLflow tracking URI.

        Without *uri*: SQLite in ``<workspace>/mlflow.db``, artifacts in ``<workspace>/artifacts``;
        StoreError where a database file is not there yet and *create* is false. Of a file that this
        process may not write nothing is changed, and no lock is taken. Credentials come from the URI or
        MLflow's own environment variables.
        """
        workspace = workspace.resolve()
        uri = uri or tracking_uri.default_uri(workspace)
        file = tracking_uri.sqlite_file(uri)
        if not create and file is not None and not Path(file).exists():
            there = workspace if uri == tracking_uri.default_uri(workspace) else file
            raise StoreError(
                f"{there}: no tracking store here; name the workspace of a sweep, "
                "or start one with `sft-select run`"
            )
        if not create and file is not None and file.stat().st_size == 0:
            raise StoreError(
                f"{file}: is empty; run the sweep's command again, which fills it from the journals"
            )
        tracking_uri.set_environment()
        from mlflow import MlflowClient

        tracking_uri.silence_logs()
        read_only = not create and file is not None and not tracking_uri.is_writable(file)
        try:
            with (
                nullcontext() if read_only else tracking_uri.initialisation_lock(workspace, uri),
                nullcontext() if read_only else database_setup.prepared(uri),
            ):
                client = MlflowClient(tracking_uri=uri, registry_uri=uri)
                artifacts = workspace / "artifacts" if tracking_uri.is_database(uri) else None
                experiment_id = tracking_uri.experiment(client, project, artifacts, uri)
        except tracking_uri.failures() as error:
            raise tracking_uri.store_error(uri, error) from error
        return cls(client, experiment_id, workspace, uri)

    def fence(self, is_owned: Callable[[], bool]) -> None:
        """From now on ask *is_owned* before each call of MLflow: a driver that lost its sweep writes no more.

        *is_owned* raises where another driver writes; where it does not know, the call is a StoreError.
        """
        self.client = self._runs.client = cast("MlflowClient", FencedClient(self.client, is_owned))

    @property
    def is_writable(self) -> bool:
        """Whether this process may write the store, as far as it can be known before it is written."""
        file = tracking_uri.sqlite_file(self._uri)
        return file is None or tracking_uri.is_writable(file)

    # -- writing ---------------------------------------------------------------------------------

    @_guarded
    def begin_sweep(
        self,
        name: str,
        *,
        spec_text: str,
        spec_digest: str,
        earlier: Collection[str] = (),
        planned: int | None,
        datasets: Sequence[FileRef],
        objective: Objective,
        notes: Sequence[str] = (),
        data: DataProfile | None = None,
    ) -> None:
        """Open the sweep's parent run, or go on with it; the sweep is then ``running``.

        *objective*, *notes* (what a reader must know) and *data* (what its rows look like) are kept
        for its recommendation and pages. Trials that a killed driver left running are closed until
        they are begun again. StoreError where *name* was begun with another digest, which is not among
        those of *earlier* files of the sweep: its trials would not compare.
        """
        parent = self._runs.sweeps().get(name)
        if parent is None:
            tags = {"sft.kind": "sweep", "sft.sweep": name, "sft.digest": spec_digest}
            parent = self.client.create_run(self._runs.experiment_id, tags=tags, run_name=name)
        begun = parent.data.tags["sft.digest"]
        if begun not in {spec_digest, *earlier}:
            raise StoreError(
                f"sweep {name!r} was begun with a file of digest {begun[:12]}, this one has "
                f"{spec_digest[:12]}; restore that file or give the sweep another name"
            )
        question = Question(objective=objective, notes=tuple(notes)).model_dump_json(indent=1)
        self._objectives[name] = objective
        self._runs.artifacts.log_text(parent, spec_text, "sweep.yaml")
        self._runs.artifacts.log_text(parent, question, _QUESTION)
        kept = keep_profile(self._runs, parent, data)
        self._writer.log_inputs(parent.info.run_id, [(file, "sweep") for file in datasets])
        self._writer.close_running(parent)
        count = "" if planned is None else str(planned)
        tags = {"sft.digest": spec_digest, "sft.planned": count, **kept}
        tags[_OBJECTIVE] = mlflow_names.objective(objective)
        self._writer.set_state(parent, "running", tags)

    @_guarded
    def import_sweep(
        self,
        name: str,
        records: Iterable[TrialRecord],
        *,
        spec_text: str,
        spec_digest: str,
        planned: int,
        objective: Objective,
        notes: Sequence[str] = (),
    ) -> None:
        """Write a finished sweep from elsewhere: all or nothing, it is no sweep before its last trial is in.

        A sweep of that name and digest which is there already gets the trials that it lacks. What an
        import that was killed left of *name* is removed. StoreError as in :meth:`begin_sweep`.
        """
        facts = {"spec_text": spec_text, "spec_digest": spec_digest, "planned": planned}
        if name in self._runs.sweeps():
            self.begin_sweep(name, datasets=(), objective=objective, notes=notes, **facts)  # type: ignore[arg-type]
            self.end_trials(name, records)
            self.set_sweep_state(name, "finished")
            return
        of_name = f"tags.`sft.kind` = '{_IMPORT}' and tags.`sft.sweep` = '{name}'"
        for left in list(self._runs.search(of_name)):
            bulk_write.discard(self._runs, left, self._uri)
        tags = {"sft.kind": _IMPORT, "sft.sweep": name, "sft.digest": spec_digest}
        parent = self.client.create_run(self._runs.experiment_id, tags=tags, run_name=name)
        try:
            question = Question(objective=objective, notes=tuple(notes)).model_dump_json(indent=1)
            self._runs.artifacts.log_text(parent, spec_text, "sweep.yaml")
            self._runs.artifacts.log_text(parent, question, _QUESTION)
            bulk_write.write_trials(self._runs, parent, records, self._uri, objective)
            known = {"sft.planned": planned, _OBJECTIVE: mlflow_names.objective(objective)}
            self._writer.set_state(parent, "finished", known)
            self._writer.set_tags(parent, {"sft.kind": "sweep"})
        except BaseException:
            with contextlib.suppress(StoreError, OSError):  # what is left is no sweep
                bulk_write.discard(self._runs, parent, self._uri)
            raise

    @_guarded
    def set_sweep_state(self, name: str, state: SweepState, **facts: object) -> None:
        """Record the sweep's state and *facts*, as text; facts given earlier stay.

        The fact ``planned`` is how many trials the sweep will have. No trial of a sweep without a
        driver runs: their runs are closed until they are begun again.
        """
        parent = self._runs.sweep(name)
        if state not in LIVE:
            self._writer.close_running(parent)
        tags = {"sft.planned" if f == "planned" else f"{FACT}{f}": v for f, v in facts.items()}
        self._writer.set_state(parent, state, tags)

    @_guarded
    def begin_trial(
        self,
        sweep: str,
        number: int,
        stage: str,
        spec: TrialSpec,
        *,
        steps: int | None = None,
        again: bool = False,
    ) -> None:
        """Open the trial's run with parameters, spec.json and inputs; an ended one stays ended.

        *steps*: optimizer steps that it will take. *again*: a run with a result is deleted in MLflow, and
        another opened in its place.
        """
        run = self._begin(sweep, number, stage, spec, lambda _: again)
        if steps and not is_ended(run):
            self._writer.set_tags(run, {STEPS: steps})

    @_guarded
    def log_steps(self, sweep: str, key: str, steps: Iterable[Step]) -> None:
        """Log those of *steps* that are not in the store yet: each step and metric once.

        A resumed trial repeats steps at another time. MLflow would keep both and can delete
        neither, so the first stays.
        """
        from mlflow.entities import Metric

        run_id = self._run_id(sweep, key)
        sent = self._sent_points.get(run_id)  # another thread may forget it any time
        if sent is None:
            points = self._runs.step_metrics(run_id)
            sent = self._sent_points[run_id] = {(point.key, point.step) for point in points}
        metrics = [
            Metric(mlflow_names.step_metric(name), value, step.time_ms, step.step)
            for step in steps
            for name, value in step.values.items()
            if (mlflow_names.step_metric(name), step.step) not in sent
        ]
        self._writer.log_metrics(run_id, metrics)
        sent |= {(metric.key, metric.step) for metric in metrics}

    @_guarded
    def end_trial(self, sweep: str, record: TrialRecord, artifacts: Path | None = None) -> None:
        """Log the result and close the trial's run, begun or not; *artifacts*: a folder.

        In MLflow a trial is FINISHED (complete), KILLED (pruned) or FAILED (anything else).
        """
        self._end(sweep, record, (), artifacts)

    @_guarded
    def send_trial(
        self, sweep: str, record: TrialRecord, steps: Iterable[Step], artifacts: Path | None = None
    ) -> None:
        """Log an ended trial whole: its *steps* as :meth:`log_steps` does, its result, its *artifacts*.

        A run that has another result, of an attempt that failed, is deleted in MLflow.
        """
        self._end(sweep, record, steps, artifacts)

    def _end(
        self, sweep: str, record: TrialRecord, steps: Iterable[Step], artifacts: Path | None
    ) -> None:
        result, text = record.result, record.result.model_dump_json()
        tags = {"sft.status": result.status.value, "sft.result": digest_of(text)}
        if result.reason:
            tags["sft.reason"] = result.reason
        if record.taken_over is not None:
            tags |= mlflow_names.origin_tags(
                record.taken_over, self._runs.of_trial(record.taken_over)
            )
        run = self._begin(
            sweep,
            record.number,
            record.stage,
            result.spec,
            lambda run: run.data.tags.get("sft.result") != tags["sft.result"],
        )
        self.log_steps(sweep, result.spec.key, steps)  # before the run is closed
        if is_ended(run) and self._runs.artifacts.holds(run, text, "result.json"):
            return
        run_id = run.info.run_id
        if artifacts is not None:
            self._runs.artifacts.log_folder(run, artifacts)
        self._runs.artifacts.log_text(run, text, "result.json")
        if is_ended(run):  # a disk or somebody had harmed what it holds
            return
        values = mlflow_names.metrics(result, self._weighed_by(sweep))
        self._writer.log_values(run, values, result.ended_at)
        self._writer.set_tags(run, tags)
        # The run ends now, not at result.ended_at: readers find a late result by the run's end.
        self.client.set_terminated(run_id, bulk_write.RUN_STATUS.get(result.status, "FAILED"))

    @_guarded
    def end_trials(self, sweep: str, records: Iterable[TrialRecord]) -> None:
        """Log results from elsewhere as :meth:`end_trial` does, in a fraction of the time."""
        parent, wanted = self._runs.sweep(sweep), self._weighed_by(sweep)
        bulk_write.write_trials(self._runs, parent, records, self._uri, wanted)

    @_guarded
    def register_model(
        self,
        sweep: str | None,
        model: model_registry.Model,
        scores: Mapping[str, float],
    ) -> str:
        """Register *model* as a version of its name, point its alias at it, return it.

        The files go to a run of their own, beside ``config.yaml``, the evidence and the *scores* as
        metrics, under the sweep's run where this store holds the sweep. The same files with the same
        configuration are the same version.
        """
        return model_registry.register(
            self._runs, sweep, model, lambda run: self._writer.log_values(run, scores)
        )

    @_guarded
    def model_folder(self, uri: str, into: Path) -> Path:
        """Folder of the registered model *uri*, ``models:/<name>/<version>`` or ``models:/<name>@<alias>``.

        On this disk, or brought to the folder *into*. InputError where there is no such model.
        """
        return model_registry.model_folder(self._runs, uri, into)

    @_guarded
    def read_test(self, sweep: str, readings: Sequence[Reading]) -> dict[str, int]:
        """Keep *readings* of the sweep's test files, and count all there were, by the file's SHA-256."""
        add_readings(self._runs, sweep, readings)
        files = {reading.sha256 for reading in readings}
        return {sha256: count_readings(self._runs, sweep, sha256) for sha256 in files}

    @_guarded
    def keep_model(self, sweep: str, key: str, folder: Path) -> None:
        """Log the trial's tuned model, the files in *folder*, as its run's ``model/`` artifact."""
        run = self.client.get_run(self._run_id(sweep, key))
        self._runs.artifacts.log_folder(run, folder, "model")

    @_guarded
    def exclude(self, sweep: str, record: TrialRecord, why: str) -> None:
        """Exclude a finished trial from the sweep's answers; see :mod:`tracker.store.exclusion`."""
        key = record.result.spec.key
        exclusion.set_excluded(self._runs, self._runs.sweep(sweep), key, record.number, why)

    @_guarded
    def include(self, sweep: str, record: TrialRecord) -> None:
        """Count an excluded trial again; InputError where it is not excluded."""
        exclusion.unset_excluded(self._runs, self._runs.sweep(sweep), record.result.spec.key)

    @_guarded
    def holdings(self, sweep: str, key: str | None = None) -> removal.Holdings:
        """What the store holds of *sweep*, or of its trial *key*."""
        if key is not None:
            return removal.of_trial(self._runs, sweep, key)
        return removal.of_sweep(self._runs, sweep)

    @_guarded
    def remove(self, stored: removal.Holdings) -> None:
        """Delete the runs, their artifacts and cached results; registered models stay."""
        removal.remove(self._runs, stored, self.workspace / "cache")
        self._forget()

    @_guarded
    def garbage(self) -> tuple[list[Path], list[Path]]:
        """Artifacts of deleted runs, and cached results of sweeps that are gone."""
        stale = removal.stale_caches(self._runs, self.workspace)
        return list(removal.artifacts_of_deleted(self._runs)), list(stale)

    @_guarded
    def add_request(self, sweep: str, request: Request) -> None:
        """Keep *request* for the sweep's driver. InputError where the sweep cannot do it now."""
        parent = self._runs.sweep(sweep)
        self._writer.set_tags(parent, request_tag(request, parent))

    @_guarded
    def add_answer(self, sweep: str, answer: ControlReply) -> None:
        """Keep the driver's answer to a request."""
        self._writer.set_tags(self._runs.sweep(sweep), answer_tag(answer))

    # -- reading ---------------------------------------------------------------------------------

    def requests(self, sweep: str) -> list[Request]:
        """Requests to the sweep that have no answer yet, the earliest first."""
        return [record.request for record in self.control_log(sweep) if record.answer is None]

    @_guarded
    def control_log(self, sweep: str) -> list[ControlRecord]:
        """All requests to the sweep, the earliest first, with their answers."""
        return control_records(self._runs.sweep(sweep))

    @_guarded
    def sweeps(self) -> list[SweepInfo]:
        """All sweeps, in the order in which they began."""
        infos = []
        parents = self._runs.sweeps()
        counts = self._ended.counts(parents.values())
        for name, parent in parents.items():
            of_sweep = counts[parent.info.run_id]
            if is_live(parent):
                of_sweep["running"] = len(self._runs.running(parent.info.run_id))
            infos.append(sweep_info(name, parent, of_sweep))
        return infos

    @_guarded
    def spec_text(self, sweep: str) -> str:
        """Text of the sweep file."""
        return self._runs.text(self._runs.sweep(sweep), "sweep.yaml")

    @_guarded
    def objective(self, sweep: str) -> Objective:
        """Objective of the sweep, resolved."""
        return self._question(sweep).objective

    @_guarded
    def notes(self, sweep: str) -> tuple[str, ...]:
        """Notes that the sweep's answers repeat, a sentence each."""
        return self._question(sweep).notes

    @_guarded
    def data_profile(self, sweep: str) -> DataProfile | None:
        """Profile of the sweep's data; ``None`` where it was not kept."""
        return read_profile(self._runs, sweep)

    @_guarded
    def finished_runs(self, experiment: str) -> list[FinishedRun]:
        """Finished runs of another experiment of this server; InputError where it does not exist."""
        return finished_runs(self._runs, experiment)

    @_guarded
    def records(self, sweep: str) -> list[TrialRecord]:
        """Records of all finished trials that count, by number; deleted runs are gone."""
        return self._split(sweep)[0]

    @_guarded
    def excluded(self, sweep: str) -> list[TrialRecord]:
        """Records of the finished trials that were excluded, by number; each says why."""
        return self._split(sweep)[1]

    @_guarded
    def exclusions(self, sweep: str) -> dict[str, exclusion.Excluded]:
        """Exclusions of the sweep by the trial's key, without reading a result."""
        return exclusion.excluded_of_tags(self._runs.sweep(sweep).data.tags)

    def _split(self, sweep: str) -> tuple[list[TrialRecord], list[TrialRecord]]:
        parent = self._runs.sweep(sweep)
        return exclusion.split(self._ended.records(parent.info.run_id), parent.data.tags)

    @_guarded
    def running(self, sweep: str) -> list[LiveTrial]:
        """Running trials, by number."""
        runs = self._runs.running(self._runs.sweep(sweep).info.run_id)
        return sorted((self._runs.live(run) for run in runs), key=lambda trial: trial.number)

    @_guarded
    def history(self, sweep: str, key: str) -> list[Step]:
        """Steps of the trial as logged, in order; values are named ``train/…``."""
        return self._runs.history(self._run_id(sweep, key))

    @_guarded
    def examples(self, sweep: str, key: str) -> tuple[TaskExamples, ...]:
        """Worst answers of the trial per task, as far as they were kept."""
        return read_examples(self._runs, self._run_id(sweep, key))

    @_guarded
    def run_url_parts(self, sweep: str, key: str) -> tuple[str, str]:
        """Experiment id and run id: ``<mlflow ui>/#/experiments/<first>/runs/<second>``."""
        return self._runs.experiment_id, self._run_id(sweep, key)

    # -- one step each ---------------------------------------------------------------------------

    def _run_id(self, sweep: str, key: str) -> str:
        known = self._run_ids.get((sweep, key))  # another thread may forget it any time
        if known is None:
            run = self._runs.trial(self._runs.sweep(sweep).info.run_id, key)
            if run is None:
                raise RefusedError(f"sweep {sweep!r} holds no trial {key}; see `sft-select status`")
            known = self._run_ids[sweep, key] = run.info.run_id
        return known

    def _begin(
        self,
        sweep: str,
        number: int,
        stage: str,
        spec: TrialSpec,
        stale: Callable[[Run], bool],
    ) -> Run:
        """The trial's run, opened unless it has ended; an ended one that is *stale* is replaced."""
        run = self._writer.begin_trial(self._runs.sweep(sweep), number, stage, spec, stale)
        self._run_ids[sweep, spec.key] = run.info.run_id
        return run

    def _weighed_by(self, sweep: str) -> Objective | None:
        """Objective by which the quality of the sweep's trials is logged; ``None`` where it kept none."""
        if sweep not in self._objectives:
            try:
                self._objectives[sweep] = self._question(sweep).objective
            except StoreError:  # of a version that kept none, or of a later one
                self._objectives[sweep] = None
        return self._objectives[sweep]

    def _question(self, sweep: str) -> Question:
        """Read objective and notes; StoreError where the version that began the sweep kept none."""
        run = self._runs.sweep(sweep)
        if _OBJECTIVE not in run.data.tags:
            raise StoreError(
                f"sweep {sweep!r} was begun by a version that did not keep its objective; run its file "
                "again with `sft-select run`: nothing that has ended is run twice"
            )
        try:
            return Question.model_validate_json(self._runs.text(run, _QUESTION))
        except ValidationError as error:
            raise StoreError(
                f"{_QUESTION} of sweep {sweep!r} does not fit this version ({error.error_count()} "
                "problems); read it with the version that wrote it, or run the sweep's file again"
            ) from error

    def _forget(self) -> None:
        # New ones: another thread may be in the middle of a call with the old ones.
        self._run_ids, self._sent_points, self._objectives = {}, {}, {}
        self._writer.forget()
