import pytest

from dashboards.analysis import PageAnalysis
from tests.factories import predict, recommend
from tracker.decision.analysis import MAX_OBJECTIVES
from tracker.decision.overrides import parse_overrides
from tracker.errors import NotEnoughDataError
from tracker.trial import Objective

OVERRIDES = Objective(weights={"intent": 1})


def test_the_weights_are_the_objective_s(analysis):
    assert analysis.objective.weights == {"intent": 2, "slots": 1}


def test_the_recommendation_is_tracker_s_and_made_once(analysis, records):
    assert analysis.recommendation == recommend(records, analysis.objective, sweep="support")
    assert analysis.recommendation is analysis.recommendation
    assert analysis.fits_by_task("score") is analysis.fits_by_task("score")


def test_nothing_measured_nothing_recommended():
    with pytest.raises(NotEnoughDataError):
        _ = PageAnalysis([], OVERRIDES, sweep="support").recommendation


def test_the_version_follows_the_records(records):
    assert (
        PageAnalysis(records, OVERRIDES, sweep="s").version
        == PageAnalysis(list(records), OVERRIDES, sweep="s").version
    )
    assert (
        PageAnalysis(records[:-1], OVERRIDES, sweep="s").version
        != PageAnalysis(records, OVERRIDES, sweep="s").version
    )


def test_the_version_follows_the_objective_and_the_notes(records):
    found = {
        PageAnalysis(records, OVERRIDES, sweep="s").version,
        PageAnalysis(records, Objective(weights={"intent": 2}), sweep="s").version,
        PageAnalysis(records, OVERRIDES, sweep="s", notes=("a note",)).version,
    }
    assert len(found) == 3


def test_answers_are_kept_by_question_and_bounded(records):
    found = PageAnalysis(records, OVERRIDES, sweep="support")
    cheap = parse_overrides((), ["flops=1e9"])
    assert found.answer(cheap) is found.answer(cheap)
    assert found.answer(cheap).recommendation == recommend(
        records, cheap.objective(OVERRIDES), sweep="support"
    )
    for i in range(MAX_OBJECTIVES + 3):
        try:
            found.answer(parse_overrides((), [f"adapter_bytes={i + 1}"]))
        except NotEnoughDataError:
            continue
    assert len(found._answers) == MAX_OBJECTIVES


def test_predictions_are_those_of_the_command_line(records):
    found = PageAnalysis(records, OVERRIDES, sweep="my sweep")
    answer = found.answer(parse_overrides((), ["examples=500"]))
    assert answer.forecasts["intent"] == predict(records, "intent", 500, sweep="my sweep")
    # The laws are those that the pages draw, fitted once.
    laws = found.all_fits("score").laws
    assert all(laws[key] is law for key, law in found.fits_by_task("score")["intent"].laws.items())
