import pytest

from dashboards.charts.scaling import Curve, Line, Point, Scaling
from dashboards.pages.scaling.cards import _parameter, laws_card, trusted
from tracker.laws.fitted_law import Parameter

LINE = Line((100, 200, 400), (0.5, 0.6, 0.7), (0.4, 0.5, 0.6), (0.6, 0.7, 0.8), 2)
POINTS = tuple(Point(i, 100 * (i + 1), 0.5, None, None, 0, None, True) for i in range(2))


def _curve(error, line=LINE, why_not=None):
    return Curve("m", 1000, "full", "full lr=1e-3", POINTS, line, error, None, why_not, True)


def _card(*curves):
    data = Scaling("intent", "score", "t", curves, (), (), (1, 2), (0, 1))
    built = laws_card(data, None, "even")
    table = built.children[1].children
    return built, table.children[1].children


@pytest.mark.parametrize(
    ("curve", "note"),
    [
        (_curve(3.3), "far off: do not rely on it"),
        (_curve(None), "not checked: no volume to spare"),
        (_curve(None, None, "needs 3 volumes"), "needs 3 volumes"),
    ],
)
def test_a_law_not_to_be_trusted_is_muted_and_says_so(curve, note, words):
    built, (doubted, good) = _card(curve, _curve(0.1))
    assert not trusted(curve)
    assert note in words(doubted)
    assert doubted.className == "quiet"
    assert doubted.children[-1].style["whiteSpace"] == "normal"  # else it is cut off
    assert getattr(good, "className", None) is None
    assert "In grey, 1 of 2" in words(built)


def test_laws_that_held_have_no_notes(words):
    built, _ = _card(_curve(0.1), _curve(0.5))
    assert "grey" not in words(built)
    assert "Note" not in words(built)


def test_parameters_hold_no_exponents():
    assert _parameter(Parameter(value=123_456.0, low=-7.5e-05, high=2.5e12)) == (
        "123,000 (−0.000075 to 2.5 trillion)"
    )
