"""Examples: a data row's chat turns and its answer, laid out by templates or by the row's fields.

A row is laid out by the task's templates or, without any, by the layout its own fields show:
``messages`` (chat; the last assistant turn is the answer), ``prompt`` and ``completion`` (texts or
chat turns), ``instruction``, ``input`` and ``output``, ``conversations`` (ShareGPT's chat).
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sweeps.data.readers import Flaw, Row, raise_flaws, read_rows
from tracker.errors import InputError
from tracker.files import file_digest
from tracker.task import FileRef, PromptTemplate, TaskSpec
from tracker.validation import options, unknown

ROLES = ("system", "user", "assistant")
#: The placeholder of a prompt's template where a task's label definitions stand.
DEFINITIONS = "labels"

#: ``data.jsonl#validation=0.1``: a seeded part of a file. The other part is ``#train=0.1``.
_PART = re.compile(r"(?P<file>.+)#(?P<part>train|validation)=(?P<share>[^#/]*)")
_PART_SEED = 0
#: Of the order of evaluation: every trial of a sweep is evaluated on the same rows.
EVALUATION_SEED = 0


class Turn(NamedTuple):
    """One chat turn; ``role`` is one of ``ROLES``."""

    role: str
    content: str


class Example(NamedTuple):
    """A prompt (``messages``) and its answer; ``row``: its number in the file, from 0."""

    messages: tuple[Turn, ...]
    answer: str
    row: int


class LocatedExample(NamedTuple):
    """An example and the line of its file on which it starts."""

    example: Example
    line: int


Layout = Callable[[dict[str, Any]], tuple[tuple[Turn, ...], str]]


class _RowError(Exception):
    """A row that its layout cannot read."""


def read_examples(task: TaskSpec, file: FileRef) -> list[Example]:
    """Read the examples of *file*, one per row, in the file's order.

    Raises ``InputError`` with every problem, each as ``file:line: …``.
    """
    return [located.example for located in read_located(task, file.path)]


def read_located(task: TaskSpec, path: str) -> list[LocatedExample]:
    """Read the examples of the file at *path*, with their lines, as :func:`read_examples`."""
    if part := _part(path):
        both = read_located(task, part.file)
        split = parts([e for e, _ in both], float(part.share), task.score == "macro_f1")
        return [both[index] for index in split[part.name]]
    return laid_out(task, path, read_rows(Path(path)))


def laid_out(task: TaskSpec, path: str, rows: Sequence[Row]) -> list[LocatedExample]:
    """The examples of *rows*, of which there is one at least, that were read from *path*.

    Raises ``InputError`` with every problem, each as ``path:line: …``.
    """
    lay_out = _layout(task, path, rows[0].fields)
    found: list[LocatedExample] = []
    flaws: list[Flaw] = []
    for index, (line, fields) in enumerate(rows):
        try:
            messages, answer = lay_out(fields)
            _check(messages, answer)
        except _RowError as error:
            flaws.append(Flaw(line, str(error)))
        else:
            found.append(LocatedExample(Example(messages, answer, index), line))
    raise_flaws(path, flaws)
    return found


def read_texts(file: FileRef) -> list[str]:
    """Read the ``text`` field of every row. Raises ``InputError`` with every problem."""
    texts: list[str] = []
    flaws: list[Flaw] = []
    for line, fields in read_rows(Path(file.path)):
        try:
            texts.append(_text(_field(fields, "text")))
            if not texts[-1].strip():
                raise _RowError("found an empty text; allowed: some text")
            _check_unicode(texts[-1])
        except _RowError as error:
            flaws.append(Flaw(line, str(error)))
    raise_flaws(file.path, flaws)
    return texts


def nested_order(examples: Sequence[Example], seed: int) -> list[int]:
    """Nested order of examples: a seeded order of which every prefix is stratified by answer.

    An answer that occurs n times gets places (i + u) / n, u uniform in [0, 1) per example, so each
    prefix holds of each answer its share of the prefix, give or take about one; where all answers
    differ this is a plain shuffle. Depends on *examples* and *seed* alone.
    """
    draw = random.Random(seed).random
    by_answer: dict[str, list[tuple[float, int]]] = {}
    for index, example in enumerate(examples):
        by_answer.setdefault(example.answer, []).append((draw(), index))
    placed = [
        ((place + draw()) / len(group), index)
        for group in by_answer.values()
        for place, (_, index) in enumerate(sorted(group))
    ]
    return [index for _, index in sorted(placed)]


def parts(
    examples: Sequence[Example], share: float, keep_single: bool = False
) -> dict[str, list[int]]:
    """Split of examples into ``validation`` (a stratified, seeded *share*) and ``train`` (the rest).

    By index. A row whose prompt, normalised, is in validation is left out of train. *keep_single*: an
    answer that occurs once stays in train, so that validation has no label that train lacks.
    """
    counts = Counter(example.answer for example in examples)
    order = [
        index
        for index in nested_order(examples, _PART_SEED)
        if not keep_single or counts[examples[index].answer] > 1
    ]
    validation = sorted(order[: max(1, round(share * len(order)))])
    held_out = {normalised(examples[index]) for index in validation}
    train = [i for i, e in enumerate(examples) if normalised(e) not in held_out]
    return {"train": train, "validation": validation}


def part_path(path: str, part: str, share: float) -> str:
    """Path of a part of a file, which :func:`read_examples` and :func:`digest` take."""
    return f"{path}#{part}={share:g}"


def digest(path: str) -> str:
    """SHA-256 of the file at *path*, in hex; where *path* names a part, of the file and the part."""
    if part := _part(path):
        text = f"{digest(part.file)}#{part.name}={part.share}"
        return hashlib.sha256(text.encode()).hexdigest()
    try:
        return file_digest(Path(path))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a readable data file") from None


class _Part(NamedTuple):
    """A part of a file; ``share``: of validation, as text, of which the digest is made."""

    file: str
    name: str
    share: str


def _part(path: str) -> _Part | None:
    """Parse the part of a file that *path* names; ``None`` where it names a file. Raises InputError."""
    match = _PART.fullmatch(path)
    if match is None:
        return None
    part = _Part(match["file"], match["part"], match["share"])
    try:
        share = float(part.share)
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise InputError(
            f"{path}: found a share of {part.share!r}; allowed: a number between 0 and 1, such as "
            f"#{part.name}=0.1"
        )
    return part


def whole_file(path: str) -> str:
    """Path of the file at *path*, or of which *path* names a part."""
    part = _part(path)
    return part.file if part else path


def file_ref(path: Path | str, rows: int | None = None) -> FileRef:
    """Reference to the data file at *path*: its digest and number of *rows*. Raises ``InputError``."""
    count = len(read_rows(Path(path))) if rows is None else rows
    return FileRef(path=str(path), sha256=digest(str(path)), rows=count)


def is_part(path: str) -> bool:
    """Whether *path* names a part of a file."""
    return _PART.fullmatch(path) is not None


def source_file(path: str) -> str:
    """The file that *path* names, or names a part of."""
    part = _part(path)
    return part.file if part else path


def prompt_text(example: Example) -> str:
    """Contents of all turns of a prompt."""
    return " ".join(turn.content for turn in example.messages)


def normalised(example: Example) -> str:
    """Prompt in lower case with single spaces, by which duplicates are found."""
    return normal_text(prompt_text(example))


def normal_text(text: str) -> str:
    """Text in lower case with single spaces."""
    return " ".join(text.casefold().split())


def similar_text(text: str) -> str:
    """:func:`normal_text` without marks of prose and widths, by which leaks are found.

    What stands before a digit may be a sign or a decimal mark, and stays; so does a text of marks alone.
    """
    normal = normal_text(text)
    folded = unicodedata.normalize("NFKC", normal).casefold()
    return " ".join(_PROSE_MARKS.sub(" ", folded).split()) or normal


#: Sentence marks, quotes and round brackets, with those of Chinese and Japanese; dashes behind the bar.
_PROSE_MARKS = re.compile(
    r"""[.,;:!?'"`()\u00a1\u00ab\u00b4\u00b7\u00bb\u00bf\u2018-\u201f\u2039\u203a"""
    r"""\u3001\u3002\u3008-\u3011](?!\d)|[-\u2010-\u2015](?!\s*\d)"""
)


