"""The grid's stages, and how hyper-parameters are chosen from them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from sweeps.resolve import ResolvedSweep
from sweeps.search.space import design_point, design_points, lattice
from sweeps.search.strategies.grid import Grid, tuned_methods
from sweeps.search.strategies.strategy import Outcome
from sweeps.search.workspace import SweepFolder
from tests.sweeps.search.formula import FormulaEngine, drive
from tracker.trial import Configuration, MethodSpec, Status

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]


def test_grid_covers_every_cell_once_and_repeats_leaders(
    make_sweep: MakeSweep, tmp_path: Path
) -> None:
    sweep, _ = make_sweep()
    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), FormulaEngine(2))
    stages = Counter(trial.stage for trial in driver.asked)
    # 2 bases; 2 settings × 2 models × (full, lora); 24 cells, of which 4 were measured by tuning
    assert stages == {"baseline": 2, "tune": 8, "anchor": 2, "cover": 20, "repeat": 22}
    seeds = Counter((design_point(t.configuration), t.seed) for t in driver.asked)
    design = design_points(sweep.spec)
    assert len(design) == 24
    for point in design:
        assert seeds[point, 1] == 1, "one further seed"
    assert len(driver.asked) == Grid(sweep).planned


def test_cells_reuse_what_was_tuned(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep()
    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), FormulaEngine(2))
    methods: defaultdict[tuple[str, str], set[MethodSpec]] = defaultdict(set)
    for trial in driver.asked:
        if trial.stage == "cover":
            methods[trial.configuration.pair].add(trial.configuration.method)
    assert len(methods) == 6
    assert all(len(found) == 1 for found in methods.values())
    tuned = {t.configuration.method for t in driver.asked if t.stage == "tune"}
    assert methods["a", "full"] <= tuned


def test_budget_cuts_the_design_from_its_end(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep(budget={"trials": 18})
    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), FormulaEngine(2))
    covered = [t.configuration.volume for t in driver.asked if t.stage == "cover"]
    assert covered == [160] * 6, "the largest volume comes first"


def test_tuning_prefers_loss_among_scores_within_an_error(make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep()
    settings = lattice(sweep.spec, "full", 3)

    def outcome(number: int, quality: float, loss: float) -> Outcome:
        tried = Configuration("a", settings[number], "plain", 80)
        return Outcome(number, "tune", tried, 0, Status.COMPLETE, quality, 0.05, loss)

    told = [outcome(0, 0.50, 1.2), outcome(1, 0.47, 1.0), outcome(2, 0.30, 0.5)]
    assert tuned_methods(sweep.spec, told)["a", "full"] == settings[1]


def test_pair_that_never_completed_is_left_out(make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep()
    tried = Configuration("a", lattice(sweep.spec, "full", 1)[0], "plain", 80)
    told = [Outcome(0, "tune", tried, 0, Status.DIVERGED, None, None, None)]
    tuned = tuned_methods(sweep.spec, told)
    assert ("a", "full") not in tuned
    assert ("a", "p_tuning") in tuned, "it has one setting and nothing to tune"
