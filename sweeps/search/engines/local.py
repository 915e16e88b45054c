"""The local engine: one warm worker process per device slot, restarted when it dies or hangs."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from sweeps.search.engines.engine import Died, Ended, Event, Job, Progress, Refused
from sweeps.search.worker import Ready, work
from tracker.errors import SftSelectError

_TERM_GRACE_SECONDS = 5.0
_FALSE_STARTS = 3
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
#: A worker starts as ``python -c``, which would import a user's random.py or socket.py from here.
_SAFE_PATH = {"PYTHONSAFEPATH": "1"}


class _Slot:
    """One worker process and the job it has."""

    def __init__(self, device: str | None, threads: int) -> None:
        self.device, self.threads = device, threads
        self.job: Job | None = None
        self.false_starts = 0
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, far_end = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=work, args=(far_end, self.threads, self.device), daemon=True
        )
        variables = dict.fromkeys(_THREAD_VARIABLES, str(self.threads)) | _SAFE_PATH
        before = {name: os.environ.get(name) for name in variables}
        os.environ.update(variables)
        try:
            self.process.start()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        far_end.close()
        self.heard_at = time.monotonic()
        self.ready = False

    def stop(self) -> None:
        self.pipe.close()
        if self.process.is_alive():
            self.process.terminate()
            self.process.join(_TERM_GRACE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


class LocalEngine:
    """Trials in warm processes on this machine; see :class:`sweeps.search.engines.engine.Engine`."""

    def __init__(self, *, devices: list[str | None], threads: int, hang_seconds: float) -> None:
        self.hang_seconds = hang_seconds
        self._slots = [_Slot(device, threads) for device in devices]
        self.slots = len(self._slots)

    def submit(self, job: Job) -> None:
        """Start *job* on a free slot; RuntimeError when there is none."""
        for slot in self._slots:
            if slot.job is None:
                slot.job = job
                slot.heard_at = time.monotonic()
                with contextlib.suppress(OSError):  # a dead worker's pipe is the next event
                    slot.pipe.send(job)
                return
        raise RuntimeError("no free slot")

    def cancel(self, key: str) -> None:
        """End the worker that runs *key*, and start another; nothing where none does."""
        for slot in self._slots:
            if slot.job is not None and slot.job.key == key:
                slot.job = None
                slot.stop()
                slot.start()

    def events(self, timeout: float) -> Iterator[Event]:
        """Events of the workers, up to *timeout* seconds from now; dead and hung workers too."""
        by_pipe: dict[object, _Slot] = {slot.pipe: slot for slot in self._slots}
        for pipe in wait([slot.pipe for slot in self._slots], timeout):
            yield from self._messages(by_pipe[pipe])
        for slot in self._slots:
            silent = time.monotonic() - slot.heard_at
            if slot.job is not None and silent > self.hang_seconds:
                yield self._restart(slot, f"no progress for {silent:.0f} s")

    def close(self) -> None:
        """End all workers and the trials that they run."""
        for slot in self._slots:
            slot.stop()

    def _messages(self, slot: _Slot) -> Iterator[Event]:
        pipe: Connection = slot.pipe
        try:
            while pipe.poll():
                message = pipe.recv()
                slot.heard_at = time.monotonic()
                if isinstance(message, (Ended, Refused)):
                    slot.job = None
                if isinstance(message, (Progress, Ended, Refused)):
                    yield message
                elif isinstance(message, Ready):
                    slot.ready, slot.false_starts = True, 0
        except (EOFError, OSError):
            slot.process.join()
            had_job = slot.job is not None
            died = self._restart(slot, _exit_reason(slot.process.exitcode))
            if had_job:
                yield died

    def _restart(self, slot: _Slot, why: str) -> Died:
        job, slot.job = slot.job, None
        slot.stop()
        slot.false_starts += not slot.ready
        if slot.false_starts >= _FALSE_STARTS:
            raise SftSelectError(
                f"workers cannot start ({why}); run `sft-select doctor` to see what is missing"
            )
        slot.start()
        return Died(job.key if job else "", why)


def _exit_reason(code: int | None) -> str:
    if code is not None and code < 0:
        return f"worker ended by {signal.Signals(-code).name}"
    return f"worker exited with {code}"
