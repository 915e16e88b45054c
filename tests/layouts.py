"""Twenty layouts of data from ``init`` to ``run``: ``python -m tests.layouts [FOLDER]``.

Each is written to a folder, drafted, examined and, without ``--draft-only``, run for six trials of a tiny
model. A layout holds where its sweep file reads it as it is meant, or where it is refused with the line that
converts it and the converted rows hold.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import yaml
from pyarrow import parquet

from sweeps.data.examples import read_located
from sweeps.guess import NOTHING_SAID, Wanted
from sweeps.init import draft_sweep
from sweeps.preflight import read_checked
from sweeps.resolve import ResolvedSweep
from tests.conftest import write_tiny_data, write_tiny_model
from tracker.errors import InputError
from tracker.files import write_text

Rows = list[dict[str, Any]]
ROWS = 120


class Layout(NamedTuple):
    """A layout: what writes its files into a folder, and what the draft must hold of the task.

    ``expected``: of the drafted task, by key; ``says``: what the first row's prompt holds, ``trained``: its
    answer. ``wanted``: options of ``init``, where the data are ambiguous.
    """

    name: str
    write: Callable[[Path], Sequence[Path]]
    expected: dict[str, Any]
    wanted: Wanted = NOTHING_SAID


class Outcome(NamedTuple):
    """What became of a layout; ``problem`` is empty where it holds."""

    name: str
    problem: str
    seconds: float


# -- rows --------------------------------------------------------------------------------------------

LABELS = ("book_table", "play_music", "set_alarm", "out_of_scope")
TOPICS = ("交通", "美食", "教育", "天气")
WORDS = (
    "please",
    "could you",
    "now",
    "tonight",
    "for two",
    "by noon",
    "in town",
    "again",
    "this week",
)


def _text(index: int) -> str:
    draw = random.Random(index)
    return f"{' '.join(draw.sample(WORDS, 4))} {index}"


def _chinese(index: int) -> str:
    draw = random.Random(index)
    return f"第{index}条:今天{''.join(draw.sample('天地人和山水风云花鸟春夏秋冬', 8))}怎么样"


def labelled(count: int = ROWS, text: str = "text", label: str = "label", start: int = 0) -> Rows:
    """Rows of a text and one of four labels, one of which is the negative class."""
    return [{text: _text(i), label: LABELS[i % len(LABELS)]} for i in range(start, start + count)]


def _chat(index: int, system: bool = False) -> list[dict[str, str]]:
    turns = [
        {"role": "user", "content": _text(index)},
        {"role": "assistant", "content": LABELS[index % 4]},
    ]
    return [{"role": "system", "content": "Name the intent."}, *turns] if system else turns


def _topics(index: int) -> list[str]:
    draw = random.Random(index)
    return sorted(draw.sample(TOPICS, draw.choice((1, 1, 2, 3))))


def _slots(index: int) -> dict[str, str]:
    draw = random.Random(index)
    slots = {"time": draw.choice(("noon", "six", "eight")), "people": draw.choice(("two", "four"))}
    return slots if draw.random() < 0.3 else {}


# -- files -------------------------------------------------------------------------------------------


def jsonl(path: Path, rows: Rows) -> Path:
    """Write rows as JSON Lines, packed where the name ends in ``.gz``."""
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    return _bytes(path, text.encode())


def table(path: Path, rows: Rows, delimiter: str = ",", encoding: str = "utf-8") -> Path:
    """Write rows as delimited text."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return _bytes(path, text.getvalue().encode(encoding))


