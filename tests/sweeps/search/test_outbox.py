"""The outbox: items wait in order for a store that is down, none is lost, and training never waits."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from sweeps.search import outbox as outbox_module
from sweeps.search.outbox import Outbox
from sweeps.search.workspace import SweepFolder
from tests.factories import trial_record, trial_result, trial_spec
from tests.sweeps.search.formula import answered
from tracker.errors import RefusedError, StoreError
from tracker.store.control import ControlReply, Request, new_request
from tracker.store.journal import Journal
from tracker.store.runs import Undelivered
from tracker.store.store import Store, SweepState
from tracker.trial import Objective, Status, TrialRecord


class Flaky:
    """A real store behind a line that is dead for the first *failures* calls."""

    def __init__(self, store: Store, failures: int) -> None:
        self.store, self.left = store, failures

    def __getattr__(self, name: str):  # type: ignore[no-untyped-def]
        method = getattr(self.store, name)

        def call(*args, **kwargs):  # type: ignore[no-untyped-def]
            if self.left > 0:
                self.left -= 1
                raise StoreError("the line is dead")
            return method(*args, **kwargs)

        return call


@pytest.fixture
def store(tmp_path: Path) -> Store:
    opened = Store.open(tmp_path / "runs")
    opened.begin_sweep(
        "tiny",
        spec_text="",
        spec_digest="0",
        planned=2,
        datasets=[],
        objective=Objective(weights={"intent": 1.0}),
    )
    return opened


def records(count: int) -> list[TrialRecord]:
    specs = [trial_spec("m", "none", seed=seed) for seed in range(count)]
    return [trial_record(answered(spec), i, "cover") for i, spec in enumerate(specs)]


def test_a_store_that_comes_back_gets_everything(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_FIRST_PAUSE_SECONDS", 0.01)
    folder = SweepFolder(tmp_path / "runs", "tiny")
    outbox = Outbox(Flaky(store, failures=4), "tiny", folder)  # type: ignore[arg-type]
    begun = time.monotonic()
    ended = records(2)
    for record in ended:
        outbox.begin(record.number, record.stage, record.result.spec)
        outbox.end(record)
    assert time.monotonic() - begun < 0.5, "the caller does not wait"
    assert outbox.close(patience_seconds=60) == ()
    assert outbox.problem is None
    assert store.records("tiny") == ended


def test_what_is_unsent_is_named(store: Store, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "runs", "tiny")
    outbox = Outbox(Flaky(store, failures=99), "tiny", folder)  # type: ignore[arg-type]
    for record in records(3):
        outbox.end(record)
    unsent = outbox.close(patience_seconds=0.2)
    assert unsent == tuple(Undelivered(f"trial {n}", "the line is dead") for n in range(3))
    assert outbox.problem == "the line is dead"


REFUSALS = {
    "a refusal": RefusedError("this value is too long"),
    "another error": ValueError("a metric that\nno store takes"),
    "an integrity error": StoreError("UNIQUE constraint failed"),
}


@pytest.mark.parametrize("error", REFUSALS.values(), ids=REFUSALS.keys())
def test_an_item_that_the_store_refuses_alone_blocks_no_other(
    error: Exception, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_FIRST_PAUSE_SECONDS", 0.01)
    folder = SweepFolder(tmp_path / "runs", "tiny")
    send_trial, refusals = Store.send_trial, 0

    def refuse_the_first(self: Store, sweep: str, record: TrialRecord, *more: Any) -> None:
        nonlocal refusals
        if record.number == 0 and refusals < 99:
            refusals += 1
            raise error
        send_trial(self, sweep, record, *more)

    monkeypatch.setattr(Store, "send_trial", refuse_the_first)
    outbox = Outbox(store, "tiny", folder)
    outbox.state("running")
    ended = records(3)
    for record in ended:
        outbox.begin(record.number, record.stage, record.result.spec)
        outbox.end(record)
    outbox.state("finished")
    (left,) = outbox.close(patience_seconds=60)
    assert left.what == "trial 0"
    assert left.why.endswith(" ".join(str(error).split()))
    assert outbox.stored() == {each.result.spec.key: each.result for each in ended[1:]}
    (info,) = store.sweeps()
    assert (info.state, info.undelivered) == ("finished", [left]), "a reader of the store knows"
    assert store.running("tiny") == []
    assert refusals <= 6, "tried a few times, and once more at the end"

    refusals = 99  # the next start finds that the store takes it now
    again = Outbox(store, "tiny", folder)
    again.state("running")
    again.end(ended[0])
    again.state("finished")
    assert again.close(patience_seconds=60) == ()
    assert again.stored() == {each.result.spec.key: each.result for each in ended}
    assert store.sweeps()[0].undelivered == []


def test_a_run_that_somebody_deletes_is_made_anew(store: Store, tmp_path: Path) -> None:
    folder, (record,) = SweepFolder(tmp_path / "runs", "tiny"), records(1)
    key = record.result.spec.key
    outbox = Outbox(store, "tiny", folder)
    outbox.begin(0, "cover", record.result.spec)
    until = time.monotonic() + 60
    while not store.running("tiny") and time.monotonic() < until:
        time.sleep(0.01)
    store.client.delete_run(store.run_url_parts("tiny", key)[1])
    outbox.progress(0, key)
    outbox.end(record)
    assert outbox.close(patience_seconds=60) == ()
    assert store.records("tiny") == [record]


def test_a_deleted_sweep_is_named_at_once(store: Store, tmp_path: Path) -> None:
    outbox = Outbox(store, "tiny", SweepFolder(tmp_path / "runs", "tiny"))
    store.client.delete_run(store._runs.sweep("tiny").info.run_id)
    outbox.end(records(1)[0])
    outbox.state("finished")
    begun = time.monotonic()
    unsent = outbox.close(patience_seconds=60)
    assert [each.what for each in unsent] == ["trial 0", "the sweep's state"]
    assert "of sweep 'tiny' was deleted" in unsent[0].why
    assert time.monotonic() - begun < 30


def test_what_a_retried_trial_measured_takes_the_place_of_its_failure(
    store: Store, tmp_path: Path
) -> None:
    folder, (record,) = SweepFolder(tmp_path / "runs", "tiny"), records(1)
    spec = record.result.spec
    failed = trial_record(trial_result(spec, Status.FAILED, reason="died"), 0, "cover")
    first = Outbox(store, "tiny", folder)
    first.begin(0, "cover", spec)
    with Journal(folder.journal(spec.key)) as journal:
        journal.append({"event": "step", "step": 1, "time_ms": 1, "values": {"loss": 9.0}})
    first.end(failed)
    assert first.close(patience_seconds=60) == ()
    assert store.records("tiny") == [failed]
    with Journal(folder.journal(spec.key)) as journal:
        journal.append({"event": "step", "step": 1, "time_ms": 2, "values": {"loss": 1.0}})
    again = Outbox(store, "tiny", folder)
    again.begin(0, "cover", spec)
    again.end(record)
    assert again.close(patience_seconds=60) == ()
    assert store.records("tiny") == [record]
    assert [step.values for step in store.history("tiny", spec.key)] == [{"train/loss": 1.0}]
    assert store.sweeps()[0].counts == {"complete": 1}


def test_a_failed_poll_for_requests_does_not_stop_the_outbox(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_POLL_EVERY_SECONDS", 0.05)
    outbox = Outbox(store, "tiny", SweepFolder(tmp_path / "runs", "tiny"))
    outbox.read_now()

    def broken(self: Store, sweep: str) -> list[Request]:
        raise KeyError(sweep)

    monkeypatch.setattr(Store, "requests", broken)
    until = time.monotonic() + 60
    while outbox.problem is None and time.monotonic() < until:
        time.sleep(0.01)
    outbox.end(records(1)[0])
    assert outbox.close(patience_seconds=60) == ()
    assert len(store.records("tiny")) == 1


def test_a_live_sweep_sends_a_heartbeat(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_POLL_EVERY_SECONDS", 0.05)
    monkeypatch.setattr(outbox_module, "_HEARTBEAT_EVERY_SECONDS", 0.2)
    states: list[tuple[str, dict[str, object]]] = []
    set_sweep_state = Store.set_sweep_state

    def recorded(self: Store, sweep: str, state: SweepState, **facts: object) -> None:
        states.append((state, facts))
        set_sweep_state(self, sweep, state, **facts)

    monkeypatch.setattr(Store, "set_sweep_state", recorded)
    begun = time.time()
    outbox = Outbox(store, "tiny", SweepFolder(tmp_path / "runs", "tiny"))
    time.sleep(0.5)
    assert states == [], "nobody has said that the sweep is live"
    outbox.state("paused", workers=2)
    until = time.monotonic() + 60
    while len(states) < 3 and time.monotonic() < until:
        time.sleep(0.05)
    assert [state for state, _ in states[:3]] == ["paused"] * 3
    info = store.sweeps()[0]
    assert info.facts["workers"] == "2"
    assert begun - 1 <= int(info.facts["seen_at"]) <= time.time() + 1
    outbox.state("stopped")
    assert outbox.close(patience_seconds=60) == ()
    assert states[-1] == ("stopped", {"undelivered": ""}), "and nothing after it"


def test_a_store_that_is_down_counts_as_empty(store: Store, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "runs", "tiny")
    outbox = Outbox(Flaky(store, failures=1), "tiny", folder)  # type: ignore[arg-type]
    assert outbox.stored() == {}
    (record,) = records(1)
    outbox.end(record)
    outbox.close(patience_seconds=60)
    assert outbox.stored() == {record.result.spec.key: record.result}


def test_requests_are_read_once_and_answers_are_sent(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_POLL_EVERY_SECONDS", 0.05)
    outbox = Outbox(store, "tiny", SweepFolder(tmp_path / "runs", "tiny"))
    first, second = new_request("pause"), new_request("resume")
    store.add_request("tiny", first)
    time.sleep(0.3)
    assert outbox.requests() == [], "nobody takes requests before the driver has begun"
    assert outbox.read_now() == [first]
    assert outbox.read_now() == [], "handed over once, whether answered yet or not"
    store.add_request("tiny", second)
    found: list[Request] = []
    until = time.monotonic() + 60
    while not found and time.monotonic() < until:
        found = outbox.requests()
    assert found == [second]
    outbox.state("paused", planned=7)
    outbox.answer(ControlReply(id=first.id, at=1.0, accepted=True, words="done"))
    assert outbox.close(patience_seconds=60) == ()
    assert store.requests("tiny") == [second]
    info = store.sweeps()[0]
    assert (info.state, info.planned) == ("paused", 7)


def test_a_store_that_is_down_gives_no_requests(store: Store, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "runs", "tiny")
    outbox = Outbox(Flaky(store, failures=1), "tiny", folder)  # type: ignore[arg-type]
    request = new_request("pause")
    store.add_request("tiny", request)
    assert outbox.read_now() == []
    assert outbox.problem == "the line is dead"
    assert outbox.read_now() == [request]
    outbox.close(patience_seconds=60)
