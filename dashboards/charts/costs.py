"""What each method gains and costs, as sentences a manager reads."""

from __future__ import annotations

from collections.abc import Callable

from dashboards.charts.generalisation import TRANSFER, Generalisation, Spot, Value
from dashboards.charts.overreach import Overreach, Reading
from dashboards.charts.theme import method_words
from dashboards.charts.wording import percent, quality, signed_percent


def spots_at(data: Generalisation, model: str, volume: int) -> list[Spot]:
    """Of each method's path the spot at *volume*, in the order of methods."""
    return [
        spot
        for path in data.paths
        if path.model == model
        for spot in path.spots
        if spot.volume == volume
    ]


def cost_sentence(spot: Spot, data: Generalisation) -> str:
    """The gain and the loss of *spot*, with 80 % intervals in brackets."""
    base = data.bases.get(spot.model)
    start = "" if base is None else f"from {quality(base.value)} "
    span = _both(spot.quality.low, spot.quality.high, quality)
    what = "tasks it was not trained on" if data.cost == TRANSFER else data.cost
    return (
        f"{method_words(spot.method)}: quality {start}to {quality(spot.quality.value)} ({span}); "
        f"{lost_words(spot.lost, what)}."
    )


def lost_words(lost: Value, what: str) -> str:
    """What was lost of *what*, and whether that can be told from nothing."""
    if lost.low is None or lost.high is None:
        verb = "loses" if lost.value >= 0 else "gains"
        return f"{verb} {percent(abs(lost.value))} on {what}, its error unknown"
    if not lost.told:
        change = f"{percent(lost.value)}, {percent(lost.low)} to {percent(lost.high)}"
        return f"no loss on {what} that can be told from none ({change})"
    if lost.value > 0:
        return (
            f"loses {percent(lost.value)} on {what} ({percent(lost.low)} to {percent(lost.high)})"
        )
    return f"gains {percent(-lost.value)} on {what} ({percent(-lost.high)} to {percent(-lost.low)})"


def answer_sentences(data: Overreach, volume: int) -> list[str]:
    """Per method what it answers more, and what wrongly more, at *volume* examples."""
    found = []
    for method in data.methods:
        parts = []
        for panel in data.panels:
            own = [r for t in panel.traces if t.method == method for r in t.readings]
            reading = next((r for r in own if r.volume == volume), None)
            if reading is not None:
                name = panel.kind.replace("_", "-") if panel.kind == "over_reach" else panel.kind
                name = name.replace("_", " ")
                parts.append(f"{name} {_reading(reading, panel.base)}")
        if parts:
            found.append(
                f"{method_words(method)}: {'; '.join(parts)}. {_verdict(data, method, volume)}"
            )
    return found


def _reading(reading: Reading, base: float | None) -> str:
    value = percent(reading.value)
    if base is None:
        span = _both(reading.low, reading.high, percent)
        return f"{value} (the base has none; {span})"
    return (
        f"{value} (base {percent(base)}; change {_both(reading.low, reading.high, signed_percent)})"
    )


def _both(low: float | None, high: float | None, form: Callable[[float], str]) -> str:
    return "its error is unknown" if low is None or high is None else f"{form(low)} to {form(high)}"


def _verdict(data: Overreach, method: str, volume: int) -> str:
    """Said only where the intervals bear it: more found, and more wrongly claimed."""
    change: dict[str, Reading] = {}
    for panel in data.panels:
        for trace in panel.traces:
            if trace.method == method and panel.base is not None:
                change |= {str(panel.kind): r for r in trace.readings if r.volume == volume}
    up = change.get("recall")
    if up is None or up.low is None or up.low <= 0:
        return ""
    down, over = change.get("precision"), change.get("over_reach")
    worse = []
    if down is not None and down.high is not None and down.high < 0:
        worse.append("a smaller share of what it claims is right")
    if over is not None and over.low is not None and over.low > 0:
        worse.append("it answers where there is nothing to answer")
    return f"It finds more, but {' and '.join(worse)}." if worse else ""
