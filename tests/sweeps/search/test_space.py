"""Search space of a sweep: how settings are spread over a method's ranges."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.data.mixes import training_steps
from sweeps.resolve import ResolvedSweep
from sweeps.search.space import (
    all_hyperparameter_choices,
    candidate_settings,
    hyperparameters,
    in_space,
    is_tunable,
    lattice,
    trial_spec,
    volume_near,
    with_full_rate,
)
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


MANY = {
    "lora": {
        "rank": [4, 8, 16],
        "alpha": [16, 32],
        "dropout": [0.0, 0.1],
        "weight_decay": [0.0, 0.01, 0.1],
        "target_modules": ["all-linear", ["v_proj", "q_proj"]],
        "batch_size": [8, 32],
        "learning_rate": {"low": 1e-3, "high": 3e-2, "log": True},
    }
}


def test_a_few_settings_of_many_choices_hold_each_of_them(make_sweep: MakeSweep) -> None:
    """Choices in turn would reach the last ones after all of the first."""
    sweep, _ = make_sweep(methods=MANY, train={"epochs": {"lora": [3, 10]}, "max_length": 96})
    assert len(all_hyperparameter_choices(sweep.spec, "lora")) == 3 * 2 * 2 * 3 * 2 * 2 * 2
    few = lattice(sweep.spec, "lora", 6)
    assert few == lattice(sweep.spec, "lora", 6)
    assert len(set(few)) == 6
    rates = [method.learning_rate or 0.0 for method in few]
    assert rates == sorted(set(rates))
    for name, distribution in hyperparameters(sweep.spec, "lora").items():
        if name != "learning_rate":
            assert {getattr(method, name) for method in few} == set(distribution.choices), name
    assert {method.target_modules for method in few} == {"all-linear", "v_proj,q_proj"}


def test_where_there_are_choices_alone_each_comes_once(make_sweep: MakeSweep) -> None:
    methods = {"p_tuning": {"virtual_tokens": [8, 16], "learning_rate": [1e-2, 1e-1]}}
    sweep, _ = make_sweep(methods=methods, train={"epochs": {"p_tuning": [3, 10]}})
    every = candidate_settings(sweep.spec, "p_tuning")
    assert len(every) == len(set(every)) == 8
    assert set(lattice(sweep.spec, "p_tuning", 100)) == set(every)
    assert len(set(lattice(sweep.spec, "p_tuning", 5))) == 5


def test_passes_by_method_are_of_that_method_alone(make_sweep: MakeSweep) -> None:
    passes = {"p_tuning": [3, 10], "lora": 5, "full": 3}
    sweep, _ = make_sweep(train={"epochs": passes, "max_length": 96})
    before, _ = make_sweep(train={"epochs": 3, "max_length": 96})
    full = MethodSpec(name="full", learning_rate=1e-3)
    assert "epochs" not in hyperparameters(sweep.spec, "full"), "as in every trial"
    point = Configuration("a", full, "plain", 80)
    assert trial_spec(sweep, point, 0) == trial_spec(before, point, 0)
    assert {method.epochs for method in candidate_settings(sweep.spec, "lora")} == {5}
    short, long = sorted(lattice(sweep.spec, "p_tuning", 2), key=lambda method: method.epochs or 0)
    assert short.epochs == 3
    assert long.label == "p_tuning v2 tokens=4 epochs=10 lr=0.01"
    spec = trial_spec(sweep, point._replace(method=long), 0)
    assert (spec.schedule.epochs, spec.train.epochs) == (10, 3)
    assert in_space(sweep.spec, point._replace(method=long))
    assert not in_space(before.spec, point._replace(method=long))


@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.5, 0.99])
@pytest.mark.parametrize("steps", [1, 2, 3, 20, 98, 200])
def test_warm_up_leaves_a_step_with_the_full_rate(
    steps: int, warmup: float, make_sweep: MakeSweep
) -> None:
    train = {"epochs": 1, "batch_size": 8, "warmup": warmup}
    sweep, _ = make_sweep(train=train, volumes=[80])
    point = Configuration("a", MethodSpec(name="lora", learning_rate=1e-2), "plain", 8 * steps)
    before, after = (trial_spec(replace(sweep, full_rate=full), point, 0) for full in (False, True))
    assert training_steps(before) == steps
    assert before.train.warmup == warmup, "as sweeps began before"
    warm = math.ceil(after.train.warmup * steps)
    assert warm == min(math.ceil(warmup * steps), steps - 1)
    assert (after.key == before.key) == (math.ceil(warmup * steps) < steps)
    assert with_full_rate(after) == after
