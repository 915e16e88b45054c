"""Task mixes: how a training set is split over tasks, and the stream of training rows, pass by pass.

The order comes from (seed, pass, index) through a generator of its own, never from global random state:
all methods see the same rows in the same order, and a resumed trial the same as an uninterrupted one.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from tracker.trial import MixSpec, TrialSpec


class StreamRow(NamedTuple):
    """A row of the stream; ``task`` is ``None`` for replayed general text; ``row`` counts in its source."""

    task: str | None
    row: int


def split_volume(mix: MixSpec, volume: int) -> dict[str, int]:
    """Examples per task, by weight: they sum to *volume*, rounded by largest remainders."""
    total = sum(mix.weights.values())
    exact = {task: volume * weight / total for task, weight in mix.weights.items()}
    counts = {task: int(share) for task, share in exact.items()}
    by_remainder = sorted(exact, key=lambda task: (counts[task] - exact[task], task))
    for task in by_remainder[: volume - sum(counts.values())]:
        counts[task] += 1
    return counts


def replay_rows(mix: MixSpec, volume: int) -> int:
    """Number of replayed text rows in each pass: the mix's fraction of the volume, at least one."""
    return max(1, round(mix.replay * volume)) if mix.replay else 0


def stream_rows(spec: TrialSpec) -> int:
    """Number of rows of the stream, without reading the data."""
    return (pass_ends(spec) or [0])[-1]


def pass_ends(spec: TrialSpec) -> list[int]:
    """Rows of the stream up to the end of each pass, without reading the data."""
    if spec.mix is None:
        return []
    epochs, extra = spec.schedule.epochs, replay_rows(spec.mix, spec.volume)
    passes = {t: epochs + spec.mix.extra_epochs.get(t, 0) for t in spec.examples}
    sizes = (
        sum(n for task, n in spec.examples.items() if number < passes[task])
        + (extra if number < epochs else 0)
        for number in range(max(passes.values(), default=0))
    )
    return list(itertools.accumulate(sizes))


def training_steps(spec: TrialSpec) -> int:
    """Optimizer steps of a trial, without reading its data; 0 of an untouched base."""
    schedule = spec.schedule
    return math.ceil(stream_rows(spec) / (schedule.batch_size * schedule.accumulation))


def stream(spec: TrialSpec, nested: Mapping[str, list[int]], replay: list[int]) -> list[StreamRow]:
    """Stream of training rows: all passes, end to end.

    *nested*: each task's rows in nested order, of which the first ``spec.examples[task]`` are used.
    *replay*: text rows in their seeded order; passes take successive ones, wrapping around.
    """
    if spec.mix is None:
        return []
    epochs = spec.schedule.epochs
    passes = {task: epochs + spec.mix.extra_epochs.get(task, 0) for task in spec.examples}
    extra = replay_rows(spec.mix, spec.volume)
    rows: list[StreamRow] = []
    for number in range(max(passes.values())):
        current = [
            StreamRow(task, index)
            for task, count in spec.examples.items()
            if number < passes[task]
            for index in nested[task][:count]
        ]
        if number < epochs:
            taken = (replay[(number * extra + i) % len(replay)] for i in range(extra))
            current += [StreamRow(None, index) for index in taken]
        order = np.random.default_rng([spec.seed, number]).permutation(len(current))
        rows += [current[i] for i in order]
    return rows
