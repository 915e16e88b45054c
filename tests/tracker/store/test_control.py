"""Control requests and answers: which are allowed, and in which words."""

from __future__ import annotations

from typing import Any

import pytest

from tracker.errors import InputError
from tracker.store.control import (
    Request,
    new_request,
    request_text,
)
from tracker.store.runs import evenly_spaced


@pytest.mark.parametrize(
    ("action", "fields", "words"),
    [
        ("halt", {}, "action: found 'halt'; allowed: pause, resume, stop, stop_trial"),
        ("pause", {"trial": 1}, "pause: found trial number; allowed: none"),
        ("stop_trial", {}, "stop_trial: found no trial number; allowed: one"),
        ("clone", {"trial": 1}, "clone: found no changed value; allowed: one"),
        ("clone", {"changes": {"a": "b"}}, "clone: found no trial number; allowed: one"),
        ("raise_budget", {}, "raise_budget: found no budget; allowed: one"),
        ("stop_trial", {"trial": -3}, "trial: found -3; allowed: at least 0"),
        ("pause", {"by": "x" * 200}, "by: found 'x"),
        ("pause", {"surplus": 1}, "surplus: found 1"),
        ("raise_budget", {"budget": {"trials": 0}}, "budget.trials: found 0"),
        ("raise_budget", {"budget": {"gpu_hours": float("nan")}}, "budget.gpu_hours: found nan"),
        ("raise_budget", {"budget": {}}, "found both or neither"),
    ],
)
def test_a_wrong_request_is_one_line(action: str, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as refused:
        new_request(action, **fields)
    assert words in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_requests_in_words() -> None:
    assert request_text(new_request("pause")) == "pause"
    assert request_text(new_request("stop_trial", trial=3)) == "stop trial 3"
    clone = new_request("clone", trial=3, changes={"volume": "800", "seed": "1"})
    assert request_text(clone) == "clone trial 3 with volume=800, seed=1"
    raised: Request = new_request("raise_budget", budget={"gpu_hours": 1.5})
    assert request_text(raised) == "raise budget to 1.5 device hours"


def test_a_long_curve_is_thinned_to_its_ends_and_some_between() -> None:
    assert evenly_spaced(range(5), 10) == [0, 1, 2, 3, 4]
    few = evenly_spaced(range(1000), 5)
    assert few == [0, 250, 500, 749, 999]


def test_a_request_of_the_first_release_is_read() -> None:
    """0.1.0 called the time of a request ``asked_at``; such a request may still wait for its driver."""
    new = new_request("pause", now=12.0)
    old = new.model_dump_json().replace("requested_at", "asked_at")
    assert "asked_at" in old
    assert Request.model_validate_json(old) == new
