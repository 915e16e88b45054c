"""What a page on mixes shows: the matrix of tasks, one model for all or one each, replay, the weakest task.

Everything is of one model and method, at one learning rate (:mod:`tracker.decision.mix_points`); intervals
are 80 %. A cell takes the pair of mixes at the volume asked for, or at the nearest that tells it; of
several, that with the narrowest interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from dashboards.charts.chart import Chart
from dashboards.charts.marks import error_bars, name_rows
from dashboards.charts.theme import Palette, shade, template, transparent
from dashboards.charts.ticks import quality_axis, share_ticks
from dashboards.charts.wording import about, unmarked
from tracker.decision.mix_effects import (
    Effect,
    Kind,
    ReplayContrast,
    Verdict,
    WorstServed,
    verdict,
    why_no_effect,
)
from tracker.decision.mix_points import MixPoints
from tracker.metrics import Estimate
from tracker.numbers import percent, quality_gap, signed_percent

Compared = Literal["added", "shifted"]
#: The column of all other tasks together.
OTHERS = "all others together"


class Cell(NamedTuple):
    """What the data of ``data`` does to ``task``; ``why`` says why nothing is known where it is so."""

    task: str
    data: str
    effect: Effect | None
    why: str = ""


class Matrix(NamedTuple):
    """``tasks``: rows, those trained first. ``columns``: tasks with data, then :data:`OTHERS`."""

    compared: Compared
    tasks: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[Cell, ...]

    def at(self, task: str, data: str) -> Cell:
        """The cell of row *task* and column *data*."""
        return next(c for c in self.cells if (c.task, c.data) == (task, data))

    @property
    def told(self) -> tuple[Cell, ...]:
        """Cells whose interval has one sign, the strongest first."""
        found = [c for c in self.cells if c.effect and c.effect.verdict != "unclear"]
        return tuple(sorted(found, key=lambda c: -abs(c.effect.gap.value) if c.effect else 0.0))

    @property
    def known(self) -> int:
        """How many cells hold a number."""
        return sum(cell.effect is not None for cell in self.cells)


def measured(found: Matrix) -> Matrix:
    """*found* without the rows and columns in which nothing is known."""
    known = [cell for cell in found.cells if cell.effect is not None]
    tasks = tuple(task for task in found.tasks if any(cell.task == task for cell in known))
    columns = tuple(data for data in found.columns if any(cell.data == data for cell in known))
    cells = tuple(cell for cell in found.cells if cell.task in tasks and cell.data in columns)
    return Matrix(found.compared, tasks, columns, cells)


class Row(NamedTuple):
    """A line of a forest: an estimate with its 80 % interval and what it is of. ``detail`` is for whoever
    points at it; ``scored``: in shares of a score.
    """

    label: str
    estimate: Estimate
    detail: str
    scored: bool

    @property
    def verdict(self) -> Verdict:
        """What the interval says of the sign."""
        return verdict(self.estimate)


class ReplayLine(NamedTuple):
    """What was forgotten of ``suite`` with one share of replay, by volume."""

    suite: str
    mix: str
    replay: float
    volumes: tuple[int, ...]
    values: tuple[Estimate, ...]


def volumes(effects: Sequence[Effect], points: MixPoints) -> tuple[int, ...]:
    """Every volume at which something is compared; where nothing is, those measured."""
    found = {int(effect.after.volume) for effect in effects}
    return tuple(sorted(found or {v for (_, v), _ in points.points if v}))


def default_volume(effects: Sequence[Effect], known: Sequence[int]) -> int:
    """That at which most pairs differ, the largest of several."""
    counts = {v: sum(int(e.after.volume) == v for e in effects) for v in known}
    return max(known, key=lambda v: (counts[v], v))


def trained_tasks(points: MixPoints) -> tuple[str, ...]:
    """Tasks that some mix trains, in the order they are measured."""
    trained = {task for mix in points.mixes.values() for task in mix.weights}
    return tuple(task for task in points.tasks if task in trained)


def matrix(points: MixPoints, effects: Sequence[Effect], compared: Compared, volume: int) -> Matrix:
    """The matrix at *volume*; *effects* are those of *points*."""
    trained = trained_tasks(points)
    rows = (*trained, *(task for task in points.tasks if task not in trained))
    cells = [
        _cell(points, effects, task, data, compared, volume) for task in rows for data in trained
    ]
    cells += [_cell(points, effects, task, None, "others", volume) for task in rows]
    return Matrix(compared, rows, (*trained, OTHERS), tuple(cells))


def _cell(
    points: MixPoints,
    effects: Sequence[Effect],
    task: str,
    data: str | None,
    kind: Kind,
    volume: int,
) -> Cell:
    found = [e for e in effects if (e.task, e.data, e.kind) == (task, data, kind)]
    best = _nearest(found, volume)
    why = "" if best else _why(points, task, data, kind)
    return Cell(task, OTHERS if data is None else data, best, why)


def _why(points: MixPoints, task: str, data: str | None, kind: Kind) -> str:
    if data is None and task not in trained_tasks(points):
        return f"no mix trains {task}: it has no number of its own to keep"
    return why_no_effect(points, data, kind)


def _nearest(effects: Sequence[Effect], volume: int) -> Effect | None:
    def order(effect: Effect) -> tuple[float, float]:
        width = (effect.gap.high or 0.0) - (effect.gap.low or 0.0)
        return round(abs(float(np.log(effect.after.volume / volume))), 6), width

    return min(effects, key=order, default=None)


def one_for_all(points: MixPoints, effects: Sequence[Effect], volume: int) -> tuple[Row, ...]:
    """Each task in a shared model minus in one of its own, at the same number of its examples."""
    rows = []
    for task in points.tasks:
        own = [e for e in effects if e.task == task and e.alone]
        for mix in dict.fromkeys(effect.after.mix for effect in own):
            best = _nearest([e for e in own if e.after.mix == mix], volume)
            if best is not None:
                rows.append(
                    Row(
                        f"{task}, {best.after.task_examples:,.0f} of its examples: {mix} against "
                        f"{best.before.mix}",
                        best.gap,
                        f"{best.after.data:,.0f} examples of other tasks beside them",
                        points.measures[task] == "score",
                    )
                )
    return tuple(rows)


def swap_rows(points: MixPoints, swaps: Sequence[ReplayContrast], volume: int) -> tuple[Row, ...]:
    """What replay, or further passes, did to each task, at the volume nearest to *volume*."""
    rows = []
    for pair in dict.fromkeys((s.before.name, s.after.name, s.boosted) for s in swaps):
        for task in points.tasks:
            own = [s for s in swaps if (s.before.name, s.after.name, s.boosted) == pair]
            own = [s for s in own if s.quantity == task]
            if own:
                best = min(own, key=lambda s: abs(np.log(s.volume / volume)))
                what = f"{pair[1]} against {pair[0]}"
                detail = f"{best.volume:,} examples"
                rows.append(
                    Row(f"{task}: {what}", best.gap, detail, points.measures[task] == "score")
                )
    return tuple(rows)


def replay_lines(points: MixPoints, swaps: Sequence[ReplayContrast]) -> tuple[ReplayLine, ...]:
    """Forgetting by volume for every mix that *swaps* compare by replay, suite by suite."""
    mixes = {m.name: m for s in swaps if not s.boosted for m in (s.before, s.after)}
    found = []
    for suite in points.suites:
        for mix in sorted(mixes.values(), key=lambda m: (m.replay, m.name)):
            at = points.volumes(mix.name, suite)
            values = tuple(points.value(suite, ((1.0, (mix.name, v)),)) for v in at)
            if at:
                found.append(ReplayLine(suite, mix.name, mix.replay, tuple(at), values))
    return tuple(found)


_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x")
_DASHES = ("solid", "dash", "dot", "dashdot")


def draw_forest(rows: Sequence[Row], colours: Palette, title: str) -> Chart:
    """One line per row; those whose interval touches 0 are hollow."""
    figure = Chart()
    figure.add_vline(x=0, line={"color": colours.muted, "width": 1.2})
    for at, row in enumerate(rows):
        _draw_row(figure, at, row, colours)
    name_rows(figure, [row.label for row in rows], colours)
    low, high = _range([row.estimate for row in rows])
    scored = all(row.scored for row in rows)
    figure.update_layout(
        template=template(colours),
        xaxis={
            "title": title,
            "tickformat": quality_axis(low, high, scored=scored, signed=True),
            "range": [low, high],
        },
        yaxis={"visible": False, "range": [len(rows) - 0.5, -0.6]},
        margin={"l": 8, "r": 12, "t": 4, "b": 8},
    )
    return figure


def _draw_row(figure: Chart, at: int, row: Row, colours: Palette) -> None:
    estimate = row.estimate
    told = row.verdict != "unclear"
    if estimate.low is not None and estimate.high is not None:
        figure.add_scatter(
            x=[estimate.low, estimate.high],
            y=[at, at],
            mode="lines",
            line={"color": colours.accent, "width": 3},
            hoverinfo="skip",
        )
    shown = [
        quality_gap(x, scored=row.scored) for x in (estimate.value, estimate.low, estimate.high)
    ]
    figure.add_scatter(
        x=[estimate.value],
        y=[at],
        mode="markers",
        marker={
            "color": colours.accent if told else colours.surface,
            "size": 11,
            "line": {"color": colours.accent, "width": 2},
        },
        customdata=[[unmarked(row.label), *shown, row.verdict, unmarked(row.detail)]],
        hovertemplate="<b>%{customdata[0]}</b><br>%{customdata[1]}, 80 % interval %{customdata[2]} "
        "to %{customdata[3]}: %{customdata[4]}<br>%{customdata[5]}<extra></extra>",
    )


def draw_replay(lines: Sequence[ReplayLine], colours: Palette) -> Chart:
    """What was forgotten of one suite against examples, a line per share of replay."""
    figure = Chart()
    shares = sorted({line.replay for line in lines})
    for at, line in enumerate(lines):
        strength = 0.45 + 0.55 * (shares.index(line.replay) + 1) / len(shares)
        colour = shade(colours.accent, colours.surface, strength)
        name = f"{line.mix}: {percent(line.replay, 0)} replay"
        values = [value.value for value in line.values]
        figure.add_scatter(
            x=line.volumes,
            y=values,
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": _DASHES[at % len(_DASHES)]},
            marker={"size": 9, "symbol": _SYMBOLS[at % len(_SYMBOLS)], "color": colour},
            error_y=error_bars(
                values,
                [v.low for v in line.values],
                [v.high for v in line.values],
                transparent(colours.accent, 0.5),
                thickness=1.4,
                width=3,
            ),
            customdata=[[percent(v.value), percent(v.low), percent(v.high)] for v in line.values],
            hovertemplate=f"<b>{unmarked(name)}</b><br>%{{x:,}} examples: %{{customdata[0]}} lost"
            "<br>80 % interval %{customdata[1]} to %{customdata[2]}<extra></extra>",
        )
        figure.add_annotation(
            x=math.log10(line.volumes[-1]),  # where plotly places it on a logarithmic axis
            y=values[-1],
            text=unmarked(f"{percent(line.replay, 0)}"),
            showarrow=False,
            xanchor="left",
            xshift=9,
            font={"size": 12, "color": colours.text},
        )
    ends = _range([value for line in lines for value in line.values], zero=False)
    figure.update_layout(
        template=template(colours),
        xaxis={"title": "Training examples", "type": "log", **_ticks(lines)},
        yaxis={"title": "General ability lost", "tickformat": share_ticks(*ends)},
        margin={"l": 8, "r": 44, "t": 12, "b": 8},
    )
    return figure


def draw_weakest(found: Sequence[WorstServed], colours: Palette) -> Chart:
    """A row per mix: all its tasks as small marks, the weakest in full with its interval."""
    figure = Chart()
    for at, each in enumerate(found):
        others = {task: v for task, v in each.values.items() if task != each.task}
        figure.add_scatter(
            x=[value.value for value in others.values()],
            y=[at] * len(others),
            mode="markers",
            marker={
                "size": 9,
                "color": colours.surface,
                "line": {"color": colours.muted, "width": 1.6},
            },
            customdata=[[unmarked(task), percent(v.value)] for task, v in others.items()],
            hovertemplate="%{customdata[0]}: %{customdata[1]}<extra></extra>",
        )
        _draw_weakest(figure, at, each, colours)
    figure.update_layout(
        template=template(colours),
        xaxis={"title": "Score of each task", "tickformat": ".0%", "range": [-0.03, 1.03]},
        yaxis={"visible": False, "range": [len(found) - 0.4, -0.7]},
        margin={"l": 8, "r": 12, "t": 4, "b": 8},
    )
    return figure


def _draw_weakest(figure: Chart, at: int, each: WorstServed, colours: Palette) -> None:
    value = each.values[each.task]
    figure.add_scatter(
        x=[value.low, value.high],
        y=[at, at],
        mode="lines",
        line={"color": colours.accent, "width": 3},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=[value.value],
        y=[at],
        mode="markers",
        marker={"size": 12, "symbol": "diamond", "color": colours.accent},
        customdata=[
            [unmarked(each.task), percent(value.value), percent(value.low), percent(value.high)]
        ],
        hovertemplate="weakest: %{customdata[0]}, %{customdata[1]}<br>80 % interval %{customdata[2]} "
        "to %{customdata[3]}<extra></extra>",
    )
    figure.add_annotation(
        xref="paper",
        x=0,
        y=at - 0.38,
        text=unmarked(f"{each.mix}: weakest is {each.task}, {percent(value.value)}"),
        showarrow=False,
        xanchor="left",
        bgcolor=colours.surface,
        borderpad=1,
        font={"size": 12, "color": colours.muted},
    )


def _ticks(lines: Sequence[ReplayLine]) -> dict[str, object]:
    at = sorted({volume for line in lines for volume in line.volumes})
    return {"tickvals": at, "ticktext": [f"{v:,}" for v in at], "minor": {"ticks": ""}}


def _range(found: Sequence[Estimate], *, zero: bool = True) -> tuple[float, float]:
    """What holds all of *found* with their intervals, and with *zero* 0 as well."""
    ends = [x for e in found for x in (e.value, e.low, e.high) if x is not None]
    ends += [0.0] * (zero or not ends)
    pad = 0.06 * (max(ends) - min(ends) or 0.01)
    return min(ends) - pad, max(ends) + pad


#: More sentences than these are read by nobody.
MAX_SENTENCES = 8
#: A mix of more tasks is no example that a note has room for.
_MAX_WEIGHTS = 6


class Sentence(NamedTuple):
    """``verdict``: of what it tells, for the reader."""

    verdict: Verdict
    text: str


def matrix_sentences(found: Matrix, points: MixPoints) -> tuple[Sentence, ...]:
    """The told cells, the strongest first, a task's own data left out: that more of it helps is no news
    unless it does not.
    """
    told = [
        c.effect
        for c in found.told
        if c.effect and not (c.task == c.data and c.effect.gap.value > 0)
    ]
    return tuple(Sentence(e.verdict, _effect(e, points)) for e in told)


def _effect(effect: Effect, points: MixPoints) -> str:
    gap = _gap(effect.gap, points, effect.task)
    if effect.data is None:
        beside = f"{about(effect.before.data)} to {about(effect.after.data)}"
        return (
            f"{effect.task}, by more data of all other tasks ({beside} "
            f"examples, its own {about(effect.after.task_examples)} unchanged): {gap}."
        )
    change = f"{about(effect.before.data)} to {about(effect.after.data)} examples"
    kept = (
        "all others unchanged"
        if effect.kind == "added"
        else f"{effect.after.volume:,.0f} in all, so that the others give way"
    )
    untrained = effect.before.task_examples == effect.after.task_examples == 0
    which = f"{effect.task}, with no data of its own," if untrained else f"{effect.task},"
    return f"{which} by more {effect.data} data ({change}, {kept}): {gap}."


def swap_sentences(
    swaps: Sequence[ReplayContrast], points: MixPoints, volume: int
) -> tuple[Sentence, ...]:
    """What replay does to what is kept, and what it or further passes do to the tasks, where told."""
    found = []
    for swap in swaps:
        told = verdict(swap.gap)
        if swap.volume != volume or told == "unclear":
            continue
        what = (
            f"further passes over {', '.join(swap.boosted)}"
            if swap.boosted
            else f"{percent(swap.after.replay, 0)} replayed general text"
            + (f" instead of {percent(swap.before.replay, 0)}" if swap.before.replay else "")
        )
        at = f"({swap.after.name} against {swap.before.name}, {volume:,} examples)"
        if swap.quantity in points.suites:
            suite = swap.quantity.removeprefix("forgetting.")
            kept: Verdict = "helps" if told == "hurts" else "hurts"
            before, after = (percent(value.value, 0) for value in swap.values)
            how = "keeps" if kept == "helps" else "loses"
            text = f"{suite}, of which {what} {how} more {at}: {after} lost, not {before}."
            found.append(Sentence(kept, text))
        else:
            gap = _gap(swap.gap, points, swap.quantity)
            found.append(Sentence(told, f"{swap.quantity}, by {what} {at}: {gap}."))
    return tuple(found)


def weakest_sentences(found: Sequence[WorstServed]) -> tuple[Sentence, ...]:
    """Mixes whose weakest task, one they train, is told to be better served by another."""
    return tuple(
        Sentence(
            "hurts",
            f"{each.task}, the weakest task under {each.mix} at {percent(each.values[each.task].value)}: "
            f"{each.best_mix} serves it {_interval(each.cost, scored=True)} better at the same volume.",
        )
        for each in found
        if each.trained
        and each.cost is not None
        and each.cost.low is not None
        and each.cost.low > 0
    )


def chance_note(found: Matrix) -> str:
    """How much of the matrix is known, and how much of that chance alone would tell."""
    if not found.known:
        return ""
    return (
        f"{len(found.told)} of {found.known} effects can be told from noise. With 80 % intervals, about one "
        f"in five of effects that are none looks told as well; trust what repeats at other volumes. More "
        "data also means more training steps, which is part of what it does."
    )


def unknown_notes(found: Matrix, points: MixPoints) -> list[str]:
    """What no pair of mixes tells, a sentence or two each, with the mix that would tell."""
    groups: dict[tuple[str, str], list[str]] = {}
    for cell in found.cells:
        if cell.effect is None:
            groups.setdefault((cell.data, cell.why), []).append(cell.task)
    notes, apart = [], []
    for (data, why), tasks in groups.items():
        if len(tasks) == len(found.tasks) and why.startswith(
            f"no two mixes differ in {data} alone"
        ):
            apart.append(data)
            continue
        what = "all other tasks together" if data == OTHERS else data
        to = "any task" if len(tasks) == len(found.tasks) > 1 else _listed(tasks, "or")
        # The reason, then the advice behind its colon.
        reason, _, advice = why.partition(": ")
        reason = reason.replace("this task", "such a task" if len(tasks) > 1 else tasks[0])
        advice = f" {_sentence(advice)}" if advice else ""
        notes.append(f"What more data of {what} does to {to}: {reason}.{advice}")
    return [*([_not_apart(apart, points)] if apart else []), *notes]


def _not_apart(names: Sequence[str], points: MixPoints) -> str:
    """Why nothing is known of what more data of *names* does, and an example of what to run."""
    first = names[0]
    weights = max((mix.weights for mix in points.mixes.values()), key=len)
    such = [f"{{{first}: 1}}"]
    if first in weights and 1 < len(weights) <= _MAX_WEIGHTS:
        more = {task: weight * (3 if task == first else 1) for task, weight in weights.items()}
        such.insert(0, f"{{{', '.join(f'{task}: {w:g}' for task, w in more.items())}}}")
    which = first if len(names) == 1 else "one of them"
    return (
        f"What more data of {_listed(names, 'or')} does: no two mixes differ in {which} alone. A mix with "
        f"3 times the weight of one task, or of it alone, would tell: for {first}, {' or '.join(such)}."
    )


def _listed(names: Sequence[str], last: str) -> str:
    """``a, b or c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def cell_words(effect: Effect, scored: bool) -> tuple[str, str, str]:
    """A cell's three lines: the effect, its interval, what was changed."""
    gap = effect.gap
    if scored and gap.low is not None and gap.high is not None:
        interval = f"{100 * gap.low:+.1f} to {100 * gap.high:+.1f}".replace("-", "−")
    else:
        interval = (
            f"{quality_gap(gap.low, scored=scored)} to {quality_gap(gap.high, scored=scored)}"
        )
    return (
        quality_gap(gap.value, scored=scored),
        interval,
        f"{about(effect.before.data)} → {about(effect.after.data)}",
    )


