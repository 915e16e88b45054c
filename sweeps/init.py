"""Draft of a sweep file from data files: tasks guessed from the rows, commented, ready to run."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, NamedTuple

from sweeps.base_models import max_positions, model_spec
from sweeps.data.checks import Lengths, leaks
from sweeps.data.examples import Example, LocatedExample, is_part
from sweeps.data.mixes import split_volume
from sweeps.data.preview import preview_turns
from sweeps.data.splits import train_files, train_of
from sweeps.guess import NOTHING_SAID, Ask, Guess, Wanted, guess_task
from sweeps.spec import RESERVED, ModelEntry
from tracker.errors import InputError
from tracker.numbers import count
from tracker.trial import MixSpec
from tracker.validation import options, unknown

LARGEST_VOLUME = 8000
#: Examples below which a training set makes a step or two, from which nothing is learned.
SMALLEST_VOLUME = 6
SIZES = 4  # of training sets, a mix; a scaling law needs three or more
LONGEST_ROW, LONGEST_ANSWER = 2048, 1024  # tokens: what a draft asks for at most
FRAME_TOKENS = 24  # role marks and the like, which a count of the texts does not see
_VIRTUAL_TOKENS = 16  # of P-tuning: they take positions before the row's tokens
CHARACTERS_PER_TOKEN = 3  # on the safe side, where there is no tokenizer to ask
SMALL_MODEL_PARAMETERS = 20_000_000
_WIDTH = 98
_ROUND = (10, 12, 15, 20, 25, 30, 40, 50, 60, 70, 80, 90)
#: Rows by which one task may exceed another and be mixed in equal shares alone.
_ABOUT_EQUAL = 1.1


class Draft(NamedTuple):
    """Text of a sweep file, and what it was drafted from, a task each."""

    text: str
    guesses: tuple[Guess, ...]


def draft_sweep(
    data: Sequence[Path],
    models: Sequence[str],
    folder: Path = Path(),
    wanted: Wanted = NOTHING_SAID,
    ask: Ask | None = None,
) -> Draft:
    """Sweep file for *data* (train files, or folders with one), for a file in *folder*.

    *wanted*: what the user says of the data; *ask*: who answers what is ambiguous, nobody where ``None``.
    Raises ``InputError`` for data that cannot be read, has no two fields for input and answer, or can be
    read in two ways.
    """
    if not models:
        raise InputError("found no model; give a model folder or a hub id (org/name)")
    guesses: dict[str, Guess] = {}
    for path in _train_files(data):
        guess = guess_task(path, guesses, wanted, ask)
        guesses[guess.name] = guess
    _check_named(wanted, guesses)
    entries = [ModelEntry(path=_model_path(model)) for model in models]
    tasks = tuple(guesses.values())
    parts = (
        _head(tasks[0].name, entries, folder),
        _methods(entries),
        _tasks(tasks, folder),
        _general(),
        _design(tasks),
        _training(entries, tasks),
        _goal(tasks),
    )
    return Draft("\n".join(parts), tasks)


def guessed_lines(guess: Guess) -> list[str]:
    """What was guessed of a task, and the first row that claims something: its prompt and its answer."""
    rows_of = guess.splits["train"][1]
    nothing = (guess.suited.negative, "[]")
    telling = (item for item in rows_of if item.example.answer.strip() not in nothing)
    example, line = next(telling, rows_of[0])
    read = guess.templates
    reading = f"; input {_quoted(read.input)}, answer {_quoted(read.answer)}" if read else ""
    rows = ", ".join(f"{count(len(rows))} {split}" for split, (_, rows) in guess.splits.items())
    lines = [
        f"{guess.name}: {guess.form}{reading}; score {guess.suited.name} ({guess.suited.why}); {rows}",
        *(f"  note: {note}" for note in guess.notes),
        f"  {guess.path.name}:{line}",
    ]
    for who, text in preview_turns(example):
        first, *rest = text.split("\n")
        lines += [f"  {who:9} {first}", *(f"  {'':9} {line}" for line in rest)]
    return lines


def _train_files(data: Iterable[Path]) -> list[Path]:
    """Each path as a train file; the other splits beside one are found from it."""
    files: list[Path] = []
    for path in map(_located, data):
        if path.is_dir():
            files += train_files(path)
        else:
            files.append(train_of(path))
    if not files:
        raise InputError("found no data; give a file of rows or a folder with train.jsonl")
    return list(dict.fromkeys(files))


def _located(path: Path) -> Path:
    """*path* from the root, links among its folders followed; the file's name stays: it names the task."""
    path = path.expanduser()
    return path.parent.resolve() / path.name if path.name not in ("", "..") else path.resolve()


