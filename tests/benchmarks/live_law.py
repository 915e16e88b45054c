"""A live sweep by ``law`` with a share of the trials, against the choice of the whole design.

The whole design (the sweep file as it is) runs once. For each seed the same file runs with strategy ``law``
and fewer trials. What both recommend is then trained anew with the same fresh seeds, which neither has seen:
regret is the difference of the means, beside its standard error and the noise floor.

``python -m tests.benchmarks.live_law SWEEP.yaml --trials 30 --workspace DIR [--seeds 3]``; resumable.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sweeps.search.run import run_sweep
from sweeps.search.strategies.strategy import weighted_score
from sweeps.search.workspace import SweepFolder
from tests.benchmarks.record_playground import record
from tests.factories import recommend
from tracker.decision.recommendation import Recommendation
from tracker.store.journal import Journal
from tracker.store.store import Store
from tracker.trial import Objective, TrialSpec

_SEEDS_APART = 1000
_FRESH = range(90_001, 90_004)
WORKERS = 2


def recommended(path: Path, workspace: Path) -> Recommendation:
    """What the sweep file at *path* recommends once it has run, or gone on to its end."""
    store, name = Store.open(workspace), yaml.safe_load(path.read_text())["name"]
    if not any(info.name == name and info.state == "finished" for info in store.sweeps()):
        run_sweep(path, workspace)
    return recommend(
        store.records(name), store.objective(name), sweep=name, notes=store.notes(name)
    )


def by_law(path: Path, trials: int, seed: int) -> Path:
    """The sweep file beside *path* that asks ``law`` for *trials* from the *seed*-th first seed on."""
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    content["name"] += f"-law-{seed}"
    content["search"] = {**content.get("search", {}), "strategy": "law"}
    content["search"]["tuning"] = {"trials": content["search"].get("tuning", {}).get("trials", 3)}
    content["budget"] = {"trials": trials}
    content["first_seed"] = seed * _SEEDS_APART
    written = path.with_name(f"{path.stem}-law-{seed}.yaml")
    written.write_text(yaml.safe_dump(content, sort_keys=False))
    return written


def fresh_qualities(spec: TrialSpec, objective: Objective, folder: SweepFolder) -> list[float]:
    """The weighted score of *spec* trained with each fresh seed."""
    again = [spec.model_copy(update={"seed": seed}) for seed in _FRESH]
    record(again, folder, WORKERS)
    found = []
    for trial in again:
        result = Journal(folder.journal(trial.key)).result()
        quality = None if result is None else weighted_score(result, objective)
        assert quality is not None, f"{trial.key} was not measured"
        found.append(quality)
    return found


def compare(whole: Sequence[float], other: Sequence[float]) -> str:
    """Regret of *other* in points, with its standard error."""
    lost = statistics.fmean(whole) - statistics.fmean(other)
    error = (
        statistics.variance(whole) / len(whole) + statistics.variance(other) / len(other)
    ) ** 0.5
    return f"regret {100 * lost:+.2f} ± {100 * error:.2f} points"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--trials", type=int, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workspace", type=Path, required=True)
    options = parser.parse_args()
    folder = SweepFolder(options.workspace, "fresh-seeds")
    whole = recommended(options.sweep, options.workspace)
    floor = "unknown" if whole.noise_floor is None else f"{100 * whole.noise_floor:.2f} points"
    best = fresh_qualities(whole.trial, whole.objective, folder)
    print(f"whole design: {whole.choice.label}, {100 * statistics.fmean(best):.1f}; noise {floor}")
    for seed in range(1, options.seeds + 1):
        found = recommended(by_law(options.sweep, options.trials, seed), options.workspace)
        fresh = best
        if found.trial.key != whole.trial.key:
            fresh = fresh_qualities(found.trial, whole.objective, folder)
        words = f"P(best) {found.p_best:.0%}, {compare(best, fresh)}"
        print(f"law, seed {seed}: {found.choice.label}, {words}", flush=True)


if __name__ == "__main__":
    main()
