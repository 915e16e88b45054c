"""What this machine has, and what is missing for a sweep to run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

import psutil

from sweeps.resolve import read_sweep
from tracker.errors import SftSelectError
from tracker.store.store import Store

_PACKAGES = (
    *("torch", "transformers", "peft", "accelerate"),
    *("optuna", "mlflow", "pandas", "plotly", "dash"),
)
_LOW_DISK_BYTES = 5 * 1024**3


class Finding(NamedTuple):
    """One line of the report; ``fine`` is ``None`` for what is only told."""

    topic: str
    text: str
    fine: bool | None = None


def examine(workspace: Path, store_uri: str | None, sweep: Path | None) -> list[Finding]:
    """Look at devices, memory, disk, versions, the store and, where given, a sweep file's models and data."""
    findings = [*_versions(), *_devices(), _memory(), _disk(workspace)]
    findings.append(_tried("store", lambda: _opened(workspace, store_uri)))
    if sweep is not None:
        findings.append(_tried("sweep", lambda: _sweep_words(sweep)))
    return findings


def _versions() -> list[Finding]:
    found = []
    for name in _PACKAGES:
        try:
            found.append(Finding("versions", f"{name} {version(name)}"))
        except PackageNotFoundError:
            found.append(
                Finding("versions", f"{name} is not installed; reinstall sft-select", False)
            )
    return found


def _devices() -> list[Finding]:
    import torch

    if not torch.cuda.is_available():
        built = "with" if torch.version.cuda else "without"
        return [Finding("device", f"no GPU; torch was built {built} CUDA; trials run on the CPU")]
    found = []
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        bf16 = "bfloat16" if torch.cuda.is_bf16_supported() else "no bfloat16"
        memory = facts.total_memory / 1024**3
        found.append(
            Finding("device", f"GPU {index}: {facts.name}, {memory:.0f} GiB, {bf16}", True)
        )
    return found


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    cores = os.cpu_count() or 1
    text = f"{cores} CPU cores, {memory.available / 1024**3:.1f} of {memory.total / 1024**3:.1f} GiB free"
    return Finding("machine", text)


def _disk(workspace: Path) -> Finding:
    place = workspace.resolve()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    text = f"{free / 1024**3:.1f} GiB free for {workspace}"
    return Finding("disk", text, free >= _LOW_DISK_BYTES)


def _opened(workspace: Path, uri: str | None) -> str:
    sweeps = [info.name for info in Store.open(workspace, uri).sweeps()]
    return f"opened; it holds {len(sweeps)} sweeps" + (f": {', '.join(sweeps)}" if sweeps else "")


def _sweep_words(path: Path) -> str:
    sweep = read_sweep(path)
    rows = {name: task.train.rows for name, task in sweep.tasks.items() if task.train}
    sizes = ", ".join(f"{m.name} ({m.size:,} parameters)" for m in sweep.models.values())
    return f"{path} is sound: {sizes}; rows to train on: {rows}"


def _tried(topic: str, attempt: Callable[[], str]) -> Finding:
    try:
        return Finding(topic, attempt(), True)
    except SftSelectError as error:
        return Finding(topic, str(error), False)
