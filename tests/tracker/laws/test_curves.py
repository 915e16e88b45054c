from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tracker.errors import InputError
from tracker.laws.curves import fit_table
from tracker.metrics import pooled_sd
from tracker.results import results_table
from tracker.trial import Status, TrialRecord

Make = Callable[..., TrialRecord]


def test_every_curve_of_a_sweep_is_fitted(sweep: list[TrialRecord]) -> None:
    fits = fit_table(results_table(sweep), "score")
    assert len(fits.laws) == 12  # 2 models × 3 methods × 2 tasks
    assert not fits.refused
    for key, law in fits.laws.items():
        assert law.domain == (125, 2000)
        assert len(law.used) == 7, key.label  # 4 volumes, 3 seeds at the largest
        assert law.held_out_error is not None
        assert law.held_out_error < 0.15


def test_runs_that_ended_early_are_named(record: Make, sweep: list[TrialRecord]) -> None:
    lost = record(volume=4000, status=Status.DIVERGED, scores={"intent": 0, "slots": 0}, number=99)
    fits = fit_table(results_table([*sweep, lost]), "score", ["intent"])
    named = [out for law in fits.laws.values() for out in law.left_out if "diverged" in out.reason]
    assert [(out.key, out.reason) for out in named] == [
        (lost.result.spec.key, "diverged at 4000 examples")
    ]


def test_tuning_trials_count_where_they_share_the_curve(record: Make) -> None:
    rows = [record(volume=v, scores={"intent": s}) for v, s in ((250, 0.5), (500, 0.6))]
    same = record(volume=1000, scores={"intent": 0.7}, stage="tune")
    other = record(volume=1000, scores={"intent": 0.2}, stage="tune", rate=0.5)
    ((key, law),) = fit_table(results_table([*rows, same, other]), "score").laws.items()
    assert key.method.learning_rate == 1e-3
    assert same.result.spec.key in law.used
    assert other.result.spec.key not in law.used


def test_too_short_curves_are_listed_with_the_reason(record: Make) -> None:
    fits = fit_table(results_table([record(volume=250), record(volume=500)]), "score")
    assert not fits.laws
    ((key, reason),) = fits.refused.items()
    assert key.label == "small full lr=0.001, even, intent"
    assert "run 1 more training-set size" in reason


def test_a_perfect_score_has_a_logarithm(record: Make) -> None:
    rows = [record(volume=v, scores={"intent": s}) for v, s in ((250, 0.9), (500, 0.99), (1000, 1))]
    (law,) = fit_table(results_table(rows), "score").laws.values()
    assert 0 < law.predict(1000).value[0] < 0.01


def test_unknown_metric_is_refused(sweep: list[TrialRecord]) -> None:
    with pytest.raises(InputError, match="loss"):
        fit_table(results_table(sweep), "loss")  # type: ignore[arg-type]


def test_pooled_sd() -> None:
    assert pooled_sd([[1.0], [2.0]]) is None
    assert pooled_sd([[1.0, 3.0], [5.0], [10.0, 12.0]]) == pytest.approx(np.sqrt(2))


def test_method_label(record: Make) -> None:
    assert record(method="lora").result.spec.method.label == "lora r=8 lr=0.01"
