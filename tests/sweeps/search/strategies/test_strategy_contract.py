"""Every strategy keeps the contract of a strategy."""

from __future__ import annotations

from typing import ClassVar

import pytest

from sweeps.search.strategies import STRATEGIES
from tests.contracts.strategy import BOUNDS, StrategyContract


class TestStrategies(StrategyContract):
    # Under a budget of trials what a clock says decides nothing; the lower bound ranks repeats alone. The
    # first two volumes are all that ats reaches here, and none of them is forbidden by the examples.
    SEEN: ClassVar[dict[str, set[str]]] = dict.fromkeys(
        STRATEGIES, set(BOUNDS) - {"device_seconds", "min.intent"}
    ) | {"ats": set(BOUNDS) - {"device_seconds", "min.intent", "examples"}}
    KEPT: ClassVar[dict[str, set[str]]] = dict.fromkeys(
        STRATEGIES, set(BOUNDS) - {"device_seconds"}
    )
    FAULTS: ClassVar[dict[str, str]] = (
        {
            f"test_a_raised_budget_leaves_earlier_proposals_as_they_were[{name}]": "a budget raised in the "
            "sweep file is taken to have been there from the start: what is proposed anew for trials of "
            "the study gives them another stage and seed, though the same key"
            for name in ("random", "tpe", "law")
        }
        | {
            f"test_a_budget_of_trials_is_exact[{name}-5]": "of a small budget the part reserved for "
            "more seeds of the two best is not spent where fewer configurations were run"
            for name in ("random", "tpe")
        }
        | {
            "test_nothing_runs_that_the_trials_it_may_look_at_forbid[grid-peak_bytes]": "what is to be "
            "covered is settled once all is tuned: a bound that breaks later stops no larger volume"
        }
    )

    @pytest.fixture(scope="class", params=STRATEGIES)
    @classmethod
    def strategy(cls, request: pytest.FixtureRequest) -> str:
        return str(request.param)
