import pytest

from dashboards.pages.sweep.cards import counts, spending, under_way
from dashboards.pages.sweep.page import OUTPUTS, Content, content, layout
from tracker.store.control import Answer, Exchange, new_request
from tracker.store.store import LiveTrial

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
    assert "1 of 60" in words(page.head)


def test_counts_add_up(view_of, records):
    done = counts(view_of(records, running=(LIVE,)))
    assert (done.ended, done.running, done.waiting) == (49, 1, 10)
    assert done.tally.by_status["complete"] == 47


def with_facts(view, state="running", **facts):
    info = view.info._replace(state=state, facts={name: str(v) for name, v in facts.items()})
    return view._replace(info=info)


def test_the_budget_is_burnt_and_foretold(view_of, records, words):
    view = with_facts(view_of(records), budget_trials=60, workers=2)
    assert spending(view).burnt == pytest.approx(49 / 60)
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
    assert "gives no sign of life" in words(content(view, "light", now=now).now)
    assert under_way(view, now, "/") is None
    for heard in (now - 60, "soon"):
        view = with_facts(view_of(records), budget_trials=60, seen_at=heard)
        assert "No word" not in words(content(view, "light", now=now).head)
    view = with_facts(view_of(records), "finished", seen_at=now - 500)
    assert "No word" not in words(content(view, "light", now=now).head)


def test_an_ended_sweep_foretells_nothing(view_of, records, words):
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
    best = view_of(bare).findings.trials["quality"].max()
    assert f"{100 * best:.1f} % en-1m · Full tuning" in text, (
        "not the base, whose cost alone is known"
    )


def test_live_curves_are_drawn_in_place(view_of, records):
    page = content(view_of(records, running=(LIVE,)), "light")
    assert [tuple(trace["y"]) for trace in page.curves.traces] == [(2.5, 1.5, 1.25)]
    assert page.curves_style != {"display": "none"}
    assert content(view_of(records), "light").curves_style == {"display": "none"}


def test_a_paused_sweep_says_so(view_of, records, words):
    page = content(with_facts(view_of(records), state="paused", workers=2), "light")
    assert "paused" in words(page.head)
    assert "goes on when somebody resumes it" in words(page.now)


def test_workers_are_counted(view_of, records, words):
    view = with_facts(view_of(records, running=(LIVE,)), workers=2)
    assert "1 of 2 workers busy" in words(content(view, "light").now)


def test_failures_are_grouped_and_say_what_to_do(view_of, records, words):
    text = words(content(view_of(records), "light").failures)
    assert "What to do: " in text
    assert "learning rate is too high" in text


def test_requests_are_listed_with_their_answers(view_of, records, words):
    asked = new_request("clone", now=2.0, trial=3, changes={"volume": "800"}, by="somebody")
    pending = new_request("pause", now=3.0)
    answer = Answer(id=asked.id, at=3.0, accepted=False, words="volume: found '800'")
    log = (Exchange(asked, answer), Exchange(pending, None))
    text = words(content(view_of(records)._replace(log=log), "light").log)
    assert text.index("pause") < text.index("clone trial 3 with volume=800"), "the newest first"
    assert "refused" in text
    assert "volume: found '800'" in text
    assert "asked by somebody" in text
    assert "has not answered yet" in text
    assert content(view_of(records), "light").log is None
