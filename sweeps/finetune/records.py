"""What a model said to each row of a task, for whoever wants to read it: ``<task>.<split>.jsonl``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sweeps.scores.scores import Floats, judge
from tracker.trial import TaskSpec

#: Prompts are long and the same in every trial: those of the worst rows alone are kept, and cut.
PROMPTS, PROMPT_CHARACTERS = 50, 2000


def answer_records(
    task: TaskSpec,
    given: Sequence[str],
    truth: Sequence[str],
    nats: Floats,
    labels: frozenset[str] | None,
    prompt: Callable[[int], str],
) -> list[dict[str, Any]]:
    """One record per row. *nats*: of the true answer, summed; *prompt*: of a row's number, its text.

    Always ``row``, ``answer``, ``truth``, ``nats`` and ``score`` (in [0, 1]); ``valid`` and ``over_reach``
    where the task has a format and a negative answer; ``prompt`` of the worst rows.
    """
    records: list[dict[str, Any]] = []
    for row, (answer, true) in enumerate(zip(given, truth, strict=True)):
        said = answer.strip()
        verdict = judge(task, said, true.strip(), labels)
        known = {name: v for name, v in verdict._asdict().items() if v is not None}
        record: dict[str, Any] = {
            "row": row,
            "answer": said,
            "truth": true,
            "nats": round(float(nats[row]), 5),
        }
        records.append(record | known)
    worst = sorted(records, key=lambda record: (record["score"], -record["nats"]))
    for record in worst[:PROMPTS]:
        record["prompt"] = prompt(record["row"])[:PROMPT_CHARACTERS]
    return records
