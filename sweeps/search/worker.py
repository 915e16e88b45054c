"""Worker process of the local engine: loads libraries, base weights and data once for many trials."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sweeps.finetune.contract import Reporter, TrialHome
from sweeps.search.engines.engine import Ended, Job, Progress, Refused
from tracker.errors import InputError, StoreError
from tracker.store.journal import Journal
from tracker.trial import TrialResult, TrialSpec

_BEAT_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1


class Heartbeat:
    """Heartbeat of a worker."""


class Ready:
    """Message: the worker has loaded its libraries and takes jobs."""


def work(pipe: Connection, threads: int, device: str | None) -> None:
    """Run jobs from *pipe* until it closes. A job's result is in its journal before it is announced."""
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to handle
    os.environ["HF_HUB_OFFLINE"] = os.environ.get("HF_HUB_OFFLINE", "1")
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # it advises further packages
    import torch

    from sweeps.finetune.model import quieten
    from sweeps.finetune.trial import run_trial

    torch.set_num_threads(threads)
    quieten()
    # The Trainer collects garbage at every start; over the libraries' own objects that takes 0.25 s.
    gc.collect()
    gc.freeze()
    serve(pipe, run_trial)


def serve(
    pipe: Connection, run_trial: Callable[[TrialSpec, TrialHome, Reporter], TrialResult]
) -> None:
    """Take jobs from *pipe* until the driver closes it, at whatever moment it does."""
    with contextlib.suppress(EOFError, ConnectionError):
        pipe.send(Ready())
        while True:
            job: Job = pipe.recv()
            pipe.send(run_job(job, pipe, run_trial))


def run_job(
    job: Job, pipe: Connection, run_trial: Callable[[TrialSpec, TrialHome, Reporter], TrialResult]
) -> Ended | Refused:
    """Run *job* and write its result to its journal.

    Changed data and a full disk are no result of the trial: it is refused, and the sweep is to stop. The
    trial resumes when the same command is run again.
    """
    try:
        with Journal(Path(job.journal)) as journal:
            start = {"event": "start", "time": time.time(), "pid": os.getpid()}
            journal.append(start | {"host": socket.gethostname()})
            result = run_trial(job.spec, job.home, JournalReporter(job.key, journal, pipe))
            journal.append({"event": "result", "result": result.model_dump(mode="json")})
    except (InputError, StoreError) as error:
        return Refused(job.key, str(error))
    return Ended(job.key)


class JournalReporter:
    """Reporter that writes a trial's progress to its journal and sends it to the driver."""

    def __init__(self, key: str, journal: Journal, pipe: Connection) -> None:
        self.key, self.journal, self.pipe = key, journal, pipe
        self.beaten_at = 0.0

    def resume(self, step: int) -> None:
        """Write that training resumes from *step*."""
        self.journal.append({"event": "resume", "step": step})

    def step(self, step: int, values: dict[str, float]) -> None:
        """Write and send a point of the learning curve."""
        event: dict[str, Any] = {"event": "step", "step": step, "values": values}
        self.journal.append(event | {"time_ms": time.time_ns() // 1_000_000})
        self._send(Progress(self.key, step, values))

    def checkpoint(self, step: int) -> None:
        """Write that a whole checkpoint is on disk."""
        self.journal.append({"event": "checkpoint", "step": step})

    def beat(self) -> None:
        """Send a heartbeat, at most one a second."""
        now = time.monotonic()
        if now - self.beaten_at >= _BEAT_SECONDS:
            self.beaten_at = now
            self._send(Heartbeat())

    def _send(self, message: Progress | Heartbeat) -> None:
        """Send *message*; without a driver this worker ends, which is no fault of the trial."""
        try:
            self.pipe.send(message)
        except OSError:
            sys.exit(1)


def _die_with_parent() -> None:
    """Have the kernel end this process when its driver is gone, even if it is killed."""
    parent = os.getppid()
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, AttributeError):
        return  # not Linux: the closed pipe ends the worker at its next message
    if os.getppid() != parent:
        os._exit(1)
