"""Writing twice, and dying in between: every write may be repeated and ends in the same state."""

import itertools
from pathlib import Path
from typing import Any

from tests.tracker.store.stores import (
    STEPS,
    Dying,
    Records,
    begin,
    client_survives,
)
from tracker.store.model_registry import Model
from tracker.store.store import Store


def state_of(store: Store) -> dict[str, Any]:
    """Everything in the experiment, times apart; lists, so that doubles show."""
    runs = list(store._runs.search(""))
    names = {run.info.run_id: run.info.run_name for run in runs}
    return {
        "runs": sorted(
            (
                run.info.run_name,
                run.info.status,
                sorted((k, names.get(v, v)) for k, v in run.data.tags.items()),
                sorted(run.data.params.items()),
                sorted(
                    (m.key, m.step, m.timestamp, m.value)
                    for key in run.data.metrics
                    for m in store.client.get_metric_history(run.info.run_id, key)
                ),
                sorted((i.dataset.name, i.dataset.digest) for i in run.inputs.dataset_inputs),
                sorted(a.path for a in store.client.list_artifacts(run.info.run_id)),
            )
            for run in runs
        ),
        "records": store.records("support"),
    }


def test_dying_at_any_write_and_starting_over_ends_in_the_same_state(
    workspace: Path, make_record: Records, tmp_path: Path
) -> None:
    record = make_record(0)
    key = record.result.spec.key
    (tmp_path / "examples.jsonl").write_text("{}\n")

    def write(store: Store) -> None:
        begin(store)
        store.begin_trial("support", 0, "design", record.result.spec)
        store.log_steps("support", key, STEPS[:2])
        store.log_steps("support", key, STEPS)
        store.end_trial("support", record, tmp_path)
        store.set_sweep_state("support", "finished", best=key)

    whole = Store.open(workspace, project="not-dying")
    write(whole)
    expected = state_of(whole)
    assert len(expected["runs"]) == 2
    write(whole)
    assert state_of(whole) == expected, "twice is once"
    for n in itertools.count(1):
        store = Store.open(workspace, project=f"dying-{n}")
        client = Dying(store.client, n)
        dying = client.of(store)
        if client_survives(dying, write):
            assert n > 15
            return
        write(dying if n % 2 else store)  # the same process goes on, or another one
        assert state_of(store) == expected, f"after dying at write {n}"


def test_half_a_file_of_a_killed_worker_is_no_artifact(
    workspace: Path, make_record: Records, tmp_path: Path
) -> None:
    store, record = Store.open(workspace), make_record(0)
    for name in ("examples.jsonl", ".examples.jsonl.0123abcd.tmp"):
        (tmp_path / name).write_text("{}\n")
    begin(store)
    store.begin_trial("support", 0, "design", record.result.spec)
    store.end_trial("support", record, tmp_path)
    sent = {path.name for path in (workspace / "artifacts").rglob("*") if path.is_file()}
    assert "examples.jsonl" in sent
    assert not any(name.endswith(".tmp") for name in sent)


def test_registering_survives_dying_at_any_write(workspace: Path, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    for n in itertools.count(1):
        name = f"model-{n}"

        def register(store: Store, name: str = name) -> str:
            return store.register_model(
                None, Model(tmp_path, name, "best", "c: 1\n"), {"test/f1": 0.5}
            )

        store = Store.open(workspace, project=f"registering-{n}")
        client = Dying(store.client, n)
        dying = client.of(store)
        survived = client_survives(dying, register)
        assert register(store) == "1"
        assert len(store.client.search_model_versions(f"name = '{name}'")) == 1
        assert len(list(store._runs.search(""))) == 1
        if survived:
            assert n > 7
            return
