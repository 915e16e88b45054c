"""A workspace as a release leaves it, stopped half-way; ``python -m tests.old_workspace FILE`` makes one.

It holds two tiny real sweeps whose drivers were killed, and everything that they need: model, data,
sweep files, tracking store, studies, journals, a checkpoint of a trial under way. Beside it stands, in a
JSON file, what the same code made of it in the end. Made once by the code of a release and kept, so that
later code proves that it goes on with it; :mod:`tests.test_old_workspace`.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.conftest import write_tiny_data, write_tiny_model
from tests.factories import recommend
from tests.frozen.difference import plain
from tracker.export.config import FORMAT, _of_format_1, config_files, config_of
from tracker.store.store import Store

#: Where the files of an archive say that they lie.
RECORDED_ROOT = "/recorded"
#: Trials that have ended when a driver is killed. Of the fixed list those are the ones with the scores that
#: decide: they are recorded, and what is left to train scores nothing on any machine.
ENDED = {"list": 8, "choose": 5}
_TEXTS = ("*.json", "*.jsonl", "*.yaml")


def sweep_files() -> dict[str, dict[str, Any]]:
    """The sweeps by name: a fixed list, and a design that decides as it goes. Relative paths alone."""
    common: dict[str, Any] = {
        "models": [{"path": "model", "name": "tiny"}],
        "methods": {
            "full": {"learning_rate": {"low": 5e-3, "high": 3e-2, "log": True}},
            "lora": {"rank": 4, "learning_rate": {"low": 1e-2, "high": 1e-1, "log": True}},
            "p_tuning": {"virtual_tokens": 4, "learning_rate": 3e-2},
        },
        "tasks": {
            "intent": {
                "train": "data/train.jsonl",
                "prompt": {"instruction": "name the intent", "input": "{text}"},
                "answer": "{label}",
                "score": "macro_f1",
                "negative": "out_of_scope",
            }
        },
        "general": {"language": {"text": "data/general.jsonl"}},
        "replay": {"text": "data/replay.jsonl"},
        "volumes": [80, 160, 320],
        "mixes": {
            "plain": {"intent": 1},
            "replay": {"intent": 1, "replay": 0.1, "volumes": [160]},
        },
        "train": {"epochs": 6, "batch_size": 16, "max_length": 96},
        "evaluation": {"rows": 40, "batch_size": 40, "max_new_tokens": 8},
        "objective": {"weights": {"intent": 1}, "constraints": {"forgetting.language": 0.5}},
        "seeds": 2,
        "engine": {"kind": "local", "workers": 1, "checkpoint_seconds": 0.1},
        "keep": "none",
    }
    tuning = {"trials": 2, "volume": 160, "mix": "plain"}
    return {
        "list": common
        | {
            "name": "list",
            "search": {"strategy": "grid", "tuning": tuning, "window": 4},
            "budget": {"trials": 10},
        },
        "choose": common
        | {
            "name": "choose",
            "search": {"strategy": "law", "tuning": {"trials": 2}},
            "budget": {"trials": 9},
        },
    }


def make(archive: Path) -> None:
    """Run and kill the sweeps with the code at hand and pack the workspace into *archive*."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary).resolve() / "workspace"
        (root / "data").mkdir(parents=True)
        (root / "model").mkdir()
        write_tiny_data(root / "data")
        write_tiny_model(root / "model", root / "data")
        for name, content in sweep_files().items():
            (root / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
            _run_and_kill(root, name)
        _forget_this_machine(root)
        moved(root, str(root), RECORDED_ROOT)
        for path in root.rglob("*.db"):  # what was there before stands in its free pages
            with closing(sqlite3.connect(path)) as database:
                database.execute("VACUUM")
        with tarfile.open(archive, "w:gz", compresslevel=9) as packed:
            packed.add(root, arcname=".", filter=_nobody)


def expect(archive: Path) -> None:
    """Let the sweeps of *archive* run to their end, and keep what they were and what they came to."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary).resolve() / "workspace"
        unpack(archive, root)
        found: dict[str, Any] = {}
        for name in sweep_files():
            begun = Begun.of(root, name)
            done = end_of(root, name)
            assert done.returncode == 0, done.stderr
            store = Store.open(root / "runs", create=False)
            found[name] = {
                "digest": begun.digest,
                "begun": begun.state,
                "finished": state_of(root, store, name),
            }
        text = json.dumps(found, indent=1, ensure_ascii=False) + "\n"
        expectation_of(archive).write_text(text, encoding="utf-8")


def expectation_of(archive: Path) -> Path:
    """Where :func:`expect` keeps what it found."""
    return archive.with_name(archive.name.replace(".tar.gz", ".json"))


class Begun(NamedTuple):
    """A sweep as it was left: ``digest`` of what is fixed of it, ``journals`` by key of its ended trials,
    ``under_way``: keys of those with a checkpoint.
    """

    digest: str
    state: Any
    journals: dict[str, str]
    under_way: list[str]

    @classmethod
    def of(cls, root: Path, name: str) -> Begun:
        """The sweep *name* of the workspace in *root*."""
        home = root / "runs" / name
        journals = {key: journal(root, name, key) for key in ended(home)}
        store = Store.open(root / "runs", create=False)
        digest = store._runs.sweep(name).data.tags["sft.digest"]
        return cls(digest, state_of(root, store, name), journals, under_way(home))


def as_today(recorded: dict[str, Any]) -> dict[str, Any]:
    """A recorded state in today's names and without its sentences, which may be written anew."""
    state = copy.deepcopy(recorded)
    data = state["recommended"]
    if data.pop("format", FORMAT) == 1:
        data = _of_format_1(data)
        data["recommendation"].pop("trial", None)
    for sentences in ("question", "why", "caveats"):
        del data["recommendation"][sentences]
    data["recommendation"].pop(
        "task_results", None
    )  # what the choice measured is there in the trial
    for experiment in data["recommendation"]["next_experiments"]:
        del experiment["label"]
    return state | {"recommended": data}


def state_of(root: Path, store: Store, name: str) -> Any:
    """What the sweep's trials are, how they ended, and what is recommended, as plain data.

    Without what the clock and this machine say.
    """
    records = store.records(name)
    (info,) = [info for info in store.sweeps() if info.name == name]
    answer = recommend(records, store.objective(name), sweep=name, notes=store.notes(name))
    config, evidence = (
        yaml.safe_load((text or "").replace(str(root), RECORDED_ROOT))
        for text in config_files(config_of(answer, records), "recommended.yaml")
    )
    data = {name: config[name] for name in ("sweep", "trial", "scores")}
    data["recommendation"] = evidence["recommendation"]
    return plain(
        {
            "counts": {status: count for status, count in sorted(info.counts.items()) if count},
            "trials": [
                [r.number, r.stage, r.result.spec.key, r.result.status.value] for r in records
            ],
            "recommended": data,
        }
    )


def end_of(root: Path, name: str) -> subprocess.CompletedProcess[str]:
    """The sweep's command, to its end."""
    command = [sys.executable, "-m", "sweeps.cli", "run", f"{name}.yaml", "--workspace", "runs"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True)


def journal(root: Path, name: str, key: str) -> str:
    """The trial's journal."""
    return (root / "runs" / name / "journal" / f"{key}.jsonl").read_text(encoding="utf-8")


def unpack(archive: Path, folder: Path) -> Path:
    """The workspace of *archive* as if it had been made in *folder*; returns its ``runs``."""
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    moved(folder, RECORDED_ROOT, str(folder))
    return folder / "runs"


def moved(root: Path, old: str, new: str) -> None:
    """Write *new* for the folder *old* in every text and database under *root*."""
    for pattern in _TEXTS:
        for path in root.rglob(pattern):
            text = path.read_text(encoding="utf-8")
            if old in text:
                path.write_text(text.replace(old, new), encoding="utf-8")
    for path in root.rglob("*.db"):
        with closing(sqlite3.connect(path)) as database, database:
            for table, column in _text_columns(database):
                database.execute(
                    f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) '
                    f'WHERE instr("{column}", ?)',
                    (old, new, old),
                )
    store = root / "runs" / "mlflow.db"
    with closing(sqlite3.connect(store)) as database, database:
        _seal_results(database, root, new)


