"""Identity of a sweep: what of its file and data is fixed once it has begun, and what extends it.

A begun sweep may grow and shrink: models, methods, training-set sizes, mixes, seeds, scores, the objective
and the search may change, since a trial that ended stays what it is. What would make ended trials wrong or
lacking (rows, templates, the schedule, a mix or a model of the same name) is refused.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sweeps.preflight import settled
from sweeps.resolve import ResolvedSweep
from sweeps.search.workspace import SweepFolder
from tracker.errors import InputError
from tracker.files import json_lines, write_text
from tracker.store.file_changes import FileChange
from tracker.task import SCORING, FileRef
from tracker.trial import TrainSpec

#: Parts of a sweep file that may change between two starts: they do not change what a trial is.
_MAY_CHANGE = frozenset({"budget", "engine", "price", "record_answers"})
#: Parts whose change extends the sweep, or takes from it: ended trials stay what they are. Of mixes and
#: models those alone that both files have are compared.
_EXTENDS = frozenset(
    {"models", "methods", "volumes", "mixes", "seeds", "objective", "search", "keep"}
    | {"allow_leakage", "allow_code"}
)
#: Settings of a task that say how its answers are scored, as a sweep file has them.
_SCORING = SCORING | {"separator", "range", "direction", "seconds_per_row"}
#: Digits of a digest that name a generation of the study.
GENERATION_LENGTH = 12


class Identity(NamedTuple):
    """What is fixed of a sweep that was begun.

    ``content``: of its present file; ``changes``: what that changes of the one before, a line each;
    ``before``: digest of that one, ``None`` where nothing changed.
    """

    content: dict[str, Any]
    changes: tuple[str, ...] = ()
    before: str | None = None

    @property
    def digest(self) -> str:
        """Digest of the content, as the store has it."""
        return digest_of(self.content)


class Extension(NamedTuple):
    """A ``change`` of a begun sweep's file, from digest to digest; ``max_length``: the earlier file's."""

    change: FileChange
    before: str
    after: str
    max_length: int


def identity_of(sweep: ResolvedSweep) -> dict[str, Any]:
    """The part of a sweep that is compared once it has begun: file less _MAY_CHANGE, digests."""
    spec = sweep.spec.model_dump(mode="json", exclude=set(_MAY_CHANGE))
    spec["objective"].pop("target", None)  # it decides on what was run, not what is run
    if spec["keep"] == "best":
        spec["keep"] = "leaders"  # as earlier releases wrote it: a begun sweep keeps its digest
    digests = {
        Path(file.path).name + ":" + file.sha256[:8]: file.sha256 for file in data_files(sweep)
    }
    models = {name: model.digest for name, model in sweep.models.items()}
    return {"file": spec, "data": digests, "models": models, **settled(sweep)}


def digest_of(content: Any) -> str:
    """SHA-256 of plain data."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def compared(sweep: ResolvedSweep, folder: SweepFolder) -> Identity:
    """Identity of *sweep* beside the one begun; InputError where its file would make ended trials wrong.

    A model or data file that lies elsewhere, but is the same by its digest, is no difference. Where no
    readable file says how the sweep was begun, it is new, or a disk lost the file: then the store decides,
    which has the digest alone.
    """
    now = json.loads(json.dumps(identity_of(sweep)))
    begun = folder.identity
    if begun is None:
        return Identity(now)
    now["file"] = _at_recorded_places(begun.get("file"), now["file"], begun, now)
    if not list(_differences(begun, now)):
        return Identity(now)
    changes = tuple(_changes(begun, now))
    if digest_of(now) not in earlier_digests(folder):
        _refuse(sweep.spec.name, begun, now)
    return Identity(now, changes, digest_of(begun))


