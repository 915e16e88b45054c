"""Methods in a sweep file: what may be tuned of each, and how it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sweeps.method_entry import LoraMethod, Range
from sweeps.spec import SweepSpec
from sweeps.sweep_file import load_sweep
from tests.factories import sweep_text
from tracker.errors import InputError


def load(folder: Path, **changes: object) -> SweepSpec:
    path = folder / "sweep.yaml"
    path.write_text(sweep_text(folder, folder, **changes))
    return load_sweep(path)


def lora(**settings: Any) -> dict[str, Any]:
    return {"lora": {"learning_rate": 1e-3, **settings}}


@pytest.mark.parametrize(
    ("written", "choices"),
    [
        ("all-linear", ("all-linear",)),
        ("q_proj", ("q_proj",)),
        ("q_proj, v_proj", ("q_proj,v_proj",)),
        (["q_proj", "v_proj"], ("q_proj,v_proj",)),
        (["self_attn.q_proj"], ("self_attn.q_proj",)),
        ([["q_proj", "v_proj"], ["q_proj"]], ("q_proj,v_proj", "q_proj")),
        (["all-linear", ["q_proj"]], ("all-linear", "q_proj")),
    ],
)
def test_a_list_of_modules_is_one_choice_and_a_list_of_lists_several(
    tmp_path: Path, written: Any, choices: tuple[str, ...]
) -> None:
    found = load(tmp_path, methods=lora(target_modules=written)).methods.lora
    assert found is not None
    assert found.target_modules == choices
    assert LoraMethod.model_validate(found.model_dump()).target_modules == choices


def test_numbers_are_fixed_listed_or_ranges(tmp_path: Path) -> None:
    decay = {"low": 0.0, "high": 0.1}
    spec = load(tmp_path, methods=lora(alpha=16, dropout=[0.1, 0], weight_decay=decay))
    assert spec.methods.lora is not None
    assert spec.methods.lora.alpha == (16.0,)
    assert spec.methods.lora.dropout == (0.0, 0.1)
    assert spec.methods.lora.weight_decay == Range(low=0.0, high=0.1)


@pytest.mark.parametrize(
    ("changes", "wording"),
    [
        (lora(target_modules="q proj"), "allowed: all-linear, or names of modules"),
        (lora(target_modules=[["all-linear", "q_proj"]]), "allowed: all-linear, or names"),
        (lora(target_modules=[]), "found no choices"),
        (lora(target_modules=3), "allowed: "),
        (lora(alpha=0), "alpha: found 0; allowed: above 0"),
        (lora(alpha=[16, 16]), "each choice once"),
        (lora(dropout=1.0), "dropout: found 1.0; allowed: below 1"),
        (lora(dropout={"low": 0.1, "high": 1.0}), "found high 1; allowed: high < 1"),
        (lora(weight_decay=-0.1), "weight_decay: found -0.1; allowed: at least 0"),
        (lora(weight_decay={"low": -1, "high": 1}), "found low -1; allowed: low >= 0"),
        (lora(batch_size=0), "batch_size: found 0; allowed: at least 1"),
        (lora(alhpa=16), "unknown key"),
        ({"full": {"learning_rate": 1e-3, "dropout": 0.1}}, "unknown key"),
    ],
)
def test_a_mistake_is_refused_in_one_line(
    tmp_path: Path, changes: dict[str, Any], wording: str
) -> None:
    with pytest.raises(InputError, match="methods") as caught:
        load(tmp_path, methods=changes)
    (problem,) = caught.value.problems
    assert wording in problem
    assert "\n" not in problem


@pytest.mark.parametrize(
    ("epochs", "wording"),
    [
        ({"p_tunning": 10}, "did you mean 'p_tuning'?"),
        ({"p_tuning": 0}, "train.epochs.p_tuning"),
        ({"p_tuning": 1001}, "train.epochs.p_tuning"),
        ({"p_tuning": [3, 3]}, "each choice once"),
        ({"p_tuning": []}, "found no choices"),
        ({"p_tuning": 2.5}, "allowed: a whole number"),
        ("3", "train.epochs: found '3'; allowed: a whole number"),
        ([3, 10], "train.epochs: found a list of 2"),
        (0, "train.epochs: found 0; allowed: at least 1"),
    ],
)
def test_passes_that_cannot_be_are_refused_in_one_line(
    tmp_path: Path, epochs: Any, wording: str
) -> None:
    with pytest.raises(InputError) as caught:
        load(tmp_path, train={"epochs": epochs})
    (problem,) = caught.value.problems
    assert wording in problem


def test_the_design_counts_every_choice(tmp_path: Path) -> None:
    methods = lora(rank=list(range(1, 33)), alpha=list(range(1, 33)))
    passes = {"lora": list(range(1, 11))}
    with pytest.raises(InputError, match="method settings") as caught:
        load(tmp_path, methods=methods, train={"epochs": passes}, mixes={"plain": {"intent": 1}})
    assert "10240 method settings" in str(caught.value)
