"""A sweep that grows: its file is changed, what ended is kept, and what is new alone runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from sweeps.preflight import read_checked
from sweeps.resolve import ResolvedSweep
from sweeps.search import run as run_module
from sweeps.search.driver import Driver
from sweeps.search.engines.instant import NullListener
from sweeps.search.identity import changes_of, write_identity
from sweeps.search.run import owned_study, run_sweep
from sweeps.search.workspace import SweepFolder
from tests.factories import sweep_text
from tests.sweeps.search.formula import FormulaEngine
from tracker.store.store import Store
from tracker.trial import TrialRecord

STRATEGIES = ("grid", "random", "tpe", "halving", "ats", "law")


class Ended(NamedTuple):
    """A run of the sweep file: ``ran``: keys of what its engine ran."""

    records: list[TrialRecord]
    ran: list[str]

    @property
    def keys(self) -> list[str]:
        return [record.result.spec.key for record in self.records]


class Lab:
    """Sweeps of one workspace by formula; ``go(**changes)`` runs the file with these changes."""

    def __init__(
        self, root: Path, model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.root, self.model, self.data = root, model, data
        self.engine = FormulaEngine(2)

        @contextmanager
        def by_formula(_: ResolvedSweep) -> Iterator[FormulaEngine]:
            yield self.engine

        monkeypatch.setattr(run_module, "_engine", by_formula)
        self.notes: list[str] = []

    def file(self, **changes: Any) -> Path:
        """The sweep file: a small one with these changes."""
        small: dict[str, Any] = {
            "models": self.models("a"),
            "methods": {"full": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}},
            "volumes": [40, 80],
            "mixes": {"plain": {"intent": 1}},
            "general": {},
        }
        file = self.root / "sweep.yaml"
        file.write_text(sweep_text(self.model, self.data, **{**small, **changes}))
        self.engine = FormulaEngine(2)
        return file

    def go(self, runs: str = "runs", **changes: Any) -> Ended:
        """Run the file with these *changes*."""
        run = run_sweep(self.file(**changes), self.root / runs, note=self.notes.append)
        return Ended(run.records, list(self.engine.ran))

    def drive(self, runs: str = "runs", **changes: Any) -> Ended:
        """As :meth:`go`, without a tracking store."""
        file = self.file(**changes)
        sweep = read_checked(file, self.root / runs)
        folder = SweepFolder(self.root / runs, "tiny")
        folder.root.mkdir(parents=True, exist_ok=True)
        with owned_study(sweep, folder, None, self.notes.append) as (study, identity):
            write_identity(folder, identity)
            driver = Driver(sweep, folder, study, self.engine, NullListener())
            driver.run()
        records = sorted(driver.records.values(), key=lambda record: record.number)
        return Ended(records, list(self.engine.ran))

    def models(self, *names: str) -> list[dict[str, str]]:
        return [{"path": str(self.model), "name": name} for name in names]

    def stored(self, runs: str = "runs") -> list[TrialRecord]:
        return Store.open(self.root / runs, create=False).records("tiny")


@pytest.fixture
def lab(tmp_path: Path, tiny_model: Path, tiny_data: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    return Lab(tmp_path, tiny_model, tiny_data, monkeypatch)


def larger(lab: Lab, strategy: str) -> dict[str, Any]:
    """Another model, another size and another method."""
    methods = {
        "full": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
        "lora": {"rank": 4, "learning_rate": {"low": 1e-3, "high": 3e-2, "log": True}},
    }
    search = {"strategy": strategy, "tuning": {"trials": 2}, "window": 4}
    return {
        "models": lab.models("a", "b"),
        "volumes": [40, 80, 160],
        "methods": methods,
        "search": search,
    }


def begun(strategy: str) -> dict[str, Any]:
    return {"search": {"strategy": strategy, "tuning": {"trials": 2}, "window": 4}}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_what_ended_is_kept_and_what_is_new_runs(strategy: str, lab: Lab) -> None:
    whole = strategy in ("grid", "halving", "ats")
    budget = {} if whole else {"budget": {"trials": 8}}
    first = lab.drive(**begun(strategy), **budget)
    numbers = {record.result.spec.key: record.number for record in first.records}
    budget = budget and {"budget": {"trials": 20}}
    grown = lab.drive(**larger(lab, strategy), **budget)
    assert grown.ran, "something is new"
    assert not set(grown.ran) & set(first.ran)
    every = {record.result.spec.key: record.number for record in (*first.records, *grown.records)}
    assert sorted(every.values()) == list(range(len(every))), "each trial has a number of its own"
    assert {key: every[key] for key in numbers} == numbers
    assert len(every) <= 20 or whole, "the budget counts all"
    again = lab.drive(**larger(lab, strategy), **budget)
    assert not again.ran
    assert again.records == grown.records
    if whole:
        large = lab.drive("large", **larger(lab, strategy), **budget)
        assert set(large.keys) == set(grown.keys), "the design is that of a sweep begun with it"


def test_a_sweep_that_grew_is_one_in_the_store(lab: Lab) -> None:
    first = lab.go(**begun("grid"))
    grown = lab.go(**larger(lab, "grid"))
    stored = lab.stored()
    assert Counter(r.result.spec.key for r in stored) == Counter([*first.ran, *grown.ran])
    assert sorted(r.number for r in stored) == list(range(len(stored)))
    (change,) = changes_of(SweepFolder(lab.root / "runs", "tiny"))
    assert change.changes == ("models: added b", "methods: added lora", "volumes: added 160")
    assert "the sweep file was changed: models: added b" in "".join(lab.notes)
