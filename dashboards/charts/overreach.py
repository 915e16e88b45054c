"""What a tuned model answers beside the right answers: recall, precision, over-reach, valid format.

Each against examples, as the change from the untouched base. A tuned model answers more; whether it also
answers wrongly more is what precision and over-reach say. Where the base has no such value (a model that
never claims anything has no precision) the values stand as they are, and the figure says so.

The 80 % intervals are of a share p of n rows, sqrt(p (1 - p) / n) with two successes and two failures
added (Agresti and Coull, The American Statistician 52, 1998), joined with the pooled deviation between
seeds. n counts all rows evaluated, while precision and over-reach are shares of fewer, which the results
do not number: their true intervals are at least as wide.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from dashboards.charts.chart import Chart
from dashboards.charts.generalisation import between_seeds, span_words, with_settings
from dashboards.charts.marks import error_bars
from dashboards.charts.theme import (
    Palette,
    in_order,
    method_colour,
    method_symbol,
    method_words,
    template,
    transparent,
)
from dashboards.charts.wording import unmarked
from tracker.metrics import normal_interval
from tracker.numbers import count, percent, plural, signed_percent

Kind = Literal["recall", "precision", "over_reach", "valid_format"]
#: In the order of the panels, with what each is called and means.
KINDS: dict[Kind, tuple[str, str]] = {
    "recall": ("Recall", "of the rows that have an answer, the share answered rightly"),
    "precision": ("Precision", "of the answers that claim something, the share that is right"),
    "over_reach": ("Over-reach", "of the rows without an answer, the share answered all the same"),
    "valid_format": ("Valid format", "the share of answers that have the form asked for"),
}
_NEEDED = "method variant rank virtual_tokens learning_rate mix volume n".split()


class Reading(NamedTuple):
    """One volume, seeds averaged: ``value`` as measured, ``change`` and its interval as drawn.

    ``low``, ``high`` are ``None`` where the number of rows is not known.
    """

    volume: int
    runs: int
    value: float
    change: float
    low: float | None
    high: float | None


class Trace(NamedTuple):
    """One method of the model, by ascending volume."""

    method: str
    readings: tuple[Reading, ...]


class Panel(NamedTuple):
    """``base``: the untouched model's value, ``None`` where it has none: changes are values then."""

    kind: Kind
    base: float | None
    traces: tuple[Trace, ...]