def _layout(task: TaskSpec, path: str, first: dict[str, Any]) -> Layout:
    if task.prompt is not None and task.answer is not None:
        return _template_layout(task, task.prompt, task.answer)
    if task.prompt is not None or task.answer is not None:
        raise InputError(f"task {task.name}: found one of prompt and answer; give both or neither")
    for needed, layout in _LAYOUTS.items():
        if set(needed) <= first.keys():
            return _with_definitions(layout, definition_lines(task))
    layouts = " or ".join(" and ".join(needed) for needed in _LAYOUTS)
    raise InputError(
        f"{path}:1: found fields {options(first)}; allowed: {layouts}; "
        f"or give task {task.name!r} a prompt and an answer over these fields"
    )


def definition_lines(task: TaskSpec) -> str:
    """The task's labels with their definitions as the prompt has them, a line each."""
    return "\n".join(f"{label.name}: {label.definition}" for label in task.labels)


def _with_definitions(layout: Layout, definitions: str) -> Layout:
    """*layout* with *definitions*, if there are any, before the text of the first user turn."""
    if not definitions:
        return layout

    def lay_out(fields: dict[str, Any]) -> tuple[tuple[Turn, ...], str]:
        turns, answer = layout(fields)
        first = next((i for i, turn in enumerate(turns) if turn.role == "user"), None)
        if first is None:
            return turns, answer  # refused: there is no prompt
        turn = turns[first]._replace(content=f"{definitions}\n{turns[first].content}")
        return (*turns[:first], turn, *turns[first + 1 :]), answer

    return lay_out


