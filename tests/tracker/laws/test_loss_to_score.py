"""Loss-to-score mapping: a known one is recovered, covers new runs, and a weak one is called weak."""

from __future__ import annotations

import numpy as np
import pytest

from tracker.errors import InputError, NotEnoughDataError
from tracker.laws.loss_to_score import LossToScore, fit_loss_to_score
from tracker.laws.robust_fit import Array

SPREAD = 0.04


def _truth(losses: Array) -> Array:
    return 0.9 / (1 + (losses / 0.5) ** 2)


def _runs(rng: np.random.Generator, count: int = 120) -> tuple[Array, Array, list[str]]:
    losses = np.exp(rng.uniform(np.log(0.02), np.log(3), count))
    scores = np.clip(_truth(losses) + SPREAD * rng.standard_normal(count), 0, 1)
    return losses, scores, [f"model{i % 4}" for i in range(count)]


def test_a_logistic_link_with_its_ceiling_is_recovered() -> None:
    losses, scores, models = _runs(np.random.default_rng(0))
    link = fit_loss_to_score(losses, scores, models=models)
    assert link.shape == "logistic"
    at = np.array([0.05, 0.3, 0.5, 1.5])
    assert link.expected(at) == pytest.approx(_truth(at), abs=0.03)
    assert link.proxy
    assert link.rank_correlation.low < link.rank_correlation.value < -0.9
    assert link.held_out_error < link.constant_error / 4


def test_a_step_is_better_fitted_without_a_shape() -> None:
    losses, _, models = _runs(np.random.default_rng(0))
    scores = np.where(losses < 0.2, 0.9, np.where(losses < 1, 0.5, 0.1))
    link = fit_loss_to_score(losses, scores, models=models)
    assert link.shape == "isotonic"
    assert link.expected([0.05, 0.5, 2.0]) == pytest.approx([0.9, 0.5, 0.1], abs=0.01)


def test_score_draws_cover_new_runs_as_often_as_they_say() -> None:
    covered, at = [], np.array([0.1, 0.4, 0.7, 1.0])
    for draw in range(30):
        rng = np.random.default_rng(draw)
        losses, scores, models = _runs(rng, 80)
        draws = fit_loss_to_score(losses, scores, models=models).scores(np.tile(at, (400, 1)))
        low, high = np.quantile(draws, [0.1, 0.9], axis=0)
        new = np.clip(_truth(at) + SPREAD * rng.standard_normal(4), 0, 1)
        covered.append((low <= new) & (new <= high))
    assert 0.72 <= np.mean(covered) <= 0.88
    assert (np.mean(covered, axis=0) >= 0.65).all()


def test_a_model_that_scores_otherwise_at_the_same_loss_widens_the_draws() -> None:
    losses, scores, models = _runs(np.random.default_rng(1))
    shifted = np.where(np.array(models) == "model0", np.maximum(scores - 0.3, 0), scores)
    widths = []
    for values in (scores, shifted):
        draws = fit_loss_to_score(losses, values, models=models).scores(np.full(400, 0.3))
        widths.append(np.ptp(np.quantile(draws, [0.1, 0.9])))
    assert widths[1] > 2 * widths[0]


def test_a_weak_correlation_is_no_proxy() -> None:
    rng = np.random.default_rng(2)
    losses, _, models = _runs(rng)
    link = fit_loss_to_score(losses, rng.uniform(0, 1, len(losses)), models=models)
    assert not link.proxy
    rising = fit_loss_to_score(losses, np.clip(losses / 3, 0, 1), models=models)
    assert rising.rank_correlation.value > 0.9
    assert not rising.proxy


def test_one_model_is_left_out_in_folds() -> None:
    losses, scores, _ = _runs(np.random.default_rng(3), 40)
    assert fit_loss_to_score(losses, scores, models=["only"] * 40).groups == 5


def test_loss_that_predicts_no_score_is_refused() -> None:
    losses, _, models = _runs(np.random.default_rng(0), 10)
    with pytest.raises(NotEnoughDataError, match="3 runs; a mapping needs 8: run 5 more"):
        fit_loss_to_score(losses[:3], losses[:3] / 10, models=models[:3])
    with pytest.raises(NotEnoughDataError, match="all 10 runs score 0"):
        fit_loss_to_score(losses, np.zeros(10), models=models)
    with pytest.raises(NotEnoughDataError, match="all 10 runs lose 1"):
        fit_loss_to_score(np.ones(10), losses / 10, models=models)
    with pytest.raises(InputError, match="scores from 0 to 1"):
        fit_loss_to_score(losses, losses * 10, models=models)


def test_order_does_not_change_a_link_and_json_keeps_it() -> None:
    losses, scores, models = _runs(np.random.default_rng(4))
    keys = [f"run{i}" for i in range(len(losses))]
    link = fit_loss_to_score(losses, scores, models=models, keys=keys)
    back = slice(None, None, -1)
    other = fit_loss_to_score(losses[back], scores[back], models=models[back], keys=keys[back])
    assert link.model_dump_json() == other.model_dump_json()
    assert LossToScore.model_validate_json(link.model_dump_json()) == link
    draws = np.linspace(0.1, 1, 50)
    assert link.scores(draws).tolist() == other.scores(draws).tolist()
