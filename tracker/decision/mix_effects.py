"""What one task's data does to another: pairs of mixes that differ in it and in nothing else.

Two mixes tell what a task's data does if, without it, they hold the others in the same proportions, with
the same replay and passes. Then either all others keep their number of examples and the task's grow
(*added*), or the volume stays and the others give way (*shifted*). If a task keeps its own number while
all others grow together, they tell what the others are worth to it (*others*); against a mix of that
task alone, whether one model for all beats a model of its own. Where a mix was not measured at the
volume that this takes, its value is read off between the two volumes around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations
from typing import Literal, NamedTuple, get_args

from tracker.decision.mix_points import BASE, Blend, MixPoints
from tracker.metrics import Estimate
from tracker.trial import MixSpec

Kind = Literal["added", "shifted", "others"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Verdict = Literal["helps", "hurts", "unclear"]
#: Proportions that differ by less are the same.
_SAME = 0.02


class Side(NamedTuple):
    """One of the two mixes compared (``""``: the untouched base), at ``volume`` examples in all.

    ``data``: examples of what differs; ``task_examples``: of the task scored. ``interpolated``: between two
    measured volumes. ``value``: the task's quality.
    """

    mix: str
    volume: float
    data: float
    task_examples: float
    interpolated: bool
    value: Estimate


class Effect(NamedTuple):
    """Quality of ``task`` with more of the data of ``data`` (``None``: of all other tasks), minus that
    with less; 80 % interval.
    """

    task: str
    data: str | None
    kind: Kind
    before: Side
    after: Side
    gap: Estimate

    @property
    def verdict(self) -> Verdict:
        """Told where the interval has one sign."""
        return verdict(self.gap)

    @property
    def alone(self) -> bool:
        """Whether a model of the task's own is compared with one for several."""
        return self.kind == "others" and self.before.data == 0


class ReplayContrast(NamedTuple):
    """Two mixes equal but for their replay, or for further passes over ``boosted`` tasks, at one volume.

    ``quantity``: a task or ``forgetting.<suite>``, whose mean they differ in by ``gap``.
    """

    boosted: tuple[str, ...]
    quantity: str
    before: MixSpec
    after: MixSpec
    volume: int
    values: tuple[Estimate, Estimate]
    gap: Estimate


class WorstServed(NamedTuple):
    """The task that ``mix`` serves worst, and how much less than the mix of the same volume that
    serves it best. ``cost`` is ``None`` where it is that mix. ``trained``: the mix trains it.
    """

    mix: str
    volume: int
    values: dict[str, Estimate]
    task: str
    best_mix: str
    cost: Estimate | None
    trained: bool


def verdict(gap: Estimate) -> Verdict:
    """What the interval says of the sign."""
    if gap.low is not None and gap.low > 0:
        return "helps"
    if gap.high is not None and gap.high < 0:
        return "hurts"
    return "unclear"


def effects(points: MixPoints) -> tuple[Effect, ...]:
    """Everything that pairs of its mixes tell, in order of task, data, kind and volume."""
    found = [
        effect
        for after, before in _pairs(points)
        for kind in KINDS
        for data in _set_apart(after, before, kind)
        for effect in _of_pair(points, after, before, data, kind)
    ]
    order = {task: i for i, task in enumerate(points.tasks)}
    return tuple(
        sorted(
            found,
            key=lambda e: (order[e.task], e.data or "~", e.kind, e.after.volume, e.before.mix),
        )
    )


def why_no_effect(points: MixPoints, data: str | None, kind: Kind) -> str:
    """Why no pair of mixes tells what *data* does, in one sentence that says what would."""
    trained = {task for mix in points.mixes.values() for task in mix.weights}
    if data is None:
        return (
            "no two mixes give this task the same number of examples with more of all others: "
            "add a mix that trains it alone"
        )
    if data not in trained:
        return f"no mix trains {data}: it is only measured"
    apart = [pair for pair in _pairs(points) if data in _set_apart(*pair, kind)]
    if not apart:
        return (
            f"no two mixes differ in {data} alone: add one with 3 times its weight, "
            "or one that trains it alone"
        )
    if kind == "shifted" and all(not before for _, before in apart):
        return f"{data} is set apart only by a mix of its own: nothing else could give way"
    return "the mixes that tell it were not measured at volumes that match here"


def replay_contrasts(points: MixPoints) -> tuple[ReplayContrast, ...]:
    """Mixes that differ in replay alone, or in passes alone, at every volume both were run at."""
    found: list[ReplayContrast] = []
    for after, before in permutations(points.mixes.values(), 2):
        if not _proportional(after.weights, before.weights):
            continue
        boosted = tuple(
            task
            for task in after.weights
            if after.extra_epochs.get(task, 0) > before.extra_epochs.get(task, 0)
        )
        same_passes = after.extra_epochs == before.extra_epochs
        more_replay = after.replay > before.replay and same_passes
        fewer = any(
            before.extra_epochs[t] > after.extra_epochs.get(t, 0) for t in before.extra_epochs
        )
        if more_replay or (boosted and not fewer and after.replay == before.replay):
            found += _swapped(points, after, before, boosted)
    return tuple(found)


