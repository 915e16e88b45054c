import pytest

from dashboards.answers import overrides_in
from dashboards.charts.tradeoff import MAX_POINTS, Tradeoff, TradeoffPoint, thinned
from dashboards.exports import export_path
from dashboards.pages.recommend import answered, content
from dashboards.pages.recommend_choice import certainty, headline, hero, setting
from dashboards.pages.recommend_form import fields, form, query_of
from dashboards.state import Query, parse_query
from tests.dashboards.conftest import when_ready
from tracker.cache import SingleFlightCache
from tracker.decision.explain import summary
from tracker.decision.overrides import ObjectiveOverrides
from tracker.errors import InputError
from tracker.metrics import Estimate
from tracker.trial import Objective, Status


@pytest.fixture
def answer(analysis):
    return analysis.recommendation


def test_the_page_answers_first_and_shows_how_sure_it_is(view_of, records, words, answer):
    text = words(content(view_of(records), Query(), "light"))
    assert "".join(headline(answer.choice)) in text.replace("  ", " ").replace(" ,", ",")
    runs = [run.label for run in answer.next_experiments]
    for part in (*answer.why, *answer.caveats, *runs):
        assert part in text
    for runner in answer.runners_up:
        assert runner.candidate.label in text


def test_ties_are_called_ties(answer):
    tied = answer.runners_up[0].model_copy(update={"distinguishable": False})
    clear = answer.runners_up[0].model_copy(update={"distinguishable": True})
    rivals = {"distinguishable": False, "runners_up": (tied, tied, clear)}
    two = answer.model_copy(
        update={**rivals, "tied": None}
    )  # of a file from before they were counted
    assert certainty(two) == ("Statistically tied with 2 others", "warn")
    clearly = {"distinguishable": True, "runners_up": (clear,), "tied": 0}
    sure = answer.model_copy(update=clearly)
    assert certainty(sure) == ("A clear choice", "good")


def test_the_only_configuration_measured_is_no_clear_choice(view_of, records, words):
    base = next(r for r in records if r.result.spec.method.name == "none")
    diverged = [r for r in records if r.result.status is Status.DIVERGED]
    tuned = next(r for r in records if r.result.spec.method.name == "full")
    for rows in ([tuned], [tuned, *diverged]):
        view = view_of(rows)
        answer = view.analysis.recommendation
        assert certainty(answer) == ("The only configuration measured", "warn")
        page = content(view, Query(), None)
        assert "There is no other candidate" in words(page)
        first = words(page[0])
        assert "there is no other to compare it with" in first
        for claim in ("clear choice", "100 %", "Probably the best", "Expected regret"):
            assert claim not in first
    for rows in ([base], [base, *diverged], diverged):
        page = words(content(view_of(rows), Query(), None))
        assert "No recommendation yet" in page
        assert "no fine-tune is complete" in page or "no trial is complete" in page
        for claim in ("clear choice", "100 %", "Probably the best", "keep", "Train this"):
            assert claim not in page


def test_the_only_one_that_keeps_the_constraints_is_no_clear_choice(view_of, records, words):
    objective = Objective(weights={"intent": 1}, constraints={"forgetting.english": 0.0})
    done = {r.result.spec.method.name: r for r in records if r.result.status is Status.COMPLETE}
    view = view_of([done["none"], done["full"]], objective=objective)
    answer = view.analysis.recommendation
    assert (answer.admitted, answer.candidates) == (1, 2)
    assert certainty(answer) == ("The only candidate that keeps the constraints", "warn")
    assert "clear choice" not in words(content(view, Query(), None))


def test_untouched_bases_alone_give_no_recommendation(view_of, records, words):
    """However far apart: nothing was tuned."""
    bases = [r for r in records if r.result.spec.method.name == "none"][:2]
    diverged = [r for r in records if r.result.status is Status.DIVERGED]
    text = words(content(view_of([*bases, *diverged]), Query(), None))
    assert "No recommendation yet" in text
    for base in bases:
        assert base.result.spec.model.name in text
    assert "lower the learning rates" in text


def test_rejections_are_listed_with_what_they_cost(view_of, records, words):
    objective = Objective(weights={"intent": 1}, constraints={"forgetting.english": 0.03})
    view = view_of(records, objective=objective)
    text = words(content(view, Query(), None))
    assert "Your constraints" in text
    rejected = view.analysis.recommendation.rejected
    assert rejected[0].constraint == "forgetting.english"
    assert rejected[0].best in text


def test_the_untouched_base_can_be_the_answer(answer):
    method = answer.choice.method.model_copy(
        update={"name": "none", "learning_rate": None, "variant": None, "rank": None}
    )
    base = answer.choice.model_copy(update={"method": method, "mix": "", "examples": {}})
    assert "".join(headline(base)) == f"Keep {base.model} as it is"
    assert setting(base) == ""


