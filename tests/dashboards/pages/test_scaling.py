import pytest

from dashboards.charts.marks import LawLine
from dashboards.charts.scaling import MeasuredRun, Scaling, ScalingCurve, scaling_state
from dashboards.pages.scaling import _parameter, content, laws_card
from dashboards.state import Query
from tests.dashboards.conftest import when_ready
from tracker.cache import SingleFlightCache
from tracker.laws.fitted_law import Parameter
from tracker.results import results_table


def test_wishes_that_exist_are_kept_and_others_fall_back(analysis):
    state = scaling_state(
        analysis.table, Query.of(task="slots", metric="bits_per_byte", models=("en-1m", "x"))
    )
    assert (state.task, state.metric, state.mix) == ("slots", "bits_per_byte", "even")
    assert state.models == ("en-1m",)
    fallback = scaling_state(analysis.table, Query.of(task="nosuch", metric="nosuch", mix="nosuch"))
    assert (fallback.task, fallback.metric, fallback.mix) == ("intent", "score", "even")
    assert fallback.models == ("en-0.1m", "en-0.3m", "en-1m")


def test_nothing_tuned_nothing_shown(records):
    assert scaling_state(results_table([]), Query()) is None
    assert scaling_state(results_table(records[:3]), Query()) is None  # the untouched bases alone


@pytest.mark.parametrize(
    "state", [Query(), Query.of(view="together", axis="linear"), Query.of(mix="intent")]
)
def test_the_page_names_charts_laws_and_points(view_of, records, words, state):
    text = words(content(view_of(records), state, "dark"))
    assert "Held-out error" in text
    assert "Show the measured runs" in text
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
    view, background = view_of(tuning), SingleFlightCache()
    page = when_ready(lambda: words(content(view, Query(), None, background)), "Fitting the laws")
    assert "Fitting the laws" not in page


LINE = LawLine((100, 200, 400), (0.5, 0.6, 0.7), (0.4, 0.5, 0.6), (0.6, 0.7, 0.8), 0, 1)
RUNS = tuple(MeasuredRun(i, 100 * (i + 1), 0.5, None, None, 0, None, True) for i in range(2))


def _curve(error, line=LINE, why_not=None):
    return ScalingCurve("m", 1000, "full", "full lr=1e-3", RUNS, line, error, why_not, True)


def _card(*curves):
    data = Scaling("intent", "score", "t", curves, (), (), (1, 2), (0, 1))
    built = laws_card(data, None, "even")
    table = built.children[1].children
    return built, table.children[1].children


@pytest.mark.parametrize(
    ("curve", "note"),
    [
        (_curve(3.3), "far off: do not rely on it"),
        (_curve(None), "not checked: no size to spare"),
        (_curve(None, None, "needs 3 volumes"), "needs 3 volumes"),
    ],
)
def test_a_law_not_to_be_trusted_is_muted_and_says_so(curve, note, words):
    built, (doubted, good) = _card(curve, _curve(0.1))
    assert not curve.trusted
    assert note in words(doubted)
    assert doubted.className == "quiet"
    assert doubted.children[-1].style["whiteSpace"] == "normal"  # else it is cut off
    assert getattr(good, "className", None) is None
    assert "In grey, 1 of 2" in words(built)


def test_laws_with_small_errors_have_no_notes(words):
    built, _ = _card(_curve(0.1), _curve(0.5))
    assert "grey" not in words(built)
    assert "Note" not in words(built)


def test_parameters_hold_no_exponents():
    assert _parameter(Parameter(value=123_456.0, low=-7.5e-05, high=2.5e12)) == (
        "123,000 (−0.000075 to 2.5 trillion)"
    )
