"""Bad inputs by kind and place: sweep files, data files, tables, recommendations, options of every verb.

Each is an outsider's: bytes in a folder and a command. What is said of it stands in
``tests/recorded/bad_inputs.jsonl``.
"""

from __future__ import annotations

import gzip
import io
import os
import socket
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow
import yaml
from pyarrow import parquet

Make = Callable[[Path], None]
FOLDER = "{folder}"


class Case(NamedTuple):
    """A bad input: how to lay it out in an empty folder, and the command to try there."""

    name: str
    command: tuple[str, ...]
    make: Make


SWEEP: dict[str, Any] = {
    "name": "s",
    "models": [{"path": "{model}", "name": "m", "family": "f"}],
    "methods": {
        "full": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
        "lora": {"rank": [4, 8], "variant": ["plain"], "learning_rate": 1e-3},
        "p_tuning": {"virtual_tokens": 4, "variant": "v1", "learning_rate": [1e-3, 1e-2]},
    },
    "tasks": {
        "t": {
            "train": "train.jsonl",
            "validation": "validation.jsonl",
            "prompt": {"instruction": "name it", "input": "{text}"},
            "answer": "{label}",
            "score": "macro_f1",
            "negative": "none",
            "pattern": "[a-z]+",
        }
    },
    "general": {"g": {"text": "general.jsonl", "measure": "bits_per_byte"}},
    "replay": {"text": "replay.jsonl"},
    "volumes": [4, 8],
    "mixes": {"a": {"t": 1, "replay": 0.1, "extra_epochs": {"t": 1}, "volumes": [8]}},
    "train": {
        "epochs": 1,
        "batch_size": 4,
        "accumulation": 1,
        "max_length": 96,
        "scheduler": "cosine",
        "warmup": 0.05,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "dtype": "float32",
        "packing": False,
        "diverged_above": 1.5,
    },
    "evaluation": {"rows": 8, "batch_size": 8, "max_new_tokens": 8},
    "objective": {"weights": {"t": 1}, "constraints": {"peak_bytes": 1e12}},
    "seeds": 1,
    "first_seed": 0,
    "budget": {"trials": 4},
    "search": {
        "strategy": "grid",
        "tuning": {"trials": 1, "volume": 8, "mix": "a"},
        "halving": {"factor": 2, "start": 4},
        "window": 4,
    },
    "engine": {"kind": "local", "workers": 1, "threads": 1, "checkpoint_seconds": 60.0},
    "keep": "best",
    "allow_leakage": False,
}
#: Each value of the sweep file is tried with one in so many of VALUES.
EVERY = 4
ROWS = [{"text": f"say {n}", "label": ("none", "yes", "no")[n % 3]} for n in range(24)]
VALIDATION = [{"text": f"ask {n}", "label": ("none", "yes", "no")[n % 3]} for n in range(9)]

#: As YAML text: what a value may not be, or may.
VALUES = {
    "nothing": "null",
    "true": "true",
    "minus": "-1",
    "half": "0.5",
    "billion": "1000000000",
    "10^400": "1" + "0" * 400,
    "digits": "9" * 5000,
    "1e400": "1e400",
    "inf": ".inf",
    "nan": ".nan",
    "text": "xyz",
    "empty": '""',
    "escape": r'"\e[31mred\a"',
    "nul": r'"a\0b"',
    "surrogate": r'"\uD800"',
    "line": r'"a\u2028b\nc"',
    "long": "x" * 100_000,
    "list": "[[1], {a: 1}]",
    "mapping": "{a: {b: 1}}",
}


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).write_bytes(content)


def json_rows(rows: list[dict[str, Any]]) -> bytes:
    return "".join(f"{_json(row)}\n" for row in rows).encode()


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def sound_data(folder: Path) -> None:
    """The data files that the sweep names, without a fault."""
    texts = {"general": [{"text": f"a cat {n}"} for n in range(4)]}
    texts["replay"] = [{"text": f"a dog {n}"} for n in range(4)]
    files = {"train": ROWS, "validation": VALIDATION, **texts}
    _write(folder, {f"{name}.jsonl": json_rows(rows) for name, rows in files.items()})


