"""False positives on negatives (over-reach) beside recall, precision and valid format, per method.

Each against training-set size, as the change from the untouched base. A tuned model answers more; precision
and over-reach say whether it also answers wrongly more. Where the base has no such value (a model that
never claims anything has no precision) the shares are drawn as they are, and the figure says so.

The 80 % intervals are of a share p of n rows, sqrt(p (1 - p) / n) with two successes and two failures
added (Agresti and Coull, The American Statistician 52, 1998), joined with the pooled deviation between
seeds. n counts all rows evaluated, while precision and over-reach are shares of fewer, which the results
do not number: their true intervals are at least as wide.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from dashboards.charts.axes import difference_axis, examples_axis
from dashboards.charts.chart import Chart
from dashboards.charts.generalisation import between_seeds, with_settings
from dashboards.charts.marks import ends, error_bars
from dashboards.charts.theme import (
    Palette,
    method_colour,
    method_label,
    method_symbol,
    ordered_methods,
    template,
    transparent,
)
from dashboards.charts.wording import escaped, estimate
from tracker.metrics import normal_interval
from tracker.numbers import count, interval, percent, plural, points
from tracker.results import method_columns

AnswerMeasure = Literal["recall", "precision", "over_reach", "valid_format"]
#: In the order of the panels, with what each is called and means.
ANSWER_MEASURES: dict[AnswerMeasure, tuple[str, str]] = {
    "recall": ("Recall", "of the rows that have an answer, the share answered rightly"),
    "precision": ("Precision", "of the answers that claim something, the share that is right"),
    "over_reach": (
        "False positives on negatives (over-reach)",
        "of the rows without an answer, the share answered all the same",
    ),
    "valid_format": ("Valid format", "the share of answers in the required form"),
}
_NEEDED = "mix volume n".split()


class AnswerShare(NamedTuple):
    """Share at one training-set size, seeds averaged: ``share`` as measured, ``value`` as drawn.

    ``value`` with its interval: the change from the base, or the share itself where the base has none.
    ``low``, ``high`` are ``None`` where the number of rows is not known.
    """

    volume: int
    runs: int
    share: float
    value: float
    low: float | None
    high: float | None


class MethodShares(NamedTuple):
    """Shares of one method, by ascending training-set size."""

    method: str
    shares: tuple[AnswerShare, ...]


class AnswerPanel(NamedTuple):
    """One measure of all methods. ``base``: the untouched model's share, ``None`` where it has none."""

    measure: AnswerMeasure
    base: float | None
    methods: tuple[MethodShares, ...]


