"""Partial pooling of curves drawn from a known population."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tracker.laws import pooling
from tracker.laws.fitting import fit_curves
from tracker.laws.points import CurveRuns
from tracker.laws.pooling import Array, Curves, Prior
from tracker.laws.prior import prior

SIZES = np.array([200.0 * 2**i for i in range(8)])
NOISE = 0.005
#: ln D0, ln beta, ln e, ln A: intercept, and slope on ln N.
TRUTH = np.array([[7.0, np.log(0.5), np.log(0.3), 0.5], [-0.3, 0.0, 0.0, -0.15]])
SCATTER = np.array([0.4, 0.1, 0.15, 0.05])
GROUPS = {"slow": 1.0, "fast": -1.0}  # what a method adds to ln D0


def population(
    count: int, seed: int, noise: float = NOISE, sizes: Array = SIZES, scatter: Array = SCATTER
) -> tuple[Curves, Array]:
    """*count* curves of two methods and four model sizes, all measured; and their features."""
    rng = np.random.default_rng(seed)
    log_size = np.log(10.0) * (np.arange(count) % 4 - 1.5) / 3
    methods = [list(GROUPS)[i // 4 % 2] for i in range(count)]
    features = TRUTH[0] + log_size[:, None] * TRUTH[1] + scatter * rng.standard_normal((count, 4))
    features[:, 0] += [GROUPS[method] for method in methods]
    logs = pooling.log_law(features, sizes) + noise * rng.standard_normal((count, len(sizes)))
    groups = [{"method": method} for method in methods]
    return Curves(sizes, logs, np.full(logs.shape, noise), log_size, groups), features


def measured(curves: Curves, curve: int, count: int) -> Curves:
    """*curves* with only the first *count* points of one of them."""
    sd = curves.sd.copy()
    sd[curve, count:] = np.inf
    return curves._replace(sd=sd)


def predicted(curves: Curves, curve: int, among: Curves | None = None) -> Array:
    """Draws (R,) of ln L of *curve* at the largest size; *among*: what the population is fitted to."""
    pool = pooling.fit_pool(among or curves, prior())
    target = pooling.select_curves(curves, np.array([curve]))
    posterior = pooling.posterior(target, pool, 400, np.random.default_rng(0))
    return np.asarray(pooling.log_law(posterior.draws[0], SIZES[-1:])[:, 0])


def truth(features: Array, curve: int) -> float:
    return float(pooling.log_law(features[curve], SIZES[-1:])[0])


def test_the_population_is_recovered() -> None:
    """Its law for each method and at either end of the model sizes, and what its methods differ in."""
    curves, _ = population(80, seed=1, noise=0.001, sizes=200 * 2.0 ** np.arange(12))
    pool = pooling.fit_pool(curves, Prior(prior().mean, prior().cov, trust=5.0))
    for method, log_size in itertools.product(GROUPS, (-1.0, 1.0)):
        target = Curves(
            curves.sizes,
            curves.logs[:1],
            curves.sd[:1],
            np.array([log_size]),
            [{"method": method}],
        )
        (found,), _ = pool.expected(target)
        found[3] += pool.level
        true = TRUTH[0] + log_size * TRUTH[1]
        true[0] += GROUPS[method]
        missed = pooling.log_law(found, curves.sizes) - pooling.log_law(true, curves.sizes)
        assert np.abs(missed).max() < 0.08, (method, log_size)
    terms = dict(zip(pool.columns, pool.coefficients, strict=True))
    difference = terms["method=slow"] - terms["method=fast"]
    assert 1.0 < difference[0] < 2.5, "2 in truth, drawn towards no difference"
    assert np.abs(difference[1:]).max() < 0.3, "the methods differ in D0 alone"


def test_draws_cover_the_truth_as_often_as_they_say() -> None:
    """Of 40 curves measured to a quarter of the data, 80 % intervals for what follows."""
    curves, features = population(40, seed=2)
    sd = curves.sd.copy()
    sd[:, -2:] = np.inf
    short = curves._replace(sd=sd)
    pool = pooling.fit_pool(short, prior())
    draws = pooling.posterior(short, pool, 400, np.random.default_rng(0)).draws
    values = pooling.log_law(draws, SIZES[-1:])[..., 0]
    low, high = np.quantile(values, [0.1, 0.9], axis=1)
    true = pooling.log_law(features, SIZES[-1:])[:, 0]
    assert ((low <= true) & (true <= high)).mean() >= 0.7


def test_pooling_predicts_a_short_curve_better_than_alone() -> None:
    curves, features = population(21, seed=3, scatter=SCATTER / 2)
    alone, beside = [], []
    for curve in range(0, 21, 5):
        short = measured(curves, curve, 2)
        lone = pooling.select_curves(short, np.array([curve]))
        alone.append(np.median(predicted(lone, 0)) - truth(features, curve))
        beside.append(np.median(predicted(short, curve)) - truth(features, curve))
    assert np.mean(np.abs(beside)) < 0.6 * np.mean(np.abs(alone))


def test_a_curve_without_points_is_predicted_as_its_group_with_a_wider_spread() -> None:
    curves, features = population(24, seed=4)
    none = [predicted(measured(curves, i, 0), i) for i in (0, 4)]  # one of either method
    for i, draws in zip((0, 4), none, strict=True):
        assert abs(np.median(draws) - truth(features, i)) < 3 * draws.std()
        assert draws.std() > 3 * predicted(measured(curves, i, 4), i).std()
    assert np.median(none[0]) - np.median(none[1]) > 0.1, "slow methods have the larger loss"


def test_an_unknown_group_is_wider_than_a_known_one() -> None:
    curves, _ = population(24, seed=4)
    known = measured(curves, 0, 0)
    among = pooling.select_curves(known, np.arange(1, 24))
    unknown = known._replace(groups=[{"method": "new"}, *known.groups[1:]])
    assert predicted(unknown, 0, among).std() > predicted(known, 0, among).std()


def runs(curves: Curves) -> list[CurveRuns]:
    return [
        CurveRuns(SIZES, np.exp(logs), tuple(f"{c}/{i}" for i in range(len(SIZES))), groups, None)
        for c, (logs, groups) in enumerate(zip(curves.logs, curves.groups, strict=True))
    ]


def test_a_glitch_moves_no_other_curve() -> None:
    curves, _ = population(8, seed=5)
    spoilt = curves.logs.copy()
    spoilt[3, 4] += np.log(1.5)
    clean = fit_curves(runs(curves)).laws
    glitched = fit_curves(runs(curves._replace(logs=spoilt))).laws
    for c, (before, after) in enumerate(zip(clean, glitched, strict=True)):
        assert before is not None
        assert after is not None
        assert [g.key for g in after.glitches] == (["3/4"] if c == 3 else [])
        value, again = (law.predict(SIZES[-1] * 2).value[0] for law in (before, after))
        assert again == pytest.approx(value, rel=0.01 if c != 3 else 0.03), c


def test_the_order_of_curves_does_not_matter() -> None:
    curves, _ = population(12, seed=6)
    turned = pooling.select_curves(curves, np.arange(12)[::-1])
    one, other = pooling.fit_pool(curves, prior()), pooling.fit_pool(turned, prior())
    assert one.columns == other.columns
    assert one.coefficients == pytest.approx(other.coefficients, rel=1e-9)
    means = [
        pooling.posterior(data, pool, 8, np.random.default_rng(0)).mean
        for data, pool in ((curves, one), (turned, other))
    ]
    assert means[0] == pytest.approx(means[1][::-1], rel=1e-6)


def test_the_same_bytes_twice() -> None:
    curves, _ = population(6, seed=7)
    found = [
        pooling.posterior(curves, pooling.fit_pool(curves, prior()), 50, np.random.default_rng(0))
        for _ in range(2)
    ]
    assert found[0].draws.tobytes() == found[1].draws.tobytes()


def test_slope_is_the_derivative_of_the_law() -> None:
    features, step = TRUTH[0], 1e-5
    sizes = 3000.0 * np.exp([-step, step])
    below, above = pooling.log_law(features, sizes)
    assert pooling.log_slope(features, 3000.0) == pytest.approx((above - below) / (2 * step))


def test_the_largest_size_counts_most() -> None:
    """Points age by doublings; the untouched base as one doubling below the smallest size."""
    sizes = np.array([0.0, 100.0, 200.0, 800.0])
    curves = Curves(sizes, np.zeros((1, 4)), np.full((1, 4), 0.01), np.zeros(1), [{}])
    (weights,) = pooling.precision(curves)
    ages = np.array([4, 3, 2, 0])
    assert weights == pytest.approx(1 / (0.01**2 + (pooling.DRIFT * ages) ** 2))
