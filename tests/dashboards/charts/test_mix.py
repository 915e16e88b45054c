import plotly.graph_objects as go
import pytest

from dashboards.charts.forest import draw_forest
from dashboards.charts.mix import (
    OTHERS,
    ReplayCurve,
    chance_note,
    compared_sizes,
    default_size,
    draw_replay,
    draw_worst_served,
    effect_matrix,
    effect_rows,
    entry_words,
    matrix_sentences,
    shared_model_rows,
    trained_tasks,
    unknown_notes,
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


def test_the_effects_are_worked_out_once(analysis, effects):
    assert analysis.mix_effects("en-1m", "full") is effects


def test_the_matrix_has_an_entry_for_every_pair(points, effects):
    found = effect_matrix(points, effects, "added", 1000)
    assert found.tasks == trained_tasks(points) == ("intent", "slots")
    assert found.columns == ("intent", "slots", OTHERS)
    assert len(found.entries) == 6
    diagonal = found.at("intent", "intent")
    assert diagonal.effect.verdict == "helps"
    assert (diagonal.effect.before.data, diagonal.effect.after.data) == (0, 1000)
    # The even mix at 2,000 holds as many rows of intent as that mix alone at 1,000, and slots beside.
    added = found.at("slots", "slots").effect
    assert (added.before.mix, added.after.volume, added.after.data) == ("intent", 2000, 1000)
    lone = found.at("slots", OTHERS)
    assert lone.effect is None
    assert "trains it alone" in lone.why


def test_an_entry_takes_the_nearest_size(points, effects):
    assert (
        effect_matrix(points, effects, "added", 250).at("intent", "intent").effect.after.volume
        == 1000
    )


def test_every_entry_has_its_interval(points, effects):
    effect = effect_matrix(points, effects, "added", 1000).at("intent", "intent").effect
    value, interval, change = entry_words(effect, points)
    assert value.startswith("+")
    assert " to +" in interval
    assert change == "0 → 1,000"


def test_sharing_is_compared_at_equal_numbers(points, effects):
    (row,) = shared_model_rows(points, effects, 2000)
    assert row.label == "intent, 1,000 of its examples: even against intent"
    assert row.low < row.high
    figure = go.Figure(draw_forest((row,), "x", LIGHT))
    assert figure.data[1].x == (row.value,)


def test_the_sentences_are_the_clear_effects(points, effects):
    found = effect_matrix(points, effects, "added", 1000)
    news = [e for e in found.clear_effects if not (e.task == e.data and e.gap.value > 0)]
    assert len(matrix_sentences(found, points)) == len(news)
    assert chance_note(found).startswith(
        f"{len(found.clear_effects)} of {len(found.effects)} effects "
    )
    assert len(effect_rows(effects, points)) == len(effects)


def test_the_weakest_task_is_the_lowest_score(points):
    found = worst_served(points, 1000)
    for each in found:
        assert each.values[each.task].value == min(v.value for v in each.values.values())
    assert {w.mix: w.trained for w in found} == {"even": True, "intent": False}
    assert all("intent" not in s.text.split(",")[0] for s in weakest_sentences(found))
    figure = go.Figure(draw_worst_served(found, LIGHT))
    assert len(figure.data) == 3 * len(found)


def test_the_default_size_is_the_one_with_most_comparisons(points, effects):
    known = compared_sizes(effects, points)
    assert known == (1000, 2000)
    counts = {v: sum(e.after.volume == v for e in effects) for v in known}
    assert counts[default_size(effects, known)] == max(counts.values())


def test_effects_of_a_hair_have_ticks_that_differ(points, effects):
    (row,) = shared_model_rows(points, effects, 2000)
    near = row._replace(value=0.001, low=-0.002, high=0.004)
    ticks = draw_forest((near,), "x", LIGHT)["layout"]["xaxis"]["ticktext"]
    assert ticks == ["−0.2", "−0.1", "0", "+0.1", "+0.2", "+0.3", "+0.4"]
    values = (Estimate(value=0.001, low=-0.002, high=0.004),) * 2
    curve = ReplayCurve("forgetting.english", "even", 0.0, (100, 200), values)
    assert draw_replay([curve], LIGHT)["layout"]["yaxis"]["tickformat"] == ".2~%"


def test_the_grid_holds_what_was_measured_and_the_notes_the_rest(points, effects):
    found = effect_matrix(points, effects, "added", 1000)
    shown = found.measured()
    assert shown.effects == found.effects
    for task in shown.tasks:
        assert any(shown.at(task, column).effect for column in shown.columns)
    notes = unknown_notes(found, points)
    assert not any("_" in note for note in notes)
    unknown = {c.task for c in found.entries if c.effect is None}
    assert all(any(task in note for note in notes) for task in unknown)


def test_columns_that_no_mixes_compare_share_one_note_with_a_mix_to_add(points, effects):
    found = effect_matrix(points, [], "added", 1000)
    entries = [
        c._replace(effect=None, why=f"no two mixes differ in {c.data} alone: add one")
        if c.data != OTHERS
        else c._replace(effect=None, why="no two mixes give this task enough: add a mix")
        for c in found.entries
    ]
    first, second = unknown_notes(found._replace(entries=tuple(entries)), points)
    assert first == (
        "Effect of more data of intent or slots: no two mixes differ in one of them alone. Add a mix with 3 "
        "times the weight of one task, or of it alone: for intent, {intent: 3, slots: 1} or {intent: 1}."
    )
    assert second.startswith("Effect of more data of all other tasks together on any task: no two")
    assert second.endswith("give such a task enough. Add a mix.")
    assert found._replace(entries=tuple(entries)).measured().tasks == ()
