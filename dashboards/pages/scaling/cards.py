"""The cards of the scaling page: curves, who is ahead at how much data, sizes, trust in laws; their state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from dash import html

from dashboards.charts.crossover import (
    LEADS,
    Critical,
    Strip,
    critical,
    draw_critical,
    even_at,
    height,
    in_words,
    interval,
)
from dashboards.charts.scaling import (
    AHEAD,
    MOST_DRAWN,
    Curve,
    LawLine,
    Scaling,
    Shown,
    draw_scaling,
    drawn,
)
from dashboards.charts.size import Mark, Size, SizeCurve, between, draw_size, size
from dashboards.charts.theme import Palette, method_within, method_words
from dashboards.charts.tuned import METRIC_WORDS
from dashboards.charts.wording import about, compact
from dashboards.components import (
    Choice,
    behind,
    card,
    data_table,
    empty,
    graph,
    legend,
    picker,
)
from dashboards.tables import DataTable
from tracker.laws.curves import CurveFits, CurveKey, Metric
from tracker.laws.fitted_law import BEND_WEIGHT, FORM, MAX_HELD_OUT_ERROR, FittedLaw, Parameter
from tracker.numbers import ABSENT, count, in_measure, number, percent

#: Rows of the table of points: a browser must lay them all out.
_MOST_ROWS = 100
_OFF_LINE = (
    "Bars and bands: 80 %. The line tells what another model of that size would do, by all models, "
    "methods and settings together; the models that were run may lie well off it."
)
_LEADING = (
    f"A method leads where it is ahead with at least {100 * LEADS:.0f} %. With several settings it counts at "
    "the best of them at each size. What is compared is what a method yields on average, without the chance "
    "of a single run. "
)
_WAIT = "The laws are being fitted; this appears by itself."


class Laws(NamedTuple):
    """The laws behind the page; ``None``: not known yet. ``fresh``: of the trials shown.

    ``sizes``: of the models ``asked`` for (name → parameters). ``lines``: of ``fits``, those drawn already.
    ``problem``: why there are none.
    """

    fits: CurveFits | None
    sizes: Mapping[CurveKey, FittedLaw] | None
    asked: Mapping[str, int]
    fresh: bool
    lines: Mapping[CurveKey, LawLine] = MappingProxyType({})
    problem: str = ""


def curves_card(data: Scaling, state: Shown, colours: Palette) -> html.Section:
    """Score or loss against examples, a chart a model or all together."""
    models = list(data.models)
    title = f"{data.task}, {METRIC_WORDS[data.metric].lower()} against examples"
    if not models:
        detail = "Pick another task, mix or model: this combination has no result yet."
        return card(title, empty("Nothing measured here", detail, small=True))
    groups = [models] if state.together or len(models) == 1 else [[model] for model in models]
    facets = [
        html.Div(
            [
                _facet_title(group, data),
                graph(
                    draw_scaling(data, colours, models=group, log_x=state.log_x),
                    _names(data, group),
                    height=440 if len(groups) == 1 else 360,
                ),
            ],
            className="facet",
        )
        for group in groups
    ]
    marks = [("none", "untouched base"), ("solid", "law"), ("dashed", "ahead of measurement")]
    mix = f"Mix {state.mix}. " if state.mix else ""
    note = (
        f"{mix}Error bars: 80 % interval from the validation rows. Lines run to "
        f"{AHEAD:g} times the largest volume measured, those not to be relied on (below) to that volume "
        "alone. Hollow marks lie under no law: runs that "
        "looked for a learning rate, or too few volumes. Small faint ones: a setting of the method other "
        "than the one measured at most volumes."
    )
    return card(
        title,
        legend(data.methods, [*marks, ("band", "80 % band")]),
        html.Div(facets, className=f"facets of-{min(len(facets), 5)}"),
        html.P(f"{note}{_thinned(data)}", className="note"),
        behind("Show the measured points", _points_table(data)),
    )


def _thinned(data: Scaling) -> str:
    """What the chart leaves out, where it does."""
    if all(len(drawn(curve.points)) == len(curve.points) for curve in data.curves):
        return ""
    return f" Of many runs at one volume, {MOST_DRAWN} from the lowest to the highest are drawn."


def _facet_title(group: list[str], data: Scaling) -> html.H3:
    if len(group) == 1:
        known = data.models[group[0]]
        size = "" if known is None else f" {compact(known)} parameters"
        return html.H3([group[0], html.Span(size, className="quiet")])
    words = f"{', '.join(group)}: the larger the model, the stronger the colour"
    return html.H3(words)


def _names(data: Scaling, group: list[str]) -> str:
    names = [f"{method_words(c.method)} on {c.model}" for c in data.curves if c.model in group]
    return f"{data.title} of {data.task} against training examples for {', '.join(dict.fromkeys(names))}"


def _points_table(data: Scaling) -> html.Div:
    """The points behind the chart, of a large sweep the first hundred."""
    curves = [(c.model, method_words(c.method), p) for c in data.curves for p in c.points]
    loose = [(model, method_words(method), point) for model, method, point in data.strays]
    rows: list[tuple[str, ...]] = [
        (
            model,
            method,
            count(p.examples),
            in_measure(p.value, data.metric),
            between(p.low, p.high, data.metric),
            ABSENT if p.learning_rate is None else f"{p.learning_rate:.2g}",
            str(p.seed),
            str(p.number),
            "yes" if p.used else "no",
        )
        for model, method, p in [*curves, *loose][:_MOST_ROWS]
    ]
    more = len(curves) + len(loose) - len(rows)
    rows += [
        (base.model, "Untouched base", "0", in_measure(base.value, data.metric), *[ABSENT] * 5)
        for base in data.bases
    ]
    head = (
        "Model", "Method", "Examples", METRIC_WORDS[data.metric], "80 % interval",
        "Learning rate", "Seed", "Trial", "Under a law",
    )  # fmt: skip
    words = f"{count(more)} more points are in the chart alone." if more > 0 else ""
    return html.Div([data_table(head, rows, text=(0, 1)), html.P(words, className="note")])


def critical_card(
    laws: Laws,
    state: Shown,
    models: Mapping[str, int | None],
    choices: Sequence[Choice],
    colours: Palette,
) -> html.Section:
    """Critical data sizes between two methods, in words, drawn, and as a table."""
    title = "Critical data sizes: which method wins at how much data"
    lead = (
        "Where one method overtakes the other, and how sure that is. Strong colour: surely better "
        "there. Pale: the two cannot be told apart. A dot is where the lead passes over; "
        "its bar spans 80 %. Fainter beyond the dotted line: ahead of anything measured."
    )
    if laws.fits is None or not state.pair:
        reason = (
            ("Not yet", _WAIT)
            if laws.fits is None
            else ("Nothing to compare", "One method alone was run with this mix.")
        )
        return card(title, empty(*reason, small=True), lead=lead)
    data = _critical(laws.fits, state, models)
    first, second = data.first, data.second
    lacking = (
        f"{', '.join(data.lacking)}: no law of both methods, which takes three volumes of each, or two "
        "beside another curve."
        if data.lacking
        else ""
    )
    if not data.strips:
        detail = lacking or "Run both methods at three volumes or more."
        nothing = empty("Nothing to compare", detail, small=True)
        return card(title, picker("Methods", choices), nothing, lead=lead)
    rows = [html.Li([html.Strong(f"{s.model}: "), in_words(s, data)]) for s in data.strips]
    words = f"Probability that {method_within(first)} is better than {method_within(second)} on {data.task}"
    return card(
        title,
        picker("Methods", choices),
        html.Ul(rows, className="points answers"),
        legend(
            (first, second),
            [(f"pale from-{first} to-{second}", "cannot be told apart"), *_turn_mark(data)],
        ),
        graph(
            draw_critical(data, colours, log_x=state.log_x),
            f"{words}, against training examples",
            height=height(data),
        ),
        html.P(
            [_LEADING, lacking],
            className="note",
        ),
        behind("Show the probabilities", _critical_table(data)),
        lead=lead,
    )


def _critical(fits: CurveFits, state: Shown, models: Mapping[str, int | None]) -> Critical:
    first, second = state.pair.split("~")
    return critical(
        fits,
        task=state.task,
        mix=state.mix,
        models=models,
        first=first,
        second=second,
        metric=state.metric,
    )


def _turn_mark(data: Critical) -> list[tuple[str, str]]:
    return [("even", "even, with 80 % bar")] if any(s.turns for s in data.strips) else []


def _critical_table(data: Critical) -> html.Div:
    rows = [row for strip in data.strips for row in _strip_rows(strip)]
    head = ("Model", "Examples", f"P({method_words(data.first)} better)", "Measured", "Turns at")
    return data_table(head, rows, text=(0,))


def _strip_rows(strip: Strip) -> Iterable[tuple[str, ...]]:
    turns = "; ".join(f"{about(t.at)} ({interval(t, strip)})" for t in strip.turns)
    if not turns:
        even = even_at(strip)
        turns = f"none surely; even near {about(even[0])}" if len(even) == 1 else "no turn"
    every = 8
    for i in range(0, len(strip.sizes), every):
        yield (
            strip.model,
            about(strip.sizes[i]),
            percent(strip.probability[i], 0),
            "yes" if i < strip.measured else "ahead of that",
            turns,
        )


def size_card(
    data: Scaling, laws: Laws, state: Shown, choices: Sequence[Choice], colours: Palette
) -> html.Section:
    """Score or loss against the model's parameters at one volume."""
    title = f"{data.task}, {METRIC_WORDS[data.metric].lower()} against model size"
    lead = (
        "At one volume of data. Filled marks were measured; hollow ones are what the model's own law "
        "expects. The line is the law over all sizes, with the band in which 80 of 100 runs of such a "
        "model should fall; dashed outside the sizes measured."
    )
    if laws.fits is None or laws.sizes is None:
        return card(title, empty("Not yet", _WAIT, small=True), lead=lead)
    found = size(data, laws.fits, laws.sizes, mix=state.mix, volume=state.volume, asked=laws.asked)
    unsized = (
        f" {', '.join(found.unsized)}: the number of parameters is not known."
        if found.unsized
        else ""
    )
    pick = picker("Examples", choices)
    if not any(curve.marks or curve.value for curve in found.curves):
        detail = f"Pick another number of examples.{unsized}"
        return card(title, pick, empty("Nothing known here", detail, small=True), lead=lead)
    sentences = [words for c in found.curves if (words := _growth(c, found))]
    ahead = "More examples than anything was measured with. " if found.ahead else ""
    alone = "" if laws.asked else "A law over size takes two sizes; here is one. "
    return card(
        title,
        pick,
        html.Ul([html.Li(s) for s in sentences], className="points answers") if sentences else None,
        legend(
            [c.method for c in found.curves],
            [("solid", "law over size"), ("dashed", "outside the sizes measured")],
        ),
        graph(
            draw_size(found, colours, log_x=state.log_x),
            f"{found.title} of {found.task} against parameters at {count(found.volume)} examples",
            height=400,
        ),
        html.P(f"{ahead}{alone}{_OFF_LINE}{_withheld(found)}{unsized}", className="note"),
        behind("Show the numbers", _size_table(found)),
        lead=lead,
    )


