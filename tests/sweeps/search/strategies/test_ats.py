"""Accept-then-Stop: known answers, and how it is run as a strategy."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sweeps.resolve import ResolvedSweep
from sweeps.search.strategies.ats import accept_then_stop
from sweeps.search.workspace import SweepFolder
from tests.sweeps.search.formula import FormulaEngine, drive

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]
PUBLIC = Path(__file__).parents[4] / "shared" / "data" / "public_results"


def test_power_law_is_recovered_and_its_flat_beginning_left_out() -> None:
    volumes = [100.0 * 2**i for i in range(8)]
    noise = [1.0, 1.002, 0.999, 1.001, 0.998, 1.0, 1.001, 0.999]
    flat = [3.0, 3.0, 2.99]
    losses = flat + [5 * v**-0.1 * n for v, n in zip(volumes[3:], noise[3:], strict=True)]
    line = accept_then_stop(volumes, losses)
    assert line.accepted == 5
    assert line.slope == pytest.approx(-0.1, abs=0.005)
    assert line.at(1e5) == pytest.approx(5 * 1e5**-0.1, rel=0.01)


def test_order_of_points_does_not_matter() -> None:
    volumes, losses = [100.0, 200.0, 400.0, 800.0], [2.0, 1.9, 1.7, 1.6]
    assert accept_then_stop(volumes, losses) == accept_then_stop(volumes[::-1], losses[::-1])


@pytest.mark.skipif(not PUBLIC.exists(), reason="the public results are not beside the checkout")
@pytest.mark.parametrize(
    ("name", "correlation", "mean", "worst"),
    [("flan", 62.7, 92.1, 85.3), ("wmt19", 84.6, 99.2, 99.1)],
)
def test_published_figures(name: str, correlation: float, mean: float, worst: float) -> None:
    """Budgets 1/8 … 1/512. Which model is chosen agrees exactly; the correlation to a point."""
    curves: defaultdict[str, dict[int, float]] = defaultdict(dict)
    with (PUBLIC / f"rectified_{name}.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            curves[row["model"]][int(row["examples"])] = float(row["value"])
    largest = max(max(curve) for curve in curves.values())
    true = np.array([curve[largest] for curve in curves.values()])
    correlations, accuracies = [], []
    for halvings in range(3, 10):
        seen = [
            {v: loss for v, loss in c.items() if 0 < v <= largest / 2**halvings}
            for c in curves.values()
        ]
        predicted = np.array(
            [accept_then_stop(list(c), list(c.values())).at(largest) for c in seen]
        )
        correlations.append(np.corrcoef(predicted, true)[0, 1])
        chosen = true[predicted.argmin()]
        accuracies.append((true.max() - chosen) / (true.max() - true.min()))
    assert 100 * np.mean(correlations) == pytest.approx(correlation, abs=1.1)
    assert 100 * np.mean(accuracies) == pytest.approx(mean, abs=0.05)
    assert 100 * min(accuracies) == pytest.approx(worst, abs=0.05)


def test_volumes_grow_and_the_extrapolation_chooses(make_sweep: MakeSweep, tmp_path: Path) -> None:
    search = {"strategy": "ats", "tuning": {"trials": 2}, "window": 4}
    sweep, _ = make_sweep(search=search, mixes={"plain": {"intent": 1}})
    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), FormulaEngine(2), in_memory=True)
    volumes = [o.volume for o in driver.outcomes if o.stage == "ats"]
    assert volumes == [40] * 10 + [80] * 10 + [160] * 10
    choice = driver.strategy.choice(driver.outcomes)
    assert choice is not None
    assert choice.method.name == "lora"
    assert driver.strategy.choice(driver.outcomes[:5]) is not None, (
        "the best measured, to begin with"
    )