def _check_named(wanted: Wanted, tasks: Iterable[str]) -> None:
    """Refuse options for a task that there is not."""
    for option, stated in wanted._asdict().items():
        for task in stated:
            if task is not None and task not in tasks:
                raise InputError(f"--{option}: task {unknown(task, tasks)}")


def _model_path(model: str) -> str:
    """A folder from the root, whether or not it exists yet; a hub id unchanged."""
    path = Path(model).expanduser()
    return str(_located(path)) if path.is_dir() or model[:1] in (".", "/", "~") else model


# -- YAML --------------------------------------------------------------------------------------------


def _relative(path: str | Path, folder: Path) -> str:
    return _quoted(Path(os.path.relpath(path, folder.resolve())).as_posix())


def _quoted(value: Any) -> str:
    """A value of YAML; JSON's quotes are YAML's, and need no list of what must be quoted."""
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z_./-][\w./-]*", value):
        reserved = (
            "null",
            "true",
            "false",
            ".inf",
            "-.inf",
            ".nan",
            "-",
            "---",
            "...",
            "yes",
            "no",
        )
        if value.lower() not in reserved and value.isascii():
            return value
    return json.dumps(value, ensure_ascii=False)


def _comment(text: str, indent: int = 0) -> str:
    """*text* as lines of a comment, none wider than a page."""
    start = " " * indent + "# "
    return fill(
        text, _WIDTH, initial_indent=start, subsequent_indent=start, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _said(line: str, comment: str) -> list[str]:
    """A *line* with its *comment* behind it, or above it where both are too wide for one line."""
    if not comment:
        return [line]
    if len(line) + len(comment) + 4 <= _WIDTH:
        return [f"{line}  # {comment}"]
    return [_comment(comment, len(line) - len(line.lstrip())), line]


# -- the parts of the file ---------------------------------------------------------------------------


def _head(name: str, entries: list[ModelEntry], folder: Path) -> str:
    counts = Counter(entry.label for entry in entries)
    seen: Counter[str] = Counter()
    lines = []
    for entry in entries:
        seen[entry.label] += 1
        here = Path(entry.path).is_absolute()
        path = _relative(entry.path, folder) if here else _quoted(entry.path)
        lines.append(f"  - path: {path}")
        if counts[entry.label] > 1:
            lines.append(f"    name: {_quoted(f'{entry.label}-{seen[entry.label]}')}")
    listed = "\n".join(lines)
    if name in RESERVED or name.startswith("mlflow.db"):
        name = f"{name}-sweep"
    return f"""\
# Base models, methods, training-set sizes and task mixes to compare.
# `sft-select doctor` checks it and shows a row of each task as it is trained, `sft-select plan`
# shows what will run, `sft-select run` starts it. Paths are relative to this folder.
# Every key: SWEEP_FILE.md beside sft-select's README, or `python -m sweeps.reference`.
name: {_quoted(name)}

# Folders in the Hugging Face format, or hub ids (with `revision`). Several sizes of one family
# show what a larger model gains.
models:
{listed}
"""


def _methods(entries: list[ModelEntry]) -> str:
    """Methods with the learning-rate ranges that are customary at the models' size."""
    small = all(
        (_parameters(entry) or SMALL_MODEL_PARAMETERS) < SMALL_MODEL_PARAMETERS for entry in entries
    )
    full, lora, p_tuning = (
        ("low: 1e-4, high: 5e-3", "low: 1e-3, high: 3e-2", "low: 1e-2, high: 5e-1")
        if small
        else ("low: 3e-6, high: 1e-4", "low: 3e-5, high: 1e-3", "low: 1e-3, high: 1e-1")
    )
    return f"""\
# The learning rate is tuned per model and method within these ranges: a fair comparison needs it.
methods:
  full:
    learning_rate: {{{full}, log: true}}
  lora:
    rank: [8, 32]
    variant: [plain]  # also rslora, dora, pissa, lora_plus
    learning_rate: {{{lora}, log: true}}
  # v2 is a prefix of keys and values in every layer, which takes rates up to 1e-1 (small models
  # 5e-1) and no gradient checkpointing; v1 is virtual tokens at the input alone, which learn less.
  p_tuning:
    virtual_tokens: [{_VIRTUAL_TOKENS}]
    variant: [v2]
    learning_rate: {{{p_tuning}, log: true}}
"""


def _tasks(guesses: Iterable[Guess], folder: Path) -> str:
    return "tasks:\n" + "".join(_task(guess, folder) for guess in guesses)


def _task(guess: Guess, folder: Path) -> str:
    rows = count(guess.train_rows)
    lines = [f"  {guess.name}:"]
    lines += _said(f"    train: {_relative(guess.path, folder)}", f"{rows} rows; {guess.form}")
    for split in ("validation", "test"):
        path, examples = guess.splits.get(split, (None, ()))
        if path is None:
            lines.append("    # test: rows for the final report alone; no choice uses them")
        elif is_part(path):
            lines += _said(
                "    validation_share: 0.1", f"{len(examples)} rows of train; or a file of its own"
            )
        else:
            lines += _said(
                f"    {split}: {_relative(path, folder)}", f"{count(len(examples))} rows"
            )
    if guess.encoding:
        lines += _said(f"    encoding: {guess.encoding}", "guessed from the bytes")
    lines += _reading(guess)
    lines += [_comment(note, 4) for note in guess.notes]
    lines += _said(f"    score: {guess.suited.name}", guess.suited.why)
    lines += [f"    {key}: {_quoted(value)}" for key, value in guess.suited.keys.items()]
    if guess.suited.negative:
        comment = "any other answer to such a row is a false positive (over-reach)"
        lines += _said(f"    negative: {_quoted(guess.suited.negative)}", comment)
    return "\n".join(lines) + "\n"


def _reading(guess: Guess) -> list[str]:
    """How the rows are read: the lines of the prompt and the answer."""
    if guess.templates is None:
        return ["    # The rows carry their own layout, so there is no prompt or answer here."]
    unused = (
        [_comment(f"Fields that are not used: {options(guess.unused)}.", 4)] if guess.unused else []
    )
    return [
        *unused,
        "    # Say in the instruction what the model should do.",
        "    prompt:",
        f"      instruction: {_quoted(_instruction(guess))}",
        f"      input: {_quoted(guess.templates.input)}",
        f"    answer: {_quoted(guess.templates.answer)}",
    ]


_HAN, _KANA = re.compile("[\u4e00-\u9fff]"), re.compile("[\u3041-\u30ff]")
#: What a draft tells the model to do, in English and Chinese.
_INSTRUCTIONS = {
    "macro_f1": ("Give the label.", "请给出标签。"),
    "multilabel_f1": ("Give every label that applies.", "请给出所有适用的标签。"),
    "number": ("Give the number.", "请给出数字。"),
    "json": ("Give the answer as JSON.", "请以 JSON 格式给出答案。"),
}


def _instruction(guess: Guess) -> str:
    english, chinese = _INSTRUCTIONS.get(guess.suited.name, ("Give the answer.", "请给出答案。"))
    texts = [item.example.messages[-1].content for item in guess.splits["train"][1][:50]]
    in_chinese = sum(bool(_HAN.search(text)) and not _KANA.search(text) for text in texts)
    return chinese if 2 * in_chinese > len(texts) else english


def _general() -> str:
    return """\
# What tuning must not forget: general text, and tasks that are never trained on.
# general:
#   english:
#     text: general.jsonl
#     measure: bits_per_byte
"""


class _Mix(NamedTuple):
    """A drafted mix: weights by task, its training-set sizes, and what it is."""

    weights: dict[str, int]
    volumes: list[int]
    comment: str


def _design(guesses: Sequence[Guess]) -> str:
    rows = {guess.name: guess.train_rows for guess in guesses}
    mixes = _mixes(rows)
    volumes = sorted({volume for mix in mixes.values() for volume in mix.volumes})
    listed = ", ".join(f"{name} {count(number)}" for name, number in rows.items())
    lines = [
        "# Training-set sizes in examples, over all tasks of a mix, each nested in the next; a scaling law",
        "# needs three or more.",
        _comment(f"Rows to train on: {listed}."),
    ]
    if max(rows.values()) > 2 * LARGEST_VOLUME:
        lines.append(
            _comment("Larger sizes cost in proportion; add them where the curves still rise.")
        )
    lines += [
        f"volumes: [{', '.join(map(str, volumes))}]",
        "",
        "# `<task>: weight` each; other keys: extra_epochs, replay, volumes (a mix's part of the sizes).",
        "mixes:",
    ]
    for name, mix in mixes.items():
        lines += _said(f"  {name}:", mix.comment)
        lines += [f"    {task}: {weight}" for task, weight in mix.weights.items()]
        if mix.volumes != volumes:
            lines.append(f"    volumes: [{', '.join(map(str, mix.volumes))}]")
    return "\n".join(lines) + "\n"


def _mixes(rows: Mapping[str, int]) -> dict[str, _Mix]:
    """Mixes of tasks with these numbers of rows: as they come, in equal shares, and each alone."""
    weights: dict[str, tuple[dict[str, int], str]] = {}
    if len(rows) > 1 and max(rows.values()) > _ABOUT_EQUAL * min(rows.values()):
        weights["natural"] = (dict(rows), "in proportion to the rows")
    weights["all"] = (dict.fromkeys(rows, 1), "in equal shares" if len(rows) > 1 else "")
    if len(rows) > 1:
        weights |= {f"only_{name}": ({name: 1}, f"{name} alone") for name in rows}
    most = {name: _most(shares, rows) for name, (shares, _) in weights.items()}
    ladder = _ladder(max(most.values()))
    return {
        name: _Mix(shares, _sizes(ladder, most[name], shares), comment)
        for name, (shares, comment) in weights.items()
    }


def _most(weights: Mapping[str, int], rows: Mapping[str, int]) -> int:
    """Examples that a mix has rows for: a task's share must not exceed the task."""
    total = sum(weights.values())
    return min(rows[task] * total // weight for task, weight in weights.items())


def _ladder(most: int) -> list[int]:
    """Sizes, each half of the next: the four largest from a round number, those below for smaller mixes."""
    if most < 2 * SMALLEST_VOLUME:
        return [most]
    smallest = min(most, LARGEST_VOLUME) / 2 ** (SIZES - 1)
    scale = 10 ** max(-1, len(str(int(smallest))) - 2)
    first = max((r * scale for r in _ROUND if r * scale <= smallest), default=smallest)
    top = [round(first * 2**step) for step in range(SIZES)]
    below: list[int] = []
    while (half := (below or top)[0] // 2) >= SMALLEST_VOLUME:
        below.insert(0, half)
    return [size for size in (*below, *top) if size >= SMALLEST_VOLUME]


def _sizes(ladder: Iterable[int], most: int, weights: Mapping[str, int]) -> list[int]:
    """The largest sizes of the *ladder* that a mix has rows for, and at which every task has a row."""
    mix = MixSpec(name="mix", weights=dict(weights))
    fitting = [
        size for size in ladder if size <= most and min(split_volume(mix, size).values()) > 0
    ]
    return fitting[-SIZES:] or [min(most, LARGEST_VOLUME)]


def _training(entries: list[ModelEntry], guesses: Sequence[Guess]) -> str:
    row, answer = (max(lengths) for lengths in zip(*_longest(entries, guesses), strict=True))
    folders = [Path(entry.path) for entry in entries if Path(entry.path).is_dir()]
    positions = [max(8, n - _VIRTUAL_TOKENS) for folder in folders if (n := max_positions(folder))]
    wanted = max(64, _rounded_up(row + FRAME_TOKENS, 32))
    least = _rounded_up(answer + 2 * FRAME_TOKENS, 32)  # prompts are cut to fit, answers never
    max_length = min(wanted, max(LONGEST_ROW, least), *positions)
    new_tokens = min(max(8, _rounded_up(answer + 1, 8)), LONGEST_ANSWER)
    return f"""\
# The longest rows take about {row} tokens, the longest answers {answer}.
train:
  # A prompt needs more steps than weights: P-tuning tries more passes over the same examples.
  epochs: {{full: 3, lora: 3, p_tuning: [3, 10]}}
  batch_size: 16
  max_length: {max_length}
evaluation:
  rows: 500
  max_new_tokens: {new_tokens}
"""


def _rounded_up(number: int, step: int) -> int:
    return -(-number // step) * step


def _longest(entries: list[ModelEntry], guesses: Sequence[Guess]) -> list[tuple[int, int]]:
    """Tokens of the longest row and of the longest answer, per task and tokenizer on hand."""
    files = [Path(entry.path) / "tokenizer.json" for entry in entries]
    found: list[tuple[int, int]] = []
    for guess in guesses:
        examples = _long_rows([item for _, rows in guess.splits.values() for item in rows])
        found += [Lengths(file, examples).longest for file in files if file.is_file()]
        if not any(file.is_file() for file in files):
            row = max(_characters(item.example) for item in examples)
            answer = max(len(item.example.answer) for item in examples)
            found.append((row // CHARACTERS_PER_TOKEN + 1, answer // CHARACTERS_PER_TOKEN + 1))
    return found


def _long_rows(examples: Sequence[LocatedExample]) -> list[LocatedExample]:
    """The rows with the most characters, and those with the longest answers: few enough to count tokens."""
    longest = sorted(examples, key=lambda item: -_characters(item.example))[:100]
    return [*longest, *sorted(examples, key=lambda item: -len(item.example.answer))[:99]]


def _characters(example: Example) -> int:
    return sum(len(turn.content) for turn in example.messages) + len(example.answer)


def _parameters(entry: ModelEntry) -> int | None:
    try:
        return model_spec(entry, Path()).parameters
    except InputError:
        return None  # `plan` will say what is wrong with it; here it only picks a range


def _goal(guesses: Sequence[Guess]) -> str:
    weights = "\n".join(f"    {guess.name}: 1" for guess in guesses)
    text = f"""\
objective:
  weights:
{weights}
  # Bounds that a recommended model must keep. At most: forgetting.<suite>, over_reach.<task>,
  # peak_bytes, device_seconds, gpu_hours, flops, adapter_bytes, seconds_per_1k_tokens, parameters,
  # examples. At least: min.<task>.
  constraints: {{}}
seeds: 2
budget:
  trials: 60  # or {{gpu_hours: 8}}: hours on a device, training and evaluation, over all workers
search:
  strategy: law  # grid | random | tpe | halving
engine:
  kind: local
  workers: auto

# What is recorded of rows and answers beside the scores: all | hashed (digests) | none.
record_answers: all
"""
    return text + _leakage(guesses)


def _leakage(guesses: Iterable[Guess]) -> str:
    leaked = [
        (guess.name, leak.wording)
        for guess in guesses
        for leak in leaks(guess.splits)
        if not (leak.loose and is_part(guess.splits["train"][0]))
    ]
    if not leaked:
        return ""
    listed = "\n".join(_comment(f"{name}: {leak.split(': ', 1)[1]}") for name, leak in leaked)
    return f"\n# Take these rows out, then this line:\n{listed}\nallow_leakage: true\n"