def sweep_text(**changes: Any) -> str:
    return yaml.safe_dump(SWEEP | changes, sort_keys=False)


# --- the sweep file as bytes


def _many(count: int, line: str) -> bytes:
    return "".join(line.format(n) for n in range(count)).encode()


def _sweep_files() -> dict[str, bytes]:
    text = sweep_text()
    whole = text.encode()
    bomb = b"a: &a [x, x]\n" + b"".join(
        b"%c: &%c [*%c, *%c]\n" % (c, c, c - 1, c - 1) for c in range(98, 110)
    )
    return {
        "empty": b"",
        "white": b" \n\n",
        "comment": b"# nothing\n",
        "scalar": b"just text\n",
        "number": b"42\n",
        "list": b"- a\n- b\n",
        "null": b"null\n",
        "tabs": whole.replace(b"  ", b"\t"),
        "open quote": whole + b'keep: "best\n',
        "open list": whole + b"x: [1, 2\n",
        "open mapping": whole + b"x: {a: 1\n",
        "colons": b"name: a: b\n",
        "indent": whole + b"   seeds: 1\n",
        "twice": whole + b"seeds: 2\n",
        "anchor": b"x: &a 1\n" + whole,
        "bomb": bomb,
        "merge": b"base: {a: 1}\nx:\n  <<: *base\n",
        "tag": b"name: !!python/object/apply:os.system ['true']\n",
        "binary tag": b"name: !!binary aGk=\n",
        "documents": whole + b"---\n" + whole,
        "directive": b"%YAML 9.9\n---\n" + whole,
        "flow depth": b"x: " + b"[" * 5000 + b"]" * 5000,
        "open depth": b"[" * 900_000,
        "block depth": b"".join(b" " * n + b"a:\n" for n in range(200)),
        "many keys": _many(75_000, "k{}: 1\n"),
        "many tasks": b"tasks:\n" + _many(40_000, "  t{}: {{train: a}}\n"),
        "million tasks": b"tasks:\n" + _many(1_000_000, "  t{}: x\n"),
        "2000 tasks": b"name: s\nvolumes: [1]\ntasks:\n" + _many(2_000, "  t{}: {{train: a}}\n"),
        "2000 mixes": whole + b"mixes2:\n" + _many(2_000, "  m{}: {{t: 1}}\n"),
        "2000 weights": whole.replace(
            b"objective:\n", b"objective:\n  w:\n" + _many(2_000, "    k{}: 1\n")
        ),
        "1100 models": whole.replace(
            b"models:\n", b"models:\n" + _many(1_100, "- {{path: m{}}}\n")
        ),
        "many errors": whole + _many(3_000, "k{}: 1\n"),
        "megabyte": whole + b"# " + b"x" * 1_000_001,
        "10 MB text": b'name: "' + b"x" * 10_000_000 + b'"\n',
        "long key": whole + b"k" * 100_000 + b": 1\n",
        "long plain": b"name: " + b"a " * 400_000 + b"\n",
        "nul": whole.replace(b"name: s", b"name: s\0"),
        "bell": whole.replace(b"name: s", b"name: s\x07"),
        "mark within": whole.replace(b"seeds", b"\xef\xbb\xbfseeds"),
        "UTF-16": text.encode("utf-16"),
        "UTF-16 plain": text.encode("utf-16-le"),
        "UTF-32": text.encode("utf-32"),
        "Latin-1": whole + "# gr\u00fcn\n".encode("latin-1"),
        "mixed": whole + "x: \u00fc\n".encode() + "y: \u00fc\n".encode("latin-1"),
        "zip": b"PK\x03\x04" + bytes(200),
        "gzip": gzip.compress(whole, mtime=0),
        "CR": whole.replace(b"\n", b"\r") + b"seeds: 2\r",
        "CRLF": whole.replace(b"\n", b"\r\n") + b"seeds: 2\r\n",
        "separator key": whole + b'"a\\u2028b": 1\n',
        "escape key": whole + b'"\\e[2Jx": 1\n',
        "surrogate key": whole + b'"\\uD800": 1\n',
        "direction key": whole + b'"\\u202Eabc": 1\n',
        "number key": whole + b"1: 2\n",
        "null key": whole + b"null: 2\n",
        "list key": whole + b"? [a, b]\n: 2\n",
        "mapping key": whole + b"{a: 1}: 2\n",
        "case of keys": whole.replace(b"volumes", b"Volumes"),
        "misspelt": whole.replace(b"volumes:", b"volumse:"),
        "dashes": whole.replace(b"batch_size", b"batch-size"),
        "JSON": b'{"name": "s", "name": "s"}',
    }


