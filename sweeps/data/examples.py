"""Examples: a data row's chat turns and its answer, laid out by templates or by the row's fields.

A row is laid out by the task's templates or, without any, by the layout its own fields show
(``sweeps/data/layouts.py``).
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

from sweeps.data.conversions import SQUAD, conversion, query
from sweeps.data.layouts import (
    LAYOUTS,
    Conversation,
    Layout,
    Reading,
    RowError,
    Turn,
    calls_text,
    field_of,
    layout_of,
    turns_of,
)
from sweeps.data.readers import Row, raise_flaws, read_file, read_rows, rows_under
from sweeps.data.source import Flaw, Form
from tracker.errors import InputError
from tracker.files import file_digest
from tracker.task import FileRef, PromptTemplate, TaskSpec, TemplateVariables
from tracker.validation import options

#: The placeholder of a prompt's template where a task's label definitions stand.
DEFINITIONS = "labels"

#: ``data.jsonl#validation=0.1``: a seeded part of a file. The other part is ``#train=0.1``.
_PART = re.compile(r"(?P<file>.+)#(?P<part>train|validation)=(?P<share>[^#/]*)")
_PART_SEED = 0
#: Of the order of evaluation: every trial of a sweep is evaluated on the same rows.
EVALUATION_SEED = 0


class Example(NamedTuple):
    """A prompt (``messages``) and its answer; ``row``: its number in the file, from 0.

    ``tools``: JSON of the tools that may be called. ``call``: JSON of the calls that the answer makes, which
    a model's template writes. ``weight``: of the answer's loss. Each as :class:`Turn` has it. ``variables``:
    those of the task that the chat template is given.
    """

    messages: tuple[Turn, ...]
    answer: str
    row: int
    tools: str = ""
    call: str = ""
    weight: float | None = None
    variables: TemplateVariables = ()


class LocatedExample(NamedTuple):
    """An example and the line of its file on which it starts."""

    example: Example
    line: int


class ReadFile(NamedTuple):
    """The examples of a file and how they were read.

    ``layout``: its name, ``None`` where the task's templates laid the rows out. ``notes``: what a user should
    know of it. ``differs``: whether earlier releases read the rows otherwise (``TaskSpec.reading``).
    """

    examples: list[LocatedExample]
    form: Form
    layout: str | None
    notes: tuple[str, ...]
    differs: bool


class FirstLook(NamedTuple):
    """What a data file is, before any task says how to read it; ``layout``: ``None`` without a known one."""

    form: Form
    layout: Layout | None
    rows: list[Row]


def look_at(path: Path, encoding: str | None = None) -> FirstLook:
    """Read a data file and tell what it is. Raises ``InputError`` with every problem."""
    rows, form = read_file(path, encoding)
    return FirstLook(form, layout_of(rows[0].fields), rows)


def read_examples(task: TaskSpec, file: FileRef) -> list[Example]:
    """Read the examples of *file*, one per row, in the file's order.

    Raises ``InputError`` with every problem, each as ``file:line: …``.
    """
    return [located.example for located in located_rows(task, file)]


def located_rows(task: TaskSpec, file: FileRef) -> list[LocatedExample]:
    """Read the examples of *file* but those that are left out, with their lines."""
    out = frozenset(file.left_out)
    return [item for item in read_located(task, file.path) if item.example.row not in out]


def read_located(task: TaskSpec, path: str) -> list[LocatedExample]:
    """Read the examples of the file at *path*, with their lines, as :func:`read_examples`."""
    return read_task_file(task, path).examples


def read_task_file(task: TaskSpec, path: str) -> ReadFile:
    """Read the examples of the file at *path*, and say how; raises as :func:`read_examples`."""
    if part := _part(path):
        whole = read_task_file(task, part.file)
        both = whole.examples
        split = parts([e for e, _ in both], float(part.share), task.score == "macro_f1")
        return whole._replace(examples=[both[index] for index in split[part.name]])
    rows, form = read_file(Path(path), task.encoding)
    return _read(task, path, rows, form)


def laid_out(task: TaskSpec, path: str, rows: Sequence[Row]) -> list[LocatedExample]:
    """The examples of *rows*, of which there is one at least, that were read from *path*.

    Raises ``InputError`` with every problem, each as ``path:line: …``.
    """
    return _read(task, path, rows, Form("")).examples


def _read(task: TaskSpec, path: str, rows: Sequence[Row], form: Form) -> ReadFile:
    reading = Reading(whole=task.reading == "whole")
    layout = _layout(task, path, rows)
    found: list[LocatedExample] = []
    flaws: list[Flaw] = []
    for index, (line, fields) in enumerate(rows):
        try:
            example = _example(layout.read(fields, reading), index, task.chat_template_kwargs)
            _check(example)
        except RowError as error:
            flaws.append(Flaw(line, str(error)))
        else:
            found.append(LocatedExample(example, line))
    raise_flaws(path, flaws)
    named = layout.name if task.prompt is None else None
    notes = (f"{path}: {layout.note}",) if layout.note else ()
    return ReadFile(found, form, named, notes, reading.differs)


def _example(conversation: Conversation, row: int, variables: TemplateVariables) -> Example:
    messages, answer, tools = conversation
    call = answer.fields if '"tool_calls"' in answer.fields else ""
    if call and answer.content:
        call = json.dumps({"content": answer.content, **json.loads(call)}, ensure_ascii=False)
    return Example(messages, calls_text(answer), row, tools, call, answer.weight, variables)


def read_texts(file: FileRef) -> list[str]:
    """Read the ``text`` field of every row. Raises ``InputError`` with every problem."""
    texts: list[str] = []
    flaws: list[Flaw] = []
    for line, fields in read_rows(Path(file.path), file.encoding):
        try:
            value = field_of(fields, "text")
            texts.append(Reading(whole=False).text(value))
            if not texts[-1].strip():
                raise RowError("found an empty text; allowed: some text")
            _check_unicode(texts[-1])
        except RowError as error:
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


def file_ref(path: Path | str, rows: int | None = None, encoding: str | None = None) -> FileRef:
    """Reference to the data file at *path*: its digest and number of *rows*. Raises ``InputError``.

    *encoding*: of a file of plain texts; a task's files have the task's.
    """
    count = len(read_rows(Path(path), encoding)) if rows is None else rows
    return FileRef(path=str(path), sha256=digest(str(path)), rows=count, encoding=encoding)


def is_part(path: str) -> bool:
    """Whether *path* names a part of a file."""
    return _PART.fullmatch(path) is not None


def source_file(path: str) -> str:
    """The file that *path* names, or names a part of."""
    part = _part(path)
    return part.file if part else path


def prompt_text(example: Example) -> str:
    """Contents of all turns of a prompt, calls of tools among them."""
    return " ".join(map(calls_text, example.messages))


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


def _layout(task: TaskSpec, path: str, rows: Sequence[Row]) -> Layout:
    if task.prompt is not None and task.answer is not None:
        return _template_layout(task, task.prompt, task.answer)
    if task.prompt is not None or task.answer is not None:
        raise InputError(f"task {task.name}: found one of prompt and answer; give both or neither")
    first = rows[0].fields
    if layout := layout_of(first):
        return _with_definitions(layout, definition_lines(task))
    layouts = " or ".join(dict.fromkeys(" and ".join(each.needed) for each in LAYOUTS))
    found = f"{path}:1: found fields {options(first)}; allowed: {layouts}; "
    if converted := _layout_conversion(Path(path), rows):
        raise InputError(f"{found}or rows of such fields{converted}")
    raise InputError(
        f"{found}or give task {task.name!r} a prompt and an answer over these fields, such as "
        f"prompt: {{input: {_slot(first, 0)}}}, answer: {_slot(first, -1)}"
    )


def _layout_conversion(path: Path, rows: Sequence[Row]) -> str:
    """The line that makes rows with a layout of rows that hold them deeper within; empty where none does."""
    first = rows[0].fields
    if "paragraphs" in first:
        return query(path, SQUAD)
    for name, value in first.items():
        if isinstance(value, dict) and layout_of(value):
            each = ".[] | " if path.suffix == ".json" and len(rows) > 1 else ""
            return query(path, f"{each}.{name}")
    keys = rows_under(first) if len(rows) == 1 else []
    return conversion(path, key=keys[0]) if keys else ""


def definition_lines(task: TaskSpec) -> str:
    """The task's labels with their definitions as the prompt has them, a line each."""
    return "\n".join(f"{label.name}: {label.definition}" for label in task.labels)


