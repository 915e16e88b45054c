"""One look for every chart: colours, symbols and the plotly template, light and dark.

Method is colour *and* symbol, size is shade, so a chart reads without colour vision and in print.
Hues follow Okabe and Ito, "Color Universal Design" (2008), darkened or lightened until text-sized
marks reach a contrast of 3:1 on the card they lie on.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

METHOD_LABELS = {
    "none": "Untouched base",
    "full": "Full tuning",
    "lora": "LoRA",
    "p_tuning": "P-tuning",
}
METHOD_SYMBOLS = {"none": "line-ew", "full": "circle", "lora": "diamond", "p_tuning": "square"}
#: Of a method that only an outside table holds.
OTHER_SYMBOL = "triangle-up"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


class Palette(NamedTuple):
    """The colours of one theme, as ``#rrggbb``. The stylesheet holds the same values."""

    surface: str
    text: str
    muted: str
    line: str
    accent: str
    methods: dict[str, str]


LIGHT = Palette(
    surface="#ffffff",
    text="#1b1f24",
    muted="#59616b",
    line="#e3e4e0",
    accent="#0b5cad",
    methods={"none": "#59616b", "full": "#0072b2", "lora": "#c9520c", "p_tuning": "#00805e"},
)
DARK = Palette(
    surface="#181c22",
    text="#e9ebee",
    muted="#a0a9b4",
    line="#2c333c",
    accent="#77b9ff",
    methods={"none": "#a0a9b4", "full": "#5bb8f0", "lora": "#ff9a52", "p_tuning": "#3dd6a6"},
)


def method_label(method: str) -> str:
    """Name of a method on a page; one that only an outside table holds keeps its own."""
    return METHOD_LABELS.get(method, method)


def method_in_sentence(method: str) -> str:
    """Name of a method within a sentence: ``full tuning``, but ``LoRA`` and ``P-tuning``."""
    words = method_label(method)
    return words[:1].lower() + words[1:] if words[1:2].isalpha() and words[1:].islower() else words


def method_symbol(method: str) -> str:
    """The mark of *method*."""
    return METHOD_SYMBOLS.get(method, OTHER_SYMBOL)


def method_colour(method: str, colours: Palette) -> str:
    """The colour of *method*; those of outside tables share one."""
    return colours.methods.get(method, colours.muted)


def ordered_methods(methods: Iterable[str]) -> tuple[str, ...]:
    """Methods, each once, in the order every page uses: our own first, then by name."""
    found = set(methods)
    known = [method for method in METHOD_LABELS if method in found]
    return (*known, *sorted(found - set(known)))


def palette(theme: str | None) -> Palette:
    """The colours of *theme*; anything but ``"dark"`` is light."""
    return DARK if theme == "dark" else LIGHT


def template(colours: Palette) -> dict[str, Any]:
    """The plotly template for *colours*: no frame, a pale grid, narrow margins."""
    return _template(colours.surface, colours.text, colours.muted, colours.line)


@cache
def _template(surface: str, text: str, muted: str, line: str) -> dict[str, Any]:
    axis = {
        "gridcolor": line,
        "linecolor": line,
        "zeroline": False,
        "ticks": "outside",
        "tickcolor": line,
        "ticklen": 4,
        "title": {"standoff": 10, "font": {"size": 12, "color": muted}},
        "tickfont": {"size": 12, "color": muted},
        "automargin": True,
    }
    return {
        "layout": {
            "font": {"family": FONT, "size": 13, "color": text},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "margin": {"l": 8, "r": 12, "t": 12, "b": 8},
            "xaxis": axis,
            "yaxis": axis,
            "hovermode": "closest",
            "hoverlabel": {
                "bgcolor": surface,
                "bordercolor": line,
                "font": {"family": FONT, "size": 13, "color": text},
                "align": "left",
            },
            "showlegend": False,
            "dragmode": False,
        }
    }


def shade(colour: str, surface: str, strength: float) -> str:
    """*colour* mixed into *surface*; *strength* 1 is the pure colour, 0 the surface."""
    pairs = zip(_channels(colour), _channels(surface), strict=True)
    return "#" + "".join(f"{round(strength * a + (1 - strength) * b):02x}" for a, b in pairs)


def graded(colour: str, surface: str, rank: int, number: int) -> str:
    """*colour* for one of *number* series, by *rank* from pale (0) to full strength (the last)."""
    return shade(colour, surface, 0.42 + 0.58 * (rank + 1) / max(1, number))


def transparent(colour: str, alpha: float) -> str:
    """*colour* as ``rgba(...)`` with opacity *alpha*."""
    red, green, blue = _channels(colour)
    return f"rgba({red},{green},{blue},{alpha})"


def _channels(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)
