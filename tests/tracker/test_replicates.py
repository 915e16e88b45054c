"""Replicates are an array to NumPy, a tuple to comparisons, a list in JSON, and never change."""

import copy
import pickle

import numpy as np
import pytest
from pydantic import ValidationError

from tracker.replicates import Replicates
from tracker.task import TaskScore

VALUES = (0.1, 0.30000000000000004, 1.0, 1e-07)
TEXT = (
    '{"task":"t","split":"validation","n":null,"loss_nats":null,"loss_nats_se":null,'
    '"bits_per_byte":null,"bits_per_byte_se":null,"score_name":null,"score":null,"score_se":null,'
    '"exact_match":null,"precision":null,"recall":null,"valid_format":null,"over_reach":null,'
    '"replicates":[0.1,0.30000000000000004,1.0,1e-7]}'
)


@pytest.mark.parametrize("given", [VALUES, list(VALUES), np.array(VALUES), Replicates(VALUES)])
def test_json_is_that_of_a_tuple_whatever_was_given(given: object) -> None:
    score = TaskScore(task="t", replicates=given)
    assert score.model_dump_json() == TEXT
    assert TaskScore.model_validate_json(TEXT) == score
    assert score.model_dump(mode="json")["replicates"] == list(VALUES)
    assert TaskScore.model_validate(score.model_dump()) == score


def test_scores_are_equal_and_hash_alike_where_their_numbers_are() -> None:
    one, same = (TaskScore(task="t", replicates=VALUES) for _ in range(2))
    other = TaskScore(task="t", replicates=(*VALUES[:3], 2e-7))
    assert one == same
    assert hash(one) == hash(same)
    assert len({one, same, other, TaskScore(task="t")}) == 3
    assert one.replicates == VALUES
    assert hash(one.replicates) == hash(VALUES)
    assert one.replicates != VALUES[:3]
    assert one.replicates != list(VALUES)
    assert TaskScore(task="t").replicates == ()
    assert not TaskScore(task="t").replicates


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None, "much"])
def test_what_is_no_finite_number_is_refused_with_its_place(bad: object) -> None:
    with pytest.raises(ValidationError, match=r"replicates.*1"):
        TaskScore(task="t", replicates=(0.5, bad))
    with pytest.raises(ValidationError, match="valid list"):
        TaskScore(task="t", replicates=0.5)
    with pytest.raises(ValueError, match="finite numbers in a row"):
        Replicates([[0.5]])


def test_numpy_reads_it_without_a_copy_and_nobody_writes() -> None:
    replicates = Replicates(VALUES)
    array = np.asarray(replicates)
    assert array is np.asarray(replicates)
    assert array.nbytes == 8 * len(VALUES)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0.5
    assert np.array(replicates).flags.writeable
    assert np.array_equal(np.mean([replicates, replicates], axis=0), VALUES)
    assert np.array([replicates, replicates]).shape == (2, len(VALUES))


def test_it_is_a_sequence_of_floats() -> None:
    replicates = Replicates(VALUES)
    assert tuple(replicates) == VALUES
    assert all(type(value) is float for value in (*replicates, replicates[1]))
    assert replicates[1:] == VALUES[1:]
    assert (min(replicates), max(replicates), len(replicates)) == (1e-07, 1.0, 4)
    assert repr(replicates) == f"Replicates({VALUES})"


def test_copies_do_not_change_either() -> None:
    score = TaskScore(task="t", replicates=VALUES)
    for again in (pickle.loads(pickle.dumps(score)), copy.deepcopy(score)):
        assert again == score
        assert not np.asarray(again.replicates).flags.writeable
