"""Prompts: examples → token ids, the same in training, scoring and generation.

With a chat template the prompt is the rendered turns up to where the assistant speaks. Without one it
is the contents of all turns, each followed by a blank line, after the tokenizer's start token if it has
one. The answer is tokenised on its own and closed with the end token, so a prompt's ids never depend
on its answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from itertools import accumulate, compress, groupby, takewhile
from types import MappingProxyType
from typing import Any, NamedTuple

from jinja2 import TemplateError, meta
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import chat_template_utils

from sweeps.base_models import checked_folder
from sweeps.data.examples import Example
from sweeps.data.layouts import Turn
from tracker.errors import InputError
from tracker.task import Turns
from tracker.trial import ModelSpec

MAX_ROWS_SHOWN = 5
#: What every chat template is given.
_USUAL = frozenset(
    {"messages", "tools", "documents", "add_generation_prompt", "bos_token", "eos_token"}
)
CLOCK = "strftime_now"
REFUSES = "the chat template refuses these turns: "
#: What a chat template that reads the clock is told, in every trial: Llama 3's prints the date, and the
#: same trial would otherwise be another one tomorrow.
TEMPLATE_DATE = datetime(2026, 1, 1)


class TrainedTurn(NamedTuple):
    """An earlier turn of the assistant whose loss is trained: its prompt's tokens *start* to *stop*."""

    start: int
    stop: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row's token ids; ``truncated``: the prompt lost tokens to the length limit.

    ``earlier``: turns within the prompt that are trained too. ``weight``: of the loss of the answer's tokens.
    """

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    truncated: bool = False
    earlier: tuple[TrainedTurn, ...] = ()
    weight: float = 1.0

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.answer_ids)

    @property
    def token_weights(self) -> list[float]:
        """Weight of each token's loss, prompt and answer; 0 where none is trained."""
        weights = [0.0] * len(self.prompt_ids) + [self.weight] * len(self.answer_ids)
        for turn in self.earlier:
            weights[turn.start : turn.stop] = [turn.weight] * (turn.stop - turn.start)
        return weights


class TemplateUse(NamedTuple):
    """How a model's chat template is used: its ``variables``; ``folds`` a system turn into the user's."""

    variables: Mapping[str, Any] = MappingProxyType({})
    folds: bool = False


@lru_cache(maxsize=8)
def load_tokenizer(model: ModelSpec) -> PreTrainedTokenizerBase:
    """Load the model's tokenizer; a missing pad token is set to the end-of-sequence token.

    Its end token is the model's ``end_token`` where that is given.

    Raises InputError as :func:`sweeps.base_models.checked_folder`, and for one that cannot be loaded.
    """
    folder = checked_folder(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=model.trust_remote_code)
    except Exception as error:  # whatever is wrong with its files
        why = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(
            f"found a tokenizer in {folder} that cannot be loaded ({why}); fetch its files again"
        ) from None
    if model.end_token is not None:
        tokenizer.eos_token = model.end_token
    tokenizer.template_use = TemplateUse(dict(model.chat_template_kwargs), model.system == "fold")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def render(example: Example, *, folds: bool = False) -> list[dict[str, Any]]:
    """Chat turns of a prompt, as ``apply_chat_template`` takes them; *folds*: system into user turn."""
    turns = [rendered_turn(turn) for turn in example.messages]
    if folds and len(turns) > 1 and (turns[0]["role"], turns[1]["role"]) == ("system", "user"):
        system, user, *rest = turns
        return [user | {"content": f"{system['content']}\n\n{user['content']}"}, *rest]
    return turns


def rendered_turn(turn: Turn) -> dict[str, Any]:
    """One chat turn, as ``apply_chat_template`` takes it, calls of tools included."""
    more = json.loads(turn.fields) if turn.fields else {}
    return {"role": turn.role, "content": turn.content, **more}


def encode_examples(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    max_length: int,
    turns: Turns = "last",
) -> list[Encoded]:
    """Encode examples as token ids, at most *max_length* each, answer and end token included.

    Too long a prompt loses tokens from the left of its last user turn; the frame around it (system
    turn, role marks) and the answer stay whole. *turns*: ``all`` marks the assistant's earlier turns as
    trained too, each at its row's weight; rows to evaluate have the last alone. Raises ``InputError`` for
    rows that cannot fit, and where a template writes turns or calls in a way that cannot be trained.
    """
    rows, misfits = _encoded(tokenizer, examples, max_length, turns)
    if misfits:
        shown = [(f"row {examples[i].row + 1}", rows[i]) for i in misfits]
        raise InputError(misfit_wordings(shown, max_length))
    return rows


