"""The local copy of what ended: read once, compared, and never trusted where it does not check out."""

import pytest

from tests.tracker.store.stores import (
    Records,
    begin,
    reopened,
)
from tracker.store.store import Store

# -- the snapshot --------------------------------------------------------------------------------


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


def test_a_damaged_snapshot_is_read_again(store: Store, make_record: Records) -> None:
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


def test_a_trial_delivered_late_is_not_missed(store: Store, make_record: Records) -> None:
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


def test_a_sweep_at_rest_is_counted_again_when_it_is_read(
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
