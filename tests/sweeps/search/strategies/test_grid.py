"""The grid's stages, and how hyper-parameters are chosen from them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sweeps.resolve import ResolvedSweep
from sweeps.search.bounds import SearchBounds
from sweeps.search.space import design_point, design_points, lattice
from sweeps.search.strategies.grid import Grid, tuned_methods
from sweeps.search.strategies.strategy import Outcome
from sweeps.search.workspace import SweepFolder
from tests.factories import suite_score
from tests.sweeps.search.formula import FormulaEngine, answered, drive
from tracker.trial import Configuration, MethodSpec, Status, TrialResult, TrialSpec

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]


def test_grid_covers_every_design_point_once_and_repeats_the_best(
    make_sweep: MakeSweep, tmp_path: Path
) -> None:
    sweep, _ = make_sweep()
    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), FormulaEngine(2))
    stages = Counter(trial.stage for trial in driver.trials)
    # 2 bases; 2 settings × 2 models × (full, lora); 24 design points, of which 4 were measured by tuning
    assert stages == {"baseline": 2, "tune": 8, "anchor": 2, "cover": 20, "repeat": 22}
    seeds = Counter((design_point(t.configuration), t.seed) for t in driver.trials)
    design = design_points(sweep.spec)
    assert len(design) == 24
    for point in design:
        assert seeds[point, 1] == 1, "one further seed"
    assert len(driver.trials) == Grid(sweep).planned


def test_design_points_reuse_tuned_settings(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep()
    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), FormulaEngine(2))
    methods: defaultdict[tuple[str, str], set[MethodSpec]] = defaultdict(set)
    for trial in driver.trials:
        if trial.stage == "cover":
            methods[trial.configuration.pair].add(trial.configuration.method)
    assert len(methods) == 6
    assert all(len(found) == 1 for found in methods.values())
    tuned = {t.configuration.method for t in driver.trials if t.stage == "tune"}
    assert methods["a", "full"] <= tuned


def test_budget_cuts_the_design_from_its_end(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep(budget={"trials": 18})
    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), FormulaEngine(2))
    covered = [t.configuration.volume for t in driver.trials if t.stage == "cover"]
    assert covered == [160] * 6, "the largest volume comes first"


def test_tuning_prefers_loss_among_scores_within_an_error(make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep()
    settings = lattice(sweep.spec, "full", 3)

    def outcome(number: int, quality: float, loss: float) -> Outcome:
        tried = Configuration("a", settings[number], "plain", 80)
        return Outcome(number, "tune", tried, 0, Status.COMPLETE, quality, 0.05, loss)

    observed = [outcome(0, 0.50, 1.2), outcome(1, 0.47, 1.0), outcome(2, 0.30, 0.5)]
    assert tuned_methods(SearchBounds(sweep), observed)["a", "full"] == settings[1]


def test_pair_that_never_completed_is_left_out(make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep()
    tried = Configuration("a", lattice(sweep.spec, "full", 1)[0], "plain", 80)
    observed = [Outcome(0, "tune", tried, 0, Status.DIVERGED, None, None, None)]
    tuned = tuned_methods(SearchBounds(sweep), observed)
    assert ("a", "full") not in tuned
    assert ("a", "p_tuning") in tuned, "it has one setting and nothing to tune"


def test_tuning_takes_a_setting_that_kept_the_bounds(make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep()
    settings = lattice(sweep.spec, "full", 2)
    points = [Configuration("a", setting, "plain", 80) for setting in settings]

    def observed(*excesses: float) -> list[Outcome]:
        return [
            Outcome(
                i, "tune", points[i], 0, Status.COMPLETE, q, 0.01, 1.0, 1.0, {"peak_bytes": over}
            )
            for i, (q, over) in enumerate(zip((0.7, 0.4), excesses, strict=True))
        ]

    bounds = SearchBounds(sweep)
    assert tuned_methods(bounds, observed(1.0, -1.0))["a", "full"] == settings[1]
    assert tuned_methods(bounds, observed(1.0, 1.0))["a", "full"] == settings[0], "all broke it"


def test_cover_follows_where_bounds_leave_fewer_anchors(
    make_sweep: MakeSweep, tmp_path: Path
) -> None:
    """All that was tuned broke a bound: nothing is repeated, and the rest of the design still runs."""
    sweep, _ = make_sweep(methods={"full": {"learning_rate": [1e-3, 2e-3]}})
    goal = sweep.spec.objective.model_copy(update={"constraints": {"forgetting.language": 0.1}})
    sweep = replace(sweep, spec=sweep.spec.model_copy(update={"objective": goal}))

    def forgets(spec: TrialSpec) -> TrialResult:
        lost = suite_score("language", lost=0.5 if spec.volume == 80 else 0.0)
        return answered(spec).model_copy(update={"general": (lost,)})

    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), FormulaEngine(2, answer=forgets))
    stages = Counter(trial.stage for trial in driver.trials)
    assert stages["anchor"] == 0
    assert stages["cover"] == 6, "40 and 160 examples and the mix with replay, on two models"
    repeated = [t.configuration.volume for t in driver.trials if t.stage == "repeat"]
    assert sorted(repeated) == [40, 40, 160, 160]
    assert len({trial.key for trial in driver.trials}) == len(driver.trials)


def test_what_the_tuning_mix_may_not_hold_is_tuned_on_another(make_sweep: MakeSweep) -> None:
    mixes = {"large": {"intent": 1, "volumes": [160]}, "small": {"intent": 1, "volumes": [40]}}
    sweep, _ = make_sweep(
        mixes=mixes, objective={"weights": {"intent": 1}, "constraints": {"examples": 100}}
    )
    tuned = {(t.mix, t.volume) for t in Grid(sweep)._tunings}
    assert tuned == {("small", 40)}


def test_settings_that_may_run_are_tuned_where_the_lattice_has_none(make_sweep: MakeSweep) -> None:
    """Rank 64 alone is on a lattice of one; rank 2 stores less than the bound."""
    rate = {"low": 1e-3, "high": 1e-2, "log": True}
    sweep, _ = make_sweep(
        methods={"lora": {"rank": [64, 2], "learning_rate": rate}},
        search={"strategy": "grid", "tuning": {"trials": 1}, "window": 4},
        objective={"weights": {"intent": 1}, "constraints": {"adapter_bytes": 20_000}},
    )
    assert {t.method.rank for t in Grid(sweep)._tunings} == {2}