def misfits(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], max_length: int
) -> list[tuple[int, Encoded]]:
    """Examples, by index, that *max_length* tokens cannot hold, and what they are encoded as.

    Encoded are those alone whose text, with a token for each of its bytes, may be too long. Raises
    InputError where the chat template refuses the turns.
    """
    frames: dict[tuple[str, ...], int] = {}
    candidates: list[int] = []
    uncertain = []
    for index, example in enumerate(examples):
        if uses_tools(example):  # a template writes more than texts
            uncertain.append(index)
            continue
        roles = tuple(turn.role for turn in example.messages)
        if roles not in frames:
            probe = Example(tuple(Turn(role, "a") for role in roles), "a", 0)
            (ids,) = _ids(tokenizer, prompt_texts(tokenizer, [probe]))
            frames[roles] = len(ids) + len(roles) + 2
        texts = (example.answer, *(turn.content for turn in example.messages))
        if frames[roles] + sum(len(text.encode()) for text in texts) >= max_length:
            candidates.append(index)
    chosen = [examples[index] for index in candidates]
    prompts = prompt_texts(tokenizer, chosen) if chosen else []
    for index, example, prompt in zip(candidates, chosen, prompts, strict=True):
        question = _question(example)
        kept = len(prompt.encode()) - len(question.encode()) + len(example.answer.encode())
        if question not in prompt or kept + len(example.messages) + 2 >= max_length:
            uncertain.append(index)
    rows, found = _encoded(tokenizer, [examples[index] for index in uncertain], max_length)
    return [(uncertain[i], rows[i]) for i in found]


def _encoded(
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    max_length: int,
    turns: Turns = "last",
) -> tuple[list[Encoded], list[int]]:
    """Every example encoded, and the indices of those that *max_length* cannot hold."""
    if not examples:
        return [], []
    prompts = prompt_texts(tokenizer, examples)
    prompt_ids = _ids(tokenizer, prompts)
    end = _end_id(tokenizer)
    closed = [(*ids, end) for ids in answer_ids(tokenizer, written_answers(tokenizer, examples))]
    too_long = [len(p) + len(a) > max_length for p, a in zip(prompt_ids, closed, strict=True)]
    rows = [Encoded(p, a) for p, a in zip(prompt_ids, closed, strict=True)]
    if turns == "all":
        marked = trained_turns(tokenizer, examples, prompts)
        given = zip(rows, examples, marked, strict=True)
        rows = [replace(row, earlier=m, weight=weight_of(e.weight)) for row, e, m in given]
    misfits: list[int] = []
    for index in compress(range(len(rows)), too_long):
        room = max_length - len(closed[index])
        cut = _cut(tokenizer, prompts[index], examples[index], room)
        if cut is None:
            misfits.append(index)
        else:
            rows[index] = _shortened(rows[index], cut)
    return rows, misfits


def encode_texts(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int
) -> list[Encoded]:
    """Encode plain texts: every token is an answer but the first, which nothing precedes.

    The first is the tokenizer's start token if it has one. Texts are cut at *max_length* on the
    right; a text of a single token, with nothing to predict, is closed with the end token.
    """
    start = _start_ids(tokenizer)
    rows: list[Encoded] = []
    for ids in _ids(tokenizer, texts):
        whole = (*start, *ids)
        if len(whole) < 2:
            whole = (*whole, _end_id(tokenizer))
        kept = whole[:max_length]
        rows.append(Encoded(kept[:1], kept[1:], truncated=len(whole) > max_length))
    return rows


