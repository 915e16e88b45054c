"""The snapshot over a store that fails on demand and counts how often it is read."""

import gc
import threading
import time
import weakref

import pandas as pd
import pytest

from dashboards.snapshot import MAX_SWEEPS, Patience, Snapshot
from tracker.errors import StoreError
from tracker.results import results_table
from tracker.store.control import ControlRecord, new_request
from tracker.store.store import SweepInfo
from tracker.trial import Objective


class FakeStore:
    """A store with the methods that the snapshot calls; a fake transport, so that failures can be chosen."""

    def __init__(self, records):
        self.log = []
        self.kept = list(records)
        self.names = ["support"]
        self.down = False
        self.reads = {"sweeps": 0, "records": 0}

    def sweeps(self):
        self.reads["sweeps"] += 1
        if self.down:
            raise StoreError("the store is down")
        counts = {"complete": len(self.kept)}
        return [
            SweepInfo(name, "finished", 60, 100.0 + i, 900.0, counts, {})
            for i, name in enumerate(self.names)
        ]

    def records(self, name):
        self.reads["records"] += 1
        return list(self.kept)

    def running(self, name):
        return []

    def control_log(self, name):
        return self.log

    def objective(self, name):
        return Objective(weights={"intent": 1})

    def notes(self, name):
        return ()

    def data_profile(self, name):
        return None


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def fake(records):
    return FakeStore(records[:10])


@pytest.fixture
def snapshot(fake, clock):
    return Snapshot(fake, interval=2.0, clock=clock, patience=Patience(30.0, 30.0))


def test_many_askers_make_one_read(snapshot, fake):
    for _ in range(5):
        snapshot.view(None)
        snapshot.version(None)
    assert fake.reads == {"sweeps": 1, "records": 1}


def test_nothing_new_means_the_same_version_and_no_records_read(snapshot, fake, clock):
    before = snapshot.version(None)
    analysis = snapshot.view(None).analysis
    clock.now += 60
    assert snapshot.version(None) == before
    assert snapshot.view(None).analysis is analysis
    assert fake.reads == {"sweeps": 2, "records": 1}


def test_a_request_changes_what_the_sweep_page_shows_alone(snapshot, fake, clock):
    version, results = snapshot.version(None), snapshot.results_version(None)
    fake.log = [ControlRecord(new_request("pause"), None)]
    clock.now += 60
    snapshot.view(None)
    assert snapshot.version(None) != version
    assert snapshot.results_version(None) == results
    assert snapshot.view(None).log == tuple(fake.log)


def test_a_new_trial_changes_both_versions(snapshot, fake, clock, records):
    before = snapshot.version(None), snapshot.results_version(None)
    fake.kept.append(records[10])
    clock.now += 3
    after = snapshot.version(None), snapshot.results_version(None)
    assert all(a != b for a, b in zip(after, before, strict=True))
    assert len(snapshot.view(None).analysis.records) == 11


def test_a_store_that_is_down_is_said_and_the_last_state_stays(snapshot, fake, clock):
    snapshot.view(None)
    fake.down = True
    clock.now += 3
    assert len(snapshot.view(None).analysis.records) == 10
    assert snapshot.problem(None) == "the store is down"
    fake.down = False
    clock.now += 3
    snapshot.view(None)
    assert snapshot.problem(None) is None


def test_a_store_down_from_the_start_gives_no_view(snapshot, fake):
    fake.down = True
    assert snapshot.view(None) is None
    assert snapshot.sweeps() == ()
    assert "down" in snapshot.version(None)


def test_the_latest_sweep_is_the_default_and_an_unknown_one_is_none(snapshot, fake):
    fake.names.append("newer")
    assert snapshot.view(None).info.name == "newer"
    assert snapshot.view("support").info.name == "support"
    assert snapshot.view("missing") is None


def test_memory_is_bounded(snapshot, fake):
    fake.names = [f"s{i}" for i in range(3 * MAX_SWEEPS)]
    for name in fake.names:
        assert snapshot.view(name) is not None
    assert len(snapshot._views) == MAX_SWEEPS


def test_a_reading_that_fails_costs_no_view_that_is_known(snapshot, fake, clock, records):
    before = snapshot.view("support")
    fake.kept = records[:-1]
    fake.records = lambda name: (_ for _ in ()).throw(StoreError("down"))
    clock.now += 3
    assert snapshot.view("support") is before
    assert snapshot.problem("support") == "down"


def test_one_sweep_that_cannot_be_read_is_no_fault_of_another(snapshot, fake, clock):
    fake.names = ["broken", "support"]
    read = fake.records

    def records(name):
        if name == "broken":
            raise StoreError("result.json does not fit")
        return read(name)

    fake.records = records
    assert snapshot.view("broken") is None
    assert snapshot.view("support") is not None
    assert snapshot.problem("broken") == "result.json does not fit"
    assert snapshot.problem("support") is None
    versions = snapshot.version("support"), snapshot.results_version("support")
    clock.now += 3
    assert snapshot.view("broken") is None
    assert (snapshot.version("support"), snapshot.results_version("support")) == versions


def test_what_nobody_foresaw_is_said_too(snapshot, fake):
    fake.sweeps = lambda: int("not a number")
    assert snapshot.view(None) is None
    assert "ValueError" in snapshot.problem(None)
    assert "the terminal shows where" in snapshot.problem(None)


def test_what_is_kept_no_more_is_freed(snapshot, fake):
    """Also the answers, which know the trials that they are about and are known by them."""
    fake.names = [f"s{i}" for i in range(MAX_SWEEPS + 2)]
    kept = []
    for name in fake.names:
        view = snapshot.view(name)
        assert view.analysis.configurations
        kept.append(weakref.ref(view.analysis))
    del view
    gc.collect()
    assert sum(found() is not None for found in kept) == MAX_SWEEPS


def hold(fake):
    """Make *fake*'s readings wait; returns what lets them go on."""
    go_on, read = threading.Event(), fake.sweeps

    def slow():
        go_on.wait(30)
        return read()

    fake.sweeps = slow
    return go_on


def test_who_has_something_to_show_hardly_waits_for_news(fake, clock):
    snapshot = Snapshot(fake, clock=clock, patience=Patience(30.0, 0.0))
    before = snapshot.view(None)
    go_on = hold(fake)
    clock.now += 3
    assert snapshot.view(None) is before
    assert snapshot.view(None) is before  # and asks for no second reading
    assert snapshot.is_reading(None)
    go_on.set()
    while snapshot.is_reading(None):
        time.sleep(0.01)
    assert fake.reads["sweeps"] == 2


def test_a_long_first_reading_is_said_and_ends_in_another_version(fake, clock):
    snapshot = Snapshot(fake, clock=clock, patience=Patience(0.0, 0.0))
    go_on = hold(fake)
    assert snapshot.view(None) is None
    version, results = snapshot.version(None), snapshot.results_version(None)
    assert snapshot.is_reading(None)
    go_on.set()
    while snapshot.is_reading(None):
        time.sleep(0.01)
    assert snapshot.version(None) != version
    assert snapshot.results_version(None) != results


def test_new_trials_extend_the_table(snapshot, fake, clock, records):
    first = snapshot.view(None).analysis
    assert len(first.table) > 0
    fake.kept = [*records[:5], *records[10:12], *records[5:10]]
    clock.now += 3
    extended = snapshot.view(None).analysis
    pd.testing.assert_frame_equal(extended.table, results_table(fake.kept))
