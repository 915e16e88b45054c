"""exclude, delete and gc, as a user gives them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from typer.testing import CliRunner, Result

import sft_select
from sweeps import cli
from sweeps.resolve import ResolvedSweep
from sweeps.search import run as run_module
from sweeps.search import upkeep
from sweeps.search.generations import APART_BY
from sweeps.search.run import run_sweep
from sweeps.search.workspace import SweepFolder
from tests.factories import sweep_text
from tests.sweeps.search.formula import FormulaEngine
from tracker.errors import InputError, OwnedError, SftSelectError
from tracker.store.store import Store

Verb = Callable[..., Result]


@pytest.fixture(scope="module")
def begun(
    tiny_model: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Folder of two sweeps of three trials by formula, of which ``again`` took over those of ``tiny``."""

    @contextmanager
    def by_formula(_: ResolvedSweep) -> Iterator[FormulaEngine]:
        yield FormulaEngine(2)

    folder = tmp_path_factory.mktemp("keep")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "_engine", by_formula)
        for name in ("tiny", "again"):
            path = folder / f"{name}.yaml"
            path.write_text(sweep_text(tiny_model, tiny_data, name=name, budget={"trials": 3}))
            run_sweep(path, folder / "runs")
        yield folder


@pytest.fixture
def here(begun: Path, tmp_path: Path) -> Path:
    """A copy of them: a workspace may be moved."""
    return Path(shutil.copytree(begun, tmp_path / "copy"))


@pytest.fixture
def verb(here: Path) -> Verb:
    """Gives a verb of the command line for the workspace; an error is raised."""

    def give(*words: str) -> Result:
        given = [*words, "--workspace", str(here / "runs")]
        done = CliRunner().invoke(cli.app, given, standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        return done

    return give


def test_exclude_and_undo(verb: Verb, here: Path) -> None:
    said = verb("exclude", "tiny/1", "--why", "its rows were\nmixed up").output
    assert "nothing runs again" in said
    assert said.count("\n") == 1
    assert "trial 1 is excluded: its rows were mixed up" in verb("status", "tiny").output
    (shown,) = json.loads(verb("status", "tiny", "--json").output)
    assert [each["number"] for each in shown["excluded"]] == [1]
    sweep = sft_select.open(here / "runs")["tiny"]
    assert set(sweep.table["number"]) == {0, 2}
    again = run_sweep(here / "tiny.yaml", here / "runs").records
    assert [record.excluded for record in again] == [None, "its rows were mixed up", None]
    verb("exclude", again[1].result.spec.key.join(["tiny/", ""]), "--undo")
    assert set(sft_select.open(here / "runs")["tiny"].table["number"]) == {0, 1, 2}

    sweep.exclude(0, "to see")
    assert set(sweep.table["number"]) == {1, 2}
    sweep.include(0)
    assert set(sweep.table["number"]) == {0, 1, 2}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("exclude", "tiny/7", "--why", "x"), "no trial 7 has ended; allowed: .*0 to 2"),
        (("exclude", "tiny/1"), "give the reason"),
        (("exclude", "tiny", "--why", "x"), "SWEEP/NUMBER"),
        (("exclude", "tiny/1", "--undo"), "is not excluded"),
        (("exclude", "0123456789abcdef", "--why", "x"), "no sweep of this store"),
        (("exclude", "tony/1", "--why", "x"), "no such sweep"),
        (("delete", "tony", "--yes"), "no such sweep"),
        (("delete", "tiny"), "give --yes"),
    ],
)
def test_what_cannot_be_is_one_line(verb: Verb, words: tuple[str, ...], why: str) -> None:
    with pytest.raises(SftSelectError, match=why) as raised:
        verb(*words)
    assert "\n" not in str(raised.value)


def test_a_key_in_two_sweeps_needs_the_sweep(verb: Verb, here: Path) -> None:
    key = Store.open(here / "runs").records("tiny")[0].result.spec.key
    with pytest.raises(InputError, match="give one of tiny/0, again/0"):
        verb("exclude", key, "--why", "x")


