"""Writing twice, and dying in between: every write may be repeated and ends in the same state."""

import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.tracker.record.stores import (
    DATASETS,
    OBJECTIVE,
    STEPS,
    Dying,
    Records,
    Specs,
    begin,
    client_survives,
    reopened,
)
from tracker.errors import StoreError
from tracker.record.journal import Step
from tracker.record.store import Store


def test_a_step_is_logged_once_however_often_it_is_delivered(
    store: Store, make_spec: Specs
) -> None:
    begin(store)
    spec = make_spec()
    store.begin_trial("support", 0, "design", spec)
    store.log_steps("support", spec.key, STEPS[:2])
    again = [step._replace(time_ms=step.time_ms + 60_000) for step in STEPS]  # a resumed attempt
    for writer in (store, reopened(store)):
        writer.log_steps("support", spec.key, again)
    assert store.history("support", spec.key) == [*STEPS[:2], again[2]]


def test_more_points_than_one_batch_holds(store: Store, make_spec: Specs) -> None:
    begin(store)
    spec = make_spec()
    store.begin_trial("support", 0, "design", spec)
    steps = [Step(n, n + 1, {"train/loss": float(n), "train/rate": 0.5}) for n in range(1_100)]
    store.log_steps("support", spec.key, steps)
    assert store.history("support", spec.key) == steps


def test_a_changed_sweep_file_is_refused(store: Store) -> None:
    begin(store)
    with pytest.raises(StoreError, match="begun with a file of digest aaaaaaaaaaaa, this one has"):
        store.begin_sweep(
            "support",
            spec_text="x",
            spec_digest="b" * 64,
            planned=1,
            datasets=DATASETS,
            objective=OBJECTIVE,
        )
    assert store.spec_text("support") == "name: support\n"


def test_a_sweep_gone_on_with_is_running_again(store: Store) -> None:
    begin(store)
    store.set_sweep_state("support", "interrupted")
    assert store.sweeps()[0].state == "interrupted"
    begin(store, planned=None)
    (info,) = store.sweeps()
    assert (info.state, info.ended_at, info.planned) == ("running", None, None)


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
        dying = Store(client, store._runs.experiment_id, workspace, "sqlite")
        if client_survives(dying, write):
            assert n > 15
            return
        write(dying if n % 2 else store)  # the same process goes on, or another one
        assert state_of(store) == expected, f"after dying at write {n}"


def test_a_run_created_twice_is_one_again(store: Store, make_record: Records) -> None:
    begin(store)
    record = make_record(0)
    store.end_trial("support", record, None)
    run = store.client.get_run(store.run_url_parts("support", record.result.spec.key)[1])
    store.client.create_run(run.info.experiment_id, tags=run.data.tags, start_time=1)
    store.end_trial("support", record, None)
    assert store.records("support") == [record]
    assert store.running("support") == []
