"""Drivers forked from a process that has imported everything: a kill and a resume in a second or two.

A forked driver is the command line's own ``main`` in a session of its own, with its output in a file. Its
workers are forked from it and run :func:`sweeps.search.worker.work`, or with the fake trainer a twin of it
that trains nothing. Only the start of the interpreter and the imports are missing; ``first_start`` starts
whole processes.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import stat
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal, NamedTuple

import psutil

from sweeps.finetune.contract import Reporter, TrialHome
from tracker.trial import TrialResult, TrialSpec

Trainer = Literal["fake", "real", "mixed"]

#: What a driver or a check imports late; a name that is gone is passed over.
PRELOADED = """
sweeps.cli sweeps.search.run sweeps.search.worker sweeps.search.schedule sweeps.finetune.trial
sweeps.progress sweeps.terminal sweeps.profile sweeps.finetune.final tracker.decision.recommend
tracker.decision.explain tracker.export.config tracker.store.store tracker.laws.auxiliary
tracker.store.bulk_write tracker.store.database_setup tracker.store.model_registry
tracker.store.finished_trials tests.faults.fake_trial tests.faults.invariants mlflow mlflow.tracking
mlflow.store.tracking.sqlalchemy_store alembic.command optuna.storages optuna.storages._rdb.models
optuna.samplers transformers.models.llama.modeling_llama transformers.trainer peft rich.console
rich._emoji_codes sqlalchemy.dialects.sqlite mlflow.store.tracking.sqlalchemy_workspace_store
rich.live sklearn.gaussian_process scipy.optimize scipy.stats pandas
""".split()


class Ended(NamedTuple):
    """How a forked process ended: its exit code, or minus the signal; its output."""

    code: int
    output: str


class Process:
    """A forked process, which has a session of its own."""

    def __init__(self, pid: int, output: Path) -> None:
        self.pid, self.output = pid, output
        self.code: int | None = None

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        if self.code is None:
            found, status = os.waitpid(self.pid, os.WNOHANG)
            if found:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def wait(self, seconds: float) -> Ended:
        """Wait for its end; AssertionError, and SIGKILL to its session, after so many seconds."""
        due = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > due:
                stacks = _stacks(self.pid)
                self.signal_session(signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(
                    f"no end within {seconds:.0f} s: {stacks}{self.text()[-2000:]}"
                )
            time.sleep(0.01)
        assert self.code is not None
        return Ended(self.code, self.text())

    def text(self) -> str:
        """Its output so far."""
        return self.output.read_text(encoding="utf-8", errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process alone, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def signal_session(self, number: signal.Signals) -> None:
        """Send a signal to this process and all that it started, as a terminal does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def children(self) -> list[psutil.Process]:
        """Its living children."""
        try:
            return psutil.Process(self.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


def preload() -> None:
    """Import all that a driver imports, in the environment that it would set."""
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    from tracker.store import tracking_uri

    tracking_uri.set_environment()
    for name in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    tasks = [Path(f"/proc/self/task/{task}/comm") for task in os.listdir("/proc/self/task")]
    names = sorted(task.read_text().strip() for task in tasks)
    from sqlalchemy.orm import configure_mappers

    configure_mappers()
    names = [name for name in names if name != "jemalloc_bg_thd"]  # pyarrow's, which stands a fork
    assert len(names) == 1, f"a process of threads {names} must not fork"
    import gc

    gc.collect()
    gc.freeze()


def fork(run: Callable[[], None], output: Path) -> Process:
    """Call *run* in a forked process; SystemExit gives its exit code, any other exception 1."""
    output.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return Process(pid, output)
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - until the end
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
        run()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        _end(code)
    raise AssertionError("a forked process has ended")


def driver(
    arguments: Sequence[str],
    output: Path,
    trainer: Trainer,
    before: Callable[[], None] = lambda: None,
) -> Process:
    """Fork the command ``sft-select`` with *arguments*; *before* is called in the fork first."""

    def run() -> None:
        fork_workers(trainer)
        before()
        sys.argv = ["sft-select", *arguments]
        from sweeps.cli import main

        main()

    return fork(run, output)


def fork_workers(trainer: Trainer) -> None:
    """Have this process's local engine fork its workers; those of the fake trainer train nothing."""
    import multiprocessing

    from sweeps.search.engines import local

    context = multiprocessing.get_context("fork")
    target = local.work if trainer == "real" else partial(_fake_work, trainer)

    class _Multiprocessing:
        """What the local engine asks of multiprocessing."""

        @staticmethod
        def get_context(_method: str) -> Any:
            return context

    def work(pipe: Connection, threads: int, device: str | None, *more: Any) -> None:
        _close_the_drivers(pipe)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        target(pipe, threads, device, *more)

    local.multiprocessing = _Multiprocessing  # type: ignore[attr-defined]
    local.work = work  # type: ignore[attr-defined]


def _fake_work(
    trainer: Trainer, pipe: Connection, threads: int, device: str | None, *_more: Any
) -> None:
    """:func:`sweeps.search.worker.work` with the fake trial; of *mixed* ones every fifth is real."""
    from sweeps.finetune.trial import run_trial
    from sweeps.search import worker
    from tests.faults import fake_trial

    def either(spec: TrialSpec, home: TrialHome, reporter: Reporter) -> TrialResult:
        real = trainer == "mixed" and int(spec.key, 16) % 5 == 0
        return (run_trial if real else fake_trial.run_trial)(spec, home, reporter)

    worker._die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker.serve(pipe, either)


def _close_the_drivers(pipe: Connection) -> None:
    """Close the files and sockets that a spawned worker would not have: locks, databases, others' pipes."""
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        if number > 2 and number != pipe.fileno():
            with contextlib.suppress(OSError):
                mode = os.fstat(number).st_mode
                if stat.S_ISREG(mode) or stat.S_ISSOCK(mode):
                    os.close(number)


def _end(code: int) -> None:
    """End a forked process as an interpreter ends: non-daemon threads first, then multiprocessing's."""
    import atexit
    import threading

    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _stacks(pid: int) -> str:
    """What a process that does not end is doing, where py-spy is installed."""
    try:
        done = subprocess.run(["py-spy", "dump", "--pid", str(pid)], capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout + "\n"


def session_members(sessions: set[int]) -> list[int]:
    """Living processes of the sessions that *sessions* began, zombies aside."""
    found = []
    for process in psutil.process_iter(["pid", "status"]):
        try:
            if os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (OSError, psutil.NoSuchProcess):
            continue
    return found


def outlives(driver: Process, seconds: float = 10.0) -> list[str]:
    """I6: what of the driver's session still lives some seconds after its end; it is killed."""
    due = time.monotonic() + seconds
    while left := session_members({driver.pid}):
        if time.monotonic() > due:
            driver.signal_session(signal.SIGKILL)
            return [f"I6: processes {left} outlive their driver"]
        time.sleep(0.02)
    return []


if __name__ == "__main__":  # python -m tests.faults.fork_server mixed run sweep.yaml ...
    fork_workers(sys.argv[1])  # type: ignore[arg-type]
    sys.argv = ["sft-select", *sys.argv[2:]]
    from sweeps.cli import main

    main()
