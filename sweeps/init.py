"""Draft of a sweep file from data files: fields guessed from the rows, commented, ready to run."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from sweeps.base_models import max_positions, model_spec
from sweeps.data.checks import Lengths, leaks
from sweeps.data.examples import LocatedExample, has_layout, is_part, read_located
from sweeps.data.readers import Row, read_rows
from sweeps.resolve import split_paths
from sweeps.scores.text import tokens
from sweeps.spec import ModelEntry
from sweeps.task_entry import TaskEntry
from tracker.errors import InputError
from tracker.task import FileRef, PromptTemplate, ScoreName, TaskSpec
from tracker.validation import options

SUFFIXES = (".jsonl", ".csv", ".parquet")
INPUT_NAMES = (
    "text", "sentence", "question", "query", "utterance", "input", "prompt", "message", "document",
    "content", "body", "review", "article", "source",
)  # fmt: skip
ANSWER_NAMES = (
    "label", "intent", "category", "class", "answer", "target", "output", "response", "completion",
    "slots", "entities", "summary", "translation", "topic", "sentiment",
)  # fmt: skip
IDENTIFIERS = frozenset({"id", "idx", "index", "uuid", "guid", "row"})
NEGATIVES = (
    "out_of_scope", "out-of-scope", "out of scope", "oos", "none", "other", "unknown",
    "not_applicable", "n/a", "na", "null", "irrelevant", "nothing",
)  # fmt: skip
MAX_LABELS = 500
MAX_LABEL_CHARACTERS = 60
LONG_ANSWER_WORDS = 4
LARGEST_VOLUME = 8000
LONGEST_ROW, LONGEST_ANSWER = 2048, 1024  # tokens: what a draft asks for at most
FRAME_TOKENS = 24  # role marks and the like, which a count of the texts does not see
_VIRTUAL_TOKENS = 16  # of P-tuning: they take positions before the row's tokens
CHARACTERS_PER_TOKEN = 3  # on the safe side, where there is no tokenizer to ask
SMALL_MODEL_PARAMETERS = 20_000_000


class Guess(NamedTuple):
    """Task guessed from a data file. ``fields``: input and answer, where rows need a template."""

    name: str
    path: Path
    fields: tuple[str, str] | None
    unused: tuple[str, ...]
    score: ScoreName
    negative: str | None
    splits: Mapping[str, tuple[str, Sequence[LocatedExample]]]

    @property
    def train_rows(self) -> int:
        """Rows to train on, after validation was set aside where it has to be."""
        return len(self.splits["train"][1])


def draft_sweep(data: list[Path], models: list[str], folder: Path = Path()) -> str:
    """Text of a sweep file for *data* (train files, or folders with one), for a file in *folder*.

    Raises ``InputError`` for data that cannot be read or has no two fields for input and answer.
    """
    if not models:
        raise InputError("found no model; give a model folder or a hub id (org/name)")
    guesses: dict[str, Guess] = {}
    for path in _train_files(data):
        guess = _guess(path, taken=guesses)
        guesses[guess.name] = guess
    entries = [ModelEntry(path=_model_path(model)) for model in models]
    parts = (
        _head(next(iter(guesses)), entries, folder),
        _methods(entries),
        _tasks(guesses.values(), folder),
        _general(),
        _design(list(guesses.values())),
        _training(entries, list(guesses.values())),
        _goal(list(guesses.values())),
    )
    return "\n".join(parts)


def _train_files(data: Iterable[Path]) -> list[Path]:
    """Each path as a train file; the other splits beside one are found from it."""
    files: list[Path] = []
    for path in data:
        if path.is_dir():
            candidates = [path / f"train{suffix}" for suffix in SUFFIXES]
            present = [file for file in candidates if file.is_file()]
            if not present:
                names = options(file.name for file in candidates)
                raise InputError(f"{path}: found a folder without a train file; allowed: {names}")
            files.append(present[0])
        elif path.stem not in ("validation", "test") or not path.with_stem("train").is_file():
            files.append(path)
        else:
            files.append(path.with_stem("train"))
    if not files:
        raise InputError("found no data; give a file of rows or a folder with train.jsonl")
    return list(dict.fromkeys(_located(file) for file in files))


def _located(path: Path) -> Path:
    """*path* from the root, links among its folders followed; the file's name stays: it names the task."""
    path = path.expanduser()
    return path.parent.resolve() / path.name if path.name not in ("", "..") else path.resolve()


