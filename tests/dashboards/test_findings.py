import pytest

from dashboards.findings import Findings
from tracker.errors import NotEnoughDataError
from tracker.record.trial import Objective
from tracker.select.recommend import recommend

ASKED = Objective(weights={"intent": 1})


def test_the_weights_are_the_objective_s(findings):
    assert findings.weights == {"intent": 2, "slots": 1}


def test_the_recommendation_is_tracker_s_and_made_once(findings, records):
    assert findings.recommendation == recommend(records, findings.objective, sweep="support")
    assert findings.recommendation is findings.recommendation
    assert findings.fits("intent", "score") is findings.fits("intent", "score")


def test_nothing_measured_nothing_recommended():
    with pytest.raises(NotEnoughDataError):
        _ = Findings("support", [], ASKED).recommendation


def test_the_version_follows_the_records(records):
    assert Findings("s", records, ASKED).version == Findings("s", list(records), ASKED).version
    assert Findings("s", records[:-1], ASKED).version != Findings("s", records, ASKED).version


def test_the_version_follows_what_is_asked_and_noted(records):
    found = {
        Findings("s", records, ASKED).version,
        Findings("s", records, Objective(weights={"intent": 2})).version,
        Findings("s", records, ASKED, ("a note",)).version,
    }
    assert len(found) == 3
