"""Effects of task mixes: matrix of tasks, shared model against one each, replay, the weakest task.

Everything is of one model and method, at one learning rate (:mod:`tracker.decision.mix_points`); intervals
are 80 %. An entry of the matrix compares two mixes at the training-set size asked for, or at the nearest that
was measured; of several pairs of mixes it takes that with the narrowest interval.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Literal, NamedTuple

from dashboards.charts.axes import padded, share_ticks
from dashboards.charts.chart import Chart
from dashboards.charts.forest import ForestRow
from dashboards.charts.marks import draw_interval, ends, error_bars, name_rows
from dashboards.charts.theme import Palette, graded, template, transparent
from dashboards.charts.wording import about, escaped, estimate
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
from tracker.numbers import count, limits, percent, plural, quality_gap
from tracker.numbers import points as write_points

Compared = Literal["added", "shifted"]
#: The column of all other tasks together.
OTHERS = "all others together"
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x")
#: Writes what a mix costs its weakest task, which has no sign.
unsigned_points = partial(write_points, signed=False)
_DASHES = ("solid", "dash", "dot", "dashdot")


class MatrixEntry(NamedTuple):
    """Effect of more data of ``data`` on ``task``; where none was measured, ``why`` says why."""

    task: str
    data: str
    effect: Effect | None
    why: str = ""


class EffectMatrix(NamedTuple):
    """Effects by task. ``tasks``: rows, trained first; ``columns``: trained tasks, then :data:`OTHERS`."""

    compared: Compared
    tasks: tuple[str, ...]
    columns: tuple[str, ...]
    entries: tuple[MatrixEntry, ...]

    def at(self, task: str, data: str) -> MatrixEntry:
        """The entry of row *task* and column *data*."""
        return next(e for e in self.entries if (e.task, e.data) == (task, data))

    @property
    def effects(self) -> list[Effect]:
        """Effects measured, in the order of the entries."""
        return [entry.effect for entry in self.entries if entry.effect is not None]

    @property
    def clear_effects(self) -> list[Effect]:
        """Effects whose interval has one sign, the strongest first."""
        clear = [effect for effect in self.effects if effect.verdict != "unclear"]
        return sorted(clear, key=lambda effect: -abs(effect.gap.value))

    def measured(self) -> EffectMatrix:
        """The matrix without the rows and columns in which nothing was measured."""
        entries = [entry for entry in self.entries if entry.effect is not None]
        tasks = tuple(task for task in self.tasks if any(e.task == task for e in entries))
        columns = tuple(data for data in self.columns if any(e.data == data for e in entries))
        kept = tuple(e for e in self.entries if e.task in tasks and e.data in columns)
        return EffectMatrix(self.compared, tasks, columns, kept)


class ReplayCurve(NamedTuple):
    """Forgetting of ``suite`` against training-set size under a mix with one share of replay."""

    suite: str
    mix: str
    replay: float
    volumes: tuple[int, ...]
    values: tuple[Estimate, ...]


def compared_sizes(effects: Sequence[Effect], points: MixPoints) -> tuple[int, ...]:
    """Training-set sizes at which mixes are compared; where none are, those measured."""
    found = {int(effect.after.volume) for effect in effects}
    return tuple(sorted(found or {v for (_, v), _ in points.points if v}))


def default_size(effects: Sequence[Effect], sizes: Sequence[int]) -> int:
    """The one of *sizes* with the most comparisons, the largest of several."""
    counts = {size: sum(int(e.after.volume) == size for e in effects) for size in sizes}
    return max(sizes, key=lambda size: (counts[size], size))


def trained_tasks(points: MixPoints) -> tuple[str, ...]:
    """Tasks that some mix trains, in the order they are measured."""
    trained = {task for mix in points.mixes.values() for task in mix.weights}
    return tuple(task for task in points.tasks if task in trained)


def effect_matrix(
    points: MixPoints, effects: Sequence[Effect], compared: Compared, volume: int
) -> EffectMatrix:
    """The matrix at *volume*; *effects* are those of *points*."""
    trained = trained_tasks(points)
    rows = (*trained, *(task for task in points.tasks if task not in trained))
    places: list[tuple[str, str | None, Kind]] = [
        (task, data, compared) for task in rows for data in trained
    ]
    places += [(task, None, "others") for task in rows]
    entries = []
    for task, data, kind in places:
        matching = [e for e in effects if (e.task, e.data, e.kind) == (task, data, kind)]
        effect = _nearest(matching, volume)
        why = ""
        if effect is None and data is None and task not in trained:
            why = f"no mix trains {task}: it has no number of its own to keep"
        elif effect is None:
            why = why_no_effect(points, data, kind)
        entries.append(MatrixEntry(task, OTHERS if data is None else data, effect, why))
    return EffectMatrix(compared, rows, (*trained, OTHERS), tuple(entries))


def _nearest(effects: Iterable[Effect], volume: int) -> Effect | None:
    def order(effect: Effect) -> tuple[float, float]:
        width = (effect.gap.high or 0.0) - (effect.gap.low or 0.0)
        return round(abs(math.log(effect.after.volume / volume)), 6), width

    return min(effects, key=order, default=None)


def shared_model_rows(
    points: MixPoints, effects: Sequence[Effect], volume: int
) -> tuple[ForestRow, ...]:
    """Each task in a shared model minus in a model of its own, at the same number of its examples."""
    rows = []
    for task in points.tasks:
        shared = [e for e in effects if e.task == task and e.alone]
        for mix in dict.fromkeys(effect.after.mix for effect in shared):
            best = _nearest((e for e in shared if e.after.mix == mix), volume)
            assert best is not None  # the mix has an effect
            sides = f"{mix} against {best.before.mix}"
            label = f"{task}, {count(best.after.task_examples)} of its examples: {sides}"
            detail = f"{count(best.after.data)} examples of other tasks beside them"
            rows.append(_forest_row(points, task, label, best.gap, detail))
    return tuple(rows)


def replay_rows(
    points: MixPoints, contrasts: Sequence[ReplayContrast], volume: int
) -> tuple[ForestRow, ...]:
    """Each task with more replay, or more passes, minus with less, at the size nearest to *volume*."""
    rows = []
    for pair in dict.fromkeys((c.before.name, c.after.name, c.boosted) for c in contrasts):
        for task in points.tasks:
            matching = [
                c
                for c in contrasts
                if (c.before.name, c.after.name, c.boosted) == pair and c.quantity == task
            ]
            if matching:
                best = min(matching, key=lambda c: abs(math.log(c.volume / volume)))
                label = f"{task}: {pair[1]} against {pair[0]}"
                detail = f"{count(best.volume)} examples"
                rows.append(_forest_row(points, task, label, best.gap, detail))
    return tuple(rows)


def _forest_row(points: MixPoints, task: str, label: str, gap: Estimate, detail: str) -> ForestRow:
    return ForestRow(
        label,
        gap.value,
        gap.low,
        gap.high,
        verdict(gap),
        verdict(gap) != "unclear",
        points.measures[task] == "score",
        escaped(detail),
    )


def replay_curves(
    points: MixPoints, contrasts: Sequence[ReplayContrast]
) -> tuple[ReplayCurve, ...]:
    """Forgetting against size for every mix that *contrasts* compare by replay, suite by suite."""
    mixes = {m.name: m for c in contrasts if not c.boosted for m in (c.before, c.after)}
    curves = []
    for suite in points.suites:
        for mix in sorted(mixes.values(), key=lambda m: (m.replay, m.name)):
            sizes = tuple(points.volumes(mix.name, suite))
            values = tuple(points.value(suite, ((1.0, (mix.name, size)),)) for size in sizes)
            if sizes:
                curves.append(ReplayCurve(suite, mix.name, mix.replay, sizes, values))
    return tuple(curves)


def draw_replay(curves: Sequence[ReplayCurve], colours: Palette) -> Chart:
    """Forgetting of one suite against training-set size, a line per share of replay."""
    figure = Chart()
    shares = sorted({curve.replay for curve in curves})
    for at, curve in enumerate(curves):
        rank = shares.index(curve.replay)
        colour = graded(colours.accent, colours.surface, rank, len(shares))
        name = escaped(f"{curve.mix}: {percent(curve.replay, 0)} replay")
        figure.add_scatter(
            x=curve.volumes,
            y=[value.value for value in curve.values],
            mode="lines+markers",
            line={"color": colour, "width": 2, "dash": _DASHES[at % len(_DASHES)]},
            marker={"size": 9, "symbol": _SYMBOLS[at % len(_SYMBOLS)], "color": colour},
            error_y=error_bars(
                curve.values, transparent(colours.accent, 0.5), thickness=1.4, width=3
            ),
            customdata=[[estimate(value, percent)] for value in curve.values],
            hovertemplate=f"<b>{name}</b><br>%{{x:,}} examples: lost %{{customdata[0]}}<extra></extra>",
        )
        figure.add_annotation(
            x=math.log10(curve.volumes[-1]),  # where plotly places it on a logarithmic axis
            y=curve.values[-1].value,
            text=percent(curve.replay, 0),
            showarrow=False,
            xanchor="left",
            xshift=9,
            font={"size": 12, "color": colours.text},
        )
    low, high = padded(ends([value for curve in curves for value in curve.values]), 0.06, 0.01)
    sizes = sorted({volume for curve in curves for volume in curve.volumes})
    ticks = {"tickvals": sizes, "ticktext": [count(size) for size in sizes]}
    figure.update_layout(
        template=template(colours),
        xaxis={"title": "Training examples", "type": "log", **ticks, "minor": {"ticks": ""}},
        yaxis={"title": "General ability lost", "tickformat": share_ticks(low, high)},
        margin={"l": 8, "r": 44, "t": 12, "b": 8},
    )
    return figure


def draw_worst_served(found: Sequence[WorstServed], colours: Palette) -> Chart:
    """A row per mix: all its tasks as rings, the weakest as a diamond with its interval."""
    figure = Chart()
    for row, each in enumerate(found):
        others = {task: value for task, value in each.values.items() if task != each.task}
        figure.add_scatter(
            x=[value.value for value in others.values()],
            y=[row] * len(others),
            mode="markers",
            marker={
                "size": 9,
                "color": colours.surface,
                "line": {"color": colours.muted, "width": 1.6},
            },
            customdata=[[escaped(task), percent(v.value)] for task, v in others.items()],
            hovertemplate="%{customdata[0]}: %{customdata[1]}<extra></extra>",
        )
        weakest = each.values[each.task]
        draw_interval(figure, row, weakest, colours.accent)
        figure.add_scatter(
            x=[weakest.value],
            y=[row],
            mode="markers",
            marker={"size": 12, "symbol": "diamond", "color": colours.accent},
            customdata=[[escaped(each.task), estimate(weakest, percent)]],
            hovertemplate="weakest: %{customdata[0]}<br>%{customdata[1]}<extra></extra>",
        )
    labels = [
        f"{each.mix}: weakest is {each.task}, {percent(each.values[each.task].value)}"
        for each in found
    ]
    name_rows(figure, labels, colours)
    figure.update_layout(
        template=template(colours),
        xaxis={"title": "Score of each task", "tickformat": ".0%", "range": [-0.03, 1.03]},
        yaxis={"visible": False, "range": [len(found) - 0.4, -0.7]},
        margin={"l": 8, "r": 12, "t": 4, "b": 8},
    )
    return figure


# -- in words --------------------------------------------------------------------------------------

#: A mix of more tasks is no example that a note has room for.
_MAX_WEIGHTS = 6


class Sentence(NamedTuple):
    """An effect as a sentence, with its ``verdict``."""

    verdict: Verdict
    text: str


def matrix_sentences(matrix: EffectMatrix, points: MixPoints) -> tuple[Sentence, ...]:
    """Sentences on the clear effects, the strongest first, but for a task that its own data helps."""
    return tuple(
        Sentence(effect.verdict, _effect_sentence(effect, points))
        for effect in matrix.clear_effects
        if effect.task != effect.data or effect.gap.value <= 0
    )


def _effect_sentence(effect: Effect, points: MixPoints) -> str:
    gap = _gap(effect.gap, points, effect.task)
    before, after = effect.before, effect.after
    examples = f"{about(before.data)} to {about(after.data)} examples"
    if effect.data is None:
        kept = f"its own {about(after.task_examples)} unchanged"
        return f"{effect.task}, with more data of all other tasks ({examples}, {kept}): {gap}."
    kept = (
        "all others unchanged"
        if effect.kind == "added"
        else f"{count(after.volume)} in all, so that the others shrink"
    )
    untrained = before.task_examples == after.task_examples == 0
    task = f"{effect.task}, without data of its own," if untrained else f"{effect.task},"
    return f"{task} with more {effect.data} data ({examples}, {kept}): {gap}."


def replay_sentences(
    contrasts: Sequence[ReplayContrast], points: MixPoints, volume: int
) -> tuple[Sentence, ...]:
    """Sentences on the clear effects of replay and of more passes, on forgetting and on the tasks."""
    sentences = []
    for contrast in contrasts:
        effect, before, after = verdict(contrast.gap), contrast.before, contrast.after
        if contrast.volume != volume or effect == "unclear":
            continue
        what = f"{percent(after.replay, 0)} replayed general text" + (
            f" instead of {percent(before.replay, 0)}" if before.replay else ""
        )
        if contrast.boosted:
            what = f"more passes over {', '.join(contrast.boosted)}"
        at = f"({after.name} against {before.name}, {count(volume)} examples)"
        if contrast.quantity in points.suites:
            suite = contrast.quantity.removeprefix("forgetting.")
            on_suite: Verdict = "helps" if effect == "hurts" else "hurts"
            lost, instead = (percent(value.value, 0) for value in contrast.values[::-1])
            text = f"{suite}, with {what} {at}: {lost} is lost, instead of {instead}."
            sentences.append(Sentence(on_suite, text))
        else:
            gap = _gap(contrast.gap, points, contrast.quantity)
            sentences.append(Sentence(effect, f"{contrast.quantity}, with {what} {at}: {gap}."))
    return tuple(sentences)


def weakest_sentences(weakest: Sequence[WorstServed]) -> tuple[Sentence, ...]:
    """Sentences on mixes whose weakest trained task is clearly better under another mix."""
    return tuple(
        Sentence(
            "hurts",
            f"{mix.task}, the weakest task of {mix.mix} at {percent(mix.values[mix.task].value)}: under "
            f"{mix.best_mix}, at the same training-set size, it is better by "
            f"{estimate(mix.cost, unsigned_points)}.",
        )
        for mix in weakest
        if mix.trained and mix.cost is not None and mix.cost.low is not None and mix.cost.low > 0
    )


def _gap(gap: Estimate, points: MixPoints, task: str) -> str:
    return estimate(gap, partial(quality_gap, scored=points.measures[task] == "score"))


def chance_note(matrix: EffectMatrix) -> str:
    """Note on how many effects are clear, and how many chance alone makes so."""
    return (
        f"{len(matrix.clear_effects)} of {plural(len(matrix.effects), 'effect')} can be distinguished from "
        "noise. With 80 % intervals, about one in five of effects that are zero looks clear as well; trust "
        "what repeats at other training-set sizes. More data also means more training steps, which is part "
        "of the effect."
    )


def unknown_notes(matrix: EffectMatrix, points: MixPoints) -> list[str]:
    """Notes on effects that were not measured, each with the mix that would measure them."""
    groups: dict[tuple[str, str], list[str]] = {}
    for entry in matrix.entries:
        if entry.effect is None:
            groups.setdefault((entry.data, entry.why), []).append(entry.task)
    notes, apart = [], []
    for (data, why), tasks in groups.items():
        every_task = len(tasks) == len(matrix.tasks)
        if every_task and why.startswith(f"no two mixes differ in {data} alone"):
            apart.append(data)
            continue
        what = "all other tasks together" if data == OTHERS else data
        to = "any task" if every_task and len(tasks) > 1 else _listed(tasks)
        # The reason, then the advice behind its colon.
        reason, _, advice = why.partition(": ")
        reason = reason.replace("this task", "such a task" if len(tasks) > 1 else tasks[0])
        advice = f" {advice[:1].upper()}{advice[1:]}." if advice else ""
        notes.append(f"Effect of more data of {what} on {to}: {reason}.{advice}")
    return [*([_mixes_to_add(apart, points)] if apart else []), *notes]


def _mixes_to_add(names: Sequence[str], points: MixPoints) -> str:
    """Note on the tasks in *names*, whose data no two mixes compare, with mixes to run."""
    first = names[0]
    weights = max((mix.weights for mix in points.mixes.values()), key=len)
    examples = [f"{{{first}: 1}}"]
    if first in weights and 1 < len(weights) <= _MAX_WEIGHTS:
        more = {task: weight * (3 if task == first else 1) for task, weight in weights.items()}
        examples.insert(0, f"{{{', '.join(f'{task}: {w:g}' for task, w in more.items())}}}")
    which = first if len(names) == 1 else "one of them"
    return (
        f"Effect of more data of {_listed(names)}: no two mixes differ in {which} alone. Add a mix with "
        f"3 times the weight of one task, or of it alone: for {first}, {' or '.join(examples)}."
    )


def _listed(names: Sequence[str]) -> str:
    """``a, b or c``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def entry_words(effect: Effect, points: MixPoints) -> tuple[str, str, str]:
    """The lines of an entry of the matrix: the effect, its interval, the examples with less and more."""
    gap, write = effect.gap, partial(quality_gap, scored=points.measures[effect.task] == "score")
    interval = limits(gap.low, gap.high, write).removesuffix(" points")
    return write(gap.value), interval, _change(effect.before.data, effect.after.data)


def _change(before: float, after: float) -> str:
    return f"{about(before)} → {about(after)}"


def effect_rows(effects: Iterable[Effect], points: MixPoints) -> list[tuple[str, ...]]:
    """Every pair of mixes compared, one row each, for the table behind the matrix."""
    kinds = {"added": "others unchanged", "shifted": "same size", "others": "own unchanged"}
    rows: list[tuple[str, ...]] = []
    for effect in effects:
        gap, before, after = effect.gap, effect.before, effect.after
        write = partial(quality_gap, scored=points.measures[effect.task] == "score")
        rows.append(
            (
                effect.task,
                effect.data or OTHERS,
                kinds[effect.kind],
                _change(before.data, after.data),
                _change(before.task_examples, after.task_examples),
                before.mix or "untouched base",
                after.mix,
                write(gap.value),
                limits(gap.low, gap.high, write),
                "yes" if before.interpolated or after.interpolated else "no",
            )
        )
    return rows
