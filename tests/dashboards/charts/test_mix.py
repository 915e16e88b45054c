import plotly.graph_objects as go
import pytest

from dashboards.charts.mix import (
    OTHERS,
    ReplayLine,
    cell_words,
    chance_note,
    default_volume,
    draw_forest,
    draw_replay,
    draw_weakest,
    effect_rows,
    matrix,
    matrix_sentences,
    measured,
    one_for_all,
    trained_tasks,
    unknown_notes,
    volumes,
    weakest_sentences,
)
from dashboards.charts.theme import LIGHT
from tracker.decision.mix_effects import worst_served
from tracker.metrics import Estimate


@pytest.fixture
def points(analysis):
    return analysis.mix_points("en-1m", "full")


@pytest.fixture
def effects(analysis):
    return analysis.mix_effects("en-1m", "full")


def test_the_findings_are_worked_out_once(analysis, effects):
    assert analysis.mix_effects("en-1m", "full") is effects


def test_the_matrix_has_a_cell_for_every_pair(points, effects):
    found = matrix(points, effects, "added", 1000)
    assert found.tasks == trained_tasks(points) == ("intent", "slots")
    assert found.columns == ("intent", "slots", OTHERS)
    assert len(found.cells) == 6
    own = found.at("intent", "intent")
    assert own.effect.verdict == "helps"
    assert (own.effect.before.data, own.effect.after.data) == (0, 1000)
    # The even mix at 2,000 holds as many rows of intent as that mix alone at 1,000, and slots beside.
    added = found.at("slots", "slots").effect
    assert (added.before.mix, added.after.volume, added.after.data) == ("intent", 2000, 1000)
    lone = found.at("slots", OTHERS)
    assert lone.effect is None
    assert "trains it alone" in lone.why


def test_a_cell_takes_the_nearest_volume(points, effects):
    assert matrix(points, effects, "added", 250).at("intent", "intent").effect.after.volume == 1000


def test_every_cell_says_its_interval(points, effects):
    effect = matrix(points, effects, "added", 1000).at("intent", "intent").effect
    value, interval, change = cell_words(effect, scored=True)
    assert value.startswith("+")
    assert " to +" in interval
    assert change == "0 → 1,000"


def test_sharing_is_compared_at_equal_numbers(points, effects):
    (row,) = one_for_all(points, effects, 2000)
    assert row.label == "intent, 1,000 of its examples: even against intent"
    assert row.estimate.low < row.estimate.high
    figure = go.Figure(draw_forest((row,), LIGHT, "x"))
    assert figure.data[1].x == (row.estimate.value,)


def test_the_sentences_are_the_told_cells(points, effects):
    found = matrix(points, effects, "added", 1000)
    told = [c for c in found.told if not (c.task == c.data and c.effect.gap.value > 0)]
    assert len(matrix_sentences(found, points)) == len(told)
    assert f"{len(found.told)} of {found.known} effects" in chance_note(found)
    assert len(effect_rows(effects, points)) == len(effects)


def test_the_weakest_task_is_the_lowest_score(points):
    found = worst_served(points, 1000)
    for each in found:
        assert each.values[each.task].value == min(v.value for v in each.values.values())
    assert {w.mix: w.trained for w in found} == {"even": True, "intent": False}
    assert all("intent" not in s.text.split(",")[0] for s in weakest_sentences(found))
    figure = go.Figure(draw_weakest(found, LIGHT))
    assert len(figure.data) == 3 * len(found)


def test_the_default_volume_is_the_one_with_most_comparisons(points, effects):
    known = volumes(effects, points)
    assert known == (1000, 2000)
    counts = {v: sum(e.after.volume == v for e in effects) for v in known}
    assert counts[default_volume(effects, known)] == max(counts.values())


def test_effects_of_a_hair_have_ticks_that_differ(points, effects):
    (row,) = one_for_all(points, effects, 2000)
    near = row._replace(estimate=Estimate(value=0.001, low=-0.002, high=0.004))
    assert draw_forest((near,), LIGHT, "x")["layout"]["xaxis"]["tickformat"] == "+.2~%"
    line = ReplayLine("forgetting.english", "even", 0.0, (100, 200), (near.estimate,) * 2)
    assert draw_replay([line], LIGHT)["layout"]["yaxis"]["tickformat"] == ".2~%"


def test_only_what_was_measured_is_in_the_grid_and_the_rest_is_said(points, effects):
    found = matrix(points, effects, "added", 1000)
    shown = measured(found)
    assert shown.known == found.known
    for task in shown.tasks:
        assert any(shown.at(task, column).effect for column in shown.columns)
    notes = unknown_notes(found, points)
    assert not any("_" in note for note in notes)
    unknown = {c.task for c in found.cells if c.effect is None}
    assert all(any(task in note for note in notes) for task in unknown)


def test_columns_that_no_mixes_set_apart_share_one_note_with_a_mix_that_would(points, effects):
    found = matrix(points, [], "added", 1000)
    cells = [
        c._replace(effect=None, why=f"no two mixes differ in {c.data} alone: add one")
        if c.data != OTHERS
        else c._replace(effect=None, why="no two mixes give this task enough: add a mix")
        for c in found.cells
    ]
    first, second = unknown_notes(found._replace(cells=tuple(cells)), points)
    assert first == (
        "What more data of intent or slots does: no two mixes differ in one of them alone. A mix with 3 "
        "times the weight of one task, or of it alone, would tell: for intent, {intent: 3, slots: 1} or "
        "{intent: 1}."
    )
    assert second.startswith("What more data of all other tasks together does to any task: no two")
    assert second.endswith("give such a task enough. Add a mix.")
    assert measured(found._replace(cells=tuple(cells))).tasks == ()
