"""The same turns are trained by every trainer, or it is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.factories import task_spec
from tests.tracker.export.test_exports import data_rows, settings
from tracker.errors import InputError
from tracker.export import TRAINERS, export_config, recipe_for
from tracker.export.config import Config
from tracker.export.recipe import Row

Configs = Callable[..., Config]
ROLES = ("user", "assistant", "user", "assistant")
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"town": "x"}}}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {}}}


def chats(*weights: float) -> list[Row]:
    """All passes of ``make_spec()``, of two turns of the assistant each."""
    return [
        Row(
            [{"role": role, "content": f"{i} {place}"} for place, role in enumerate(ROLES)],
            None,
            ("intent", "banking")[i % 2],
            weights=weights,
        )
        for i in range(16)
    ]


def exported(make_config: Configs, rows: list[Row], to: str, folder: Path) -> tuple[Any, Any, str]:
    lines = export_config(make_config(), to, lambda: rows, folder)
    return settings(folder, to), data_rows(folder), "\n".join(lines)


def trained(to: str, found: dict[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    """Contents of the turns whose loss the trainer takes, by its own settings."""
    if to == "trl":
        return [turn["content"] for row in rows for turn in row["completion"]]
    if to == "llamafactory":
        said = [[t for t in row["messages"] if t["role"] == "assistant"] for row in rows]
        return [t["content"] for turns in said for t in turns[-1 if found["mask_history"] else 0 :]]
    key = found["datasets"][0].get("message_field_training")
    return [
        t["content"]
        for row in rows
        for t in row["messages"]
        if t.get(key, t["role"] == "assistant")
    ]


@pytest.mark.parametrize("to", TRAINERS)
@pytest.mark.parametrize("weights", [(), (0, 1, 0, 1), (0, 0, 0, 1), (0, 1, 0, 0), (0, 0.5, 0, 1)])
def test_the_same_turns(
    make_config: Configs, tmp_path: Path, to: str, weights: tuple[float, ...]
) -> None:
    found, rows, said = exported(make_config, chats(*weights), to, tmp_path)
    places = [place for place, weight in enumerate(weights or (0, 0, 0, 1)) if weight]
    expected = [f"{i} {place}" for i in range(16) for place in places]
    assert trained(to, found, rows) == expected
    assert ("weights are taken as 1 above 0" in said) == (0.5 in weights)
    split = "each trained turn is a row of its own" in said
    assert len(rows) == (len(expected) if split else 16)
    assert found["max_steps"] == -(-len(rows) // 4)


@pytest.mark.parametrize("to", TRAINERS)
def test_tools(make_config: Configs, tmp_path: Path, to: str) -> None:
    turns = [
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "sun"},
        {"role": "assistant", "content": "it is sunny"},
    ]
    rows = [Row(turns, None, "intent", tools=[TOOL])] * 16
    _, data, said = exported(make_config, rows, to, tmp_path)
    if to == "llamafactory":
        assert [t["role"] for t in data[0]["messages"][1:3]] == ["function_call", "observation"]
        assert json.loads(data[0]["messages"][1]["content"]) == [CALL["function"]]
        assert json.loads(data[0]["tools"]) == [TOOL["function"]]
        assert "LLaMA-Factory's own template" in said
        info = json.loads((tmp_path / "dataset_info.json").read_text())["train"]
        assert info["tags"]["function_tag"] == "function_call"
        assert info["columns"]["tools"] == "tools"
    else:
        first = data[0]
        messages = first["messages"] if to == "axolotl" else first["prompt"]
        assert messages[1]["tool_calls"] == [CALL]
        assert first["tools"] == [TOOL]


@pytest.mark.parametrize("to", TRAINERS)
def test_files_without_rows_are_refused_where_rows_decide(make_config: Configs, to: str) -> None:
    tasks = tuple(
        task_spec(name).model_copy(update={"turns": "all"}) for name in ("intent", "banking")
    )
    with pytest.raises(InputError, match=f"sft-select export CONFIG --to {to}"):
        recipe_for(make_config(tasks=tasks), to)
