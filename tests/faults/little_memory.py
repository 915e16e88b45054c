"""A trial under a real limit of memory (RLIMIT_AS): what it was run with, and that its loss is the same.

A tiny model on many rows a step, each time in a process of its own: without a limit, then with less and less
room above what the process has once its libraries are loaded. Prints one line a limit.

``python -m tests.faults.little_memory``; about a minute on one core.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from sweeps.finetune.contract import TrialHome
from sweeps.finetune.trial import run_trial
from sweeps.resolve import read_sweep
from sweeps.search.space import design_points, lattice, trial_spec
from tests.faults.programme import write_sweep
from tests.sweeps.finetune.conftest import Notes
from tracker import numbers

#: Room in MiB above what the process has; ``None``: no limit.
ROOMS = (None, 256, 160, 96, 64, 40, 16)
SCHEDULE = {"epochs": 2, "batch_size": 256, "max_length": 96}


def main() -> int:
    """Run a trial under each limit; 0 where each that completed has the loss of the unlimited one."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        write_sweep(folder, budget={"trials": 4}, seeds=1, volumes=[256], train=SCHEDULE)
        losses = []
        for room in ROOMS:
            command = [sys.executable, "-m", __spec__.name, str(folder), str(room or "")]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                print(
                    f"room {room}: the process ended with {done.returncode}: {done.stderr[-300:]}"
                )
                continue
            found = json.loads(done.stdout.splitlines()[-1])
            print(f"room {room} MiB: {found}")
            losses += [found["loss"]] if found["loss"] is not None else []
    spread = max(losses) - min(losses)
    print(
        f"{len(losses)} of {len(ROOMS)} completed; losses differ by {numbers.number(spread)} nats"
    )
    return int(spread > 1e-4)


def _trial(folder: Path, room: str) -> None:
    sweep = read_sweep(folder / "sweep.yaml")
    point = next(p for p in design_points(sweep.spec) if p.method.name == "full")
    spec = trial_spec(sweep, point._replace(method=lattice(sweep.spec, "full", 1)[0]), 0)
    home = TrialHome(folder / f"steps-{room}", folder / f"answers-{room}", folder / "baselines")
    if room:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        limit = size + int(room) * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    result = run_trial(spec, home, Notes())
    used = result.fitted and result.fitted.model_dump(exclude_none=True)
    reason = result.reason and result.reason[-160:]
    facts = {"status": result.status, "loss": result.final_train_loss, "fitted": used}
    print(json.dumps(facts | {"reason": reason}))


if __name__ == "__main__":
    sys.exit(_trial(Path(sys.argv[1]), sys.argv[2]) if len(sys.argv) > 1 else main())
