"""Measurement noise of outside tables with one seed and no number of rows: from residuals, never zero."""

from __future__ import annotations

import numpy as np
import pytest

from tests.factories import numbered, recommend, scored_record
from tracker.decision.noise import generator, measurement_noise, noise_without_replicates
from tracker.results import by_configuration
from tracker.trial import Objective, TrialRecord

VOLUMES = (100, 200, 400, 800, 1600, 3200)
INTENT = Objective(weights={"intent": 1})


def _outside(loss: float, **fields: object) -> TrialRecord:
    """A trial with a loss alone, and nothing known of its rows."""
    record = scored_record(**fields)  # type: ignore[arg-type]
    score = record.result.tasks[0].model_copy(
        update={"n": None, "score": None, "score_name": None, "replicates": (), "loss_nats": loss}
    )
    result = record.result.model_copy(update={"tasks": (score,)})
    return record.model_copy(update={"result": result})


def _curves(
    noise: float, seed: int, methods: tuple[str, ...] = ("full", "lora")
) -> list[TrialRecord]:
    """Loss 0.5 + 2 (1 + D/300)^-0.4, the same for every method and model but for noise."""
    rng = np.random.default_rng(seed)
    return numbered(
        _outside(
            float((0.5 + 2 * (1 + v / 300) ** -0.4) * np.exp(noise * rng.standard_normal())),
            model=model,
            method=method,
            volume=v,
        )
        for model in ("small", "large")
        for method in methods
        for v in VOLUMES
    )


def test_the_noise_of_runs_is_found_from_their_curves() -> None:
    found = []
    for seed in range(30):
        configurations = by_configuration(_curves(0.03, seed))
        noise = noise_without_replicates(configurations, {"intent": 1.0})
        assert noise.source == "residuals"
        assert noise.freedom == 16  # four curves of six volumes
        errors = [configuration.runs[0].tasks[0].loss_nats for configuration in configurations]
        ratios = np.sqrt(noise.variance) / np.array(errors)
        assert ratios == pytest.approx(ratios[0])
        found.append(ratios[0])
    assert np.median(found) == pytest.approx(0.03, rel=0.25)


def test_weights_share_the_noise_out() -> None:
    configurations = by_configuration(_curves(0.03, 1))
    whole, half = (
        noise_without_replicates(configurations, {"intent": w}).variance for w in (1.0, 0.5)
    )
    assert half == pytest.approx(whole / 4)


def test_without_curves_it_is_assumed_and_where_rows_are_known_it_is_not_needed() -> None:
    few = by_configuration([_outside(1.5, method="full"), _outside(1.0, method="lora")])
    noise = noise_without_replicates(few, {"intent": 1.0})
    assert (noise.source, noise.freedom) == ("assumed", 1)
    assert np.sqrt(noise.variance).tolist() == pytest.approx([0.03, 0.02])
    known = noise_without_replicates(by_configuration([scored_record()]), {"intent": 1.0})
    assert (known.variance.tolist(), known.freedom, known.source) == ([0.0], 0, None)


def test_two_runs_alike_are_no_certainty() -> None:
    """One seed each, no rows stated: a gap of 1 % is within what such runs differ by anyway."""
    found = recommend([_outside(1.00, method="full"), _outside(1.01, method="lora")], INTENT)
    assert 0.5 < found.p_best < 0.8
    assert found.expected_regret > 0
    assert found.choice.quality.low is not None
    assert found.choice.quality.low < found.choice.quality.value
    assert any("assumed" in caveat for caveat in found.caveats)


def test_curves_alike_but_for_noise_are_no_certainty() -> None:
    found = recommend(_curves(0.02, 4), INTENT)
    assert found.p_best < 0.9
    assert any("how far runs lie from their curves" in caveat for caveat in found.caveats)
    clear = recommend([_outside(0.5, method="full"), _outside(2.0, method="lora")], INTENT)
    assert clear.p_best > 0.95


def test_the_noise_floor_is_pooled_over_degrees_of_freedom() -> None:
    """Three runs of one configuration and two of another have three degrees of freedom."""
    values = {1000: (0.70, 0.72, 0.74), 2000: (0.80, 0.82)}
    configurations = by_configuration(
        scored_record(volume=volume, seed=seed, scores={"intent": score})
        for volume, scores in values.items()
        for seed, score in enumerate(scores)
    )
    noise = measurement_noise(configurations, list(values.values()), {"intent": 1.0})
    assert noise.freedom == 3
    assert noise.floor == pytest.approx(np.sqrt((0.0008 + 0.0002) / 3))


def test_random_numbers_depend_on_the_content_alone() -> None:
    assert generator("rows", 3).random() == generator("rows", 3).random()
    assert generator("rows", 3).random() != generator("rows", 4).random()
