import pytest

from dashboards.charts.theme import DARK, LIGHT, METHOD_SYMBOLS, palette, shade


def _luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK])
def test_marks_and_words_stand_out_from_the_card(colours):
    assert min(_contrast(c, colours.surface) for c in colours.methods.values()) >= 3
    assert _contrast(colours.muted, colours.surface) >= 4.5
    assert _contrast(colours.text, colours.surface) >= 7


def test_no_two_methods_share_a_colour_or_a_symbol():
    assert len(set(METHOD_SYMBOLS.values())) == len(METHOD_SYMBOLS)
    for colours in (LIGHT, DARK):
        assert set(colours.methods) == set(METHOD_SYMBOLS)
        assert len(set(colours.methods.values())) == len(METHOD_SYMBOLS)


def test_shade_runs_from_the_surface_to_the_colour():
    assert shade("#102030", "#ffffff", 1) == "#102030"
    assert shade("#102030", "#ffffff", 0) == "#ffffff"


def test_an_unknown_theme_is_light():
    assert palette(None) is palette("light") is LIGHT
    assert palette("dark") is DARK
