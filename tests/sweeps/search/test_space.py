"""Search space of a sweep: how settings are spread over a method's ranges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sweeps.resolve import ResolvedSweep
from sweeps.search.space import is_tunable, lattice, trial_spec, volume_near
from tracker.trial import Configuration, MethodSpec

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]


def test_lattice_spreads_over_the_range(make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep()
    rates = [method.learning_rate or 0.0 for method in lattice(sweep.spec, "lora", 4)]
    assert rates == sorted(rates)
    assert 1e-3 < rates[0] < 2e-3
    assert 1.5e-2 < rates[-1] < 3e-2
    assert {method.rank for method in lattice(sweep.spec, "lora", 4)} == {4, 8}


def test_listed_learning_rates_are_spread_and_tried_once_each(make_sweep: MakeSweep) -> None:
    methods = {
        "full": {"learning_rate": [1e-4, 3e-4, 1e-3, 3e-3]},
        "lora": {"rank": [4, 8], "learning_rate": [1e-3, 1e-2, 3e-2]},
    }
    sweep, _ = make_sweep(methods=methods)
    assert [method.learning_rate for method in lattice(sweep.spec, "full", 2)] == [3e-4, 3e-3]
    choices = lattice(sweep.spec, "lora", 9)
    assert len(choices) == 6, "no more than there are"
    assert len(set(choices)) == 6
    assert is_tunable(sweep.spec, "full")


def test_only_a_mix_that_replays_names_the_text_that_it_replays(make_sweep: MakeSweep) -> None:
    """Another text would otherwise change the key of a trial that reads none of it."""
    sweep, _ = make_sweep()
    lora = MethodSpec(name="lora", variant="plain", rank=4, learning_rate=1e-2)
    assert trial_spec(sweep, Configuration("a", lora, "plain", 80), 0).replay is None
    assert trial_spec(sweep, Configuration("a", lora, "replay", 80), 0).replay == sweep.replay
    assert sweep.replay is not None


def test_seeds_count_from_the_sweep_s_first_and_sizes_are_near_by_ratio(
    make_sweep: MakeSweep,
) -> None:
    sweep, _ = make_sweep(first_seed=100)
    lora = MethodSpec(name="lora", variant="plain", rank=4, learning_rate=1e-2)
    assert trial_spec(sweep, Configuration("a", lora, "plain", 80), 2).seed == 102
    assert volume_near([100, 1000], 400) == 1000
