"""What trials are expected to score before they run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sweeps.resolve import ResolvedSweep
from sweeps.search.expectation import drawn_surface, measured_surfaces
from sweeps.search.space import Values, configurations, trial_spec
from tests.sweeps.search.formula import answered
from tracker.trial import Status, TrialRecord

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]


@pytest.fixture
def sweep(make_sweep: MakeSweep) -> ResolvedSweep:
    return make_sweep(volumes=[40, 80, 160])[0]


def at(values: Values, volume: int) -> Values:
    return {**values, "volume": volume, "seed": 0}


def test_more_data_is_expected_to_score_no_less(sweep: ResolvedSweep) -> None:
    for draw in range(5):
        scores = drawn_surface(sweep, draw).scores
        assert scores.shape == (len(configurations(sweep.spec)), 3)
        assert ((scores >= 0) & (scores <= 1)).all()
        assert (np.diff(scores, axis=1) >= 0).all()
        assert np.ptp(scores[:, -1]) > 0.05, "there is something to choose"


def test_a_draw_is_the_same_whenever_it_is_drawn(sweep: ResolvedSweep) -> None:
    first, again, other = (drawn_surface(sweep, draw).scores for draw in (0, 0, 1))
    assert (first == again).all()
    assert not (first == other).all()


def test_every_trial_of_the_design_has_a_score_and_no_other(sweep: ResolvedSweep) -> None:
    surface = drawn_surface(sweep, 0)
    for row, values in enumerate(configurations(sweep.spec)):
        spec = trial_spec(sweep, at(values, 80))
        assert surface.score(spec) == surface.scores[row, 1]
    base = trial_spec(sweep, {"model": "a", "method": "none", "seed": 0})
    assert surface.score(base) is None


def test_what_was_measured_is_expected_again(sweep: ResolvedSweep) -> None:
    """All configurations but the last measured on an exact formula: the laws lie near it."""
    records: list[TrialRecord] = []
    for values in configurations(sweep.spec)[:-1]:
        for volume in sweep.spec.mixes[values["mix"]].volumes or sweep.spec.volumes:
            result = answered(trial_spec(sweep, at(values, volume)))
            records.append(TrialRecord(number=len(records), stage="law", result=result))
    surface, other, _ = measured_surfaces(sweep, records, 3)
    assert not (surface.scores == other.scores).all()
    assert surface.measured == len(records)
    off = [
        abs((surface.score(r.result.spec) or 0.0) - (r.result.tasks[0].score or 0.0))
        for r in records
    ]
    assert float(np.median(off)) < 0.05
    last = trial_spec(sweep, at(configurations(sweep.spec)[-1], 80))
    assert surface.score(last) is not None


def test_nothing_measured_is_no_surface(sweep: ResolvedSweep) -> None:
    spec = trial_spec(sweep, at(configurations(sweep.spec)[0], 80))
    lost = answered(spec).model_copy(update={"status": Status.DIVERGED, "tasks": ()})
    assert measured_surfaces(sweep, [], 3) == []
    assert measured_surfaces(sweep, [TrialRecord(number=0, stage="law", result=lost)], 3) == []
