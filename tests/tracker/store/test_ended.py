"""What the database says of ended trials, against what MLflow's client says; on a real store."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tracker.errors import StoreError
from tracker.store.bulk_rows import database_file
from tracker.store.ended import ended
from tracker.store.ended_trials import EndedTrials
from tracker.store.store import Store
from tracker.trial import Objective, TrialRecord


@pytest.fixture
def store(tmp_path: Path, make_record: Callable[..., TrialRecord]) -> Store:
    """Two sweeps; of one, a trial runs, one was deleted, and one was closed by hand."""
    store = Store.open(tmp_path / "work space")
    for name in ("support", "other"):
        store.begin_sweep(
            name,
            spec_text=f"name: {name}\n",
            spec_digest="a" * 64,
            planned=8,
            datasets=[],
            objective=Objective(weights={"intent": 1.0}),
        )
        store.end_trials(name, [make_record(number, seed=number) for number in range(4)])
    for number in (4, 5):
        store.begin_trial("support", number, "design", make_record(number, seed=number).result.spec)
    _, gone = store.run_url_parts("support", make_record(1, seed=1).result.spec.key)
    store.client.delete_run(gone)
    _, closed = store.run_url_parts("support", make_record(5, seed=5).result.spec.key)
    store.client.set_terminated(closed)
    return store


@pytest.mark.parametrize("deleted", [False, True])
def test_the_database_says_what_the_client_says(store: Store, deleted: bool) -> None:
    runs, database = store._runs, database_file(store._uri)
    assert database is not None
    parent = runs.sweep("support").info.run_id
    theirs = sorted(ended(runs, None, parent, deleted=deleted))
    assert sorted(ended(runs, database, parent, deleted=deleted)) == theirs
    assert len(theirs) == (1 if deleted else 4)
    newest = max(run.end_ms for run in theirs)
    for since in (newest - 1, newest):
        found = ended(runs, database, parent, since, deleted=deleted)
        assert sorted(found) == sorted(ended(runs, None, parent, since, deleted=deleted))


@pytest.mark.parametrize("at_hand", [True, False])
def test_what_ended_is_counted_as_what_is_read(store: Store, at_hand: bool) -> None:
    """A file at hand is asked for all sweeps at once, a server for one after the other."""
    store.set_sweep_state("other", "finished")
    database = database_file(store._uri) if at_hand else None
    trials = EndedTrials(store._runs, store.workspace / "copies", database)
    parents = store._runs.sweeps().values()
    found = trials.counts(parents)
    assert found == {
        run.info.run_id: Counter(
            each.result.status.value for each in trials.records(run.info.run_id)
        )
        for run in parents
    }
    assert sorted(counts.total() for counts in found.values()) == [3, 4]


def test_a_run_deleted_from_a_sweep_at_rest_is_not_counted_on(
    store: Store, make_record: Callable[..., TrialRecord]
) -> None:
    store.set_sweep_state("other", "finished")
    assert store.sweeps()[1].counts == {"complete": 4}
    _, gone = store.run_url_parts("other", make_record(1, seed=1).result.spec.key)
    store.client.delete_run(gone)
    assert store.sweeps()[1].counts == {"complete": 3}


@pytest.mark.parametrize("at_hand", [True, False])
def test_a_restored_run_is_read_again(
    store: Store, make_record: Callable[..., TrialRecord], at_hand: bool
) -> None:
    store.set_sweep_state("support", "finished")
    database = database_file(store._uri) if at_hand else None
    trials = EndedTrials(store._runs, store.workspace / "copies", database)
    parents = store._runs.sweeps()
    parent = parents["support"].info.run_id
    assert trials.counts(parents.values())[parent].total() == len(trials.records(parent)) == 3
    (gone,) = ended(store._runs, None, parent, deleted=True)
    store.client.restore_run(gone.run_id)
    trials._at_rest.clear()  # a minute passes
    assert trials.counts(parents.values())[parent].total() == len(trials.records(parent)) == 4


@pytest.mark.parametrize(
    ("tag", "text", "problem"),
    [
        ("sft.number", "x", "its tag sft.number is 'x'; allowed: a whole number"),
        ("sft.stage", None, "its tag sft.stage is missing"),
    ],
)
def test_a_tag_changed_by_hand_is_named(
    store: Store, make_record: Callable[..., TrialRecord], tag: str, text: str | None, problem: str
) -> None:
    _, run_id = store.run_url_parts("other", make_record(2, seed=2).result.spec.key)
    if text is None:
        store.client.delete_tag(run_id, tag)
    else:
        store.client.set_tag(run_id, tag, text)
    with pytest.raises(StoreError, match=rf"run {run_id}: {problem}"):
        store.records("other")


def test_looking_deletes_nothing(store: Store, make_record: Callable[..., TrialRecord]) -> None:
    record = make_record(4, seed=4)
    parent = store._runs.sweep("support").info.run_id
    twin = store._runs.trial(parent, record.result.spec.key)
    tags = {
        name: text for name, text in twin.data.tags.items() if not name.startswith("mlflow.user")
    }
    store.client.create_run(twin.info.experiment_id, tags=tags)
    reader = Store.open(store.workspace)
    reader.history("support", record.result.spec.key)
    assert len(store._runs._copies(parent, record.result.spec.key)) == 2
    store.end_trial("support", record)
    assert len(reader._runs._copies(parent, record.result.spec.key)) == 1


def test_few_sweeps_are_held_however_many_are_read(store: Store) -> None:
    trials = EndedTrials(store._runs, store.workspace / "copies", database_file(store._uri))
    parent = store._runs.sweep("other").info.run_id
    before = trials.records(parent)
    for name in map(str, range(20)):
        assert trials.records(name) == []
    assert len(trials._snapshots) < 10
    assert trials.records(parent) == before


def test_a_database_that_is_gone_is_said_in_one_line_and_not_made_anew(store: Store) -> None:
    gone = store.workspace / "gone.db"
    with pytest.raises(StoreError, match=r"gone.db: .*see that it is reachable"):
        ended(store._runs, gone, "any")
    assert not gone.exists()
