"""The controls: not there unless asked for, and what each button asks through the store."""

from __future__ import annotations

import pytest

from dashboards.app import create_app
from dashboards.context import PageContext
from dashboards.pages.sweep.control import BUTTONS, FIELDS, fields, panel, possible
from dashboards.snapshot import Patience, Snapshot
from tracker.store.store import Store
from tracker.trial import Objective

PATIENCE = Patience(first=60.0, again=60.0)
HEADERS = {"Host": "127.0.0.1:8050"}


@pytest.fixture
def running(tmp_path):
    store = Store.open(tmp_path)
    store.begin_sweep(
        "live",
        spec_text="",
        spec_digest="0",
        planned=4,
        datasets=[],
        objective=Objective(weights={"intent": 1.0}),
    )
    return store


def press(client, button, state=None, shown="live"):
    """What the browser sends when *button* is pressed."""
    given = state or {}
    body = {
        "output": "control-said.children",
        "outputs": {"id": "control-said", "property": "children"},
        "inputs": [
            {"id": b, "property": "n_clicks", "value": 1 if b == button else None} for b in BUTTONS
        ],
        "changedPropIds": [f"{button}.n_clicks"],
        "state": [
            *[
                {"id": identity, "property": "value", "value": given.get(name)}
                for name, identity in FIELDS.items()
            ],
            {"id": "url", "property": "search", "value": ""},
            {"id": "control-shown", "property": "data", "value": shown},
        ],
    }
    return client.post("/_dash-update-component", json=body, headers=HEADERS)


def test_without_the_flag_no_callback_asks_for_anything(running):
    app = create_app(running)
    assert not [key for key in app.callback_map if "control" in key]
    client = app.server.test_client()
    assert press(client, "control-pause").status_code >= 400
    assert running.requests("live") == []


@pytest.mark.parametrize(
    ("button", "form", "action", "fields"),
    [
        ("control-pause", {}, "pause", {}),
        ("control-resume", {}, "resume", {}),
        ("control-stop", {}, "stop", {}),
        ("control-stop-trial", {"stopped": 3}, "stop_trial", {"trial": 3}),
        (
            "control-clone",
            {"cloned": 3, "volume": " 800 ", "seed": 0},
            "clone",
            {"trial": 3, "changes": {"volume": "800", "seed": "0"}},
        ),
    ],
)
def test_each_button_asks_through_the_store(running, button, form, action, fields):
    client = create_app(running, control=True).server.test_client()
    reply = press(client, button, form)
    assert "Asked of live: " in reply.get_data(as_text=True)
    request = running.requests("live")[0]
    assert (request.action, request.by) == (action, "dashboard")
    assert {name: getattr(request, name) for name in fields} == fields


def test_a_raised_budget_is_one_of_its_kind(running):
    client = create_app(running, control=True).server.test_client()
    assert "Not asked" in press(client, "control-raise").get_data(as_text=True)
    assert running.requests("live") == []
    press(client, "control-raise", {"trials": 80})
    budget = running.requests("live")[0].budget
    assert budget is not None
    assert (budget.trials, budget.gpu_hours) == (80, None)


def test_a_refusal_is_told_in_words(running):
    running.set_sweep_state("live", "finished")
    client = create_app(running, control=True).server.test_client()
    told = press(client, "control-pause").get_data(as_text=True)
    assert "allowed while it is running or paused" in told
    told = press(client, "control-stop-trial", {"stopped": -1}).get_data(as_text=True)
    assert "Not asked" in told
    assert running.requests("live") == []


def test_what_was_meant_for_another_sweep_is_not_asked(running):
    """At the address without a name another sweep may have begun since the page was drawn."""
    client = create_app(running, control=True).server.test_client()
    told = press(client, "control-stop", shown="earlier").get_data(as_text=True)
    assert "Not asked: the page showed another sweep" in told
    assert "Not asked" in press(client, "control-stop", shown=None).get_data(as_text=True)
    assert running.requests("live") == []


def test_no_button_can_be_pressed_before_the_state_is_known():
    buttons = {b.id: b for b in panel()._traverse() if getattr(b, "id", None) in BUTTONS}
    waiting = ("control-pause", "control-resume", "control-stop")
    assert all(buttons[name].disabled for name in waiting)


def test_a_foreign_page_cannot_press(running):
    client = create_app(running, control=True).server.test_client()
    body = {"output": "control-said.children"}
    headers = HEADERS | {"Origin": "http://evil.example"}
    assert client.post("/_dash-update-component", json=body, headers=headers).status_code == 403


def test_only_what_is_possible_can_be_pressed(running):
    desk = PageContext(Snapshot(running, interval=0.0, patience=PATIENCE), asks=running.ask)
    assert possible(desk, "")[:3] == (False, True, False)
    running.set_sweep_state("live", "paused")
    desk = PageContext(Snapshot(running, interval=0.0, patience=PATIENCE), asks=running.ask)
    assert possible(desk, "")[:3] == (True, False, False)
    running.set_sweep_state("live", "finished")
    desk = PageContext(Snapshot(running, interval=0.0, patience=PATIENCE), asks=running.ask)
    assert possible(desk, "")[:3] == (True, True, True)


def test_values_known_so_far_are_suggested(store, words):
    desk = PageContext(Snapshot(store, interval=3600, patience=PATIENCE), asks=store.ask)
    _, _, _, running, shown, stop, *known = possible(desk, "")
    assert (shown, stop) == ("support", "Yes, stop the sweep support")
    assert [option.value for option in running] == ["49", "50"]
    assert [option.value for option in known[3]] == ["250", "500", "1000", "2000"]


def test_every_button_and_field_is_in_the_panel(words):
    text = str(panel())
    for identity in [*BUTTONS, *FIELDS.values(), "control-said"]:
        assert repr(identity) in text


def test_empty_fields_are_left_out():
    assert fields("clone", {"cloned": 1, "volume": "", "mix": None}) == {"trial": 1, "changes": {}}
    assert fields("pause", {"cloned": 1}) == {}
