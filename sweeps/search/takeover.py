"""Takeover of finished trials: one that another sweep of the workspace has run is not run again.

Two trials are equal where their keys are: a key is a hash of all that determines a fine-tune. The result is
written into the journal of the trial here, with its origin; its answers are copied and its tuned model is
linked, so that the origin may be deleted. A copy comes before the journal: a driver that is killed in
between takes over again.

Only what an equal trial would end with again is taken over: a complete trial or one that diverged. One that
failed, did not fit its device, or was stopped by hand or by a budget is run.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from sweeps.data.recorded import recorded_answer
from sweeps.search.workspace import SweepFolder, sweep_folders
from tracker.errors import StoreError
from tracker.files import json_lines, whole_folder, write_atomically
from tracker.store.journal import Journal
from tracker.trial import Status, TakenOver, TrialResult, TrialSpec

_FINAL = frozenset({Status.COMPLETE, Status.DIVERGED})


class Ended(NamedTuple):
    """A trial that ended in the sweep of ``folder``."""

    folder: SweepFolder
    result: TrialResult

    @property
    def model(self) -> Path:
        """Folder of its tuned model, where that was kept."""
        return self.folder.model(self.result.spec.key)


class Takeover:
    """Takes trials over into the sweep of *folder*; *keep_models*: with their tuned models."""

    def __init__(self, folder: SweepFolder, *, keep_models: bool) -> None:
        self.folder, self.keep_models = folder, keep_models

    def __call__(self, spec: TrialSpec) -> TrialResult | None:
        """Result of *spec*, which has none here, from an equal trial; ``None`` where there is none.

        StoreError where the disk refuses its journal.
        """
        equal = list(self._equal(spec.key))
        if not equal:
            return None
        best = max(equal, key=lambda ended: self._worth(ended, spec))
        result = best.result.model_copy(update={"spec": spec})
        self._take(best, result)
        return result

    def _equal(self, key: str) -> Iterator[Ended]:
        """Trials of the workspace's other sweeps that have *key*: a file each, so looking is cheap."""
        for folder in sweep_folders(self.folder.workspace):
            if folder.root == self.folder.root or not folder.journal(key).is_file():
                continue
            with suppress(StoreError, OSError):  # a damaged journal says nothing
                result = folder.result(key)
                if result is not None and result.status in _FINAL:
                    yield Ended(folder, result)

    def _worth(self, ended: Ended, spec: TrialSpec) -> tuple[bool, bool]:
        """Of several, one with its model comes first, then one that recorded its answers alike."""
        alike = ended.result.spec.record_answers == spec.record_answers
        return self.keep_models and ended.model.is_dir(), alike

    def _take(self, ended: Ended, result: TrialResult) -> None:
        """Copy the files of *ended*, then write its *result* into the journal here."""
        key = result.spec.key
        _copy_answers(ended, result.spec, self.folder.artifacts(key))
        if self.keep_models:
            with suppress(OSError):  # none was kept, or its sweep drops it at this moment
                _link(ended.model, self.folder.model(key))
        journal = Journal(ended.folder.journal(key))
        taken_over = journal.taken_over() or TakenOver(sweep=ended.folder.root.name, key=key)
        self.folder.keep(key, result, journal.steps(), taken_over)


def _link(source: Path, target: Path) -> None:
    """Make *target* a folder of links to the files of *source*, whole or not at all; copies elsewhere.

    Nobody changes a model's files in place. Raises OSError where there is no such folder.
    """
    names = os.listdir(source)
    with whole_folder(target) as made:
        for name in names:
            try:
                os.link(source / name, made / name)
            except FileNotFoundError:
                raise
            except OSError:  # a file system without links, or a folder
                whole = shutil.copytree if (source / name).is_dir() else shutil.copyfile
                whole(source / name, made / name)


def _copy_answers(ended: Ended, spec: TrialSpec, target: Path) -> None:
    """Copy the files of answers, with no more in them than *spec* records."""
    target.mkdir(parents=True, exist_ok=True)
    recorded, wanted = ended.result.spec.record_answers, spec.record_answers
    if "none" in (recorded, wanted):
        return
    for task in spec.tasks:
        name = f"{task.name}.validation.jsonl"
        with suppress(OSError):  # none were recorded
            text = (ended.folder.artifacts(spec.key) / name).read_text(encoding="utf-8")
            if (recorded, wanted) == ("all", "hashed"):
                rows: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
                for row in rows:
                    row.pop("prompt", None)
                    for said in ("answer", "truth"):
                        row[said] = recorded_answer(task, row[said], wanted)
                text = json_lines(rows)
            write_atomically(target / name, text)
