"""Outliers among the runs: flagged, down-weighted, and without influence on the choice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.factories import law_score, numbered, scored_record
from tracker.decision.analysis import Analysis
from tracker.decision.caveats import caveats
from tracker.decision.recommend import choose
from tracker.trial import Objective, TrialRecord

INTENT = Objective(weights={"intent": 1})
VOLUMES = (125, 250, 500, 1000, 2000)
Place = tuple[str, str, int]


def _table(
    changed: Callable[[Place, int, float], float], mixes: tuple[str, ...] = ("even", "odd")
) -> Analysis:
    """2 models × 3 methods × 5 volumes × mixes × 2 seeds, noise .004; *changed* spoils some of it."""
    rng, found = np.random.default_rng(5), []
    for model in ("small", "large"):
        for method in ("full", "lora", "p_tuning"):
            for volume in VOLUMES:
                for mix in mixes:
                    for seed in range(2):
                        score = law_score(model, method, volume) - 0.02 * (mix != "even")
                        score += 0.004 * rng.standard_normal()
                        if mix == "even":
                            score = changed((model, method, volume), seed, score)
                        found.append(_run(model, method, volume, mix, seed, score))
    return Analysis(numbered(found), INTENT)


def _run(model: str, method: str, volume: int, mix: str, seed: int, score: float) -> TrialRecord:
    return scored_record(
        model=model, method=method, volume=volume, mix=mix, seed=seed, scores={"intent": score}
    )


@pytest.fixture(scope="module")
def clean() -> Analysis:
    return _table(lambda place, seed, score: score)


def _chosen(analysis: Analysis) -> str:
    return analysis.candidates[choose(analysis).choice].label


def test_a_clean_table_raises_no_alarm(clean: Analysis) -> None:
    assert not clean.posterior.outliers
    assert not clean.posterior.label_swaps
    assert _chosen(clean) == "large full lr=0.001, even, 2,000 examples"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("small", "full", 2000), 0.95),  # at a curve's end, it would win
        (("large", "p_tuning", 500), 0.95),
        (("large", "full", 2000), 0.0),  # diverged, recorded as finished
        (("large", "lora", 1000), 0.4),
    ],
)
def test_a_spoilt_run_is_flagged_and_the_choice_stays(
    clean: Analysis, place: Place, value: float
) -> None:
    analysis = _table(lambda at, seed, score: value if (at, seed) == (place, 1) else score)
    (outlier,) = analysis.posterior.outliers
    assert outlier.quality == pytest.approx(value, abs=0.01)
    assert outlier.deviations > 5
    candidate = next(c for c in analysis.candidates if outlier.key in c.keys)
    assert (candidate.model, candidate.method.name, candidate.volume) == place
    assert abs(outlier.expected - law_score(*place)) < 0.05
    assert abs(candidate.quality.value - law_score(*place)) < 0.03
    assert _chosen(analysis) == _chosen(clean)
    text = " ".join(caveats(analysis, choose(analysis).choice))
    assert f"Trial {outlier.key}" in text
    assert "run it again" in text


def test_seeds_that_agree_are_believed_against_their_neighbours() -> None:
    place = ("large", "lora", 1000)
    analysis = _table(lambda at, seed, score: score - 0.2 if at == place else score)
    assert not [s for s in analysis.posterior.outliers if "lora" in s.label]


@pytest.mark.parametrize("volumes", [(2000,), VOLUMES])
def test_exchanged_methods_are_flagged_and_the_choice_stays(
    clean: Analysis, volumes: tuple[int, ...]
) -> None:
    """Full tuning's results under LoRA's name and the other way round, on the large model."""
    other = {"full": "p_tuning", "p_tuning": "full"}

    def swapped(at: Place, seed: int, score: float) -> float:
        model, method, volume = at
        if model == "large" and volume in volumes and method in other:
            return law_score(model, other[method], volume) + 0.002 * (-1) ** seed
        return score

    analysis = _table(swapped)
    (swap,) = analysis.posterior.label_swaps
    labels = {analysis.candidates[i].label for i in (*swap.first, *swap.second)}
    assert labels == {
        c.label
        for c in analysis.candidates
        if c.model == "large" and c.mix == "even" and c.volume in volumes and c.method.name in other
    }
    assert "look swapped" in " ".join(caveats(analysis, choose(analysis).choice))
    chosen = analysis.candidates[choose(analysis).choice]
    assert (chosen.model, chosen.method.name) == ("large", "full")


def test_without_a_surface_three_seeds_tell_the_odd_one(record: Callable[..., TrialRecord]) -> None:
    scores = {"small": (0.70, 0.71, 0.705), "large": (0.80, 0.81, 0.2)}
    rows = [
        record(model=model, scores={"intent": s}, seed=i)
        for model, found in scores.items()
        for i, s in enumerate(found)
    ]
    rows += [
        record(method="lora", volume=v, scores={"intent": 0.5 + 0.01 * i}, seed=i)
        for v in (125, 250, 500)
        for i in range(2)
    ]
    analysis = Analysis(numbered(rows), INTENT)
    (outlier,) = analysis.posterior.outliers
    assert outlier.quality == pytest.approx(0.2, abs=0.01)
    assert analysis.posterior.noise_floor == pytest.approx(0.006, abs=0.003)
    assert analysis.candidates[choose(analysis).choice].model == "large"
