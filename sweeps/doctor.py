"""Checks of this machine and, where given, of a sweep file: devices, versions, store, disk, data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import psutil

from sweeps.data.preview import CLOSE, OPEN, Mark, Piece, Preview, PreviewedRow, preview_rows
from sweeps.resolve import ResolvedSweep
from tracker.errors import SftSelectError, one_line
from tracker.numbers import count, memory, plural
from tracker.store.store import Store

_PACKAGES = (
    *("torch", "transformers", "peft", "accelerate"),
    *("optuna", "mlflow", "pandas", "plotly", "dash"),
)
_LOW_DISK_BYTES = 5 * 1024**3


class Examination(NamedTuple):
    """What was checked, and the first training row of each task as each model is given it."""

    checks: list[Check]
    rows: Preview


class Check(NamedTuple):
    """One line of the report; ``fine`` is ``None`` for a fact without a verdict."""

    topic: str
    text: str
    fine: bool | None = None


def examine(workspace: Path, store_uri: str | None, sweep: Path | None) -> Examination:
    """Check devices, memory, disk, versions, the store and, where given, a sweep file's models and data."""
    checks = [*_versions(), *_devices(), _memory(), _disk(workspace)]
    checks.append(_tried("store", lambda: _opened(workspace, store_uri)))
    if sweep is None:
        return Examination(checks, Preview())
    found = _sweep(sweep, workspace)
    return Examination([*checks, *found.checks], found.rows)


def row_lines(rows: Preview, mark: Mark | None = None) -> Iterator[str]:
    """The previewed rows as the doctor prints them; models that are given the same text share one.

    *mark*: what shows that a text is trained, by default brackets.
    """
    sharing: dict[tuple[str, tuple[Piece, ...]], list[PreviewedRow]] = {}
    for row in rows:
        sharing.setdefault((row.task, row.pieces), []).append(row)
    where = f"in {OPEN} {CLOSE}" if mark is None else mark("in colour")
    if rows:
        yield f"The first row of each task as it is trained; the loss is over what stands {where}:"
    for same in sharing.values():
        models = ", ".join(row.model for row in same)
        yield f"\n{same[0].task} for {models}: {same[0].heading}"
        yield from (f"  {line}" for line in same[0].shown(mark).split("\n"))


def _versions() -> list[Check]:
    checks = []
    for name in _PACKAGES:
        try:
            checks.append(Check("versions", f"{name} {version(name)}"))
        except PackageNotFoundError:
            checks.append(
                Check("versions", f"{name} is not installed; reinstall sft-select", False)
            )
    return checks


def _devices() -> list[Check]:
    import torch

    if not torch.cuda.is_available():
        built = "with" if torch.version.cuda else "without"
        return [Check("device", f"no GPU; torch was built {built} CUDA; trials run on the CPU")]
    checks = []
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        bf16 = "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16"
        total = memory(facts.total_memory)
        checks.append(Check("device", f"GPU {index}: {facts.name}, {total}, {bf16}", True))
    return checks


def _memory() -> Check:
    free, total = memory(psutil.virtual_memory().available), memory(psutil.virtual_memory().total)
    cores = plural(os.cpu_count() or 1, "CPU core")
    return Check("machine", f"{cores}, {free} of {total} free")


def _disk(workspace: Path) -> Check:
    place = workspace.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    return Check("disk", f"{memory(free)} free for {workspace}", free >= _LOW_DISK_BYTES)


def _opened(workspace: Path, uri: str | None) -> str:
    if uri is None and not (workspace / "mlflow.db").exists():
        return f"none in {workspace} yet; the first sweep makes it"
    sweeps = [info.name for info in Store.open(workspace, uri).sweeps()]
    names = f": {', '.join(sweeps)}" if sweeps else ""
    return f"opened; it holds {plural(len(sweeps), 'sweep')}{names}"


def _sweep(path: Path, workspace: Path) -> Examination:
    """The sweep file's verdict, what is allowed but probably a mistake, and rows of its tasks.

    Rows are shown where the sweep may record them: what is shown here ends in logs.
    """
    from sweeps.preflight import read_checked

    try:
        sweep = read_checked(path, workspace)
        tasks = sweep.tasks.values() if sweep.spec.record_answers == "all" else ()
        rows = preview_rows(tasks, sweep.models.values(), sweep.spec.train.max_length)
    except SftSelectError as error:
        return Examination([Check("sweep", str(error), False)], Preview())
    notes = [Check("note", one_line(warning)) for warning in sweep.warnings]
    if sweep.spec.record_answers != "all":
        said = f"record_answers: {sweep.spec.record_answers}; rows are not shown"
        notes.append(Check("note", said))
    files = list(_score_files(sweep))
    return Examination([Check("sweep", _sweep_words(path, sweep), True), *files, *notes], rows)


def _score_files(sweep: ResolvedSweep) -> Iterator[Check]:
    """Files that scores read beside the data: schemas, and the user's functions, which every worker runs."""
    for task in sweep.every_task:
        if task.json_schema is not None:
            file = task.json_schema
            yield Check("score", f"{task.name}: schema {file.path}, SHA-256 {file.sha256[:12]}")
        if (function := task.function) is not None:
            end = "no limit" if function.high is None else f"{function.high:g}"
            better = "smaller" if function.minimize else "larger"
            yield Check(
                "score",
                f"{task.name}: {function.function} of {function.file.path}, SHA-256 "
                f"{function.file.sha256[:12]}, from {function.low:g} to {end}, {better} is better, "
                f"{function.seconds:g} s a row; it runs in every worker",
            )


def _sweep_words(path: Path, sweep: ResolvedSweep) -> str:
    rows = ", ".join(
        f"{count(t.train.rows)} of {name}" for name, t in sweep.tasks.items() if t.train
    )
    sizes = ", ".join(f"{m.name} ({count(m.size)} parameters)" for m in sweep.models.values())
    return f"{path} has no problem: {sizes}; rows to train on: {rows}"


def _tried(topic: str, attempt: Callable[[], str]) -> Check:
    try:
        return Check(topic, attempt(), True)
    except SftSelectError as error:
        return Check(topic, str(error), False)
