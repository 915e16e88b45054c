"""What helps and what hurts, in sentences: the same findings as the charts of a page on mixes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dashboards.charts.mix import OTHERS, Matrix
from dashboards.charts.wording import about, percent, quality_gap, signed_percent
from tracker.decision.mix_effects import Effect, Swap, Verdict, Weakest, verdict
from tracker.decision.mix_points import MixPoints
from tracker.laws.auxiliary import AuxiliaryLaws
from tracker.laws.fitted_law import Parameter
from tracker.metrics import Estimate
from tracker.numbers import number

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
            f"examples, its own {about(effect.after.own)} unchanged): {gap}."
        )
    change = f"{about(effect.before.data)} to {about(effect.after.data)} examples"
    kept = (
        "all others unchanged"
        if effect.kind == "added"
        else f"{effect.after.volume:,.0f} in all, so that the others give way"
    )
    untrained = effect.before.own == effect.after.own == 0
    which = f"{effect.task}, with no data of its own," if untrained else f"{effect.task},"
    return f"{which} by more {effect.data} data ({change}, {kept}): {gap}."


def swap_sentences(swaps: Sequence[Swap], points: MixPoints, volume: int) -> tuple[Sentence, ...]:
    """What replay does to what is kept, and what it or further passes do to the tasks, where told."""
    found = []
    for swap in swaps:
        told = verdict(swap.gap)
        if swap.volume != volume or told == "cannot be told":
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


def weakest_sentences(found: Sequence[Weakest]) -> tuple[Sentence, ...]:
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


def law_rows(laws: AuxiliaryLaws) -> list[tuple[str, ...]]:
    """Task, worth, verdict, held-out errors, runs; one row per fitted law."""

    def error(value: float | None) -> str:
        return percent(value) if value is not None else "not known"

    return [
        (
            key.task,
            _worth(law.worth),
            {"helps": "they help", "hurts": "they hurt"}.get(law.effect, "cannot be told"),
            error(law.held_out_error),
            error(law.held_out_alone),
            str(len(law.used)),
        )
        for key, law in laws.mixes.items()
    ]


def _worth(worth: Parameter) -> str:
    value, low, high = (number(x, 2) for x in (worth.value, worth.low, worth.high))
    return f"{value} ({low} to {high})".replace("-", "−")


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
            f"{about(effect.before.own)} → {about(effect.after.own)}",
            effect.before.mix or "untouched base",
            effect.after.mix,
            *(
                quality_gap(x, scored=points.measures[effect.task] == "score")
                for x in _parts(effect.gap)
            ),
            "yes" if effect.before.between or effect.after.between else "no",
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
