"""What the command line answers on a sweep: recommendation, laws, predictions, plan, replay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from sweeps.playground.write import write_playground
from sweeps.resolve import ResolvedSweep, read_sweep
from sweeps.search.identity import digest_of, identity_of
from sweeps.search.plan import make_plan
from sweeps.search.replay.replay import replay
from sweeps.search.replay.report import lines as replay_lines
from sweeps.search.replay.report import report
from sweeps.search.replay.table import RecordedTable
from sweeps.search.schedule import expected_schedule
from sweeps.search.strategies import STRATEGIES
from sweeps.spec import Halving
from tests.frozen.difference import condensed, plain, sketch, yaml_data
from tests.frozen.inputs import Sweep
from tracker.decision.analysis import Analysis
from tracker.decision.explain import lines as recommendation_lines
from tracker.decision.law_report import every_law, law_lines
from tracker.decision.law_report import laws_as_json as laws_json
from tracker.decision.overrides import parse_overrides, target_texts
from tracker.decision.predict import predict
from tracker.decision.recommend import recommend
from tracker.errors import SftSelectError
from tracker.export import TRAINERS, recipe_for
from tracker.export.config import config_files, config_of
from tracker.trial import TrialRecord


class Question(NamedTuple):
    """As ``sft-select recommend --weight … --constraint … --target-quality …`` is given it."""

    weights: Sequence[str] = ()
    constraints: Sequence[str] = ()
    target_quality: float | None = None


def analysis(sweep: Sweep) -> Analysis:
    """Everything that *sweep* says."""
    return Analysis(sweep.records, sweep.objective, sweep=sweep.name, notes=sweep.notes)


def tried(answer: Callable[[], Any]) -> Any:
    """The *answer*, or which error was raised in its place."""
    try:
        return answer()
    except SftSelectError as error:
        return {"error": type(error).__name__, "exit": error.exit_code, "reason": str(error)}


def recommended(
    sweep: Sweep, questions: Mapping[str, Question], analysis: Analysis, *, whole: bool = True
) -> dict[str, Any]:
    """``recommend`` for each question: the file it writes, its lines, the other trainers' files.

    Without *whole* the choice alone stands in full.
    """
    return {
        name: tried(lambda asked=each: _recommended(sweep, asked, analysis, whole))  # type: ignore[misc]
        for name, each in questions.items()
    }


def _recommended(sweep: Sweep, question: Question, analysis: Analysis, whole: bool) -> Any:
    target = target_texts(question.target_quality)
    overrides = parse_overrides(question.weights, question.constraints, target)
    answer = recommend(analysis.with_objective(overrides.objective(sweep.objective)))
    if not whole:
        choice = answer.choice
        return {
            "choice": choice.label,
            "quality": plain(choice.quality),
            "runners_up": [runner.candidate.label for runner in answer.runners_up],
            "p_best": plain(answer.p_best),
            "rejected": [rejection.constraint for rejection in answer.rejected],
            "all": sketch(plain(answer)),
            "lines": recommendation_lines(answer),
        }
    found: dict[str, Any] = {"lines": recommendation_lines(answer)}
    if answer.trial.origin is not None or answer.missed:  # no file
        return found | {"answer": plain(answer)}
    config = config_of(answer, sweep.records)
    return found | {
        "file": [yaml_data(text or "") for text in config_files(config, "recommended.yaml")],
        "exports": {to: tried(lambda to=to: plain(recipe_for(config, to))) for to in TRAINERS},  # type: ignore[misc]
    }


def considered(analysis: Analysis) -> Any:
    """Every candidate by its label."""
    return {candidate.label: sketch(plain(candidate)) for candidate in analysis.candidates}


def laws(sweep: Sweep, metric: Any = None, *, whole: bool = False) -> Any:
    """``laws --json`` and its lines; a sketch of each law, or with *whole* all of them."""
    found = every_law(analysis(sweep), metric)
    json = plain(laws_json(found))
    if not whole:
        kinds = ("curves", "forgetting", "mixes", "loss_to_score")
        json |= {kind: [sketch(law) for law in json[kind]] for kind in kinds}
    return {"json": condensed(json), "lines": law_lines(found)}


def predicted(
    sweep: Sweep, cases: Mapping[str, Mapping[str, Any]], analysis: Analysis, *, whole: bool = True
) -> dict[str, Any]:
    """``predict --json`` for each of *cases*: task, examples and options."""

    def one(case: Mapping[str, Any]) -> Any:
        given = dict(case)
        task, examples = given.pop("task"), given.pop("examples")
        found = plain(predict(analysis, task, examples, **given))
        if not whole:
            found["predictions"] = {p["label"]: sketch(p) for p in found["predictions"]}
        return found

    return {name: tried(lambda case=case: one(case)) for name, case in cases.items()}  # type: ignore[misc]


def planned(records: Sequence[TrialRecord], folder: Path) -> dict[str, Any]:
    """``plan --json`` of the demo's file and of others that decide as they go; *records* give the prices.

    Of what the machine has nothing is kept.
    """
    path = write_playground(folder)
    own = yaml.safe_load(path.read_text(encoding="utf-8"))
    few = {"volumes": [200, 400, 800], "mixes": {"even": own["mixes"]["even"]}, "budget": None}
    tuning = {"trials": 2, "volume": 400, "mix": "even"}
    variants: dict[str, dict[str, Any]] = {
        "demo": {},
        **{
            strategy: few | {"search": {"strategy": strategy, "tuning": tuning}}
            for strategy in ("law", "halving", "ats")
        },
        **{
            f"law, {amount:g} {unit}": few
            | {"search": {"strategy": "law", "tuning": tuning}, "budget": {unit: amount}}
            for unit, amount in (("trials", 20), ("gpu_hours", 0.01), ("gpu_hours", 0.02))
        },
    }
    found = {}
    for name, changes in variants.items():
        content = {key: value for key, value in {**own, **changes}.items() if value is not None}
        file = folder / "variant.yaml"
        file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        begun = read_sweep(file, settled=lambda spec: {key: {} for key in spec.tasks})
        found[name] = _plan(begun, records)
    return found


def _plan(sweep: ResolvedSweep, records: Sequence[TrialRecord]) -> Any:
    made = make_plan(sweep, records, 2)
    begun, fresh = (expected_schedule(sweep, known, made) for known in (records, ()))
    plan = made.as_json()
    del plan["device_bytes"]
    assert not plan.pop("pruned"), "no file of these has a bound that is known before a run"
    # The models' folders are this machine's, and a part of what is fixed.
    models = tuple(model.model_copy(update={"path": model.label}) for model in sweep.spec.models)
    spec = sweep.spec.model_copy(update={"models": models})
    fixed = identity_of(ResolvedSweep(**{**_fields(sweep), "spec": spec}))
    return plain(
        {
            "plan": plan,
            "fresh": fresh.as_json(sweep.spec) if fresh else None,
            "begun": sketch(plain(begun.as_json(sweep.spec))) if begun else None,
            "warnings": sweep.warnings,
            "fixed": fixed,
            "digest": digest_of(fixed),
        }
    )


def _fields(sweep: ResolvedSweep) -> dict[str, Any]:
    return {name: getattr(sweep, name) for name in ResolvedSweep.__dataclass_fields__}


def replayed(sweep: Sweep) -> Any:
    """``replay --json``: which trials every strategy runs on a recorded table."""
    known = RecordedTable(sweep.records, sweep.objective, None)
    runs = [replay(known, name, fraction=0.25, seed=0, halving=Halving()) for name in STRATEGIES]
    found = plain(report(sweep.name, known, 1, runs))
    return {"json": condensed(found), "lines": replay_lines(found)}
