"""Control of a running sweep: each action, its answer, and what it must leave unchanged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.resolve import ResolvedSweep
from sweeps.search.driver import Driver
from sweeps.search.study import study_values
from sweeps.search.workspace import SweepFolder
from tests.sweeps.search.formula import Asker, FormulaEngine, drive
from tracker.store.control import Request, new_request
from tracker.trial import Status

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]
STRATEGIES = ["grid", "random", "tpe", "halving", "ats", "law"]


@pytest.fixture
def tiny(make_sweep: MakeSweep) -> Callable[..., ResolvedSweep]:
    """The sweep with a budget of so many trials."""

    def make(trials: int = 8, strategy: str = "grid", **budget: float) -> ResolvedSweep:
        search = {"strategy": strategy, "tuning": {"trials": 2}, "window": 4}
        return make_sweep(search=search, budget=budget or {"trials": trials})[0]

    return make


def proposed(driver: Driver) -> list[tuple[str, str]]:
    """Stage and key of what the strategy proposed."""
    return [(driver.trials[n].stage, driver.trials[n].key) for n in driver.proposals]


def clone(trial: int, **changes: object) -> Request:
    return new_request(
        "clone", trial=trial, changes={name: str(value) for name, value in changes.items()}
    )


def words(asker: Asker, request: Request) -> tuple[bool, str]:
    answer = asker.answers[request.id]
    return answer.accepted, answer.words


# -- what no request may change --------------------------------------------------------------------


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_neither_clones_nor_pauses_change_what_a_strategy_proposes(
    strategy: str, tiny: Callable[..., ResolvedSweep], tmp_path: Path
) -> None:
    sweep = tiny(11, strategy)
    plain = drive(sweep, SweepFolder(tmp_path / "plain", "tiny"), FormulaEngine(2), in_memory=True)
    tuned = next(n for n in plain.proposals if plain.trials[n].stage != "baseline")
    volume = 160 if plain.trials[tuned].configuration.volume != 160 else 40
    # By its third turn the driver has proposed the trial that is cloned, whatever the strategy.
    copy, again = clone(tuned, seed=70), clone(tuned, volume=volume, mix="plain", seed=71)
    asker = Asker(
        {
            4: [new_request("pause"), copy],
            8: [new_request("resume")],
            9: [again],
        }
    )
    engine = FormulaEngine(2, seed=3)
    driver = drive(
        sweep, SweepFolder(tmp_path / "requested", "tiny"), engine, asker, in_memory=True
    )
    assert all(answer.accepted for answer in asker.answers.values())
    assert proposed(driver) == proposed(plain)
    clones = [trial for trial in driver.trials if trial.stage == "clone"]
    assert [trial.spec.seed for trial in clones] == [70, 71]
    assert driver.planned == len(driver.trials) == len(plain.trials) + 2
    assert len(engine.ran) == len(set(engine.ran)) == len(driver.records)


@pytest.mark.parametrize("strategy", ["random", "ats"])
def test_a_stopped_trial_keeps_its_place(
    strategy: str, tiny: Callable[..., ResolvedSweep], tmp_path: Path
) -> None:
    """Where no proposal rests on the missing score, none differs."""
    sweep = tiny(9, strategy)
    plain = drive(sweep, SweepFolder(tmp_path / "plain", "tiny"), FormulaEngine(1), in_memory=True)
    asker = Asker({0: [new_request("stop_trial", trial=3)]})
    folder = SweepFolder(tmp_path / "requested", "tiny")
    driver = drive(sweep, folder, FormulaEngine(1), asker, in_memory=True)
    body = 7 if strategy == "random" else 9  # the rest of `random` repeats the best
    assert proposed(driver)[:body] == proposed(plain)[:body]
    assert driver.records[3].result.status is Status.PRUNED
    assert driver.outcomes[3].ran


def test_a_killed_sweep_resumes_with_every_request(
    tiny: Callable[..., ResolvedSweep], tmp_path: Path
) -> None:
    sweep = tiny(8, "tpe")
    asks = {
        3: [clone(2, seed=40), new_request("raise_budget", budget={"trials": 12})],
        5: [new_request("stop_trial", trial=7), clone(2, seed=41)],
    }
    whole = drive(sweep, SweepFolder(tmp_path / "whole", "tiny"), FormulaEngine(1), Asker(asks))
    folder, ran = SweepFolder(tmp_path / "cut", "tiny"), []
    for asker, lasts in ((Asker(asks), 7), (Asker({}), 3)):
        engine = FormulaEngine(1, die_after=lasts)
        with pytest.raises(KeyboardInterrupt):
            drive(sweep, folder, engine, asker)
        ran += engine.ran
    # The driver died before its answers were sent: the same requests lie there again.
    engine, again = FormulaEngine(1), Asker({}, early=asks[3])
    resumed = drive(sweep, folder, engine, again)
    ran += engine.ran
    assert [a[:4] for a in resumed.trials] == [a[:4] for a in whole.trials]
    assert proposed(resumed) == proposed(whole)
    assert len(resumed.proposals) == 12, "the raised budget is kept"
    assert [words(again, request) for request in asks[3]] == [
        (True, "trial 6 is that clone"),
        (True, "the budget was raised to that before this driver started"),
    ]
    assert len(ran) == len(set(ran))
    assert resumed.records[7].result.reason == "stopped by hand"


# -- each action -----------------------------------------------------------------------------------


def test_pause_lets_trials_end_and_starts_none(
    tiny: Callable[..., ResolvedSweep], tmp_path: Path
) -> None:
    twice, idle = new_request("pause"), new_request("resume")
    asker = Asker({0: [idle], 1: [new_request("pause")], 6: [twice], 9: [new_request("resume")]})
    engine = FormulaEngine(2)
    ended: list[int] = []

    class Counting(Asker):
        def requests(self) -> list[Request]:
            ended.append(len(engine.ran))
            return super().requests()

    counting = Counting(asker.plan)
    drive(tiny(), SweepFolder(tmp_path, "tiny"), engine, counting)
    assert ended[2:10] == [3] * 8, "the two under way when it paused, less the one that had ended"
    assert len(engine.ran) == 8
    assert words(counting, twice)[1].startswith("the sweep is paused already")
    assert words(counting, idle) == (False, "the sweep is not paused; there is nothing to resume")
    assert [state for state, _ in counting.states] == ["running", "paused", "running"]
    assert counting.states[0][1] == {"planned": 8, "workers": 2, "budget_trials": 8, "price": ""}


def test_stop_leaves_the_rest_for_the_next_start(
    tiny: Callable[..., ResolvedSweep], tmp_path: Path
) -> None:
    sweep, folder, stop = tiny(), SweepFolder(tmp_path, "tiny"), new_request("stop")
    asker = Asker({2: [stop]})
    first = FormulaEngine(2)
    driver = drive(sweep, folder, first, asker)
    assert driver.stopped
    assert len(first.ran) == 3
    assert words(asker, stop)[0]
    assert words(asker, stop)[1].startswith("stopped; 1 trial under way will go on from the last")
    stale, second = new_request("stop"), FormulaEngine(2)
    new_asker = Asker({}, early=[stale])
    resumed = drive(sweep, folder, second, new_asker)
    assert not resumed.stopped
    assert words(new_asker, stale)[1].startswith("made before this driver started")
    assert len(first.ran + second.ran) == len(set(first.ran + second.ran)) == 8


def test_a_trial_is_stopped_whether_it_is_queued_or_runs(
    tiny: Callable[..., ResolvedSweep], tmp_path: Path
) -> None:
    requests = [new_request("stop_trial", trial=n) for n in (0, 1, 2, 3, 99)]
    asker, engine = Asker({0: requests}), FormulaEngine(2)
    driver = drive(tiny(), SweepFolder(tmp_path, "tiny"), engine, asker)
    answers = [words(asker, request) for request in requests]
    ended = [accepted for accepted, _ in answers]
    assert Counter(ended) == {True: 3, False: 2}, "one of the first two had ended by itself"
    assert answers[-1] == (False, "found trial 99; allowed: 0 to 3")
    assert any("has ended already (complete)" in said for _, said in answers)
    stopped = [r for r in driver.records.values() if r.result.status is Status.PRUNED]
    assert len(stopped) == 3
    assert {record.result.reason for record in stopped} == {"stopped by hand"}
    assert len(engine.ran) == 5
    assert len(driver.records) == 8


def test_a_clone_runs_with_the_changed_values(
    tiny: Callable[..., ResolvedSweep], tmp_path: Path
) -> None:
    good, same = clone(3, volume=160, learning_rate=0.002), clone(3, volume=160, learning_rate=2e-3)
    asker = Asker({5: [good], 6: [same]})
    driver = drive(tiny(), SweepFolder(tmp_path, "tiny"), FormulaEngine(2), asker)
    made = next(trial for trial in driver.trials if trial.stage == "clone")
    source = driver.trials[3]
    method = source.configuration.method.model_copy(update={"learning_rate": 0.002})
    assert made.configuration == source.configuration._replace(volume=160, method=method)
    assert made.seed == source.seed
    assert driver.records[made.number].result.spec.volume == 160
    assert words(asker, good)[1].startswith(f"trial {made.number} is the clone of trial 3")
    assert words(asker, same) == (
        False,
        f"trial {made.number} has these values already; change another one, or the seed",
    )
    assert len(driver.proposals) == 8, "it came on top of the budget"


def test_a_clone_that_a_strategy_proposes_too_runs_once(
    tiny: Callable[..., ResolvedSweep], tmp_path: Path
) -> None:
    sweep = tiny(7, "ats")
    plain = drive(sweep, SweepFolder(tmp_path / "plain", "tiny"), FormulaEngine(1), in_memory=True)
    source, last = (
        study_values(sweep.spec, trial.configuration, trial.seed)
        for trial in (plain.trials[2], plain.trials[6])
    )
    change = {n: v for n, v in last.items() if v != source.get(n) or n == "model"}
    asker, engine = Asker({0: [clone(2, **change)]}), FormulaEngine(1)
    folder = SweepFolder(tmp_path / "requested", "tiny")
    driver = drive(sweep, folder, engine, asker, in_memory=True)
    assert proposed(driver) == proposed(plain)
    assert len(driver.trials) == 8
    assert len(engine.ran) == len(set(engine.ran)) == driver.planned == 7
    assert len(driver.records) == 8


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"volume": 81}, "volume: found '81'; allowed: 40, 80, 160"),
        ({"mix": "replay", "volume": 40}, "volume: found '40'; allowed: 80"),
        ({"model": "c"}, "model: found 'c'; allowed: a, b"),
        ({"method": "lorra"}, "allowed: full, lora, p_tuning; did you mean 'lora'?"),
        ({"learning_rate": 5}, "learning_rate: found '5'; allowed: a number from 0.0001 to 0.01"),
        ({"learning_rate": "x"}, "learning_rate: found 'x'; allowed: a number"),
        ({"seed": -1}, "seed: found '-1'; allowed: a whole number from 0"),
        ({"rnk": 4}, "found 'rnk'; allowed: model, method, mix, volume, seed, learning_rate"),
        ({"method": "lora"}, "rank: found nothing; allowed: 4, 8"),
    ],
)
def test_a_clone_with_values_the_sweep_does_not_know_is_refused(
    changes: dict[str, Any], said: str, tiny: Callable[..., ResolvedSweep], tmp_path: Path
) -> None:
    request = clone(2, **changes)
    asker = Asker({0: [request]})
    folder = SweepFolder(tmp_path, "tiny")
    driver = drive(tiny(4), folder, FormulaEngine(1), asker, in_memory=True)
    accepted, answer = words(asker, request)
    assert not accepted
    assert said in answer
    assert len(driver.trials) == 4


def test_a_method_with_other_settings_takes_what_it_is_given(
    tiny: Callable[..., ResolvedSweep], tmp_path: Path
) -> None:
    lacking = clone(2, method="lora", rank=8)
    asker = Asker({0: [clone(2, method="p_tuning"), lacking, clone(3, method="lora", rank=8)]})
    folder = SweepFolder(tmp_path, "tiny")
    driver = drive(tiny(4), folder, FormulaEngine(1), asker, in_memory=True)
    made = [trial.configuration.method for trial in driver.trials if trial.stage == "clone"]
    assert (made[0].virtual_tokens, made[0].learning_rate) == (4, 1e-2), "its only ones"
    assert words(asker, lacking) == (
        False,
        "learning_rate: found nothing; allowed: a number from 0.001 to 0.03",
    ), "0.0003, where the trial was at, is none of lora's"
    assert made[1].learning_rate == driver.trials[3].configuration.method.learning_rate


@pytest.mark.parametrize(
    ("budget", "wanted", "said"),
    [
        ({"trials": 4}, {"trials": 6}, "the budget is 6 trials now"),
        ({"trials": 4}, {"trials": 4}, "found 4 trials; allowed: more than 4 trials"),
        ({"trials": 4}, {"gpu_hours": 1}, "found 1 device hours; allowed: more than 4 trials"),
        ({"gpu_hours": 4 / 3600}, {"gpu_hours": 6 / 3600}, "device hours now"),
    ],
)
def test_a_budget_is_only_raised(
    budget: dict[str, Any],
    wanted: dict[str, Any],
    said: str,
    tiny: Callable[..., ResolvedSweep],
    tmp_path: Path,
) -> None:
    """Trials of the formula take a second each. The request comes when the budget was spent."""
    request = new_request("raise_budget", budget=wanted)
    asker = Asker({3: [request]})
    driver = drive(tiny(**budget), SweepFolder(tmp_path, "tiny"), FormulaEngine(1), asker)
    accepted, answer = words(asker, request)
    assert said in answer
    assert len(driver.trials) == (6 if accepted else 4)
    folder, engine = SweepFolder(tmp_path, "tiny"), FormulaEngine(1)
    again = drive(tiny(**budget), folder, engine)
    assert proposed(again) == proposed(driver)
    assert engine.ran == []
