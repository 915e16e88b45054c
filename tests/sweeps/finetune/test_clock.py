"""Time by phase, on a clock set by hand."""

from __future__ import annotations

import pytest

from sweeps.finetune import clock as module
from sweeps.finetune.clock import WORK, Clock


class Hand:
    """Stands in for :mod:`time`; a test sets it."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    hand = Hand()
    monkeypatch.setattr(module, "time", hand)
    return hand


def test_an_earlier_attempts_seconds_count_too(hand: Hand) -> None:
    clock = Clock()
    with clock.phase("trainer"):
        clock.add({"trainer": 5.0, "score": 2.0})
        hand.now += 3
    assert clock.seconds == {"trainer": 8.0, "score": 2.0}


def test_time_counts_for_the_innermost_phase_alone(hand: Hand) -> None:
    clock = Clock()
    with clock.phase("trainer"):
        hand.now += 1
        with clock.phase("forward_backward"):
            hand.now += 10
            with clock.phase("checkpoint"):
                hand.now += 100
            hand.now += 20
        hand.now += 2
    hand.now += 1000
    assert clock.seconds == {"trainer": 3, "forward_backward": 30, "checkpoint": 100}


def test_a_phase_entered_again_goes_on_counting(hand: Hand) -> None:
    clock = Clock()
    for _ in range(3):
        with clock.phase("score"):
            hand.now += 2
    with clock.phase("score"), clock.phase("score"):
        hand.now += 5
    assert clock.seconds == {"score": 11}


def test_callbacks_start_and_stop_like_blocks(hand: Hand) -> None:
    clock = Clock()
    with clock.phase("trainer"):
        clock.start("optimizer")
        hand.now += 4
        clock.stop()
        hand.now += 1
    assert clock.seconds == {"optimizer": 4, "trainer": 1}


def test_a_phase_that_fails_is_counted_and_left(hand: Hand) -> None:
    clock = Clock()
    with clock.phase("other"):
        with pytest.raises(ValueError), clock.phase("generate"):  # noqa: PT012
            hand.now += 3
            raise ValueError
        hand.now += 1
    assert clock.seconds == {"generate": 3, "other": 1}


def test_work_leaves_out_what_is_not_the_models(hand: Hand) -> None:
    clock = Clock()
    for seconds, phase in enumerate([*sorted(WORK), "trainer", "data"], start=1):
        with clock.phase(phase):
            hand.now += seconds
    assert clock.work_seconds == 1 + 2 + 3 + 4