def test_too_little_is_said_in_words(view_of, words):
    assert "No recommendation yet" in words(content(view_of([]), Query(), None))


def test_limits_that_nothing_keeps_are_not_taken_for_too_little_data(view_of, records, words):
    text = words(content(view_of(records), Query.of(constraint="min.intent=1"), None))
    assert "Nothing satisfies these limits" in text
    assert "No recommendation yet" not in text


def test_an_unclear_question_is_said_in_words(view_of, records, words):
    text = words(
        content(view_of(records, objective=Objective(weights={"nosuch": 1})), Query(), None)
    )
    assert "The question is not clear" in text
    assert "nosuch" in text


def test_the_sweep_s_notes_stand_among_the_caveats(view_of, records, words):
    text = words(content(view_of(records, notes=("loss over several tokenizers",)), Query(), None))
    assert "loss over several tokenizers" in text


def test_the_export_path_is_quoted_and_holds_the_question_alone():
    query = Query.of("a/b c", weight="intent=2", task="slots", target_quality="0.9")
    assert export_path("a/b c", Query()) == "/export/a%2Fb%20c/recommended.yaml"
    assert (
        export_path("a", query, "trl.zip")
        == "/export/a/trl.zip?target_quality=0.9&weight=intent%3D2"
    )


def test_the_address_is_the_question(view_of, records, words):
    view = view_of(records)
    query = Query.of(weight="slots=1", constraint=["examples=500", "forgetting.english=none"])
    text = words(content(view, query, None))
    answer = view.analysis.answer(overrides_in(query)).recommendation
    assert answer.question == "highest weighted score (slots 1), subject to examples <= 500"
    assert answer.choice.volume <= 500
    assert answer.question in text
    assert "With 500 examples" in text
    assert (
        "sft-select recommend support --weight slots=1 --constraint examples=500 "
        "--constraint forgetting.english=none -o recommended.yaml"
    ) in text


def test_what_reaches_a_quality_is_said(view_of, records, words):
    view = view_of(records)
    near = words(content(view, Query.of(target_quality="0.5"), None))
    assert "What reaches 50.0 %" in near
    assert "Target met: the smallest that reaches 50.0 %" in near
    assert "Probability of reaching 50.0 %" in near
    assert "Probability of being the best" not in near  # another question was given
    assert "The choice above is the smallest model" in near
    far = words(content(view, Query.of(target_quality="0.99"), None))
    assert "Nothing that was measured reaches 99.0 %" in far


def test_a_wrong_question_is_said_in_a_line_each(view_of, records, words):
    text = words(content(view_of(records), Query.of(weight="intent=x", constraint="flops=0"), None))
    assert "intent: found x; allowed: a number, such as 0.5" in text
    assert "found 0; allowed: above 0" in text
    assert "--" not in text  # these are the command line's words


def test_while_it_is_worked_out_the_page_says_so_and_then_shows_it(view_of, records, words):
    view, answers = view_of(records), SingleFlightCache()
    page = when_ready(lambda: words(content(view, Query(), None, answers)), "Working it out")
    assert "Probability of being the best" in page


def test_a_gain_on_a_suite_is_not_written_as_a_negative_loss(view_of, records, words):
    found = view_of(records).analysis.answer()
    choice = found.recommendation.choice
    lost = {"english": Estimate(value=-0.58, low=-0.6, high=-0.5)}
    better = choice.model_copy(update={"forgetting": lost})
    answer = found.recommendation.model_copy(update={"choice": better})
    text = words(hero(found._replace(recommendation=answer), None))
    assert "Gained on english" in text
    assert "58.0 %" in text
    assert "80 % interval 50.0 to 60.0 %" in text


def test_newer_results_are_announced_on_the_answer_before(view_of, records, words):
    page = answered(view_of(records).analysis.answer(), Query(), None, outdated=True)
    assert "Newer results are being taken in" in words(page)


def test_a_browser_is_not_sent_ten_thousand_spots():
    points = tuple(
        TradeoffPoint(f"c{i}", "lora", i / 1e4, i / 1e4, i % 1000 == 0, i == 4321)
        for i in range(10_000)
    )
    kept = thinned(Tradeoff("english", points, None)).points
    assert len(kept) < MAX_POINTS + 20
    assert {s for s in points if s.front or s.chosen} <= set(kept)


def texts(shown, **changes):
    """What the browser sends: every field, those in *changes* (by constraint or task) typed over."""
    return [
        (f.place.option, f.place.name, changes.get(f.place.name.replace(".", "__"), f.text))
        for f in shown
    ]


