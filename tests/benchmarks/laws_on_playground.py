"""Held-out errors of the auxiliary laws on a results table: forgetting, mixes, loss to score.

Everything is measured on the held-out largest training-set size: the forms are fitted without it, and their
errors and the coverage of their 80 % intervals are those there. Loss to score is measured on left-out models.

``python -m tests.benchmarks.laws_on_playground [TABLE.csv.gz | --journals FOLDER]``

The recorded table states neither how a mix splits its volume nor how much it replays; both are those of
the sweep that was recorded (:mod:`tests.benchmarks.record_playground`).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from sweeps.data.mixes import split_volume
from sweeps.playground.tasks import TASKS
from tracker.decision.law_report import auxiliary_lines
from tracker.errors import NotEnoughDataError
from tracker.importing.trials import read_table
from tracker.laws.auxiliary import AuxiliaryLaws, auxiliary_laws
from tracker.laws.curves import CurveKey, fit_table
from tracker.laws.forgetting import KINDS, FittedForgetting
from tracker.laws.loss_to_score import LossToScore
from tracker.laws.mixture import FittedMix
from tracker.metrics import score_of
from tracker.results import results_table
from tracker.store.journal import Journal
from tracker.trial import MixSpec, Objective, Status, TrialRecord

TABLE = Path(__file__).parents[1] / "recorded" / "playground.csv.gz"
REPLAY = 0.03
MIXES = {
    "even": MixSpec(name="even", weights=dict.fromkeys(TASKS, 1.0), replay=REPLAY),
    "plain": MixSpec(name="plain", weights=dict.fromkeys(TASKS, 1.0)),
    "facts": MixSpec(
        name="facts", weights={**dict.fromkeys(TASKS, 1.0), "facts": 3.0}, replay=REPLAY
    ),
}
OBJECTIVE = Objective(weights=dict.fromkeys(TASKS, 1.0))


def from_journals(folder: Path) -> list[TrialRecord]:
    """The finished trials of a recording, in the order of their names."""
    results = [Journal(path).result() for path in sorted(folder.glob("*.jsonl"))]
    return [
        TrialRecord(number=number, stage="scale", result=result)
        for number, result in enumerate(results)
        if result is not None
    ]


def from_table(path: Path) -> list[TrialRecord]:
    """The trials of the recorded table, with the mixes as they were."""
    return [_with_mix(record) for record in read_table(path).records]


def _with_mix(record: TrialRecord) -> TrialRecord:
    spec = record.result.spec
    mix = MIXES.get(spec.mix.name) if spec.mix else None
    if mix is None or spec.volume == 0:
        return record
    known = {"mix": mix, "examples": split_volume(mix, spec.volume)}
    result = record.result.model_copy(update={"spec": spec.model_copy(update=known)})
    return record.model_copy(update={"result": result})


def without_largest(records: Iterable[TrialRecord]) -> tuple[list[TrialRecord], list[TrialRecord]]:
    """The trials below the largest volume, and those at it."""
    records = [r for r in records if r.result.status is Status.COMPLETE]
    largest = max(record.result.spec.volume for record in records)
    below = [r for r in records if r.result.spec.volume < largest]
    return below, [r for r in records if r.result.spec.volume == largest]


def forgetting_rows(
    below: AuxiliaryLaws, full: AuxiliaryLaws, held_out: Sequence[TrialRecord]
) -> list[str]:
    """Per law: the form, its held-out errors by form, and the coverage of the form fitted below."""
    out = [
        f"{'forgetting':34}{'form':12}{'constant':>9}{'log-lin.':>9}{'law':>9}{'peaked':>9}{'covers':>8}"
    ]
    for key, law in full.forgetting.items():
        errors = [law.held_out.get(kind) for kind in KINDS]
        errors_text = "".join(f"{'-' if e is None else format(e, '.3f'):>9}" for e in errors)
        fitted = below.forgetting.get(key)
        covered = None if fitted is None else _forgetting_cover(fitted, law, key.suite, held_out)
        out.append(f"{key.label:34}{law.kind:12}{errors_text}{_share(covered):>8}")
    return out


def _forgetting_cover(
    fitted: FittedForgetting, law: FittedForgetting, suite: str, held_out: Sequence[TrialRecord]
) -> float | None:
    inside = []
    for record in held_out:
        spec = record.result.spec
        score = next((s for s in record.result.general if s.suite == suite), None)
        if spec.key not in law.used or score is None or score.after is None or score.before is None:
            continue
        replay = spec.mix.replay if spec.mix else 0.0
        prediction = fitted.predict(spec.model.size, spec.volume, replay, allow_far=True)
        inside.append(prediction.low[0] <= score.after - score.before <= prediction.high[0])
    return float(np.mean(inside)) if inside else None


def mix_rows(
    below: AuxiliaryLaws, full: AuxiliaryLaws, held_out: Sequence[TrialRecord]
) -> list[str]:
    """Per method and task, medians over models: held-out errors with and without transfer."""
    groups: dict[tuple[str, str], list[tuple[FittedMix, float | None]]] = {}
    for key, law in full.mixes.items():
        fitted = below.mixes.get(key)
        covered = None if fitted is None else _mix_cover(fitted, law, key.task, held_out)
        groups.setdefault((key.method.name, key.task), []).append((law, covered))
    out = [f"{'mix':24}{'laws':>5}{'with':>8}{'without':>9}{'rate':>8}  effects, covers"]
    for (method, task), found in groups.items():
        laws = [law for law, _ in found]
        errors = [law.held_out_error for law in laws if law.held_out_error is not None]
        alone = [law.held_out_alone for law in laws if law.held_out_alone is not None]
        effects = ", ".join(law.effect for law in laws)
        covers = [c for _, c in found if c is not None]
        out.append(
            f"{method + ' ' + task:24}{len(laws):5}{_percent(errors):>8}{_percent(alone):>9}"
            f"{np.median([law.transfer_rate.value for law in laws]):8.2f}  {effects}; "
            f"{_share(float(np.mean(covers)) if covers else None)}"
        )
    return out


def _mix_cover(
    fitted: FittedMix, law: FittedMix, task: str, held_out: Sequence[TrialRecord]
) -> float | None:
    inside = []
    for record in held_out:
        spec = record.result.spec
        score = next((s for s in record.result.tasks if s.task == task), None)
        if spec.key not in law.used or score is None or score.bits_per_byte is None:
            continue
        task_examples = spec.examples[task]
        prediction = fitted.predict(task_examples, spec.volume - task_examples, allow_far=True)
        inside.append(prediction.low[0] <= score.bits_per_byte <= prediction.high[0])
    return float(np.mean(inside)) if inside else None


def loss_to_score_rows(full: AuxiliaryLaws) -> list[str]:
    """Per task: shape, rank correlation, errors where a model is left out."""
    out = [f"{'task':12}{'shape':10}{'rho':>7}{'80 %':>16}{'error':>8}{'mean':>8}{'runs':>7}"]
    return out + [_loss_to_score_row(task, law) for task, law in full.loss_to_score.items()]


def _loss_to_score_row(task: str, law: LossToScore) -> str:
    rho = law.rank_correlation
    between = f"{rho.low:.2f} to {rho.high:.2f}"
    note = "" if law.proxy else "  not a proxy"
    return (
        f"{task:12}{law.shape:10}{rho.value:7.2f}{between:>16}{law.held_out_error:8.3f}"
        f"{law.constant_error:8.3f}{len(law.used):7}{note}"
    )


def score_rows(
    below: Sequence[TrialRecord],
    loss_to_score: Mapping[str, LossToScore],
    held_out: Sequence[TrialRecord],
) -> list[str]:
    """Prediction of the held-out score per task, by the curve of the score and by that of the loss.

    Mean |error|, coverage and mean width of the 80 % intervals.
    """
    table = results_table(below)
    by_score, by_loss = fit_table(table, "score").laws, fit_table(table, "bits_per_byte").laws
    found: dict[str, list[tuple[float, ...]]] = {}
    for record in held_out:
        for task, law in loss_to_score.items():
            key, score = curve_key(record, task), score_of(record.result, task)
            if key not in by_score or key not in by_loss or score is None or score.score is None:
                continue
            sizes = [record.result.spec.volume]
            direct = by_score[key].predict(sizes, allow_far=True)
            by_loss_law = law.scores(by_loss[key].curves(sizes, allow_far=True)[:, 0])
            ways = (
                (1 - direct.value[0], 1 - direct.high[0], 1 - direct.low[0]),
                (float(np.median(by_loss_law)), *np.quantile(by_loss_law, [0.1, 0.9])),
            )
            row = [x for way in ways for x in _judged(score.score, *way)]
            found.setdefault(task, []).append(tuple(row))
    out = [
        f"{'score by':12}{'own curve':>10}{'covers':>8}{'width':>7}{'loss+law':>11}{'covers':>8}{'width':>7}"
    ]
    for task, rows in found.items():
        a, b, c, d, e, f = np.mean(rows, axis=0)
        out.append(f"{task:12}{a:10.3f}{b:8.0%}{c:7.3f}{d:11.3f}{e:8.0%}{f:7.3f}")
    return out


def _judged(truth: float, value: float, low: float, high: float) -> tuple[float, float, float]:
    """|error|, whether the interval covers, its width."""
    return abs(value - truth), float(low <= truth <= high), high - low


def curve_key(record: TrialRecord, task: str) -> CurveKey:
    """The curve that a trial is a point of."""
    spec = record.result.spec
    mix = spec.mix.name if spec.mix else ""
    return CurveKey(model=spec.model.name, method=spec.method, mix=mix, task=task)


def _percent(errors: Sequence[float]) -> str:
    return f"{np.median(errors):.1%}" if errors else "-"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("table", type=Path, nargs="?", default=TABLE)
    parser.add_argument("--journals", type=Path)
    parser.add_argument("--words", action="store_true", help="Print every law in words too.")
    arguments = parser.parse_args()
    found = from_journals(arguments.journals) if arguments.journals else from_table(arguments.table)
    if not found:
        raise NotEnoughDataError("no finished trial found: give a table, or --journals FOLDER")
    begun = time.perf_counter()
    full = auxiliary_laws(found, OBJECTIVE)
    seconds = time.perf_counter() - begun
    below, held_out = without_largest(found)
    partial = auxiliary_laws(below, OBJECTIVE)
    print(f"{len(found)} trials, all laws in {seconds:.1f} s; {len(full.refused)} refused\n")
    tables = (
        forgetting_rows(partial, full, held_out),
        mix_rows(partial, full, held_out),
        loss_to_score_rows(full),
        score_rows(below, partial.loss_to_score, held_out),
    )
    for rows in tables:
        print("\n".join(rows), end="\n\n")
    if arguments.words:
        print("\n".join(auxiliary_lines(full)))


if __name__ == "__main__":
    main()
