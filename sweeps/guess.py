"""Task guessed from data files: how they are read, what is read and answered, and what is ambiguous.

Fields are told by customary names, else by their values. Where two readings are possible, a
:class:`Question` is asked; without anyone to answer it is refused in one line that names the option.
"""

from __future__ import annotations

import json
import re
import shlex
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sweeps.data.checks import label_problems
from sweeps.data.examples import FirstLook, LocatedExample, laid_out, look_at, read_located
from sweeps.data.layouts import LAYOUTS
from sweeps.data.readers import Row, data_suffix
from sweeps.data.source import likely_encoding
from sweeps.data.splits import beside, task_stem
from sweeps.resolve import split_paths, unread_task
from sweeps.scores.suited import Suited, suited_score
from sweeps.spec import MixEntry
from sweeps.task_entry import TaskEntry
from tracker.errors import InputError
from tracker.task import PromptTemplate
from tracker.validation import options, unknown

INPUT_NAMES = (
    *("text", "sentence", "question", "query", "utterance", "input", "prompt", "message", "document"),
    *("content", "body", "review", "article", "source", "comment", "instruction", "problem", "tweet"),
    *("dialogue", "conversation", "request", "passage", "description", "headline", "title"),
    *("文本", "句子", "问题", "内容", "评论", "正文", "文章", "输入", "标题", "原文", "指令", "text_zh"),
)  # fmt: skip
ANSWER_NAMES = (
    *("label", "intent", "category", "class", "answer", "target", "output", "response", "completion"),
    *("slots", "entities", "summary", "translation", "topic", "sentiment", "tag", "emotion", "reply"),
    *("solution", "highlights", "gold", "genre", "language_code", "rating", "stars", "keyword"),
    *("标签", "类别", "意图", "答案", "回答", "分类", "情感", "摘要", "槽位", "实体", "译文", "输出", "主题"),
)  # fmt: skip
#: What answers an instruction, whatever else is said of the row.
_REPLIES = ("response", "output", "answer", "completion", "reply")
#: Fields that are one input together, in the order in which they are read.
TOGETHER = (
    *(("context", "question"), ("passage", "question"), ("premise", "hypothesis")),
    *(("sentence1", "sentence2"), ("question1", "question2"), ("text_a", "text_b")),
    *(("title", "text"), ("title", "body"), ("title", "content"), ("headline", "body")),
    *(("instruction", "input"), ("instruction", "context"), ("标题", "内容"), ("标题", "正文")),
)
IDENTIFIERS = frozenset({"id", "idx", "index", "uuid", "guid", "row", "key", "编号", "序号"})
#: About a row, and neither what is read nor what is answered.
_ABOUT = frozenset(
    {
        *("split", "lang", "language", "url", "date", "time", "timestamp", "created_at", "author"),
        *(
            "user",
            "username",
            "dataset",
            "domain",
            "meta",
            "metadata",
            "license",
            "source_url",
            "fold",
        ),
        *("answer_start", "annotator", "weight", "version", "日期", "时间", "来源"),
    }
)
_TEMPLATE = re.compile(r"\{[^{}]*\}")
#: The format of rows that are read by templates over their fields.
FIELDS = "fields"
#: Rows from which fields are told.
_SAMPLE = 5_000
#: One field is the longer where the other's mean length is below this share of its.
_SHORTER = 0.5


class Question(NamedTuple):
    """What a file leaves open. ``option``: of the command line, with which a script answers it."""

    path: Path
    option: str
    wording: str
    choices: tuple[str, ...]
    default: str


Ask = Callable[[Question], str]
#: Values of an option by task; of ``None``: for every task.
Stated = Mapping[str | None, str]


class Wanted(NamedTuple):
    """What the user said of the data: fields or templates, and a layout or ``fields`` as the format."""

    answer: Stated
    input: Stated
    format: Stated


NOTHING_SAID = Wanted({}, {}, {})


class Templates(NamedTuple):
    """Templates of input and answer over a row's fields."""

    input: str
    answer: str

    @property
    def fields(self) -> set[str]:
        """The fields that they use."""
        return {name[1:-1] for name in _TEMPLATE.findall(self.input + self.answer)}


class Guess(NamedTuple):
    """Task guessed from a data file. ``templates``: where rows need them; ``form``: how the file is written.

    ``splits``: path and rows by split. ``notes``: what the user should know, a line each.
    """

    name: str
    path: Path
    form: str
    encoding: str | None
    templates: Templates | None
    unused: tuple[str, ...]
    suited: Suited
    splits: Mapping[str, tuple[str, Sequence[LocatedExample]]]
    notes: tuple[str, ...]

    @property
    def train_rows(self) -> int:
        """Rows to train on, after validation was set aside where it has to be."""
        return len(self.splits["train"][1])