def _with_definitions(layout: Layout, definitions: str) -> Layout:
    """*layout* with *definitions*, if there are any, before the text of the first user turn."""
    if not definitions:
        return layout

    def read(fields: dict[str, Any], reading: Reading) -> Conversation:
        conversation = layout.read(fields, reading)
        turns = conversation.messages
        first = next((i for i, turn in enumerate(turns) if turn.role == "user"), None)
        if first is None:
            return conversation  # refused: there is no prompt
        turn = turns[first]._replace(content=f"{definitions}\n{turns[first].content}")
        return conversation._replace(messages=(*turns[:first], turn, *turns[first + 1 :]))

    return layout._replace(read=read)


def _slot(fields: dict[str, Any], place: int) -> str:
    return f'"{{{list(fields)[place]}}}"' if fields else '"{text}"'


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

    def read(fields: dict[str, Any], reading: Reading) -> Conversation:
        filled = {name: fill(fields, reading) for name, fill in fills.items()}
        user = (filled.get("instruction"), definitions, filled["input"])
        turns = turns_of(filled.get("system"), *user)
        return Conversation(turns, Turn("assistant", fill_answer(fields, reading)))

    return Layout("template", (), read)


def _fields_of(template: str) -> set[str]:
    """Names of the placeholders of a template that compiles."""
    return {name for _, name, _, _ in string.Formatter().parse(template) if name}


def _compiled(
    template: str, where: str, given: Mapping[str, str]
) -> Callable[[dict[str, Any], Reading], str]:
    """Compile a template to a function that fills it from what is *given*, else from a row's fields."""
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as error:
        raise InputError(f"{where}: found {template!r}: {error}; write {{{{ for a brace") from None
    if any(spec or conversion for _, _, spec, conversion in pieces) or any(
        name == "" for _, name, _, _ in pieces
    ):
        raise InputError(f"{where}: found {template!r}; allowed: plain {{field}} placeholders")

    def value(fields: dict[str, Any], name: str, reading: Reading) -> str:
        return given[name] if name in given else reading.text(field_of(fields, name))

    def fill(fields: dict[str, Any], reading: Reading) -> str:
        return "".join(
            literal if name is None else literal + value(fields, name, reading)
            for literal, name, _, _ in pieces
        )

    return fill


def _check(example: Example) -> None:
    if not example.answer.strip():
        raise RowError("found an empty answer, nothing to learn; allowed: some text")
    if not any(turn.role == "user" and turn.content.strip() for turn in example.messages):
        raise RowError("found an empty prompt; allowed: some text in a user turn")
    for text in (example.answer, *(turn.content for turn in example.messages)):
        _check_unicode(text)


def _check_unicode(text: str) -> None:
    if not text.isascii() and re.search("[\ud800-\udfff]", text):
        raise RowError("found half of a surrogate pair; allowed: valid Unicode")
