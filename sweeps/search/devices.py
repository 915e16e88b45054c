"""Devices that workers run on: every GPU or slice of one that this process may use, else the host.

Each has a memory of its own, which its workers share: every worker holds a base and trains beside the others.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import psutil

from sweeps.finetune.memory import PROCESS_BYTES
from sweeps.spec import Engine

#: Memory that Linux allows a group of processes, such as a container.
_GROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Device(NamedTuple):
    """A device of ``bytes`` memory that ``workers`` share; ``name``: ``None`` for the host.

    A GPU's name is its number or what CUDA_VISIBLE_DEVICES calls it.
    """

    name: str | None
    bytes: int
    workers: int

    @property
    def kind(self) -> str:
        """Kind of device, ``cpu`` or ``cuda``."""
        return "cpu" if self.name is None else "cuda"

    @property
    def alone(self) -> int:
        """Bytes for the tensors of one worker while the others hold nothing but themselves."""
        return max(0, self.bytes - self._processes * PROCESS_BYTES[self.kind])

    @property
    def share(self) -> int:
        """Bytes for the tensors of each worker, all together at their peak."""
        return self.alone // self.workers

    @property
    def _processes(self) -> int:
        return self.workers + (self.name is None)  # the driver is on the host


def worker_devices(settings: Engine) -> list[str | None]:
    """One entry per worker: the GPU it sees, or ``None`` on a machine without.

    GPUs are numbers, or what CUDA_VISIBLE_DEVICES lists: a worker is given its own variable, in which the
    first GPU that this process may use need not be 0. ``auto`` is one worker per GPU, else one per
    ``threads`` CPU cores; more workers than GPUs share them.
    """
    gpus = _gpus()
    if settings.workers == "auto":
        workers = len(gpus) or max(1, (os.cpu_count() or 1) // settings.threads)
    else:
        workers = settings.workers
    return [gpus[i % len(gpus)] if gpus else None for i in range(workers)]


def devices(settings: Engine) -> list[Device]:
    """Devices that have a worker, with the memory of each."""
    gpus, workers = _gpus(), Counter(worker_devices(settings))
    return [
        host(count) if name is None else Device(name, _gpu_bytes(gpus.index(name)), count)
        for name, count in workers.items()
    ]


def host(workers: int) -> Device:
    """This machine as the device of *workers*."""
    return Device(None, _host_bytes(), workers)


def _gpus() -> list[str]:
    count = _gpu_count()
    listed = os.environ.get("CUDA_VISIBLE_DEVICES", "").strip()
    # CUDA takes entries up to the first that names no device.
    named = [name.strip() for name in listed.split(",")][:count] if listed else []
    return named or [str(number) for number in range(count)]


def _gpu_count() -> int:
    import torch

    return torch.cuda.device_count()


def _gpu_bytes(number: int) -> int:
    """Memory of a GPU, or of the slice of one that MIG makes a device of its own."""
    import torch

    return int(torch.cuda.get_device_properties(number).total_memory)


def _host_bytes() -> int:
    limits = [psutil.virtual_memory().total]
    for file in _GROUP_LIMITS:
        try:
            limits.append(int(Path(file).read_text()))
        except (OSError, ValueError):  # there is no such group, or its limit is "max"
            continue
    return min(limits)
