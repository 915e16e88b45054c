"""Checks of a task's data across its files: leakage, unseen labels, lengths."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from sweeps.data.examples import (
    LocatedExample,
    normal_text,
    normalised,
    prompt_text,
    similar_text,
)
from sweeps.data.recorded import quoted
from sweeps.scores.json_answers import INVALID, fits, parsed
from sweeps.scores.labels import labels_of
from sweeps.scores.number import final_number
from tracker.constraints import SHARES, task_and_label
from tracker.numbers import plural
from tracker.task import LABEL_SCORES, TaskSpec
from tracker.trial import RecordAnswers
from tracker.validation import did_you_mean, options

MAX_PAIRS_SHOWN = 3
MAX_ANSWER_SHOWN = 40
MAX_UNDEFINED_SHOWN = 5
SAMPLE_ROWS = 200

#: Path and located examples by split: train, validation, test; those there are.
Splits = Mapping[str, tuple[str, Sequence[LocatedExample]]]


class Leak(NamedTuple):
    """Rows of one file that are also in another.

    ``loose``: all of them but for punctuation or full-width forms, which may be rows in their own right.
    """

    wording: str
    loose: bool


def leaks(splits: Splits) -> Iterator[Leak]:
    """Report evaluation rows whose prompt is also in an earlier split, exactly or nearly."""
    order = [split for split in ("train", "validation", "test") if split in splits]
    for one, other in combinations(order, 2):
        first_path, first_rows = splits[one]
        path, rows = splits[other]
        first: dict[str, LocatedExample] = {}
        for row in reversed(first_rows):
            first[similar_text(prompt_text(row.example))] = row
            first[normalised(row.example)] = row
        pairs = []
        for row in rows:
            near = first.get(normalised(row.example))
            near = near or first.get(similar_text(prompt_text(row.example)))
            if near is not None:
                pairs.append((near, row))
        if not pairs:
            continue
        exact = sum(a.example.messages == b.example.messages for a, b in pairs)
        same = sum(normalised(a.example) == normalised(b.example) for a, b in pairs)
        kinds = [f"{exact} exact", f"{same - exact} but for case and spaces"]
        if same < len(pairs):
            kinds.append(f"{len(pairs) - same} but for punctuation and width")
        here, there = Path(path).name, Path(first_path).name
        shown = ", ".join(f"{here}:{b.line} = {there}:{a.line}" for a, b in pairs[:MAX_PAIRS_SHOWN])
        wording = (
            f"{path}:{pairs[0][1].line}: found {len(pairs)} prompts of {one} in {other} "
            f"({', '.join(kinds)}): {shown}"
        )
        yield Leak(wording, loose=not same)


def shared_texts(
    path: str, texts: Iterable[str], suite_path: str, suite: Iterable[str]
) -> Leak | None:
    """Report replay *texts* that are also in a *suite*, which is never trained on; ``None`` for none."""
    normal: dict[str, int] = {}
    kept: dict[str, int] = {}
    for number, text in enumerate(suite, start=1):
        normal[normal_text(text)] = kept[similar_text(text)] = number
    pairs, same = [], 0
    for number, text in enumerate(texts, start=1):
        near = normal.get(normal_text(text), kept.get(similar_text(text)))
        if near is not None:
            pairs.append((number, near))
            same += normal_text(text) in normal
    if not pairs:
        return None
    here, there = Path(path).name, Path(suite_path).name
    shown = ", ".join(f"{here}:{a} = {there}:{b}" for a, b in pairs[:MAX_PAIRS_SHOWN])
    wording = f"{path}:{pairs[0][0]}: found {len(pairs)} replay texts that are a suite's: {shown}"
    return Leak(wording, loose=not same)


def repeated_rows(
    examples: Sequence[LocatedExample],
) -> list[tuple[LocatedExample, LocatedExample]]:
    """Rows whose prompt and answer an earlier row has, each with the first of them."""
    first: dict[tuple[object, str], LocatedExample] = {}
    pairs = []
    for item in examples:
        earlier = first.setdefault((item.example.messages, item.example.answer), item)
        if earlier is not item:
            pairs.append((item, earlier))
    return pairs


def conflicts(examples: Sequence[LocatedExample]) -> list[list[LocatedExample]]:
    """Rows of one prompt, but for case and spaces, that have different answers; a list a prompt."""
    by_prompt: dict[str, list[LocatedExample]] = {}
    for item in examples:
        by_prompt.setdefault(normalised(item.example), []).append(item)
    return [
        rows
        for rows in by_prompt.values()
        if len(rows) > 1 and len({item.example.answer.strip() for item in rows}) > 1
    ]


def repetition_warnings(splits: Splits, record: RecordAnswers = "all") -> Iterator[str]:
    """Warn of rows that are in a file twice, and of prompts with different answers."""
    for path, examples in splits.values():
        pairs = repeated_rows(examples)
        name = Path(path).name
        if pairs:
            shown = ", ".join(f"{name}:{b.line} = :{a.line}" for b, a in pairs[:MAX_PAIRS_SHOWN])
            repeat = "row that repeats" if len(pairs) == 1 else "rows that repeat"
            yield f"{path}:{pairs[0][0].line}: {len(pairs)} {repeat} an earlier row: {shown}"
        groups = conflicts(examples)
        if groups:
            rows = sum(map(len, groups))
            prompts = "1 prompt has" if len(groups) == 1 else f"{len(groups)} prompts have"
            shown = "; ".join(_answers_shown(g, record) for g in groups[:MAX_PAIRS_SHOWN])
            yield f"{path}:{groups[0][0].line}: {prompts} different answers, in {rows} rows: {shown}"


def _answers_shown(rows: list[LocatedExample], record: RecordAnswers) -> str:
    counts = Counter(item.example.answer.strip() for item in rows)
    lines = {item.example.answer.strip(): item.line for item in reversed(rows)}
    shown = [
        f"line {lines[answer]} {quoted(_short(answer), record)}"
        + (f" ({times} times)" if times > 1 else "")
        for answer, times in counts.most_common(MAX_PAIRS_SHOWN)
    ]
    rest = len(counts) - MAX_PAIRS_SHOWN
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")


def _short(text: str) -> str:
    return text if len(text) <= MAX_ANSWER_SHOWN else f"{text[:MAX_ANSWER_SHOWN]}…"


def control_token_warnings(splits: Splits, tokens: Iterable[str], model: str) -> Iterator[str]:
    """Warn of rows in which a control token of *model* is written: it is read as the token, not as text.

    Answers may be meant so: those of a file of which every answer has one are left alone.
    """
    pattern = re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or r"(?!)")
    for path, examples in splits.values():
        in_answers = [item for item in examples if pattern.search(item.example.answer)]
        meant = len(in_answers) == len(examples)
        lines: dict[str, list[int]] = {}
        for item in examples:
            texts = [turn.content for turn in item.example.messages]
            found = pattern.findall("\n".join([*texts, *([] if meant else [item.example.answer])]))
            for token in dict.fromkeys(found):
                lines.setdefault(token, []).append(item.line)
        for token, at in lines.items():
            rows = "1 row" if len(at) == 1 else f"{len(at)} rows"
            yield (
                f"{path}:{at[0]}: {rows} with {token!r} in the text, which {model} reads as its control "
                "token; take it out where it is meant as text"
            )


def control_tokens(tokenizer_file: Path) -> list[str]:
    """The control tokens of a tokenizer, as they are written."""
    added = Tokenizer.from_file(str(tokenizer_file)).get_added_tokens_decoder().values()
    return [token.content for token in added if token.special and token.content.strip()]


def label_problems(task: TaskSpec, splits: Splits, record: RecordAnswers = "all") -> Iterator[str]:
    """Report labels of evaluation rows that are not in train: most often misspelt.

    As far as *record* allows in words of the rows, like the other checks. Of several labels in an answer
    each is looked at: their combinations may be new.
    """
    if task.score not in LABEL_SCORES or "train" not in splits:
        return
    known = {label for item in splits["train"][1] for label in labels_of(task, item.example.answer)}
    known |= {task.negative.strip()} if task.negative is not None else set()
    labels = sorted(known)
    for split in ("validation", "test"):
        path, examples = splits.get(split, ("", ()))
        unseen: dict[str, int] = {}
        for item in examples:
            for label in labels_of(task, item.example.answer):
                if label not in known:
                    unseen.setdefault(label, item.line)
        for label, line in unseen.items():
            allowed = f"{options(labels)}{did_you_mean(label, labels)}"
            if record != "all":
                allowed = f"the {len(labels)} labels of train"
            yield (
                f"{path}:{line}: found label {quoted(label, record)}, never seen in train; "
                f"allowed: {allowed}"
            )


def answer_problems(task: TaskSpec, splits: Splits, record: RecordAnswers = "all") -> Iterator[str]:
    """Report the first true answer of each file that its score cannot read, such as one without a number."""
    negative = None if task.negative is None else task.negative.strip()
    for path, examples in splits.values():
        for item in examples:
            answer = item.example.answer.strip()
            problem = None if answer == negative else _unreadable(task, answer)
            if problem:
                found = quoted(_short(answer), record)
                yield f"{path}:{item.line}: found answer {found}, {problem}; correct the row"
                break


def _unreadable(task: TaskSpec, answer: str) -> str | None:
    """Why a true answer cannot be scored; ``None`` where it can."""
    if task.score == "number" and final_number(answer) is None:
        return "which has no number; allowed with score: number: a text with one, such as #### 42"
    if task.score != "json":
        return None
    if parsed(answer) is INVALID:
        return "which is no JSON; allowed with score: json: a JSON value"
    if task.json_schema is not None and not fits(answer, task.json_schema):
        return "which is not valid by json_schema; allowed: answers that are"
    return None


def negative_problem(task: TaskSpec, splits: Splits, record: RecordAnswers = "all") -> str | None:
    """Report a negative answer that no row has; ``None`` where one has it."""
    answers = {item.example.answer.strip() for _, examples in splits.values() for item in examples}
    if task.negative is None or task.negative.strip() in answers:
        return None
    listed = sorted(answers)
    if record != "all":
        return f"found {task.negative!r}, no row's answer; allowed: one of {len(listed)} answers"
    hint = did_you_mean(task.negative, listed)
    return f"found {task.negative!r}, no row's answer; allowed: {options(listed)}{hint}"


def label_bound_problems(
    task: TaskSpec, splits: Splits, constraints: Mapping[str, float], tasks: Collection[str]
) -> Iterator[tuple[str, str]]:
    """Report constraints on a label of *task* that its data do not have, each with its name.

    *tasks*: every name of a task, each of which may begin with another's.
    """
    labels = {
        split: {label for item in examples for label in labels_of(task, item.example.answer)}
        for split, (_, examples) in splits.items()
    }
    known = sorted({label.name for label in task.labels}.union(*labels.values()))
    for name in constraints:
        kind, _, of = name.partition(".")
        named, label = task_and_label(of, tasks) if kind in SHARES else (of, None)
        if named != task.name or label is None:
            continue
        if label not in known:
            yield (
                name,
                f"found label {label!r}; allowed: {options(known)}{did_you_mean(label, known)}",
            )
        elif kind == "recall" and label not in labels.get("validation", ()):
            yield (
                name,
                f"found label {label!r}, which no validation row has, so that its recall is not measured; "
                "allowed: a label with validation rows",
            )


def undefined_labels(
    task: TaskSpec, splits: Splits, record: RecordAnswers = "all"
) -> Iterator[str]:
    """Report answers of the data that no definition of the task is for: most often misspelt."""
    defined = [label.name for label in task.labels]
    known, undefined = set(defined), dict[str, str]()
    for path, examples in splits.values() if defined else ():
        for item in examples:
            for label in labels_of(task, item.example.answer):
                if label not in known:
                    undefined.setdefault(label, f"{path}:{item.line}")
    for label, place in list(undefined.items())[:MAX_UNDEFINED_SHOWN]:
        hint = did_you_mean(label, defined) if record == "all" else ""
        yield (
            f"{place}: found answer {quoted(_short(label), record)}, which `labels` of task {task.name} does "
            f"not define; allowed: {options(defined)}{hint}"
        )
    if len(undefined) > MAX_UNDEFINED_SHOWN:
        rest = len(undefined) - MAX_UNDEFINED_SHOWN
        yield f"tasks.{task.name}.labels: and {plural(rest, 'more answer')} without a definition"


def definition_warnings(task: TaskSpec, splits: Splits) -> Iterator[str]:
    """Warn of definitions of labels that no row has as its answer."""
    rows = (item.example.answer for _, examples in splits.values() for item in examples)
    answers = {label for answer in rows for label in labels_of(task, answer)}
    unused = [label.name for label in task.labels if label.name not in answers]
    if unused:
        yield (
            f"task {task.name}: labels: no row's answer is {options(unused)}; the prompt lists "
            f"{'it' if len(unused) == 1 else 'them'} all the same"
        )


def row_warnings(task: TaskSpec, splits: Splits, record: RecordAnswers = "all") -> Iterator[str]:
    """Warn of classes with a single example, and of true answers that do not match the task's pattern."""
    if task.score in LABEL_SCORES and "train" in splits:
        path, examples = splits["train"]
        labels = [labels_of(task, item.example.answer) for item in examples]
        counts = Counter(label for found in labels for label in found)
        for item, found in zip(examples, labels, strict=True):
            for label in (each for each in found if counts[each] == 1):
                others = [other for other in counts if counts[other] > 1]
                hint = did_you_mean(label, others) if record == "all" else ""
                yield f"{path}:{item.line}: label {quoted(label, record)} has a single example{hint}"
    if task.pattern is not None:
        path, examples = splits["validation"]
        bad = [i for i in examples if not re.fullmatch(task.pattern, i.example.answer)]
        if bad:
            yield (
                f"{path}:{bad[0].line}: {len(bad)} of {len(examples)} true answers do not match "
                f"the pattern, the first: {quoted(bad[0].example.answer, record)}"
            )


