"""Prompts: examples → token ids, the same in training, scoring and generation.

With a chat template the prompt is the rendered turns up to where the assistant speaks. Without one it
is the contents of all turns, each followed by a blank line, after the tokenizer's start token if it has
one. The answer is tokenised on its own and closed with the end token, so a prompt's ids never depend
on its answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from itertools import compress, takewhile
from typing import Any

from jinja2 import TemplateError
from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.utils import chat_template_utils

from sweeps.base_models import checked_folder
from sweeps.data.examples import Example
from sweeps.data.layouts import Turn
from tracker.errors import InputError
from tracker.trial import ModelSpec

MAX_ROWS_SHOWN = 5
CLOCK = "strftime_now"
REFUSES = "the chat template refuses these turns: "
#: What a chat template that reads the clock is told, in every trial: Llama 3's prints the date, and the
#: same trial would otherwise be another one tomorrow.
TEMPLATE_DATE = datetime(2026, 1, 1)


@dataclass(frozen=True, slots=True)
class Encoded:
    """One row's token ids; ``truncated``: the prompt lost tokens to the length limit."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]
    truncated: bool = False

    def __len__(self) -> int:
        return len(self.prompt_ids) + len(self.answer_ids)


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
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def render(example: Example) -> list[dict[str, Any]]:
    """Chat turns of a prompt, as ``apply_chat_template`` takes them."""
    return [rendered_turn(turn) for turn in example.messages]


def rendered_turn(turn: Turn) -> dict[str, Any]:
    """One chat turn, as ``apply_chat_template`` takes it, calls of tools included."""
    more = json.loads(turn.fields) if turn.fields else {}
    return {"role": turn.role, "content": turn.content, **more}


def encode_examples(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], max_length: int
) -> list[Encoded]:
    """Encode examples as token ids, at most *max_length* each, answer and end token included.

    Too long a prompt loses tokens from the left of its last user turn; the frame around it (system
    turn, role marks) and the answer stay whole. Raises ``InputError`` for rows that cannot fit.
    """
    rows, misfits = _encoded(tokenizer, examples, max_length)
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
    for index, example in enumerate(examples):
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
    uncertain = []
    for index, example, prompt in zip(candidates, chosen, prompts, strict=True):
        question = _question(example)
        kept = len(prompt.encode()) - len(question.encode()) + len(example.answer.encode())
        if question not in prompt or kept + len(example.messages) + 2 >= max_length:
            uncertain.append(index)
    rows, found = _encoded(tokenizer, [examples[index] for index in uncertain], max_length)
    return [(uncertain[i], rows[i]) for i in found]


def _encoded(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[Example], max_length: int
) -> tuple[list[Encoded], list[int]]:
    """Every example encoded, and the indices of those that *max_length* cannot hold."""
    if not examples:
        return [], []
    prompts = prompt_texts(tokenizer, examples)
    prompt_ids = _ids(tokenizer, prompts)
    end = _end_id(tokenizer)
    closed = [(*ids, end) for ids in answer_ids(tokenizer, [e.answer for e in examples])]
    too_long = [len(p) + len(a) > max_length for p, a in zip(prompt_ids, closed, strict=True)]
    rows = [Encoded(p, a) for p, a in zip(prompt_ids, closed, strict=True)]
    misfits: list[int] = []
    for index in compress(range(len(rows)), too_long):
        room = max_length - len(closed[index])
        shortened = _shortened(tokenizer, prompts[index], examples[index], room)
        if shortened is None:
            misfits.append(index)
        else:
            rows[index] = Encoded(shortened, closed[index], truncated=True)
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
    plain = [render(example) for example in examples if not example.tools]
    texts = iter(
        tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=opened)
        if plain
        else ()
    )
    return [
        str(
            tokenizer.apply_chat_template(
                render(example),
                tools=json.loads(example.tools),
                tokenize=False,
                add_generation_prompt=opened,
            )
            if example.tools
            else next(texts)
        )
        for example in examples
    ]


def _ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[tuple[int, ...]]:
    if not texts:
        return []
    encoded = tokenizer(
        list(texts), add_special_tokens=False, return_attention_mask=False, verbose=False
    )
    return [tuple(ids) for ids in encoded["input_ids"]]


def _shortened(
    tokenizer: PreTrainedTokenizerBase, prompt: str, example: Example, room: int
) -> tuple[int, ...] | None:
    """The prompt in *room* tokens, or ``None`` if its frame alone takes more."""
    text = _question(example)
    start = prompt.rfind(text)
    encoded = tokenizer(prompt, add_special_tokens=False, return_offsets_mapping=True)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    inside = [i for i, (a, b) in enumerate(offsets) if start <= a < b <= start + len(text)]
    excess = len(ids) - room
    if start < 0 or excess >= len(inside):
        return None
    cut = set(inside[:excess])
    return tuple(token for i, token in enumerate(ids) if i not in cut)


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