def answer_ids(tokenizer: PreTrainedTokenizerBase, answers: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of each answer, without the end token that closes it."""
    return _ids(tokenizer, answers)


def special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Ids of control tokens, which no text shows."""
    return frozenset(i for i, token in tokenizer.added_tokens_decoder.items() if token.special)


def answer_texts(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[Sequence[int]], kept: frozenset[int]
) -> list[str]:
    """Text of generated tokens up to the end token, without control tokens but those of *kept*.

    *kept*: control tokens that true answers hold, such as a label that is one.
    """
    if not kept:
        return list(tokenizer.batch_decode(ids, skip_special_tokens=True))
    hidden, end = special_ids(tokenizer) - kept, tokenizer.eos_token_id
    shown = [[i for i in takewhile(lambda i: i != end, row) if i not in hidden] for row in ids]
    return list(tokenizer.batch_decode(shown, skip_special_tokens=False))


def prompt_texts(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> list[str]:
    """Text of each prompt, up to where the answer begins.

    Raises InputError where the chat template refuses the turns.
    """
    if tokenizer.chat_template is None:
        start = tokenizer.bos_token or ""
        return [start + "".join(f"{t.content}\n\n" for t in e.messages) for e in examples]
    try:
        return rendered(tokenizer, examples, opened=True)
    except TemplateError as error:
        why = str(error)
    except Exception as error:  # a template may fail in any way on turns that it does not expect
        why = f"{type(error).__name__}: {error}"
    raise InputError(f"{tokenizer.name_or_path}: {REFUSES}{why}")


def rendered(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], *, opened: bool
) -> list[str]:
    """Turns of each example as the chat template writes them; *opened*: up to where the answer begins.

    The clock stands still for the template. Raises whatever the template raises.
    """
    template = tokenizer.get_chat_template()
    if CLOCK in template:
        # transformers gives the function to its environment and takes none as an argument.
        compiled = chat_template_utils._compile_jinja_template(template)
        compiled.environment.globals[CLOCK] = TEMPLATE_DATE.strftime
    use = template_use(tokenizer)
    texts: list[str] = []
    for (tools, variables), alike in groupby(examples, key=lambda e: (e.tools, e.variables)):
        texts += tokenizer.apply_chat_template(
            [render(example, folds=use.folds) for example in alike],
            tools=json.loads(tools) if tools else None,
            tokenize=False,
            add_generation_prompt=opened,
            **{**use.variables, **dict(variables)},
        )
    return texts


def template_use(tokenizer: PreTrainedTokenizerBase) -> TemplateUse:
    """How the chat template of *tokenizer* is used, as its model's entry says."""
    use: TemplateUse = getattr(tokenizer, "template_use", TemplateUse())
    return use


def template_variables(tokenizer: PreTrainedTokenizerBase) -> frozenset[str]:
    """Variables that the chat template reads beside the conversation and the control tokens."""
    template = tokenizer.get_chat_template()
    environment = chat_template_utils._compile_jinja_template(template).environment
    read = meta.find_undeclared_variables(environment.parse(template))
    usual = _USUAL.union(environment.globals, tokenizer.special_tokens_map)
    return frozenset(read - usual)


def uses_tools(example: Example) -> bool:
    """Whether a row tells of tools, calls one or has its result, which a chat template must write."""
    return bool(example.tools or example.call or any(t.fields for t in example.messages))


def weight_of(weight: float | None) -> float:
    """Weight of a turn's loss; 1 where the row says none."""
    return 1.0 if weight is None else weight


def written_answers(tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example]) -> list[str]:
    """The answers as the model is to write them: calls of tools as its own chat template does.

    Raises InputError where there is no template, or it writes no calls.
    """
    return [_written_call(tokenizer, e) if e.call else e.answer for e in examples]


def _written_call(tokenizer: PreTrainedTokenizerBase, example: Example) -> str:
    more = json.loads(example.call)
    answer = Turn("assistant", more.pop("content", ""), json.dumps(more, ensure_ascii=False))
    if tokenizer.chat_template is not None:
        (prompt,) = prompt_texts(tokenizer, [example])
        conversation = example._replace(messages=(*example.messages, answer))
        try:
            (whole,) = rendered(tokenizer, [conversation], opened=False)
        except Exception as error:  # a template may fail in any way on what it does not expect
            raise InputError(f"{tokenizer.name_or_path}: {REFUSES}{error}") from None
        text = whole[len(prompt) :] if whole.startswith(prompt) else ""
        text = _NO_THOUGHTS.sub("", text.partition(str(tokenizer.eos_token))[0]).rstrip()
        if all(call["function"]["name"] in text for call in more["tool_calls"]):
            return text
    raise InputError(
        f"{tokenizer.name_or_path}: found an answer that calls a tool (row {example.row + 1}), which the "
        "model's chat template does not write; take a model whose template writes tool_calls, or give the "
        "call as the content of the turn"
    )


#: Thinking without a thought, which some templates write before an answer that has none.
_NO_THOUGHTS = re.compile(r"\A\s*<think>\s*</think>\s*")


def trained_turns(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], prompts: Sequence[str]
) -> list[tuple[TrainedTurn, ...]]:
    """Tokens of the assistant's earlier turns in each of *prompts*, less those of weight 0.

    A turn's tokens are those of what the model would have to write there: its text after the words that open
    an answer, and the end token that closes it. Raises InputError where a template writes a turn that others
    follow in another way than one that is to be given: what would be trained is then not what is asked for.
    """
    turns = [
        (index, place, turn)
        for index, example in enumerate(examples)
        for place, turn in enumerate(example.messages)
        if turn.role == "assistant" and weight_of(turn.weight) > 0
    ]
    before = [examples[i]._replace(messages=examples[i].messages[:place]) for i, place, _ in turns]
    openings = prompt_texts(tokenizer, before) if before else []
    found: list[list[TrainedTurn]] = [[] for _ in examples]
    offsets: dict[int, Sequence[tuple[int, int]]] = {}
    for (index, place, turn), opening in zip(turns, openings, strict=True):
        stop = _turn_end(tokenizer, turn, opening, prompts[index])
        if stop is None:
            raise InputError(
                f"row {examples[index].row + 1}: turn {place + 1} is not written by the chat template of "
                f"{tokenizer.name_or_path} as the row has it, once turns follow; {A_ROW_A_TURN}"
            )
        if index not in offsets:
            encoded = tokenizer(
                prompts[index], add_special_tokens=False, return_offsets_mapping=True
            )
            offsets[index] = encoded["offset_mapping"]
        tokens = _inside(offsets[index], len(opening), stop)
        start = max(tokens[0], 1) if tokens else 0  # nothing comes before the first token
        if tokens and start <= tokens[-1]:
            found[index].append(TrainedTurn(start, tokens[-1] + 1, weight_of(turn.weight)))
    return list(map(tuple, found))


