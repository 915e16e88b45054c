"""Writer of the playground: its data files, and a sweep file that runs on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from sweeps.playground.documents import general_texts
from sweeps.playground.language import make_language
from sweeps.playground.pretrain import MODELS_FOLDER
from sweeps.playground.tasks import HELD_OUT, TASKS, Task, make_splits
from tracker.errors import InputError
from tracker.files import json_lines, write_atomically

DEMO_MODELS = ("pg-30k", "pg-100k", "pg-800k")
SPLITS = ("train", "validation", "test")


def prepare_demo(folder: Path) -> Path:
    """Write the playground into *folder* unless it is there; returns its sweep file.

    Raises InputError where it cannot be written.
    """
    sweep_file = folder / "sweep.yaml"
    try:
        return sweep_file if sweep_file.exists() else write_playground(folder)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written ({error.strerror}); name another --folder"
        ) from error


def write_playground(folder: Path) -> Path:
    """Write the tasks' and suites' JSONL files and ``sweep.yaml``; returns the sweep file's path.

    The files depend on nothing but this package: writing twice gives the same bytes.
    """
    language = make_language(0)
    data = folder / "data"
    for task in TASKS.values():
        splits = make_splits(task, language)
        for split in SPLITS:
            write_atomically(
                data / task.name / f"{split}.jsonl", json_lines(getattr(splits, split))
            )
    held_out = make_splits(HELD_OUT, language, (0, 200, 0))
    write_atomically(data / "general" / f"{HELD_OUT.name}.jsonl", json_lines(held_out.validation))
    suite, replay = general_texts(language)
    write_atomically(
        data / "general" / "language.jsonl", json_lines({"text": text} for text in suite)
    )
    write_atomically(
        data / "general" / "replay.jsonl", json_lines({"text": text} for text in replay)
    )
    path = folder / "sweep.yaml"
    write_atomically(path, yaml.safe_dump(sweep_spec(), sort_keys=False, width=100))
    return path


def sweep_spec() -> dict[str, Any]:
    """The demo's sweep: model sizes × methods × training-set sizes on an even mix, and one task alone."""
    return {
        "name": "playground",
        "models": [{"path": str(MODELS_FOLDER / name)} for name in DEMO_MODELS],
        "methods": {
            "full": {"learning_rate": {"low": 3.0e-4, "high": 1.0e-2, "log": True}},
            "lora": {
                "rank": 8,
                "variant": "plain",
                "learning_rate": {"low": 1.0e-3, "high": 3.0e-2, "log": True},
            },
            # v2, a prefix in every layer: v1, at the input alone, learns next to nothing of these
            # tasks. A prefix bears rates that are far above those of weights.
            "p_tuning": {
                "variant": "v2",
                "virtual_tokens": 16,
                "learning_rate": {"low": 3.0e-2, "high": 5.0e-1, "log": True},
            },
        },
        "tasks": {task.name: _task_entry(task) for task in TASKS.values()},
        "general": {
            "language": {"text": "data/general/language.jsonl", "measure": "bits_per_byte"},
            HELD_OUT.name: {"task": _held_out_entry(), "measure": "bits_per_byte"},
        },
        "volumes": [200, 400, 800, 1600],
        # even at 1,600 and topic at 400 have the same 400 rows of topic: the difference is the other tasks.
        "mixes": {
            "even": {**dict.fromkeys(TASKS, 1), "replay": 0.03},
            "topic": {"topic": 1, "replay": 0.03, "volumes": [400]},
        },
        "replay": {"text": "data/general/replay.jsonl"},
        # In 3 passes a prefix learns half of what it does in 10: 40 % against 55 % on pg-800k.
        "train": {"epochs": {"p_tuning": 10}, "batch_size": 16, "max_length": 64},
        "evaluation": {"rows": 150, "batch_size": 150, "max_new_tokens": 8},
        "objective": {
            "weights": dict.fromkeys(TASKS, 1),
            "constraints": {"forgetting.language": 0.3},
        },
        "seeds": 2,
        "budget": {"trials": 90},
        "search": {"strategy": "grid", "tuning": {"trials": 3, "volume": 400, "mix": "even"}},
        "engine": {"kind": "local", "workers": 2},
    }


def _task_entry(task: Task) -> dict[str, Any]:
    entry: dict[str, Any] = {split: f"data/{task.name}/{split}.jsonl" for split in SPLITS}
    entry |= {
        "prompt": {"instruction": task.instruction, "input": "{text}"},
        "answer": "{label}",
        "score": task.score,
        "negative": task.negative,
        "pattern": task.pattern,
    }
    return {key: value for key, value in entry.items() if value is not None}


def _held_out_entry() -> dict[str, Any]:
    return {
        "validation": f"data/general/{HELD_OUT.name}.jsonl",
        "prompt": {"instruction": HELD_OUT.instruction, "input": "{text}"},
        "answer": "{label}",
        "score": HELD_OUT.score,
    }