def _guess(path: Path, taken: Iterable[str]) -> Guess:
    rows = read_rows(path)
    fields = None if has_layout(rows[0].fields) else _fields(path, rows)
    task = TaskSpec(
        name=_name(path, taken),
        validation=FileRef(path=str(path), sha256="", rows=0),
        prompt=fields and PromptTemplate(input=f"{{{fields[0]}}}"),
        answer=fields and f"{{{fields[1]}}}",
    )
    answers = [item.example.answer for item in read_located(task, str(path))]
    structured = fields is not None and isinstance(rows[0].fields[fields[1]], dict | list)
    score: ScoreName = "token_f1" if structured else _score(answers)
    task = task.model_copy(update={"score": score})
    given = {"train": str(path)} | _beside(path)
    paths = split_paths(TaskEntry(**given), path.parent)
    splits = {s: (given.get(s, file), read_located(task, file)) for s, file in paths.items()}
    counts = Counter(item.example.answer for item in splits["train"][1])
    unused = [name for name in rows[0].fields if name not in (fields or ()) and fields]
    return Guess(task.name, path, fields, tuple(unused), score, _negative(counts, score), splits)


def _beside(path: Path) -> dict[str, str]:
    """The other splits beside ``train.*``."""
    if path.stem != "train":
        return {}
    siblings = {split: path.with_stem(split) for split in ("validation", "test")}
    return {split: str(file) for split, file in siblings.items() if file.is_file()}


def _name(path: Path, taken: Iterable[str]) -> str:
    stem = path.parent.name if path.stem == "train" else path.stem
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-") or "task"
    used = set(taken)
    numbered = (f"{name}_{number}" for number in range(2, len(used) + 3))
    return name if name not in used else next(n for n in numbered if n not in used)


def _fields(path: Path, rows: list[Row]) -> tuple[str, str]:
    """The input and the answer: by customary names, else long text and short, repeated text."""
    names = [name for name in rows[0].fields if name.lower() not in IDENTIFIERS]
    if len(names) < 2:
        raise InputError(
            f"{path}:1: found fields {options(rows[0].fields)}; allowed: one to read from and one "
            "to answer with, at least"
        )
    texts = {name: [json.dumps(row.fields.get(name)) for row in rows] for name in names}
    length = {name: sum(map(len, values)) / len(values) for name, values in texts.items()}
    distinct = {name: len(set(values)) for name, values in texts.items()}
    by_custom = [name for custom in ANSWER_NAMES for name in names if name.lower() == custom]
    answer = next(iter(by_custom), min(names, key=lambda n: (distinct[n], length[n])))
    rest = [name for name in names if name != answer]
    by_custom = [name for custom in INPUT_NAMES for name in rest if name.lower() == custom]
    return next(iter(by_custom), max(rest, key=lambda n: length[n])), answer