def _withheld(data: Size) -> str:
    names = [method_words(curve.method) for curve in data.curves if curve.withheld]
    if not names:
        return ""
    return (
        f" {', '.join(names)}: no line. What was measured lies outside the law's band, or nearer to one "
        "value for all sizes than to the law."
    )


def _growth(curve: SizeCurve, data: Size) -> str:
    """What the step from the smallest to the largest model measured brings, in words."""
    marks = sorted(curve.marks, key=lambda m: m.parameters)
    if len(marks) < 2:
        return ""
    small, large = marks[0], marks[-1]
    return (
        f"{method_words(curve.method)}: from {in_measure(small.value, data.metric)}"
        f"{_bracket(small, data.metric)} on {small.model} to {in_measure(large.value, data.metric)}"
        f"{_bracket(large, data.metric)} on {large.model}, "
        f"{large.parameters / small.parameters:.2g} times the size."
    )


def _bracket(mark: Mark, metric: Metric) -> str:
    if mark.low is None:
        return ""
    how = "" if mark.runs else ", foretold"
    return f" (80 %: {between(mark.low, mark.high, metric)}{how})"


def _size_table(data: Size) -> html.Div:
    rows: list[tuple[str, ...]] = []
    for curve in data.curves:
        method = method_words(curve.method)
        for m in curve.marks:
            size_words, span = count(m.parameters), between(m.low, m.high, data.metric)
            how = "measured" if m.runs else "by its own law"
            rows.append((method, m.model, size_words, in_measure(m.value, data.metric), span, how))
        line = zip(curve.parameters, curve.value, curve.low, curve.high, curve.inside, strict=True)
        for parameters, middle, low, high, inside in line:
            how = "law over size" if inside else "law over size, outside the sizes measured"
            span = between(low, high, data.metric)
            rows.append(
                (method, ABSENT, about(parameters), in_measure(middle, data.metric), span, how)
            )
    head = (
        "Method", "Model", "Parameters", METRIC_WORDS[data.metric], "80 % interval", "Where from",
    )  # fmt: skip
    return data_table(head, rows, text=(0, 1, 5))


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
            f"missed by more than {percent(MAX_HELD_OUT_ERROR, 0)}."
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
    return curve.line is not None and error is not None and error <= MAX_HELD_OUT_ERROR


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
    if error > MAX_HELD_OUT_ERROR:
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
        f"Ahead of the largest volume measured a line goes on {BEND_WEIGHT:.0%} as the law bends and "
        f"{1 - BEND_WEIGHT:.0%} as straight as it was last (on log axes), and its band widens by how far "
        "such forecasts missed before.",
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
    return f"{in_measure(middle, metric)} ({between(low, high, metric)})"
