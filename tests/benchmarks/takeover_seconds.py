"""Seconds to find what other sweeps have measured: python -m tests.benchmarks.takeover_seconds.

A workspace of 30 sweeps with 200 trials each; 1,000 new trials are looked for, of which none is there.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from sweeps.search.takeover import Takeover
from sweeps.search.workspace import SweepFolder
from tests.factories import scored_record
from tracker.files import json_lines

SWEEPS, TRIALS, LOOKED_FOR = 30, 200, 1000


def main() -> None:
    """Print how long the first look takes, which reads every journal, and each of the others."""
    with tempfile.TemporaryDirectory() as temporary:
        workspace = Path(temporary)
        for sweep in range(SWEEPS):
            folder = SweepFolder(workspace, f"sweep-{sweep}")
            folder.root.mkdir()
            folder.sweep_file.touch()
            for trial in range(TRIALS):
                record = scored_record(volume=100 + trial, seed=sweep)
                key = record.result.spec.key
                folder.keep(key, record.result)
                folder.artifacts(key).mkdir(parents=True)
                (folder.artifacts(key) / "intent.validation.jsonl").write_text(json_lines([]))
        takeover = Takeover(SweepFolder(workspace, "new"), keep_models=True)
        wanted = [scored_record(volume=7, seed=number).result.spec for number in range(LOOKED_FOR)]
        began = time.perf_counter()
        takeover(wanted[0])
        first = time.perf_counter() - began
        for spec in wanted[1:]:
            takeover(spec)
        others = time.perf_counter() - began - first
    sys.stdout.write(
        f"{SWEEPS} sweeps of {TRIALS} trials: first look {first:.1f} s, each other "
        f"{1000 * others / (LOOKED_FOR - 1):.2f} ms\n"
    )


if __name__ == "__main__":
    main()
