import pytest

from dashboards.cache import SingleFlightCache
from dashboards.pages.scaling.page import content
from dashboards.pages.scaling.state import shown
from dashboards.state import Query
from tests.dashboards.conftest import when_ready
from tracker.results import results_table


def test_wishes_that_exist_are_kept_and_others_fall_back(findings):
    state = shown(
        findings.table, Query.of(task="slots", metric="bits_per_byte", models=("en-1m", "x"))
    )
    assert (state.task, state.metric, state.mix) == ("slots", "bits_per_byte", "even")
    assert state.models == ("en-1m",)
    fallback = shown(findings.table, Query.of(task="nosuch", metric="nosuch", mix="nosuch"))
    assert (fallback.task, fallback.metric, fallback.mix) == ("intent", "score", "even")
    assert fallback.models == ("en-0.1m", "en-0.3m", "en-1m")


def test_nothing_tuned_nothing_shown(records):
    assert shown(results_table([]), Query()) is None
    assert shown(results_table(records[:3]), Query()) is None  # the untouched bases alone


@pytest.mark.parametrize(
    "state", [Query(), Query.of(view="together", axis="linear"), Query.of(mix="intent")]
)
def test_the_page_names_charts_laws_and_points(view_of, records, words, state):
    text = words(content(view_of(records), state, "dark"))
    assert "Held-out error" in text
    assert "Show the measured points" in text
    assert "Untouched base" in text


def test_what_could_not_be_fitted_says_why(view_of, records, words):
    tuned = [r for r in records if r.result.spec.method.name != "none"]  # one volume, and no base
    assert "needs 3" in words(content(view_of(tuned), Query.of(mix="intent"), None))


def test_no_trials_and_one_trial(view_of, records, words):
    assert "No trials yet" in words(content(view_of([]), Query(), None))
    lost = view_of(records[-2:], state="finished")
    text = words(content(lost, Query(), None))
    assert "2 trials ended, 2 of them without a result" in text
    assert "Curves appear" not in text, "nothing more is to come"
    assert "Full tuning" in words(content(view_of(records[6:7]), Query(), None))


def test_trials_that_looked_for_a_learning_rate_alone_have_no_law(view_of, records, words):
    tuning = [record.model_copy(update={"stage": "tune"}) for record in records]
    view, later = view_of(tuning), SingleFlightCache()
    page = when_ready(lambda: words(content(view, Query(), None, later)), "Fitting the laws")
    assert "Fitting the laws" not in page
