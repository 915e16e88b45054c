"""Checks of a task's data across its files: leakage, unseen labels, lengths."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from pathlib import Path

from tokenizers import Tokenizer

from sweeps.data.examples import LocatedExample, normal_text, normalised
from sweeps.data.recorded import quoted
from tracker.trial import RecordAnswers, TaskSpec
from tracker.validation import did_you_mean, options

MAX_PAIRS_SHOWN = 3
SAMPLE_ROWS = 200

#: Path and located examples by split: train, validation, test; those there are.
Splits = Mapping[str, tuple[str, Sequence[LocatedExample]]]


def leaks(splits: Splits) -> Iterator[str]:
    """Report evaluation rows whose prompt is also in an earlier split, exactly or normalised."""
    order = [split for split in ("train", "validation", "test") if split in splits]
    for one, other in combinations(order, 2):
        first_path, first_rows = splits[one]
        path, rows = splits[other]
        first = {normalised(row.example): row for row in reversed(first_rows)}
        pairs = [(first[key], row) for row in rows if (key := normalised(row.example)) in first]
        if pairs:
            exact = sum(a.example.messages == b.example.messages for a, b in pairs)
            here, there = Path(path).name, Path(first_path).name
            shown = ", ".join(
                f"{here}:{b.line} = {there}:{a.line}" for a, b in pairs[:MAX_PAIRS_SHOWN]
            )
            yield (
                f"{path}:{pairs[0][1].line}: found {len(pairs)} prompts of {one} in {other} "
                f"({exact} exact, {len(pairs) - exact} but for case and spaces): {shown}"
            )


def shared_texts(
    path: str, texts: Iterable[str], suite_path: str, suite: Iterable[str]
) -> str | None:
    """Report replay *texts* that are also in a *suite*, which is never trained on; ``None`` for none."""
    kept = {normal_text(text): number for number, text in enumerate(suite, start=1)}
    pairs = [
        (n, kept[normal_text(t)]) for n, t in enumerate(texts, start=1) if normal_text(t) in kept
    ]
    if not pairs:
        return None
    here, there = Path(path).name, Path(suite_path).name
    shown = ", ".join(f"{here}:{a} = {there}:{b}" for a, b in pairs[:MAX_PAIRS_SHOWN])
    return f"{path}:{pairs[0][0]}: found {len(pairs)} replay texts that are a suite's: {shown}"


def label_problems(task: TaskSpec, splits: Splits, record: RecordAnswers = "all") -> Iterator[str]:
    """Report labels of evaluation rows that are not in train: most often misspelt.

    As far as *record* allows in words of the rows, like the other checks.
    """
    if task.score != "macro_f1" or "train" not in splits:
        return
    known = {item.example.answer.strip() for item in splits["train"][1]}
    known |= {task.negative.strip()} if task.negative is not None else set()
    labels = sorted(known)
    for split in ("validation", "test"):
        path, examples = splits.get(split, ("", ()))
        unseen: dict[str, int] = {}
        for item in examples:
            if (label := item.example.answer.strip()) not in known:
                unseen.setdefault(label, item.line)
        for label, line in unseen.items():
            allowed = f"{options(labels)}{did_you_mean(label, labels)}"
            if record != "all":
                allowed = f"the {len(labels)} labels of train"
            yield (
                f"{path}:{line}: found label {quoted(label, record)}, never seen in train; "
                f"allowed: {allowed}"
            )


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


def row_warnings(task: TaskSpec, splits: Splits, record: RecordAnswers = "all") -> Iterator[str]:
    """Warn of classes with a single example, and of true answers that do not match the task's pattern."""
    if task.score == "macro_f1" and "train" in splits:
        path, examples = splits["train"]
        counts = Counter(item.example.answer for item in examples)
        for item in examples:
            label = item.example.answer
            if counts[label] == 1:
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


def token_counter(tokenizer_file: Path) -> Callable[[Sequence[str]], list[int]]:
    """A function that counts the tokens of texts, without special tokens."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_truncation()
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
