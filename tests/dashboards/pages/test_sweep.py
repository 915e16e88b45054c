from __future__ import annotations

import pytest

from dashboards.app import create_app
from dashboards.context import PageContext
from dashboards.pages import recommend
from dashboards.pages.sweep import OUTPUTS, Content, content, layout, running_in_short, spending
from dashboards.pages.sweep_control import BUTTONS, FIELDS, fields, panel, possible
from dashboards.snapshot import Patience, Snapshot
from dashboards.state import Query
from tracker.cache import SingleFlightCache
from tracker.store.control import ControlRecord, ControlReply, new_request
from tracker.store.store import LiveTrial, Store
from tracker.trial import Objective

CURVE = ((10, 2.5), (60, 1.5), (120, 1.25))
LIVE = LiveTrial("k", 50, "grid", "en-1m", "lora", "even", 2000, 1_700_000_200.0, 120, 1.25, CURVE)


def test_every_output_has_its_place_in_the_frame():
    assert len(OUTPUTS) == len(Content._fields)
    frame = str(layout())
    for identity, _ in OUTPUTS:
        assert repr(identity) in frame


def test_a_running_sweep_tells_how_far_it_is(view_of, records, words):
    page = content(view_of(records, running=(LIVE,)), "light", now=1_700_000_300.0)
    head = words(page.head)
    assert "49 of 60" in head
    assert "1 running now" in head
    assert "5 min 0 s" in head
    now = words(page.now)
    assert "#50" in now
    assert "step 120, loss 1.250" in now
    assert "1 min 40 s" in now


def test_failures_come_with_their_reason(view_of, records, words):
    text = words(content(view_of(records), "light").failures)
    assert "failed: for the test" in text
    assert "diverged: for the test" in text


def test_no_trials_yet(view_of, words):
    page = content(view_of([]), None)
    assert "0 of 60" in words(page.head)
    assert "No scored trial yet" in words(page.legend)
    assert page.figure_style == {"display": "none"}
    assert page.failures is None


def test_one_trial(view_of, records, words):
    page = content(view_of(records[6:7], state="finished"), None)
    head = words(page.head)
    assert "at most 60 were planned" in head
    assert "1 of 60" not in head, "a finished sweep has all of its trials"
    assert "waiting" not in head


def test_the_head_says_what_one_frequent_answer_scores(view_of, records, words):
    shares = {"majority": 0.72, "majority_score": 0.72, "negatives": 0.72}
    shares |= {"score_without_negatives": 0.45}

    def skewed(record):
        tasks = (
            s.model_copy(update=shares) if s.task == "intent" else s for s in record.result.tasks
        )
        result = record.result.model_copy(update={"tasks": tuple(tasks)})
        return record.model_copy(update={"result": result})

    many = [skewed(record) for record in records]
    for text in (
        words(content(view_of(many), None).head),
        words(recommend.content(view_of(many), Query(), None)),
    ):
        assert "Most rows of intent have one answer." in text
        assert "72 % of the" in text
        assert "answering so every time scores 72.0 %" in text
        assert "45.0 % on the rows that are not negatives" in text
        assert "The objective weighs the score on all rows." in text
    assert "Most rows" not in words(content(view_of(records), None).head)


def test_where_nothing_was_tuned_the_head_says_that_there_is_no_recommendation(
    view_of, records, words
):
    bases = [r for r in records if r.result.spec.method.name == "none"]
    assert "No recommendation yet" in words(content(view_of(bases, state="finished"), None).head)
    assert "No recommendation yet" not in words(content(view_of(bases), None).head), "it may come"
    page = words(recommend.content(view_of(bases), Query(), None)).lower()
    assert "no recommendation yet" in page
    assert "train this" not in page
    kept = SingleFlightCache(4)  # as in the app, which raises a copy of what it keeps
    view = view_of(bases)
    for _ in range(2):
        assert words(recommend.content(view, Query(), None, kept)).lower() == page


def test_counts_add_up(view_of, records, words):
    view = view_of(records, running=(LIVE,))
    head = words(content(view, None).head)
    assert "47 complete" in head
    assert "1 running now" in head
    assert "10 to go" in head
    assert view.analysis.tally.ended == 49


def with_facts(view, state="running", **facts):
    info = view.info._replace(state=state, facts={name: str(v) for name, v in facts.items()})
    return view._replace(info=info)


def test_the_budget_s_use_and_forecast_are_shown(view_of, records, words):
    view = with_facts(view_of(records), budget_trials=60, workers=2)
    assert spending(view).budget_share == pytest.approx(49 / 60)
    text = words(content(view, "light", now=1_700_000_300.0).head)
    assert "60 trials" in text
    assert "82 %" in text
    assert "80 % interval" in text
    assert " left" in text
    early = with_facts(view_of(records[:4]), budget_gpu_hours=1.5)
    text = words(content(early, "light").head)
    assert "Too early to say" in text
    assert "1 h 30 min" in text


def test_a_driver_that_gives_no_sign_of_life_is_not_shown_as_running(view_of, records, words):
    now = 1_700_000_300.0
    view = with_facts(view_of(records, running=(LIVE,)), budget_trials=60, seen_at=now - 500)
    text = words(content(view, "light", now=now).head)
    assert "No word from the sweep's driver since" in text
    assert "sft-select run" in text
    assert " left" not in text
    assert "running now" not in text.replace("1 running now", "", 1)  # the bar of what is where
    assert "no longer reports" in words(content(view, "light", now=now).now)
    assert running_in_short(view, now, "/") is None
    for heard in (now - 60, "soon"):
        view = with_facts(view_of(records), budget_trials=60, seen_at=heard)
        assert "No word" not in words(content(view, "light", now=now).head)
    view = with_facts(view_of(records), "finished", seen_at=now - 500)
    assert "No word" not in words(content(view, "light", now=now).head)


