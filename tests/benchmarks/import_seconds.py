"""Seconds to import an outside table of one-row trials, store and all.

``python -m tests.benchmarks.import_seconds [TRIALS]``
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tracker.importing.trials import read_table, write_sweep
from tracker.store.store import Store

_HEADER = "model,model_params,family,method,learning_rate,task,metric,examples,seed,value\n"


def main(trials: int = 300) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        rows = (
            f"m{i % 7},{1000 * (1 + i % 7)},f,lora,0.001,t,loss,{100 * (1 + i // 7)},0,"
            f"{2 - i / (2 * trials):.6f}\n"
            for i in range(trials)
        )
        path.write_text(_HEADER + "".join(rows), encoding="utf-8")
        store = Store.open(Path(folder) / "runs")
        begun = time.perf_counter()
        table = read_table(path)
        read = time.perf_counter() - begun
        write_sweep(store, "table", table)
        written = time.perf_counter() - begun - read
        count = len(store.records("table"))
        again = time.perf_counter() - begun - read - written
    print(
        f"{count} trials of one row: read in {read:.2f} s, written in {written:.2f} s "
        f"({1000 * written / count:.1f} ms a trial), read back in {again:.2f} s"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