def _refuse(name: str, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    was, present = _kept_part(begun, now), _kept_part(now, begun)
    before, after = was["file"]["train"], present["file"]["train"]
    if after["max_length"] > before["max_length"] and not after["packing"]:
        del before["max_length"], after["max_length"]  # where no row was cut: kept_trials looks
    wrong = list(
        _differences(was, present) if any(_changes(begun, now)) else _differences(begun, now)
    )
    if wrong:
        raise InputError(
            [
                f"{name}: begun with another sweep file or data, and the trials that ended would not be "
                "comparable; restore what differs, or give the changed sweep another `name`: equal trials "
                "are taken over from this one (models, methods, volumes, mixes, seeds, a task's score, "
                "objective, search, budget, engine, price and record_answers may change)",
                *wrong,
                *(_WHY[key] for key in _WHY if any(f" {key}:" in line for line in wrong)),
            ]
        )


#: Why a change is refused, of those that a message advises.
_WHY = {
    "file.train.max_length": "it may be raised, and trials that ended keep their results where none of "
    "their rows was cut; with a smaller one, or with packing, every trial is another trial",
}


def _kept_part(identity: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What of *identity* must be as in *other*: all that the ended trials of both depend on."""
    whole, there = identity["file"], other["file"]
    file = {key: value for key, value in whole.items() if key not in _EXTENDS}
    file["train"] = dict(whole["train"])
    if isinstance(file["train"]["epochs"], Mapping):  # those of a method are one of its settings
        file["train"]["epochs"] = TrainSpec().epochs
    file["tasks"] = {name: _without(task, _SCORING) for name, task in whole["tasks"].items()}
    file["mixes"] = {
        name: _without(mix, {"volumes"})
        for name, mix in whole["mixes"].items()
        if name in there["mixes"]
    }
    here, others = _by_label(whole["models"]), _by_label(there["models"])
    file["models"] = {
        label: _without(here[label], {"methods"}) for label in here if label in others
    }
    data, replays = dict(identity["data"]), (whole["replay"], there["replay"])
    if None in replays:  # none of the other's trials has any
        del file["replay"]
        texts = {Path(replay["text"]).name for replay in replays if replay}
        data = {key: sha for key, sha in data.items() if key.rpartition(":")[0] not in texts}
    digests = {name: sha for name, sha in identity["models"].items() if name in other["models"]}
    return {"file": file, "data": data, "models": digests}


def _without(entry: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in set(keys)}


def _by_label(models: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """Models of a sweep file by the name that they have in results."""
    return {model["name"] or Path(model["path"]).name: model for model in models}


def _changes(begun: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What *now* changes of *begun*, a line each, as a reader of the file sees it."""
    before, after = dict(begun["file"]), dict(now["file"])
    for file in (before, after):
        file["models"] = _by_label(file["models"])
    for key in dict.fromkeys([*before, *after]):
        was: Any = before.get(key)
        present: Any = after.get(key)
        if was == present:
            continue
        if key in ("models", "mixes", "methods"):
            gone = [n for n in was if was[n] and not present.get(n)]
            new = [n for n in present if present[n] and not was.get(n)]
            changed = [n for n in present if was.get(n) and present[n] and was[n] != present[n]]
            yield _line(key, new, gone, changed)
        elif key == "volumes":
            new, gone = ([v for v in one if v not in other] for one, other in _both(present, was))
            yield _line(key, new, gone, ())
        else:
            yield from (line.strip() for line in _differences(was, present, key))


def _both(one: Any, other: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    return (one, other), (other, one)


def _line(key: str, new: Iterable[Any], gone: Iterable[Any], changed: Iterable[Any]) -> str:
    named = {"added": [*new], "removed": [*gone], "changed": [*changed]}
    parts = [f"{word} {', '.join(map(str, each))}" for word, each in named.items() if each]
    return f"{key}: {'; '.join(parts) or 'another order'}"


# -- the journal of changes ------------------------------------------------------------------------


def extensions_of(folder: SweepFolder) -> list[Extension]:
    """Changes of the sweep's file since it was begun, the earliest first; a torn line is left out."""
    try:
        lines = folder.changes_file.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
            change = FileChange(entry.pop("time"), tuple(entry.pop("changes")))
            found.append(Extension(change, **entry))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def earlier_digests(folder: SweepFolder) -> set[str]:
    """Digests of the files that the sweep has had."""
    return {digest for each in extensions_of(folder) for digest in (each.before, each.after)}


def earlier_lengths(folder: SweepFolder) -> list[int]:
    """``train.max_length`` of the files that the sweep has had, the latest first; of the present one too."""
    identity = folder.identity
    present = [identity["file"]["train"]["max_length"]] if identity else []
    earlier = [each.max_length for each in reversed(extensions_of(folder))]
    return list(dict.fromkeys([*present, *earlier]))


def write_change(folder: SweepFolder, identity: Identity) -> None:
    """Write that the sweep goes on with another file: its journal first, then what is fixed of it.

    May be repeated: a driver that was killed in between finds the change again.
    """
    assert identity.before is not None, "a change has a file before it"
    known, digest = extensions_of(folder), identity.digest
    if not known or (known[-1].before, known[-1].after) != (identity.before, digest):
        length = (folder.identity or identity.content)["file"]["train"]["max_length"]
        change = FileChange(time.time(), identity.changes)
        known.append(Extension(change, identity.before, digest, length))
        entries = ({**each._asdict(), **each.change._asdict()} for each in known)
        lines = json_lines({k: v for k, v in e.items() if k != "change"} for e in entries)
        write_text(folder.changes_file, lines)
    write_identity(folder, identity)


def write_identity(folder: SweepFolder, identity: Identity) -> None:
    """Write what is fixed of the sweep from now on."""
    write_text(folder.identity_file, json.dumps(identity.content, indent=1))


def generation_of(identity: Identity, folder: SweepFolder) -> str | None:
    """Generation of the study for this file; ``None`` for the file that the sweep was begun with."""
    known = extensions_of(folder)
    first = known[0].before if known else identity.before or identity.digest
    return None if identity.digest == first else identity.digest[:GENERATION_LENGTH]


def data_files(sweep: ResolvedSweep) -> list[FileRef]:
    """Every data file of the sweep, once."""
    files: list[FileRef | None] = [sweep.replay]
    for task in sweep.every_task:
        files += [task.train, task.validation, task.test]
    files += [suite.text for suite in sweep.general.values()]
    return list({file.sha256: file for file in files if file is not None}.values())


def _at_recorded_places(
    was: Any, present: Any, begun: Mapping[str, Any], now: Mapping[str, Any]
) -> Any:
    """*present*, a part of the sweep file, with the paths of *was* where the same model or file was moved."""
    if isinstance(was, list) and isinstance(present, list) and len(was) == len(present):
        pairs = zip(was, present, strict=True)
        return [_at_recorded_places(old, new, begun, now) for old, new in pairs]
    if not (isinstance(was, dict) and isinstance(present, dict)):
        return present
    kept = {}
    for key, new in present.items():
        old = was.get(key)
        if key not in _PLACES or not (isinstance(old, str) and isinstance(new, str)):
            kept[key] = _at_recorded_places(old, new, begun, now)
            continue
        # A model's digest is compared by its name.
        same = key == "path" or (
            Path(old).name == Path(new).name and _is_same_file(old, begun, now)
        )
        kept[key] = old if same else new
    return kept


#: Keys of a sweep file whose values are paths: of models, and of data files.
_PLACES = frozenset({"path", "train", "validation", "test", "text"})


def _is_same_file(path: str, begun: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether one file alone is called as *path* is, and its digest, or those of its parts, are as begun."""
    name = Path(path).name

    def digests(identity: Mapping[str, Any]) -> list[tuple[str, str]]:
        parts = (key.rpartition(":")[0] for key in identity.get("data", {}))
        found = zip(parts, identity.get("data", {}).values(), strict=True)
        return sorted((part, sha) for part, sha in found if part.partition("#")[0] == name)

    was = digests(begun)
    return was == digests(now) and len({part for part, _ in was}) == len(was) > 0


def _differences(begun: Any, now: Any, path: str = "") -> Iterator[str]:
    if isinstance(begun, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*begun, *now]):
            yield from _differences(begun.get(key), now.get(key), f"{path}.{key}" if path else key)
    elif begun != now:
        yield f"  {path}: was {json.dumps(begun)}, is {json.dumps(now)}"
