"""How far each law of the scaling page can be trusted, and its form in plain words."""

from __future__ import annotations

from typing import Any

from dash import html

from dashboards.charts.scaling import Curve, Scaling
from dashboards.charts.size import between, value
from dashboards.charts.wording import ABSENT, count, percent
from dashboards.components import behind, card, data_table
from dashboards.tables import DataTable
from tracker.laws.curves import CurveFits, Metric
from tracker.laws.fitted_law import BEND, FORM, TRUSTED, Parameter
from tracker.numbers import number


def laws_card(data: Scaling, fits: CurveFits | None, mix: str) -> html.Section:
    """How far each law can be trusted, its form in plain words, and its parameters; others are muted."""
    rows = [_law_row(curve, data.metric) for curve in data.curves]
    head: tuple[str, ...] = (
        "Model", "Setting", "Measured at", "At the largest volume", "At twice that",
        "Held-out error", "Note",
    )  # fmt: skip
    if not any(row[-1] for row in rows):
        head, rows = head[:-1], [row[:-1] for row in rows]
    lead = (
        "Held-out error: the law is fitted again without its largest volume, and asked for it. "
        + (
            "It is the relative error in one minus the score."
            if data.metric == "score"
            else "It is the relative error in the loss."
        )
    )
    doubted = [curve for curve in data.curves if not trusted(curve)]
    if doubted:
        lead += (
            f" In grey, {len(doubted)} of {len(data.curves)}: no law, one that was not checked, or one that "
            f"missed by more than {percent(TRUSTED, 0)}."
        )
    return card(
        "How far to trust each law",
        _muted(data_table(head, rows, text=(0, 1, 6)), [not trusted(c) for c in data.curves]),
        behind("What form the laws have, and their parameters", _form(data, fits, mix)),
        lead=lead,
    )


def trusted(curve: Curve) -> bool:
    """Whether there is a law whose held-out check came near enough."""
    error = curve.held_out_error
    return curve.line is not None and error is not None and error <= TRUSTED


def _muted(table: DataTable, rows: list[bool]) -> DataTable:
    """*table* with those of its *rows* in the colour of what matters less."""
    for row, quiet in zip(table.body, rows, strict=True):
        if quiet:
            row.className = "quiet"
            row.children[-1].style = {"whiteSpace": "normal", "minWidth": "110px"}  # the note
    return table


def _note(curve: Curve) -> str:
    error = curve.held_out_error
    if curve.line is None:
        return curve.why_not or "no law"
    if error is None:
        return "not checked: no volume to spare"
    if error > TRUSTED:
        return "far off: do not rely on it"
    return ""


def _form(data: Scaling, fits: CurveFits | None, mix: str) -> html.Div:
    error = "one minus the score" if data.metric == "score" else "the loss"
    words = [
        f"All laws have one form, {FORM}, where D is the number of examples and the result {error}. "
        "They are fitted together, so that a curve with few points leans on those like it.",
        "E, the floor: what no amount of such data would remove.",
        "A, the height: what there is to gain between no data and endless data.",
        "D0, the head start: how many examples what the model already knows is worth. With fewer than "
        "that the curve is nearly flat.",
        "beta, the steepness: far above D0, ten times the data divide what is left above the floor by "
        "10 to the power of beta.",
        f"Ahead of the largest volume measured a line goes on {BEND:.0%} as the law bends and "
        f"{1 - BEND:.0%} as straight as it was last (on log axes), and its band widens by how far such "
        "forecasts missed before.",
        "The law over model size is the same form: its parameters change with the number of a model's "
        "parameters as all models together say. Read what laws foretell rather than single parameters: "
        "different parameters can draw the same curve.",
    ]
    models = set(data.models)
    rows: list[tuple[Any, ...]] = [
        (key.label.removesuffix(f", {key.task}"), *(_parameter(p) for p in law.parameters.values()))
        for key, law in (fits.laws.items() if fits else ())
        if key.mix == mix and key.model in models
    ]
    points = html.Ul([html.Li(word) for word in words], className="points")
    table = data_table(("Curve (80 % intervals)", "E", "A", "D0", "beta"), rows) if rows else None
    return html.Div([points, table])


def _parameter(p: Parameter) -> str:
    return f"{number(p.value)} ({number(p.low)} to {number(p.high)})".replace("-", "−")


def _law_row(curve: Curve, metric: Metric) -> tuple[str, ...]:
    volumes = sorted({p.examples for p in curve.points})
    measured = ", ".join(count(v) for v in volumes)
    if curve.line is None:
        return curve.model, curve.setting, measured, ABSENT, ABSENT, ABSENT, _note(curve)
    line = curve.line
    at_end = line.measured - 1
    double = min(range(len(line.examples)), key=lambda i: abs(line.examples[i] - 2 * volumes[-1]))
    ahead = _band(line.value[double], line.low[double], line.high[double], metric)
    return (
        curve.model,
        curve.setting,
        measured,
        _band(line.value[at_end], line.low[at_end], line.high[at_end], metric),
        ahead if double > at_end else ABSENT,
        percent(curve.held_out_error),
        _note(curve),
    )


def _band(middle: float, low: float, high: float, metric: Metric) -> str:
    return f"{value(middle, metric)} ({between(low, high, metric)})"