def test_every_field_shows_the_sweep_file_s_question(analysis):
    shown = {(f.place.option, f.place.name): f.text for f in fields(analysis, Query())}
    assert shown["weight", "intent"] == "2"
    assert shown["constraint", "forgetting.english"] == "10"  # per cent
    assert shown["constraint", "peak_bytes"] == ""
    assert shown["constraint", "over_reach.intent"] == ""
    assert ("constraint", "over_reach.slots") not in shown  # nothing of it was measured
    assert {"examples", "examples.intent", "examples.slots", "gpu_hours", "adapter_bytes"} <= {
        name for _, name in shown
    }
    assert shown["target_quality", ""] == ""


def test_the_sweep_file_s_question_leaves_the_address_bare(analysis):
    query = Query.of("support", task="slots")
    assert query_of(analysis, query, texts(fields(analysis, query))) == query


def test_what_is_changed_goes_to_the_address_in_the_command_line_s_words(analysis):
    shown = fields(analysis, Query("support"))
    typed = texts(shown, intent="1", peak_bytes="0.25", forgetting__english="", examples="1000")
    typed = [(o, n, "" if n else "85") if o == "target_quality" else (o, n, t) for o, n, t in typed]
    query = query_of(analysis, Query("support"), typed)
    assert query.many("weight") == ("intent=1", "slots=1")
    assert query.many("constraint") == (
        "examples=1000", "forgetting.english=none", "peak_bytes=250000000",
    )  # fmt: skip
    assert overrides_in(query) == ObjectiveOverrides(
        (("intent", 1.0), ("slots", 1.0)),
        (("examples", 1000.0), ("forgetting.english", None), ("peak_bytes", 2.5e8)),
        0.85,
    )
    again = {(f.place.option, f.place.name): f.text for f in fields(analysis, query)}
    assert again["constraint", "peak_bytes"] == "0.25"
    assert again["constraint", "forgetting.english"] == ""
    assert again["target_quality", ""] == "85"
    assert query_of(analysis, query, texts(fields(analysis, query))) == query


def test_bounds_on_precision_recall_and_a_label_have_fields(view_of, records):
    analysis = view_of(records).analysis
    bounds = analysis.objective.constraints | {"recall.intent.退=款": 0.5}
    analysis.objective = analysis.objective.model_copy(update={"constraints": bounds})
    shown = fields(analysis, Query("support"))
    assert {
        f.place.name: (f.place.group, f.text, f.place.unit)
        for f in shown
        if f.place.name.startswith(("precision.", "recall."))
    } == {
        "precision.intent": ("keep", "", "% at least"),
        "precision.slots": ("keep", "", "% at least"),
        "recall.intent": ("keep", "", "% at least"),
        "recall.slots": ("keep", "", "% at least"),
        "recall.intent.退=款": ("keep", "50", "% at least"),
    }
    assert query_of(analysis, Query("support"), texts(shown)) == Query("support")
    typed = [*texts(shown, precision__intent="0.9"), ("constraint", "recall.intent.退=款", "60")]
    query = query_of(analysis, Query("support"), typed)
    assert query.many("constraint") == ("precision.intent=0.9", "recall.intent.退=款=0.6")
    assert dict(overrides_in(query).constraints) == {
        "precision.intent": 0.9, "recall.intent.退=款": 0.6,
    }  # fmt: skip


def test_a_target_of_the_sweep_file_is_shown_changed_and_dropped(view_of, records, words):
    view = view_of(records)
    view.analysis.objective = view.analysis.objective.model_copy(update={"target": {"intent": 0.5}})
    shown = fields(view.analysis, Query("support"))
    assert {f.place.name: f.text for f in shown if f.place.option == "target_quality"} == {
        "": "", "intent": "50", "slots": "",
    }  # fmt: skip
    assert query_of(view.analysis, Query("support"), texts(shown)) == Query("support")
    dropped = [(o, n, "" if o == "target_quality" else t) for o, n, t in texts(shown)]
    query = query_of(view.analysis, Query("support"), dropped)
    assert query.many("target_quality") == ("none",)
    assert "Target met" not in words(content(view, query, None))
    page = words(content(view, Query("support"), None))
    assert "Target met: the smallest that reaches intent 50.0 %" in page
    typed = Query.of("support", target_quality=("intent=0.4", "slots=0.3"))
    assert "reaches intent 40.0 %, slots 30.0 %" in words(content(view, typed, None))
    assert "The choice, task by task" in page


