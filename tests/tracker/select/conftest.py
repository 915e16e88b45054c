"""A synthetic sweep: results drawn from a known law, with paired row replicates."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.factories import RATES, SIZES, law_score, numbered, scored_record
from tracker.record.trial import Status, TrialRecord


@pytest.fixture
def record() -> Callable[..., TrialRecord]:
    return scored_record


@pytest.fixture(scope="session")
def sweep() -> list[TrialRecord]:
    """Those of :func:`sweep_records`."""
    return sweep_records()


def sweep_records() -> list[TrialRecord]:
    """2 models × 3 methods × 5 volumes on two tasks, seeds at the largest, the bases, a divergence."""
    rng, found = np.random.default_rng(3), []
    for model in SIZES:
        base = {"intent": 0.1, "slots": 0.05}
        found.append(scored_record(model=model, method="none", scores=base, forgetting=0.0))
        for method in RATES:
            for volume in (125, 250, 500, 1000, 2000):
                for seed in range(3 if volume == 2000 else 1):
                    score = law_score(model, method, volume) + 0.004 * rng.standard_normal()
                    found.append(
                        scored_record(
                            model=model,
                            method=method,
                            volume=volume,
                            seed=seed,
                            scores={"intent": score, "slots": score - 0.03},
                            forgetting={"full": 0.2, "lora": 0.05, "p_tuning": 0.01}[method]
                            * volume
                            / 2000,
                        )
                    )
    both = {"intent": 0.0, "slots": 0.0}
    found.append(scored_record(rate=0.1, scores=both, status=Status.DIVERGED))
    return numbered(found)
