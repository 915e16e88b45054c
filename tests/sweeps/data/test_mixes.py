"""Volumes, passes and orders of a mix."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.data.mixes import StreamRow, replay_rows, split_volume, stream
from tests.sweeps.conftest import METHODS
from tracker.trial import MixSpec, TrainSpec, TrialSpec

WEIGHTS = st.dictionaries(
    st.sampled_from("abcdef"), st.floats(0.01, 100, allow_nan=False), min_size=1
)
NESTED = {
    "a": [int(i) for i in np.random.default_rng(1).permutation(100)],
    "b": [int(i) for i in np.random.default_rng(2).permutation(90)],
}
REPLAY = [int(i) for i in np.random.default_rng(3).permutation(7)]


def mixed(make_spec: Callable[..., TrialSpec], method: str = "full", **changes: Any) -> TrialSpec:
    """Two tasks, 20 and 10 examples, two passes."""
    usual: dict[str, Any] = {
        "mix": MixSpec(name="both", weights={"a": 2, "b": 1}),
        "volume": 30,
        "examples": {"a": 20, "b": 10},
    }
    return make_spec(method, **(usual | changes))


@given(weights=WEIGHTS, volume=st.integers(1, 5000))
@settings(max_examples=200, deadline=None)
def test_a_volume_is_split_in_proportion(weights: dict[str, float], volume: int) -> None:
    counts = split_volume(MixSpec(name="m", weights=weights), volume)
    total = sum(weights.values())
    assert counts.keys() == weights.keys()
    assert sum(counts.values()) == volume
    for task, count in counts.items():
        assert abs(count - volume * weights[task] / total) < 1


@given(weights=WEIGHTS, volume=st.integers(1, 2500))
@settings(max_examples=200, deadline=None)
def test_twice_the_volume_gives_each_task_at_least_as_much(
    weights: dict[str, float], volume: int
) -> None:
    mix, total = MixSpec(name="m", weights=weights), sum(weights.values())
    once, twice = split_volume(mix, volume), split_volume(mix, 2 * volume)
    for task, weight in weights.items():
        if volume * weight / total >= 1:  # below one example, rounding alone decides who gets it
            assert once[task] <= twice[task]


@pytest.mark.parametrize(
    ("share", "volume", "rows"), [(0.0, 1000, 0), (0.02, 1000, 20), (0.02, 10, 1)]
)
def test_replay_is_a_share_of_the_volume(share: float, volume: int, rows: int) -> None:
    assert replay_rows(MixSpec(name="m", weights={"a": 1}, replay=share), volume) == rows


def test_every_pass_is_a_permutation_of_the_examples(make_spec: Callable[..., TrialSpec]) -> None:
    rows = stream(mixed(make_spec), NESTED, [])
    expected = {StreamRow("a", i) for i in NESTED["a"][:20]}
    expected |= {StreamRow("b", i) for i in NESTED["b"][:10]}
    first, second = rows[:30], rows[30:]
    assert set(first) == set(second) == expected
    assert len(rows) == 60
    assert first != second, "passes are shuffled apart"
    assert [row.task for row in first] != sorted(row.task or "" for row in first), "tasks are mixed"


def test_smaller_volumes_are_part_of_larger_ones(make_spec: Callable[..., TrialSpec]) -> None:
    small = stream(mixed(make_spec), NESTED, [])
    large = stream(mixed(make_spec, volume=60, examples={"a": 40, "b": 20}), NESTED, [])
    assert set(small) < set(large)


def test_extra_passes_repeat_one_task_alone(make_spec: Callable[..., TrialSpec]) -> None:
    mix = MixSpec(name="boost", weights={"a": 2, "b": 1}, extra_epochs={"b": 2})
    usual, rows = (
        stream(mixed(make_spec), NESTED, []),
        stream(mixed(make_spec, mix=mix), NESTED, []),
    )
    assert rows[:60] == usual, "the common passes are those of the plain mix"
    times = Counter(rows)
    assert {times[row] for row in times if row.task == "a"} == {2}
    assert {times[row] for row in times if row.task == "b"} == {4}
    assert {row.task for row in rows[60:]} == {"b"}


def test_replay_goes_on_where_the_last_pass_stopped(make_spec: Callable[..., TrialSpec]) -> None:
    mix = MixSpec(name="replay", weights={"a": 2, "b": 1}, replay=0.2, extra_epochs={"a": 1})
    rows = stream(mixed(make_spec, mix=mix), NESTED, REPLAY)
    first, second, extra = rows[:36], rows[36:72], rows[72:]
    replayed = [[row.row for row in part if row.task is None] for part in (first, second, extra)]
    assert set(replayed[0]) == set(REPLAY[:6]), "a fifth of 30"
    assert set(replayed[1]) == {*REPLAY[6:], *REPLAY[:5]}, "the seventh, then from the start again"
    assert replayed[2] == [], "a further pass over one task is no occasion for replay"


def test_all_methods_see_one_order_whatever_the_global_state(
    make_spec: Callable[..., TrialSpec],
) -> None:
    orders = set()
    for number, method in enumerate(METHODS):
        random.seed(number)
        np.random.seed(number)
        orders.add(tuple(stream(mixed(make_spec, method), NESTED, REPLAY)))
    assert len(orders) == 1
    other = stream(mixed(make_spec, seed=2), NESTED, REPLAY)
    assert tuple(other) not in orders


def test_the_untouched_base_trains_on_nothing(make_spec: Callable[..., TrialSpec]) -> None:
    assert stream(make_spec("none"), {}, []) == []


def test_more_epochs_begin_like_fewer(make_spec: Callable[..., TrialSpec]) -> None:
    spec = mixed(make_spec)
    longer = spec.model_copy(update={"train": TrainSpec(epochs=3)})
    assert stream(longer, NESTED, [])[:60] == stream(spec, NESTED, [])
