"""Predictions of rows drawn from known laws, and of curves that cannot be predicted."""

from pathlib import Path

import numpy as np
import pytest

from tests.factories import predict
from tracker.decision.predict import LEVELS, Forecast
from tracker.errors import InputError, NotEnoughDataError
from tracker.importing.trials import read_table
from tracker.trial import TrialRecord

SIZES = [200 * 2**k for k in range(6)]
#: Of each model: floor E, height A, pre-learned size D0, exponent beta.
LAWS = {
    "small": (0.9, 1.6, 900.0, 0.45),
    "middle": (0.7, 1.5, 700.0, 0.5),
    "large": (0.4, 1.5, 500.0, 0.6),
}


def true_loss(model: str, examples: float) -> float:
    e, a, d0, beta = LAWS[model]
    return e + a / (1 + (examples / d0) ** beta)


def table(folder: Path, metric: str = "loss", sizes: list[int] = SIZES) -> tuple[TrialRecord, ...]:
    rng = np.random.default_rng(1)
    rows = ["model,model_params,family,method,task,metric,examples,value"]
    for number, model in enumerate(LAWS):
        for n in [0, *sizes]:
            loss = true_loss(model, n) * np.exp(0.004 * rng.standard_normal())
            value = 1 - loss / 3 if metric == "accuracy" else loss
            rows.append(f"{model},{10 ** (7 + number)},F,full,t,{metric},{n},{value:.6f}")
    path = folder / "table.csv"
    path.write_text("\n".join(rows))
    return read_table(path).records


@pytest.fixture(scope="module")
def losses(tmp_path_factory: pytest.TempPathFactory) -> tuple[TrialRecord, ...]:
    return table(tmp_path_factory.mktemp("losses"))


@pytest.fixture(scope="module")
def ahead(losses: tuple[TrialRecord, ...]) -> Forecast:
    return predict(losses, "t", 4 * SIZES[-1], sweep="s", notes=("a note",))


def test_the_true_order_and_values_are_found(ahead: Forecast) -> None:
    assert [p.model for p in ahead.predictions] == ["large", "middle", "small"]
    for p in ahead.predictions:
        assert p.value == pytest.approx(true_loss(p.model, 4 * SIZES[-1]), rel=0.1)
        assert p.intervals["95"].low <= true_loss(p.model, 4 * SIZES[-1]) <= p.intervals["95"].high
    assert ahead.predictions[0].p_best > 0.9
    assert sum(p.p_best for p in ahead.predictions) == pytest.approx(1.0, abs=1e-4)


def test_wider_levels_hold_the_narrower_ones(ahead: Forecast) -> None:
    for p in ahead.predictions:
        bounds = [p.intervals[level] for level in LEVELS]
        assert bounds[0].low >= bounds[1].low >= bounds[2].low
        assert bounds[0].high <= bounds[1].high <= bounds[2].high


def test_it_says_how_far_outside_the_measured_n_lies(
    losses: tuple[TrialRecord, ...], ahead: Forecast
) -> None:
    assert (ahead.outside, {p.extrapolation for p in ahead.predictions}) == (3, {4.0})
    assert {(p.measured_from, p.measured_to) for p in ahead.predictions} == {(200, SIZES[-1])}
    within = predict(losses, "t", 1000)
    assert (within.outside, {p.extrapolation for p in within.predictions}) == (0, {1.0})


def test_far_is_refused_unless_allowed(losses: tuple[TrialRecord, ...]) -> None:
    far = 512 * SIZES[-1]
    with pytest.raises(NotEnoughDataError, match="512 times the largest measured"):
        predict(losses, "t", far)
    forecast = predict(losses, "t", far, allow_far=True)
    assert [p.extrapolation for p in forecast.predictions] == [512.0] * 3
    assert all(p.intervals["95"].low > 0 for p in forecast.predictions)


def test_scores_are_predicted_as_scores(tmp_path: Path) -> None:
    forecast = predict(table(tmp_path, "accuracy"), "t", 2 * SIZES[-1])
    assert forecast.measure == "score"
    assert forecast.predictions[0].model == "large"
    for p in forecast.predictions:
        assert p.value == pytest.approx(1 - true_loss(p.model, 2 * SIZES[-1]) / 3, abs=0.04)
        assert 0 <= p.intervals["95"].low <= p.value <= p.intervals["95"].high <= 1


def test_a_curve_of_too_few_points_is_listed_with_the_reason(
    losses: tuple[TrialRecord, ...], tmp_path: Path
) -> None:
    path = tmp_path / "short.csv"
    path.write_text("model,method,task,metric,examples,value\nshort,lora,t,loss,400,1.5\n")
    both = predict([*losses, *read_table(path).records], "t", 1000)
    assert [r.model for r in both.refused] == ["short"]
    assert both.refused[0].label == "short lora"
    assert "a law needs" in both.refused[0].reason
    alone = predict(read_table(path).records, "t", 1000, allow_far=True)
    assert (alone.predictions, len(alone.refused)) == ((), 1)


def test_the_order_of_the_records_changes_nothing(
    losses: tuple[TrialRecord, ...], ahead: Forecast
) -> None:
    again = predict(losses[::-1], "t", 4 * SIZES[-1], sweep="s", notes=("a note",))
    assert again.model_dump_json() == ahead.model_dump_json()


def test_what_is_not_there_is_said(losses: tuple[TrialRecord, ...]) -> None:
    with pytest.raises(InputError, match=r"^task: found .tt.; allowed: t; did you mean .t."):
        predict(losses, "tt", 100)
    with pytest.raises(InputError, match=r"^examples: found 0; allowed: at least 1"):
        predict(losses, "t", 0)