def test_a_wrong_value_stays_as_typed_and_is_said_beside_its_field(analysis, words):
    shown = fields(analysis, Query())
    query = query_of(
        analysis, Query(), texts(shown, slots="much", peak_bytes="-1", over_reach__intent="150")
    )
    again = {f.place.name: f for f in fields(analysis, query)}
    assert again["slots"].text == "much"
    assert again["slots"].problem == "found much; allowed: a number, such as 0.5"
    assert again["peak_bytes"].problem == "found -1; allowed: above 0"
    assert again["over_reach.intent"].problem == "found 150; allowed: 0 to 100"
    assert again["intent"].problem is None
    beyond = {f.place.name: f for f in fields(analysis, Query.of(target_quality="1.5"))}
    assert beyond[""].problem == "found 150; allowed: above 0, at most 100"
    text = words(form("/recommend", query, list(again.values())))
    assert "found much; allowed: a number, such as 0.5" in text
    with pytest.raises(InputError):
        overrides_in(query)


@pytest.mark.parametrize(
    ("typed", "text"),
    [("90,5", "0.905"), ("90.5", "0.905"), ("0,125", "0.125"), ("1,000", "1,000")],
)
def test_a_comma_is_read_as_a_phone_gives_it_and_never_as_thousands(analysis, typed, text):
    assert (
        query_of(analysis, Query("support"), [("target_quality", "", typed)]).get("target_quality")
        == text
    )


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ("0.6", "0.6"),
        ("0,6", "0.6"),
        ("60", "0.6"),
        ("60 %", "0.6"),
        ("60%", "0.6"),
        ("1", "1"),
        ("0.6 %", "0.006"),
        ("60 percent", "60 percent"),
    ],
)
def test_a_quality_is_a_share_as_on_the_command_line_or_in_per_cent(analysis, typed, text):
    places = {("target_quality", ""): "target_quality", ("constraint", "min.slots"): "constraint"}
    for (option, name), where in places.items():
        query = query_of(analysis, Query("support"), [(option, name, typed)])
        assert query.many(where) == (f"{name}={text}" if name else text,)
        again = texts(fields(analysis, query))
        assert query_of(analysis, query, again) == query, "what is shown is read as the same"
        if text == "0.6":
            assert ("target_quality", "", "60") in again or name


def test_a_limit_on_what_is_lost_is_in_per_cent_however_small(analysis):
    query = query_of(analysis, Query("support"), [("constraint", "forgetting.english", "0.6")])
    assert query.many("constraint") == ("forgetting.english=0.006",)
    query = query_of(analysis, Query("support"), [("constraint", "forgetting.english", "6 %")])
    assert query.many("constraint") == ("forgetting.english=0.06",)
    query = query_of(analysis, Query("support"), [("constraint", "peak_bytes", "6 %")])
    assert query.many("constraint") == ("peak_bytes=6 %",), "no share of anything"


def test_a_bound_without_a_field_gets_one(analysis):
    query = parse_query("?constraint=flops%3D1e12")
    shown = fields(analysis, query)
    assert [f.text for f in shown if f.place.name == "flops"] == ["1e+12"]
    assert query_of(analysis, query, texts(shown)).many("constraint") == ("flops=1e+12",)


def test_the_form_is_open_for_another_question_and_reset_goes_back(analysis):
    query = Query.of("support", target_quality="0.9", task="slots")
    details = form("/recommend", query, fields(analysis, query)).children
    assert details.open
    assert details.children[-1].children[1].href == "/recommend?sweep=support"
    plain = Query.of("support", task="slots")
    assert not form("/recommend", plain, fields(analysis, plain)).children.open


def test_a_target_that_nothing_reaches_leads_with_that(view_of, records, words):
    page = content(view_of(records), Query.of(target_quality="0.999"), None)
    first = words(page[0])
    assert first.startswith("Not reached; this comes closest")
    assert "Target not met: nothing measured reaches 99.9 %" in first
    assert "Probability of reaching 99.9 %" in first
    assert "Train this" not in first
    assert "Probability of being the best" not in first


def test_ties_are_counted_alike_in_the_head_the_reasons_and_the_terminal(analysis, words):
    """Of all candidates, not of the runners-up that are listed."""
    found = analysis.recommendation
    many = found.model_copy(update={"tied": 6, "distinguishable": False})
    assert certainty(many) == ("Statistically tied with 6 others", "warn")
    assert "statistically tied with 6 others" in summary(many)[1]
    others = [
        i
        for i, candidate in enumerate(analysis.candidates)
        if i in analysis.admitted and candidate.label != found.choice.label
    ]
    index = next(i for i, c in enumerate(analysis.candidates) if c.label == found.choice.label)
    tied = [
        i
        for i in others
        if not analysis.posterior.distinguishable(index, i)
        and not (analysis.posterior.gap(index, i).high or 0) < 0
    ]
    assert found.tied == len(tied)
