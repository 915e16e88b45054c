"""The demo's trials through our warm workers, against the same trials as one plain script each.

Both run two at a time on two cores, in one go; every *n*-th trial of the demo goes through both. Prints the
ratio of their speeds, and where the workers' time went: the share outside forward, backward, optimizer and
generation, idling and start-up included, by phase.

``python -m tests.benchmarks.trials_per_minute [--every 2] [--sweep FILE --workspace DIR]``; with
``--workspace`` the trials of a finished sweep there are taken and only the profile is printed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sweeps.finetune.clock import WORK
from sweeps.finetune.contract import TrialHome
from sweeps.playground.write import prepare_demo
from sweeps.resolve import read_sweep
from sweeps.search.engines.engine import Ended, Job
from sweeps.search.engines.local import LocalEngine
from sweeps.search.space import design_points, lattice, trial_spec
from tracker.store.journal import Journal
from tracker.store.store import Store
from tracker.strict_yaml import read
from tracker.trial import TrialRecord, TrialSpec

WORKERS = 2


def demo_trials(folder: Path, every: int) -> list[TrialSpec]:
    """Every *every*-th point of the demo's design, with the middle learning rate.

    *every* should share no factor with the nine pairs of model and method, or some never come up.
    """
    sweep = read_sweep(prepare_demo(folder))
    tuned = [
        point._replace(method=lattice(sweep.spec, point.method.name, 1)[0])
        for point in design_points(sweep.spec)[::every]
    ]
    return [trial_spec(sweep, configuration, 0) for configuration in tuned]


def warm_seconds(trials: Sequence[TrialSpec], folder: Path) -> float:
    """Wall seconds through two warm workers, their start included."""
    begun = time.monotonic()
    engine = LocalEngine(devices=[None] * WORKERS, threads=1, hang_seconds=600)
    waiting, running = list(trials), 0
    try:
        while waiting or running:
            while waiting and running < WORKERS:
                engine.submit(_job(waiting.pop(0), folder))
                running += 1
            running -= sum(isinstance(event, Ended) for event in engine.events(1.0))
    finally:
        engine.close()
    for trial in trials:
        result = Journal(folder / f"{trial.key}.jsonl").result()
        assert result is not None
        assert result.status.value == "complete", result.reason
    return time.monotonic() - begun


def plain_seconds(trials: Sequence[TrialSpec]) -> float:
    """Wall seconds of one script per trial, two at a time."""
    begun = time.monotonic()
    with ThreadPoolExecutor(WORKERS) as pool:
        for done in pool.map(_plain, trials):
            assert done.returncode == 0, done.stderr
    return time.monotonic() - begun


def profile(records: Sequence[TrialRecord], worker_seconds: float) -> dict[str, float]:
    """Share of *worker_seconds* by phase; ``idle``: what no trial accounts for, start-up included."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for record in records:
        for phase, spent in record.result.cost.phases.items():
            seconds[phase] += spent
    seconds["idle"] = worker_seconds - sum(seconds.values())
    return {
        phase: spent / worker_seconds
        for phase, spent in sorted(seconds.items(), key=lambda i: -i[1])
    }


def print_profile(store: Store, sweep: str) -> None:
    """A line per phase of an uninterrupted sweep, then the overhead."""
    (info,) = [info for info in store.sweeps() if info.name == sweep]
    assert info.ended_at is not None, f"{sweep} has not ended"
    shares = profile(store.records(sweep), WORKERS * (info.ended_at - info.started_at))
    for phase, share in shares.items():
        print(f"  {phase:18} {share:6.1%}{'' if phase in WORK else '  overhead'}")
    print(f"  overhead in all    {1 - sum(shares.get(phase, 0.0) for phase in WORK):6.1%}")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=2)
    parser.add_argument("--sweep", type=Path)
    parser.add_argument("--workspace", type=Path)
    options = parser.parse_args()
    if options.workspace:
        name = str(read(options.sweep).data["name"])
        print_profile(Store.open(options.workspace), name)
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        trials = demo_trials(folder, options.every)
        warm = warm_seconds(trials, folder)
        plain = plain_seconds(trials)
    for name, seconds in (("warm workers", warm), ("plain scripts", plain)):
        rate = 60 * len(trials) / seconds
        print(f"{name:14} {len(trials)} trials in {seconds:6.1f} s, {rate:5.1f} a minute")
    print(f"ratio          {plain / warm:.2f}")


def _job(trial: TrialSpec, folder: Path) -> Job:
    home = TrialHome(folder / "checkpoints" / trial.key, folder / "records" / trial.key, folder)
    return Job(trial.key, trial, home, str(folder / f"{trial.key}.jsonl"))


def _plain(trial: TrialSpec) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.plain_trial"],
        input=trial.model_dump_json(),
        capture_output=True,
        text=True,
    )


if __name__ == "__main__":
    main()
