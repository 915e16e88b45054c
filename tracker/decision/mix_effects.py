"""Effect of one task's data on another task, from pairs of mixes that differ in that data alone.

Two mixes are a pair for a task's data if they have the other tasks in the same proportions, with the same
replay and passes. Then either all others keep their number of examples and the task's grow (*added*), or the
total stays and the others shrink (*shifted*). If a task keeps its number of examples while all others grow
together, the pair measures the effect of the others on it (*others*); against a mix of that task alone, it
compares one model for all tasks with a model for that task. Where a mix was not measured at the size that a
pair needs, its value is interpolated between the two sizes around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import permutations
from typing import Literal, NamedTuple, get_args

from tracker.decision.mix_points import BASE, Interpolation, MixPoints
from tracker.metrics import Estimate
from tracker.trial import MixSpec

Kind = Literal["added", "shifted", "others"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Verdict = Literal["helps", "hurts", "unclear"]
#: Shares whose relative difference is less are equal.
_SAME_SHARE = 0.02


class Side(NamedTuple):
    """One of the two mixes compared (``""``: the untouched base), at ``volume`` examples in all.

    ``data``: examples of the data that differs. ``task_examples``: of the task scored. ``interpolated``:
    between two measured sizes. ``value``: the task's quality.
    """

    mix: str
    volume: float
    data: float
    task_examples: float
    interpolated: bool
    value: Estimate


class Effect(NamedTuple):
    """Effect on ``task`` of more data of the task ``data`` (``None``: of all other tasks).

    ``gap``: quality after minus quality before, with its 80 % interval.
    """

    task: str
    data: str | None
    kind: Kind
    before: Side
    after: Side
    gap: Estimate

    @property
    def verdict(self) -> Verdict:
        """Sign of the effect, ``unclear`` where the interval includes 0."""
        return verdict(self.gap)

    @property
    def alone(self) -> bool:
        """Whether a model of the task alone is compared with one for several tasks."""
        return self.kind == "others" and self.before.data == 0


class ReplayContrast(NamedTuple):
    """Two mixes at one size that differ in replay alone, or in passes over the ``boosted`` tasks alone.

    ``quantity``: a task or ``forgetting.<suite>``, whose means differ by ``gap``.
    """

    boosted: tuple[str, ...]
    quantity: str
    before: MixSpec
    after: MixSpec
    volume: int
    values: tuple[Estimate, Estimate]
    gap: Estimate


class WorstServed(NamedTuple):
    """Task with the lowest score under ``mix``, and its cost against the best mix of the same size for it.

    ``cost`` is ``None`` where ``mix`` is the best. ``trained``: the mix trains the task.
    """

    mix: str
    volume: int
    values: dict[str, Estimate]
    task: str
    best_mix: str
    cost: Estimate | None
    trained: bool


def verdict(gap: Estimate) -> Verdict:
    """Sign of a gap: ``helps`` or ``hurts`` where its interval excludes 0, else ``unclear``."""
    if gap.low is not None and gap.low > 0:
        return "helps"
    if gap.high is not None and gap.high < 0:
        return "hurts"
    return "unclear"


def effects(points: MixPoints) -> tuple[Effect, ...]:
    """Effects from all pairs of mixes, in order of task, data, kind and size."""
    of_pairs = [
        effect
        for after, before in _pairs(points)
        for kind in KINDS
        for data in _varied_tasks(after, before, kind)
        for effect in _effects_of_pair(points, after, before, data, kind)
    ]
    order = {task: i for i, task in enumerate(points.tasks)}
    return tuple(
        sorted(
            of_pairs,
            key=lambda e: (order[e.task], e.data or "~", e.kind, e.after.volume, e.before.mix),
        )
    )


def why_no_effect(points: MixPoints, data: str | None, kind: Kind) -> str:
    """Reason why no pair of mixes measures the effect of *data*, and the mix to add."""
    trained = {task for mix in points.mixes.values() for task in mix.weights}
    if data is None:
        return (
            "no two mixes give this task the same number of examples with more of all others: "
            "add a mix that trains it alone"
        )
    if data not in trained:
        return f"no mix trains {data}: it is only measured"
    pairs = [pair for pair in _pairs(points) if data in _varied_tasks(*pair, kind)]
    if not pairs:
        return (
            f"no two mixes differ in {data} alone: add one with 3 times its weight, "
            "or one that trains it alone"
        )
    if kind == "shifted" and all(not before for _, before in pairs):
        return f"{data} varies only against a mix of it alone: no other task could shrink"
    return "its pairs of mixes were not measured at matching training-set sizes"


def replay_contrasts(points: MixPoints) -> tuple[ReplayContrast, ...]:
    """Pairs of mixes that differ in replay alone, or in passes alone, at every size that both have."""
    contrasts: list[ReplayContrast] = []
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
            contrasts += _contrasts_of_pair(points, after, before, boosted)
    return tuple(contrasts)


def worst_served(points: MixPoints, volume: int) -> tuple[WorstServed, ...]:
    """Worst-served task of each mix run at *volume*; without tasks decided on a loss.

    Losses of two tasks cannot be compared.
    """
    tasks = [task for task in points.tasks if points.measures[task] == "score"]
    measured = {
        mix: {
            t: points.value(t, _measured_at(mix, volume))
            for t in tasks
            if _has(points, mix, volume, t)
        }
        for mix in points.mixes
    }
    measured = {mix: values for mix, values in measured.items() if values}
    worst = []
    for mix, values in measured.items():
        task = min(values, key=lambda t: values[t].value)
        best = max(
            (m for m in measured if task in measured[m]), key=lambda m: measured[m][task].value
        )
        cost = (
            points.gap(task, _measured_at(best, volume), _measured_at(mix, volume))
            if best != mix
            else None
        )
        trained = task in points.mixes[mix].weights
        worst.append(WorstServed(mix, volume, values, task, best, cost, trained))
    return tuple(worst)


def _pairs(points: MixPoints) -> Iterator[tuple[MixSpec, MixSpec | None]]:
    """Pairs of mixes of equal replay and passes, and of each mix with the untouched base."""
    mixes = list(points.mixes.values())
    for after, before in permutations(mixes, 2):
        if after.replay == before.replay and after.extra_epochs == before.extra_epochs:
            yield after, before
    for after in mixes:
        if not after.extra_epochs:
            yield after, None


def _varied_tasks(after: MixSpec, before: MixSpec | None, kind: Kind) -> tuple[str, ...]:
    """Tasks of which *after* has the larger share, with all others in equal proportions.

    For ``others`` also a mix of the task alone, since it has no others.
    """
    weights = before.weights if before else {}
    return tuple(
        task
        for task in after.weights
        if _share(after.weights, task) > _share(weights, task) * (1 + _SAME_SHARE)
        and (
            _proportional(_without(after.weights, task), _without(weights, task))
            or (kind == "others" and len(after.weights) == 1)
        )
    )


def _effects_of_pair(
    points: MixPoints, after: MixSpec, before: MixSpec | None, data: str, kind: Kind
) -> Iterator[Effect]:
    """Effects of one pair; for ``others`` the mix with the smaller share has more of them."""
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
        before_volume = float(volume)
        if kind == "added":
            before_volume = volume * (1 - high) / (1 - low)
        for task in points.tasks:
            yield from _effect(points, task, data, kind, (before, before_volume), (after, volume))


def _effect(
    points: MixPoints,
    task: str,
    data: str | None,
    kind: Kind,
    before: tuple[MixSpec | None, float],
    after: tuple[MixSpec | None, float],
) -> Iterator[Effect]:
    """Effect of one pair on *task*, if both sides were measured."""
    interpolations = [_interpolation(points, mix, volume, task) for mix, volume in (before, after)]
    if interpolations[0] is None or interpolations[1] is None:
        return
    sides = [
        Side(
            mix.name if mix else "",
            volume if mix else 0.0,
            _examples(mix, volume, task, data),
            volume * _share(mix.weights, task) if mix else 0.0,
            len(interpolation) > 1,
            points.value(task, interpolation),
        )
        for (mix, volume), interpolation in zip(
            (before, after), (interpolations[0], interpolations[1]), strict=True
        )
    ]
    gap = points.gap(task, interpolations[1], interpolations[0])
    yield Effect(task, data, kind, sides[0], sides[1], gap)


def _examples(mix: MixSpec | None, volume: float, task: str, data: str | None) -> float:
    if mix is None:
        return 0.0
    if data is None:
        return volume * (1 - _share(mix.weights, task))
    return volume * _share(mix.weights, data)


def _interpolation(
    points: MixPoints, mix: MixSpec | None, volume: float, task: str
) -> Interpolation | None:
    if mix is not None:
        return points.at(mix.name, volume, task)
    return ((1.0, BASE),) if (BASE, task) in points.points else None


def _contrasts_of_pair(
    points: MixPoints, after: MixSpec, before: MixSpec, boosted: tuple[str, ...]
) -> Iterator[ReplayContrast]:
    for quantity in (*points.tasks, *points.suites):
        volumes = set(points.volumes(after.name, quantity)) & set(
            points.volumes(before.name, quantity)
        )
        for volume in sorted(volumes):
            with_more, with_less = (
                _measured_at(after.name, volume),
                _measured_at(before.name, volume),
            )
            values = points.value(quantity, with_less), points.value(quantity, with_more)
            gap = points.gap(quantity, with_more, with_less)
            yield ReplayContrast(boosted, quantity, before, after, volume, values, gap)


def _measured_at(mix: str, volume: int) -> Interpolation:
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
    return all(abs(_share(one, t) - _share(other, t)) <= _SAME_SHARE * _share(one, t) for t in one)
