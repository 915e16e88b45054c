"""A sweep's folder in the workspace: its files by name, and the lock that one driver holds."""

from __future__ import annotations

import json
import os
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from sweeps.finetune.contract import TrialHome
from sweeps.search.engines.engine import Job
from sweeps.spec import SweepSpec
from tracker.errors import InputError, OwnedError
from tracker.files import remove_leftovers
from tracker.store.journal import Journal, Step
from tracker.trial import TrialResult, TrialSpec

_KEPT_MODEL_BYTES = 1024**3


class SweepFolder:
    """The folder ``<workspace>/<sweep>/`` and the paths in it."""

    def __init__(self, workspace: Path, sweep: str) -> None:
        self.workspace = workspace
        self.root = workspace / sweep
        self.sweep_file = self.root / "sweep.yaml"
        self.identity_file = self.root / "plan.json"
        self.study_file = self.root / "study.db"
        self.baselines = workspace / "baselines"

    @property
    def begun(self) -> bool:
        """Whether the sweep was begun here."""
        return self.identity_file.exists()

    def journal(self, key: str) -> Path:
        """Journal of the trial: its event log."""
        return self.root / "journal" / f"{key}.jsonl"

    def checkpoints(self, key: str) -> Path:
        """Folder of the trial's checkpoints; removed once it has ended."""
        return self.root / "checkpoints" / key

    def artifacts(self, key: str) -> Path:
        """Folder of the trial's per-row records."""
        return self.root / "artifacts" / key

    def model(self, key: str) -> Path:
        """Folder of the trial's tuned model, where it was kept."""
        return self.root / "models" / key

    def result(self, key: str) -> TrialResult | None:
        """Result of the trial from its journal; ``None`` until it has ended."""
        return Journal(self.journal(key)).result()

    def keep(self, key: str, result: TrialResult, steps: Sequence[Step] = ()) -> None:
        """Write a result, after its *steps*, into the trial's journal on behalf of a worker that is gone."""
        with Journal(self.journal(key)) as journal:
            for step in steps:
                journal.append({"event": "step", **step._asdict()})
            journal.append({"event": "result", "result": result.model_dump(mode="json")})

    def job(self, key: str, spec: TrialSpec, sweep: SweepSpec) -> Job:
        """The trial with its paths, as an engine takes it."""
        home = TrialHome(
            checkpoints=self.checkpoints(key),
            artifacts=self.artifacts(key),
            baselines=self.baselines,
            model=self.model(key) if sweep.keep != "none" else None,
            checkpoint_seconds=sweep.engine.checkpoint_seconds,
            model_limit_bytes=_KEPT_MODEL_BYTES,
        )
        return Job(key, spec, home, str(self.journal(key)))

    def tidy(self, key: str) -> None:
        """Remove the trial's checkpoints."""
        shutil.rmtree(self.checkpoints(key), ignore_errors=True)

    def drop_model(self, key: str) -> None:
        """Remove the trial's tuned model, if there is one."""
        shutil.rmtree(self.model(key), ignore_errors=True)

    def _remove_leftovers(self) -> None:
        """Remove what a killed driver and its workers left half written; the caller holds the lock."""
        remove_leftovers(self.baselines)
        remove_leftovers(self.root)
        for part in ("models", "checkpoints", "artifacts"):
            remove_leftovers(self.root / part)
            for folder in (self.root / part).glob("*/"):
                remove_leftovers(folder)
        for file in (self.sweep_file, self.identity_file):  # as earlier releases named them
            for left in self.root.glob(f".{file.name}.*"):
                left.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the sweep's lock for this process; it ends with the process, however that ends.

        Raises OwnedError, naming the owner, when another driver holds it, InputError where there can be no
        such folder.
        """
        owner = self.root / "driver.json"
        lock = FileLock(self.root / "driver.lock")
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except Timeout:
            raise OwnedError(
                f"{self.root.name}: another driver runs this sweep: {_described(owner)}; wait for it, "
                "or stop it and run the same command again"
            ) from None
        except OSError as error:
            raise InputError(
                f"{self.root}: cannot be written ({error.strerror}); give a --workspace that can be"
            ) from error
        try:
            facts = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
            owner.write_text(json.dumps(facts))
            self._remove_leftovers()
            yield
        finally:
            owner.unlink(missing_ok=True)
            # Before the release: after it, the file may be the next driver's. A driver that had opened this
            # one sees that it has no name left, and makes its own.
            (self.root / "driver.lock").unlink(missing_ok=True)
            lock.release()


def _described(owner: Path) -> str:
    try:
        facts = json.loads(owner.read_text())
    except (OSError, ValueError):
        return "just starting"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(facts["since"]))
    return f"process {facts['pid']} on {facts['host']} since {since}"
