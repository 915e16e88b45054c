import pytest

from dashboards.pages.recommend import certainty, content, export_path, headline, setting
from dashboards.state import Query
from tracker.record.trial import Objective
from tracker.select.describe import further_text


@pytest.fixture
def answer(findings):
    return findings.recommendation


def test_the_page_answers_first_and_shows_how_sure_it_is(view_of, records, words, answer):
    text = words(content(view_of(records), Query(), "light"))
    assert "".join(headline(answer.choice)) in text.replace("  ", " ").replace(" ,", ",")
    for part in (*answer.why, *answer.caveats, *map(further_text, answer.further_trials)):
        assert part in text
    for runner in answer.runners_up:
        assert runner.candidate.label in text


def test_ties_are_called_ties(answer):
    tied = answer.runners_up[0].model_copy(update={"separable": False})
    clear = answer.runners_up[0].model_copy(update={"separable": True})
    two = answer.model_copy(update={"separable": False, "runners_up": (tied, tied, clear)})
    assert certainty(two) == ("Cannot be separated from 2 others", "warn")
    sure = answer.model_copy(update={"separable": True, "runners_up": (clear,)})
    assert certainty(sure) == ("A clear choice", "good")


def test_rejections_are_listed_with_what_they_cost(view_of, records, words):
    asked = Objective(weights={"intent": 1}, constraints={"forgetting.english": 0.03})
    view = view_of(records, objective=asked)
    text = words(content(view, Query(), None))
    assert "Ruled out by your constraints" in text
    rejected = view.findings.recommendation.rejected
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
    assert "Too little is known" in words(content(view_of([]), Query(), None))


def test_an_unclear_question_is_said_in_words(view_of, records, words):
    text = words(
        content(view_of(records, objective=Objective(weights={"nosuch": 1})), Query(), None)
    )
    assert "does not say what is wanted" in text
    assert "nosuch" in text


def test_the_sweep_s_notes_stand_among_the_caveats(view_of, records, words):
    text = words(content(view_of(records, notes=("loss over several tokenizers",)), Query(), None))
    assert "loss over several tokenizers" in text


def test_the_export_path_is_quoted(view_of, records):
    view = view_of(records)
    odd = view._replace(info=view.info._replace(name="a/b c"))
    assert export_path(odd) == "/export/a%2Fb%20c/recommended.yaml"
