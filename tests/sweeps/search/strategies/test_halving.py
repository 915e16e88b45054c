"""Successive halving: its rungs, and which configurations go on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from sweeps.resolve import ResolvedSweep
from sweeps.search.space import configurations, untouched_base
from sweeps.search.strategies.halving import Halving
from sweeps.search.strategies.strategy import Outcome
from sweeps.search.workspace import SweepFolder
from tests.sweeps.search.formula import FormulaEngine, drive
from tracker.trial import Status

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]


def halving(**settings: int) -> dict[str, object]:
    return {"strategy": "halving", "tuning": {"trials": 2}, "window": 4, "halving": settings}


def test_rungs_grow_and_shrink_by_the_factor(make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep(search=halving(start=40))
    # 2 models x (2 full + 2 lora + 1 p_tuning) settings x 2 mixes
    assert len(configurations(sweep.spec)) == 20
    assert [(r.volume, r.size) for r in Halving(sweep).rungs] == [(40, 20), (80, 10), (160, 5)]
    sweep, _ = make_sweep(search=halving(factor=4, start=40))
    assert [(r.volume, r.size) for r in Halving(sweep).rungs] == [(40, 20), (160, 5)]


def test_default_start_ends_at_the_largest_volume(make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep(search=halving(), mixes={"plain": {"intent": 1}})
    assert Halving(sweep).rungs[-1].volume == 160


def test_the_best_of_a_rung_go_on(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep(search=halving(start=40), mixes={"plain": {"intent": 1}})
    driver = drive(sweep, SweepFolder(tmp_path / "runs", "tiny"), FormulaEngine(2), in_memory=True)
    rungs = Halving(sweep).rungs
    for before, after in pairwise(rungs):
        ranked = sorted(
            driver.outcomes[before.first : before.end], key=lambda o: o.quality or 0.0, reverse=True
        )
        going_on = [o.configuration.curve for o in driver.outcomes[after.first : after.end]]
        assert going_on == [o.configuration.curve for o in ranked[: after.size]]
    assert Counter(o.stage for o in driver.outcomes) == {"baseline": 2, "halving": 10 + 5 + 3}
    survivor = max(driver.outcomes[rungs[-1].first :], key=lambda o: o.quality or 0.0)
    assert driver.strategy.choice(driver.outcomes) == survivor.configuration.curve


def test_failed_trials_do_not_go_on(make_sweep: MakeSweep) -> None:
    """Where too few completed, the best of them run again with another seed."""
    sweep, _ = make_sweep(search=halving(start=40), mixes={"plain": {"intent": 1}})
    strategy = Halving(sweep)
    first = strategy.rungs[0]
    observed = [
        Outcome(n, "baseline", untouched_base(name), 0, Status.COMPLETE, 0.1, None, None)
        for n, name in enumerate(strategy.bases)
    ]
    for at, curve in enumerate(configurations(sweep.spec)):
        ok = at < 2
        status = Status.COMPLETE if ok else Status.DIVERGED
        quality = 0.5 + 0.1 * at if ok else None
        point = curve._replace(volume=40)
        observed.append(Outcome(first.first + at, "halving", point, 0, status, quality, 0.0, None))
    second = strategy.rungs[1]
    proposals = [strategy.propose(second.first + i, observed) for i in range(second.size)]
    assert [p.seed for p in proposals if p] == [0, 0, 1, 1, 2]
    assert all(p and p.configuration and p.configuration.volume == 80 for p in proposals)