def worst_served(points: MixPoints, volume: int) -> tuple[WorstServed, ...]:
    """For each mix run at *volume*, the task it serves worst; tasks decided on a loss are left out,
    since losses of two tasks cannot be compared.
    """
    tasks = [task for task in points.tasks if points.measures[task] == "score"]
    at = {
        mix: {t: points.value(t, _lone(mix, volume)) for t in tasks if _has(points, mix, volume, t)}
        for mix in points.mixes
    }
    at = {mix: values for mix, values in at.items() if values}
    found = []
    for mix, values in at.items():
        task = min(values, key=lambda t: values[t].value)
        best = max((m for m in at if task in at[m]), key=lambda m: at[m][task].value)
        cost = points.gap(task, _lone(best, volume), _lone(mix, volume)) if best != mix else None
        trained = task in points.mixes[mix].weights
        found.append(WorstServed(mix, volume, values, task, best, cost, trained))
    return tuple(found)


def _pairs(points: MixPoints) -> Iterator[tuple[MixSpec, MixSpec | None]]:
    """Every two mixes of equal replay and passes; and each with the base, which is no mix."""
    mixes = list(points.mixes.values())
    for after, before in permutations(mixes, 2):
        if after.replay == before.replay and after.extra_epochs == before.extra_epochs:
            yield after, before
    for after in mixes:
        if not after.extra_epochs:
            yield after, None


def _set_apart(after: MixSpec, before: MixSpec | None, kind: Kind) -> tuple[str, ...]:
    """Tasks of which *after* has the larger share, all others standing in equal proportions; of
    ``others``, a mix of the task alone will do as well, since it holds none.
    """
    weights = before.weights if before else {}
    return tuple(
        task
        for task in after.weights
        if _share(after.weights, task) > _share(weights, task) * (1 + _SAME)
        and (
            _proportional(_without(after.weights, task), _without(weights, task))
            or (kind == "others" and len(after.weights) == 1)
        )
    )


def _of_pair(
    points: MixPoints, after: MixSpec, before: MixSpec | None, data: str, kind: Kind
) -> Iterator[Effect]:
    """The effects of one pair; of ``others``, the mix with the smaller share holds more others."""
    high = _share(after.weights, data)
    low = _share(before.weights, data) if before else 0.0
    if kind == "others":
        if before is None or not low:
            return
        for volume in points.volumes(before.name, data):
            yield from _effect(
                points, data, None, "others", (after, volume * low / high), (before, volume)
            )
        return
    if kind == "shifted" and (before is None or high == 1):
        return
    if (before is None) != (high == 1):  # the base has no others either
        return
    volumes = {v for task in points.tasks for v in points.volumes(after.name, task)}
    for volume in sorted(volumes):
        then = float(volume)
        if kind == "added":
            then = volume * (1 - high) / (1 - low)
        for task in points.tasks:
            yield from _effect(points, task, data, kind, (before, then), (after, volume))


def _effect(
    points: MixPoints,
    task: str,
    data: str | None,
    kind: Kind,
    before: tuple[MixSpec | None, float],
    after: tuple[MixSpec | None, float],
) -> Iterator[Effect]:
    """The effect, if both sides were measured."""
    blends = [_blend(points, mix, volume, task) for mix, volume in (before, after)]
    if blends[0] is None or blends[1] is None:
        return
    sides = [
        Side(
            mix.name if mix else "",
            volume if mix else 0.0,
            _examples(mix, volume, task, data),
            volume * _share(mix.weights, task) if mix else 0.0,
            len(blend) > 1,
            points.value(task, blend),
        )
        for (mix, volume), blend in zip((before, after), (blends[0], blends[1]), strict=True)
    ]
    gap = points.gap(task, blends[1], blends[0])
    yield Effect(task, data, kind, sides[0], sides[1], gap)


def _examples(mix: MixSpec | None, volume: float, task: str, data: str | None) -> float:
    if mix is None:
        return 0.0
    if data is None:
        return volume * (1 - _share(mix.weights, task))
    return volume * _share(mix.weights, data)


def _blend(points: MixPoints, mix: MixSpec | None, volume: float, task: str) -> Blend | None:
    if mix is not None:
        return points.at(mix.name, volume, task)
    return ((1.0, BASE),) if (BASE, task) in points.points else None


def _swapped(
    points: MixPoints, after: MixSpec, before: MixSpec, boosted: tuple[str, ...]
) -> Iterator[ReplayContrast]:
    for quantity in (*points.tasks, *points.suites):
        both = set(points.volumes(after.name, quantity)) & set(
            points.volumes(before.name, quantity)
        )
        for volume in sorted(both):
            one, other = _lone(after.name, volume), _lone(before.name, volume)
            values = points.value(quantity, other), points.value(quantity, one)
            gap = points.gap(quantity, one, other)
            yield ReplayContrast(boosted, quantity, before, after, volume, values, gap)


def _lone(mix: str, volume: int) -> Blend:
    return ((1.0, (mix, volume)),)


def _has(points: MixPoints, mix: str, volume: int, quantity: str) -> bool:
    return ((mix, volume), quantity) in points.points


def _share(weights: Mapping[str, float], task: str) -> float:
    return weights.get(task, 0.0) / sum(weights.values()) if weights else 0.0


def _without(weights: Mapping[str, float], task: str) -> dict[str, float]:
    return {name: weight for name, weight in weights.items() if name != task}


def _proportional(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    if one.keys() != other.keys():
        return False
    return all(abs(_share(one, t) - _share(other, t)) <= _SAME * _share(one, t) for t in one)
