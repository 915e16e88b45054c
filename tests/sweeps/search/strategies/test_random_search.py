"""Random search and TPE: their samples lie within the sweep's choices."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sweeps.resolve import ResolvedSweep
from sweeps.search.workspace import SweepFolder
from tests.sweeps.search.formula import FormulaEngine, drive

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]


def test_listed_learning_rates_are_searched(make_sweep: MakeSweep, tmp_path: Path) -> None:
    rates = [1e-4, 3e-4, 1e-3, 3e-3]
    search = {"strategy": "tpe", "window": 4}
    methods = {"full": {"learning_rate": rates}}
    sweep, _ = make_sweep(methods=methods, search=search, budget={"trials": 20})
    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), FormulaEngine(2))
    tried = {t.configuration.method.learning_rate for t in driver.trials if t.stage != "baseline"}
    assert tried <= set(rates)
    assert len(tried) > 1
