"""A sweep that grows: its file is changed, what ended is kept, and what is new alone runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from sweeps.preflight import read_checked
from sweeps.resolve import ResolvedSweep
from sweeps.search import identity as identity_module
from sweeps.search import run as run_module
from sweeps.search.control import Control
from sweeps.search.driver import Driver
from sweeps.search.engines.instant import NullListener
from sweeps.search.identity import compared, extensions_of, write_identity
from sweeps.search.run import owned_study, run_sweep
from sweeps.search.study import StudyAdapter
from sweeps.search.workspace import SweepFolder
from sweeps.standing import standing_of
from tests.factories import recommend, sweep_text
from tests.sweeps.search.formula import Asker, FormulaEngine
from tracker.errors import InputError
from tracker.store import file_changes
from tracker.store.control import new_request
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

    def drive(self, runs: str = "runs", inbox: Asker | None = None, **changes: Any) -> Ended:
        """As :meth:`go`, without a tracking store."""
        file = self.file(**changes)
        sweep = read_checked(file, self.root / runs)
        folder = SweepFolder(self.root / runs, "tiny")
        folder.root.mkdir(parents=True, exist_ok=True)
        with owned_study(sweep, folder, None, self.notes.append) as (study, identity):
            write_identity(folder, identity)
            control = Control(inbox) if inbox else None
            driver = Driver(sweep, folder, study, self.engine, NullListener(), control=control)
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
    store = Store.open(lab.root / "runs", create=False)
    stored = [*store.records("tiny"), *store.excluded("tiny")]
    assert Counter(r.result.spec.key for r in stored) == Counter([*first.ran, *grown.ran])
    assert sorted(r.number for r in stored) == list(range(len(stored)))
    assert {r.result.spec.key for r in store.records("tiny")} == {*grown.keys}, "the larger design"
    (extension,) = extensions_of(SweepFolder(lab.root / "runs", "tiny"))
    assert extension.change.changes == (
        "models: added b",
        "methods: added lora",
        "volumes: added 160",
    )
    assert "the sweep file was changed: models: added b" in "".join(lab.notes)
    (info,) = store.sweeps()
    assert file_changes.of_facts(info.facts) == [extension.change]
    assert "models: added b" in file_changes.lines(info.facts)[0]


def test_what_the_file_no_longer_has_leaves_the_design_and_may_be_back(lab: Lab) -> None:
    both = {"models": lab.models("a", "b"), "volumes": [40]}
    first = lab.go(**both)
    of_b = {r.result.spec.key for r in first.records if r.result.spec.model.name == "b"}
    assert of_b
    left = lab.go(models=lab.models("a"), volumes=[40, 80])
    counted = {r.result.spec.key for r in lab.stored()}
    assert counted == {*first.keys, *left.ran} - of_b
    store = Store.open(lab.root / "runs", create=False)
    excluded = store.excluded("tiny")
    assert {r.result.spec.key for r in excluded} == of_b, "they stay recorded"
    assert all("left the design" in (r.excluded or "") for r in excluded)
    (info,) = store.sweeps()
    assert f"{len(of_b)} trials left the design" in " ".join(standing_of(store, info).lines())
    back = lab.go(**both)
    assert not back.ran
    assert {r.result.spec.key for r in lab.stored()} == {*first.keys}


def test_two_changes_in_a_row_and_back_again(lab: Lab) -> None:
    first = lab.drive()
    second = lab.drive(models=lab.models("a", "b"))
    third = lab.drive(models=lab.models("a", "b", "c"), volumes=[40, 80, 160])
    assert not {*first.ran} & {*second.ran}
    assert not {*first.ran, *second.ran} & {*third.ran}
    numbers = {r.result.spec.key: r.number for r in (*first.records, *second.records)}
    assert all(numbers.get(r.result.spec.key, r.number) == r.number for r in third.records)
    assert len({r.number for r in third.records}) == len(third.records)
    back = lab.drive()
    assert (back.ran, back.records) == ([], first.records), "what was added has left"
    again = lab.drive(models=lab.models("a", "b", "c"), volumes=[40, 80, 160])
    assert (again.ran, again.records) == ([], third.records)
    assert len(extensions_of(SweepFolder(lab.root / "runs", "tiny"))) == 4


def test_the_design_that_is_back_numbers_what_it_adds_after_all_others(lab: Lab) -> None:
    first = lab.drive(budget={"trials": 3})
    second = lab.drive(models=lab.models("a", "b"), budget={"trials": 8})
    back = lab.drive()
    added = [r.number for r in back.records if r.result.spec.key in back.ran]
    known = [r.number for r in (*first.records, *second.records)]
    assert min(added) > max(known)
    assert lab.drive().records == back.records


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "schedule": ({"train": {"epochs": 2, "batch_size": 8, "max_length": 96}}, "file.train.epochs"),
    "shorter": ({"train": {"epochs": 1, "batch_size": 8, "max_length": 64}}, "train.max_length"),
    "mix": ({"mixes": {"plain": {"intent": 1, "extra_epochs": {"intent": 1}}}}, "mixes.plain"),
    "rows": (
        {"evaluation": {"rows": 12, "batch_size": 24, "max_new_tokens": 8}},
        "evaluation.rows",
    ),
    "seed": ({"first_seed": 5}, "file.first_seed"),
}


def test_what_would_make_ended_trials_wrong_is_refused_with_its_field(lab: Lab) -> None:
    lab.drive(budget={"trials": 2})
    for case, (changes, field) in REFUSED.items():
        with pytest.raises(InputError, match="another `name`") as refused:
            lab.drive(budget={"trials": 2}, **changes)
        assert any(field in line for line in refused.value.problems), case
    assert not lab.drive(budget={"trials": 2}).ran, "the file that is restored goes on"


def test_a_template_that_changed_is_refused(lab: Lab) -> None:
    lab.drive(budget={"trials": 2})
    template = lab.file(budget={"trials": 2})
    template.write_text(template.read_text().replace("name the intent", "which intent"))
    folder = SweepFolder(lab.root / "runs", "tiny")
    with pytest.raises(InputError, match=r"file\.tasks\.intent\.prompt"):
        compared(read_checked(template, lab.root / "runs"), folder)


def test_a_longer_max_length_keeps_what_it_would_not_change(lab: Lab) -> None:
    first = lab.drive(budget={"trials": 4})
    longer = {"train": {"epochs": 1, "batch_size": 8, "max_length": 128}}
    grown = lab.drive(budget={"trials": 4}, **longer)
    assert (grown.ran, grown.records) == ([], first.records), "by their old keys"
    more = lab.drive(budget={"trials": 6}, **longer)
    lengths = {
        r.result.spec.train.max_length for r in more.records if r.result.spec.key in more.ran
    }
    assert (len(more.ran), lengths) == (2, {128})


def test_a_longer_max_length_is_refused_where_rows_were_cut(lab: Lab) -> None:
    def of(length: int) -> dict[str, Any]:
        return {"train": {"epochs": 1, "batch_size": 8, "max_length": length}}

    lab.drive(budget={"trials": 2}, **of(24), mixes={"replayed": {"intent": 1, "replay": 0.5}})
    with pytest.raises(InputError, match=r"raised from 24 to 96, and trials of a that ended had"):
        lab.drive(budget={"trials": 2}, **of(96), mixes={"replayed": {"intent": 1, "replay": 0.5}})


@pytest.mark.parametrize("strategy", ["grid", "random"])
def test_a_driver_killed_in_a_change_goes_on_as_if_nothing_was(
    strategy: str, lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped before each of the writes that a change makes, one after the other."""
    changes = {**larger(lab, strategy), "budget": {"trials": 12}}
    small = {**begun(strategy), "budget": {"trials": 5}}
    lab.drive("whole", **small)
    whole = lab.drive("whole", **changes)
    lab.drive(**small)
    for module, name in (
        (run_module, "kept_trials"),
        (StudyAdapter, "begin_generation"),
        (run_module, "write_change"),
        (identity_module, "write_text"),
        (identity_module, "write_identity"),
        (StudyAdapter, "ask"),
        (StudyAdapter, "number"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, _killed)
            with pytest.raises(KeyboardInterrupt):
                lab.drive(**changes)
    last = lab.drive(**changes)
    assert [(r.number, r.result.spec.key) for r in last.records] == [
        (r.number, r.result.spec.key) for r in whole.records
    ]
    assert len(extensions_of(SweepFolder(lab.root / "runs", "tiny"))) == 1


def _killed(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def test_a_clone_stays_a_clone_on_top_of_the_budget(lab: Lab) -> None:
    asker = Asker({2: [new_request("clone", trial=1, changes={"seed": "7"})]})
    first = lab.drive(inbox=asker, budget={"trials": 5})
    assert len(first.records) == 6
    grown = lab.drive(models=lab.models("a", "b"), budget={"trials": 9})
    (clone,) = (r for r in grown.records if r.stage == "clone")
    (before,) = (r for r in first.records if r.stage == "clone")
    assert clone == before
    assert clone.result.spec.seed == 7
    assert not {*grown.ran} & {*first.ran}
    assert len({r.result.spec.key for r in (*first.records, *grown.records)}) == 10


def test_a_budget_that_was_raised_by_request_stays_raised(lab: Lab) -> None:
    raised = new_request("raise_budget", budget={"trials": 5})
    first = lab.drive(inbox=Asker({1: [raised]}), budget={"trials": 3})
    assert len(first.ran) == 5
    assert not lab.drive(models=lab.models("a", "b"), budget={"trials": 4}).ran
    more = lab.drive(models=lab.models("a", "b"), budget={"trials": 7})
    assert len(more.ran) == 2


@pytest.mark.slow
def test_a_finished_grid_plus_a_model_a_size_and_a_score_with_real_training(
    tmp_path: Path, tiny_model: Path, tiny_data: Path
) -> None:
    """Counted in MLflow: one run a trial; the recommendation is that of a sweep begun with it all."""
    task = yaml.safe_load(sweep_text(tiny_model, tiny_data))["tasks"]["intent"]
    small: dict[str, Any] = {
        "models": [{"path": str(tiny_model), "name": "a"}],
        "methods": {"full": {"learning_rate": [1e-2, 3e-2]}},
        "volumes": [40, 80, 120],
        "mixes": {"plain": {"intent": 1}},
        "general": {},
        "seeds": 1,
        "train": {"epochs": 6, "batch_size": 16, "max_length": 96},
        "evaluation": {"rows": 40, "batch_size": 40, "max_new_tokens": 4},
        "engine": {"kind": "local", "workers": 1},
    }
    scored = {"intent": {**task, "score": "exact_match"}}
    large = {
        **small,
        "models": [{"path": str(tiny_model), "name": name} for name in ("a", "b")],
        "volumes": [40, 80, 120, 160],
        "tasks": scored,
    }
    file = tmp_path / "sweep.yaml"

    def run(content: dict[str, Any], name: str = "tiny") -> list[TrialRecord]:
        file.write_text(sweep_text(tiny_model, tiny_data, **content, name=name))
        return run_sweep(file, tmp_path / "runs").records

    first = run(small)
    grown = run(large)
    trained = [record for record in grown if record.taken_over is None]
    assert len(first) == 1 + 2 + 2
    assert len(grown) == 2 * (1 + 2 + 3)
    assert len(trained) == len(grown) - len(first), "what is new alone was trained"
    store = Store.open(tmp_path / "runs", create=False)
    runs = store.client.search_runs(["1"], "tags.`sft.kind` = 'trial'")
    keys = Counter(run.data.tags["sft.key"] for run in runs)
    assert set(keys.values()) == {1}
    assert len(keys) == len(first) + len(grown), "those of the old score stay recorded"
    assert {r.result.spec.key for r in store.records("tiny")} == {r.result.spec.key for r in grown}
    begun_large = run(large, "large")
    assert all(r.taken_over for r in begun_large), "equal trials, in another sweep"
    objective = store.objective("tiny")
    choices = [recommend(records, objective).choice for records in (grown, begun_large)]
    assert choices[0] == choices[1]


def test_a_sweep_begun_when_v1_was_the_default_stays_so(lab: Lab) -> None:
    """Its file names no variant; a new sweep with the same file has v2."""
    methods = {"p_tuning": {"virtual_tokens": 4, "learning_rate": [1e-2, 1e-1]}}
    lab.drive(methods={"p_tuning": {"variant": "v1", **methods["p_tuning"]}})
    again = lab.drive(methods=methods)
    assert not again.ran
    grown = lab.drive(methods=methods, volumes=[40, 80, 160])
    assert {r.result.spec.method.variant for r in grown.records} == {"v1", None}
    new = lab.drive("others", methods=methods)
    assert {r.result.spec.method.variant for r in new.records} == {"v2", None}
    named = lab.drive(methods={"p_tuning": {"variant": ["v1", "v2"], **methods["p_tuning"]}})
    assert {r.result.spec.method.variant for r in named.records} == {"v1", "v2", None}


def test_a_begun_sweep_may_give_one_method_other_passes(lab: Lab) -> None:
    train = {"epochs": 3, "batch_size": 8, "max_length": 96}
    methods = {
        "full": {"learning_rate": 1e-3},
        "p_tuning": {"virtual_tokens": 4, "learning_rate": 1e-2},
    }
    first = lab.drive(methods=methods, train=train)
    grown = lab.drive(methods=methods, train=train | {"epochs": {"p_tuning": [3, 10]}})
    assert grown.ran
    full = {r.result.spec.key for r in first.records if r.result.spec.method.name == "full"}
    assert full
    assert not full & set(grown.ran), "what ended of the others is kept"
    passes = {(r.result.spec.method.name, r.result.spec.schedule.epochs) for r in grown.records}
    assert {("full", 3), ("p_tuning", 3), ("p_tuning", 10)} <= passes
    with pytest.raises(InputError, match=r"train\.epochs"):
        lab.drive(methods=methods, train=train | {"epochs": 5})
