"""Requests and answers: what may be asked, and the way there and back through a real MLflow."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tracker.errors import InputError, StoreError
from tracker.record.control import (
    ACTIONS,
    Answer,
    RaisedBudget,
    Request,
    described,
    new_request,
)
from tracker.record.runs import thinned
from tracker.record.store import Store
from tracker.record.trial import Objective

_NAMES = itertools.count()
#: What each action needs beside its name.
NEEDED: dict[str, dict[str, Any]] = {
    "stop_trial": {"trial": 12},
    "clone": {"trial": 12, "changes": {"volume": "800"}},
    "raise_budget": {"budget": RaisedBudget(trials=80)},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store.open(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def sweep(store: Store) -> str:
    name = f"sweep-{next(_NAMES)}"
    store.begin_sweep(
        name,
        spec_text="",
        spec_digest="0",
        planned=2,
        datasets=[],
        objective=Objective(weights={"intent": 1.0}),
    )
    return name


@pytest.mark.parametrize("action", ACTIONS)
def test_a_request_comes_back_as_it_was_asked(store: Store, sweep: str, action: str) -> None:
    asked = new_request(action, by="test", **NEEDED.get(action, {}))
    store.ask(sweep, asked)
    other = Store.open(store.workspace)  # as another process would read it
    assert other.requests(sweep) == [asked]
    answer = Answer(id=asked.id, at=asked.asked_at + 1, accepted=True, words="done")
    other.answer(sweep, answer)
    assert store.requests(sweep) == []
    assert store.control_log(sweep) == [(asked, answer)]


def test_requests_are_in_the_order_in_which_they_were_asked(store: Store, sweep: str) -> None:
    asked = [new_request("pause", now=1e9 + n) for n in (0, 1, 2)]
    for request in reversed(asked):
        store.ask(sweep, request)
    assert store.requests(sweep) == asked
    assert len({new_request("pause", now=1e9).id for _ in range(100)}) == 100


def test_a_paused_sweep_is_live_and_goes_on(store: Store, sweep: str) -> None:
    store.set_sweep_state(sweep, "paused", planned=9)
    info = next(info for info in store.sweeps() if info.name == sweep)
    assert (info.state, info.is_live, info.ended_at, info.planned) == ("paused", True, None, 9)
    store.ask(sweep, new_request("resume"))
    store.set_sweep_state(sweep, "stopped")
    info = next(info for info in store.sweeps() if info.name == sweep)
    assert not info.is_live
    assert info.ended_at is not None


@pytest.mark.parametrize("action", ["pause", "resume", "stop", "stop_trial"])
def test_nobody_is_there_to_take_it(store: Store, sweep: str, action: str) -> None:
    store.set_sweep_state(sweep, "interrupted")
    with pytest.raises(InputError, match=r"found sweep .* interrupted; allowed while it is run"):
        store.ask(sweep, new_request(action, **NEEDED.get(action, {})))
    assert store.requests(sweep) == []


@pytest.mark.parametrize("action", ["clone", "raise_budget"])
def test_what_can_wait_for_the_next_start_is_kept(store: Store, sweep: str, action: str) -> None:
    store.set_sweep_state(sweep, "finished")
    store.ask(sweep, new_request(action, **NEEDED[action]))
    assert [each.action for each in store.requests(sweep)] == [action]


def test_a_sweep_that_is_not_there_is_said(store: Store) -> None:
    with pytest.raises(StoreError, match="no such sweep"):
        store.ask("nosuch", new_request("pause"))


def test_a_long_request_is_refused_before_the_store_would_cut_it(store: Store, sweep: str) -> None:
    changes = {f"name{i}": "x" * 300 for i in range(20)}
    with pytest.raises(InputError, match=r"found a request of \d,\d+ characters; allowed: 4,000"):
        store.ask(sweep, new_request("clone", trial=1, changes=changes))


def test_long_words_of_an_answer_are_cut(store: Store, sweep: str) -> None:
    asked = new_request("pause")
    store.ask(sweep, asked)
    store.answer(sweep, Answer(id=asked.id, at=1.0, accepted=False, words="a" * 5000))
    answer = store.control_log(sweep)[0].answer
    assert answer is not None
    assert answer.words == "a" * 999 + "…"


def test_tags_that_somebody_edited_are_left_out(store: Store, sweep: str) -> None:
    run = store._runs.sweep(sweep)
    kept = new_request("pause")
    store.ask(sweep, kept)
    for name, text in {
        "sft.control.bad": "{",
        "sft.control.other": kept.model_dump_json(),
        f"sft.answer.{kept.id}": "no answer",
    }.items():
        store.client.set_tag(run.info.run_id, name, text)
    assert store.control_log(sweep) == [(kept, None)]


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
