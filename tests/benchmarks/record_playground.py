"""Record a grid of the playground: size × method × volume × mix × learning rate, trained for real.

On the tuning mix each pair of model and method runs with further seeds at its best learning rate. The
table stands in for training ever after (``sft-select replay``), and is the regression fixture of the
decision engine: ``tests/recorded/playground.csv.gz``. 796 fine-tunes, about two core-hours; after an
interruption it goes on where it stopped.

``python -m tests.benchmarks.record_playground WORKSPACE [--workers 2]``
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from sweeps.finetune.contract import TrialHome
from sweeps.playground.pretrain import MODELS_FOLDER
from sweeps.playground.tasks import TASKS
from sweeps.playground.write import sweep_spec, write_playground
from sweeps.resolve import ResolvedSweep, read_sweep
from sweeps.search.engines.engine import Ended, Job
from sweeps.search.engines.local import LocalEngine
from sweeps.search.space import design_points, lattice, trial_spec, untouched_base
from sweeps.search.workspace import SweepFolder
from tracker.store.journal import Journal
from tracker.trial import TrialResult, TrialSpec

TABLE = Path(__file__).parents[1] / "recorded" / "playground.csv.gz"
RATES, SEEDS = 3, 3
#: As recorded; the demo has gone over to v2 since.
P_TUNING = {
    "variant": "v1",
    "virtual_tokens": 8,
    "learning_rate": {"low": 1.0e-3, "high": 1.0e-1, "log": True},
}
MODELS = ("pg-30k", "pg-100k", "pg-300k", "pg-800k")


def recorded_sweep(folder: Path) -> ResolvedSweep:
    """The demo's sweep over four sizes, six volumes and three mixes."""
    path = write_playground(folder)
    demo = sweep_spec()
    content = demo | {
        "name": "recorded",
        "methods": demo["methods"] | {"p_tuning": P_TUNING},
        "models": [{"path": str(MODELS_FOLDER / name)} for name in MODELS],
        "volumes": [50, 100, 200, 400, 800, 1600],
        "mixes": {
            "even": {**dict.fromkeys(TASKS, 1), "replay": 0.03},
            "plain": dict.fromkeys(TASKS, 1),
            "facts": {**dict.fromkeys(TASKS, 1), "facts": 3, "replay": 0.03},
        },
        "seeds": SEEDS,
    }
    del content["budget"]
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return read_sweep(path)


def first_seed(sweep: ResolvedSweep) -> list[TrialSpec]:
    """The untouched bases, then every design point with every learning rate."""
    bases = [untouched_base(name) for name in MODELS]
    tuned = [
        point._replace(method=method)
        for point in design_points(sweep.spec)
        for method in lattice(sweep.spec, point.method.name, RATES)
    ]
    return [trial_spec(sweep, configuration, 0) for configuration in [*bases, *tuned]]


def more_seeds(first: Sequence[TrialSpec], folder: SweepFolder) -> list[TrialSpec]:
    """Specs of the tuning mix with more seeds, at the learning rate of lowest loss for each pair."""
    losses: dict[tuple[str, str], dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for spec in first:
        result = Journal(folder.journal(spec.key)).result()
        assert result is not None, "the first seed was recorded before more are chosen"
        found = [s.bits_per_byte for s in result.tasks if s.bits_per_byte is not None]
        loss = sum(found) / len(found) if found else math.inf  # a diverged run rules its rate out
        losses[_pair(spec)][_rate(spec)].append(loss)
    best = {pair: min(rates, key=lambda r: sum(rates[r])) for pair, rates in losses.items()}
    tuning = next(spec.mix for spec in first if spec.mix)
    again = [s for s in first if s.mix == tuning and _rate(s) == best[_pair(s)]]
    return [spec.model_copy(update={"seed": s}) for s in range(1, SEEDS) for spec in again]


def _pair(spec: TrialSpec) -> tuple[str, str]:
    return spec.model.name, spec.method.name


def _rate(spec: TrialSpec) -> float:
    return spec.method.learning_rate or 0.0


def record(trials: Sequence[TrialSpec], folder: SweepFolder, workers: int) -> None:
    """Run what has no result in its journal yet."""
    waiting = [t for t in trials if Journal(folder.journal(t.key)).result() is None]
    engine = LocalEngine(devices=[None] * workers, threads=1, hang_seconds=600)
    running = 0
    try:
        while waiting or running:
            while waiting and running < workers:
                engine.submit(_job(waiting.pop(0), folder))
                running += 1
            running -= sum(isinstance(event, Ended) for event in engine.events(1.0))
            if len(waiting) % 50 == 0:
                print(f"{len(waiting)} to go", end="\r", flush=True)
    finally:
        engine.close()


def _job(spec: TrialSpec, folder: SweepFolder) -> Job:
    home = TrialHome(folder.checkpoints(spec.key), folder.artifacts(spec.key), folder.baselines)
    return Job(spec.key, spec, home, str(folder.journal(spec.key)))


def rows(result: TrialResult) -> Iterator[dict[str, Any]]:
    """A trial in the long form of a results table: one row per task and metric.

    Without seconds: the machine was busy with other work, so they would say nothing.
    """
    spec, cost = result.spec, result.cost
    common = {
        "model": spec.model.name,
        "model_params": spec.model.parameters,
        "family": "playground",
        "method": spec.method.name,
        "variant": spec.method.variant,
        "rank": spec.method.rank or spec.method.virtual_tokens,
        "learning_rate": spec.method.learning_rate,
        "mix": spec.mix.name if spec.mix else None,
        "seed": spec.seed,
        "examples": spec.volume,
        "epochs": spec.train.epochs,
        "status": result.status.value,
        "train_tokens": cost.train_tokens,
        "flops": cost.flops,
        "peak_memory_bytes": cost.peak_bytes,
        "trainable_params": cost.trained_parameters,
    }
    for s in result.tasks:
        yield common | _value(s.task, s.score_name, "maximize", s.score, s.score_se, s.n)
        yield common | _value(
            s.task, "bits_per_byte", "minimize", s.bits_per_byte, s.bits_per_byte_se, s.n
        )
    for g in result.general:
        lost, error = g.forgetting, g.forgetting_error
        yield common | _value(g.suite, "forgetting", "minimize", lost, error, g.n)
    if not result.tasks:
        yield common


def _value(
    task: str,
    metric: str | None,
    direction: str,
    value: float | None,
    se: float | None,
    n: int | None,
) -> dict[str, Any]:
    def digits(number: float | None) -> float | None:
        return None if number is None else float(f"{number:.5g}")

    return {
        "task": task,
        "metric": metric,
        "direction": direction,
        "value": digits(value),
        "value_se": digits(se),
        "n": n,
    }


def write(results: Sequence[TrialResult], path: Path) -> None:
    """The table, compressed; the same results give the same bytes."""
    found = [row for result in results for row in rows(result)]
    text = io.StringIO()
    columns = dict.fromkeys(name for row in found for name in row)
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.getvalue().encode(), mtime=0))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("workspace", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    sweep = recorded_sweep(arguments.workspace / "playground")
    folder = SweepFolder(arguments.workspace, sweep.spec.name)
    trials = first_seed(sweep)
    record(trials, folder, arguments.workers)
    trials += (again := more_seeds(trials, folder))
    record(again, folder, arguments.workers)
    results = [Journal(folder.journal(trial.key)).result() for trial in trials]
    write([result for result in results if result is not None], TABLE)
    print(f"{len(trials)} trials in {TABLE}, {TABLE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
