"""Bad inputs beside the sweep file: tables to import, recommendations, and options of every verb."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

from tests.faults.bad_input_cases import SPECIAL, Case, Make, sound_data, sweep_text

CONFIG = Path(__file__).parent.parent / "recorded" / "config-0.1.yaml"
#: Of a text, a number or a path that an option takes.
VALUES = {
    "empty": "",
    "text": "xyz",
    "escape": "\x1b[31mred\x07",
    "minus": "-1",
    "huge": "9" * 400,
    "1e400": "1e400",
    "nan": "nan",
    "long": "x" * 5000,
    "no UTF-8": "\udcff",
    "pair": "a=b=c",
    "bare": "=",
    "traversal": "../../../etc/passwd",
}
#: Options whose every text is a sound one in some case, or that start what does not end.
_LEFT_OUT = {"--help", "--host", "--allow-name", "--mlflow-url"}
_ARGUMENTS = {
    "demo": (),
    "init": ("train.jsonl", "--model", "{model}"),
    "doctor": (),
    "plan": ("sweep.yaml",),
    "run": ("sweep.yaml",),
    "status": (),
    "recommend": ("s",),
    "train": ("config.yaml",),
    "export": ("config.yaml", "--to", "trl"),
    "predict": ("s", "--task", "t", "--examples", "10"),
    "laws": ("s",),
    "import": ("table.csv", "--sweep", "s"),
    "control": ("stop", "s"),
}
#: Verbs that hand over to a process of the dashboard: a few of them, for each takes seconds.
_HANDED_OVER = {
    "report": ("report", "s"),
    "report nan": ("report", "s", "--target-quality", "nan"),
    "report weight": ("report", "s", "--weight", "x"),
    "dashboard": ("dashboard", "--workspace", "nowhere"),
    "dashboard port": ("dashboard", "--port", "99999"),
    "dashboard host": ("dashboard", "--host", "0.0.0.0:1"),
}
_HEADER = "model,method,task,metric,examples,value\n"
_ROW = "m,lora,t,accuracy,100,0.5\n"


def _tables() -> dict[str, bytes]:
    sound = (_HEADER + _ROW + "m,lora,t,accuracy,200,0.6\n").encode()

    def row(**changes: str) -> bytes:
        values = (
            dict(zip(_HEADER.strip().split(","), _ROW.strip().split(","), strict=True)) | changes
        )
        return sound + ",".join(values.values()).encode() + b"\n"

    return {
        "empty": b"",
        "white": b"\n\n",
        "header alone": _HEADER.encode(),
        "no header": _ROW.encode(),
        "semicolons": sound.replace(b",", b";"),
        "tabs": sound.replace(b",", b"\t"),
        "column twice": sound.replace(b"task,", b"model,"),
        "no value": sound.replace(b",value", b",valeu"),
        "width": sound + b"m,lora\n",
        "wide": sound + b"m,lora,t,accuracy,1,0.5,9\n",
        "open quote": sound + b'"m,lora,t\n',
        "Latin-1": sound + b"\xfc,lora,t,accuracy,1,0.5\n",
        "UTF-16": sound.decode().encode("utf-16"),
        "nul": sound + b"m\0,lora,t,accuracy,1,0.5\n",
        "escape": row(model="\x1b[31mm"),
        "escape in header": sound.replace(b"model", b"mod\x1b[2Jel"),
        "examples text": row(examples="many"),
        "examples minus": row(examples="-5"),
        "examples half": row(examples="1.5"),
        "examples huge": row(examples="9" * 400),
        "value text": row(value="good"),
        "value nan": row(value="nan"),
        "value inf": row(value="inf"),
        "value 1e400": row(value="1e400"),
        "value 7": row(value="7"),
        "metric unknown": row(metric="zzz"),
        "method empty": row(method=""),
        "method odd": row(method="lo ra/../x"),
        "task odd": row(task="../t"),
        "model long": row(model="m" * 10_000),
        "line of 2 MB": sound + b"x" * 2_000_000 + b"\n",
        "gzip cut": gzip.compress(sound, mtime=0)[:-9],
        "gzip damaged": gzip.compress(sound, mtime=0)[:12] + bytes(40),
        "gzip bomb": gzip.compress(bytes(300_000_000), 9, mtime=0),
        "JSON": b'{"model": "m"}',
        "many flaws": sound + b"m,lora,t,accuracy,x,y\n" * 5_000,
    }


def _configs() -> dict[str, bytes]:
    """The file that an earlier release recommended, with one fault each."""
    text = CONFIG.read_text(encoding="utf-8")
    whole = text.encode()

    def line(old: str, new: str) -> bytes:
        assert old in text, old
        return text.replace(old, new, 1).encode()

    return {
        "empty": b"",
        "list": b"- a\n",
        "text": b"recommended\n",
        "sweep file": sweep_text().encode(),
        "cut": whole[: len(whole) // 2],
        "format 99": line("format: 1", "format: 99"),
        "format text": line("format: 1", "format: x"),
        "no trial": b"format: 1\nsweep: s\n",
        "unknown key": line("sweep: playground", "sweep: playground\nswep: x"),
        "twice": line("sweep: playground", "sweep: playground\nsweep: x"),
        "escape": line("sweep: playground", 'sweep: "\\e[31mx"'),
        "rate of text": line("learning_rate: 0.005477", "learning_rate: fast"),
        "rate of nan": line("learning_rate: 0.005477", "learning_rate: .nan"),
        "rank 10^400": line("rank: 8", "rank: 1" + "0" * 400),
        "volume text": line("volume: 1600", "volume: all"),
        "volume changed": line("volume: 1600", "volume: 10000000"),
        "another method": line("name: lora", "name: magic"),
        "digest": line("digest: 5c6f", "digest: 0000"),
        "rows text": line("rows: 2000", "rows: many"),
        "UTF-16": text.encode("utf-16"),
        "nul": whole + b"\0",
        "tag": b"sweep: !!python/name:os.system\n",
        "deep": b"[" * 100_000,
        "many keys": whole + "".join(f"k{n}: 1\n" for n in range(20_000)).encode(),
        "megabyte": whole + b"# " + b"x" * 1_000_001,
        "evidence": line("format: 1", "format: 2\nevidence: {file: ../../etc/passwd, digest: x}"),
        "evidence list": line("format: 1", "format: 2\nevidence: [1]"),
    }


def _files(name: str, content: bytes) -> Make:
    def make(folder: Path) -> None:
        (folder / name).write_bytes(content)

    return make


def _options(verb: str) -> Iterator[tuple[str, bool]]:
    """The options of a verb, and whether each takes a value."""
    import typer

    from sweeps.cli import app

    command: Any = typer.main.get_command(app)
    for parameter in command.commands[verb].params:
        named = [name for name in parameter.opts if name.startswith("--")]
        if named and named[0] not in _LEFT_OUT:
            yield named[0], not getattr(parameter, "is_flag", False)


def _sound(folder: Path) -> None:
    sound_data(folder)
    (folder / "sweep.yaml").write_text(sweep_text(), encoding="utf-8")
    (folder / "config.yaml").write_bytes(CONFIG.read_bytes())
    (folder / "table.csv").write_text(_HEADER + _ROW, encoding="utf-8")
    (folder / "file").write_text("a file\n", encoding="utf-8")


#: Texts that such an option may have, and which would then do what the verb does.
_SOUND_TEXTS = {
    "--output": {"text", "minus", "huge", "1e400", "nan", "pair", "bare", "escape", "no UTF-8"},
    "--folder": set(VALUES),
    "--workspace": {"empty"},
    "--study-uri": set(),
    "--store": {"empty"},
    "--fix-data": set(VALUES),
    "--model": set(VALUES),
}


def _verb_cases() -> Iterator[Case]:
    for verb, given in _ARGUMENTS.items():
        yield Case(f"options/{verb}/unknown", (verb, *given, "--nope"), _sound)
        yield Case(f"options/{verb}/surplus", (verb, *given, "one", "two"), _sound)
        if given:
            yield Case(f"options/{verb}/nothing", (verb,), _sound)
        for option, takes in _options(verb):
            if takes:
                yield Case(f"options/{verb}/{option}/alone", (verb, *given, option), _sound)
            else:
                yield Case(f"options/{verb}/{option}/value", (verb, *given, f"{option}=x"), _sound)
            for name, value in VALUES.items() if takes else ():
                if name not in _SOUND_TEXTS.get(option, set()) and verb not in ("demo", "run"):
                    command = (verb, *given, f"{option}={value}")
                    yield Case(f"options/{verb}/{option}/{name}", command, _sound)
    for name, command in _HANDED_OVER.items():
        yield Case(f"process/{name}", command, _sound)


def cases() -> Iterator[Case]:
    """Tables, recommendations and options, in one order."""
    for name, content in _tables().items():
        command = ("import", "table.csv", "--sweep", "s")
        yield Case(f"table/{name}", command, _files("table.csv", content))
    for kind in SPECIAL:
        make = _place("table.csv", kind)
        yield Case(f"table/{kind}", ("import", "table.csv", "--sweep", "s"), make)
    for (name, content), verb in product(_configs().items(), ("train", "export")):
        command = (verb, "config.yaml", *(("--to", "trl") if verb == "export" else ()))
        yield Case(f"config/{verb}/{name}", command, _files("config.yaml", content))
    for kind in SPECIAL:
        yield Case(f"config/{kind}", ("train", "config.yaml"), _place("config.yaml", kind))
    yield from _model_cases()
    yield from _verb_cases()


def _place(name: str, kind: str) -> Make:
    return lambda folder: SPECIAL[kind](folder / name)


#: Files of a model folder, and bytes that they must not hold.
_MODEL_FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
_MODEL_BYTES = {
    "empty": b"",
    "text": b"nope",
    "list": b"[]",
    "depth": b"[" * 100_000,
    "no UTF-8": b'{"a": "\xff"}',
    "page": b"<html></html>",
}


def _model_cases() -> Iterator[Case]:
    for file, (name, content) in product(_MODEL_FILES, _MODEL_BYTES.items()):
        make = _model(file, _files(file, content))
        yield Case(f"model/{file}/{name}", ("plan", "sweep.yaml"), make)
    for file, kind in product(_MODEL_FILES, ("pipe", "zero", "folder", "missing", "socket")):
        make = _model(file, _place(file, kind))
        yield Case(f"model/{file}/{kind}", ("plan", "sweep.yaml"), make)
    for kind in ("pipe", "zero", "socket", "loop"):
        make = _model_folder(kind)
        yield Case(f"model/folder/{kind}", ("plan", "sweep.yaml"), make)
    make = _model("chat_template.jinja", _place("chat_template.jinja", "pipe"))
    yield Case("model/template/pipe", ("plan", "sweep.yaml"), make)
    content = b"{% for m in messages %}{{ m.content"
    make = _model("chat_template.jinja", _files("chat_template.jinja", content))
    yield Case("model/template/broken", ("plan", "sweep.yaml"), make)
    content = b"{{ raise_exception('no system turn') }}"
    make = _model("chat_template.jinja", _files("chat_template.jinja", content))
    yield Case("model/template/refuses", ("plan", "sweep.yaml"), make)


def _model(file: str, spoil: Make) -> Make:
    """A copy of the model's folder, of which *file* is spoilt."""

    def make(folder: Path) -> None:
        sound_data(folder)
        (folder / "sweep.yaml").write_text(sweep_text(models=[{"path": "model"}]))
        (folder / "model").mkdir()
        for each in Path(model_of(folder)).iterdir():
            (folder / "model" / each.name).write_bytes(each.read_bytes())
        (folder / "model" / file).unlink(missing_ok=True)
        spoil(folder / "model")

    return make


def _model_folder(kind: str) -> Make:
    def make(folder: Path) -> None:
        sound_data(folder)
        (folder / "sweep.yaml").write_text(sweep_text(models=[{"path": "model"}]))
        SPECIAL[kind](folder / "model")

    return make


def model_of(folder: Path) -> Path:
    """The sound model beside the folders of the cases."""
    return folder.parent / "sound-model"
