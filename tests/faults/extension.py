"""Kills of a driver that goes on with a larger sweep file: afterwards all is as without them.

``python -m tests.faults.extension --tries 30 --folder F --seed 0``

Each try copies a finished sweep, grows its file by a model and a training-set size, and kills the driver with
SIGKILL two times at random moments, up to the end of what is new; the same command then ends it. What an
extension without a kill came to is what each has to come to: the trials, their numbers, the recommended file.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.faults import fork_server
from tests.faults.fork_server import fork
from tests.faults.programme import NAME, PATIENCE, start, write_sweep

KILLS = 2


def prepare(folder: Path, strategy: str) -> tuple[Path, float, str]:
    """A finished small sweep in ``folder/small``; the file, the seconds of its extension, its end."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "sweep.yaml"
    ended = fork(
        lambda: write_sweep(folder, **_content(folder, strategy, grown=False)), folder / "l"
    )
    assert ended.wait(PATIENCE).code == 0
    small = folder / "small"
    shutil.rmtree(small, ignore_errors=True)
    ended_run = start(file, small, "fake").wait(PATIENCE)
    assert ended_run.code == 0, ended_run.output
    grow(folder, strategy)
    whole = folder / "whole"
    shutil.rmtree(whole, ignore_errors=True)
    shutil.copytree(small, whole)
    begun = time.monotonic()
    ended_run = start(file, whole, "fake").wait(PATIENCE)
    assert ended_run.code == 0, ended_run.output
    seconds = time.monotonic() - begun
    return file, seconds, state(file, whole)


def grow(folder: Path, strategy: str) -> None:
    """Write the larger file."""
    done = fork(lambda: write_sweep(folder, **_content(folder, strategy, grown=True)), folder / "l")
    assert done.wait(PATIENCE).code == 0


def _content(folder: Path, strategy: str, *, grown: bool) -> dict[str, Any]:
    models = ("a", "b") if grown else ("a",)
    return {
        "models": [{"path": str(folder / "model"), "name": name} for name in models],
        "volumes": [40, 80, 160] if grown else [40, 80],
        "methods": {"full": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}},
        "search": {"strategy": strategy, "tuning": {"trials": 2}, "window": 4},
        "budget": {"trials": 12 if grown else 5},
        "engine": {"kind": "local", "workers": 2, "checkpoint_seconds": 0.05},
        "general": {},
    }


def state(file: Path, workspace: Path) -> str:
    """What the sweep came to, less all that a clock measured; worked out in a fork."""
    answer = workspace.parent / f"{workspace.name}.json"

    def run() -> None:
        from sweeps.search.identity import extensions_of
        from sweeps.search.workspace import SweepFolder
        from tests.faults import invariants
        from tracker.store.journal import Journal
        from tracker.store.store import Store

        store = Store.open(workspace, create=False)
        records = [*store.records(NAME), *store.excluded(NAME)]
        root = SweepFolder(workspace, NAME)
        ends = {
            record.result.spec.key: sum(
                event["event"] == "result"
                for event in Journal(root.journal(record.result.spec.key)).events()
            )
            for record in records
        }
        trials = sorted((record.number, record.result.spec.key) for record in records)
        changes = [each.change.changes for each in extensions_of(root)]
        (info,) = store.sweeps()
        text = invariants.recommendation(file, workspace)
        left = [*invariants.left_behind(workspace)]
        found = [trials, ends, changes, info.state, text, left, len(store.running(NAME))]
        answer.write_text(json.dumps(found))

    ended = fork(run, workspace.parent / "state").wait(PATIENCE)
    assert ended.code == 0, ended.output
    return answer.read_text()


def attempt(file: Path, folder: Path, seconds: float, draw: random.Random) -> list[float]:
    """Kill an extension in *folder* some times, then let it end; the moments of the kills that met it."""
    moments = []
    for _ in range(KILLS):
        driver = start(file, folder, "fake")
        after = draw.uniform(0, seconds)
        time.sleep(after)
        if driver.poll() is None:
            driver.signal(signal.SIGKILL)
            moments.append(after)
        driver.wait(PATIENCE)
    ended = start(file, folder, "fake").wait(PATIENCE)
    assert ended.code == 0, ended.output
    return moments


def main(arguments: Sequence[str] | None = None) -> int:
    """All tries; 1 where one came to something else."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tries", type=int, default=30)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--strategies", nargs="+", default=["grid", "law"])
    options = parser.parse_args(arguments)
    fork_server.preload()
    held = kills = 0
    for strategy in options.strategies:
        folder = options.folder.resolve() / strategy
        file, seconds, expected = prepare(folder, strategy)
        draw = random.Random(f"{options.seed}:{strategy}")
        for number in range(options.tries):
            workspace = folder / f"try-{number}"
            shutil.copytree(folder / "small", workspace)
            moments = attempt(file, workspace, seconds, draw)
            same = state(file, workspace) == expected
            kills += len(moments)
            held += same
            print(f"{strategy} {number}: killed after {moments}: {'held' if same else 'BROKEN'}")
            if same:
                shutil.rmtree(workspace)
    tried = options.tries * len(options.strategies)
    print(f"extensions: {tried} tried, {held} held, {kills} kills")
    return int(held < tried)


if __name__ == "__main__":
    sys.exit(main())
