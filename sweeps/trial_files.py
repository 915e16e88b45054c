"""Files of a trial on this machine: its base model and data, found again after they were moved.

A configuration records where they lay. It may have been moved or copied together with them, or have come
from another machine: then they are looked for beside it, under the ends of their recorded paths, or where
the user says. A digest proves that a file is the same; what lies beside the configuration comes before what
lies at the recorded place, so that a copy uses its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from sweeps.base_models import content_digest, model_folder
from sweeps.data.examples import digest, whole_file
from sweeps.spec import ModelEntry
from tracker.errors import InputError
from tracker.task import FileRef
from tracker.trial import ModelSpec, TrialSpec

#: A model in the local cache of the hub.
_CACHED = re.compile(r"models--(?P<owner>.+?)--(?P<name>.+)/snapshots/(?P<revision>[0-9a-f]+)$")


def with_found_files(
    trial: TrialSpec, config: Path, model: str | None = None, data: Path | None = None
) -> TrialSpec:
    """*trial* with the places of its base model and data on this machine.

    *config*: the file that it was read from, beside which they are looked for. *model*: folder or hub id of
    the base model; *data*: folder of the data files; given, they are looked for nowhere else. Raises
    InputError, a line for the model and one for the data, where they are not found, or are others.
    """
    near = [config.resolve().parent, *config.resolve().parents[1:3]]
    finder = _Finder(near, model, data)
    moved = finder.moved(trial)
    if finder.missing_model is not None:
        finder.problems.append(
            f"{config}: found no base model at {finder.missing_model}; give its folder with --model"
        )
    if finder.missing:
        more = f" and {len(finder.missing) - 1} more" if len(finder.missing) > 1 else ""
        finder.problems.append(
            f"{config}: found no data file at {finder.missing[0]}{more}; give their folder with --data"
        )
    if finder.problems:
        raise InputError(list(dict.fromkeys(finder.problems)))
    found: TrialSpec = moved
    return found


def with_found_base(model: ModelSpec, near: Path, place: str | None = None) -> ModelSpec:
    """The base *model* with its place on this machine, looked for near the file or folder *near*.

    *place*: its folder or hub id; given, it is looked for nowhere else. Raises InputError where it is not
    found, or is another one by its digest.
    """
    folder = near.resolve()
    finder = _Finder([folder, *folder.parents[:3]], place, None)
    found: ModelSpec = finder.moved(model)
    digest = f", whose SHA-256 is {model.digest[:12]}…" if model.digest else ""
    if finder.missing_model is not None:
        raise InputError(
            f"{near}: found no base model {model.name} at {finder.missing_model}{digest}; name its folder "
            "or hub id (--base, or model_config={'base': …} in MLflow)"
        )
    if finder.problems:
        raise InputError(
            f"{place}: is not the base model that {near} was trained on{digest}; name the folder of that one"
        )
    return found


class _Finder:
    """Finds files; ``missing``: data files that are nowhere, ``problems``: one line each."""

    def __init__(self, near: Sequence[Path], model: str | None, data: Path | None) -> None:
        self.near, self.model, self.data = near, model, data
        self.missing_model: str | None = None
        self.missing: list[str] = []
        self.problems: list[str] = []

    def moved(self, value: Any) -> Any:
        """*value*, a part of a trial, with every path in it where the file is."""
        if isinstance(value, FileRef):
            return value.model_copy(update={"path": self._file(value)})
        if isinstance(value, ModelSpec):
            return value.model_copy(update={"path": self._model(value)})
        if isinstance(value, tuple):
            return tuple(map(self.moved, value))
        if not isinstance(value, BaseModel):
            return value
        parts = {name: getattr(value, name) for name in value.model_fields_set}
        changed = {n: new for n, part in parts.items() if (new := self.moved(part)) is not part}
        return value.model_copy(update=changed) if changed else value

    def _file(self, file: FileRef) -> str:
        recorded = whole_file(file.path)
        part = file.path.removeprefix(recorded)
        if self.data is not None:
            present = [path for path in _ends(recorded, [self.data]) if path.is_file()]
            for path in present:
                if digest(f"{path}{part}") == file.sha256:
                    return f"{path}{part}"
            self.problems.append(
                f"{present[0]}: is not the file that the sweep used, whose SHA-256 is "
                f"{file.sha256[:12]}…; give the folder of that file with --data"
                if present
                else f"{self.data}: found no {Path(recorded).name} there; give the folder that holds it "
                "with --data"
            )
            return file.path
        for path in _ends(recorded, self.near):
            if path.is_file() and digest(f"{path}{part}") == file.sha256:
                return f"{path}{part}"
        if not Path(
            recorded
        ).exists():  # one that is there, but changed, is refused when it is read
            self.missing.append(recorded)
        return file.path

    def _model(self, model: ModelSpec) -> str:
        if self.model is not None:
            folder = model_folder(ModelEntry(path=self.model), Path())
            if not self._is_same(folder, model):
                self.problems.append(
                    f"{folder}: is not the base model that the sweep used, whose SHA-256 is "
                    f"{str(model.digest)[:12]}…; give the folder of that model with --model"
                )
            return str(folder)
        for folder in _ends(model.path, self.near):
            if folder.is_dir() and model.digest is not None and self._is_same(folder, model):
                return str(folder)
        for base in (self.near[0], Path()):  # a relative path was written by hand
            with suppress(InputError):
                return str(model_folder(_cached(model) or model, base))
        self.missing_model = model.path
        return model.path

    @staticmethod
    def _is_same(folder: Path, model: ModelSpec) -> bool:
        if model.digest is None:  # a configuration written by hand
            return True
        return content_digest(folder, code=model.trust_remote_code) == model.digest


def _cached(model: ModelSpec) -> ModelEntry | None:
    """The hub's model that *model* was in the local cache of its machine; ``None`` where it was not."""
    found = _CACHED.search(model.path)
    if found is None or Path(model.path).is_dir():
        return None
    return ModelEntry(path=f"{found['owner']}/{found['name']}", revision=found["revision"])


def _ends(recorded: str, folders: Sequence[Path]) -> Iterator[Path]:
    """Places below *folders* that end as *recorded* does, the longest common end first."""
    names = [part for part in Path(recorded).parts if part not in ("/", "..")]
    for folder in folders:
        for start in range(len(names)):
            yield folder.joinpath(*names[start:])
