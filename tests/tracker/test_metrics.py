"""What a task is decided on, and how errors and qualities follow from it."""

import math

import numpy as np
import pytest
from scipy.special import ndtri
from scipy.stats import beta

from tests.factories import trial_result, trial_spec
from tracker.metrics import (
    ROWS_UNSTATED,
    error_of,
    errors,
    interval,
    limited,
    measures_of,
    normal_interval,
    quality_from_error,
    quality_of,
    rounded,
    score_of,
    score_variance,
    share_of_draws,
    value_from_error,
    weighted_se,
)
from tracker.task import TaskScore
from tracker.trial import Status, TrialResult


def result(*scores: TaskScore, status: Status = Status.COMPLETE) -> TrialResult:
    spec = trial_spec(tasks=(), examples={}, origin="t.csv 0")
    return trial_result(spec, status, tasks=scores)


SCORED = TaskScore(task="t", score_name="f1", score=0.75, n=100, bits_per_byte=0.5)
BITS = TaskScore(task="t", bits_per_byte=0.5, loss_nats=1.5)
NATS = TaskScore(task="t", loss_nats=1.5)


def test_a_score_comes_before_bits_and_bits_before_nats() -> None:
    assert measures_of([result(NATS), result(BITS), result(SCORED)]) == {"t": "score"}
    assert measures_of([result(NATS), result(BITS)]) == {"t": "bits_per_byte"}
    assert measures_of([result(NATS)]) == {"t": "loss_nats"}


def test_only_complete_trials_on_validation_decide() -> None:
    lost = result(SCORED, status=Status.PRUNED)
    tested = result(SCORED.model_copy(update={"split": "test"}))
    assert measures_of([lost, tested, result(NATS)]) == {"t": "loss_nats"}
    assert measures_of([lost]) == {}
    assert measures_of([]) == {}


def test_qualities_grow_and_errors_shrink_with_what_is_better() -> None:
    assert quality_of(SCORED, "score") == 0.75
    assert error_of(SCORED, "score") == 0.25
    assert quality_of(NATS, "loss_nats") == -1.5
    assert error_of(NATS, "loss_nats") == 1.5
    assert quality_of(NATS, "score") is None
    assert error_of(NATS, "bits_per_byte") is None


def test_a_perfect_score_keeps_half_a_row_of_error() -> None:
    perfect = SCORED.model_copy(update={"score": 1.0})
    assert error_of(perfect, "score") == 0.005
    assert quality_of(perfect, "score") == 1.0
    unstated = perfect.model_copy(update={"n": None})
    assert error_of(unstated, "score") == 0.5 / ROWS_UNSTATED
    assert errors([1.0, 1.0], [50, np.nan], "score").tolist() == [0.01, 0.5 / ROWS_UNSTATED]


@pytest.mark.parametrize(
    ("measure", "quality", "value"), [("score", 0.7, 0.7), ("loss_nats", -0.3, 0.3)]
)
def test_an_error_goes_back_to_quality_and_value(measure, quality, value) -> None:  # type: ignore[no-untyped-def]
    assert quality_from_error(0.3, measure) == pytest.approx(quality)
    assert value_from_error(0.3, measure) == pytest.approx(value)


def test_few_rows_have_an_error_even_where_all_came_out_alike() -> None:
    """Jeffreys' posterior of right and wrong: Beta(x + 1/2, n - x + 1/2)."""
    for right, rows in ((0, 12), (12, 12), (1, 12), (400, 400)):
        share = right / rows
        posterior = beta(right + 0.5, rows - right + 0.5)
        bootstrap = share * (1 - share) / rows
        assert score_variance(share, bootstrap, rows) == pytest.approx(
            max(posterior.var(), bootstrap)
        )
        low, high = normal_interval(share, posterior.std(), 0.0, 1.0) or (1.0, 0.0)
        assert low == pytest.approx(min(posterior.ppf(0.1), share), abs=1e-3)
        assert high == pytest.approx(max(posterior.ppf(0.9), share), abs=1e-3)
    assert score_variance(0.125, 0.0, 12) > 0.04**2, "graded rows, all alike"
    assert score_variance(0.5, 0.25 / 400, 400) == 0.25 / 400, "enough rows: the bootstrap's"


@pytest.mark.parametrize("rows", [12, 40])
@pytest.mark.parametrize("truths", [(0.01, 0.1), (0.1, 0.9), (0.9, 0.99)])
def test_few_rows_are_covered_as_often_as_stated(rows: int, truths: tuple[float, float]) -> None:
    """80 % intervals, on average over true scores: of one of them coverage jumps with the counts."""
    rng = np.random.default_rng(0)
    covered = []
    for truth in np.linspace(*truths, 12):
        for right in rng.binomial(rows, truth, size=60):
            share = right / rows
            error = math.sqrt(score_variance(share, share * (1 - share) / rows, rows))
            low, high = normal_interval(share, error, 0.0, 1.0) or (1.0, 0.0)
            covered.append(low <= truth <= high)
    assert np.mean(covered) > 0.76


def test_a_loss_near_nothing_stays_above_it() -> None:
    low, high = normal_interval(0.02, 0.02, 0.0) or (0.0, 0.0)
    assert 0 < low < 0.02 < high
    sampled = limited(0.02, 0.02, ndtri((np.arange(999) + 0.5) / 999), 0.0)
    assert (sampled > 0).all()
    assert sampled.mean() == pytest.approx(0.02, rel=0.05)


def test_no_number_of_draws_shows_certainty() -> None:
    assert 0 < share_of_draws(0.0, 200) < share_of_draws(1.0, 200) < 1
    assert sum(share_of_draws(p, 200, 3) for p in (0.2, 0.8, 0.0)) == pytest.approx(1)


def test_a_choice_never_sees_a_test_score() -> None:
    tested = SCORED.model_copy(update={"split": "test", "score": 0.5})
    assert score_of(result(tested, SCORED), "t") == SCORED
    assert score_of(result(tested), "t") is None


def test_errors_of_tasks_are_independent() -> None:
    scores = (
        SCORED.model_copy(update={"task": task, "score_se": se})
        for task, se in (("a", 0.3), ("b", 0.4))
    )
    assert weighted_se(result(*scores), {"a": 1, "b": 1}, {}) == pytest.approx(0.25)


def test_an_interval_is_central_and_a_number_has_six_digits() -> None:
    assert interval(np.arange(1001.0)) == pytest.approx((100, 900))
    assert interval(np.arange(1001.0), 0.95) == pytest.approx((25, 975))
    assert rounded(1 / 3) == 0.333333