class UnreadWeights(NamedTuple):
    """Weights of turns that ``turns`` does not heed; ``serious``: a row is trained against what it says."""

    wording: str
    serious: bool


def weight_problems(task: TaskSpec, splits: Splits) -> Iterator[UnreadWeights]:
    """Report training rows with weights that ``turns: last`` does not read, or with nothing to train."""
    path, examples = splits.get("train", ("", ()))
    if task.turns == "all":
        nothing = [item for item in examples if not any(_weights(item))]
        if nothing:
            yield UnreadWeights(
                f"{path}:{nothing[0].line}: found weight 0 on every turn of {plural(len(nothing), 'row')}; "
                "allowed: one turn to train at least; take them out",
                serious=True,
            )
        return
    other = [item for item in examples if item.example.weight not in (None, 1)]
    if other:
        yield UnreadWeights(
            f"{path}:{other[0].line}: found weight {other[0].example.weight:g} on the answer of "
            f"{plural(len(other), 'row')}, which turns: last trains whole; set turns: all, which reads them",
            serious=True,
        )
        return
    more = [
        i for i in examples if any(t.weight for t in i.example.messages if t.role == "assistant")
    ]
    if more:
        yield UnreadWeights(
            f"{path}:{more[0].line}: {plural(len(more), 'row')} with a weight on earlier turns; turns: last "
            "trains the answer alone, turns: all trains them too",
            serious=False,
        )


