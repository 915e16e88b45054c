import plotly.graph_objects as go

from dashboards.charts.data import (
    balance_height,
    draw_balance,
    draw_lengths,
    draw_mix_contents,
    label_balance,
    length_rows,
    mix_contents,
)
from dashboards.charts.theme import DARK, LIGHT
from tracker.store.data_profile import LabelCount, Lengths, Quantiles, SplitProfile, TaskProfile

SPAN = Quantiles(least=1, p10=2, median=5, p90=9, most=20)
LENGTHS = Lengths(unit="tokens", tokenizer="m", rows=10, prompt=SPAN, answer=SPAN)


def split(rows: int, labels: dict[str, int], distinct: int) -> SplitProfile:
    counts = tuple(LabelCount(label=label, rows=n) for label, n in labels.items())
    return SplitProfile(rows=rows, labels=counts, distinct=distinct, lengths=LENGTHS)


def test_labels_beyond_those_kept_are_one_rest():
    found = label_balance(split(100, {"yes": 60, "no": 25}, 7))
    assert [(bar.label, bar.rows, bar.share) for bar in found.bars] == [
        ("yes", 60, 0.6),
        ("no", 25, 0.25),
    ]
    assert (found.rest.rows, found.rest.label) == (15, "5 other answers")
    assert (found.largest, found.free) == (0.6, False)
    assert label_balance(split(85, {"yes": 60, "no": 25}, 2)).rest is None


def test_answers_that_hardly_repeat_are_free_text():
    assert label_balance(split(100, {"a": 1, "b": 1}, 100)).free
    assert not label_balance(split(100, {"a": 1, "b": 1}, 50)).free


def test_a_bar_per_label_and_its_rows():
    data = label_balance(split(100, {"yes": 60, "a <b>label</b>": 40}, 2))
    figure = go.Figure(draw_balance(data, LIGHT))
    assert figure.data[0].x == (60, 40)
    assert figure.layout.yaxis.ticktext[1] == "a &lt;b>label&lt;/b>"
    assert balance_height(data) > 100


def test_lengths_go_from_shortest_to_longest():
    task = TaskProfile(name="t", score="exact_match", splits={"train": split(9, {"a": 9}, 1)})
    found = length_rows(task)
    assert [(span.part, span.name) for span in found] == [("prompt", "train"), ("answer", "train")]
    figure = go.Figure(draw_lengths(found, DARK, "tokens"))
    assert figure.data[0].x == (1, 20)
    assert figure.data[1].x == (2, 9)
    assert figure.data[2].x == (5,)


def test_without_a_profile_the_trials_say_what_a_mix_holds(analysis):
    found = mix_contents(analysis.table, analysis.mixes.mixes)
    kept = {(each.mix, each.volume): each.examples for each in found}
    assert kept["even", 1000] == {"intent": 500, "slots": 500}
    assert kept["intent", 1000] == {"intent": 1000}
    figure = go.Figure(draw_mix_contents([each for each in found if each.mix == "even"], LIGHT))
    assert [bar.name for bar in figure.data] == ["intent", "slots"]
    assert figure.data[0].x == (125, 250, 500, 1000)
