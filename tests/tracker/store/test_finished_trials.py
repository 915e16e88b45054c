"""Finished trials: the database says what MLflow's client says, the copy on disk, and what records share."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tracker.store.stores import Records, begin, reopened
from tracker.errors import StoreError
from tracker.store.finished_trials import FinishedTrials, closed_runs
from tracker.store.mlflow_names import digest_of
from tracker.store.store import Store
from tracker.store.tracking_uri import database_file
from tracker.trial import MethodSpec, Objective, TrialRecord


@pytest.fixture
def two_sweeps(tmp_path: Path, make_record: Callable[..., TrialRecord]) -> Store:
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
def test_the_database_says_what_the_client_says(two_sweeps: Store, deleted: bool) -> None:
    runs, database = two_sweeps._runs, database_file(two_sweeps._uri)
    assert database is not None
    parent = runs.sweep("support").info.run_id
    theirs = sorted(closed_runs(runs, None, parent, deleted=deleted))
    assert sorted(closed_runs(runs, database, parent, deleted=deleted)) == theirs
    assert len(theirs) == (1 if deleted else 4)
    newest = max(run.end_ms for run in theirs)
    for since in (newest - 1, newest):
        found = closed_runs(runs, database, parent, since, deleted=deleted)
        assert sorted(found) == sorted(closed_runs(runs, None, parent, since, deleted=deleted))


@pytest.mark.parametrize("at_hand", [True, False])
def test_as_many_trials_are_counted_as_are_read(two_sweeps: Store, at_hand: bool) -> None:
    """A file at hand is queried for all sweeps at once, a server for one after the other."""
    two_sweeps.set_sweep_state("other", "finished")
    database = database_file(two_sweeps._uri) if at_hand else None
    trials = FinishedTrials(two_sweeps._runs, two_sweeps.workspace / "copies", database)
    parents = two_sweeps._runs.sweeps().values()
    found = trials.counts(parents)
    assert found == {
        run.info.run_id: Counter(
            each.result.status.value for each in trials.records(run.info.run_id)
        )
        for run in parents
    }
    assert sorted(counts.total() for counts in found.values()) == [3, 4]


def test_a_run_deleted_from_a_sweep_without_a_driver_is_not_counted_on(
    two_sweeps: Store, make_record: Callable[..., TrialRecord]
) -> None:
    two_sweeps.set_sweep_state("other", "finished")
    assert two_sweeps.sweeps()[1].counts == {"complete": 4}
    _, gone = two_sweeps.run_url_parts("other", make_record(1, seed=1).result.spec.key)
    two_sweeps.client.delete_run(gone)
    assert two_sweeps.sweeps()[1].counts == {"complete": 3}


@pytest.mark.parametrize("at_hand", [True, False])
def test_a_restored_run_is_read_again(
    two_sweeps: Store, make_record: Callable[..., TrialRecord], at_hand: bool
) -> None:
    two_sweeps.set_sweep_state("support", "finished")
    database = database_file(two_sweeps._uri) if at_hand else None
    trials = FinishedTrials(two_sweeps._runs, two_sweeps.workspace / "copies", database)
    parents = two_sweeps._runs.sweeps()
    parent = parents["support"].info.run_id
    assert trials.counts(parents.values())[parent].total() == len(trials.records(parent)) == 3
    (gone,) = closed_runs(two_sweeps._runs, None, parent, deleted=True)
    two_sweeps.client.restore_run(gone.run_id)
    trials._counts.clear()  # a minute passes
    assert trials.counts(parents.values())[parent].total() == len(trials.records(parent)) == 4


@pytest.mark.parametrize(
    ("tag", "text", "problem"),
    [
        ("sft.number", "x", "its tag sft.number is 'x'; allowed: a whole number"),
        ("sft.stage", None, "its tag sft.stage is missing"),
    ],
)
def test_a_tag_changed_by_hand_is_named(
    two_sweeps: Store,
    make_record: Callable[..., TrialRecord],
    tag: str,
    text: str | None,
    problem: str,
) -> None:
    _, run_id = two_sweeps.run_url_parts("other", make_record(2, seed=2).result.spec.key)
    if text is None:
        two_sweeps.client.delete_tag(run_id, tag)
    else:
        two_sweeps.client.set_tag(run_id, tag, text)
    with pytest.raises(StoreError, match=rf"run {run_id}: {problem}"):
        two_sweeps.records("other")


def test_reading_deletes_nothing(
    two_sweeps: Store, make_record: Callable[..., TrialRecord]
) -> None:
    record = make_record(4, seed=4)
    parent = two_sweeps._runs.sweep("support").info.run_id
    twin = two_sweeps._runs.trial(parent, record.result.spec.key)
    tags = {
        name: text for name, text in twin.data.tags.items() if not name.startswith("mlflow.user")
    }
    two_sweeps.client.create_run(twin.info.experiment_id, tags=tags)
    reader = Store.open(two_sweeps.workspace)
    reader.history("support", record.result.spec.key)
    assert len(two_sweeps._runs._copies(parent, record.result.spec.key)) == 2
    two_sweeps.end_trial("support", record)
    assert len(reader._runs._copies(parent, record.result.spec.key)) == 1


def test_few_sweeps_are_kept_in_memory_however_many_are_read(two_sweeps: Store) -> None:
    trials = FinishedTrials(
        two_sweeps._runs, two_sweeps.workspace / "copies", database_file(two_sweeps._uri)
    )
    parent = two_sweeps._runs.sweep("other").info.run_id
    before = trials.records(parent)
    for name in map(str, range(20)):
        assert trials.records(name) == []
    assert len(trials._caches) < 10
    assert trials.records(parent) == before


def test_a_database_that_is_gone_is_said_in_one_line_and_not_made_anew(two_sweeps: Store) -> None:
    gone = two_sweeps.workspace / "gone.db"
    with pytest.raises(StoreError, match=r"gone.db: .*see that it is reachable"):
        closed_runs(two_sweeps._runs, gone, "any")
    assert not gone.exists()


# -- the copy on disk ------------------------------------------------------------------------------


def count_reads(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The run ids whose result.json is read from now on."""
    reads: list[str] = []
    text_at = store._runs.text_at

    def counted(run_id: str, artifact_uri: str, name: str) -> str:
        reads.append(run_id)
        return text_at(run_id, artifact_uri, name)

    monkeypatch.setattr(store._runs, "text_at", counted)
    return reads