def test_a_deleted_trial_is_run_again_and_a_deleted_sweep_is_gone(verb: Verb, here: Path) -> None:
    runs = here / "runs"
    store = Store.open(runs)
    records, other = store.records("tiny"), store.records("again")
    key = records[2].result.spec.key
    folder = SweepFolder(runs, "tiny")
    model = folder.model(key)
    model.mkdir(parents=True)
    (model / "weights").write_bytes(b"0" * 3000)
    verb("exclude", "tiny/2", "--why", "x")
    assert "trial 2 of tiny" in verb("delete", "tiny/2", "--yes").output
    assert not model.exists()
    assert not folder.journal(key).exists()
    assert [r.number for r in Store.open(runs).records("tiny")] == [0, 1]
    again = run_sweep(here / "tiny.yaml", runs).records
    assert again[2].taken_over is not None, "the other sweep still has it"
    assert again[2].excluded is None

    _, run_id = store.run_url_parts("tiny", records[0].result.spec.key)
    assert (runs / "artifacts" / run_id).is_dir()
    with folder.locked(), pytest.raises(OwnedError):
        verb("delete", "tiny", "--yes")
    verb("delete", "tiny", "--yes")
    assert not folder.root.exists()
    assert not (runs / "artifacts" / run_id).exists()
    left = Store.open(runs)
    assert [info.name for info in left.sweeps()] == ["again"]
    assert left.records("again") == other, "what it took over stays whole"
    assert run_sweep(here / "tiny.yaml", runs).records[0].taken_over is not None


def test_gc_removes_what_nothing_needs(verb: Verb, here: Path) -> None:
    runs = here / "runs"
    folder, store = SweepFolder(runs, "tiny"), Store.open(runs)
    keys = [record.result.spec.key for record in store.records("tiny")]
    _, deleted = store.run_url_parts("tiny", keys[0])
    store.client.delete_run(deleted)
    best = folder.model(keys[-1])
    for path in (
        best / "weights",
        folder.checkpoints(keys[1]) / "step-1" / "weights",
        folder.root / "models" / ".abc.0a1b2c3d.writing" / "half",
        runs / "cache" / f"{'0' * 32}.jsonl",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"0" * 2048)
    for path in runs.rglob(".abc.*"):
        os.utime(path, (1, 1))
    before = sorted(path for path in runs.rglob("*") if path.is_file())
    shown = verb("gc", "--dry-run").output
    for line in (
        "checkpoints of ended trials: 1, 2 KiB",
        "leftovers of killed processes: 1, 2 KiB",
        "cached results of deleted sweeps: 1, 2 KiB",
        "artifacts of deleted runs: 1, ",
        "nothing was removed (--dry-run)",
    ):
        assert line in shown
    kept = {path for path in before if path.suffix != ".db"}
    assert kept <= {path for path in runs.rglob("*") if path.is_file()}
    with folder.locked():
        pass  # which removes the leftovers itself
    removed = json.loads(verb("gc", "--json").output)
    assert {each["kind"].split()[0] for each in removed["removed"]} == {
        "checkpoints",
        "cached",
        "artifacts",
    }
    assert (best / "weights").exists(), "the best models are kept"
    assert not (runs / "artifacts" / deleted).exists()
    assert "nothing to remove" in verb("gc").output
    again = run_sweep(here / "tiny.yaml", runs).records
    assert [record.result.spec.key for record in again] == keys
    with folder.locked():
        assert "tiny: runs now" in verb("gc").output


def test_a_deletion_that_was_cut_off_is_finished_by_the_next(
    verb: Verb, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = here / "runs"
    other = Store.open(runs).records("again")

    def killed(path: Path) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(upkeep, "remove_folder", killed)
        with pytest.raises(RuntimeError, match="killed"):
            verb("delete", "tiny", "--yes")
    assert (runs / "tiny").exists()
    assert [info.name for info in Store.open(runs).sweeps()] == ["again"]
    verb("delete", "tiny", "--yes")
    assert not (runs / "tiny").exists()
    assert Store.open(runs).records("again") == other


def test_studies_in_another_database_are_deleted_with_the_sweep(verb: Verb, here: Path) -> None:
    uri = f"sqlite:///{here}/studies.db"
    for name in ("tiny", f"tiny{APART_BY}0a1b", "tinyx"):
        optuna.create_study(study_name=name, storage=uri)
    verb("delete", "tiny", "--yes", "--study-uri", uri)
    assert optuna.get_all_study_names(uri) == ["tinyx"]