# --- a value of the sweep file


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from _leaves(value[0], (*path, 0))
    else:
        yield path


def _changed(path: tuple[Any, ...], text: str) -> str:
    """The sweep file with the value at *path* as the YAML *text*."""
    import copy

    content: Any = copy.deepcopy(SWEEP)
    inner = content
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = "@@@"
    return yaml.safe_dump(content, sort_keys=False, width=10**6).replace("'@@@'", text)


def _sweep_cases() -> Iterator[Case]:
    for name, content in _sweep_files().items():
        yield Case(f"sweep file/{name}", ("plan", "sweep.yaml"), _sweep(content))
    for number, path in enumerate(_leaves(SWEEP)):
        for name, text in list(VALUES.items())[number % EVERY :: EVERY]:
            where = ".".join(map(str, path))
            make = _sweep(_changed(path, text).encode())
            yield Case(f"sweep value/{where}/{name}", ("plan", "sweep.yaml"), make)
    for name, text in CONTRADICTIONS.items():
        yield Case(f"sweep sense/{name}", ("plan", "sweep.yaml"), _sweep(text.encode()))
    for verb, name in product(("plan", "run", "doctor"), SPECIAL):
        yield Case(f"sweep file/{verb}/{name}", (verb, "sweep.yaml"), _special("sweep.yaml", name))


def _sweep(content: bytes) -> Make:
    def make(folder: Path) -> None:
        sound_data(folder)
        _write(folder, {"sweep.yaml": content})

    return make


CONTRADICTIONS = {
    "descending volumes": sweep_text(volumes=[8, 4]),
    "volume twice": sweep_text(volumes=[4, 4, 8]),
    "volume beyond rows": sweep_text(volumes=[4, 8, 800]),
    "no method": sweep_text(methods={}),
    "no task": sweep_text(tasks={}),
    "no model": sweep_text(models=[]),
    "model twice": sweep_text(models=[{"path": "{model}"}, {"path": "{model}"}]),
    "no folder": sweep_text(models=[{"path": "nowhere"}]),
    "file as model": sweep_text(models=[{"path": "train.jsonl"}]),
    "unknown user": sweep_text(models=[{"path": "~nobody-here/m"}]),
    "unknown task in mix": sweep_text(mixes={"a": {"u": 1}}),
    "weight 0": sweep_text(objective={"weights": {"t": 0}}),
    "weight of another": sweep_text(objective={"weights": {"u": 1}}),
    "unknown constraint": sweep_text(objective={"weights": {"t": 1}, "constraints": {"speed": 1}}),
    "min above 1": sweep_text(objective={"weights": {"t": 1}, "constraints": {"min.t": 2}}),
    "suite named as a task": sweep_text(general={"t": {"text": "general.jsonl"}}),
    "suite of two": sweep_text(
        general={"g": {"text": "general.jsonl", "validation": "validation.jsonl"}}
    ),
    "suite of none": sweep_text(general={"g": {}}),
    "task of none": sweep_text(tasks={"t": {}}),
    "prompt alone": sweep_text(
        tasks={"t": {"train": "train.jsonl", "prompt": {"input": "{text}"}}}
    ),
    "low above high": sweep_text(methods={"full": {"learning_rate": {"low": 1, "high": 0.1}}}),
    "log of 0": sweep_text(methods={"full": {"learning_rate": {"low": 0, "high": 1, "log": True}}}),
    "choice twice": sweep_text(methods={"lora": {"rank": [4, 4], "learning_rate": 1e-3}}),
    "no choice": sweep_text(methods={"lora": {"rank": [], "learning_rate": 1e-3}}),
    "warm-up of 2": sweep_text(train={"warmup": 2}),
    "budget of both": sweep_text(budget={"trials": 1, "gpu_hours": 1}),
    "budget of none": sweep_text(budget={}),
    "reserved name": sweep_text(name="mlflow.db"),
    "path as name": sweep_text(name="../x"),
    "name of 101": sweep_text(name="x" * 101),
    "replay without text": sweep_text(replay=None, mixes={"a": {"t": 1, "replay": 0.5}}),
    "extra of another": sweep_text(mixes={"a": {"t": 1, "extra_epochs": {"u": 1}}}),
    "start of no volume": sweep_text(search={"strategy": "halving", "halving": {"start": 5}}),
    "broken pattern": sweep_text(tasks={"t": {**SWEEP["tasks"]["t"], "pattern": "(["}}),
    "negative of no row": sweep_text(tasks={"t": {**SWEEP["tasks"]["t"], "negative": "nune"}}),
    "field of no row": sweep_text(tasks={"t": {**SWEEP["tasks"]["t"], "answer": "{lable}"}}),
    "open brace": sweep_text(tasks={"t": {**SWEEP["tasks"]["t"], "answer": "{label"}}),
    "attribute": sweep_text(tasks={"t": {**SWEEP["tasks"]["t"], "answer": "{label.__class__}"}}),
    "large design": sweep_text(
        volumes=list(range(1, 900)),
        methods={"lora": {"rank": list(range(1, 200)), "learning_rate": 1}},
    ),
    "v2 and checkpointing": sweep_text(
        train={"gradient_checkpointing": True},
        methods={"p_tuning": {"variant": "v2", "learning_rate": 1e-2}},
    ),
}