def effect_rows(effects: Sequence[Effect], points: MixPoints) -> list[tuple[str, ...]]:
    """Every pair compared, one row each, for the table behind the matrix."""
    kinds = {"added": "others unchanged", "shifted": "same volume", "others": "own unchanged"}
    return [
        (
            effect.task,
            effect.data or OTHERS,
            kinds[effect.kind],
            f"{about(effect.before.data)} → {about(effect.after.data)}",
            f"{about(effect.before.task_examples)} → {about(effect.after.task_examples)}",
            effect.before.mix or "untouched base",
            effect.after.mix,
            *(
                quality_gap(x, scored=points.measures[effect.task] == "score")
                for x in _parts(effect.gap)
            ),
            "yes" if effect.before.interpolated or effect.after.interpolated else "no",
        )
        for effect in effects
    ]


def _parts(gap: Estimate) -> tuple[float | None, ...]:
    return gap.value, gap.low, gap.high


def _gap(gap: Estimate, points: MixPoints, task: str) -> str:
    return _interval(gap, scored=points.measures[task] == "score", signed=True)


def _interval(gap: Estimate, *, scored: bool, signed: bool = False) -> str:
    low, high = quality_gap(gap.low, scored=scored), quality_gap(gap.high, scored=scored)
    value = (
        quality_gap(gap.value, scored=scored, signed=signed)
        if not scored
        else (signed_percent(gap.value) if signed else percent(gap.value))
    )
    return f"{value} (80 % interval {low} to {high})"
