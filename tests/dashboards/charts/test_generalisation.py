import numpy as np
import plotly.graph_objects as go
import pytest

from dashboards.charts.false_positives import (
    ANSWER_MEASURES,
    answer_quality,
    answer_sentences,
    draw_answer_panel,
)
from dashboards.charts.forgetting import draw_forgetting, forgetting
from dashboards.charts.generalisation import (
    TRANSFER,
    SeedMean,
    cost_sentence,
    draw_generalisation,
    generalisation,
    loss_range,
    lost_words,
    points_at,
    suites_of,
    untrained_tasks,
    with_settings,
)
from dashboards.charts.theme import DARK, LIGHT
from dashboards.pages.generalisation import forgetting_card
from tests.dashboards.conftest import FORGETTING
from tracker.cache import Latest
from tracker.decision.pareto import pareto_front
from tracker.results import by_configuration, results_table
from tracker.results import forgetting as tracked_forgetting

SCORED = {"intent": "score", "slots": "score"}


@pytest.fixture(scope="module")
def data(analysis):
    return generalisation(
        analysis.table, weights={"intent": 1}, measures=SCORED, cost="english", mix="even"
    )


def test_a_path_goes_from_the_base_through_the_volumes(data):
    assert [(p.model, p.method) for p in data.paths[:3]] == [
        ("en-0.1m", "full"), ("en-0.1m", "lora"), ("en-0.1m", "p_tuning"),
    ]  # fmt: skip
    assert all([s.volume for s in p.points] == [250, 500, 1000, 2000] for p in data.paths)
    assert list(data.bases) == ["en-0.1m", "en-0.3m", "en-1m"]
    full = next(p for p in data.paths if (p.model, p.method) == ("en-1m", "full"))
    assert full.points[-1].lost.value == pytest.approx(FORGETTING["full"], abs=0.01)
    assert full.points[-1].runs == 2


def test_what_is_lost_is_tracker_s_with_its_interval(data, records):
    """The same mean, row error and noise between seeds as the recommendation goes by, one mix apart."""
    configurations = by_configuration(records)
    estimates = tracked_forgetting(configurations)
    at = next(
        i for i, c in enumerate(configurations)
        if (c.spec.model.name, c.spec.method.name, c.spec.volume) == ("en-1m", "full", 2000)
    )  # fmt: skip
    point = next(s for s in points_at(data, "en-1m", 2000) if s.method == "full")
    assert point.lost.value == pytest.approx(estimates[at]["english"].value, rel=1e-5)
    assert point.lost.low == pytest.approx(estimates[at]["english"].low, rel=1e-4)


def test_other_settings_lie_on_no_path_but_count_for_the_front(data):
    assert {(s.model, s.volume) for s in data.others} == {("en-0.3m", 500)}
    points = [s for p in data.paths for s in p.points if p.model == "en-0.3m"]
    points += [s for s in data.others if s.model == "en-0.3m"]
    points = [(s.lost.value, s.quality.value) for s in points]
    points.append((0.0, data.bases["en-0.3m"].value))
    member = pareto_front(np.array([(x, -y) for x, y in points])).member
    expected = sorted(p for p, on in zip(points, member, strict=True) if on)
    assert data.front(["en-0.3m"]) == expected


def test_quality_of_several_tasks_is_their_weighted_mean(analysis, data):
    both = generalisation(
        analysis.table, weights={"intent": 2, "slots": 1}, measures=SCORED, cost="english", mix="even"
    )  # fmt: skip
    slots = generalisation(
        analysis.table, weights={"slots": 1}, measures=SCORED, cost="english", mix="even"
    )
    for whole, one, other in zip(both.paths, data.paths, slots.paths, strict=True):
        for a, b, c in zip(whole.points, one.points, other.points, strict=True):
            assert a.quality.value == pytest.approx((2 * b.quality.value + c.quality.value) / 3)
            assert a.quality.high - a.quality.low < b.quality.high - b.quality.low


