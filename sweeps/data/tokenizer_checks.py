"""Checks of a model's tokenizer and chat template on the rows of a sweep, before the first trial."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from sweeps.data.examples import Example, LocatedExample
from sweeps.data.layouts import Turn
from sweeps.data.prompts import (
    CLOCK,
    REFUSES,
    TEMPLATE_DATE,
    answer_ids,
    answer_texts,
    prompt_texts,
    rendered,
    special_ids,
    template_use,
    template_variables,
    trained_turns,
    uses_tools,
    written_answers,
)
from sweeps.data.recorded import quoted
from sweeps.scores.task_scores import row_score
from tracker.errors import InputError
from tracker.numbers import count
from tracker.task import LABEL_SCORES, TaskSpec
from tracker.trial import RecordAnswers

_SAMPLE = 500
#: Variables by which templates of hybrid models open thinking or not.
_THINKING = frozenset({"enable_thinking", "thinking"})
_LONGEST_OPENING = 40  # of a template's words; longer ones may be a row's


class RowsOf(NamedTuple):
    """Located rows of one file of a task."""

    task: TaskSpec
    path: str
    rows: Sequence[LocatedExample]


class Amiss(NamedTuple):
    """What is amiss: ``problems`` keep a sweep from starting, ``notes`` do not."""

    problems: list[str]
    notes: list[str]


class _Lost(NamedTuple):
    """A line on lost answers; ``serious``: a trial would be in vain."""

    serious: bool
    line: str


def tokenizer_problems(
    name: str,
    tokenizer: PreTrainedTokenizerBase,
    files: Sequence[RowsOf],
    record: RecordAnswers = "all",
) -> Amiss:
    """What the tokenizer and the chat template of the model *name* cannot do with the rows of *files*.

    Rows are quoted as far as *record* allows.
    """
    if tokenizer.eos_token_id is None:
        return Amiss(
            [
                f"the tokenizer of {name} has no end token (eos_token), so that an answer would never end; "
                "set eos_token in its tokenizer_config.json to the token that closes a turn"
            ],
            [],
        )
    refused = [line for file in files if (line := _refusal(name, tokenizer, file, record))]
    if refused:
        return Amiss(refused, [])
    problems = [line for file in files for line in _unwritten(name, tokenizer, file)]
    if problems:
        return Amiss(problems, [])
    notes = list(_template_notes(name, tokenizer, files))
    seen: set[str] = set()
    for file in files:
        lost = None if file.task.name in seen else _lost_answers(name, tokenizer, file, record)
        if lost is not None:
            (problems if lost.serious else notes).append(lost.line)
            seen.add(file.task.name)
    return Amiss(problems, notes)


def closing_token(tokenizer: PreTrainedTokenizerBase, example: Example) -> str | None:
    """The control token with which the chat template closes an answer, where it is not the end token.

    ``None`` where it is, where there is no template, or where it closes an answer with words. Raises
    InputError where the template refuses the turns.
    """
    if tokenizer.chat_template is None:
        return None
    answer = "answer"
    prompt, whole = prompt_texts(tokenizer, [example])[0], _whole(tokenizer, example, answer)
    if whole is None or not whole.startswith(prompt):
        return None
    _, found, after = whole[len(prompt) :].partition(answer)
    (ids,) = answer_ids(tokenizer, [after.lstrip() if found else ""])
    if not ids or ids[0] not in special_ids(tokenizer) or ids[0] == tokenizer.eos_token_id:
        return None
    return str(tokenizer.convert_ids_to_tokens(ids[0]))


# -- the chat template -------------------------------------------------------------------------------


def _refusal(
    name: str, tokenizer: PreTrainedTokenizerBase, file: RowsOf, record: RecordAnswers
) -> str | None:
    """A line on the rows that the template refuses, the first by file and line; ``None`` for none."""
    if tokenizer.chat_template is None:
        return None
    if _why_refused(tokenizer, [item.example for item in file.rows]) is None:
        return None
    bad = [(item, why) for item in file.rows if (why := _why_refused(tokenizer, [item.example]))]
    if not bad:
        return None
    item, why = bad[0]
    said = f": {why}" if record == "all" else ""  # a template may quote the row
    return (
        f"{file.path}:{item.line}: the chat template of {name} refuses {_of(len(bad), len(file.rows))} rows, "
        f"this one first{said}; {_cure(tokenizer, item.example)}"
    )


def _unwritten(name: str, tokenizer: PreTrainedTokenizerBase, file: RowsOf) -> Iterator[str]:
    """Lines on rows with tools or turns that the template leaves out or writes in another way."""
    tools = [item for item in file.rows if uses_tools(item.example)]
    lost = [(item, what) for item in tools if (what := _lost_of_tools(tokenizer, item.example))]
    if lost:
        item, what = lost[0]
        yield (
            f"{file.path}:{item.line}: the chat template of {name} does not write {what} of "
            f"{_of(len(lost), len(file.rows))} rows, this one first; take a model whose template has tools, "
            "or leave these rows out"
        )
        return
    if file.task.turns == "last" or file.task.train is None or file.task.train.path != file.path:
        return
    bad = [(i, why) for i in file.rows if (why := _why_untrained(tokenizer, i.example))]
    if bad:
        item, why = bad[0]
        yield f"{file.path}:{item.line}: {why} ({_of(len(bad), len(file.rows))} rows)"


def _lost_of_tools(tokenizer: PreTrainedTokenizerBase, example: Example) -> str | None:
    """What of a row's tools the prompt or the answer lacks as the template writes them."""
    (prompt,) = prompt_texts(tokenizer, [example])
    tools = [tool["function"].get("name", "") for tool in json.loads(example.tools or "[]")]
    if any(tool not in prompt for tool in tools):
        return "the tools"
    for turn in example.messages:
        calls = json.loads(turn.fields or "{}").get("tool_calls", [])
        if any(call["function"]["name"] not in prompt for call in calls):
            return "the calls of tools"
        if turn.role == "tool" and turn.content.strip() not in prompt:
            return "a tool's turn"
    try:
        written_answers(tokenizer, [example])
    except InputError:
        return "the calls of tools"
    return None