def _bytes(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def _splits(
    folder: Path, suffix: str, rows: Callable[[int, int], Rows], **names: str
) -> list[Path]:
    """The three splits of a task, ``train`` and the others by *names*."""
    jsonl(folder / f"train{suffix}", rows(ROWS, 0))
    for number, name in enumerate(names.values(), start=1):
        jsonl(folder / f"{name}{suffix}", rows(40, ROWS * number))
    return [folder / f"train{suffix}"]


def _labelled(count: int, start: int) -> Rows:
    return labelled(count, start=start)


def _parquet(folder: Path) -> list[Path]:
    rows = labelled()
    columns = {
        "text": pyarrow.array([row["text"].encode() for row in rows]),
        "label": pyarrow.array([row["label"] for row in rows]).dictionary_encode(),
    }
    parquet.write_table(pyarrow.table(columns), folder / "train-00000-of-00001.parquet")
    rows = labelled(40, start=ROWS)
    validation = {name: [row[name] for row in rows] for name in ("text", "label")}
    parquet.write_table(pyarrow.table(validation), folder / "dev-00000-of-00001.parquet")
    return [folder]


def _unequal(folder: Path) -> list[Path]:
    for name, count in (("large", 400), ("small", 40), ("middle", 120)):
        jsonl(folder / name / "train.jsonl", labelled(count))
        jsonl(folder / name / "val.jsonl", labelled(20, start=1000))
    return [folder / name for name in ("large", "small", "middle")]


def _of(write: Callable[[Path, Rows], Path], name: str, rows: Rows) -> Callable[[Path], list[Path]]:
    return lambda folder: [write(folder / name, rows)]


def _each(row: Callable[[int], dict[str, Any]], count: int = ROWS) -> Rows:
    return [row(index) for index in range(count)]


LABEL_TASK = {"answer": "{label}", "score": "macro_f1", "negative": "out_of_scope"}
PAIR = {"score": "macro_f1", "negative": "out_of_scope"}
CHAT = PAIR | {"says": "Name the intent."}
LAYOUTS = (
    Layout(
        "folder with dev and test",
        lambda folder: [_splits(folder, ".jsonl", _labelled, dev="dev", test="test")[0].parent],
        LABEL_TASK | {"validation": "dev.jsonl", "test": "test.jsonl"},
    ),
    Layout(
        "gzip with valid and eval",
        lambda folder: _splits(folder, ".jsonl.gz", _labelled, valid="valid", test="eval"),
        LABEL_TASK | {"validation": "valid.jsonl.gz", "test": "eval.jsonl.gz"},
    ),
    Layout(
        "JSON array",
        lambda folder: [_bytes(folder / "intents.json", json.dumps(labelled()).encode())],
        LABEL_TASK,
    ),
    Layout(
        "wrapped array",
        lambda folder: [_bytes(folder / "w.json", json.dumps({"data": labelled()}).encode())],
        LABEL_TASK,
    ),
    Layout(
        "CSV",
        _of(table, "intents.csv", labelled(text="utterance", label="intent")),
        {"answer": "{intent}", "score": "macro_f1", "negative": "out_of_scope"},
    ),
    Layout("semicolons", lambda folder: [table(folder / "s.csv", labelled(), ";")], LABEL_TASK),
    Layout("tabs", lambda folder: [table(folder / "t.tsv", labelled(), "\t")], LABEL_TASK),
    Layout("Parquet shard", _parquet, LABEL_TASK | {"validation": "dev-00000-of-00001.parquet"}),
    Layout(
        "byte-order mark",
        lambda folder: [table(folder / "b.csv", labelled(), encoding="utf-8-sig")],
        LABEL_TASK,
    ),
    Layout(
        "Chinese labels in gb18030",
        lambda folder: [
            table(
                folder / "g.csv",
                _each(lambda i: {"内容": _chinese(i), "类别": [*TOPICS, "其他"][i % 5]}),
                encoding="gb18030",
            )
        ],
        {"answer": "{类别}", "score": "macro_f1", "negative": "其他", "encoding": "gb18030"},
    ),
    Layout(
        "Chinese multi-label",
        _of(
            jsonl, "c.jsonl", _each(lambda i: {"评论": _chinese(i), "标签": "、".join(_topics(i))})
        ),
        {"answer": "{标签}", "score": "multilabel_f1"},
    ),
    Layout(
        "list of labels",
        _of(jsonl, "l.jsonl", _each(lambda i: {"text": _text(i), "tags": _topics(i)})),
        {"answer": "{tags}", "score": "multilabel_f1"},
    ),
    Layout(
        "messages",
        _of(jsonl, "chat.jsonl", _each(lambda i: {"messages": _chat(i, system=True)})),
        CHAT,
    ),
    Layout(
        "ShareGPT with a system turn",
        _of(
            jsonl,
            "sharegpt.jsonl",
            _each(
                lambda i: {
                    "system": "Name the intent.",
                    "conversations": [
                        {"from": "human", "value": _text(i)},
                        {"from": "gpt", "value": LABELS[i % 4]},
                    ],
                }
            ),
        ),
        CHAT,
    ),
    Layout(
        "Alpaca with a history",
        _of(
            jsonl,
            "alpaca.jsonl",
            _each(
                lambda i: {
                    "instruction": "Name the intent.",
                    "input": _text(i),
                    "output": LABELS[i % 4],
                    "history": [["hello", "hello, what can I do?"]],
                }
            ),
        ),
        PAIR | {"says": "what can I do?"},
    ),
    Layout(
        "preference pairs",
        _of(
            jsonl,
            "pairs.jsonl",
            _each(
                lambda i: {
                    "prompt": _text(i),
                    "chosen": LABELS[i % 4],
                    "rejected": LABELS[(i + 1) % 4],
                }
            ),
        ),
        PAIR,
    ),
    Layout(
        "numbers",
        _of(
            jsonl,
            "sums.jsonl",
            _each(lambda i: {"question": f"what is {i} and {i % 7}", "answer": i + i % 7}),
        ),
        {"answer": "{answer}", "score": "number"},
    ),
    Layout(
        "JSON slots, most empty",
        _of(jsonl, "slots.jsonl", _each(lambda i: {"text": _text(i), "slots": _slots(i)})),
        {"answer": "{slots}", "score": "json"},
    ),
    Layout(
        "two fields that may be the answer",
        _of(
            jsonl,
            "two.jsonl",
            _each(
                lambda i: {"text": _text(i), "intent": LABELS[i % 4], "topic": "abc"[(i // 3) % 3]}
            ),
        ),
        {"answer": "{topic}", "score": "macro_f1"},
        Wanted({None: "topic"}, {}, {}),
    ),
    Layout("three tasks of unequal size", _unequal, LABEL_TASK | {"validation": "val.jsonl"}),
)


# -- from init to run --------------------------------------------------------------------------------


def drafted(layout: Layout, folder: Path, model: Path) -> tuple[Path, ResolvedSweep]:
    """The sweep file drafted for a layout's data in *folder*, as the doctor reads it.

    Raises InputError where either refuses, AssertionError where the draft is not what it should be.
    """
    rows = folder / "data"
    rows.mkdir(parents=True)
    draft = draft_sweep(layout.write(rows), [str(model)], folder / "sweeps", layout.wanted)
    path = write_text(folder / "sweeps" / "sweep.yaml", draft.text)
    sweep = read_checked(path, folder / "runs")
    first = next(iter(yaml.safe_load(draft.text)["tasks"].values()))
    task = next(iter(sweep.tasks.values()))
    assert task.train is not None
    example = read_located(task, task.train.path)[0].example
    said = "\n".join(turn.content for turn in example.messages)
    for key, value in layout.expected.items():
        found = first.get(key)
        if key == "says":
            found = value if value in said else said
        if key == "trained":
            found = example.answer
        if key in ("validation", "test"):
            found = found and Path(found).name
        assert found == value, f"{key}: found {found!r}, meant is {value!r}"
    wide = [line for line in draft.text.split("\n") if len(line) > 100]
    assert not wide, f"a line of {len(wide[0])} columns: {wide[0]}"
    return path, sweep


def run(path: Path, workspace: Path, trials: int = 6) -> str:
    """Run a drafted sweep for a few trials; what went wrong, empty where nothing did."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    volumes = [content["volumes"][0]]
    first = next(iter(content["mixes"]))
    mix = content["mixes"][first]
    mix["volumes"] = [mix.get("volumes", volumes)[0]]
    content |= {
        "volumes": list(mix["volumes"]),
        "mixes": {first: mix},
        "budget": {"trials": trials},
        "seeds": 1,
    }
    content["train"]["epochs"] = 1
    content["evaluation"]["rows"] = 16
    content["objective"]["weights"] = {t: 1 for t in mix if t in content["tasks"]}
    content["search"] = {"strategy": "random"}
    content["engine"]["workers"] = 1
    short = path.with_name("short.yaml")
    short.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    command = [sys.executable, "-m", "sft_select", "run", str(short), "--workspace", str(workspace)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    failed = [
        line for line in done.stdout.splitlines() if " failed" in line and "0 failed" not in line
    ]
    if done.returncode or failed:
        return f"run: exit code {done.returncode}: {(failed or [done.stderr[-400:]])[0]}"
    return ""


def tried(layout: Layout, folder: Path, model: Path, *, trained: bool) -> Outcome:
    """What becomes of a layout from ``init`` to ``run``."""
    started = time.monotonic()
    try:
        path, _ = drafted(layout, folder, model)
        problem = run(path, folder / "runs") if trained else ""
    except InputError as error:
        problem = f"refused: {error}"
    except AssertionError as error:
        problem = str(error)
    return Outcome(layout.name, problem, time.monotonic() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, help="where to leave files and sweeps")
    parser.add_argument("--draft-only", action="store_true", help="train nothing")
    parser.add_argument("--only", default="", help="layouts whose name holds this")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="layouts-"))
    data, model = folder / "tiny", folder / "model"
    data.mkdir(parents=True, exist_ok=True)
    write_tiny_data(data)
    write_tiny_model(model, data)
    outcomes = []
    for number, layout in enumerate(LAYOUTS, start=1):
        if options.only in layout.name:
            place = folder / f"{number:02}"
            shutil.rmtree(place, ignore_errors=True)
            outcome = tried(layout, place, model, trained=not options.draft_only)
            outcomes.append(outcome)
            print(
                f"{'held' if not outcome.problem else 'NOT':5} {outcome.seconds:6.1f} s  {layout.name}"
                + (f": {outcome.problem}" if outcome.problem else ""),
                flush=True,
            )
    fine = sum(not outcome.problem for outcome in outcomes)
    print(f"{fine} of {len(outcomes)} layouts held")
    sys.exit(fine < len(outcomes))


if __name__ == "__main__":
    main()
