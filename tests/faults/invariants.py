"""What must hold of a sweep after any fault, I1 to I6 of the fault programme, as a list of violations.

I1 every planned trial has one terminal state; I2 none ran to its end twice, the budget is exact; I3 the store
holds every step once and as the journal has it; I4 the same command finishes with exit 0, and a kill loses no
more than what came after the last checkpoint; I5 the recommended file equals an uninterrupted run's, measured
times apart; I6 no open run, process, lock, temporary file or half-written folder is left.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage

from tracker.errors import NoRecommendationError
from tracker.store.journal import Journal
from tracker.store.store import Store
from tracker.strict_yaml import read

#: Names in a workspace that only a process at work may have.
TEMPORARY = ("*.lock", "*.lease", "driver.json", ".writing-*", "step-*", ".*", "*.tmp", "*-journal",
             "*-wal", "*-shm", "*.making", "*.half", "tmp*", "broken-*")  # fmt: skip


def violations(
    sweep: Path,
    workspace: Path,
    *,
    trials: int | None = None,
    study_uri: str | None = None,
    store_uri: str | None = None,
) -> list[str]:
    """All that I1 to I3 and I6 find wrong with a finished sweep; *trials*: its budget."""
    name = str(read(sweep).data["name"])
    root = workspace / name
    found = list(left_behind(workspace))
    states = study_states(study_uri or f"sqlite:///{root / 'study.db'}", name)
    if open_trials := [number for number, state in states if not state.is_finished()]:
        found.append(f"I1: trials {open_trials} have no terminal state")
    if trials is not None and len(states) != trials:
        found.append(f"I2: {len(states)} trials of a budget of {trials}")

    store = Store.open(workspace, store_uri)
    records = store.records(name)
    keys = [record.result.spec.key for record in records]
    journals = {path.stem for path in (root / "journal").glob("*.jsonl")}
    if len(set(keys)) != len(keys) or len(keys) != len(states):
        found.append(f"I2: {len(keys)} results of {len(set(keys))} keys, {len(states)} trials")
    if journals != set(keys):
        found.append(f"I2: journals and store differ in {sorted(journals ^ set(keys))}")
    for record in records:
        found += _of_trial(root, store, name, record.result)
    infos = [info for info in store.sweeps() if info.name == name]
    if [info.state for info in infos] != ["finished"]:
        found.append(f"I6: the sweep is {[info.state for info in infos]}")
    if store.running(name):
        found.append(f"I6: {len(store.running(name))} runs are still open")
    return found + _open_runs(workspace)


def left_behind(workspace: Path) -> Iterator[str]:
    """I6: every temporary name in the workspace, the folder of checkpoints included."""
    seen = {path for pattern in TEMPORARY for path in workspace.rglob(pattern)}
    yield from (f"I6: left behind: {path.relative_to(workspace)}" for path in sorted(seen))


def study_states(uri: str, name: str) -> list[tuple[int, optuna.trial.TrialState]]:
    """Number and state of every trial of the study."""
    storage = RDBStorage(uri)
    try:
        study = optuna.load_study(study_name=name, storage=storage)
        return [(trial.number, trial.state) for trial in study.get_trials(deepcopy=False)]
    finally:
        storage.engine.dispose()


def recommendation(sweep: Path, workspace: Path, store_uri: str | None = None) -> str:
    """I5: what ``recommend`` exports or says, and every trial's scores, less all that a clock measured."""
    from tracker.decision.analysis import Analysis
    from tracker.decision.recommend import recommend
    from tracker.export.config import config_of, write_config

    store, name = Store.open(workspace, store_uri), str(read(sweep).data["name"])
    records = store.records(name)
    analysis = Analysis(records, store.objective(name), sweep=name)
    results = sorted((record.result for record in records), key=lambda result: result.spec.key)
    scores = [
        [result.spec.key, result.final_train_loss, *(task.model_dump() for task in result.tasks)]
        for result in results
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "recommended.yaml"
        try:
            write_config(config_of(recommend(analysis), records), file)
            text = unmeasured(file.read_text(encoding="utf-8"))
        except NoRecommendationError as error:
            text = str(error)
    return text + json.dumps(scores, default=str)


def unmeasured(config: str) -> str:
    """The exported text above its measured times."""
    return config.partition("\nmeasured:")[0]


def lost_work(events: list[dict[str, Any]]) -> list[str]:
    """I4: resumptions before a checkpoint that the journal says was whole."""
    found, saved = [], 0
    for event in events:
        if event["event"] == "checkpoint":
            saved = int(event["step"])
        elif event["event"] == "resume":
            if event["step"] < saved:
                found.append(f"I4: resumed at step {event['step']} after a checkpoint at {saved}")
            saved = min(saved, int(event["step"]))
    return found


def _of_trial(root: Path, store: Store, sweep: str, result: Any) -> list[str]:
    key = result.spec.key
    journal = Journal(root / "journal" / f"{key}.jsonl")
    events = journal.events()
    counts = Counter(event["event"] for event in events)
    found = [f"{problem} ({key})" for problem in lost_work(events)]
    if counts["result"] != 1:
        found.append(f"I2: {key} ended {counts['result']} times")
    if result.status.value != "complete":
        found.append(f"I2: {key} is {result.status.value}: {result.reason}")
    logged = [(step.step, _plain(step.values)) for step in store.history(sweep, key)]
    written = [(step.step, _plain(step.values)) for step in journal.steps()]
    if logged != written:
        found.append(f"I3: {key} has {len(logged)} steps in the store, {len(written)} on disk")
    if journal.result() != result:
        found.append(f"I3: {key}: the store's result is not the journal's")
    return found


def _open_runs(workspace: Path) -> list[str]:
    """I6: MLflow's own view of its runs, those of no trial included."""
    import sqlite3

    file = workspace / "mlflow.db"
    if not file.exists():
        return []
    with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
        rows = database.execute("select status, count(*) from runs group by status").fetchall()
    database.close()
    return [f"I6: {n} runs are {status} in MLflow" for status, n in rows if status == "RUNNING"]


def _plain(values: dict[str, float]) -> str:
    return json.dumps(dict(sorted(values.items())))
