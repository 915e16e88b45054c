"""The grid's stages, and how hyper-parameters are chosen from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sweeps.resolve import ResolvedSweep
from sweeps.search.space import Pair, cells, is_tunable, lattice
from sweeps.search.strategies.strategy import Grid, Outcome, tuned_settings
from sweeps.search.workspace import SweepFolder
from tests.sweeps.search.formula import FormulaEngine, drive
from tracker.trial import Status

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]


def test_grid_covers_every_cell_once_and_repeats_leaders(
    make_sweep: MakeSweep, tmp_path: Path
) -> None:
    sweep, _ = make_sweep()
    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), FormulaEngine(2), in_memory=True)
    stages = Counter(trial.stage for trial in driver.asked)
    # 2 bases; 2 settings × 2 models × (full, lora); 24 cells, of which 4 were measured by tuning
    assert stages == {"baseline": 2, "tune": 8, "anchor": 2, "cover": 20, "repeat": 22}
    values = [trial.values for trial in driver.asked if trial.stage != "baseline"]
    seeds = Counter((v["model"], v["method"], v["mix"], v["volume"], v["seed"]) for v in values)
    design = cells(sweep.spec)
    assert len(design) == 24
    for cell in design:
        assert seeds[(*cell, 1)] == 1, "one further seed"
    assert len(driver.asked) == Grid(sweep).planned


def test_cells_reuse_what_was_tuned(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep()
    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), FormulaEngine(2), in_memory=True)
    rates = {
        (v["model"], v["method"]): {
            t.values["learning_rate"]
            for t in driver.asked
            if t.stage == "cover"
            and t.values["method"] == v["method"]
            and t.values["model"] == v["model"]
        }
        for v in (t.values for t in driver.asked if t.stage == "cover")
    }
    assert all(len(found) == 1 for found in rates.values())
    tuned = {t.values["learning_rate"] for t in driver.asked if t.stage == "tune"}
    assert rates["a", "full"] <= tuned


def test_budget_cuts_the_design_from_its_end(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep(budget={"trials": 18})
    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), FormulaEngine(2), in_memory=True)
    covered = [t.values["volume"] for t in driver.asked if t.stage == "cover"]
    assert covered == [160] * 6, "the largest volume comes first"


def test_tuning_prefers_loss_among_scores_within_an_error(make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep()
    settings = lattice(sweep.spec, "full", 3)

    def outcome(number: int, quality: float, loss: float) -> Outcome:
        values = {"model": "a", "method": "full", "mix": "plain", "volume": 80, "seed": 0}
        values |= settings[number]
        return Outcome(number, "tune", values, Status.COMPLETE, quality, 0.05, loss)

    told = [outcome(0, 0.50, 1.2), outcome(1, 0.47, 1.0), outcome(2, 0.30, 0.5)]
    assert tuned_settings(sweep.spec, told)[Pair("a", "full")] == settings[1]


def test_pair_that_never_completed_is_left_out(make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep()
    values = {"model": "a", "method": "full", "mix": "plain", "volume": 80, "seed": 0}
    values |= lattice(sweep.spec, "full", 1)[0]
    told = [Outcome(0, "tune", values, Status.DIVERGED, None, None, None)]
    tuned = tuned_settings(sweep.spec, told)
    assert Pair("a", "full") not in tuned
    assert Pair("a", "p_tuning") in tuned, "it has one setting and nothing to tune"


def test_lattice_spreads_over_the_range(make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep()
    rates = [point["learning_rate"] for point in lattice(sweep.spec, "lora", 4)]
    assert rates == sorted(rates)
    assert 1e-3 < rates[0] < 2e-3
    assert 1.5e-2 < rates[-1] < 3e-2
    assert {point["rank"] for point in lattice(sweep.spec, "lora", 4)} == {4, 8}


def test_listed_learning_rates_are_spread_and_tried_once_each(make_sweep: MakeSweep) -> None:
    methods = {
        "full": {"learning_rate": [1e-4, 3e-4, 1e-3, 3e-3]},
        "lora": {"rank": [4, 8], "learning_rate": [1e-3, 1e-2, 3e-2]},
    }
    sweep, _ = make_sweep(methods=methods)
    assert [p["learning_rate"] for p in lattice(sweep.spec, "full", 2)] == [3e-4, 3e-3]
    points = lattice(sweep.spec, "lora", 9)
    assert len(points) == 6, "no more than there are"
    assert len({tuple(point.values()) for point in points}) == 6
    assert is_tunable(sweep.spec, "full")


def test_listed_learning_rates_are_searched(make_sweep: MakeSweep, tmp_path: Path) -> None:
    rates = [1e-4, 3e-4, 1e-3, 3e-3]
    search = {"strategy": "tpe", "window": 4}
    methods = {"full": {"learning_rate": rates}}
    sweep, _ = make_sweep(methods=methods, search=search, budget={"trials": 20})
    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), FormulaEngine(2), in_memory=True)
    tried = {t.values["learning_rate"] for t in driver.asked if t.stage != "baseline"}
    assert tried <= set(rates)
    assert len(tried) > 1
