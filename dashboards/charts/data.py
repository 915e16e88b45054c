"""Data charts: label balance, lengths, and the contents of each mix at each training-set size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from dashboards.charts.chart import Chart
from dashboards.charts.theme import Palette, shade, template
from dashboards.charts.wording import escaped
from tracker.numbers import count, percent
from tracker.store.data_profile import MixVolume, Quantiles, SplitProfile, TaskProfile
from tracker.trial import MixSpec

#: An answer standing in at least so many rows on average is a label, not free text.
_ROWS_PER_LABEL = 2
#: What a long label is cut to beside its bar.
_LABEL_CHARACTERS = 28
_ROW = 24  # pixels


class LabelBar(NamedTuple):
    """One answer: the ``rows`` of the split that have it, and their ``share``."""

    label: str
    rows: int
    share: float


class LabelBalance(NamedTuple):
    """The most frequent answers of one split; ``rest``: all others together, ``None`` without any.

    ``free``: nearly every row has an answer of its own. ``largest``: the share of the most frequent, which
    is the accuracy of always giving it; ``fewest``: rows of the least frequent.
    """

    bars: tuple[LabelBar, ...]
    rest: LabelBar | None
    distinct: int
    free: bool
    largest: float
    fewest: int


class LengthRow(NamedTuple):
    """Lengths of one part (prompt, answer, text) of one split."""

    name: str
    part: str
    lengths: Quantiles


def label_balance(split: SplitProfile) -> LabelBalance:
    """The label balance of *split*."""
    rows = max(split.rows, 1)
    bars = [LabelBar(each.label, each.rows, each.rows / rows) for each in split.labels]
    more = split.distinct - len(bars)
    left = split.rows - sum(bar.rows for bar in bars)
    rest = LabelBar(f"{more:,} other answers", left, left / rows) if more > 0 else None
    free = split.distinct * _ROWS_PER_LABEL > split.rows
    largest = bars[0].share if bars else 0.0
    return LabelBalance(tuple(bars), rest, split.distinct, free, largest, split.fewest)


def length_rows(task: TaskProfile) -> tuple[LengthRow, ...]:
    """Lengths of prompts, then of answers, split by split."""
    prompts = [
        LengthRow(name, "prompt", split.lengths.prompt)
        for name, split in task.splits.items()
        if split.lengths.prompt
    ]
    answers = [
        LengthRow(name, "answer", split.lengths.answer) for name, split in task.splits.items()
    ]
    return (*prompts, *answers)


def mix_contents(table: pd.DataFrame, mixes: Mapping[str, MixSpec]) -> tuple[MixVolume, ...]:
    """Contents of each mix at each training-set size, from the trials, for sweeps that kept no profile."""
    known = table[(table["method"] != "none") & (table["examples"] > 0)]
    rows = known[["mix", "volume", "task", "examples"]].drop_duplicates()
    found: dict[tuple[str, int], dict[str, int]] = {}
    for mix, volume, task, examples in rows.itertuples(index=False, name=None):
        found.setdefault((str(mix), int(volume)), {})[str(task)] = int(examples)
    made = []
    for (mix, volume), examples in sorted(found.items()):
        spec = mixes.get(mix)
        made.append(
            MixVolume(
                mix=mix,
                volume=volume,
                examples=examples,
                extra_epochs=dict(spec.extra_epochs) if spec else {},
                replay_rows=max(1, round(spec.replay * volume)) if spec and spec.replay else 0,
            )
        )
    return tuple(made)


def draw_balance(data: LabelBalance, colours: Palette) -> Chart:
    """A bar per answer, the most frequent on top."""
    figure = Chart()
    names = [f"{i}" for i in range(len(data.bars))]
    figure.add_bar(
        y=names,
        x=[bar.rows for bar in data.bars],
        orientation="h",
        marker={"color": colours.accent},
        text=[f"{count(bar.rows)} · {percent(bar.share)}" for bar in data.bars],
        textposition="outside",
        cliponaxis=False,
        textfont={"size": 12, "color": colours.muted},
        customdata=[[escaped(bar.label), count(bar.rows), percent(bar.share)] for bar in data.bars],
        hovertemplate="%{customdata[0]}<br>%{customdata[1]} rows, %{customdata[2]}<extra></extra>",
    )
    largest = max((bar.rows for bar in data.bars), default=1)
    figure.update_layout(
        template=template(colours),
        bargap=0.35,
        xaxis={"title": "Rows", "range": [0, 1.55 * largest]},
        yaxis={
            "autorange": "reversed",
            "tickvals": names,
            "ticktext": [escaped(_short(bar.label)) for bar in data.bars],
            "showgrid": False,
        },
    )
    return figure


def balance_height(data: LabelBalance) -> int:
    """Pixels that its bars need."""
    return 70 + _ROW * len(data.bars)


def draw_lengths(data: Sequence[LengthRow], colours: Palette, unit: str) -> Chart:
    """Lengths by row: thin from shortest to longest, thick for the middle 80 %, a mark for the median."""
    figure = Chart()
    names = [f"{i}" for i in range(len(data))]
    for name, span in zip(names, data, strict=True):
        at = span.lengths
        for ends, width in (((at.least, at.most), 1.6), ((at.p10, at.p90), 7)):
            figure.add_scatter(
                x=ends,
                y=[name, name],
                mode="lines",
                line={"color": shade(colours.accent, colours.surface, 0.55), "width": width},
                hoverinfo="skip",
            )
        figure.add_scatter(
            x=[at.median],
            y=[name],
            mode="markers",
            marker={
                "size": 11,
                "color": colours.accent,
                "line": {"color": colours.surface, "width": 1.5},
            },
            hovertemplate=f"{span.part}, {span.name}: median {at.median:,.0f} {unit}<br>middle 80 % "
            f"{at.p10:,.0f} to {at.p90:,.0f}<br>all {at.least:,.0f} to {at.most:,.0f}<extra></extra>",
        )
    figure.update_layout(
        template=template(colours),
        xaxis={"title": f"Length in {unit}", "rangemode": "tozero"},
        yaxis={
            "autorange": "reversed",
            "tickvals": names,
            "ticktext": [f"{span.part}, {span.name}" for span in data],
            "showgrid": False,
        },
    )
    return figure


def draw_mix_contents(data: Sequence[MixVolume], colours: Palette) -> Chart:
    """A bar per training-set size of one mix, divided by task; replayed text at the end, hatched."""
    figure = Chart()
    tasks = list(dict.fromkeys(task for each in data for task in each.examples))
    names = [f"{i}" for i in range(len(data))]
    for at, task in enumerate(tasks):
        strength = 0.9 - 0.6 * at / max(len(tasks) - 1, 1)
        figure.add_bar(
            y=names,
            x=[each.examples.get(task, 0) for each in data],
            orientation="h",
            name=escaped(task),
            marker={
                "color": shade(colours.accent, colours.surface, strength),
                "line": {"color": colours.surface, "width": 1},
            },
            hovertemplate=f"{escaped(task)}: %{{x:,}} examples<extra></extra>",
        )
    if any(each.replay_rows for each in data):
        figure.add_bar(
            y=names,
            x=[each.replay_rows for each in data],
            orientation="h",
            name="replayed general text",
            marker={
                "color": colours.surface,
                "line": {"color": colours.muted, "width": 1},
                "pattern": {"shape": "/", "fgcolor": colours.muted, "size": 5},
            },
            hovertemplate="replayed general text: %{x:,} rows a pass<extra></extra>",
        )
    figure.update_layout(
        template=template(colours),
        barmode="stack",
        bargap=0.35,
        showlegend=True,
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "traceorder": "normal"},
        xaxis={"title": "Examples"},
        yaxis={
            "autorange": "reversed",
            "tickvals": names,
            "ticktext": [count(each.volume) for each in data],
            "title": "Training examples",
            "showgrid": False,
        },
        margin={"l": 8, "r": 12, "t": 36, "b": 8},
    )
    return figure


def _short(label: str) -> str:
    return label if len(label) <= _LABEL_CHARACTERS else f"{label[: _LABEL_CHARACTERS - 1]}…"
