"""Writer of runs in MLflow: a trial's run opened, its metrics, tags and inputs logged, runs closed.

Every write may be repeated. A client is passed with the runs, MLflow itself is imported late.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

from tracker.store import bulk_write, mlflow_names
from tracker.store.runs import LIVE, RUNNING, Metric, Run, Runs, is_ended
from tracker.task import FileRef
from tracker.trial import Status, TrialSpec

SweepState = Literal["running", "paused", "finished", "interrupted", "stopped"]

_SWEEP_ENDED = {"finished": "FINISHED", "stopped": "FINISHED", "interrupted": "KILLED"}
_METRICS_PER_BATCH = 500  # MLflow takes 1,000
_DIGEST_CHARACTERS = 36  # all that MLflow takes of an input's; spec.json holds the whole


class RunWriter:
    """Writer of the *runs* of one experiment; remembers which trials' runs it has begun."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._begun: set[str] = set()  # run ids

    def forget(self) -> None:
        """Forget which runs were begun: how far a call got that failed is unknown."""
        # A new one: another thread may be in the middle of a call with the old one.
        self._begun = set()

    def begin_trial(
        self,
        parent: Run,
        number: int,
        stage: str,
        spec: TrialSpec,
        stale: Callable[[Run], bool] = lambda _: False,
    ) -> Run:
        """The trial's run, opened unless it has ended; an ended one that is *stale* is replaced."""
        from mlflow.entities import Param

        run = self._runs.only_trial(parent.info.run_id, spec.key)
        if run is not None and is_ended(run):
            if not stale(run):
                return run
            self._runs.client.delete_run(run.info.run_id)
            run = None
        if run is not None and run.info.status != RUNNING:  # closed when its driver ended
            self._runs.client.update_run(run.info.run_id, status=RUNNING)
        elif run is not None and run.info.run_id in self._begun:
            return run
        if run is None:
            tags = bulk_write.trial_tags(parent, number, stage, spec) | {"sft.status": "running"}
            name, experiment_id = mlflow_names.run_name(spec), self._runs.experiment_id
            run = self._runs.client.create_run(experiment_id, tags=tags, run_name=name)
        parameters = [Param(name, value) for name, value in mlflow_names.parameters(spec).items()]
        self._runs.client.log_batch(run.info.run_id, params=parameters)
        self._runs.artifacts.log_text(run, spec.model_dump_json(indent=1), "spec.json")
        self.log_inputs(run.info.run_id, mlflow_names.input_files(spec))
        self._begun.add(run.info.run_id)
        return run

    def log_inputs(self, run_id: str, files: Iterable[tuple[FileRef, str]]) -> None:
        """Log *files*, each with its use, as MLflow's own inputs: its pages show them."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = []
        for file, context in files:
            source, profile = json.dumps({"uri": file.path}), json.dumps({"num_rows": file.rows})
            name, digest = mlflow_names.dataset_name(file), file.sha256[:_DIGEST_CHARACTERS]
            dataset = Dataset(name, digest, "local", source, profile=profile)
            inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context)]))
        self._runs.client.log_inputs(run_id, inputs)

    def close_running(self, parent: Run) -> None:
        """Close the runs of trials that nobody is at work on; one with its result ends as that says."""
        for run in self._runs.running(parent.info.run_id):
            status = "KILLED"
            if "sft.result" in run.data.tags:
                ended = Status(run.data.tags["sft.status"])
                status = bulk_write.RUN_STATUS.get(ended, "FAILED")
            self._runs.client.set_terminated(run.info.run_id, status)

    def set_tags(self, run: Run, tags: Mapping[str, object]) -> None:
        """Set *tags* of *run*, their values as text, in one request."""
        from mlflow.entities import RunTag

        run_tags = [RunTag(name, str(value)) for name, value in tags.items()]
        self._runs.client.log_batch(run.info.run_id, tags=run_tags)

    def set_state(self, parent: Run, state: SweepState, tags: Mapping[str, object]) -> None:
        """Set the sweep's *state* and *tags*, and the status of its run by that state."""
        self.set_tags(parent, {**tags, "sft.state": state})
        if state in LIVE:
            self._runs.client.update_run(parent.info.run_id, status=RUNNING)
        else:
            self._runs.client.set_terminated(parent.info.run_id, _SWEEP_ENDED[state])

    def log_values(
        self, run: Run, values: Mapping[str, float], measured_at: float | None = None
    ) -> None:
        """Log *values* as of *measured_at*, epoch seconds; without it, as of the run's start."""
        from mlflow.entities import Metric

        time_ms = run.info.start_time if measured_at is None else round(measured_at * 1000)
        metrics = [Metric(name, value, time_ms, 0) for name, value in values.items()]
        self.log_metrics(run.info.run_id, metrics)

    def log_metrics(self, run_id: str, metrics: Sequence[Metric]) -> None:
        """Log *metrics*, as many a request as MLflow takes."""
        for batch in bulk_write.batches(list(metrics), _METRICS_PER_BATCH):
            self._runs.client.log_batch(run_id, metrics=batch)
