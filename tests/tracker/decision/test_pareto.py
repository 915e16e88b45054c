from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tracker.decision.pareto import pareto_front
from tracker.laws.pooling import Array

# Few distinct values, so that ties are common.
LOSSES = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12),
    elements=st.sampled_from([0.0, 1.0, 2.0, 3.0]),
)


def _dominates(a: Array, b: Array) -> bool:
    return bool((a <= b).all() and (a < b).any())


@given(LOSSES)
def test_members_are_exactly_the_undominated(losses: Array) -> None:
    member = pareto_front(losses).member
    for i, row in enumerate(losses):
        assert member[i] == (not any(_dominates(other, row) for other in losses))


@given(LOSSES)
def test_the_front_of_the_front_is_the_front_and_never_empty(losses: Array) -> None:
    member = pareto_front(losses).member
    assert member.any()
    assert pareto_front(losses[member]).member.all()


@given(LOSSES, st.randoms(use_true_random=False))
def test_order_does_not_matter(losses: Array, random: np.random.Generator) -> None:
    order = list(range(len(losses)))
    random.shuffle(order)
    member = pareto_front(losses).member
    assert pareto_front(losses[order]).member.tolist() == member[order].tolist()


def test_equal_rows_stand_together() -> None:
    losses = np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    assert pareto_front(losses).member.tolist() == [True, True, False]


def test_unmeasured_rows_are_not_compared() -> None:
    front = pareto_front(np.array([[0.0, np.nan], [1.0, 1.0]]))
    assert front.member.tolist() == [False, True]
    assert front.compared.tolist() == [False, True]


def test_an_empty_table_has_an_empty_front() -> None:
    assert pareto_front(np.empty((0, 3))).member.tolist() == []