def _score(answers: list[str]) -> ScoreName:
    counts = Counter(answers)
    short = max(map(len, counts)) <= MAX_LABEL_CHARACTERS
    if short and len(counts) <= min(MAX_LABELS, max(2, len(answers) // 4)):
        return "macro_f1"
    words = sum(len(tokens(answer)) for answer in answers) / len(answers)
    return "token_f1" if words >= LONG_ANSWER_WORDS else "exact_match"


def _negative(counts: Counter[str], score: ScoreName) -> str | None:
    """The answer that seems to be the negative class, if any; among free answers it must recur."""
    answers = {answer.strip().lower(): answer for answer in counts}
    negative = next((answers[name] for name in NEGATIVES if name in answers), None)
    return negative if negative and (score == "macro_f1" or counts[negative] > 1) else None


def _model_path(model: str) -> str:
    """A folder from the root, whether or not it exists yet; a hub id unchanged."""
    path = Path(model).expanduser()
    return str(_located(path)) if path.is_dir() or model[:1] in (".", "/", "~") else model


def _relative(path: str | Path, folder: Path) -> str:
    return _quoted(Path(os.path.relpath(path, folder.resolve())).as_posix())


def _quoted(text: str) -> str:
    """JSON's quotes are YAML's, and need no list of what must be quoted."""
    return (
        text
        if re.fullmatch(r"[A-Za-z_./-][\w./-]*", text) and not _reads_otherwise(text)
        else (json.dumps(text, ensure_ascii=False))
    )


def _reads_otherwise(text: str) -> bool:
    return text.lower() in ("null", "true", "false", ".inf", "-.inf", ".nan", "-", "---", "...")


def _head(name: str, entries: list[ModelEntry], folder: Path) -> str:
    counts = Counter(entry.label for entry in entries)
    seen: Counter[str] = Counter()
    lines = []
    for entry in entries:
        seen[entry.label] += 1
        path = (
            _relative(entry.path, folder) if Path(entry.path).is_absolute() else _quoted(entry.path)
        )
        distinct = f", name: {_quoted(f'{entry.label}-{seen[entry.label]}')}"
        lines.append(f"  - {{path: {path}{distinct if counts[entry.label] > 1 else ''}}}")
    listed = "\n".join(lines)
    return f"""\
# Base models, methods, training-set sizes and task mixes to compare. `sft-select plan` shows what
# will run, `sft-select run` starts it. Paths are relative to this folder.
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
# Other LoRA variants: rslora, dora, pissa, lora_plus. P-tuning v2 is a prefix of keys
# and values in every layer, which takes rates up to 1e-1 (small models 5e-1) and no gradient
# checkpointing; v1 is virtual tokens at the input alone, which learn less.
methods:
  full: {{learning_rate: {{{full}, log: true}}}}
  lora: {{rank: [8, 32], variant: [plain], learning_rate: {{{lora}, log: true}}}}
  p_tuning: {{virtual_tokens: [{_VIRTUAL_TOKENS}], variant: [v2], learning_rate: {{{p_tuning}, log: true}}}}
"""


def _tasks(guesses: Iterable[Guess], folder: Path) -> str:
    return "tasks:\n" + "".join(_task(guess, folder) for guess in guesses)


def _task(guess: Guess, folder: Path) -> str:
    lines = [f"  {guess.name}:", f"    train: {_relative(guess.path, folder)}"]
    for split in ("validation", "test"):
        path, examples = guess.splits.get(split, (None, ()))
        if path is None:
            lines.append("    # test: rows for the final report alone; no choice uses them")
        elif "#" in Path(path).name:
            lines.append(f"    validation_share: 0.1  # {len(examples)} rows; or a file of its own")
        else:
            lines.append(f"    {split}: {_relative(path, folder)}  # {len(examples)} rows")
    if guess.fields:
        source, answer = (f"{{{name}}}" for name in guess.fields)
        unused = f"  # fields not used: {options(guess.unused)}" if guess.unused else ""
        instruction = "Give the label." if guess.score == "macro_f1" else "Give the answer."
        lines += [
            "    # Say in the instruction what the model should do.",
            f"    prompt: {{instruction: {_quoted(instruction)}, input: {_quoted(source)}}}{unused}",
            f"    answer: {_quoted(answer)}",
        ]
    else:
        lines.append("    # The rows carry their own layout, so there is no prompt or answer here.")
    distinct = len({item.example.answer for item in guess.splits["train"][1]})
    lines.append(f"    score: {guess.score}  # {distinct} different answers in train")
    if guess.negative:
        comment = "any other answer to such a row is a false positive (over-reach)"
        lines.append(f"    negative: {_quoted(guess.negative)}  # {comment}")
    return "\n".join(lines) + "\n"


def _general() -> str:
    return """\
# What tuning must not forget: general text, and tasks that are never trained on.
# general:
#   english: {text: general.jsonl, measure: bits_per_byte}
"""


def _design(guesses: list[Guess]) -> str:
    names = [guess.name for guess in guesses]
    mixes = {"all": names} | ({f"only_{n}": [n] for n in names} if len(names) > 1 else {})
    listed = "\n".join(
        f"  {mix}: {{{', '.join(f'{name}: 1' for name in tasks)}}}" for mix, tasks in mixes.items()
    )
    rows = min(guess.train_rows for guess in guesses)
    return f"""\
# Training-set sizes in examples, each nested in the next; a scaling law needs three or more.
# The smallest task has {rows} rows to train on.
volumes: [{", ".join(map(str, _volumes(rows)))}]

# `<task>: weight`; other keys: extra_epochs, replay, volumes.
mixes:
{listed}
"""


def _volumes(rows: int) -> list[int]:
    """Four training-set sizes, each twice the one before, the smallest a round number."""
    smallest = min(rows, LARGEST_VOLUME) // 8
    if smallest < 2:
        return [rows]
    scale = 10 ** (len(str(smallest)) - 1)
    return [smallest // scale * scale * 2**step for step in range(4)]


def _training(entries: list[ModelEntry], guesses: list[Guess]) -> str:
    row, answer = (max(lengths) for lengths in zip(*_longest(entries, guesses), strict=True))
    folders = [Path(entry.path) for entry in entries if Path(entry.path).is_dir()]
    positions = [max(8, n - _VIRTUAL_TOKENS) for folder in folders if (n := max_positions(folder))]
    wanted = max(64, -(-(row + FRAME_TOKENS) // 32) * 32)
    max_length = min(wanted, LONGEST_ROW, *positions)
    new_tokens = min(max(8, -(-(answer + 1) // 8) * 8), LONGEST_ANSWER)
    return f"""\
# The longest rows seen take about {row} tokens, the longest answers {answer}.
train: {{epochs: 3, batch_size: 16, max_length: {max_length}}}
evaluation: {{rows: 500, max_new_tokens: {new_tokens}}}
"""


def _longest(entries: list[ModelEntry], guesses: list[Guess]) -> list[tuple[int, int]]:
    """Tokens of the longest row and of the longest answer, per task and tokenizer on hand."""
    files = [Path(entry.path) / "tokenizer.json" for entry in entries]
    found: list[tuple[int, int]] = []
    for guess in guesses:
        examples = guess.splits["train"][1]
        found += [Lengths(file, examples).longest for file in files if file.is_file()]
        if not any(file.is_file() for file in files):
            texts = [("".join(t.content for t in e.messages), e.answer) for e, _ in examples]
            row = max(len(prompt) + len(answer) for prompt, answer in texts)
            answer = max(len(answer) for _, answer in texts)
            found.append((row // CHARACTERS_PER_TOKEN + 1, answer // CHARACTERS_PER_TOKEN + 1))
    return found


def _parameters(entry: ModelEntry) -> int | None:
    try:
        return model_spec(entry, Path()).parameters
    except InputError:
        return None  # `plan` will say what is wrong with it; here it only picks a range


def _goal(guesses: list[Guess]) -> str:
    weights = ", ".join(f"{guess.name}: 1" for guess in guesses)
    text = f"""\
# Upper bounds that a recommended model must keep: forgetting.<suite>, over_reach.<task>, peak_bytes,
# device_seconds, gpu_hours, flops, adapter_bytes, seconds_per_1k_tokens, parameters, examples; a lower
# one: min.<task>.
objective: {{weights: {{{weights}}}, constraints: {{}}}}
seeds: 2
budget: {{trials: 60}}  # or {{gpu_hours: 8}}: hours on a device, training and evaluation, over all workers
search: {{strategy: law}}  # grid | random | tpe | halving
engine: {{kind: local, workers: auto}}

# What is recorded of rows and answers beside the scores: all | hashed (digests) | none.
record_answers: all
"""
    leaked = [
        (guess.name, leak.wording)
        for guess in guesses
        for leak in leaks(guess.splits)
        if not (leak.loose and is_part(guess.splits["train"][0]))
    ]
    if leaked:
        listed = "\n".join(f"# {name}: {leak.split(': ', 1)[1]}" for name, leak in leaked)
        text += f"\n# Take these rows out, then this line:\n{listed}\nallow_leakage: true\n"
    return text