# --- what is no file


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(path.parent)  # a socket's address is short
        try:
            listening.bind(path.name)
        finally:
            os.chdir(here)


def _hole(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3_000_000_000)


def _nothing(_: Path) -> None:
    pass


SPECIAL: dict[str, Make] = {
    "pipe": _pipe,
    "socket": _socket,
    "folder": Path.mkdir,
    "zero": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/full"),
    "loop": lambda path: path.symlink_to(path.name),
    "dangling": lambda path: path.symlink_to("nowhere"),
    "missing": _nothing,
    "hole of 3 GB": _hole,
}


def _special(name: str, kind: str) -> Make:
    def make(folder: Path) -> None:
        sound_data(folder)
        _write(folder, {"sweep.yaml": sweep_text().encode()})
        path = folder / name
        path.unlink(missing_ok=True)
        SPECIAL[kind](path)

    return make


# --- data files


def _bad_rows() -> dict[str, bytes]:
    """JSON Lines with one fault each, among sound rows."""
    sound = json_rows(ROWS)
    cut = sound.rindex(b"{")
    return {
        "empty": b"",
        "white": b"\n \n",
        "NaN": sound + b'{"text": NaN, "label": "no"}\n',
        "infinity": sound + b'{"text": -Infinity, "label": "no"}\n',
        "1e400": sound + b'{"text": 1e400, "label": "no"}\n',
        "digits": sound + b'{"text": ' + b"7" * 6000 + b', "label": "no"}\n',
        "key twice": sound + b'{"text": "a", "text": "b", "label": "no"}\n',
        "no field": sound + b'{"txt": "a", "label": "no"}\n',
        "null": sound + b'{"text": "a", "label": null}\n',
        "empty text": sound + b'{"text": "", "label": "no"}\n',
        "empty answer": sound + b'{"text": "a", "label": " "}\n',
        "list": sound + b"[1, 2]\n",
        "text": sound + b'"a"\n',
        "cut": sound[:cut] + b'{"text": "a", "la',
        "single quotes": sound + b"{'text': 'a', 'label': 'no'}\n",
        "comma": sound + b'{"text": "a", "label": "no",}\n',
        "two in a line": sound + b'{"text": "a", "label": "no"} {"text": "b", "label": "no"}\n',
        "control": sound + b'{"text": "a\x01", "label": "no"}\n',
        "escape key": sound + b'{"te\\u001b[31mxt": "a", "label": "no"}\n',
        "nul": sound + b"\0\0\0\n",
        "half a pair": sound + b'{"text": "\\ud800", "label": "no"}\n',
        "depth": sound + b'{"text": ' + b"[" * 100_000 + b"\n",
        "closed depth": sound + b'{"text": ' + b"[" * 300 + b"]" * 300 + b', "label": "no"}\n',
        "mark within": sound + b"\xef\xbb\xbf" + sound,
        "Latin-1": sound + '{"text": "gr\u00fcn", "label": "no"}\n'.encode("latin-1"),
        "UTF-16": sound.decode().encode("utf-16"),
        "UTF-16 plain": sound.decode().encode("utf-16-le"),
        "old Mac": sound.replace(b"\n", b"\r"),
        "pretty": b'{\n "text": "a",\n "label": "no"\n}\n',
        "long line": sound + b'{"text": "' + b"x" * 2_000_000 + b'", "label": "no"}\n',
        "40 MB line": b'{"text": "' + b"x" * 40_000_000 + b'", "label": "no"}\n',
        "only flaws": b"nope\n" * 200_000,
        "CSV": b"text,label\na,no\n",
        "gzip": gzip.compress(sound, mtime=0),
        "HTML": b"<!doctype html><html></html>\n",
    }


