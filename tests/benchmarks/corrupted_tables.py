"""Robustness to corrupted results: whether they are flagged and the recommendation stays the same.

Each table is first judged clean, then spoilt in one of these ways and judged again:

- ``lucky``: one run of a configuration that is not among the leaders scores better than any other run;
- ``lucky end``: the same at the largest volume of its curve;
- ``unlucky``: one run of the recommended configuration loses a third of its score;
- ``diverged``: one run of the recommended configuration answers nothing right, yet is recorded as finished;
- ``swapped cell``: full tuning's and LoRA's results at the recommended model, mix and volume exchanged;
- ``swapped curve``: the same at every volume.

Printed for each: how often the spoilt trial was flagged, how often the recommended configuration stayed
the same, and how often what was recommended is as good as before (within the noise of one run, by the
clean belief); and how often it stays where the spoilt trials are deleted. On the clean tables:
flags per table, all of them false alarms.

``python -m tests.benchmarks.corrupted_tables [--tables 50] [--first 0] [--seeds 2]
[--journals FOLDER | --table CSV]``

With ``--journals`` or ``--table`` the one table is a recording, spoilt anew ``--tables`` times.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.benchmarks.synthetic import synthetic_sweep
from tracker.decision.analysis import Analysis
from tracker.decision.recommend import choose
from tracker.importing.trials import read_table
from tracker.store.journal import Journal
from tracker.task import TaskScore
from tracker.trial import Objective, TrialRecord


class Spoilt(NamedTuple):
    """The table after the accident, and the trials it happened to."""

    records: tuple[TrialRecord, ...]
    keys: frozenset[str]


class Judged(NamedTuple):
    """``same``: the same configuration; ``level``: one as good; ``lost``: the same one where the spoilt
    trials are deleted instead, which is all that can be asked where they cannot be run again.
    """

    flagged: bool
    same: bool
    level: bool
    lost: bool


Accident = Callable[[Analysis, int, np.random.Generator], Spoilt | None]


def judge(clean: Analysis, spoilt: Spoilt) -> Judged:
    """What became of the recommendation of *clean*."""
    before = choose(clean).choice
    again = Analysis(spoilt.records, clean.objective)
    after = again.candidates[choose(again).choice].label
    index = next(i for i, c in enumerate(clean.candidates) if c.label == after)
    lost = clean.posterior.mean[before] - clean.posterior.mean[index]
    rest = [r for r in clean.records if r.result.spec.key not in spoilt.keys]
    deleted = Analysis(rest, clean.objective)
    without = deleted.candidates[choose(deleted).choice].label
    return Judged(
        flagged=bool(spoilt.keys & flagged(again)),
        same=after == clean.candidates[before].label,
        level=bool(lost <= (clean.posterior.noise_floor or 0.0) + 1e-9),
        lost=without == clean.candidates[before].label,
    )


def flagged(analysis: Analysis) -> set[str]:
    """Keys of the trials that a caveat says to run again."""
    found = {outlier.key for outlier in analysis.posterior.outliers}
    for swap in analysis.posterior.label_swaps:
        for i in (*swap.first, *swap.second):
            found |= set(analysis.candidates[i].keys)
    return found


def with_scores(record: TrialRecord, change: Callable[[float], float]) -> TrialRecord:
    """*record* with every score, its resamples and its loss changed as if the model were that good."""

    def changed(score: TaskScore) -> TaskScore:
        if score.score is None:
            return score
        new = float(np.clip(change(score.score), 0.0, 1.0))
        moved = np.clip(np.array(score.replicates) + new - score.score, 0.0, 1.0)
        loss = score.bits_per_byte
        return score.model_copy(
            update={
                "score": new,
                "replicates": tuple(moved.tolist()),
                "bits_per_byte": None if loss is None else loss * np.exp(score.score - new),
            }
        )

    result = record.result
    tasks = tuple(changed(score) for score in result.tasks)
    return record.model_copy(update={"result": result.model_copy(update={"tasks": tasks})})


def _replace(analysis: Analysis, changed: Sequence[TrialRecord]) -> Spoilt:
    new = {record.result.spec.key: record for record in changed}
    records = tuple(new.get(r.result.spec.key, r) for r in analysis.records)
    return Spoilt(records, frozenset(new))


def _record(analysis: Analysis, key: str) -> TrialRecord:
    return next(r for r in analysis.records if r.result.spec.key == key)


def _one_run(analysis: Analysis, index: int, rng: np.random.Generator) -> TrialRecord:
    keys = analysis.candidates[index].keys
    return _record(analysis, keys[int(rng.integers(len(keys)))])


def lucky(
    analysis: Analysis, choice: int, rng: np.random.Generator, *, end: bool = False
) -> Spoilt | None:
    """A run that is well behind scores better than any other, by a third of what they miss."""
    largest = max(c.volume for c in analysis.candidates)
    top = analysis.posterior.mean.max()
    behind = [
        i
        for i, c in enumerate(analysis.candidates)
        if analysis.posterior.mean[i] < top - 0.05
        and c.method.name != "none"
        and (not end or c.volume == largest)
    ]
    if not behind:
        return None
    record = _one_run(analysis, behind[int(rng.integers(len(behind)))], rng)
    best = max(s for c in analysis.scored for t in analysis.weights for s in _scores(c.scores(t)))
    return _replace(analysis, [with_scores(record, lambda _: best + (1 - best) / 3)])


def _scores(found: Sequence[TaskScore]) -> Iterator[float]:
    return (s.score for s in found if s.score is not None)


def lucky_end(analysis: Analysis, choice: int, rng: np.random.Generator) -> Spoilt | None:
    return lucky(analysis, choice, rng, end=True)


def unlucky(analysis: Analysis, choice: int, rng: np.random.Generator) -> Spoilt | None:
    return _replace(analysis, [with_scores(_one_run(analysis, choice, rng), lambda s: s * 2 / 3)])


def diverged(analysis: Analysis, choice: int, rng: np.random.Generator) -> Spoilt | None:
    return _replace(analysis, [with_scores(_one_run(analysis, choice, rng), lambda _: 0.0)])


def swapped_size(analysis: Analysis, choice: int, rng: np.random.Generator) -> Spoilt | None:
    volumes = [analysis.candidates[choice].volume]
    return _swapped(analysis, choice, volumes)


def swapped_curve(analysis: Analysis, choice: int, rng: np.random.Generator) -> Spoilt | None:
    return _swapped(analysis, choice, sorted({c.volume for c in analysis.candidates}))


def _swapped(analysis: Analysis, choice: int, volumes: Sequence[int]) -> Spoilt | None:
    """Full tuning's and LoRA's measurements exchanged, at the best setting of each on the choice's model and
    mix; None where they differ by less than the noise, so that nobody could see it.
    """
    model, mix = analysis.candidates[choice].model, analysis.candidates[choice].mix
    best: dict[str, int] = {}
    for i in np.argsort(-analysis.posterior.mean, kind="stable").tolist():
        c = analysis.candidates[i]
        if (c.model, c.mix) == (model, mix) and c.method.name in ("full", "lora"):
            best.setdefault(c.method.name, i)
    if len(best) < 2:
        return None
    curves = [
        {
            c.volume: i
            for i, c in enumerate(analysis.candidates)
            if (c.model, c.mix, c.method) == (model, mix, analysis.candidates[b].method)
        }
        for b in best.values()
    ]
    shared = [v for v in volumes if v in curves[0] and v in curves[1]]
    gaps = [
        abs(analysis.posterior.mean[curves[0][v]] - analysis.posterior.mean[curves[1][v]])
        for v in shared
    ]
    if not shared or max(gaps) < 2 * (analysis.posterior.noise_floor or 0.0):
        return None
    changed = []
    for v in shared:
        for a, b in zip(
            analysis.scored[curves[0][v]].runs, analysis.scored[curves[1][v]].runs, strict=False
        ):
            for to, of in ((a, b), (b, a)):
                record = _record(analysis, to.spec.key)
                moved = record.result.model_copy(update={"tasks": of.tasks, "general": of.general})
                changed.append(record.model_copy(update={"result": moved}))
    return _replace(analysis, changed)


ACCIDENTS: dict[str, Accident] = {
    "lucky": lucky,
    "lucky end": lucky_end,
    "unlucky": unlucky,
    "diverged": diverged,
    "swapped cell": swapped_size,
    "swapped curve": swapped_curve,
}


def judge_all(tables: Sequence[tuple[tuple[TrialRecord, ...], Objective]]) -> None:
    """Every accident on every table, and the table of what came of it."""
    judged: dict[str, list[Judged]] = {name: [] for name in ACCIDENTS}
    alarms: list[int] = []
    runs = 0
    for number, (records, objective) in enumerate(tables):
        clean = Analysis(records, objective)
        alarms.append(len(flagged(clean)))
        runs += sum(len(c.runs) for c in clean.scored)
        choice = choose(clean).choice
        for position, (name, accident) in enumerate(ACCIDENTS.items()):
            spoilt = accident(clean, choice, np.random.default_rng([number, position]))
            if spoilt is not None:
                judged[name].append(judge(clean, spoilt))
    print("accident        tables    flagged       same    as good    deleted")
    for name, found in judged.items():
        if found:
            shares = [np.mean([getattr(j, f) for j in found]) for f in Judged._fields]
            print(f"{name:15s}{len(found):7d}" + "".join(f"{s:11.1%}" for s in shares))
    with_alarm = np.mean([a > 0 for a in alarms])
    print(
        f"clean tables: {sum(alarms)} false alarms in {runs:,} runs, on {with_alarm:.1%} of the tables"
    )


def journaled(folder: Path) -> list[tuple[tuple[TrialRecord, ...], Objective]]:
    """The one table that the journals of a recording hold."""
    results = (Journal(path).result() for path in sorted(folder.glob("*.jsonl")))
    records = tuple(
        TrialRecord(number=i, stage="grid", result=result)
        for i, result in enumerate(r for r in results if r is not None)
    )
    trained = {t for r in records if r.result.spec.mix for t in r.result.spec.mix.weights}
    return [(records, Objective(weights=dict.fromkeys(sorted(trained), 1.0)))]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tables", type=int, default=50)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--journals", type=Path)
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    if arguments.journals:
        judge_all(journaled(arguments.journals) * arguments.tables)
        return
    if arguments.table:
        table = read_table(arguments.table)
        judge_all([(table.records, table.objective)] * arguments.tables)
        return
    sweeps = (
        synthetic_sweep(seed, seeds=arguments.seeds, glitches=0.0)
        for seed in range(arguments.first, arguments.first + arguments.tables)
    )
    judge_all([(s.records, s.objective) for s in sweeps])


if __name__ == "__main__":
    main()