def guess_task(path: Path, taken: Iterable[str], wanted: Wanted, ask: Ask | None) -> Guess:
    """The task of the train file at *path*, under a name that is not *taken*.

    Raises InputError for data that cannot be read, and where *ask* is ``None`` for what is ambiguous.
    """
    name = _name(path, taken)
    encoding = _encoding(path)
    look = look_at(path, encoding)
    templates = _templates(path, look, name, wanted, ask)
    given: dict[str, Any] = {"train": str(path), "encoding": encoding}
    near = {split: str(file) for split, file in beside(path).items()}
    given |= near
    if templates:
        given |= {"prompt": PromptTemplate(input=templates.input), "answer": templates.answer}
    task = unread_task(name, TaskEntry(**given))
    rows = laid_out(task, str(path), look.rows)
    rows = [*rows, *(row for file in near.values() for row in read_located(task, file))]
    suited = suited_score(
        [row.example.answer for row in rows], templates.answer if templates else ""
    )
    splits, unseen = _splits(name, given, suited)
    notes = []
    if unseen:
        notes.append(f"{suited.name} wants every label in train: {unseen.split(': ', 1)[1]}")
        suited = _without_labels(suited)
        splits, _ = _splits(name, given, suited)
    layout = None if templates else look.layout
    if layout and layout.note:
        notes.append(layout.note)
    form = ", ".join(filter(None, (look.form.words, layout and layout.name)))
    unused = [n for n in look.rows[0].fields if templates and n not in templates.fields]
    return Guess(name, path, form, encoding, templates, tuple(unused), suited, splits, tuple(notes))


def _splits(
    name: str, given: Mapping[str, Any], suited: Suited
) -> tuple[dict[str, tuple[str, Sequence[LocatedExample]]], str | None]:
    """Path and rows by split of a task with this score, and the first label that train never has."""
    entry = TaskEntry(**given, score=suited.name, negative=suited.negative, **suited.keys)
    task = unread_task(name, entry)
    splits: dict[str, tuple[str, Sequence[LocatedExample]]] = {
        split: (given.get(split, file), read_located(task, file))
        for split, file in split_paths(entry, Path()).items()
    }
    return splits, next(label_problems(task, splits), None)


def _without_labels(suited: Suited) -> Suited:
    """The score of labels of which train need not have all, for one that wants them there."""
    if suited.name == "multilabel_f1":
        return suited._replace(name="token_f1", keys={"unordered": True, **suited.keys})
    return suited._replace(name="exact_match")


def _encoding(path: Path) -> str | None:
    """The encoding to state, of a text that is not UTF-8; a file that cannot be read is said later."""
    try:
        return None if data_suffix(path) == ".parquet" else likely_encoding(path)
    except (OSError, EOFError, zlib.error):
        return None


def _name(path: Path, taken: Iterable[str]) -> str:
    """A name for the task: of the file, or of its folder where the file's is that of a split."""
    stem = task_stem(path) or path.parent.name
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-") or "task"
    if name in MixEntry.model_fields:
        name = f"{name}_task"
    used = set(taken)
    numbered = (f"{name}_{number}" for number in range(2, len(used) + 3))
    return name if name not in used else next(n for n in numbered if n not in used)


# -- the format --------------------------------------------------------------------------------------


def _templates(
    path: Path, look: FirstLook, name: str, wanted: Wanted, ask: Ask | None
) -> Templates | None:
    """Templates over the rows' fields; ``None`` where the rows carry their own layout."""
    fields, layout = look.rows[0].fields, look.layout
    stated = _of(wanted.format, name)
    named = _of(wanted.answer, name) or _of(wanted.input, name)
    formats = [*([_slug(layout.name)] if layout else []), FIELDS]
    if stated is not None and stated not in formats:
        known = [_slug(each.name) for each in LAYOUTS]
        other = f", rows that are no {stated}" if stated in known else ""
        raise InputError(
            f"{path}:1: --format {stated}: found fields {options(fields)}{other}; allowed: "
            f"{options(formats)}"
        )
    if stated not in (None, FIELDS) and named:
        raise InputError(f"--format {stated}: found --answer or --input too; allowed: one of them")
    if layout is None or stated == FIELDS or named:
        return _fields(path, look.rows, name, wanted, ask)
    if stated is None and _has_fields_too(fields):
        question = Question(path, "--format", "what is trained", tuple(formats), formats[0])
        said = f"found {layout.name} and fields beside it, {options(fields)}"
        if _answer(question, said, ask) == FIELDS:
            return _fields(path, look.rows, name, wanted, ask)
    return None


