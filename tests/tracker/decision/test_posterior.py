"""Calibration of the posterior on synthetic sweeps of known truth; on 200 of them under benchmarks."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import numpy as np
import pytest

from tests.benchmarks.calibration_of_choice import Judged, calibration_error, deciles, judge
from tests.benchmarks.synthetic import configuration, synthetic_sweep
from tracker.decision.posterior import posterior_of
from tracker.laws.pooling import Array
from tracker.metrics import task_weights
from tracker.results import by_configuration
from tracker.trial import TrialRecord


@pytest.fixture(scope="module")
def judged() -> list[Judged]:
    return [judge(synthetic_sweep(seed)) for seed in range(300, 312)]


def test_the_stated_probability_of_being_best_is_kept(judged: list[Judged]) -> None:
    assert calibration_error(deciles(judged)) < 0.15
    stated = np.concatenate([j.stated for j in judged])
    best = np.concatenate([j.is_best for j in judged])
    assert stated.sum() == pytest.approx(len(judged), rel=1e-3)
    assert not best[stated < 0.001].any()


def test_the_stated_regret_is_realised_on_average(judged: list[Judged]) -> None:
    stated = np.mean([j.regret_stated for j in judged])
    realised = np.mean([j.regret for j in judged])
    assert 0.5 < stated / realised < 2.5


def test_the_intervals_of_leading_gaps_cover(judged: list[Judged]) -> None:
    covered = np.concatenate([j.covered for j in judged])
    assert 0.65 < covered.mean() < 0.95


def test_draws_depend_on_content_and_not_on_order() -> None:
    sweep = synthetic_sweep(2)
    shuffled = list(sweep.records)
    random.Random(1).shuffle(shuffled)
    found = []
    for records in (sweep.records, shuffled):
        configurations = by_configuration(records)
        found.append(
            posterior_of(
                configurations,
                task_weights(sweep.objective, [t for c in configurations for t in c.tasks]),
            )
        )
    assert (found[0].mean == found[1].mean).all()
    assert (found[0].draws == found[1].draws).all()
    assert found[0].outliers == found[1].outliers


def test_the_centre_is_nearer_the_truth_than_the_measurement() -> None:
    sweep = synthetic_sweep(8, glitches=0.0)
    configurations = by_configuration(sweep.records)
    posterior = posterior_of(
        configurations, task_weights(sweep.objective, [t for c in configurations for t in c.tasks])
    )
    truth = np.array([sweep.truth[configuration(c.spec)][c.spec.volume] for c in configurations])
    trained = np.array([not each.untouched for each in configurations])

    def spread(values: Array) -> float:
        """Of the errors without their common part: the rows shift all alike."""
        return float(np.std((values - truth)[trained]))

    assert spread(posterior.mean) < 0.75 * spread(posterior.measured)


def test_configurations_without_gain_do_not_change_the_best(
    record: Callable[..., TrialRecord],
) -> None:
    """Two mixes do alike wherever nothing was learned, and differ where something was."""
    base = record(model="small", method="none", scores={"intent": 0.0})
    best = [base] + [
        record(model=model, method="full", mix=mix, volume=volume, scores={"intent": score})
        for model, most in (("small", 0.5), ("large", 0.8))
        for volume, share in ((500, 0.5), (1000, 0.75), (2000, 1.0))
        for mix, part in (("even", 1.0), ("boost", 0.8))
        for score in [most * share * part]
    ]
    flat = [
        record(model=model, method=method, mix=mix, volume=volume, scores={"intent": 0.001 * k})
        for k, (model, method, mix) in enumerate(
            itertools.product(("small", "large"), ("lora", "p_tuning"), ("even", "boost"))
        )
        for volume in (250, 500, 1000, 2000)
    ]
    alone, beside = (
        posterior_of(by_configuration(r), {"intent": 1.0}) for r in (best, [*best, *flat])
    )
    configurations = by_configuration([*best, *flat])
    learned = [i for i, each in enumerate(configurations) if each.spec.method.name == "full"]
    tuned = [i for i, each in enumerate(by_configuration(best)) if not each.untouched]
    # Within what the noise of other rows does; with the flat ones on the surface it is 0.03.
    assert beside.mean[learned] == pytest.approx(alone.mean[tuned], abs=0.005)
    assert {beside.sources[i] for i in learned} == {"measured and neighbours"}
    assert {s for i, s in enumerate(beside.sources) if i not in learned} == {"measured"}