#: What helps where earlier turns cannot be trained.
A_ROW_A_TURN = (
    "set turns: last, or give each turn a row of its own: jq -c '. as $r | range(.messages | length) | "
    'select($r.messages[.].role == "assistant") | $r + {messages: $r.messages[: . + 1]}\' FILE > NEW'
)


def _turn_end(
    tokenizer: PreTrainedTokenizerBase, turn: Turn, opening: str, prompt: str
) -> int | None:
    """Where an earlier turn ends in *prompt*, its end token included; ``None`` where it is another one."""
    if not prompt.startswith(opening):
        return None
    end, rest = str(tokenizer.eos_token), prompt[len(opening) :]
    if '"tool_calls"' in turn.fields:
        text, closed, _ = rest.partition(end)
        calls = json.loads(turn.fields)["tool_calls"]
        written = closed and all(call["function"]["name"] in text for call in calls)
        return len(opening) + len(text) + len(end) if written else None
    text = turn.content.strip()
    space = len(rest) - len(rest.lstrip())
    if not text or not rest[space:].startswith(text):
        return None
    stop = space + len(text)
    closing = re.compile(rf"\s*{re.escape(end)}").match(rest, stop)
    if closing is None and rest[stop : stop + 1].isalnum():
        return None  # it goes on with words that the row does not have
    return len(opening) + (closing.end() if closing else stop)


def _ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[tuple[int, ...]]:
    if not texts:
        return []
    encoded = tokenizer(
        list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
    )
    return [tuple(ids) for ids in encoded["input_ids"]]


def _cut(
    tokenizer: PreTrainedTokenizerBase, prompt: str, example: Example, room: int
) -> set[int] | None:
    """Tokens to take out, by place, so that the prompt fits in *room*; ``None`` if its frame is longer."""
    text = _question(example)
    start = prompt.rfind(text)
    encoded = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)
    inside = _inside(encoded["offset_mapping"], start, start + len(text))
    excess = len(encoded["input_ids"]) - room
    return None if start < 0 or excess >= len(inside) else set(inside[:excess])


def _inside(offsets: Sequence[tuple[int, int]], start: int, stop: int) -> list[int]:
    """Tokens, by place, of the characters from *start* to *stop*; one that is partly outside is none."""
    return [i for i, (a, b) in enumerate(offsets) if start <= a < b <= stop]


def _shortened(row: Encoded, cut: set[int]) -> Encoded:
    """*row* less some tokens of its prompt."""
    kept = tuple(token for i, token in enumerate(row.prompt_ids) if i not in cut)
    gone = [0, *accumulate(i in cut for i in range(len(row.prompt_ids)))]
    earlier = tuple(
        TrainedTurn(turn.start - gone[turn.start], turn.stop - gone[turn.stop], turn.weight)
        for turn in row.earlier
    )
    return replace(row, prompt_ids=kept, truncated=True, earlier=earlier)


def _question(example: Example) -> str:
    """The last user turn, which is cut where a row is too long."""
    return [turn.content for turn in example.messages if turn.role == "user"][-1].strip()


def misfit_wordings(rows: Sequence[tuple[str, Encoded]], max_length: int) -> Iterator[str]:
    """A line for each of the first *rows* that do not fit, by its place, and how many more there are."""
    for place, row in rows[:MAX_ROWS_SHOWN]:
        yield (
            f"{place}: found {len(row.answer_ids)} answer tokens in {len(row)}; the prompt cannot be "
            f"cut to fit; allowed: {max_length}; raise train.max_length or take the row out"
        )
    if len(rows) > MAX_ROWS_SHOWN:
        yield f"{rows[0][0]}: and {len(rows) - MAX_ROWS_SHOWN} more rows that do not fit"


def _start_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    return () if tokenizer.bos_token_id is None else (tokenizer.bos_token_id,)


def _end_id(tokenizer: PreTrainedTokenizerBase) -> int:
    if tokenizer.eos_token_id is None:
        raise InputError(f"{tokenizer.name_or_path}: the tokenizer has no end token (eos_token)")
    return int(tokenizer.eos_token_id)
