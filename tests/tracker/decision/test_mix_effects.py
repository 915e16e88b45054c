"""Effects of one task's data on another, from mixes drawn from a known rule."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.factories import (
    file_ref,
    method_spec,
    suite_score,
    task_score,
    task_spec,
    trial_record,
    trial_spec,
)
from tracker.decision.mix_effects import effects, replay_contrasts, why_no_effect, worst_served
from tracker.decision.mix_points import MixPoints, mix_table
from tracker.results import results_table
from tracker.trial import MixSpec, TrialRecord

TASKS = ("a", "b", "c")
VOLUMES = (120, 240, 480, 960)
MIXES = (
    MixSpec(name="even", weights={"a": 1, "b": 1, "c": 1}),
    MixSpec(name="more a", weights={"a": 3, "b": 1, "c": 1}),
    MixSpec(name="alone a", weights={"a": 1}),
    MixSpec(name="replayed", weights={"a": 1, "b": 1, "c": 1}, replay=0.05),
    MixSpec(name="boosted", weights={"a": 1, "b": 1, "c": 1}, extra_epochs={"b": 1}),
)
#: What a doubling of the column's data adds to the row's score.
TRUTH = {("a", "a"): 0.08, ("a", "b"): 0.03, ("b", "b"): 0.08, ("b", "a"): -0.04, ("c", "c"): 0.05}
SD = 0.01
FILE = file_ref("v.jsonl", rows=100)
LABEL = "lora r=8"


def score(task: str, counts: dict[str, float], mix: MixSpec | None) -> float:
    gained = sum(TRUTH.get((task, data), 0.0) * math.log2(1 + n / 20) for data, n in counts.items())
    passes = mix.extra_epochs.get(task, 0) if mix else 0
    return 0.3 + gained + 0.1 * passes


def record(
    number: int, mix: MixSpec | None, volume: int, seed: int, rng: np.random.Generator, rate: float
) -> TrialRecord:
    total = sum(mix.weights.values()) if mix else 1.0
    counts = {t: volume * w / total for t, w in mix.weights.items()} if mix else {}
    spec = trial_spec(
        "m",
        method_spec("lora", learning_rate=rate) if mix else "none",
        mix=mix,
        volume=volume,
        examples={task: round(n) for task, n in counts.items()},
        tasks=tuple(task_spec(task, train=None, validation=FILE) for task in TASKS),
        general=(),
        seed=seed,
    )
    noise = SD if mix else 0.0
    scores = tuple(
        task_score(
            task,
            score(task, counts, mix) + noise * rng.standard_normal(),
            n=100,
            score_se=0.0,
        )
        for task in TASKS
    )
    kept = 0.9 if mix and mix.replay else 0.0
    after = 2.0 * (1 + (1 - kept) * volume / 1000)
    suite = suite_score("text", n=None, before=2.0, after=after, after_se=0.01)
    return trial_record(spec, number, tasks=scores, general=(suite,), ended_at=float(number))


def sweep(
    draw: int = 0, mixes: tuple[MixSpec, ...] = MIXES, stray: bool = False
) -> list[TrialRecord]:
    rng = np.random.default_rng(draw)
    plan = [(None, 0, 0, 1e-3)]
    plan += [(mix, v, seed, 1e-3) for mix in mixes for v in VOLUMES for seed in range(3)]
    if stray:  # a search for a learning rate, far off
        plan += [(mixes[0], 480, 0, 1e-1)]
    return [record(i, mix, v, s, rng, rate) for i, (mix, v, s, rate) in enumerate(plan)]


def points(records: list[TrialRecord]) -> MixPoints:
    return mix_table(results_table(records), records).points("m", LABEL)


def counts_of(effect, side) -> dict[str, float]:
    spec = next((m for m in MIXES if m.name == side.mix), None)
    if spec is None:
        return {}
    return {t: side.volume * w / sum(spec.weights.values()) for t, w in spec.weights.items()}


def truth(effect) -> float:
    after, before = counts_of(effect, effect.after), counts_of(effect, effect.before)
    return score(effect.task, after, None) - score(effect.task, before, None)


def test_added_data_leaves_all_others_alone():
    found = [e for e in effects(points(sweep())) if e.kind == "added" and e.before.mix == "even"]
    assert {e.data for e in found} == {"a"}
    for effect in found:
        before, after = counts_of(effect, effect.before), counts_of(effect, effect.after)
        assert before["b"] == pytest.approx(after["b"])
        assert (effect.before.data, effect.after.data) == pytest.approx((before["a"], after["a"]))
    # 3/5 of 480 against 1/3 of the volume that holds as many of b and c, between 240 and 480
    (one,) = [e for e in found if e.task == "b" and e.after.volume == 480]
    assert one.before.volume == pytest.approx(288)
    assert one.before.interpolated
    assert one.verdict == "hurts"


def test_the_base_is_what_a_task_alone_is_added_to():
    found = [e for e in effects(points(sweep())) if e.after.mix == "alone a" and e.kind == "added"]
    assert {e.before.mix for e in found} == {""}
    assert all(e.before.data == 0 for e in found)
    assert {e.task for e in found} == {*TASKS}


def test_effects_of_others_keep_the_tasks_examples():
    found = [e for e in effects(points(sweep())) if e.kind == "others"]
    assert {e.task for e in found} == {"a"}
    for effect in found:
        assert effect.before.task_examples == pytest.approx(effect.after.task_examples)
        assert effect.after.data > effect.before.data
    assert {e.before.mix for e in found if e.alone} == {"alone a"}
    assert all(e.verdict == "helps" for e in found if e.alone and e.after.task_examples > 100)


def test_the_same_volume_is_the_same_volume():
    found = [e for e in effects(points(sweep())) if e.kind == "shifted"]
    assert found
    assert all(e.before.volume == e.after.volume for e in found)
    assert all(e.after.task_examples < e.before.task_examples for e in found if e.task != e.data)


def test_intervals_cover_the_truth_as_often_as_they_say():
    hits = [
        effect.gap.low <= truth(effect) <= effect.gap.high
        for draw in range(40)
        for effect in effects(points(sweep(draw)))
    ]
    assert len(hits) > 1000
    assert 0.74 <= np.mean(hits) <= 0.9


def test_replay_and_passes_are_compared_by_themselves():
    found = replay_contrasts(points(sweep()))
    replay = [s for s in found if not s.boosted]
    assert {(s.before.name, s.after.name) for s in replay} == {("even", "replayed")}
    (lost,) = [s for s in replay if s.quantity == "forgetting.text" and s.volume == 960]
    assert lost.gap.value == pytest.approx(-0.9 * 0.96)
    passes = [s for s in found if s.boosted == ("b",) and s.quantity == "b"]
    assert {(s.before.name, s.after.name) for s in passes} == {("even", "boosted")}
    assert all(s.gap.low <= 0.1 <= s.gap.high or abs(s.gap.value - 0.1) < 0.03 for s in passes)


def test_the_weakest_task_and_what_it_would_be_elsewhere():
    found = {w.mix: w for w in worst_served(points(sweep()), 960)}
    assert found["more a"].task == "b"
    assert found["more a"].best_mix == "boosted"
    assert found["more a"].cost.low > 0
    assert not found["alone a"].trained
    assert all(0 <= v.low <= v.high <= 1 for w in found.values() for v in w.values.values())


def test_runs_that_looked_for_a_rate_stay_out():
    plain, with_stray = points(sweep()), points(sweep(stray=True))
    assert with_stray.learning_rate == 1e-3
    assert with_stray.points[("even", 480), "a"].runs == plain.points[("even", 480), "a"].runs == 3


def test_a_mix_run_at_other_rates_alone_is_left_out():
    rng = np.random.default_rng(0)
    plan = [(MIXES[0], 480, 1e-3), (MIXES[1], 480, 1.2e-3), (MIXES[2], 480, 1e-1)]
    apart = [record(i, mix, volume, 0, rng, rate) for i, (mix, volume, rate) in enumerate(plan)]
    found = points(apart)
    assert list(found.mixes) == ["even", "more a"]
    assert found.left_out == ("alone a",)


def test_an_effect_without_pairs_says_why():
    found = points(sweep(mixes=MIXES[:2]))
    assert "no two mixes differ in b alone" in why_no_effect(found, "b", "added")
    assert "add a mix that trains it alone" in why_no_effect(found, None, "others")
    alone = points(sweep(mixes=MIXES[2:3]))
    assert "no other task could shrink" in why_no_effect(alone, "a", "shifted")
    assert "no mix trains b" in why_no_effect(alone, "b", "added")


def test_without_repeats_or_rows_nothing_is_called_sure():
    lone = [r for r in sweep() if r.result.spec.seed == 0]
    lone = [
        r.model_copy(
            update={
                "result": r.result.model_copy(
                    update={
                        "tasks": tuple(
                            s.model_copy(update={"score_se": None}) for s in r.result.tasks
                        )
                    }
                )
            }
        )
        for r in lone
    ]
    assert all(e.gap.high > e.gap.low for e in effects(points(lone)))


def test_no_score_changes_by_more_than_all_there_is() -> None:
    found = points(sweep())
    sure = found._replace(
        points={
            (place, task): point._replace(value=float(place[0] == MIXES[0].name))
            for (place, task), point in found.points.items()
        }
    )
    one, other = (next(p for p, _ in sure.points if p[0] == m.name) for m in MIXES[:2])
    for after, before in ((one, other), (other, one)):
        gap = sure.gap(TASKS[0], ((1.0, after),), ((1.0, before),))
        assert gap.low is not None
        assert gap.high is not None
        assert -1 <= gap.low < gap.high <= 1