def _why_untrained(tokenizer: PreTrainedTokenizerBase, example: Example) -> str | None:
    try:
        trained_turns(tokenizer, [example], prompt_texts(tokenizer, [example]))
    except InputError as error:
        return str(error).partition(": ")[2]
    return None


def _why_refused(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> str | None:
    try:
        prompt_texts(tokenizer, examples)
    except InputError as error:
        return " ".join(str(error).partition(REFUSES)[2].split())[:160] or str(error)
    return None


def _cure(tokenizer: PreTrainedTokenizerBase, example: Example) -> str:
    without = tuple(turn for turn in example.messages if turn.role != "system")
    model = "take another model, or mend the template"
    if without != example.messages and not _why_refused(
        tokenizer, [example._replace(messages=without)]
    ):
        return (
            f"give its entry in models `system: fold`, which joins it to the user turn, or {model}"
        )
    roles = ", ".join(turn.role for turn in example.messages)
    return f"its turns are {roles}; give turns that it takes, {model}"


def _template_notes(
    name: str, tokenizer: PreTrainedTokenizerBase, files: Sequence[RowsOf]
) -> Iterator[str]:
    template = tokenizer.chat_template
    first = next((file.rows[0].example for file in files if file.rows), None)
    if template is None or first is None:
        return
    if CLOCK in str(template):
        yield (
            f"the chat template of {name} reads the clock ({CLOCK}); in every trial of a sweep it reads "
            f"{TEMPLATE_DATE:%-d %B %Y}, 0:00, so that a trial is the same tomorrow; other programs that use "
            "the model will give it their own date"
        )
    if prompt_texts(tokenizer, [first]) != prompt_texts(tokenizer, [first]):
        yield (
            f"the chat template of {name} renders the same row differently each time; no trial can be "
            "repeated; take the randomness out of it"
        )
    yield from _variable_notes(name, tokenizer, files)
    yield from _frame_notes(name, tokenizer, first)


def _variable_notes(
    name: str, tokenizer: PreTrainedTokenizerBase, files: Sequence[RowsOf]
) -> Iterator[str]:
    """Notes on variables that the template is given and does not read, and on thinking left undecided."""
    read = template_variables(tokenizer)
    given = set(template_use(tokenizer).variables)
    given |= {key for file in files for key, _ in file.task.chat_template_kwargs}
    for key in sorted(given - read):
        yield (
            f"chat_template_kwargs: found {key!r}, which the chat template of {name} does not read; it reads "
            f"{', '.join(sorted(read)) or 'none'}"
        )
    for key in sorted((read - given) & _THINKING):
        yield (
            f"the chat template of {name} reads {key!r}, with which a model thinks before it answers or does "
            f"not; for plain answers give its entry in models `chat_template_kwargs: {{{key}: false}}`, and "
            "serve it so"
        )


def _frame_notes(name: str, tokenizer: PreTrainedTokenizerBase, example: Example) -> Iterator[str]:
    """Notes where a row as it is trained is not the conversation as the template writes it."""
    answer = example.answer.strip() or "answer"
    prompt = prompt_texts(tokenizer, [example])[0]
    whole = _whole(tokenizer, example, answer)
    if whole is None:
        return
    shared = _shared(prompt, whole)
    if shared < len(prompt):
        opened = prompt[shared:]
        what = repr(opened) if len(opened) <= _LONGEST_OPENING else "a prompt of other words"
        yield (
            f"the chat template of {name} opens {what} before an answer, but not before one that is given; "
            "answers are trained to follow it, as add_generation_prompt has it; for plain answers take it "
            "out of the template"
        )
        return
    before, found, after = whole[len(prompt) :].partition(answer)
    if found and before.strip():
        yield (
            f"the chat template of {name} writes {before!r} before an answer; trained is the answer alone, "
            "as add_generation_prompt does not give it"
        )
    end = str(tokenizer.eos_token)
    if found and not after.lstrip().startswith(end):
        yield (
            f"answers are trained to end with the end token of {name}, {end!r}; its chat template ends a "
            f"turn with {after!r}, as other trainers do; set eos_token in its tokenizer_config.json to the "
            "token that closes a turn"
        )


def _whole(tokenizer: PreTrainedTokenizerBase, example: Example, answer: str) -> str | None:
    """The conversation with its answer, as the template writes it; ``None`` where it refuses."""
    turns = example._replace(messages=(*example.messages, Turn("assistant", answer)))
    try:
        return rendered(tokenizer, [turns], opened=False)[0]
    except Exception:
        return None


def _shared(one: str, other: str) -> int:
    """Length of the beginning that two texts share."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


# -- answers that are lost ---------------------------------------------------------------------------


def _lost_answers(
    name: str, tokenizer: PreTrainedTokenizerBase, file: RowsOf, record: RecordAnswers
) -> _Lost | None:
    """True answers that the tokenizer cannot write back; ``None`` where it can write all."""
    firsts: dict[str, LocatedExample] = {}
    for item in file.rows:
        firsts.setdefault(item.example.answer, item)
    labels = file.task.score in LABEL_SCORES
    answers = list(firsts) if labels else list(firsts)[:: max(1, len(firsts) // _SAMPLE)]
    ids = answer_ids(tokenizer, answers)
    kept = special_ids(tokenizer) & {token for row in ids for token in row}
    read = answer_texts(tokenizer, ids, kept)
    score = row_score(file.task)
    scores = [score(b.strip(), a.strip()) for a, b in zip(answers, read, strict=True)]
    lost = [i for i, value in enumerate(scores) if value < 1]
    if not lost:
        return None
    first = lost[0]
    item = firsts[answers[first]]
    serious = labels or sum(scores) < len(scores) / 2
    of = _of(len(lost), len(answers))
    return _Lost(
        serious,
        f"{file.path}:{item.line}: the tokenizer of {name} cannot write {quoted(answers[first], record)} "
        f"back ({of} {'labels' if labels else 'answers'}): it reads {quoted(read[first], record)}, so that a "
        "right answer is scored as wrong; write the answers as it does, or take another model",
    )


def _of(some: int, every: int) -> str:
    return f"{count(some)} of {count(every)}"
