"""The outbox: items wait in order for a store that is down, none is lost, and training never waits."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sweeps.search import outbox as outbox_module
from sweeps.search.outbox import Outbox
from sweeps.search.workspace import SweepFolder
from tests.factories import trial_record, trial_spec
from tests.sweeps.search.formula import answered
from tracker.errors import StoreError
from tracker.store.control import ControlReply, Request, new_request
from tracker.store.store import Store, SweepState
from tracker.trial import Objective, TrialRecord


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
    assert outbox.close(patience_seconds=60) == 0
    assert outbox.problem is None
    assert store.records("tiny") == ended


def test_unsent_items_are_counted(store: Store, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "runs", "tiny")
    outbox = Outbox(Flaky(store, failures=99), "tiny", folder)  # type: ignore[arg-type]
    for record in records(3):
        outbox.end(record)
    assert outbox.close(patience_seconds=0.2) == 3
    assert outbox.problem == "the line is dead"


def test_an_item_that_fails_for_another_reason_is_set_aside_and_counted(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = SweepFolder(tmp_path / "runs", "tiny")
    end_trial = Store.end_trial

    def refuse_the_first(self: Store, sweep: str, record: TrialRecord, *more: Path | None) -> None:
        if record.number == 0:
            raise ValueError("a metric that\nno store takes")
        end_trial(self, sweep, record, *more)

    monkeypatch.setattr(Store, "end_trial", refuse_the_first)
    outbox = Outbox(store, "tiny", folder)
    ended = records(3)
    for record in ended:
        outbox.end(record)
    assert outbox.close(patience_seconds=60) == 1
    assert outbox.problem == "ValueError: a metric that no store takes"
    assert outbox.stored_keys() == {record.result.spec.key for record in ended[1:]}


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
    assert outbox.close(patience_seconds=60) == 0
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
    assert outbox.close(patience_seconds=60) == 0
    assert states[-1] == ("stopped", {}), "and nothing after it"


def test_a_store_that_is_down_counts_as_empty(store: Store, tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "runs", "tiny")
    outbox = Outbox(Flaky(store, failures=1), "tiny", folder)  # type: ignore[arg-type]
    assert outbox.stored_keys() == set()
    outbox.end(records(1)[0])
    outbox.close(patience_seconds=60)
    assert outbox.stored_keys() == {records(1)[0].result.spec.key}


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
    assert outbox.close(patience_seconds=60) == 0
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
