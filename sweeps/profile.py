"""Profile of a sweep's data for the store (tracker.store.data_profile): sizes, labels, lengths, samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from sweeps.data.checks import token_counter
from sweeps.data.examples import Example, nested_order, normalised, read_examples, read_texts
from sweeps.data.mixes import replay_rows, split_volume
from sweeps.data.recorded import recorded_label
from sweeps.resolve import ResolvedSweep
from sweeps.scores.labels import labels_of
from tracker.files import write_text
from tracker.store.data_profile import (
    DataProfile,
    LabelCount,
    Lengths,
    MixVolume,
    Quantiles,
    ShownRow,
    ShownTurn,
    SplitProfile,
    TaskProfile,
    TextProfile,
    text,
)
from tracker.task import FileRef, TaskSpec
from tracker.trial import RecordAnswers

#: The most frequent answers kept, rows and texts shown, and characters of each kept.
LABELS, ROWS_SHOWN, TURN_CHARACTERS, LABEL_CHARACTERS = 30, 3, 300, 80
#: Lengths are of so many rows, spread evenly over the file.
SAMPLE_ROWS = 500


def profile(sweep: ResolvedSweep) -> DataProfile:
    """Profile of *sweep*'s files; lengths in tokens of its first model, or in characters without one.

    Raises InputError where a file has changed since *sweep* was resolved and cannot be read.
    """
    ruler, record = _Ruler(sweep), sweep.spec.record_answers
    suites = tuple(
        _text(name, suite.text, ruler, record)
        if suite.text
        else _task(suite.task, ruler, record, name)
        for name, suite in sweep.general.items()
        if suite.text or suite.task
    )
    return DataProfile(
        tasks=tuple(_task(task, ruler, record) for task in sweep.tasks.values()),
        suites=suites,
        replay=_text("replay", sweep.replay, ruler, record) if sweep.replay else None,
        volumes=tuple(_volumes(sweep)),
        record_answers=record,
    )


def profile_once(sweep: ResolvedSweep, path: Path) -> DataProfile:
    """:func:`profile`, cached at *path*: a resumed sweep has the same files."""
    kept = kept_profile(path)
    if kept is not None and kept.record_answers == sweep.spec.record_answers:
        return kept
    profiled = profile(sweep)
    write_text(path, text(profiled))
    return profiled


def kept_profile(path: Path) -> DataProfile | None:
    """Profile that an earlier start cached at *path*; ``None`` without one, or where a power cut tore it."""
    try:
        return DataProfile.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


class _Ruler:
    """Text lengths in tokens of the sweep's first model that has a tokenizer file of its own."""

    def __init__(self, sweep: ResolvedSweep) -> None:
        files = {name: Path(model.path) / "tokenizer.json" for name, model in sweep.models.items()}
        self.model = next((name for name, file in files.items() if file.is_file()), None)
        self._tokens = token_counter(files[self.model]) if self.model else None

    def lengths(self, answers: Sequence[str], prompts: Sequence[str] | None = None) -> Lengths:
        """Of *answers* and, where there are any, *prompts*; each not empty."""
        rows = np.linspace(0, len(answers) - 1, min(len(answers), SAMPLE_ROWS)).round().astype(int)
        return Lengths(
            unit="tokens" if self._tokens else "characters",
            tokenizer=self.model,
            rows=len(rows),
            prompt=None if prompts is None else self._quantiles([prompts[i] for i in rows]),
            answer=self._quantiles([answers[i] for i in rows]),
        )

    def _quantiles(self, texts: list[str]) -> Quantiles:
        counts = self._tokens(texts) if self._tokens else [len(text) for text in texts]
        least, p10, median, p90, most = np.quantile(counts, [0, 0.1, 0.5, 0.9, 1]).tolist()
        return Quantiles(least=least, p10=p10, median=median, p90=p90, most=most)


def _task(
    task: TaskSpec | None, ruler: _Ruler, record: RecordAnswers, name: str | None = None
) -> TaskProfile:
    assert task is not None, "a suite is a text or a task"
    files = {"train": task.train, "validation": task.validation, "test": task.test}
    examples = {split: read_examples(task, file) for split, file in files.items() if file}
    seen: dict[str, set[str]] = {}
    splits = {}
    for split, rows in examples.items():
        splits[split] = _split(task, rows, seen, ruler, record)
        seen[split] = {normalised(row) for row in rows}
    return TaskProfile(
        name=name or task.name,
        prompt=task.prompt,
        answer=task.answer,
        score=task.score,
        negative=task.negative,
        splits=splits,
    )


def _split(
    task: TaskSpec,
    rows: Sequence[Example],
    earlier: dict[str, set[str]],
    ruler: _Ruler,
    record: RecordAnswers,
) -> SplitProfile:
    several = task.score == "multilabel_f1"
    answers = Counter(
        label
        for row in rows
        for label in (labels_of(task, row.answer) if several else [row.answer])
    )
    prompts = [normalised(row) for row in rows]
    repeated = {split: sum(p in known for p in prompts) for split, known in earlier.items()}
    # The first of the nested order: what the smallest volume holds, and no label twice where many are.
    first = nested_order(rows, 0)[:ROWS_SHOWN]
    return SplitProfile(
        rows=len(rows),
        labels=tuple(
            LabelCount(
                label=recorded_label(task, label, place, record)[:LABEL_CHARACTERS], rows=count
            )
            for place, (label, count) in enumerate(answers.most_common(LABELS), start=1)
        ),
        distinct=len(answers),
        fewest=min(answers.values(), default=0),
        repeated=len(prompts) - len(set(prompts)),
        seen={split: rows_seen for split, rows_seen in repeated.items() if rows_seen},
        lengths=ruler.lengths(
            [row.answer for row in rows],
            ["\n".join(turn.content for turn in row.messages) for row in rows],
        ),
        shown=tuple(_shown(rows[index]) for index in first) if record == "all" else (),
    )


def _shown(example: Example) -> ShownRow:
    before = [_turn(turn.role, turn.content) for turn in example.messages]
    return ShownRow(turns=(*before, _turn("answer", example.answer)))


def _turn(role: str, text: str) -> ShownTurn:
    cut = max(0, len(text) - TURN_CHARACTERS)
    return ShownTurn(role=role, text=text[:TURN_CHARACTERS], cut=cut)


def _text(name: str, file: FileRef, ruler: _Ruler, record: RecordAnswers) -> TextProfile:
    texts = read_texts(file)
    shown = tuple(_turn("text", text) for text in texts[: ROWS_SHOWN * (record == "all")])
    return TextProfile(name=name, rows=len(texts), lengths=ruler.lengths(texts), shown=shown)


def _volumes(sweep: ResolvedSweep) -> Iterator[MixVolume]:
    for name, entry in sweep.spec.mixes.items():
        mix = entry.named(name)
        for volume in sweep.spec.volumes_of(name):
            yield MixVolume(
                mix=name,
                volume=volume,
                examples=split_volume(mix, volume),
                extra_epochs=dict(mix.extra_epochs),
                replay_rows=replay_rows(mix, volume),
            )
