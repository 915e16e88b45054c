"""Retention of tuned models: a recommendation must find the one that it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sweeps.finetune.contract import LARGE_MODEL_BYTES
from sweeps.resolve import ResolvedSweep
from sweeps.search.retention import KEPT, Retention
from sweeps.search.space import trial_spec
from sweeps.search.workspace import SweepFolder
from tests.factories import recommend
from tests.sweeps.search.formula import FormulaEngine, answered, drive
from tracker.task import SuiteScore
from tracker.trial import Configuration, MethodSpec, Objective, TrialRecord

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]


def ended(
    sweep: ResolvedSweep, number: int, score: float, lost: float, seed: int = 0, rank: int = 4
) -> tuple[Configuration, TrialRecord]:
    """A LoRA trial that scored and forgot so much; *rank* tells configurations apart."""
    method = MethodSpec(name="lora", rank=rank, variant="plain", learning_rate=1e-2)
    configuration = Configuration("a", method, "plain", 80)
    result = answered(trial_spec(sweep, configuration, seed))
    task = result.tasks[0].model_copy(update={"score": score})
    suite = SuiteScore(suite="language", measure="bits_per_byte", before=1.0, after=1 + lost)
    result = result.model_copy(update={"tasks": (task,), "general": (suite,)})
    return configuration, TrialRecord(number=number, stage="cover", result=result)


def key(trial: tuple[Configuration, TrialRecord]) -> str:
    return trial[1].result.spec.key


def test_what_keeps_the_limits_comes_before_what_scores_more(make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep()
    good = ended(sweep, 0, 0.5, 0.01, rank=4)
    better_but_lossy = ended(sweep, 1, 0.9, 0.5, rank=8)
    bound = Objective(weights={"intent": 1.0}, constraints={"forgetting.language": 0.1})
    assert Retention(bound, kept=1).outdone([good, better_but_lossy]) == [key(better_but_lossy)]
    free = Objective(weights={"intent": 1.0})
    assert Retention(free, kept=1).outdone([good, better_but_lossy]) == [key(good)]
    least = Objective(weights={"intent": 1.0}, constraints={"min.intent": 0.6})
    assert Retention(least, kept=1).outdone([good, better_but_lossy]) == [key(good)]


def test_of_large_models_those_are_kept_that_no_cheaper_one_equals(make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep()

    def of(number: int, score: float, flops: float, size: int) -> tuple[Configuration, TrialRecord]:
        configuration, record = ended(sweep, number, score, 0.0, rank=number)
        cost = record.result.cost.model_copy(update={"flops": flops, "adapter_bytes": size})
        result = record.result.model_copy(update={"cost": cost})
        return configuration, record.model_copy(update={"result": result})

    large, small = LARGE_MODEL_BYTES + 1, LARGE_MODEL_BYTES
    best, dear, cheap = (of(n, 0.9 - n / 100, f, large) for n, f in ((1, 5e9), (2, 6e9), (3, 1e9)))
    dear_but_small = of(4, 0.8, 7e9, small)
    retention = Retention(Objective(weights={"intent": 1.0}))
    trials = [cheap, dear, best, dear_but_small]
    assert retention.outdone(trials) == [key(dear)]
    assert recommend([r for _, r in trials], retention.objective).trial.key != key(dear)


def test_of_a_configuration_the_run_that_is_named_is_kept(make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep()
    runs = [
        ended(sweep, 0, 0.7, 0.0, seed=1),
        ended(sweep, 1, 0.5, 0.0, seed=0),
        ended(sweep, 2, 0.55, 0.0, rank=8),
    ]
    retention = Retention(Objective(weights={"intent": 1.0}), kept=1)
    assert retention.outdone(runs[:1]) == []
    assert retention.outdone(runs[:2]) == [key(runs[0])]
    assert retention.outdone(runs) == [key(runs[2])], "each is named once"
    named = recommend([record for _, record in runs], retention.objective).trial.key
    assert named == key(runs[1])


def test_a_sweep_keeps_the_model_it_recommends(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep(budget={"trials": 24})
    folder = SweepFolder(tmp_path / "runs", "tiny")

    class Saving(FormulaEngine):
        def submit(self, job):  # type: ignore[no-untyped-def]
            super().submit(job)
            if job.home.model is not None:
                job.home.model.mkdir(parents=True)

    driver = drive(sweep, folder, Saving(2))
    tuned = [a for a in driver.trials if not a.configuration.untouched]
    kept = [a for a in tuned if folder.model(a.key).exists()]
    assert len(kept) == KEPT < len(tuned)
    answer = recommend([driver.records[a.number] for a in driver.trials], sweep.spec.objective)
    assert folder.model(answer.trial.key).exists()