class AnswerQuality(NamedTuple):
    """Panels of one task and model. ``missing``: measures that no tuned trial has."""

    task: str
    model: str
    panels: tuple[AnswerPanel, ...]
    missing: tuple[AnswerMeasure, ...]

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods in some panel, in the order every page uses."""
        return ordered_methods(series.method for panel in self.panels for series in panel.methods)


def answer_quality(
    table: pd.DataFrame, *, task: str, model: str, mix: str, settings: dict[str, str]
) -> AnswerQuality:
    """The panels of *model* on *task* under *mix*.

    *settings*: by method the setting to take, as :func:`dashboards.charts.generalisation.with_settings`
    names it; of a method that is not there the setting run at the most sizes, in the most runs.
    """
    wanted = (table["task"] == task) & (table["status"] == "complete") & (table["model"] == model)
    rows = with_settings(table.loc[wanted, [*method_columns(table), *_NEEDED, *ANSWER_MEASURES]])
    base = rows[rows["method"] == "none"]
    tuned = rows[(rows["mix"] == mix) & (rows["method"] != "none")]
    tuned = tuned[tuned["setting"] == tuned["method"].map(_most_measured(tuned) | settings)]
    panels, missing = [], []
    for measure in ANSWER_MEASURES:
        measured = tuned[tuned[measure].notna()]
        if measured.empty:
            missing.append(measure)
            continue
        zero = base[measure].astype(float).dropna()
        panels.append(_panel(measure, measured, zero, base["n"].max()))
    return AnswerQuality(task, model, tuple(panels), tuple(missing))


def _most_measured(tuned: pd.DataFrame) -> dict[str, str]:
    """By method the setting that was run at the most training-set sizes, in the most runs."""
    runs = tuned.groupby(["method", "setting"])["volume"].agg(["nunique", "size"])
    ranked = runs.sort_values(["nunique", "size"], kind="stable").reset_index()
    return dict(zip(ranked["method"], ranked["setting"], strict=True))


class AnswerRates(NamedTuple):
    """Rates of one configuration on one task, seeds averaged, as measured; ``None`` where not measured."""

    task: str
    model: str
    setting: str
    mix: str
    volume: int
    runs: int
    rates: dict[AnswerMeasure, float | None]


def answer_rates(table: pd.DataFrame) -> list[AnswerRates]:
    """Every configuration of which some rate was measured, by task, model, method, mix and size."""
    complete = (table["status"] == "complete") & table["task"].notna()
    wanted = complete & table[list(ANSWER_MEASURES)].notna().any(axis=1)
    columns = ["task", "model", "parameters", *method_columns(table), *_NEEDED, *ANSWER_MEASURES]
    rows = with_settings(table.loc[wanted, columns])
    place = ["task", "parameters", "model", "method", "setting", "mix", "volume"]
    rows["mix"] = rows["mix"].fillna("")
    grouped = rows.groupby(place, dropna=False, sort=True)
    means, runs = grouped[list(ANSWER_MEASURES)].mean(), grouped.size()
    return [
        AnswerRates(
            str(task), str(model), str(setting), str(mix), int(volume), int(n),
            {m: None if pd.isna(v) else float(v) for m, v in zip(ANSWER_MEASURES, rates, strict=True)},
        )
        for (task, _, model, _, setting, mix, volume), rates, n in zip(
            means.index, means.itertuples(index=False, name=None), runs, strict=True
        )
    ]  # fmt: skip


def _panel(
    measure: AnswerMeasure, tuned: pd.DataFrame, bases: pd.Series[float], base_rows: float
) -> AnswerPanel:
    base = float(bases.mean()) if len(bases) else None
    base_se = 0.0 if base is None else _share_se(base, base_rows)
    zero = base or 0.0
    grouped = tuned.groupby(["method", "volume"])
    means = grouped.agg(
        share=(measure, "mean"), runs=(measure, "size"), rows=("n", "mean")
    ).reset_index()
    between = between_seeds(grouped[measure]) or 0.0
    found: dict[str, list[AnswerShare]] = {}
    for method, volume, share, runs, rows in means.itertuples(index=False, name=None):
        error = float(np.sqrt(_share_se(share, rows) ** 2 + base_se**2 + between**2 / runs))
        # A share stays within 0 and 1.
        low, high = normal_interval(share - zero, error, -zero, 1 - zero) or (None, None)
        found.setdefault(method, []).append(
            AnswerShare(int(volume), int(runs), float(share), float(share - zero), low, high)
        )
    methods = tuple(MethodShares(method, tuple(found[method])) for method in ordered_methods(found))
    return AnswerPanel(measure, base, methods)


def _share_se(share: float, rows: float) -> float:
    """Standard error of a *share* of *rows*; NaN where *rows* is not known."""
    near = (share * rows + 2) / (rows + 4)
    return float(np.sqrt(near * (1 - near) / (rows + 4)))


def draw_answer_panel(panel: AnswerPanel, colours: Palette, *, log_x: bool = True) -> Chart:
    """Change from the untouched base, which is at 0, against training-set size."""
    figure = Chart()
    for series in panel.methods:
        colour = method_colour(series.method, colours)
        shares = series.shares
        figure.add_scatter(
            x=[share.volume for share in shares],
            y=[share.value for share in shares],
            error_y=error_bars(shares, transparent(colour, 0.5), thickness=1.1),
            mode="lines+markers",
            line={"color": colour, "width": 1.6},
            marker={"color": colour, "symbol": method_symbol(series.method), "size": 8},
            customdata=[[_hover(share, panel)] for share in shares],
            hovertemplate=f"<b>{escaped(method_label(series.method))}</b><br>"
            "%{customdata[0]}<extra></extra>",
        )
    if panel.base is not None:
        line = {"color": colours.methods["none"], "width": 1.6, "dash": "dot"}
        figure.add_hline(y=0, line=line)
    every_share = [share for series in panel.methods for share in series.shares]
    volumes = sorted({share.volume for share in every_share})
    title = axis_title(panel)
    figure.update_layout(
        template=template(colours),
        xaxis=examples_axis(
            volumes, log_x=log_x, ends=(volumes[0] / 1.25, volumes[-1] * 1.25) if log_x else None
        ),
        yaxis={"title": title, "tickformat": ".0%"}
        if panel.base is None
        else difference_axis(title, [0.0, *ends(every_share)], scored=True),
    )
    return figure


def axis_title(panel: AnswerPanel) -> str:
    """What the vertical axis shows, of the measure that the heading names."""
    return "Share of rows" if panel.base is None else "Change from the base"


def _short_name(measure: AnswerMeasure) -> str:
    return "over-reach" if measure == "over_reach" else measure.replace("_", " ")


def _hover(share: AnswerShare, panel: AnswerPanel) -> str:
    runs = f"{count(share.volume)} examples, {plural(share.runs, 'run')}"
    return f"{runs}: {_share_words(share, panel.base)}"


def _share_words(share: AnswerShare, base: float | None) -> str:
    """A share in words, with that of the base where there is one, and the 80 % interval drawn."""
    if base is None:
        return f"{estimate(share, percent)}, where the base has none"
    change = "its error unknown"
    if share.low is not None and share.high is not None:
        change = f"change: {interval(share.low, share.high, points)}"
    return f"{percent(share.share)}, from {percent(base)} ({change})"


def answer_sentences(data: AnswerQuality, volume: int) -> list[str]:
    """Sentences on the shares of each method at *volume* examples, with a warning of wrong answers."""
    sentences = []
    for method in data.methods:
        parts = [
            f"{_short_name(panel.measure)} {_share_words(share, panel.base)}"
            for panel in data.panels
            for share in _shares_at(panel, method, volume)
        ]
        if parts:
            warning = _wrong_answers(data, method, volume)
            sentences.append(f"{method_label(method)}: {'; '.join(parts)}.{warning}")
    return sentences


def _shares_at(panel: AnswerPanel, method: str, volume: int) -> list[AnswerShare]:
    """The share of *method* at *volume*, if it was measured."""
    return [
        share
        for series in panel.methods
        if series.method == method
        for share in series.shares
        if share.volume == volume
    ]


def _wrong_answers(data: AnswerQuality, method: str, volume: int) -> str:
    """Warning where the intervals show both: more is found, and more is wrongly claimed."""
    change = {
        panel.measure: share
        for panel in data.panels
        if panel.base is not None
        for share in _shares_at(panel, method, volume)
    }
    recall, precision = change.get("recall"), change.get("precision")
    over_reach = change.get("over_reach")
    if recall is None or recall.low is None or recall.low <= 0:
        return ""
    worse = []
    if precision is not None and precision.high is not None and precision.high < 0:
        worse.append("a smaller share of what it claims is right")
    if over_reach is not None and over_reach.low is not None and over_reach.low > 0:
        worse.append("it answers where there is nothing to answer")
    return f" It finds more, but {' and '.join(worse)}." if worse else ""
