"""Final training: its model's folder, resume, and the note on versions."""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from sweeps.data.readers import Row
from sweeps.finetune import final as module
from sweeps.finetune.final import (
    FinalModel,
    check_mergeable,
    differing_versions,
    merge_model,
    train_config,
)
from sweeps.finetune.trained_model import TrainedModel, read_card
from sweeps.finetune.trial import run_trial
from tests.sweeps.conftest import METHODS
from tests.sweeps.finetune.test_trial import MakeSpec
from tracker.errors import InputError, OwnedError, SftSelectError, StoreError
from tracker.export.config import Config
from tracker.store.model_registry import Model
from tracker.store.test_reads import Reading
from tracker.trial import EvaluationSpec


class Registry:
    """Stands in for the store; *down*: it does not answer."""

    def __init__(self) -> None:
        self.registered: list[list[str]] = []
        self.read: set[Reading] = set()
        self.down = False

    def register_model(self, sweep: str, model: Model, scores: object) -> str:
        if self.down:
            raise StoreError("the store does not answer; run the same command again")
        self.registered.append(sorted(path.name for path in model.folder.iterdir()))
        return str(len(self.registered))

    def read_test(self, sweep: str, readings: Sequence[Reading]) -> dict[str, int]:
        self.read |= set(readings)
        return {each.sha256: sum(r.sha256 == each.sha256 for r in self.read) for each in readings}


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def train(make_spec: MakeSpec, registry: Registry, tmp_path: Path) -> Callable[..., FinalModel]:
    """``train(method, folder=tmp/out/model, show=nothing)``: a small trial of the method."""
    small = EvaluationSpec(rows=8, batch_size=8, max_new_tokens=4)

    def run(method: str, folder: Path | None = None, **options: Any) -> FinalModel:
        spec = make_spec(method, evaluation=small, volume=16, examples={"intent": 16})
        config = Config(sweep="s", trial=spec)
        place = folder or tmp_path / "out" / "model"
        return train_config(config, "c: 1\n", place, registry, **options)  # type: ignore[arg-type]

    return run


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir())


@pytest.mark.parametrize("order", [("lora", "full"), ("full", "lora")])
def test_a_model_takes_the_place_of_another(
    order: tuple[str, str], train: Callable[..., FinalModel], registry: Registry
) -> None:
    train(order[0])
    final = train(order[1])
    assert final.version == "2"
    assert registry.registered[-1] == sorted(path.name for path in final.folder.iterdir())
    assert (final.folder / "adapter_config.json").exists() == (order[1] == "lora")
    assert AutoModelForCausalLM.from_pretrained(final.folder)
    assert left(final.folder) == ["model", "model-records"], "nothing partial is left"
    rows = {score.split: score.n for score in final.result.tasks}
    assert rows == {"validation": 8, "test": 120}, (
        "the cap on rows is validation's, test is scored whole"
    )
    assert final.test_reads == {"intent": 2}


def test_a_folder_with_other_content_is_refused_before_training(
    train: Callable[..., FinalModel],
    make_spec: MakeSpec,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "run_trial", None)  # must not be called
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "cat.png").touch()
    with pytest.raises(InputError, match=r"photos: found cat\.png; allowed: a model that train"):
        train("lora", photos)
    other = tmp_path / "other"  # a model, which train did not write
    shutil.copytree(make_spec("none").model.path, other)
    with pytest.raises(InputError, match=r"other: found .*json, .*; allowed: a model that train"):
        train("lora", other)
    with pytest.raises(InputError, match="found the base model, which training must not replace"):
        train("lora", Path(make_spec("none").model.path))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file: found a file; allowed: a folder"):
        train("lora", tmp_path / "file")
    assert (photos / "cat.png").exists()
    assert not list(tmp_path.glob("*.partial"))


