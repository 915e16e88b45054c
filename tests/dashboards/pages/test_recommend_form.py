import pytest

from dashboards.answers import asked_of
from dashboards.pages.recommend.form import ask, fields, form
from dashboards.state import Query, parse_query
from tracker.decision.question import Asked
from tracker.errors import InputError


def texts(shown, **changes):
    """What the browser sends: every field, those in *changes* (by constraint or task) typed over."""
    return [
        (f.place.option, f.place.name, changes.get(f.place.name.replace(".", "__"), f.text))
        for f in shown
    ]


def test_every_field_shows_the_sweep_s_own_question(findings):
    shown = {(f.place.option, f.place.name): f.text for f in fields(findings, Query())}
    assert shown["weight", "intent"] == "2"
    assert shown["constraint", "forgetting.english"] == "10"  # per cent
    assert shown["constraint", "peak_bytes"] == ""
    assert shown["constraint", "over_reach.intent"] == ""
    assert ("constraint", "over_reach.slots") not in shown  # nothing of it was measured
    assert {"examples", "examples.intent", "examples.slots", "gpu_hours", "adapter_bytes"} <= {
        name for _, name in shown
    }
    assert shown["reach", ""] == ""


def test_asking_what_is_asked_already_leaves_the_address_bare(findings):
    query = Query.of("support", task="slots")
    assert ask(findings, query, texts(fields(findings, query))) == query


def test_what_is_changed_goes_to_the_address_in_the_command_line_s_words(findings):
    shown = fields(findings, Query("support"))
    typed = texts(shown, intent="1", peak_bytes="0.25", forgetting__english="", examples="1000")
    typed = [(o, n, "85" if o == "reach" else t) for o, n, t in typed]
    query = ask(findings, Query("support"), typed)
    assert query.many("weight") == ("intent=1", "slots=1")
    assert query.many("constraint") == (
        "examples=1000", "forgetting.english=none", "peak_bytes=250000000",
    )  # fmt: skip
    assert asked_of(query) == Asked(
        (("intent", 1.0), ("slots", 1.0)),
        (("examples", 1000.0), ("forgetting.english", None), ("peak_bytes", 2.5e8)),
        0.85,
    )
    again = {(f.place.option, f.place.name): f.text for f in fields(findings, query)}
    assert again["constraint", "peak_bytes"] == "0.25"
    assert again["constraint", "forgetting.english"] == ""
    assert again["reach", ""] == "85"
    assert ask(findings, query, texts(fields(findings, query))) == query


def test_a_wrong_value_stays_as_typed_and_is_said_beside_its_field(findings, words):
    shown = fields(findings, Query())
    query = ask(
        findings, Query(), texts(shown, slots="much", peak_bytes="-1", over_reach__intent="150")
    )
    again = {f.place.name: f for f in fields(findings, query)}
    assert again["slots"].text == "much"
    assert again["slots"].problem == "found much; allowed: a number, such as 0.5"
    assert again["peak_bytes"].problem == "found -1; allowed: above 0"
    assert again["over_reach.intent"].problem == "found 150; allowed: 0 to 100"
    assert again["intent"].problem is None
    beyond = {f.place.name: f for f in fields(findings, Query.of(reach="1.5"))}
    assert beyond[""].problem == "found 150; allowed: above 0, at most 100"
    text = words(form("/recommend", query, list(again.values())))
    assert "found much; allowed: a number, such as 0.5" in text
    with pytest.raises(InputError):
        asked_of(query)


@pytest.mark.parametrize(
    ("typed", "asked"),
    [("90,5", "0.905"), ("90.5", "0.905"), ("0,125", "0.00125"), ("1,000", "1,000")],
)
def test_a_comma_is_read_as_a_phone_gives_it_and_never_as_thousands(findings, typed, asked):
    assert ask(findings, Query("support"), [("reach", "", typed)]).get("reach") == asked


def test_a_bound_without_a_field_gets_one(findings):
    query = parse_query("?constraint=flops%3D1e12")
    shown = fields(findings, query)
    assert [f.text for f in shown if f.place.name == "flops"] == ["1e+12"]
    assert ask(findings, query, texts(shown)).many("constraint") == ("flops=1e+12",)


def test_the_form_is_open_where_something_is_asked_and_reset_goes_back(findings):
    query = Query.of("support", reach="0.9", task="slots")
    details = form("/recommend", query, fields(findings, query)).children
    assert details.open
    assert details.children[-1].children[1].href == "/recommend?sweep=support"
    plain = Query.of("support", task="slots")
    assert not form("/recommend", plain, fields(findings, plain)).children.open
