import pytest

from dashboards.pages.sweep import OUTPUTS, Content, Counts, content, counts, layout, seconds_left
from tracker.record.store import LiveTrial

LIVE = LiveTrial("k", 50, "grid", "en-1m", "lora", "even", 2000, 1_700_000_200.0, 120, 1.25)


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
    assert "about 1 min 7 s left" in head
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
    assert page.rows == []


def test_one_trial(view_of, records, words):
    page = content(view_of(records[6:7], state="finished"), None)
    assert "1 of 60" in words(page.head)
    assert len(page.rows) == 1


def test_counts_add_up(view_of, records):
    done = counts(view_of(records, running=(LIVE,)))
    assert (done.ended, done.running, done.waiting) == (49, 1, 10)
    assert done.by_status["complete"] == 47


@pytest.mark.parametrize(
    ("planned", "ended", "expected"), [(60, 3, None), (60, 30, 100.0), (None, 30, None)]
)
def test_a_forecast_needs_a_tenth_of_the_trials(planned, ended, expected):
    assert seconds_left(Counts(planned, {"complete": ended}, 0), 100.0) == expected
