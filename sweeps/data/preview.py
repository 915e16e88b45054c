"""Preview of training rows: the text that a model is given, with the tokens that are trained marked.

A row is shown as it is encoded for training (:func:`sweeps.data.prompts.encode_examples`), control tokens
and the end token included, so that what is seen is what is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerBase

from sweeps.data.examples import Example, located_rows, source_file
from sweeps.data.prompts import Encoded, encode_examples, load_tokenizer
from tracker.errors import one_line
from tracker.numbers import count
from tracker.task import TaskSpec
from tracker.trial import ModelSpec

#: Around what is trained, where there is no colour.
OPEN, CLOSE = "⟦", "⟧"
#: Characters of one piece that are shown; of a longer one the beginning and the end.
LONGEST_PIECE = 600
_LEAST_HIDDEN = 30  # else the mark of what is left out is longer

Mark = Callable[[str], str]


class Piece(NamedTuple):
    """Text of neighbouring tokens that are all ``trained``, or all only read."""

    text: str
    trained: bool


class PreviewedRow(NamedTuple):
    """One training row as one model is given it.

    ``path`` and ``line``: where the row stands. ``tokens``: of the whole row, ``trained_tokens``: those that
    the loss is taken over. ``shortened``: the prompt lost tokens to ``train.max_length``.
    """

    task: str
    model: str
    path: str
    line: int
    pieces: tuple[Piece, ...]
    tokens: int
    trained_tokens: int
    shortened: bool

    @property
    def text(self) -> str:
        """The whole row, without marks."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def trained(self) -> str:
        """What is trained of it: the answer with its end token, or the answers of all turns."""
        return "".join(piece.text for piece in self.pieces if piece.trained)

    @property
    def heading(self) -> str:
        """The row's place and its size in tokens."""
        cut = "; the prompt is cut to fit train.max_length" if self.shortened else ""
        return (
            f"{self.path}:{self.line}, {count(self.tokens)} tokens, "
            f"{count(self.trained_tokens)} of them trained{cut}"
        )

    def shown(self, mark: Mark | None = None, longest: int = LONGEST_PIECE) -> str:
        """The row's text with what is trained marked, by *mark* or in brackets ⟦ ⟧.

        *longest*: characters of a piece, of which there may be more in its middle.
        """
        mark = mark or (lambda text: f"{OPEN}{text}{CLOSE}")
        shown = [(_cut(_printable(p.text), longest), p.trained) for p in self.pieces]
        return "".join(mark(text) if trained else text for text, trained in shown)

    def as_data(self) -> dict[str, Any]:
        """The row as JSON has it."""
        return self._asdict() | {
            "pieces": [piece._asdict() for piece in self.pieces],
            "text": self.shown(),
        }

    def __str__(self) -> str:
        return f"{self.task} for {self.model}: {self.heading}\n{self.shown()}"


class Preview(tuple[PreviewedRow, ...]):
    """Previewed rows, by task and model; their text is what ``sft-select doctor`` prints."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "\n\n".join(map(str, self)) or "no task has rows to train on"


def preview_rows(
    tasks: Iterable[TaskSpec], models: Iterable[ModelSpec], max_length: int, rows: int = 1
) -> Preview:
    """The first *rows* training rows of each task, as each model is given them.

    Raises InputError for rows that cannot be read, or that *max_length* tokens cannot hold.
    """
    found = []
    every_model = list(models)
    for task in tasks:
        if task.train is None:
            continue
        located = located_rows(task, task.train)[:rows]
        examples = [item.example for item in located]
        for model in every_model:
            tokenizer = load_tokenizer(model)
            encoded = encode_examples(tokenizer, examples, max_length, task.turns)
            for item, row in zip(located, encoded, strict=True):
                pieces = tuple(_pieces(tokenizer, row))
                size = len(row), sum(trained for _, trained in _marked(row))
                path = source_file(task.train.path)
                found.append(
                    PreviewedRow(
                        task.name, model.name, path, item.line, pieces, *size, row.truncated
                    )
                )
    return Preview(found)


def preview_turns(example: Example, longest: int = LONGEST_PIECE) -> list[tuple[str, str]]:
    """Who speaks and what is said in an example, as far as no tokenizer is needed; the answer is last."""
    turns = [(turn.role, turn.content) for turn in example.messages]
    return [
        (who, _cut(_printable(text), longest)) for who, text in [*turns, ("answer", example.answer)]
    ]


def _marked(row: Encoded) -> list[tuple[int, bool]]:
    """Every token of a row, with whether it is trained."""
    ids = (*row.prompt_ids, *row.answer_ids)
    return [(i, weight > 0) for i, weight in zip(ids, row.token_weights, strict=True)]


def _pieces(tokenizer: PreTrainedTokenizerBase, row: Encoded) -> Iterator[Piece]:
    """Pieces of the row's text. A piece is what its tokens add to the text: alone, they may lose a space."""
    ids: list[int] = []
    before = ""
    for trained, tokens in groupby(_marked(row), key=lambda token: token[1]):
        added = [token for token, _ in tokens]
        ids += added
        whole = _decoded(tokenizer, ids)
        yield Piece(
            whole[len(before) :] if whole.startswith(before) else _decoded(tokenizer, added),
            trained,
        )
        before = whole


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _printable(text: str) -> str:
    """*text* line by line, without what a terminal would take as a command."""
    return "\n".join(map(one_line, text.split("\n")))


def _cut(text: str, longest: int) -> str:
    """*text*, of a long one its beginning and its end."""
    hidden = len(text) - longest
    if hidden <= _LEAST_HIDDEN:
        return text
    start, end = 2 * longest // 3, longest // 3
    return f"{text[:start]} … ({count(hidden)} characters) … {text[len(text) - end :]}"