def _bad_tables() -> dict[str, bytes]:
    """CSV with one fault each."""
    sound = "text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in ROWS)
    whole = sound.encode()
    return {
        "empty": b"",
        "header alone": b"text,label\n",
        "width": whole + b"a\n",
        "wide": whole + b"a,no,x\n",
        "header twice": whole.replace(b"label", b"text"),
        "open quote": whole + b'"a,no\n',
        "quote": whole + b'"a"b,no\n',
        "semicolons": whole.replace(b",", b";"),
        "no column": whole.replace(b"label", b"lable"),
        "nul": whole + b"a\0,no\n",
        "Latin-1": whole + b"gr\xfcn,no\n",
        "UTF-16": sound.encode("utf-16"),
        "long line": whole + b"x" * 2_000_000 + b",no\n",
        "mark within": whole + b"\xef\xbb\xbfa,no\n",
        "empty cell": whole + b",no\n",
    }


def _bad_parquet() -> dict[str, bytes]:
    """Parquet with one fault each."""

    def table(**columns: Any) -> bytes:
        sink = io.BytesIO()
        parquet.write_table(pyarrow.table(columns), sink)
        return sink.getvalue()

    labels = ["no"] * 3
    sound = table(text=["a", "b", "c"], label=labels)
    invalid = pyarrow.array([b"a", b"\xff", b"c"], type=pyarrow.binary())
    return {
        "empty": b"",
        "text": b"not parquet",
        "cut": sound[:-20],
        "mark alone": b"PAR1" + bytes(50) + b"PAR1",
        "no row": table(
            text=pyarrow.array([], pyarrow.string()), label=pyarrow.array([], pyarrow.string())
        ),
        "bytes": table(text=invalid, label=labels),
        "null": table(text=["a", None, "c"], label=labels),
        "nan": table(text=[1.0, float("nan"), 2.0], label=labels),
        "no column": table(txt=["a", "b", "c"], label=labels),
        "damaged": sound[:30] + bytes(30) + sound[60:],
    }