class Overreach(NamedTuple):
    """One task and model. ``missing``: kinds that no tuned trial measured."""

    task: str
    model: str
    panels: tuple[Panel, ...]
    missing: tuple[Kind, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods with a trace in some panel, in the order every page uses."""
        return in_order(trace.method for panel in self.panels for trace in panel.traces)


def overreach(
    table: pd.DataFrame, *, task: str, model: str, mix: str, settings: dict[str, str]
) -> Overreach:
    """The panels of *model* on *task* under *mix*.

    *settings*: by method the setting to take, as :func:`dashboards.charts.generalisation.with_settings`
    names it; methods that are not there are left out.
    """
    wanted = (table["task"] == task) & (table["status"] == "complete") & (table["model"] == model)
    rows = with_settings(table.loc[wanted, [*_NEEDED, *KINDS]])
    base = rows[rows["method"] == "none"]
    tuned = rows[(rows["mix"] == mix) & rows["method"].isin(list(settings))]
    tuned = tuned[tuned["setting"] == tuned["method"].map(settings)]
    panels, missing = [], []
    for kind in KINDS:
        measured = tuned[tuned[kind].notna()]
        if measured.empty:
            missing.append(kind)
            continue
        zero = base[kind].astype(float).dropna()
        panels.append(_panel(kind, measured, zero, base["n"].max()))
    return Overreach(task, model, tuple(panels), tuple(missing))


def _panel(kind: Kind, tuned: pd.DataFrame, zero: pd.Series[float], base_rows: float) -> Panel:
    base = float(zero.mean()) if len(zero) else None
    base_se = 0.0 if base is None else _share_se(base, base_rows)
    grouped = tuned.groupby(["method", "volume"])
    means = grouped.agg(value=(kind, "mean"), runs=(kind, "size"), rows=("n", "mean")).reset_index()
    between = between_seeds(grouped[kind]) or 0.0
    found: dict[str, list[Reading]] = {}
    for method, volume, value, runs, rows in means.itertuples(index=False, name=None):
        change, zero_at = value - (base or 0.0), base or 0.0
        error = float(np.sqrt(_share_se(value, rows) ** 2 + base_se**2 + between**2 / runs))
        # A share stays within 0 and 1.
        low, high = normal_interval(change, error, -zero_at, 1 - zero_at) or (None, None)
        found.setdefault(method, []).append(
            Reading(int(volume), int(runs), float(value), float(change), low, high)
        )
    order = in_order(found)
    return Panel(kind, base, tuple(Trace(method, tuple(found[method])) for method in order))


def _share_se(share: float, rows: float) -> float:
    """NaN where *rows* is not known."""
    near = (share * rows + 2) / (rows + 4)
    return float(np.sqrt(near * (1 - near) / (rows + 4)))


def draw_panel(panel: Panel, colours: Palette, *, log_x: bool = True) -> Chart:
    """Change from the untouched base against examples, the base at 0."""
    figure = Chart()
    volumes = sorted({reading.volume for trace in panel.traces for reading in trace.readings})
    for trace in panel.traces:
        colour = method_colour(trace.method, colours)
        readings = trace.readings
        figure.add_scatter(
            x=[r.volume for r in readings],
            y=[r.change for r in readings],
            error_y=error_bars(
                [r.change for r in readings],
                [r.low for r in readings],
                [r.high for r in readings],
                transparent(colour, 0.5),
                thickness=1.1,
            ),
            mode="lines+markers",
            line={"color": colour, "width": 1.6},
            marker={"color": colour, "symbol": method_symbol(trace.method), "size": 8},
            customdata=[[_hover(r, panel)] for r in readings],
            hovertemplate=f"<b>{unmarked(method_words(trace.method))}</b><br>"
            "%{customdata[0]}<extra></extra>",
        )
    if panel.base is not None:
        line = {"color": colours.methods["none"], "width": 1.6, "dash": "dot"}
        figure.add_hline(y=0, line=line)
    every = max(1, -(-len(volumes) // 6))
    kept = volumes[::every]
    scale = {"tickvals": kept, "ticktext": [count(v) for v in kept]} if log_x else {}
    figure.update_layout(
        template=template(colours),
        xaxis={
            "title": "Training examples, all tasks",
            "type": "log" if log_x else "linear",
            **({"range": _range(volumes)} if log_x and volumes else {}),
            **scale,
        },
        yaxis={
            "title": axis_title(panel),
            "tickformat": ".0%" if panel.base is None else "+.0%",
        },
    )
    return figure


def axis_title(panel: Panel) -> str:
    """What the vertical axis shows; with a base, differences in points of per cent."""
    name = KINDS[panel.kind][0]
    return f"{name}, itself" if panel.base is None else f"{name}, change from the base"


def _range(volumes: list[int]) -> list[float]:
    return [float(np.log10(volumes[0] / 1.25)), float(np.log10(volumes[-1] * 1.25))]


def _hover(reading: Reading, panel: Panel) -> str:
    span = ""
    if reading.low is not None:
        form = percent if panel.base is None else signed_percent
        span = f" (80 %: {form(reading.low)} to {form(reading.high)})"
    change = (
        "" if panel.base is None else f"<br>{signed_percent(reading.change)}{span} from the base"
    )
    value = f"{percent(reading.value)}{span if panel.base is None else ''}"
    return f"{count(reading.volume)} examples, {plural(reading.runs, 'run')}: {value}{change}"


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
                parts.append(f"{name} {_reading_words(reading, panel.base)}")
        if parts:
            found.append(
                f"{method_words(method)}: {'; '.join(parts)}. {_verdict(data, method, volume)}"
            )
    return found


def _reading_words(reading: Reading, base: float | None) -> str:
    value = percent(reading.value)
    if base is None:
        span = span_words(reading.low, reading.high, percent)
        return f"{value} (the base has none; {span})"
    return f"{value} (base {percent(base)}; change {span_words(reading.low, reading.high, signed_percent)})"


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
