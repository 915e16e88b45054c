"""Requests and answers: what may be asked, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from tracker.errors import InputError
from tracker.store.control import (
    Request,
    described,
    new_request,
)
from tracker.store.runs import thinned


@pytest.mark.parametrize(
    ("action", "fields", "words"),
    [
        ("halt", {}, "action: found 'halt'; allowed: pause, resume, stop, stop_trial"),
        ("pause", {"trial": 1}, "pause: found trial number; allowed: none"),
        ("stop_trial", {}, "stop_trial: found no trial number; allowed: one"),
        ("clone", {"trial": 1}, "clone: found no changed value; allowed: one"),
        ("clone", {"changes": {"a": "b"}}, "clone: found no trial number; allowed: one"),
        ("raise_budget", {}, "raise_budget: found no budget; allowed: one"),
        ("stop_trial", {"trial": -3}, "trial: found -3; allowed: input should be greater"),
        ("pause", {"by": "x" * 200}, "by: found 'x"),
        ("pause", {"surplus": 1}, "surplus: found 1"),
        ("raise_budget", {"budget": {"trials": 0}}, "budget.trials: found 0"),
        ("raise_budget", {"budget": {"gpu_hours": float("nan")}}, "budget.gpu_hours: found nan"),
        ("raise_budget", {"budget": {}}, "found both or neither"),
    ],
)
def test_what_cannot_be_asked_is_one_line(action: str, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as refused:
        new_request(action, **fields)
    assert words in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_requests_in_words() -> None:
    assert described(new_request("pause")) == "pause"
    assert described(new_request("stop_trial", trial=3)) == "stop trial 3"
    asked = new_request("clone", trial=3, changes={"volume": "800", "seed": "1"})
    assert described(asked) == "clone trial 3 with volume=800, seed=1"
    raised: Request = new_request("raise_budget", budget={"gpu_hours": 1.5})
    assert described(raised) == "raise budget to 1.5 device hours"


def test_a_long_curve_is_thinned_to_its_ends_and_some_between() -> None:
    assert thinned(range(5), 10) == [0, 1, 2, 3, 4]
    few = thinned(range(1000), 5)
    assert few == [0, 250, 500, 749, 999]