def _data_cases() -> Iterator[Case]:
    kinds = {"jsonl": _bad_rows(), "csv": _bad_tables(), "parquet": _bad_parquet()}
    for suffix, bad in kinds.items():
        for name, content in bad.items():
            make = _data(f"train.{suffix}", content)
            yield Case(f"data/{suffix}/train/{name}", ("plan", "sweep.yaml"), make)
            make = _data(f"train.{suffix}", content)
            command = ("init", f"train.{suffix}", "--model", "{model}", "-o", "new.yaml")
            yield Case(f"data/{suffix}/init/{name}", command, make)
    for split, name in product(
        ("validation", "general", "replay"), ("NaN", "key twice", "Latin-1", "empty")
    ):
        content = _bad_rows()[name]
        yield Case(
            f"data/jsonl/{split}/{name}", ("plan", "sweep.yaml"), _data(f"{split}.jsonl", content)
        )
    for name, rows in _bad_arrays().items():
        yield Case(f"data/json/train/{name}", ("plan", "sweep.yaml"), _data("train.json", rows))
    for file, kind in product(("train.jsonl", "validation.jsonl", "general.jsonl"), SPECIAL):
        yield Case(f"data/{file}/{kind}", ("plan", "sweep.yaml"), _special(file, kind))
    for suffix, kind in product(
        ("csv", "parquet", "json"), ("pipe", "zero", "folder", "hole of 3 GB")
    ):
        make = _named_special(f"train.{suffix}", kind)
        yield Case(f"data/train.{suffix}/{kind}", ("plan", "sweep.yaml"), make)
    for name, (train, validation) in _bad_splits().items():
        make = _splits(json_rows(train), json_rows(validation))
        yield Case(f"data/split/{name}", ("plan", "sweep.yaml"), make)


def _bad_arrays() -> dict[str, bytes]:
    rows = _json(ROWS).encode()
    return {
        "cut": rows[:-30],
        "tail": rows + b"\n{}",
        "no comma": rows.replace(b"}, {", b"} {", 1),
        "texts": b'[{"text": "a", "label": "no"}, "a"]',
        "key twice": b'[{"text": "a", "label": "no", "label": "yes"}]',
        "object of lists": b'{"text": ["a"], "label": ["no"]}',
        "pretty object": b'{\n  "data": [\n  ]\n}\n',
        "Latin-1": rows[:-1] + b', {"text": "\xfc", "label": "no"}]',
    }


def _bad_splits() -> dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]]:
    leak = {"text": "Say 1", "label": "yes"}
    wide = {
        "text": "".join(chr(ord(c) + 0xFEE0) if c != " " else c for c in "say 1"),
        "label": "yes",
    }
    return {
        "leak": (ROWS, [*VALIDATION, ROWS[1]]),
        "leak by case": (ROWS, [*VALIDATION, leak]),
        "leak by marks": (ROWS, [*VALIDATION, {"text": "say 1 !", "label": "yes"}]),
        "leak by width": (ROWS, [*VALIDATION, wide]),
        "unseen label": (ROWS, [*VALIDATION, {"text": "x", "label": "yess"}]),
        "long answer": ([*ROWS, {"text": "x", "label": "yes " * 200}], VALIDATION),
        "all long": ([{"text": f"{n}", "label": "yes " * 200} for n in range(9)], VALIDATION),
        "row of an id twice": (
            [*ROWS, {"id": 1, "text": "q", "label": "no"}, {"id": 1, "text": "q", "label": "no"}],
            VALIDATION,
        ),
        "roles": ([{"messages": [{"role": "bot", "content": "x"}]}], VALIDATION),
    }


def _data(file: str, content: bytes) -> Make:
    def make(folder: Path) -> None:
        sound_data(folder)
        stem = file.partition(".")[0]
        (folder / f"{stem}.jsonl").unlink()
        tasks = {"t": {**SWEEP["tasks"]["t"]}}
        if stem == "train":
            tasks["t"]["train"] = file
        _write(folder, {file: content, "sweep.yaml": sweep_text(tasks=tasks).encode()})

    return make


def _named_special(file: str, kind: str) -> Make:
    def make(folder: Path) -> None:
        _data(file, b"")(folder)
        (folder / file).unlink()
        SPECIAL[kind](folder / file)

    return make


def _splits(train: bytes, validation: bytes) -> Make:
    def make(folder: Path) -> None:
        sound_data(folder)
        _write(folder, {"train.jsonl": train, "validation.jsonl": validation})
        _write(folder, {"sweep.yaml": sweep_text().encode()})

    return make


def cases() -> Iterator[Case]:
    """Every bad input, in one order."""
    from tests.faults import bad_input_tables

    yield from _sweep_cases()
    yield from _data_cases()
    yield from bad_input_tables.cases()
