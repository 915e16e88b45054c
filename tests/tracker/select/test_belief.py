"""The belief holds what it states: on sweeps whose truth is known, in small; 200 of them under benchmarks."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.benchmarks.calibration_of_choice import Judged, calibration_error, deciles, judge
from tests.benchmarks.synthetic import configuration, synthetic_sweep
from tracker.select.belief import believe
from tracker.select.cells import group, task_weights
from tracker.select.pooling import Array


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
        cells = group(records)
        found.append(believe(cells, task_weights(sweep.objective, cells)))
    assert (found[0].centre == found[1].centre).all()
    assert (found[0].draws == found[1].draws).all()
    assert found[0].suspects == found[1].suspects


def test_the_centre_is_nearer_the_truth_than_the_measurement() -> None:
    sweep = synthetic_sweep(8, glitches=0.0)
    cells = group(sweep.records)
    belief = believe(cells, task_weights(sweep.objective, cells))
    truth = np.array([sweep.truth[configuration(c.spec)][c.spec.volume] for c in cells])
    trained = np.array([not cell.untouched for cell in cells])

    def spread(values: Array) -> float:
        """Of the errors without their common part: the rows shift all alike."""
        return float(np.std((values - truth)[trained]))

    assert spread(belief.centre) < 0.75 * spread(belief.measured)
