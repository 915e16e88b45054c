import pytest

from dashboards.pages.mix import content, law_table, mix_state, model_and_method
from dashboards.state import Query
from tests.dashboards.conftest import when_ready
from tracker.cache import SingleFlightCache
from tracker.trial import MixSpec

LARGEST_FULL = {"model": "en-1m", "method": "full"}


def test_wishes_that_exist_are_kept_and_others_fall_back(view_of, records):
    view = view_of(records)
    wanted = Query.of(model="en-0.3m", method="lora rslora r=8", compared="shifted")
    state = mix_state(view, wanted)
    assert (state.model, state.method) == ("en-0.3m", "lora rslora r=8")
    assert state.compared == "shifted"
    fallback = mix_state(view, Query.of(model="nosuch", method="nosuch", volume="7", compared="x"))
    assert (fallback.model, fallback.method) == ("en-1m", "full")
    assert fallback.volume in (250, 500, 1000, 2000)
    assert fallback.compared == "added"


def test_nothing_tuned_nothing_shown(view_of, records, words):
    assert model_and_method(view_of([]), Query()) is None
    assert "No trials yet" in words(content(view_of([]), Query(), None))
    assert "No tuned trial has a score" in words(content(view_of(records[:3]), Query(), None))


def test_one_trial_says_what_is_missing(view_of, records, words):
    text = words(content(view_of(records[6:7]), Query(), None))
    assert "Nothing to compare yet" in text
    assert "Only the mix even was run here" in text


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_page_holds_matrix_sharing_replay_and_weakest(view_of, records, words, theme):
    text = words(content(view_of(records), Query.of(**LARGEST_FULL), theme))
    # A mix of intent alone at 1,000 against the even mix at 2,000: as many rows of intent.
    assert "intent, 1,000 of its examples: even against intent" in text
    assert "no two mixes give slots the same number of examples" in text
    assert "No two mixes here differ in replay alone" in text
    assert "What a mix costs the weakest task" in text
    assert "slots (not trained)" in text


def test_a_table_that_does_not_split_its_mixes_says_which_column_would(view_of, records, words):
    def unsplit(record):
        spec = record.result.spec
        mix = spec.mix and MixSpec(name=spec.mix.name, weights={})
        outside = spec.model_copy(update={"mix": mix, "examples": {}, "origin": "table.csv"})
        result = record.result.model_copy(update={"spec": outside})
        return record.model_copy(update={"result": result})

    view = view_of([unsplit(record) for record in records])
    assert "Give an outside table a column mix:TASK" in words(content(view, Query(), None))


def test_a_mix_at_another_rate_is_named_as_left_out(view_of, record_of, spec_of, words):
    plan = [("even", 0.001), ("intent", 0.01)]
    trials = [
        record_of(i, spec_of("en-1m", "full", 1000, mix=mix, rate=rate))
        for i, (mix, rate) in enumerate(plan)
    ]
    text = words(content(view_of(trials), Query(), None))
    assert "Left out: " in text
    assert "Nothing to compare yet" in text
    assert "at it as well" in text


def test_an_entry_of_the_matrix_shows_effect_interval_and_what_was_added(view_of, records, words):
    text = words(content(view_of(records), Query.of(**LARGEST_FULL, volume="1000"), None))
    assert "0 → 1,000" in text
    assert ", helps" in text


def test_replay_is_compared_where_mixes_differ_in_it(view_of, records, words):
    more = MixSpec(name="replayed", weights={"intent": 1, "slots": 1}, replay=0.05)
    again = [
        r.model_copy(
            update={
                "number": 1000 + r.number,
                "result": r.result.model_copy(
                    update={"spec": r.result.spec.model_copy(update={"mix": more})}
                ),
            }
        )
        for r in records
        if r.result.spec.mix and r.result.spec.mix.name == "even"
    ]
    text = words(content(view_of([*records, *again]), Query.of(**LARGEST_FULL), None))
    assert "Forgetting of english, by share of replay" in text
    assert "lost of english" in text


def test_the_laws_come_with_what_refuses_them(view_of, records, words):
    text = words(law_table(view_of(records), (LARGEST_FULL["model"], LARGEST_FULL["method"]), None))
    assert "How much the other tasks' examples count" in text
    assert "Not fitted" in text or "they" in text or "unclear" in text


def test_the_laws_come_in_the_background_and_the_page_does_not_wait(view_of, records, words):
    view, background, query = view_of(records), SingleFlightCache(), Query.of(**LARGEST_FULL)
    page = when_ready(lambda: words(content(view, query, None, background)), "is being fitted")
    assert page == words(content(view, query, None))


def test_names_from_data_stay_text(view_of, records, words):
    evil = "<script>alert(1)</script>"
    mix = MixSpec(name=evil, weights={"intent": 3, "slots": 1})
    changed = [
        r.model_copy(
            update={
                "number": 1000 + r.number,
                "result": r.result.model_copy(
                    update={"spec": r.result.spec.model_copy(update={"mix": mix})}
                ),
            }
        )
        for r in records
        if r.result.spec.mix and r.result.spec.mix.name == "even"
    ]
    built = content(view_of([*records, *changed]), Query.of(**LARGEST_FULL), None)
    assert evil in words(built)  # as text, in components that escape it
    assert evil not in str([part.to_plotly_json() for part in built if hasattr(part, "figure")])


def test_the_matrix_has_no_marks_to_look_up_and_names_the_mixes_to_add(view_of, records, words):
    built = content(view_of(records), Query.of(**LARGEST_FULL, volume="1000"), None)
    assert "Sup(" not in str(built)
    assert "What these mixes do not measure" in words(built)