def _weights(item: LocatedExample) -> list[float]:
    """Weights of the assistant's turns, the answer's last; 1 where the row says none."""
    said = [turn.weight for turn in item.example.messages if turn.role == "assistant"]
    return [1.0 if weight is None else weight for weight in (*said, item.example.weight)]


def token_counter(tokenizer_file: Path) -> Callable[[Sequence[str]], list[int]]:
    """A function that counts the tokens of texts, without special tokens."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: [
        len(each.ids) for each in tokenizer.encode_batch(list(texts), add_special_tokens=False)
    ]


class Lengths:
    """Token counts of a task's texts under one tokenizer, from a sample of rows."""

    def __init__(self, tokenizer_file: Path, examples: Sequence[LocatedExample]) -> None:
        step = max(1, len(examples) // SAMPLE_ROWS)
        sample = [item.example for item in examples[::step]]
        count = token_counter(tokenizer_file)
        self._prompts = count(["".join(turn.content for turn in e.messages) for e in sample])
        self._answers = count([e.answer for e in sample])

    @property
    def longest(self) -> tuple[int, int]:
        """Tokens of the longest row (less the chat frame) and of the longest answer."""
        rows = (p + a + 1 for p, a in zip(self._prompts, self._answers, strict=True))
        return max(rows), max(self._answers)

    def cut_share(self, max_length: int) -> float:
        """Share of rows that *max_length* cuts; a lower bound, since the chat frame is not counted."""
        both = zip(self._prompts, self._answers, strict=True)
        return sum(p + a + 1 > max_length for p, a in both) / len(self._answers)

    def unreachable_share(self, max_new_tokens: int) -> float:
        """Share of true answers too long to be generated in full."""
        return sum(a > max_new_tokens for a in self._answers) / len(self._answers)