def _template_layout(task: TaskSpec, prompt: PromptTemplate, answer: str) -> Layout:
    definitions = definition_lines(task)
    given = {DEFINITIONS: definitions} if definitions else {}
    templates = {name: text for name, text in prompt.model_dump().items() if text is not None}
    fills = {
        name: _compiled(text, f"task {task.name}: {name}", given)
        for name, text in templates.items()
    }
    fill_answer = _compiled(answer, f"task {task.name}: answer", {})
    if any(DEFINITIONS in _fields_of(text) for text in templates.values()):
        definitions = ""  # they stand where the template has them

    def lay_out(fields: dict[str, Any]) -> tuple[tuple[Turn, ...], str]:
        filled = {name: fill(fields) for name, fill in fills.items()}
        user = (filled.get("instruction"), definitions, filled["input"])
        return _turns(filled.get("system"), *user), fill_answer(fields)

    return lay_out


def _fields_of(template: str) -> set[str]:
    """Names of the placeholders of a template that compiles."""
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def _compiled(
    template: str, where: str, given: Mapping[str, str]
) -> Callable[[dict[str, Any]], str]:
    """Compile a template to a function that fills it from what is *given*, else from a row's fields."""
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as error:
        raise InputError(f"{where}: found {template!r}: {error}; write {{{{ for a brace") from None
    if any(spec or conversion for _, _, spec, conversion in pieces) or any(
        name == "" for _, name, _, _ in pieces
    ):
        raise InputError(f"{where}: found {template!r}; allowed: plain {{field}} placeholders")

    def value(fields: dict[str, Any], name: str) -> str:
        return given[name] if name in given else _text(_field(fields, name))

    def fill(fields: dict[str, Any]) -> str:
        return "".join(
            literal if name is None else literal + value(fields, name)
            for literal, name, _, _ in pieces
        )

    return fill


def _field(fields: dict[str, Any], name: str) -> Any:
    if name not in fields:
        raise _RowError(f"no field {name!r}: {unknown(name, fields)}")
    if fields[name] is None:
        raise _RowError(f"found null in field {name!r}; allowed: a value")
    return fields[name]


