"""Contract of every search strategy, as the driver runs it on a formula in place of training."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from optuna.trial import TrialState

from sweeps.resolve import ResolvedSweep, read_sweep
from sweeps.search.bounds import SearchBounds
from sweeps.search.driver import Driver
from sweeps.search.space import design_point, in_space
from sweeps.search.strategies import strategy_of
from sweeps.search.strategies.strategy import BrokenBounds, scored
from sweeps.search.workspace import SweepFolder
from tests.factories import suite_score, sweep_text
from tests.sweeps.search.formula import FormulaEngine, answered, drive
from tracker.trial import Objective, Status, TrialResult, TrialSpec

MakeSweep = Callable[..., ResolvedSweep]
TRIALS = 18

#: A bound of each kind, which LoRA breaks in :func:`breaking` (or model ``b``, or what has most examples,
#: or what scores worst).
BOUNDS = {
    "adapter_bytes": 10_000.0,
    "device_seconds": 1.5,
    "examples": 100.0,
    "flops": 5e8,
    "forgetting.language": 0.1,
    "min.intent": 0.6,
    "over_reach.intent": 0.1,
    "parameters": 40_000.0,
    "peak_bytes": 500.0,
}
#: Kept or broken by a volume or a score, not by a configuration, which is all that a choice names.
OF_ONE_TRIAL = ("examples", "flops", "min.intent")


#: Methods with every hyper-parameter that a file may have.
TUNABLE: dict[str, Any] = {
    "full": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
    "lora": {
        "rank": 4,
        "alpha": [16, 32],
        "dropout": {"low": 0.0, "high": 0.2},
        "weight_decay": {"low": 1e-3, "high": 1e-1, "log": True},
        "target_modules": ["all-linear", ["q_proj", "v_proj"]],
        "batch_size": [8, 32],
        "learning_rate": {"low": 1e-3, "high": 3e-2, "log": True},
    },
    "p_tuning": {"virtual_tokens": 4, "learning_rate": [1e-2, 1e-1]},
}


class StrategyContract:
    """*strategy* is its name in a sweep file."""

    #: By strategy, the constraints that change what it runs or chooses; it is blind to all others.
    SEEN: ClassVar[dict[str, set[str]]]
    #: By strategy, those of them that its choice keeps.
    KEPT: ClassVar[dict[str, set[str]]]
    #: By a test's name with its parameters: why it fails today.
    FAULTS: ClassVar[dict[str, str]] = {}

    @pytest.fixture(autouse=True)
    def known_fault(self, request: pytest.FixtureRequest) -> None:
        if reason := self.FAULTS.get(request.node.name):
            request.applymarker(pytest.mark.xfail(strict=True, reason=reason))

    @pytest.fixture(scope="class")
    @classmethod
    def strategy(cls) -> str:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def make(
        cls,
        strategy: str,
        tiny_model: Path,
        tiny_data: Path,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> MakeSweep:
        """``make(**changes)``: a sweep by *strategy*, of so many trials."""
        file = tmp_path_factory.mktemp("contract") / "sweep.yaml"
        search = {"strategy": strategy, "tuning": {"trials": 2}, "window": 4}

        def resolved(**changes: Any) -> ResolvedSweep:
            known = {"search": search, "mixes": {"plain": {"intent": 1}}}
            known["budget"] = {"trials": TRIALS}
            file.write_text(sweep_text(tiny_model, tiny_data, **{**known, **changes}))
            return read_sweep(file)

        return resolved

    @pytest.fixture(scope="class")
    @classmethod
    def whole(cls, make: MakeSweep, tmp_path_factory: pytest.TempPathFactory) -> Driver:
        """A run that nothing interrupts, of two workers."""
        return in_memory(make(), tmp_path_factory.mktemp("whole"), FormulaEngine(2))

    @pytest.fixture(scope="class")
    @classmethod
    def unbound(cls, make: MakeSweep, tmp_path_factory: pytest.TempPathFactory) -> Driver:
        """A run without constraints in a world where what is best would break them."""
        return bound_by(make, tmp_path_factory.mktemp("unbound"), {})

    @pytest.fixture(scope="class")
    @classmethod
    def raised(
        cls, make: MakeSweep, tmp_path_factory: pytest.TempPathFactory
    ) -> tuple[Driver, Driver]:
        """A finished sweep, and the same once the budget in its file was raised."""
        folder = SweepFolder(tmp_path_factory.mktemp("raised"), "tiny")
        before = drive(make(budget={"trials": 12}), folder, FormulaEngine(2))
        more = FormulaEngine(2)
        after = drive(make(budget={"trials": 15}), folder, more)
        assert len(more.ran) == 3
        return before, after

    # -- which trials run --------------------------------------------------------------------------

    def test_neither_workers_nor_speed_change_the_trials(
        self, make: MakeSweep, whole: Driver, tmp_path: Path
    ) -> None:
        for slots in (1, 2, 3, 4):
            engine = FormulaEngine(slots, seed=slots)
            run = in_memory(make(), tmp_path / str(slots), engine)
            assert proposed(run) == proposed(whole), f"{slots} workers"
            assert len(engine.ran) == len(whole.trials)
        assert 12 < len(whole.trials) <= TRIALS

    def test_a_model_is_tuned_by_the_methods_of_its_entry_alone(
        self, make: MakeSweep, tiny_model: Path, tmp_path: Path
    ) -> None:
        models = [
            {"path": str(tiny_model), "name": "a"},
            {"path": str(tiny_model), "name": "b", "methods": ["lora"]},
        ]
        folder = SweepFolder(tmp_path, "tiny")
        with pytest.raises(KeyboardInterrupt):
            drive(make(models=models), folder, FormulaEngine(2, die_after=8))
        driver = drive(make(models=models), folder, FormulaEngine(2))
        tuned = {t.configuration.pair for t in driver.trials if not t.configuration.untouched}
        assert {method for model, method in tuned if model == "b"} == {"lora"}
        assert {method for model, method in tuned if model == "a"} > {"lora"}

    def test_what_practitioners_tune_is_tried(
        self, strategy: str, make: MakeSweep, tmp_path: Path
    ) -> None:
        """Passes by method, and every hyper-parameter that a file may have."""
        changes: dict[str, Any] = {
            "models": make().spec.model_dump(mode="json")["models"][:1],
            "methods": TUNABLE,
            "train": {"epochs": {"full": [2, 5], "p_tuning": [3, 10]}, "batch_size": 8},
            "search": {"strategy": strategy, "tuning": {"trials": 4}, "window": 4},
            "budget": {"trials": 40},
            "volumes": [40, 80],
        }
        folder = SweepFolder(tmp_path, "tiny")
        with pytest.raises(KeyboardInterrupt):
            drive(make(**changes), folder, FormulaEngine(2, die_after=9))
        driver = drive(make(**changes), folder, FormulaEngine(2))
        tuned = [t.configuration for t in driver.trials if not t.configuration.untouched]
        assert all(in_space(driver.sweep.spec, each) for each in tuned)
        tried = {name: {c.method for c in tuned if c.method.name == name} for name in TUNABLE}
        assert {method.epochs for method in tried["full"]} == {2, 5}
        assert {method.epochs for method in tried["p_tuning"]} == {3, 10}
        assert {method.epochs for method in tried["lora"]} == {None}
        for name in ("alpha", "target_modules", "batch_size"):
            assert len({getattr(method, name) for method in tried["lora"]}) == 2, name
        for name in ("dropout", "weight_decay"):
            assert len({getattr(method, name) for method in tried["lora"]}) > 2, name

    def test_interruption_changes_nothing_and_repeats_nothing(
        self, make: MakeSweep, whole: Driver, tmp_path: Path
    ) -> None:
        sweep, folder = make(), SweepFolder(tmp_path, "tiny")
        ran: list[str] = []
        for attempt in range(3):
            engine = FormulaEngine(2, seed=attempt, die_after=5)
            with pytest.raises(KeyboardInterrupt):
                drive(sweep, folder, engine)
            ran += engine.ran
        last = FormulaEngine(2, seed=9)
        resumed = drive(sweep, folder, last)
        ran += last.ran
        assert proposed(resumed) == proposed(whole)
        assert len(ran) == len(set(ran)) == len(whole.trials), "each ran to its end exactly once"
        states = Counter(trial.state for trial in resumed.study.trials())
        assert states == {TrialState.COMPLETE: len(whole.trials)}
        again = FormulaEngine(2)
        assert proposed(drive(sweep, folder, again)) == proposed(whole)
        assert again.ran == [], "a finished sweep runs nothing more"

    def test_a_raised_budget_goes_on_from_the_same_trials(
        self, raised: tuple[Driver, Driver]
    ) -> None:
        before, after = raised
        assert [a.key for a in after.trials[:12]] == [a.key for a in before.trials]
        assert len(after.trials) == len(after.records) == 15

    def test_a_raised_budget_leaves_earlier_proposals_as_they_were(
        self, raised: tuple[Driver, Driver]
    ) -> None:
        before, after = raised
        assert [a[:3] for a in after.trials[:12]] == [a[:3] for a in before.trials]

    def test_the_same_outcomes_give_the_same_proposal(self, whole: Driver) -> None:
        """In two strategies, and twice in one; the study only adds what is left open."""
        first, second = strategy_of(whole.sweep), strategy_of(whole.sweep)
        observed = list(whole.outcomes)
        for index, trial in enumerate(whole.trials):
            needed = observed[: min(first.needs(index), index)]
            proposal = first.propose(index, needed)
            assert proposal is not None
            assert proposal == first.propose(index, needed) == second.propose(index, tuple(needed))
            assert proposal.stage == trial.stage
            if proposal.configuration is not None:
                found, chosen = trial.configuration, proposal.configuration
                assert found[:1] + found[2:] == chosen[:1] + chosen[2:]
                assert (found.method.name, trial.seed) == (chosen.method.name, proposal.seed)
            assert min(second.needs(index), index) <= len(needed)
        assert observed == list(whole.outcomes), "outcomes are left as they are"

    def test_base_models_come_first_and_no_trial_comes_twice(self, whole: Driver) -> None:
        bases = [trial.configuration.model for trial in whole.trials if trial.stage == "baseline"]
        assert bases == ["a", "b"]
        assert [trial.stage for trial in whole.trials[:2]] == ["baseline"] * 2
        assert all(not trial.configuration.untouched for trial in whole.trials[2:])
        assert len({trial.key for trial in whole.trials}) == len(whole.trials)

    # -- how much runs -----------------------------------------------------------------------------

    @pytest.mark.parametrize("trials", [1, 5, 11])
    def test_a_budget_of_trials_is_exact(
        self, trials: int, make: MakeSweep, tmp_path: Path
    ) -> None:
        engine = FormulaEngine(3)
        run = in_memory(make(budget={"trials": trials}), tmp_path, engine)
        assert len(run.trials) == len(run.outcomes) == len(engine.ran) == run.planned == trials

    def test_a_budget_of_device_time_is_kept_where_prices_are_known(
        self, make: MakeSweep, tmp_path: Path
    ) -> None:
        sweep = make(budget={"gpu_hours": 1000 / 3600})
        engine = FormulaEngine(2, answer=by_price)
        run = in_memory(sweep, tmp_path, engine, price=price)
        assert run.spent_seconds == sum(price(r.result.spec) for r in ended(run))
        assert 500 < run.spent_seconds <= 1000
        assert len(engine.ran) == len(ended(run))
        assert len(run.records) == len(run.trials) == len(run.outcomes)

    def test_a_budget_of_device_time_is_kept_by_what_trials_took_on_average(
        self, make: MakeSweep, tmp_path: Path
    ) -> None:
        """Trials of the formula take one second each."""
        run = in_memory(make(budget={"gpu_hours": 13 / 3600}), tmp_path, FormulaEngine(2))
        assert len(run.trials) == run.spent_seconds == 13

    def test_no_more_is_run_than_was_planned(self, make: MakeSweep, tmp_path: Path) -> None:
        """Of a whole design, without a budget."""
        sweep = make(budget=None)
        run = in_memory(sweep, tmp_path, FormulaEngine(2))
        assert 2 < len(run.trials) <= strategy_of(sweep).planned
        assert run.planned == len(run.trials)

    # -- what is chosen ----------------------------------------------------------------------------

    def test_the_choice_is_a_configuration_that_was_run(self, whole: Driver) -> None:
        for count in range(len(whole.outcomes) + 1):
            observed = whole.outcomes[:count]
            choice = whole.strategy.choice(observed)
            if not scored(observed):
                assert choice is None
            else:
                assert choice in [outcome.configuration.curve for outcome in scored(observed)]

    @pytest.mark.parametrize("name", BOUNDS)
    def test_constraints_that_the_search_sees_and_those_that_its_choice_keeps(
        self, name: str, strategy: str, make: MakeSweep, unbound: Driver, tmp_path: Path
    ) -> None:
        """Without the bound, a configuration that breaks it is chosen."""
        bound = bound_by(make, tmp_path, {name: BOUNDS[name]})
        free, chosen = (run.strategy.choice(run.outcomes) for run in (unbound, bound))
        assert free is not None
        assert chosen is not None
        assert free.pair == ("b", "lora")
        differs = proposed(unbound) != proposed(bound) or free != chosen
        assert differs == (name in self.SEEN[strategy])
        breaks = chosen.model == "b" if name == "parameters" else chosen.method.name == "lora"
        if name not in OF_ONE_TRIAL:
            assert breaks == (name not in self.KEPT[strategy])

    @pytest.mark.parametrize("name", BOUNDS)
    def test_what_is_known_before_a_run_is_never_run(
        self, name: str, make: MakeSweep, tmp_path: Path
    ) -> None:
        bound = bound_by(make, tmp_path, {name: BOUNDS[name]})
        forbidden = {pruned.point for pruned in bound.bounds.pruned}
        assert bool(forbidden) == (name in ("adapter_bytes", "examples", "flops", "parameters"))
        ran = [trial.configuration for trial in bound.trials]
        assert not forbidden & {design_point(each) for each in ran}
        if name == "parameters":
            assert {each.model for each in ran} == {"a"}, "nor is its untouched base"

    @pytest.mark.parametrize("name", ["forgetting.language", "over_reach.intent", "peak_bytes"])
    def test_what_broke_an_upper_bound_gets_no_other_seed(
        self, name: str, make: MakeSweep, tmp_path: Path
    ) -> None:
        bound = bound_by(make, tmp_path, {name: BOUNDS[name]})
        seeds = Counter(o.configuration for o in bound.outcomes)
        assert all(seeds[o.configuration] == 1 for o in bound.outcomes if o.broken)

    @pytest.mark.parametrize("name", ["forgetting.language", "over_reach.intent", "peak_bytes"])
    def test_nothing_runs_that_the_trials_it_may_look_at_forbid(
        self, name: str, make: MakeSweep, tmp_path: Path
    ) -> None:
        """Where each method has one setting, so that a point is soon proposed again."""
        fixed = {"full": {"learning_rate": 1e-3}, "lora": {"rank": 2, "learning_rate": 1e-3}}
        bound = bound_by(make, tmp_path, {name: BOUNDS[name]}, trials=30, seeds=3, methods=fixed)
        broken = BrokenBounds(bound.outcomes)
        assert broken
        strategy = strategy_of(bound.sweep, bound.bounds)
        for index, trial in enumerate(bound.trials):
            known = min(strategy.needs(index), index)
            strategy.propose(index, bound.outcomes[:known])
            assert not broken.forbids(trial.configuration, known), (index, trial.stage)

    def test_a_sweep_that_was_begun_before_keeps_its_design(
        self, strategy: str, make: MakeSweep, unbound: Driver, tmp_path: Path
    ) -> None:
        """What the search kept then was what is forgotten alone, and in two strategies."""
        every = {n: limit for n, limit in BOUNDS.items() if n != "forgetting.language"}
        old = bound_by(make, tmp_path, every, legacy=True)
        assert proposed(old) == proposed(unbound)
        lost = bound_by(make, tmp_path, {"forgetting.language": 0.1}, legacy=True)
        assert (proposed(lost) != proposed(unbound)) == (strategy in ("law", "tpe"))


def proposed(driver: Driver) -> list[tuple[str, str]]:
    """Stage and key of every trial."""
    return [(trial.stage, trial.key) for trial in driver.trials]


def ended(driver: Driver) -> list[Any]:
    """Records of the trials that ran."""
    return [r for r in driver.records.values() if r.result.status is Status.COMPLETE]


def in_memory(sweep: ResolvedSweep, root: Path, engine: FormulaEngine, **options: Any) -> Driver:
    return drive(sweep, SweepFolder(root, "tiny"), engine, in_memory=True, **options)


def price(spec: TrialSpec) -> float:
    """Device seconds of a trial, in a world where they are known."""
    return 10.0 + spec.volume


def by_price(spec: TrialSpec) -> TrialResult:
    """The formula's answer, at its price."""
    result = answered(spec)
    cost = result.cost.model_copy(update={"device_seconds": price(spec)})
    return result.model_copy(update={"cost": cost})


