"""A trial's training rows as text, for trainers other than ours."""

from __future__ import annotations

from sweeps.data.encoding import train_file, trained_tasks, training_order
from sweeps.data.examples import read_examples, read_texts
from sweeps.data.prompts import render
from tracker.export.recipe import Row
from tracker.trial import TrialSpec


def rows_of(spec: TrialSpec) -> list[Row]:
    """Every row of every pass, in the order in which the trial sees them."""
    examples = {
        name: read_examples(task, train_file(task)) for name, task in trained_tasks(spec).items()
    }
    texts = read_texts(spec.replay) if spec.replay else []
    rows = []
    for at in training_order(spec):
        if at.task is None:
            rows.append(Row(None, texts[at.row], "replay"))
            continue
        example = examples[at.task][at.row]
        answer = {"role": "assistant", "content": example.answer}
        rows.append(Row([*render(example), answer], None, at.task))
    return rows