def _text(value: Any) -> str:
    """A field's value as text: ``key: value; key: value`` for mappings, ``a, b`` for lists."""
    if isinstance(value, str):
        return value
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        raise _RowError(f"found {json.dumps(value)} within a field; allowed: a value")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        # Parquet gives every row every key of a mapping, null where the row has none
        present = {key: item for key, item in value.items() if item is not None}
        return "; ".join(f"{key}: {_text(item)}" for key, item in present.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return str(value)


def _turns(system: str | None, *user: str | None) -> tuple[Turn, ...]:
    content = "\n".join(part for part in user if part)
    return (*([Turn("system", system)] if system else []), Turn("user", content))


def _messages_layout(fields: dict[str, Any]) -> tuple[tuple[Turn, ...], str]:
    *before, last = _chat(_field(fields, "messages"), "messages")
    if last.role != "assistant":
        raise _RowError(f"found a last turn of {last.role!r}; allowed: assistant, the answer")
    return tuple(before), last.content


def _completion_layout(fields: dict[str, Any]) -> tuple[tuple[Turn, ...], str]:
    prompt, completion = _field(fields, "prompt"), _field(fields, "completion")
    messages = _chat(prompt, "prompt") if isinstance(prompt, list) else _turns(None, _text(prompt))
    if isinstance(completion, list):
        completion = _chat(completion, "completion")[-1].content
    return tuple(messages), _text(completion)


def _alpaca_layout(fields: dict[str, Any]) -> tuple[tuple[Turn, ...], str]:
    optional = (fields.get(name) for name in ("system", "input"))
    system, text = (None if value is None else _text(value) for value in optional)
    instruction = _text(_field(fields, "instruction"))
    return _turns(system, instruction, text), _text(_field(fields, "output"))


def _chat(turns: Any, field: str) -> list[Turn]:
    if not isinstance(turns, list) or not turns:
        raise _RowError(f"found no turns in {field!r}; allowed: a list of role and content")
    chat: list[Turn] = []
    for turn in turns:
        if not isinstance(turn, dict) or not isinstance(turn.get("content"), str):
            raise _RowError(f"found a turn without text in {field!r}; allowed: role and content")
        if turn.get("role") not in ROLES:
            raise _RowError(f"role in {field!r}: {unknown(str(turn.get('role')), ROLES)}")
        chat.append(Turn(turn["role"], turn["content"]))
    return chat


def _sharegpt_layout(fields: dict[str, Any]) -> tuple[tuple[Turn, ...], str]:
    turns = _field(fields, "conversations")
    if isinstance(turns, list) and all(isinstance(t, dict) and "from" in t for t in turns):
        known = {role: _SHAREGPT_ROLES.get(str(role), role) for role in (t["from"] for t in turns)}
        turns = [{"role": known[t["from"]], "content": t.get("value")} for t in turns]
    return _messages_layout({"messages": turns})


#: Who speaks, as ShareGPT and the sets made from it write it.
_SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant"}

_LAYOUTS: dict[tuple[str, ...], Layout] = {
    ("messages",): _messages_layout,
    ("prompt", "completion"): _completion_layout,
    ("instruction", "output"): _alpaca_layout,
    ("conversations",): _sharegpt_layout,
}


def _check(messages: tuple[Turn, ...], answer: str) -> None:
    if not answer.strip():
        raise _RowError("found an empty answer, nothing to learn; allowed: some text")
    if not any(turn.role == "user" and turn.content.strip() for turn in messages):
        raise _RowError("found an empty prompt; allowed: some text in a user turn")
    for text in (answer, *(turn.content for turn in messages)):
        _check_unicode(text)


def _check_unicode(text: str) -> None:
    if not text.isascii() and re.search("[\ud800-\udfff]", text):
        raise _RowError("found half of a surrogate pair; allowed: valid Unicode")


def has_layout(fields: dict[str, Any]) -> bool:
    """Whether rows with these *fields* have a known layout, so that they need no template."""
    return any(set(needed) <= fields.keys() for needed in _LAYOUTS)