def _seal_results(database: sqlite3.Connection, root: Path, shown: str) -> None:
    """Give each result, whose text was changed, its digest again. *shown*: where *root* is said to lie."""
    rows = database.execute(
        "SELECT runs.run_uuid, runs.artifact_uri FROM runs "
        "JOIN tags ON tags.run_uuid = runs.run_uuid AND tags.key = 'sft.result'"
    ).fetchall()
    for run, uri in rows:
        place = root / uri.removeprefix("file://").removeprefix(shown).strip("/")
        digest = hashlib.sha256((place / "result.json").read_bytes()).hexdigest()
        database.execute(
            "UPDATE tags SET value = ? WHERE run_uuid = ? AND key = 'sft.result'", (digest, run)
        )


def _text_columns(database: sqlite3.Connection) -> list[tuple[str, str]]:
    tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    return [
        (table, column[1])
        for (table,) in tables
        for column in database.execute(f'PRAGMA table_info("{table}")')
        if any(kind in column[2].upper() for kind in ("CHAR", "TEXT", "JSON"))
    ]


def _run_and_kill(root: Path, name: str) -> None:
    """Run the sweep until a trial is under way that has a checkpoint, and kill its driver."""
    home = root / "runs" / name
    command = [sys.executable, "-m", "sweeps.cli", "run", f"{name}.yaml", "--workspace", "runs"]
    driver = subprocess.Popen(command, cwd=root, stderr=subprocess.DEVNULL)
    try:
        while driver.poll() is None:
            time.sleep(0.005)
            if len(ended(home)) >= ENDED[name] and under_way(home):
                break
        assert driver.poll() is None, f"{name}: it ended before it could be stopped"
    finally:
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    time.sleep(1.0)  # its workers go with it
    assert under_way(home), f"{name}: no trial was left half-way; make it again"


def ended(home: Path) -> list[str]:
    """The keys of the trials of the sweep in *home* that have ended."""
    journals = sorted((home / "journal").glob("*.jsonl"))
    return [path.stem for path in journals if '"event":"result"' in path.read_text()]


def under_way(home: Path) -> list[str]:
    """The keys of those that have a whole checkpoint and no result."""
    found = {path.parent.parent.name for path in home.glob("checkpoints/*/step-*/manifest.json")}
    return sorted(found - set(ended(home)))


def _forget_this_machine(root: Path) -> None:
    """Take away who made it, and where: it is to be read by everyone."""
    shutil.rmtree(root / "runs" / "cache", ignore_errors=True)
    for owner in root.rglob("driver.json"):
        owner.write_text(json.dumps(json.loads(owner.read_text()) | {"host": "recorded"}))
    with closing(sqlite3.connect(root / "runs" / "mlflow.db")) as database, database:
        database.execute("UPDATE runs SET user_id = 'recorded'")
        database.execute("UPDATE tags SET value = 'recorded' WHERE key = 'mlflow.user'")
        database.execute("UPDATE tags SET value = 'sft-select' WHERE key = 'mlflow.source.name'")


def _nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive", type=Path)
    wanted = parser.parse_args().archive
    make(wanted)
    expect(wanted)
