"""Checks of this machine and, where given, of a sweep file: devices, versions, store, disk, data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import psutil

from sweeps.terminal import memory
from tracker.errors import SftSelectError, one_line
from tracker.numbers import count, plural
from tracker.store.store import Store

_PACKAGES = (
    *("torch", "transformers", "peft", "accelerate"),
    *("optuna", "mlflow", "pandas", "plotly", "dash"),
)
_LOW_DISK_BYTES = 5 * 1024**3


class Check(NamedTuple):
    """One line of the report; ``fine`` is ``None`` for a fact without a verdict."""

    topic: str
    text: str
    fine: bool | None = None


def examine(workspace: Path, store_uri: str | None, sweep: Path | None) -> list[Check]:
    """Check devices, memory, disk, versions, the store and, where given, a sweep file's models and data."""
    checks = [*_versions(), *_devices(), _memory(), _disk(workspace)]
    checks.append(_tried("store", lambda: _opened(workspace, store_uri)))
    return checks if sweep is None else [*checks, *_sweep(sweep, workspace)]


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


def _sweep(path: Path, workspace: Path) -> list[Check]:
    """The sweep file's verdict, and what is allowed but probably a mistake."""
    warnings: list[str] = []
    verdict = _tried("sweep", lambda: _sweep_words(path, workspace, warnings))
    return [verdict, *(Check("note", one_line(warning)) for warning in warnings)]


def _sweep_words(path: Path, workspace: Path, warnings: list[str]) -> str:
    from sweeps.preflight import read_checked

    sweep = read_checked(path, workspace)
    warnings += sweep.warnings
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
