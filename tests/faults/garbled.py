"""Files of a workspace cut, garbled or replaced by another kind, and what the next command makes of each.

``python -m tests.faults.garbled --folder F [--only PATTERN] [--every N]``

A finished sweep and one killed half-way are copied; in each copy one file is harmed: cut to nothing, cut in
half, filled with random bytes, replaced by a folder, replaced by a link to nothing. Then ``recommend`` reads
it and ``run`` goes on. What holds: a command ends with exit 0 and the recommendation of an unharmed sweep
(it was rebuilt, or did not matter), or with one line that names the file, its run or its folder; never with a
traceback, never with another recommendation. Sweep files and results are of the fake trainer
(:mod:`tests.faults.fake_trial`), the processes are forked. Prints a table: by file, tried and held.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from tests.faults import fork_server
from tests.faults.programme import PATIENCE, Sweep, check, prepare, start

#: Files of a workspace by kind, as patterns; the first match in sorted order stands for its kind.
KINDS = (
    "tiny/plan.json",
    "tiny/sweep.yaml",
    "tiny/data.json",
    "tiny/study.db",
    "tiny/study.db-wal",
    "tiny/driver.json",
    "tiny/driver.lock",
    "tiny/journal/*.jsonl",
    "tiny/artifacts/*/*.jsonl",
    "tiny/models/*/config.json",
    "tiny/checkpoints/*/step-*/manifest.json",
    "tiny/checkpoints/*/step-*/state",
    "baselines/*.json",
    "cache/*.jsonl",
    "mlflow.db",
    "artifacts/*/artifacts/result.json",
    "artifacts/*/artifacts/spec.json",
    "artifacts/*/artifacts/question.json",
    "artifacts/*/artifacts/sweep.yaml",
    "artifacts/*/artifacts/data.json",
    "artifacts/*/artifacts/*.validation.jsonl",
)


def _cut(path: Path) -> None:
    path.write_bytes(b"")


def _halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _garble(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(max(64, path.stat().st_size)))


def _make_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link_to_nothing(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.with_name("gone"))


HARMS: dict[str, Callable[[Path], None]] = {
    "cut to nothing": _cut,
    "half": _halve,
    "random bytes": _garble,
    "a folder": _make_a_folder,
    "a link to nothing": _link_to_nothing,
}


class Case(NamedTuple):
    """A file of a workspace and what is done to it."""

    state: str
    kind: str
    harm: str


def cases(bases: dict[str, Path]) -> Iterator[Case]:
    """Every harm to every kind of file that a workspace of *bases* holds."""
    for state, base in bases.items():
        for kind in KINDS:
            if next(base.glob(kind), None) is not None:
                yield from (Case(state, kind, harm) for harm in HARMS)


def half_way(sweep: Sweep, workspace: Path) -> None:
    """Run the sweep in *workspace* and kill it once some trials have ended and one has a checkpoint."""
    shutil.rmtree(workspace, ignore_errors=True)
    driver = start(sweep.file, workspace, sweep.trainer)
    due = time.monotonic() + PATIENCE
    while time.monotonic() < due:
        ended = sum('"event":"result"' in p.read_text() for p in workspace.glob("*/journal/*"))
        if ended >= sweep.trials // 2 and any(workspace.glob("*/checkpoints/*/step-*/*.json")):
            break
        time.sleep(0.01)
    driver.signal_session(signal.SIGKILL)
    driver.wait(PATIENCE)


def problems(sweep: Sweep, base: Path, case: Case, place: Path) -> list[str]:
    """What does not hold of *case*, tried in a copy of *base* at *place*."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(base, place, symlinks=True)
    harmed = sorted(place.glob(case.kind))[0]
    HARMS[case.harm](harmed)
    found = []
    log = place.parent / "log" / place.name
    for verb in ("recommend", "run"):
        arguments = [verb, str(sweep.file), "--workspace", str(place)]
        try:
            ended = fork_server.driver(arguments, log, sweep.trainer).wait(PATIENCE)
        except AssertionError as hung:
            found.append(f"{verb}: {hung}"[:300])
            continue
        lines = [line for line in ended.output.splitlines() if line.strip()]
        if "Traceback" in ended.output:
            found.append(f"{verb}: traceback: {lines[-1] if lines else ''}"[:400])
        elif ended.code == 4 and verb == "recommend" and case.state == "half-way":
            continue  # too little has ended for one
        elif ended.code not in (0, 2, 3):
            found.append(f"{verb}: exit {ended.code}: {lines[-1:]}"[:400])
        elif ended.code and not _is_named(harmed, place, lines[-1]):
            found.append(f"{verb}: exit {ended.code} does not name the file: {lines[-1]}"[:400])
        elif ended.code == 0 and verb == "run":
            violations, text = check(sweep, place)
            if text != sweep.reference:
                found.append(f"another recommendation: {violations}"[:600])
            found += [f"after run: {one}"[:300] for one in violations if "I5" not in one]
    return found


def _is_named(harmed: Path, place: Path, line: str) -> bool:
    """Whether *line* names the file, a folder that holds it, or the MLflow run that it is of."""
    inside = harmed.relative_to(place)
    return any(part in line for part in (inside.name, *inside.parts[:-1]) if part != "artifacts")


def main() -> int:
    """The whole programme."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--only", default="*", help="pattern of kinds")
    parser.add_argument("--every", type=int, default=1, help="each N-th case alone")
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    options = parser.parse_args()
    fork_server.preload()
    folder = options.folder.resolve()
    sweep = prepare(folder, "fake")
    _, reference = check(sweep, folder / "whole")
    sweep = sweep._replace(reference=reference)
    half_way(sweep, folder / "half")
    bases = {"finished": folder / "whole", "half-way": folder / "half"}
    tried: Counter[str] = Counter()
    good: Counter[str] = Counter()
    chosen = [case for case in cases(bases) if fnmatch(case.kind, options.only)]
    for case in chosen[options.first :: options.every]:
        found = problems(sweep, bases[case.state], case, folder / "case")
        tried[case.kind] += 1
        good[case.kind] += not found
        for problem in found:
            print(f"{case.state}, {case.kind}, {case.harm}: {problem}", flush=True)
    for kind in tried:
        print(f"{kind:45} {tried[kind]:3} tried {good[kind]:3} held")
    print(f"{'all':45} {tried.total():3} tried {good.total():3} held")
    return int(good.total() < tried.total())


if __name__ == "__main__":
    sys.exit(main())
