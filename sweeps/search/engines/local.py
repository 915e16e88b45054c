"""The local engine: one warm worker process per device slot, restarted when it dies or hangs."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from sweeps.search.engines.engine import Died, Ended, Event, Job, Progress, Refused
from sweeps.search.worker import Ready, work
from tracker.errors import SftSelectError

_TERM_GRACE_SECONDS = 5.0
#: So many starts in a row that fail, by themselves and by a signal from outside, end the sweep.
_FALSE_STARTS, _KILLED_STARTS = 3, 10
#: Libraries on a cold disk take minutes to load; nobody waits longer than that.
_START_SECONDS = 1800.0
#: Signals that only somebody outside sends: SIGKILL and the rest may be a trial's doing, as want of memory.
_FROM_OUTSIDE = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
#: A worker starts as ``python -c``, which would import a user's random.py or socket.py from here.
_SAFE_PATH = {"PYTHONSAFEPATH": "1"}


class _Slot:
    """One worker process and the job it has, which waits until the worker is ready."""

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
        # Ctrl-C is the driver's to handle, also while a worker still loads its libraries: what is blocked
        # here stays blocked there, and one that comes now is the driver's after the start.
        resource_tracker.ensure_running()  # its first start unblocks the signal
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
        far_end.close()
        self.heard_at = time.monotonic()
        self.ready = False

    def send(self) -> None:
        """Send the job to the worker, where there are both."""
        self.heard_at = time.monotonic()
        if self.job is not None and self.ready:
            with contextlib.suppress(OSError):  # a dead worker's pipe is the next event
                self.pipe.send(self.job)

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
                if slot.ready:
                    slot.send()
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
            if not slot.ready and silent > _START_SECONDS:
                yield from self._restart(slot, f"no start within {silent:.0f} s")
            elif slot.ready and slot.job is not None and silent > self.hang_seconds:
                yield from self._restart(slot, f"no progress for {silent:.0f} s")

    def close(self) -> None:
        """End all workers and the trials that they run; again does nothing."""
        while self._slots:
            self._slots.pop().stop()

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
                    slot.send()
        except (EOFError, OSError):
            slot.process.join()
            code = slot.process.exitcode
            yield from self._restart(slot, _exit_reason(code), -(code or 0))

    def _restart(self, slot: _Slot, why: str, by_signal: int = 0) -> Iterator[Died]:
        """Start another worker; the death of one that was ready is an event of its job.

        The job of one that was not has nothing to do with it, and waits for the next.
        """
        job, was_ready = slot.job, slot.ready
        slot.stop()
        if not was_ready:
            slot.false_starts += 1
            if slot.false_starts >= (_KILLED_STARTS if by_signal > 0 else _FALSE_STARTS):
                raise SftSelectError(
                    f"workers cannot start ({why}, {slot.false_starts} times in a row); run "
                    "`sft-select doctor` to see what is missing"
                )
        else:
            slot.job = None
        slot.start()
        if was_ready and job is not None:
            yield Died(job.key, why, by_signal not in _FROM_OUTSIDE)


def _exit_reason(code: int | None) -> str:
    if code is not None and code < 0:
        return f"worker ended by {signal.Signals(-code).name}"
    return f"worker exited with {code}"
