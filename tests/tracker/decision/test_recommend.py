"""Recommendation on synthetic sweeps with a known answer."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.factories import numbered, recommend
from tracker.decision.analysis import Analysis
from tracker.decision.explain import lines, summary
from tracker.decision.recommendation import Recommendation
from tracker.decision.target_quality import Condition, examples_needed
from tracker.errors import (
    InputError,
    NoRecommendationError,
    NotEnoughDataError,
    NothingAdmittedError,
)
from tracker.export.config import config_of
from tracker.results import by_configuration
from tracker.trial import Objective, Status, TrialRecord

Make = Callable[..., TrialRecord]
BOTH = Objective(weights={"intent": 2, "slots": 1})
INTENT = Objective(weights={"intent": 1})


def _seeds(record: Make, scores: tuple[float, ...], **fields: object) -> list[TrialRecord]:
    return [record(scores={"intent": s}, seed=i, **fields) for i, s in enumerate(scores)]


@pytest.fixture(scope="module")
def answer(sweep: list[TrialRecord]) -> Recommendation:
    return recommend(sweep, BOTH, sweep="demo")


def test_the_best_is_chosen_and_the_evidence_given(answer: Recommendation) -> None:
    found = answer
    assert found.choice.label == "large full lr=0.001, even, 2,000 examples"
    assert found.trial.key in found.choice.keys
    assert found.trial.seed == 0
    assert found.p_best > 0.9
    assert found.expected_regret < 0.002
    assert found.noise_floor == pytest.approx(0.004, rel=0.4)
    truth = 1 - 0.1 - 0.5 / (1 + 2000 / 400) - 0.01
    quality = found.choice.quality
    assert quality.low is not None
    assert quality.high is not None
    assert quality.low <= truth <= quality.high
    assert len(found.runners_up) == 3
    assert found.distinguishable
    assert not found.next_experiments
    assert found.choice.on_frontier
    assert any("1 diverged" in caveat for caveat in found.caveats)
    assert any("largest training-set size" in caveat for caveat in found.caveats)
    assert Recommendation.model_validate_json(found.model_dump_json()) == found


def test_crossover_of_the_choices_methods(answer: Recommendation) -> None:
    """0.5 / (1 + D/400) = 0.05 + 0.5 / (1 + D/200) at about 1,340 examples."""
    found = {(c.first, c.second): c for c in answer.crossovers}
    cross = found["lora", "full"]
    assert cross.probability > 0.8
    assert cross.examples is not None
    assert cross.examples.low is not None
    assert cross.examples.high is not None
    assert cross.examples.low <= 1340 <= cross.examples.high
    assert len(found) == 3


def test_a_constraint_rejects_and_says_what_it_cost(sweep: list[TrialRecord]) -> None:
    bound = BOTH.model_copy(update={"constraints": {"forgetting.english": 0.1}})
    found = recommend(sweep, bound)
    assert found.choice.method.name == "lora"
    (rejection,) = found.rejected
    assert rejection.constraint == "forgetting.english"
    assert rejection.count == 2  # full tuning at 2,000 examples, both sizes; 0.1 itself is kept
    assert rejection.best == "large full lr=0.001, even, 2,000 examples"
    assert rejection.best_value == pytest.approx(0.2)


def test_level_candidates_give_the_cheaper(record: Make) -> None:
    rows = _seeds(record, (0.800, 0.810, 0.805), model="small")
    rows += _seeds(record, (0.801, 0.811, 0.806), model="large")
    found = recommend(rows, INTENT)
    assert found.choice.model == "small"
    assert not found.distinguishable
    assert found.runners_up[0].candidate.model == "large"
    assert "is statistically tied with" in found.why[0]
    assert found.next_experiments


def test_more_than_a_quarter_of_the_noise_floor_is_not_given_up(record: Make) -> None:
    """Seeds differ by .005: a difference of .003 is a tie, yet not negligible."""
    rows = _seeds(record, (0.800, 0.810, 0.805), model="small")
    rows += _seeds(record, (0.804, 0.813, 0.807), model="large")
    found = recommend(rows, INTENT)
    assert found.choice.model == "large"
    assert not found.distinguishable
    assert "statistically tied with 1 other" in found.why[0]


def test_a_sure_but_negligible_lead_is_a_tie(record: Make) -> None:
    """Many seeds leave no doubt of a difference that is below a quarter of what they differ by."""
    noise = (-0.005, 0.005) * 40
    rows = _seeds(record, tuple(0.800 + e for e in noise), model="small")
    rows += _seeds(record, tuple(0.8011 + e for e in noise), model="large")
    found = recommend(rows, INTENT)
    assert found.runners_up[0].gap.high is not None
    assert found.choice.model == "small"
    assert not found.distinguishable


def test_beyond_the_noise_floor_the_better_is_kept(record: Make) -> None:
    """Statistically tied, as the seeds differ a lot, yet the loss exceeds the floor."""
    rows = _seeds(record, (0.70, 0.72), model="small") + _seeds(record, (0.73, 0.75), model="large")
    assert recommend(rows, INTENT).choice.model == "large"


def test_without_repeats_nothing_cheaper_is_preferred(record: Make) -> None:
    rows = [record(scores={"intent": 0.8}), record(scores={"intent": 0.8025}, model="large")]
    found = recommend(rows, INTENT)
    assert found.choice.model == "large"
    assert found.noise_floor is None
    assert "several seeds" in found.caveats[0]
    equal = [record(scores={"intent": 0.8}), record(scores={"intent": 0.8}, model="large")]
    assert recommend(equal, INTENT).choice.model == "small"


def test_target_quality_takes_the_smallest_that_suffices(sweep: list[TrialRecord]) -> None:
    found = recommend(sweep, BOTH, target_quality=0.6)
    assert found.choice.label == "small full lr=0.001, even, 2,000 examples"
    assert found.target_quality is not None
    assert found.target_quality.reached
    assert found.target_quality.probability >= 0.9


def test_nothing_reaches_and_the_law_says_what_would(sweep: list[TrialRecord]) -> None:
    found = recommend(sweep, BOTH, target_quality=0.85)
    assert found.target_quality is not None
    assert not found.target_quality.reached
    assert found.choice.label == "large full lr=0.001, even, 2,000 examples"
    needed = {n.label: n for n in found.target_quality.needed}["large full lr=0.001, even"]
    # 0.89 - 0.5 / (1 + D/400) = 0.85 at 4,600 examples
    assert needed.examples.low is not None
    assert needed.examples.high is not None
    # Both tasks share one draw of noise here, so both miss alike; the law takes them for independent, as
    # tasks nearly are (on the playground their misses' rank correlation is 0.1), and is the surer for it.
    assert 0.88 * needed.examples.low <= 4600 <= 1.12 * needed.examples.high
    assert "closest" in found.why[0]
    with pytest.raises(InputError, match="at most 1"):
        recommend(sweep, BOTH, target_quality=85)


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({}, {"large full", "large lora"}),
        ({"forgetting.english": 0.1}, {"large lora"}),  # full tuning lost 0.2
        ({"examples": 3000}, {"large full"}),  # 2,650 against 4,757
        ({"min.intent": 0.9}, {"large full", "large lora"}),  # more data may yet reach it
    ],
)
def test_more_data_is_advised_only_where_the_limits_could_be_kept(
    sweep: list[TrialRecord], limits: dict[str, float], named: set[str]
) -> None:
    configurations = by_configuration(sweep)
    fits = Analysis(sweep, BOTH).fits_of({"intent": "score", "slots": "score"})
    wanted = Condition({"intent": 2 / 3, "slots": 1 / 3}, 0.83)
    found = examples_needed(configurations, [wanted], fits, limits)
    assert {" ".join(n.label.split()[:2]) for n in found} == named


def test_order_of_the_records_does_not_matter(
    sweep: list[TrialRecord], answer: Recommendation
) -> None:
    shuffled = list(sweep)
    random.Random(4).shuffle(shuffled)
    again = recommend(shuffled, BOTH, sweep="demo")
    assert again.model_dump_json() == answer.model_dump_json()


def test_the_clock_changes_nothing_but_what_it_measured(record: Make) -> None:
    def rows(seconds: float | None) -> list[TrialRecord]:
        small = _seeds(record, (0.800, 0.810), seconds=seconds)
        return small + _seeds(record, (0.801, 0.812), model="large", seconds=1.0)

    def without_clock(found: Recommendation) -> object:
        dumped = found.model_dump(mode="json")
        for candidate in (
            dumped["choice"],
            *(r["candidate"] for r in dumped["runners_up"]),
            *dumped["next_experiments"],
        ):
            candidate.pop("measured")
        return dumped

    slow, fast, unknown = (recommend(rows(s), INTENT) for s in (1e6, 1e-3, None))
    assert without_clock(slow) == without_clock(fast) == without_clock(unknown)
    assert slow.choice.measured.device_seconds == 1e6
    assert unknown.choice.measured.device_seconds is None


def test_what_was_not_measured_keeps_no_constraint(record: Make) -> None:
    rows = [
        record(scores={"intent": 0.9}, forgetting=None),
        record(scores={"intent": 0.7}, method="lora"),
    ]
    bound = Objective(weights={"intent": 1}, constraints={"forgetting.english": 0.1})
    found = recommend(rows, bound)
    assert found.choice.method.name == "lora"
    assert found.rejected[0].unmeasured == 1
    assert found.rejected[0].best_value is None
    free = recommend(rows, INTENT)
    assert free.choice.method.name == "full"
    assert free.choice.on_frontier is None
    assert any("its forgetting is unknown" in caveat for caveat in free.caveats)


def test_a_missing_score_rejects(record: Make) -> None:
    rows = [
        record(scores={"intent": 0.9, "slots": None}),
        record(scores={"intent": 0.6, "slots": 0.6}, method="lora"),
    ]
    found = recommend(rows, BOTH)
    assert found.choice.method.name == "lora"
    assert [(r.constraint, r.count) for r in found.rejected] == [("score.slots", 1)]


def test_what_diverged_is_never_recommended(record: Make) -> None:
    bad = record(rate=0.5, status=Status.DIVERGED)
    with pytest.raises(NotEnoughDataError, match="no trial is complete"):
        recommend([bad], INTENT)
    found = recommend([bad, record(scores={"intent": 0.1})], INTENT)
    assert bad.result.spec.key not in found.choice.keys
    assert found.candidates == 1


def test_the_untouched_base_may_suffice(record: Make) -> None:
    rows = [record(method="none", scores={"intent": 0.9}), record(scores={"intent": 0.5})]
    found = recommend(rows, INTENT)
    assert found.choice.method.name == "none"
    assert found.choice.counted.flops == 0
    assert any("base suffices" in why for why in found.why)


def _untouched(record: Make, **fields: object) -> TrialRecord:
    return record(method="none", **fields)


def test_the_only_configuration_measured_has_won_nothing(record: Make) -> None:
    """Alone, or with a fine-tune that diverged: no rival was beaten, so no certainty is claimed."""
    bad = record(rate=0.5, status=Status.DIVERGED)
    for rows in ([record()], [record(), bad]):
        found = recommend(rows, INTENT)
        assert not found.distinguishable
        assert not found.runners_up
        label = found.choice.label
        only = f"{label} is the only configuration measured: there is no other to compare it with."
        assert found.why[0] == only
        text = "\n".join(lines(found))
        assert "100 %" not in text
        assert "suffices" not in text
    closest = recommend([record()], INTENT, target_quality=0.99)
    assert "the closest is" in closest.why[0]
    assert "It is the only configuration measured." in closest.why
    lacking = record(scores={"intent": 0.9, "slots": None})
    whole = recommend([lacking, record(scores={"intent": 0.6, "slots": 0.6}, method="lora")], BOTH)
    assert "is the only configuration measured on every task:" in whole.why[0]


def test_the_only_one_that_keeps_the_constraints_has_won_nothing(record: Make) -> None:
    bound = Objective(weights={"intent": 1}, constraints={"forgetting.english": 0.01})
    rows = [_untouched(record, scores={"intent": 0.3}, forgetting=0.0), record()]
    found = recommend(rows, bound)
    assert found.choice.method.name == "none"
    assert not found.distinguishable
    assert "is the only candidate that keeps the constraints:" in found.why[0]
    assert not any("probability" in reason for reason in found.why)
    assert any("so the base is left untouched" in reason for reason in found.why)


def _bases(record: Make, **fields: object) -> list[TrialRecord]:
    """Two untouched bases, and a fine-tune of each that diverged."""
    bad = [record(model=m, rate=0.5, status=Status.DIVERGED) for m in ("small", "large")]
    bases = [
        _untouched(record, model=m, scores={"intent": s}, **fields)
        for m, s in (("small", 0.1), ("large", 0.7))
    ]
    return numbered([*bases, *bad])


@pytest.mark.parametrize("target", [None, 0.9])
def test_before_a_fine_tune_is_complete_nothing_is_recommended(
    record: Make, target: float | None
) -> None:
    """Bases alone say nothing of tuning, however far apart they are."""
    bad = record(rate=0.5, status=Status.DIVERGED)
    for rows in ([], [bad], [_untouched(record)], [_untouched(record), bad], _bases(record)):
        with pytest.raises(NoRecommendationError, match=r"^no recommendation yet: ") as error:
            recommend(rows, INTENT, target_quality=target)
        assert error.value.exit_code == 4
        assert error.value.needed in str(error.value)
    assert "(2 diverged)" in error.value.why
    assert "lower the learning rates" in error.value.needed
    lacking = record(scores={"intent": 0.9, "slots": None})
    base = _untouched(record, scores={"intent": 0.6, "slots": 0.6})
    with pytest.raises(NoRecommendationError, match="no fine-tune has a score for every weighted"):
        recommend([lacking, base], BOTH)


def test_an_untouched_base_that_reaches_the_target_on_enough_rows_is_an_answer(
    record: Make,
) -> None:
    found = recommend(_bases(record), INTENT, target_quality=0.6)
    assert found.choice.model == "large"
    assert found.why[0].startswith("No tuning is needed: large untouched ")
    assert not found.missed
    few = _bases(record, n=99)
    with pytest.raises(NoRecommendationError, match="on 99 rows, where 90 % on 100 rows would be"):
        recommend(few, INTENT, target_quality=0.6)


def test_where_nothing_reaches_the_target_there_is_nothing_to_export(record: Make) -> None:
    rows = [_untouched(record, scores={"intent": 0.1}), record(scores={"intent": 0.5})]
    found = recommend(numbered(rows), INTENT, target_quality=0.9)
    assert found.missed
    assert summary(found)[0].startswith(
        "Target not met: nothing measured reaches 0.9; the closest is small full"
    )
    assert "No law says what would reach it" in summary(found)[0]
    with pytest.raises(
        NoRecommendationError, match=r"target not met: .*leave the target quality out"
    ):
        config_of(found, rows)


def test_nothing_admitted_names_the_candidate_nearest_to_the_bound(record: Make) -> None:
    """Of a minimum of one task that is not the candidate of the best weighted quality."""
    rows = [
        record(scores={"intent": 0.5, "slots": 0.9}),
        record(scores={"intent": 0.6, "slots": 0.2}, method="lora"),
    ]
    bound = Objective(weights={"intent": 1, "slots": 1}, constraints={"min.intent": 0.8})
    with pytest.raises(
        NothingAdmittedError, match=r"the nearest is small lora .* with 0.6; to get"
    ):
        recommend(numbered(rows), bound)


def test_impossible_constraints_name_the_closest(record: Make) -> None:
    bound = Objective(weights={"intent": 1}, constraints={"forgetting.english": 0.001})
    with pytest.raises(NotEnoughDataError, match=r"forgetting.english <= 0.001 rejects 1.*0\.02"):
        recommend([record()], bound)


def test_unknown_names_are_all_reported_with_the_nearest(record: Make) -> None:
    with pytest.raises(InputError) as error:
        recommend([record()], Objective(weights={"intend": 1, "slot": 1}))
    assert len(error.value.problems) == 2
    assert "did you mean 'intent'" in error.value.problems[0]
    wrong = Objective(weights={"intent": 1}, constraints={"forgetting.englisch": 0.1, "flop": 1})
    with pytest.raises(InputError) as error:
        recommend([record()], wrong)
    assert "did you mean 'forgetting.english'" in error.value.problems[0]
    assert "did you mean 'flops'" in error.value.problems[1]


@pytest.mark.parametrize("weights", [{}, {"intent": 0}, {"intent": -1}])
def test_weights_must_weigh(record: Make, weights: dict[str, float]) -> None:
    with pytest.raises((InputError, ValueError)):
        recommend([record()], Objective(weights=weights))


def test_caveats_on_format_over_reach_and_learning_rate(record: Make) -> None:
    rows = [
        record(method="none", scores={"intent": 0.1}, over_reach=0.1),
        record(rate=1e-3, scores={"intent": 0.5}),
        record(rate=1e-2, scores={"intent": 0.9}, valid_format=0.9, over_reach=0.3),
    ]
    text = " ".join(recommend(rows, INTENT).caveats)
    assert "90.0 % of its answers are well-formed" in text
    assert "30.0 % of the negatives" in text
    assert "0.01 is the highest tried" in text
    closed = [*rows, record(rate=1e-1, status=Status.DIVERGED)]
    assert "highest tried" not in " ".join(recommend(closed, INTENT).caveats)


def test_a_lucky_run_is_shrunk_towards_its_neighbours(record: Make) -> None:
    def score(volume: int) -> float:
        return 0.9 - 0.5 / (1 + volume / 400)

    rows = [record(volume=v, scores={"intent": score(v)}) for v in (125, 250, 500, 1000, 4000)]
    rows += _seeds(record, (score(8000) - 0.02, score(8000) + 0.02), volume=8000)
    lucky = record(volume=2000, scores={"intent": score(2000) + 0.05})
    found = {c.volume: c for c in Analysis([*rows, lucky], INTENT).candidates}[2000]
    assert found.quality.source == "measured and neighbours"
    assert score(2000) < found.quality.value < found.measured_quality


def test_candidates_and_frontier(sweep: list[TrialRecord], answer: Recommendation) -> None:
    found = Analysis(sweep, BOTH).candidates
    assert len(found) == 32
    assert len({c.label for c in found}) == 32
    front = [c for c in found if c.on_frontier]
    assert {c.label for c in front} == set(answer.frontier)
    assert 2 <= len(front) < 32


def test_lines_hold_the_whole_answer(sweep: list[TrialRecord]) -> None:
    text = lines(recommend(sweep, BOTH, target_quality=0.95))
    starts = [line.partition(" ")[0] for line in text[:5]]
    assert starts == ["Target", "How", "Scores:", "Next:", "Question:"]
    assert text[4].startswith("Question: smallest and cheapest")
    for start in ("Forgetting on english:", "Counted cost:", "Runner-up:", "Caveat:"):
        assert any(line.startswith(start) for line in text)
    assert text[-1] == "Measured: 10.0 s on cpu (not used to choose)"


def test_a_curve_that_rises_late_does_not_overrule_its_last_run(record: Make) -> None:
    """The law without the last volume expects far more there; what was measured stands."""
    late = {250: 0.0, 500: 0.01, 1000: 0.22, 2000: 0.48}
    rows = [record(volume=v, scores={"intent": s}) for v, s in late.items()]
    rows.append(record(volume=1000, scores={"intent": 0.24}, seed=1))
    choice = recommend(rows, INTENT).choice
    assert choice.volume == 2000
    assert choice.quality.value == choice.measured_quality == 0.48
    assert choice.quality.source == "measured"


def test_with_a_target_quality_the_best_are_no_rivals(sweep: list[TrialRecord]) -> None:
    found = recommend(sweep, BOTH, target_quality=0.6)
    assert found.runners_up[0].surely_better
    assert not found.runners_up[0].distinguishable
    assert found.next_experiments == ()
    assert sum("better, but larger or more expensive" in line for line in lines(found)) >= 1
    assert not recommend(sweep, BOTH).runners_up[0].surely_better


def test_a_base_that_limits_alone_leave_is_not_said_to_suffice(sweep: list[TrialRecord]) -> None:
    limited = recommend(sweep, BOTH.model_copy(update={"constraints": {"forgetting.english": 0.0}}))
    assert limited.choice.method.name == "none"
    assert any(
        "the base is left untouched: forgetting.english alone rejects" in w for w in limited.why
    )
    assert not any("suffices" in w for w in limited.why)