def bound_by(
    make: MakeSweep,
    root: Path,
    constraints: dict[str, float],
    *,
    legacy: bool = False,
    trials: int = 22,
    **changes: Any,
) -> Driver:
    """A run under *constraints* alone, with a model ``b`` of twice the size of ``a``.

    *legacy*: as a sweep that was begun before the search kept all bounds.
    """
    sweep, sizes = make(budget={"trials": trials}, **changes), {"a": 30_000, "b": 60_000}
    goal = Objective(weights={"intent": 1.0}, constraints=constraints)
    models = {
        name: model.model_copy(update={"parameters": sizes[name]})
        for name, model in sweep.models.items()
    }
    spec = sweep.spec.model_copy(update={"objective": goal})
    sweep = dataclasses.replace(sweep, spec=spec, models=models)
    bounds = SearchBounds(sweep, legacy=legacy)
    return in_memory(sweep, root, FormulaEngine(2, answer=breaking), bounds=bounds)


def breaking(spec: TrialSpec) -> TrialResult:
    """An answer in which LoRA on the larger model is best, and LoRA breaks every bound of a method."""
    result, lora = answered(spec), spec.method.name == "lora"
    (task,) = result.tasks
    assert task.score is not None
    score = min(1.0, task.score + 0.1 * (spec.model.name == "b") * (spec.method.name != "none"))
    task = task.model_copy(update={"score": score, "over_reach": 0.5 if lora else 0.0})
    costs = {"adapter_bytes": 1000, "peak_bytes": 1000, "flops": 2.0, "device_seconds": 2.0}
    lighter = {"adapter_bytes": 100, "peak_bytes": 100, "flops": 1.0, "device_seconds": 1.0}
    return result.model_copy(
        update={
            "tasks": (task,),
            "general": (suite_score("language", lost=0.5 if lora else 0.0),),
            "cost": result.cost.model_copy(update=costs if lora else lighter),
        }
    )
