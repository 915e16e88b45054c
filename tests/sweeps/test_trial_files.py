"""Base model and data of a configuration that was moved, copied, or brought to another machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.base_models import model_spec
from sweeps.data.examples import file_ref, part_path
from sweeps.spec import ModelEntry
from sweeps.trial_files import with_found_files
from tracker.errors import InputError
from tracker.task import SuiteSpec
from tracker.trial import TrialSpec


@pytest.fixture
def home(
    make_spec: Callable[..., TrialSpec], tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> tuple[Path, TrialSpec]:
    """A folder with model, data and configuration, and the trial as it was recorded there."""
    home = tmp_path / "home"
    shutil.copytree(tiny_model, home / "models" / "tiny")
    shutil.copytree(tiny_data, home / "data")
    config = home / "recommended.yaml"
    config.write_text("sweep: s\n")
    spec = make_spec("lora")
    (task,) = spec.tasks
    train = home / "data" / "train.jsonl"
    files = {
        "train": file_ref(part_path(str(train), "train", 0.2), 480),
        "validation": file_ref(part_path(str(train), "validation", 0.2), 120),
        "test": file_ref(home / "data" / "test.jsonl"),
    }
    spec = spec.model_copy(
        update={
            "model": model_spec(ModelEntry(path=str(home / "models" / "tiny")), Path()),
            "tasks": (task.model_copy(update=files),),
            "general": (
                SuiteSpec(name="language", text=file_ref(home / "data" / "general.jsonl")),
            ),
        }
    )
    return home, spec


def places(spec: TrialSpec) -> set[str]:
    (task,), (suite,) = spec.tasks, spec.general
    assert task.train is not None
    assert suite.text is not None
    return {spec.model.path, task.train.path, task.validation.path, suite.text.path}


def test_at_home_nothing_changes(home: tuple[Path, TrialSpec], tmp_path: Path) -> None:
    folder, spec = home
    assert with_found_files(spec, folder / "recommended.yaml") == spec
    (tmp_path / "elsewhere").mkdir()
    assert with_found_files(spec, tmp_path / "elsewhere" / "recommended.yaml") == spec


@pytest.mark.parametrize("gone", [True, False], ids=["moved", "copied"])
@pytest.mark.parametrize("place", ["recommended.yaml", "out/recommended.yaml"])
def test_what_was_moved_along_is_used(
    home: tuple[Path, TrialSpec], tmp_path: Path, gone: bool, place: str
) -> None:
    folder, spec = home
    new = tmp_path / "new"
    shutil.copytree(folder, new)
    (new / "out").mkdir()
    if gone:
        shutil.rmtree(folder)
    found = with_found_files(spec, new / place)
    assert all(path.startswith(str(new)) for path in places(found)), places(found)
    assert found.key == spec.key
    assert found.tasks[0].train is not None
    assert found.tasks[0].train.path.endswith("#train=0.2")


def test_what_only_looks_the_same_is_not_used(home: tuple[Path, TrialSpec], tmp_path: Path) -> None:
    folder, spec = home
    shutil.copytree(folder, tmp_path / "new")
    with (tmp_path / "new" / "data" / "train.jsonl").open("a") as file:
        file.write('{"text": "another", "label": "weather"}\n')
    (tmp_path / "new" / "models" / "tiny" / "config.json").write_text("{}")
    found = with_found_files(spec, tmp_path / "new" / "recommended.yaml")
    assert found.model.path == spec.model.path
    assert found.tasks[0].train == spec.tasks[0].train
    assert found.tasks[0].test != spec.tasks[0].test


def test_what_is_nowhere_is_requested_and_proven(
    home: tuple[Path, TrialSpec], tmp_path: Path
) -> None:
    folder, spec = home
    config = tmp_path / "lonely" / "deep" / "down" / "recommended.yaml"
    config.parent.mkdir(parents=True)
    shutil.move(folder / "models" / "tiny", tmp_path / "base")
    shutil.move(folder / "data", tmp_path / "rows")
    with pytest.raises(InputError) as said:
        with_found_files(spec, config)
    model, data = said.value.problems
    assert model.endswith(f"found no base model at {spec.model.path}; give its folder with --model")
    assert data.endswith(" and 3 more; give their folder with --data")

    found = with_found_files(spec, config, str(tmp_path / "base"), tmp_path / "rows")
    assert all(path.startswith(str(tmp_path)) for path in places(found))
    assert not any(str(folder) in path for path in places(found))

    (tmp_path / "base" / "config.json").write_text("{}")
    (tmp_path / "rows" / "test.jsonl").write_text("{}\n")
    (tmp_path / "rows" / "general.jsonl").unlink()
    with pytest.raises(InputError) as said:
        with_found_files(spec, config, str(tmp_path / "base"), tmp_path / "rows")
    text = str(said.value)
    assert f"{tmp_path}/base: is not the base model that the sweep used" in text
    assert f"{tmp_path}/rows/test.jsonl: is not the file that the sweep used" in text
    assert f"{tmp_path}/rows: found no general.jsonl there" in text
    assert len(said.value.problems) == 3
