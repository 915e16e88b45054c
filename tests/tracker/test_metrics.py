"""What a task is decided on, and how errors and qualities follow from it."""

import numpy as np
import pytest

from tests.factories import trial_result, trial_spec
from tracker.metrics import (
    ROWS_UNSTATED,
    error_of,
    errors,
    measures_of,
    quality_from_error,
    quality_of,
    value_from_error,
)
from tracker.trial import (
    Status,
    TaskScore,
    TrialResult,
)


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