def test_transfer_is_what_untrained_tasks_lose(analysis, records):
    assert untrained_tasks(analysis.table) == {"intent": ["slots"]}
    data = generalisation(
        analysis.table, weights={"intent": 1}, measures=SCORED, cost=TRANSFER, mix="intent"
    )
    point = next(s for p in data.paths for s in p.points if p.method == "lora")
    slots = {
        r.result.spec.method.name: r.result.tasks[1].score
        for r in records
        if r.result.tasks
        and r.result.spec.model.name == "en-1m"
        and (r.result.spec.method.name == "none" or r.result.spec.mix.name == "intent")
    }
    assert point.lost.value == pytest.approx(slots["none"] - slots["lora"])
    none = generalisation(
        analysis.table, weights={"intent": 1}, measures=SCORED, cost=TRANSFER, mix="even"
    )
    assert none.paths == ()


def test_what_was_not_measured_is_not_shown(analysis):
    assert suites_of(analysis.table) == ["english"]
    data = generalisation(
        analysis.table, weights={"intent": 1}, measures=SCORED, cost="nosuch", mix="even"
    )
    assert data.paths == ()
    assert suites_of(results_table([])) == []
    empty = generalisation(
        results_table([]), weights={"intent": 1}, measures=SCORED, cost="english", mix="even"
    )
    assert empty.paths == ()
    go.Figure(draw_generalisation(empty, LIGHT, models=[]))


def test_a_loss_is_quality_turned_round(analysis):
    data = generalisation(
        analysis.table,
        weights={"intent": 1},
        measures={"intent": "bits_per_byte"},
        cost="english",
        mix="even",
    )
    assert not data.scored
    assert all(s.quality.value < 0 for p in data.paths for s in p.points)


@pytest.mark.parametrize("models", [["en-1m"], ["en-0.1m", "en-0.3m", "en-1m"]])
def test_the_chart_holds_arrows_bars_and_the_front(data, models):
    figure = go.Figure(draw_generalisation(data, DARK, models=models))
    arrows = [t for t in figure.data if t.marker.symbol == "arrow"]
    assert len(arrows) == 3 * len(models)
    assert all((a.x[0], a.marker.angleref) == (0.0, "previous") for a in arrows)
    assert figure.data[0].line.shape == "hv"
    low, high = loss_range(data, models)
    shown = [s.lost for p in data.paths if p.model in models for s in p.points]
    assert low < min(x.low for x in shown)
    assert high > max(x.high for x in shown)


def test_sentences_say_what_was_lost_and_how_surely(data):
    point = next(s for s in points_at(data, "en-1m", 2000) if s.method == "full")
    words = cost_sentence(point, data)
    assert words.startswith("Full tuning: quality from ")
    assert "loses 8." in words
    assert "on english" in words
    unsure = lost_words(SeedMean(0.01, -0.02, 0.04), "english")
    assert unsure == "no clear loss on english: 1.0 % (80 % interval −2.0 to 4.0 %)"
    assert (
        lost_words(SeedMean(-0.05, -0.07, -0.03), "x")
        == "gains 5.0 % (80 % interval 3.0 to 7.0 %) on x"
    )
    assert "its error unknown" in lost_words(SeedMean(0.1, None, None), "x")


def test_answers_are_changes_from_the_base(analysis):
    settings = {"full": "full lr=0.001", "lora": "lora rslora r=8 lr=0.01"}
    data = answer_quality(
        analysis.table, task="intent", model="en-1m", mix="even", settings=settings
    )
    assert [p.measure for p in data.panels] == list(ANSWER_MEASURES)
    assert data.methods == ("full", "lora", "p_tuning"), "the last in its setting of most runs"
    recall = data.panels[0]
    for share in recall.methods[0].shares:
        assert share.value == pytest.approx(share.share - recall.base)
        assert share.low < share.value < share.high
        assert share.high <= 1 - recall.base
    assert data.panels[0].methods[0].shares[-1].runs == 2
    assert any("recall" in s and "over-reach 8.0 %" in s for s in answer_sentences(data, 2000))
    go.Figure(draw_answer_panel(recall, LIGHT, log_x=False))