def _slug(layout: str) -> str:
    return layout.lower().replace(" ", "-")


#: Fields of the layouts themselves.
_LAYOUT_FIELDS = frozenset(
    {
        *("messages", "conversations", "prompt", "completion", "chosen", "rejected", "instruction"),
        *("input", "output", "system", "history", "tools", "conversation"),
    }
)


def _has_fields_too(fields: Mapping[str, Any]) -> bool:
    """Whether a row of a chat also has a field to read from and one to answer with."""
    plain = [n for n, v in fields.items() if isinstance(v, str) and n not in _LAYOUT_FIELDS]
    return bool(_customary(plain, INPUT_NAMES) and _customary(plain, ANSWER_NAMES))


def _of(stated: Stated, task: str) -> str | None:
    return stated.get(task, stated.get(None))


def _answer(question: Question, found: str, ask: Ask | None) -> str:
    """The user's choice; raises InputError where there is nobody to ask."""
    if ask is not None:
        return ask(question)
    options_ = " or ".join(f"{question.option} {choice}" for choice in question.choices)
    raise InputError(f"{question.path}:1: {found}; say which is {question.wording}: {options_}")


# -- the fields --------------------------------------------------------------------------------------


class _Column(NamedTuple):
    """A field over the rows. ``texts``: its values as text; ``whole``: whether every row has it."""

    name: str
    texts: tuple[str, ...]
    whole: bool

    @property
    def distinct(self) -> int:
        return len(set(self.texts))

    @property
    def length(self) -> float:
        return sum(map(len, self.texts)) / len(self.texts)

    @property
    def like_labels(self) -> bool:
        """Whether the values are short and recur."""
        short = max(map(len, self.texts)) <= 60
        return short and 1 < self.distinct <= max(2, len(self.texts) // 4)


def _fields(path: Path, rows: list[Row], name: str, wanted: Wanted, ask: Ask | None) -> Templates:
    columns = _columns(rows)
    answer = _of(wanted.answer, name)
    source = _of(wanted.input, name)
    for option, value in (("--answer", answer), ("--input", source)):
        for field in _named_fields(value):
            if field not in rows[0].fields:
                raise InputError(f"{path}:1: {option} {field}: {unknown(field, rows[0].fields)}")
    usable = _usable(columns, {*_named_fields(answer), *_named_fields(source)})
    if len(usable) < 2:
        raise InputError(
            f"{path}:1: found fields {options(rows[0].fields)}; allowed: one to read from and one "
            "to answer with, at least"
        )
    if answer is None:
        left = [c for c in usable if c.name not in _named_fields(source)]
        answer = _choose(path, _answers(left), "--answer", "the answer", ask)
    _check_spans(path, rows, answer)
    if source is None:
        left = [c for c in usable if c.name not in _named_fields(answer)]
        source = _choose(path, _inputs(left), "--input", "the input", ask)
    return Templates(_template(source), _template(answer))


def _check_spans(path: Path, rows: list[Row], answer: str) -> None:
    """Refuse SQuAD's answers, of which each is a text and where it starts."""
    value = rows[0].fields.get(answer)
    if not (isinstance(value, dict) and {"text", "answer_start"} <= value.keys()):
        return
    new = shlex.quote(f"plain_{path.stem.partition('.')[0]}.jsonl")
    raise InputError(
        f"{path}:1: found spans of text in {answer!r}, as SQuAD has them; allowed: a text; to convert it: "
        f"jq -c '.{answer} = (.{answer}.text[0] // \"none\")' {shlex.quote(path.name)} > {new}"
    )


def _choose(path: Path, names: list[str], option: str, what: str, ask: Ask | None) -> str:
    if len(names) == 1:
        return names[0]
    question = Question(path, option, what, tuple(names), names[0])
    found = f"found {len(names)} fields that may be {what}: {options(names)}"
    return _answer(question, found, ask)


def _columns(rows: list[Row]) -> list[_Column]:
    step = max(1, len(rows) // _SAMPLE)
    sample = rows[::step]
    columns = []
    for name in rows[0].fields:
        values = [row.fields.get(name) for row in sample]
        texts = tuple(
            v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for v in values
        )
        columns.append(_Column(name, texts, whole=all(v not in (None, "") for v in values)))
    return columns


def _usable(columns: list[_Column], named: set[str]) -> list[_Column]:
    """Fields that may be read or answered: neither identifiers, nor about the row, nor all the same."""
    kept = [c for c in columns if c.name in named or not _is_identifier(c)]
    telling = [c for c in kept if c.name in named or (c.distinct > 1 and not _is_about(c))]
    return telling if len(telling) > 1 else kept


def _is_identifier(column: _Column) -> bool:
    name = column.name.lower()
    return name in IDENTIFIERS or (
        bool(re.search(r"(_id|[a-z]Id|_idx|_uuid)$", column.name)) and not column.like_labels
    )


def _is_about(column: _Column) -> bool:
    return column.name.lower() in _ABOUT


def _answers(columns: list[_Column]) -> list[str]:
    """Fields that may be the answer, the likeliest first."""
    named = _customary([c.name for c in columns], ANSWER_NAMES)
    if len(named) == len(columns):  # one of them is read from
        also_read = _customary(named, INPUT_NAMES)
        named = [n for n in named if n not in also_read[:1]]
    if any(c.name.lower() == "instruction" for c in columns):  # else a reply's category is one too
        named = [n for n in named if n.lower() in _REPLIES] or named
    if named:
        chosen = [c for name in named for c in columns if c.name == name]
        return _distinct([*chosen, *(c for c in columns if any(_names(c, k) for k in chosen))])
    if labels := [c for c in columns if c.like_labels and c.whole]:
        return _distinct(labels)
    by_length = sorted(columns, key=lambda c: c.length)
    read = _customary([c.name for c in columns], INPUT_NAMES)
    if len(columns) == 2 and len(read) == 1:
        return [c.name for c in columns if c.name != read[0]]
    if len(columns) == 2 and by_length[0].length < _SHORTER * by_length[1].length:
        return [by_length[0].name]
    return [c.name for c in by_length if c.name not in read] or [c.name for c in by_length]


def _distinct(columns: list[_Column]) -> list[str]:
    """Names of *columns* without those that say the same as an earlier one, such as a label's number.

    Of those that say the same the one of texts stands for all.
    """
    kept: list[_Column] = []
    for column in columns:
        same = next((k for k in kept if _say_the_same(k, column)), None)
        if same is None:
            kept.append(column)
        elif same.length < column.length:
            kept[kept.index(same)] = column
    return [column.name for column in kept]


def _names(column: _Column, code: _Column) -> bool:
    """Whether *column* writes out what *code* has as a number, or for short: a label's name beside it."""
    of_it = column.name.startswith(f"{code.name}_") or all(text.isdigit() for text in code.texts)
    return of_it and column.name != code.name and _say_the_same(code, column)


def _say_the_same(one: _Column, other: _Column) -> bool:
    pairs = len(set(zip(one.texts, other.texts, strict=True)))
    return one.like_labels and pairs == one.distinct == other.distinct


def _inputs(columns: list[_Column]) -> list[str]:
    """Fields, or templates of several, that may be the input, the likeliest first."""
    names = [c.name for c in columns]
    lower = {name.lower(): name for name in names}
    for first, second in TOGETHER:
        if first in lower and second in lower:
            return [f"{{{lower[first]}}}\n{{{lower[second]}}}"]
    if len(columns) == 1:
        return names
    named = _customary(names, INPUT_NAMES)
    texts = [c for c in columns if not c.like_labels] or columns
    named = [n for n in named if n in {c.name for c in texts}] or named
    if named:
        return named
    longest = sorted(texts, key=lambda c: -c.length)
    return [c.name for c in longest if c.length >= _SHORTER * longest[0].length]


def _customary(names: Iterable[str], customary: Sequence[str]) -> list[str]:
    """Those of *names* that are customary, in custom's order: whole, or by their last word."""
    places: dict[str, int] = {}
    for name in names:
        word = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
        last = re.split(r"[\s_.-]+", word)[-1]
        for form in (word, last, word.removesuffix("s"), last.removesuffix("s")):
            if form in customary:
                places.setdefault(name, customary.index(form))
    return sorted(places, key=places.__getitem__)


def _named_fields(value: str | None) -> list[str]:
    """The fields that a field's name, or a template, names."""
    if value is None:
        return []
    return [name[1:-1] for name in _TEMPLATE.findall(value)] if "{" in value else [value]


def _template(value: str) -> str:
    return value if "{" in value else f"{{{value}}}"
