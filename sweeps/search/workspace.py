"""A sweep's folder in the workspace: its files by name, and the lock that one driver holds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from sweeps.finetune.contract import LARGE_MODEL_BYTES, TrialHome
from sweeps.ownership import owned
from sweeps.search.engines.engine import Job
from sweeps.spec import SweepSpec
from tracker.errors import InputError
from tracker.files import remove_folder, remove_leftovers
from tracker.store import artifacts
from tracker.store.journal import Attempts, Journal, Step
from tracker.trial import TakenOver, TrialResult, TrialSpec


class SweepFolder:
    """The folder ``<workspace>/<sweep>/`` and the paths in it."""

    def __init__(self, workspace: Path, sweep: str) -> None:
        self.workspace = workspace
        self.root = workspace / sweep
        self.sweep_file = self.root / "sweep.yaml"
        self.identity_file = self.root / "plan.json"
        self.changes_file = (
            self.root / "changes.jsonl"
        )  # of the sweep file, since the sweep was begun
        self.study_file = self.root / "study.db"
        self.baselines = workspace / "baselines"

    @property
    def begun(self) -> bool:
        """Whether the sweep was begun here."""
        return self.identity_file.exists()

    @property
    def identity(self) -> dict[str, Any] | None:
        """How the sweep was begun; ``None`` where no readable file says: it is new, or a disk lost it.

        Raises InputError where something else is in the file's place.
        """
        try:
            identity = json.loads(self.identity_file.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None
        except OSError as error:
            raise InputError(
                f"{self.identity_file}: cannot be read ({error.strerror}); remove it and run again"
            ) from error
        return identity if isinstance(identity, dict) else None

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

    def taken_over(self, key: str) -> TakenOver | None:
        """Where the trial's result is from, if it was not run in this sweep."""
        return Journal(self.journal(key)).taken_over()

    def keep(
        self,
        key: str,
        result: TrialResult,
        steps: Sequence[Step] = (),
        taken_over: TakenOver | None = None,
    ) -> None:
        """Write a result, after its *steps*, into the trial's journal on behalf of a worker that is gone.

        *taken_over*: where it is from, if no worker of this sweep ran it.
        """
        ended: dict[str, Any] = {"event": "result", "result": result.model_dump(mode="json")}
        if taken_over is not None:
            ended["taken_over"] = taken_over.model_dump(mode="json")
        with Journal(self.journal(key)) as journal:
            for step in steps:
                journal.append({"event": "step", **step._asdict()})
            journal.append(ended)

    def first_result(self, key: str) -> TrialResult | None:
        """First result of the trial, also where it was retried since; ``None`` until it has ended."""
        return Journal(self.journal(key)).first_result()

    def attempts(self, key: str) -> Attempts:
        """Attempts at the trial, which is not under way, since it made progress."""
        return Journal(self.journal(key)).attempts()

    def note(self, key: str, event: dict[str, Any]) -> None:
        """Write what became of the trial's worker into its journal: a death, a stop or a retry."""
        with Journal(self.journal(key)) as journal:
            journal.append(event, sync=True)

    def job(self, key: str, spec: TrialSpec, sweep: SweepSpec) -> Job:
        """The trial with its paths, as an engine takes it."""
        home = TrialHome(
            checkpoints=self.checkpoints(key),
            artifacts=self.artifacts(key),
            baselines=self.baselines,
            model=self.model(key) if sweep.keep != "none" else None,
            checkpoint_seconds=sweep.engine.checkpoint_seconds,
            model_limit_bytes=LARGE_MODEL_BYTES,
        )
        return Job(key, spec, home, str(self.journal(key)))

    def tidy(self, key: str) -> None:
        """Remove the trial's checkpoints."""
        shutil.rmtree(self.checkpoints(key), ignore_errors=True)

    def drop_model(self, key: str) -> None:
        """Remove the trial's tuned model, if there is one."""
        remove_folder(self.model(key))

    def _remove_leftovers(self) -> None:
        """Remove what a killed driver and its workers left half written; the caller holds the lock."""
        remove_leftovers(self.baselines)
        for folder in (self.workspace / artifacts.FOLDER).glob("*/artifacts"):
            remove_leftovers(folder)
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
        with self.owned():
            self._remove_leftovers()
            yield

    def owned(self) -> AbstractContextManager[None]:
        """The sweep's lock, as :meth:`locked`, without removing anything."""
        return owned(
            self.root / "driver",
            lambda owner: (
                f"{self.root.name}: another driver runs this sweep: {owner}; wait for it, "
                "or stop it and run the same command again"
            ),
            "give a --workspace that can be",
        )


def sweep_folders(workspace: Path) -> list[SweepFolder]:
    """Folders of the sweeps that were begun in *workspace*, by name."""
    found = sorted(path.parent for path in workspace.glob("*/sweep.yaml"))
    return [SweepFolder(workspace, folder.name) for folder in found]
