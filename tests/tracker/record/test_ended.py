"""What the database says of ended trials, against what MLflow's client says; on a real store."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tracker.errors import StoreError
from tracker.record.bulk_rows import database_file
from tracker.record.ended import ended
from tracker.record.store import Store
from tracker.record.trial import Objective, TrialRecord


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


def test_a_database_that_is_gone_is_said_in_one_line_and_not_made_anew(store: Store) -> None:
    gone = store.workspace / "gone.db"
    with pytest.raises(StoreError, match=r"gone.db: .*see that it is reachable"):
        ended(store._runs, gone, "any")
    assert not gone.exists()