def test_a_base_without_a_value_leaves_values_as_they_are_and_absent_is_said(analysis):
    table = analysis.table.copy()
    table.loc[table["method"] == "none", "precision"] = None
    settings = {"full": "full lr=0.001"}
    data = answer_quality(table, task="slots", model="en-1m", mix="even", settings=settings)
    assert data.missing == ("over_reach",)
    precision = next(p for p in data.panels if p.measure == "precision")
    assert precision.base is None
    assert all(r.value == r.share for r in precision.methods[0].shares)
    assert "where the base has none" in answer_sentences(data, 2000)[0]
    assert go.Figure(draw_answer_panel(precision, LIGHT)).layout.yaxis.title.text == "Share of rows"


def test_finding_more_and_claiming_wrongly_more_is_said_where_it_is_sure(analysis):
    table = analysis.table.copy()
    base = (table["method"] == "none") & (table["task"] == "intent")
    table.loc[base, ["recall", "precision", "over_reach"]] = [0.2, 0.999, 0.0]
    table.loc[~base & (table["task"] == "intent"), "precision"] = 0.5
    table.loc[~base & (table["task"] == "intent"), "over_reach"] = 0.3
    data = answer_quality(
        table, task="intent", model="en-1m", mix="even", settings={"full": "full lr=0.001"}
    )
    words = answer_sentences(data, 2000)[0]
    assert words.endswith(
        "It finds more, but a smaller share of what it claims is right and it answers where there is "
        "nothing to answer."
    )


def test_settings_are_named_as_curves_name_them(analysis):
    named = with_settings(analysis.table)
    assert len(named) == len(analysis.table)
    assert "lora rslora r=8 lr=0.01" in set(named["setting"])
    assert set(named.loc[named["method"] == "none", "setting"]) == {"none"}


def test_forgetting_is_relative_to_the_base_and_its_law_near_the_truth(analysis):
    """Made up: FORGETTING of the method, half of it at once and half in proportion to volume."""
    laws = analysis.forgetting_laws.forgetting
    data = forgetting(analysis.table, laws, model="en-1m", mix="even", suite="english", replay=0.0)
    assert [c.method for c in data.curves] == ["full", "lora", "p_tuning"]
    full = data.curves[0]
    truth = FORGETTING["full"] * (0.5 + 0.5 * np.array(full.line.x[: full.line.last + 1]) / 2000)
    assert np.abs(np.array(full.line.value[: full.line.last + 1]) - truth).max() < 0.01
    assert full.runs[-1].value == pytest.approx(FORGETTING["full"], abs=0.01)
    assert full.line.x[full.line.last] == pytest.approx(2000)
    dashes = [t.line.dash for t in go.Figure(draw_forgetting(data, LIGHT)).data if t.line.dash]
    assert dashes == ["solid", "dash"] * 3
    assert (
        forgetting(analysis.table, laws, model="en-1m", mix="even", suite="x", replay=0).curves
        == ()
    )


def test_the_average_of_all_runs_is_no_line_of_one_model(analysis, words):
    laws = {
        key: law.model_copy(
            update={"kind": "constant", "best": (0.5,), "replicates": ((0.5,),) * 9}
        )
        if key.method.startswith("full")
        else law
        for key, law in analysis.forgetting_laws.forgetting.items()
    }
    data = forgetting(analysis.table, laws, model="en-1m", mix="even", suite="english", replay=0.0)
    assert [curve.line is not None for curve in data.curves] == [False, True, True]
    assert len(data.curves[0].runs) > 3  # its marks stay
    traces = go.Figure(draw_forgetting(data, LIGHT)).data
    assert [t.line.dash for t in traces if t.line.dash] == ["solid", "dash"] * 2
    known = Latest(analysis.forgetting_laws, fresh=True)
    assert "Full tuning: marks without a line." in words(
        forgetting_card([data], known, LIGHT, log_x=True)
    )