def test_an_ended_sweep_has_no_forecast(view_of, records, words):
    text = words(content(view_of(records, state="finished"), "light").head)
    assert "at the end" not in text
    assert "None it ends when its design is done" in text


def test_an_imported_sweep_shows_only_what_is_known(view_of, records, words):
    def taken_in(record, **cost):
        spec = record.result.spec.model_copy(update={"origin": "table.csv@1"})
        changes = {"spec": spec, "cost": record.result.cost.model_copy(update=cost)}
        return record.model_copy(update={"result": record.result.model_copy(update=changes)})

    known = content(view_of([taken_in(r) for r in records], state="finished"), "light")
    text = words(known.head)
    assert "49 measured elsewhere" in text
    assert "Device time" in text
    assert not {"Elapsed", "Budget", "Used", "None", "of 60"} & set(text.replace("–", "").split())
    assert "Budget" not in text
    assert "measured elsewhere" in words(known.now)
    bare = [taken_in(r, device_seconds=None, flops=None) for r in records]
    text = words(content(view_of(bare, state="finished"), "light").head)
    assert "Device time" not in text
    best = view_of(bare).analysis.trials["quality"].max()
    assert f"{100 * best:.1f} % en-1m · Full tuning" in text, (
        "not the base, whose cost alone is known"
    )


def test_live_curves_are_updated_in_place(view_of, records):
    page = content(view_of(records, running=(LIVE,)), "light")
    assert [tuple(trace["y"]) for trace in page.curves.traces] == [(2.5, 1.5, 1.25)]
    assert page.curves_style != {"display": "none"}
    assert content(view_of(records), "light").curves_style == {"display": "none"}


def test_a_paused_sweep_says_so(view_of, records, words):
    page = content(with_facts(view_of(records), state="paused", workers=2), "light")
    assert "paused" in words(page.head)
    assert "paused until somebody resumes it" in words(page.now)


def test_workers_are_counted(view_of, records, words):
    view = with_facts(view_of(records, running=(LIVE,)), workers=2)
    assert "1 of 2 workers busy" in words(content(view, "light").now)


def test_failures_are_grouped_and_say_what_to_do(view_of, records, words):
    text = words(content(view_of(records), "light").failures)
    assert "What to do: " in text
    assert "learning rate is too high" in text


def test_requests_are_listed_with_their_answers(view_of, records, words):
    request = new_request("clone", now=2.0, trial=3, changes={"volume": "800"}, by="somebody")
    pending = new_request("pause", now=3.0)
    answer = ControlReply(id=request.id, at=3.0, accepted=False, words="volume: found '800'")
    log = (ControlRecord(request, answer), ControlRecord(pending, None))
    text = words(content(view_of(records)._replace(log=log), "light").requests)
    assert text.index("pause") < text.index("clone trial 3 with volume=800"), "the newest first"
    assert "refused" in text
    assert "volume: found '800'" in text
    assert "requested by somebody" in text
    assert "has not answered yet" in text
    assert content(view_of(records), "light").requests is None


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
    assert "Sent to live: " in reply.get_data(as_text=True)
    request = running.requests("live")[0]
    assert (request.action, request.by) == (action, "dashboard")
    assert {name: getattr(request, name) for name in fields} == fields


def test_a_raised_budget_is_one_of_its_kind(running):
    client = create_app(running, control=True).server.test_client()
    assert "Not sent" in press(client, "control-raise").get_data(as_text=True)
    assert running.requests("live") == []
    press(client, "control-raise", {"trials": 80})
    budget = running.requests("live")[0].budget
    assert budget is not None
    assert (budget.trials, budget.gpu_hours) == (80, None)


def test_a_refusal_is_said_in_words(running):
    running.set_sweep_state("live", "finished")
    client = create_app(running, control=True).server.test_client()
    reply = press(client, "control-pause").get_data(as_text=True)
    assert "allowed while it is running or paused" in reply
    reply = press(client, "control-stop-trial", {"stopped": -1}).get_data(as_text=True)
    assert "Not sent" in reply
    assert running.requests("live") == []


def test_a_request_meant_for_another_sweep_is_not_sent(running):
    """At the address without a name another sweep may have begun since the page was drawn."""
    client = create_app(running, control=True).server.test_client()
    reply = press(client, "control-stop", shown="earlier").get_data(as_text=True)
    assert "Not sent: the page showed the sweep earlier" in reply
    assert "Not sent" in press(client, "control-stop", shown=None).get_data(as_text=True)
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
    context = PageContext(
        Snapshot(running, interval=0.0, patience=PATIENCE), add_request=running.add_request
    )
    assert possible(context, "")[:3] == (False, True, False)
    running.set_sweep_state("live", "paused")
    context = PageContext(
        Snapshot(running, interval=0.0, patience=PATIENCE), add_request=running.add_request
    )
    assert possible(context, "")[:3] == (True, False, False)
    running.set_sweep_state("live", "finished")
    context = PageContext(
        Snapshot(running, interval=0.0, patience=PATIENCE), add_request=running.add_request
    )
    assert possible(context, "")[:3] == (True, True, True)


def test_values_known_so_far_are_suggested(store, words):
    context = PageContext(
        Snapshot(store, interval=3600, patience=PATIENCE), add_request=store.add_request
    )
    _, _, _, running, shown, stop, *known = possible(context, "")
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