def test_a_store_that_is_down_costs_no_training(
    train: Callable[..., FinalModel], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.down = True
    with pytest.raises(StoreError):
        train("lora")
    registry.down = False
    with monkeypatch.context() as patch:
        patch.setattr(module, "run_trial", None)  # must not be called again
        final = train("lora")
    assert final.version == "1"
    assert final.test_reads == {"intent": 1}, "what was measured once is counted once"
    assert (final.folder / "adapter_config.json").exists()
    assert left(final.folder) == ["model", "model-records"]


def test_an_interrupted_train_goes_on_from_its_checkpoint(
    train: Callable[..., FinalModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def often(spec: Any, home: Any, *args: Any, **kwargs: Any) -> Any:
        return run_trial(spec, home._replace(checkpoint_seconds=0.0), *args, **kwargs)

    monkeypatch.setattr(module, "run_trial", often)
    seen: list[int] = []

    def cut(step: int, _: dict[str, float]) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("full", show=cut)
    final = train("full", show=lambda step, _: seen.append(step))
    assert seen == [3, 4]
    whole = train("full", tmp_path / "whole" / "model")
    assert whole.result.tasks == final.result.tasks
    a, b = (AutoModelForCausalLM.from_pretrained(m.folder).state_dict() for m in (final, whole))
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_training_that_diverged_is_said_and_leaves_nothing(
    train: Callable[..., FinalModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = METHODS["lora"].model_copy(update={"learning_rate": 1e30})
    monkeypatch.setitem(METHODS, "lora", wild)
    with pytest.raises(SftSelectError, match="training ended diverged: "):
        train("lora")
    assert not list((tmp_path / "out").glob("*.partial"))
    assert not (tmp_path / "out" / "model").exists()


def test_other_versions_are_said_in_one_line() -> None:
    from importlib.metadata import version

    installed = {
        "torch": version("torch"),
        "peft": version("peft"),
        "device": "moon",
        "threads": "9",
    }
    assert differing_versions(installed) is None
    assert differing_versions({}) is None
    assert differing_versions(installed | {"peft": "0.0.1"}) == (
        f"note: measured with peft 0.0.1, here {version('peft')}: scores may differ slightly"
    )


def test_one_process_at_a_time_trains_into_a_folder(
    train: Callable[..., FinalModel], tmp_path: Path
) -> None:
    refused: list[str] = []

    def second(step: int, _: dict[str, float]) -> None:
        if not refused:
            with pytest.raises(OwnedError) as said:
                train("full")
            refused.append(str(said.value))

    final = train("lora", show=second)
    assert refused == [
        f"{tmp_path}/out/model: another train writes there: process {os.getpid()} on "
        f"{socket.gethostname()} since {refused[0].split(' since ')[1].split(';')[0]}; wait for it, or "
        "name another folder with -o"
    ]
    assert left(final.folder) == ["model", "model-records"]


@pytest.mark.parametrize("harm", ["result", "model", "both a folder"])
def test_what_an_interrupted_train_kept_is_proven_before_it_is_used(
    harm: str, train: Callable[..., FinalModel], registry: Registry, tmp_path: Path
) -> None:
    whole = train("lora", tmp_path / "whole" / "model")
    registry.down = True
    with pytest.raises(StoreError):
        train("lora")
    (home,) = (tmp_path / "out" / "model.partial").glob("*/")
    if harm == "result":
        (home / "result.json").write_bytes(b"\xff{")
    elif harm == "model":
        file = home / "model" / "adapter_model.safetensors"
        file.write_bytes(file.read_bytes()[:-9])
    else:
        (home / "result.json").unlink()
        (home / "result.json").mkdir()
    registry.down = False
    final = train("lora")
    names = sorted(path.name for path in whole.folder.iterdir())
    assert sorted(path.name for path in final.folder.iterdir()) == names
    for name in names:
        assert (final.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


def test_a_model_that_was_about_to_be_replaced_is_put_back(
    train: Callable[..., FinalModel], registry: Registry, tmp_path: Path
) -> None:
    """A process was killed between the two renames that put a new model in its place."""
    first = train("lora")
    first.folder.rename(first.folder.with_name(".model.01234567.replaced"))
    time.sleep(0.6)  # what was just made may be a living process's
    registry.down = True
    with pytest.raises(StoreError):
        train("full")
    assert (first.folder / "adapter_config.json").exists()


def test_an_adapter_is_merged_into_its_checkpoint_and_scored_again(
    train: Callable[..., FinalModel], tmp_path: Path
) -> None:
    """The merged folder is a model of its own, in the checkpoint's dtype, with both scores in its card."""
    final = train("pissa")
    merged = merge_model(final, 0.01)
    assert merged.folder == final.folder.with_name("model-merged")
    (score,) = merged.merge.scores
    assert score.adapter == final.scores("validation")[0].score
    card = read_card(merged.folder)
    assert card.merge == merged.merge
    whole = AutoModelForCausalLM.from_pretrained(merged.folder)
    assert not list(merged.folder.glob("adapter*"))
    base = AutoModelForCausalLM.from_pretrained(card.trial.model.path)
    assert whole.dtype == base.dtype
    changed = [n for n, p in whole.named_parameters() if not torch.equal(p, base.get_parameter(n))]
    assert changed
    assert all("proj" in name for name in changed), "LoRA's layers alone"
    rows = [Row(1, {"text": "hello there, book a table", "label": "x"})]
    answers = [
        TrainedModel.load(folder).answer(card.trial.tasks[0], "rows", rows, score=False).records
        for folder in (final.folder, merged.folder)
    ]
    assert answers[0][0]["answer"] == answers[1][0]["answer"]
    assert merge_model(final, 0.01).folder == merged.folder, "again, in its place"


def test_a_merge_beyond_the_tolerance_is_refused_and_writes_nothing(
    train: Callable[..., FinalModel], make_spec: MakeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    final = train("lora")
    monkeypatch.setattr(
        TrainedModel,
        "validation_scores",
        lambda _: [s.model_copy(update={"score": 0.5}) for s in final.scores("validation")],
    )
    with pytest.raises(SftSelectError, match=r"--merge: found intent .* merged; allowed: a diff"):
        merge_model(final, 0.01)
    assert left(final.folder) == ["model", "model-records"]
    for method in ("full", "p_tuning_v2"):
        with pytest.raises(InputError, match=r"--merge: found .*; allowed: lora"):
            check_mergeable(make_spec(method))