def test_a_second_reading_reads_only_what_ended_since(
    store: Store, make_record: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(store)
    first, second = make_record(0, seed=0), make_record(1, seed=1)
    store.end_trial("support", first, None)
    assert store.records("support") == [first]
    store.end_trial("support", second, None)
    other = reopened(store)
    for reader in (store, other):
        reads = count_reads(reader, monkeypatch)
        assert reader.records("support") == [first, second]
        assert len(reads) == (1 if reader is store else 0)  # the other found both on disk


def test_deleted_runs_vanish_and_restored_ones_return(store: Store, make_record: Records) -> None:
    begin(store)
    first, second = make_record(0, seed=0), make_record(1, seed=1)
    for record in (first, second):
        store.end_trial("support", record, None)
    assert store.records("support") == [first, second]
    _, run_id = store.run_url_parts("support", first.result.spec.key)
    store.client.delete_run(run_id)
    assert store.records("support") == [second]
    assert reopened(store).records("support") == [second]
    store.client.restore_run(run_id)
    assert reopened(store).records("support") == [first, second]


def test_a_damaged_cache_is_read_again(store: Store, make_record: Records) -> None:
    begin(store)
    record = make_record(0)
    store.end_trial("support", record, None)
    assert store.records("support") == [record]
    parent_id = store._runs.sweep("support").info.run_id
    file = store.workspace / "cache" / f"{parent_id}.jsonl"
    whole = file.read_bytes()
    for damage in (b"", b"{\n", whole[:-20], whole.replace(b"0.75", b"0.99")):
        file.write_bytes(damage)
        assert reopened(store).records("support") == [record]


def test_a_trial_sent_late_is_not_missed(store: Store, make_record: Records) -> None:
    begin(store)
    first, late = make_record(0, seed=0), make_record(1, seed=1)
    store.begin_trial("support", 1, "design", late.result.spec)
    store.end_trial("support", first, None)
    assert len(store.records("support")) == 1
    reader = reopened(store)
    assert len(reader.records("support")) == 1
    store.end_trial("support", late, None)  # its ended_at lies years back
    assert reader.records("support") == [first, late]


def test_a_run_closed_by_hand_is_no_result_until_it_has_one(
    store: Store, make_record: Records
) -> None:
    begin(store)
    record = make_record(0)
    store.begin_trial("support", 0, "design", record.result.spec)
    run_id = store.run_url_parts("support", record.result.spec.key)[1]
    store.client.set_terminated(run_id, "KILLED")
    assert store.records("support") == []
    store.end_trial("support", record)
    assert store.records("support") == [record]
    assert store.client.get_run(run_id).info.status == "FINISHED"


def test_a_sweep_without_a_driver_is_counted_again_when_it_is_read(
    store: Store, make_record: Records
) -> None:
    begin(store)
    records = [make_record(n, seed=n) for n in range(2)]
    store.end_trial("support", records[0])
    store.set_sweep_state("support", "interrupted")
    assert store.sweeps()[0].counts == {"complete": 1}
    store.end_trial("support", records[1])
    assert store.records("support") == records
    assert store.sweeps()[0].counts == {"complete": 2}


def test_more_trials_than_a_page(
    store: Store, make_record: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracker.store.runs._PAGE", 2)
    begin(store)
    records = [make_record(n, seed=n) for n in range(5)]
    for record in records:
        store.end_trial("support", record, None)
    assert store.records("support") == records


# -- what records share --------------------------------------------------------------------------


def test_records_share_their_equal_parts_and_say_what_they_said(
    store: Store, make_record: Records
) -> None:
    begin(store)
    written = [make_record(n, seed=n) for n in range(2)]
    other = written[1].model_copy(
        update={"number": 2, "result": make_record(2, method=MethodSpec(name="full")).result}
    )
    store.end_trials("support", [*written, other])
    one, two, third = reopened(store).records("support")
    assert [one, two, third] == [*written, other]
    assert one.model_dump_json() == written[0].model_dump_json()
    assert one.result.spec.key == written[0].result.spec.key
    for name in ("model", "method", "mix", "tasks", "general", "train", "evaluation", "examples"):
        assert getattr(one.result.spec, name) is getattr(two.result.spec, name)
    assert third.result.spec.method == MethodSpec(name="full")
    assert third.result.spec.tasks is one.result.spec.tasks
    fields = [record.result.tasks[0].__pydantic_fields_set__ for record in (one, two)]
    assert fields[0] is fields[1]
    assert one.model_copy().__pydantic_fields_set__ is not one.__pydantic_fields_set__


def test_what_is_empty_stays_of_its_kind(store: Store, make_record: Records) -> None:
    """As of an outside trial: no tasks, no suites, no split of its examples."""
    begin(store)
    records = [make_record(n, seed=n, tasks=(), general=(), examples={}) for n in range(2)]
    store.end_trials("support", records)
    found = reopened(store).records("support")
    assert found == records
    for record in found:
        assert record.result.environment == record.result.spec.examples == {}
        assert record.result.spec.tasks == record.result.spec.general == ()


def test_what_an_older_version_did_not_write_stays_not_given(
    store: Store, make_record: Records
) -> None:
    """Two equal scores, one of them of before ``valid_format`` was measured."""
    begin(store)
    records = [make_record(n, seed=n) for n in range(2)]
    store.end_trials("support", records)
    parent = store._runs.sweep("support").info.run_id
    run = store._runs.trial(parent, records[0].result.spec.key)
    text = store._runs.text(run, "result.json").replace('"valid_format":null,', "")
    store.client.log_text(run.info.run_id, text, "result.json")
    store.client.set_tag(run.info.run_id, "sft.result", digest_of(text))
    older, newer = reopened(store).records("support")
    assert [older, newer] == records
    given = [record.result.tasks[0].model_fields_set for record in (older, newer)]
    assert given[1] - given[0] == {"valid_format"}


@pytest.mark.parametrize("harm", [b"", b"\xff\xfe", b'{"a": 1}', None])
def test_a_result_that_was_harmed_is_named_and_written_anew(
    harm: bytes | None, store: Store, make_record: Records
) -> None:
    begin(store)
    record = make_record(0)
    store.end_trial("support", record)
    run = store._runs.trial(store._runs.sweep("support").info.run_id, record.result.spec.key)
    folder = store._runs.artifacts.folder(run.info.artifact_uri)
    assert folder is not None
    file = folder / "result.json"
    whole = file.read_bytes()
    if harm is None:  # still one that fits, with another score
        file.write_bytes(whole.replace(b'"score":0.', b'"score":0.1', 1))
        assert file.read_bytes() != whole
    else:
        file.write_bytes(harm)
    with pytest.raises(StoreError, match=r"result\.json.*run the sweep's command again") as said:
        reopened(store).records("support")
    assert "\n" not in str(said.value)
    again = reopened(store)
    again.end_trial("support", record)
    assert file.read_bytes() == whole
    assert again.records("support") == [record]
