"""One trial in detail: configuration, scores with intervals, cost, learning curve and worst answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from dash import html

from dashboards.charts.loss_curves import LossCurve, draw_loss_curves, loss_curve
from dashboards.charts.progress import trial_label
from dashboards.charts.risk_coverage import risk_coverage
from dashboards.charts.theme import Palette
from dashboards.charts.wording import compact
from dashboards.components import (
    Choice,
    behind,
    card,
    data_table,
    empty,
    graph,
    link,
    notice,
    page_head,
    pill,
    tiles,
)
from dashboards.pages.by_label import confusions_card, labels_card, likelihood_card
from dashboards.trials.fields import (
    CONFIGURATION,
    COST,
    GENERAL,
    NO_INTERVAL_WHY,
    STATUS_TONES,
    STATUS_WORDS,
    TRAINING,
    Field,
    Weighing,
    fields,
    interval,
    interval_words,
    score_of,
    tasks_not_measured,
    with_interval,
)
from dashboards.trials.reader import TrialDetails
from tracker.labels import label_results
from tracker.metrics import FIGURES
from tracker.numbers import ABSENT, count, duration, number, percent, plural, quality
from tracker.store.worst_answers import Example, TaskExamples
from tracker.task import TaskScore
from tracker.trial import RecordAnswers, TrialRecord

_CURVE_HEIGHT = 320
#: Wrong answers in sight; the others are behind a press.
_ANSWERS_IN_SIGHT = 3
#: Rows of the table behind a curve.
_CURVE_ROWS = 24


def words_of(record: TrialRecord) -> str:
    """The trial's configuration in a line."""
    spec = record.result.spec
    return trial_label(
        spec.method.model_dump()
        | {
            "method": spec.method.name,
            "model": spec.model.name,
            "volume": spec.volume,
            "mix": spec.mix.name if spec.mix else "",
        }
    )


def content(record: TrialRecord, ways: Sequence[Choice], weighing: Weighing) -> list[Any]:
    """The page without what is read from the store; *ways*: links away from here."""
    result = record.result
    words, tone = STATUS_WORDS[result.status.value], STATUS_TONES[result.status]
    known = fields(record, weighing)
    return [
        actions(ways),
        page_head(f"Trial {record.number}", words_of(record), badge=pill(words, tone)),
        notice("It is excluded: no answer and no law counts it.", record.excluded)
        if record.excluded
        else None,
        notice("It ended without a result.", result.reason, "bad" if tone == "bad" else "")
        if result.reason
        else None,
        _tiles(record, weighing),
        _scores(record, weighing),
        html.Div(
            [
                html.Div([_group(known, each) for each in column], className="stack column")
                for column in ((CONFIGURATION, GENERAL), (TRAINING, COST))
            ],
            className="columns from-top",
        ),
        _software(record),
    ]


def actions(ways: Sequence[Choice]) -> html.Nav:
    """Links away from a trial."""
    return html.Nav([link(way) for way in ways], className="ways", **{"aria-label": "Trials"})


def readings(
    record: TrialRecord, reading: TrialDetails, colours: Palette, weighing: Weighing
) -> list[Any]:
    """The part of the page that is read from the store, or drawn: learning curve, answers by label, worst."""
    return [
        problem(reading),
        mlflow_link(reading),
        curves_card(
            [(words_of(record), record.result.spec.method.name, reading)],
            colours,
            trained=record.result.spec.method.name != "none",
        ),
        *_answers_by_label(record, colours, weighing),
        *(
            section
            for each in sorted(reading.examples, key=lambda each: weighing.place(each.task))
            for section in (
                confusions_card(each),
                _examples(each, record.result.spec.record_answers),
            )
        ),
        None if reading.examples or reading.problem else _no_answers(record),
    ]


def _answers_by_label(record: TrialRecord, colours: Palette, weighing: Weighing) -> list[Any]:
    """Cards of every task whose answers were counted by label, or by likelihood."""
    cards: list[Any] = []
    for measured in weighing.in_order(record.result.tasks):
        split = "" if measured.split == "validation" else f", {measured.split} rows"
        if measured.labels is not None:
            cards.append(labels_card(f"{measured.task}{split}", label_results([measured.labels])))
        if measured.confidence is not None:
            data = risk_coverage(measured.task, measured.confidence)
            cards.append(likelihood_card(data, colours, split))
    return cards


def problem(reading: TrialDetails) -> Any:
    """A warning where curve and answers could not be read."""
    if reading.problem is None:
        return None
    return notice("Curve and answers cannot be read now.", reading.problem, "bad")


def mlflow_link(reading: TrialDetails, words: str = "Open its run in MLflow") -> Any:
    """The link to the trial's MLflow run, in another tab."""
    if reading.link is None:
        return None
    away = {"target": "_blank", "rel": "noopener noreferrer", "className": "button"}
    return html.Div(html.A(words, href=reading.link, **away), className="actions")


def curves_card(
    trials: Sequence[tuple[str, str, TrialDetails]], colours: Palette, *, trained: bool = True
) -> html.Section:
    """Learning curves of (words, method, reading), over one another."""
    found = [
        c for words, method, reading in trials if (c := loss_curve(words, method, reading.curve))
    ]
    if not found:
        why = "No step of its training was recorded." if trained else "It was not trained."
        return card("Learning curve", empty("No curve", why, small=True))
    title = "Learning curve" if len(trials) == 1 else "Learning curves"
    lead = "Bold: the running mean. Pale: the loss of each step."
    missing = len(trials) - len(found)
    return card(
        title,
        graph(draw_loss_curves(found, colours), _spoken(found), height=_CURVE_HEIGHT),
        html.P(f"{missing} without a recorded step.", className="note") if missing else None,
        behind("Show the numbers", _curve_table(found)),
        lead=lead,
    )


def _spoken(curves: Iterable[LossCurve]) -> str:
    parts = [f"{c.name} from {c.smooth[0]:.3f} to {c.smooth[-1]:.3f}" for c in curves]
    return "Training loss in nats per token over optimizer steps: " + "; ".join(parts)


def _curve_table(curves: Sequence[LossCurve]) -> html.Div:
    rows = []
    for data in curves:
        last = len(data.steps) - 1
        for i in sorted({round(k * last / (_CURVE_ROWS - 1)) for k in range(_CURVE_ROWS)}):
            row = (count(data.steps[i]), f"{data.loss[i]:.4f}", f"{data.smooth[i]:.4f}")
            rows.append((data.name, *row))
    return data_table(("Trial", "Step", "Loss, nats per token", "Running mean"), rows)


def _tiles(record: TrialRecord, weighing: Weighing) -> html.Dl:
    cost = record.result.cost
    costs = [
        ("Device time", duration(cost.device_seconds), f"on {cost.device}"),
        ("Training", compact(cost.flops, "FLOP"), "counted operations"),
        ("Peak memory", compact(cost.peak_bytes, "B"), "of the device"),
        ("Stored beside the base", compact(cost.adapter_bytes, "B"), "to serve it"),
    ]
    return tiles([_quality(record, weighing), *(each for each in costs if each[1] != ABSENT)])


def _quality(record: TrialRecord, weighing: Weighing) -> tuple[str, str, str]:
    """The tile of the quality, by which trials are compared."""
    measured = weighing.quality(record.result)
    if measured is None:
        return "Quality", ABSENT, "a weighted task has no result"
    detail = interval_words(measured)
    left_out = tasks_not_measured(record.result, weighing)
    if interval(measured) is None:
        detail = f"weighted mean of the tasks; {detail}"
    elif left_out:
        detail += f", without the error of {' and '.join(left_out)}, which is not known"
    return "Quality", quality(measured.value, scored=measured.is_share), detail


def _scores(record: TrialRecord, weighing: Weighing) -> html.Section:
    result = record.result
    if not result.tasks:
        return card("Scores", empty("No scores", "The trial did not get that far.", small=True))
    rows = [
        (
            score.task if score.split == "validation" else f"{score.task} ({score.split})",
            count(result.spec.examples.get(score.task, 0)) if result.spec.examples else ABSENT,
            with_interval(score_of(score)),
            ABSENT if score.loss_nats is None else f"{score.loss_nats:.3f}",
            ABSENT if score.bits_per_byte is None else f"{score.bits_per_byte:.3f}",
            percent(score.precision),
            percent(score.recall),
            percent(score.valid_format),
            percent(score.over_reach),
            count(score.n),
        )
        for score in weighing.in_order(result.tasks)
    ]
    head = ("Task", "Trained on", "Score", "Loss, nats", "Bits per byte", "Precision", "Recall",
            "Valid answers", "False positives", "Rows")  # fmt: skip
    note = (
        "Intervals come from the evaluated rows; another seed of the same training would move a score "
        "further. Valid answers have the task's format. False positives on negatives (over-reach) are the "
        "share of negative rows, those of no label, that got a label as answer."
    )
    if any(known.is_missing for score in result.tasks if (known := score_of(score))):
        note += f" {NO_INTERVAL_WHY}"
    figures = [text for score in result.tasks if (text := _figures(score))]
    return card("Scores", data_table(head, rows), *map(_note, figures), lead=note)


def _note(text: str) -> html.P:
    return html.P(text, className="note")


def _figures(score: TaskScore) -> str:
    """Further figures of a score in a sentence, with what they are; empty where it has none."""
    parts = [f"{FIGURES[name]} {percent(value)}" for name, value in score.figures.items()]
    texts = []
    if parts:
        texts.append(f"{score.task}: {', '.join(parts)}.")
    if "micro" in score.figures:
        texts.append(
            "Micro F1 is over all labels given, macro F1 the mean over labels, F1 by row the mean over rows."
        )
    if "valid_json" in score.figures:
        texts.append("The score is the F1 of values with their paths; what is no JSON scores 0.")
    if score.unscored:
        texts.append(
            f"{score.task}: the score function failed on {plural(score.unscored, 'row')}; the score is of "
            "the others, and the worst answers below show why."
        )
    return " ".join(texts)


def _group(known: Sequence[Field], group: str) -> html.Section | None:
    return card(group, _facts(known, group)) if any(f.group == group for f in known) else None


def _facts(known: Sequence[Field], group: str) -> html.Dl:
    return html.Dl(
        [
            html.Div([html.Dt(field.name), html.Dd(field.text)])
            for field in known
            if field.group == group
        ],
        className="pairs",
    )


def _software(record: TrialRecord) -> Any:
    rows = sorted(record.result.environment.items())
    rows += [("key of the trial", record.result.spec.key)]
    return card(
        "Made with", behind("Show versions", data_table(("What", "Which"), rows, text=(0, 1)))
    )


def _no_answers(record: TrialRecord) -> html.Section:
    words = "Its answers were not kept, as with every trial that was measured elsewhere."
    if record.result.spec.record_answers == "none":
        words = (
            "The sweep records none (record_answers: none). Wrong rows cannot be listed here, nor its "
            "answers scored another way; every score and interval is as it would be."
        )
    return card("Worst answers", empty("No answers", words, small=True))


def _examples(task: TaskExamples, record: RecordAnswers) -> html.Section:
    split = "" if task.split == "validation" else f", {task.split} rows"
    title = f"Worst answers: {task.task}{split}"
    cut = f"Some answers were not read: {task.left_out}." if task.left_out else None
    if not task.worst:
        if task.rows:
            words = ("Every kept answer is right", f"All {plural(task.rows, 'row')}.")
        else:
            words = ("No answers", task.left_out or "No row was kept.")
        return card(title, html.P(cut, className="note") if cut and task.rows else None,
                    empty(*words, small=True))  # fmt: skip
    lead = (
        f"{count(task.wrong)} of {count(task.rows)} answers are not fully right. "
        "The lowest score first, then the highest loss of the true answer."
    )
    if record == "hashed":
        lead += (
            " Answers are digests and prompts are not kept (record_answers: hashed): two equal digests are "
            "one answer; its row number leads to the text in the data file."
        )
    elif all(example.prompt is None for example in task.worst):
        lead += " The prompts were not kept with these answers."
    in_sight, rest = task.worst[:_ANSWERS_IN_SIGHT], task.worst[_ANSWERS_IN_SIGHT:]
    more = html.Ol([_example(e) for e in rest], className="examples", start=len(in_sight) + 1)
    return card(
        title,
        html.P(cut, className="note") if cut else None,
        html.Ol([_example(e) for e in in_sight], className="examples"),
        behind(f"Show {len(rest)} more", more) if rest else None,
        lead=lead,
    )


def _example(example: Example) -> html.Li:
    marks = [pill("wrong", "bad")]
    if example.failed is not None:
        marks = [pill(f"no score: {example.failed}", "warn")]
    elif example.score is None:
        marks = [pill(f"error {number(example.error)}", "warn")]
    elif example.score > 0:
        marks = [pill(f"partly right, {percent(example.score)}", "warn")]
    if example.over_reach:
        marks.append(pill("false positive (over-reach): the row has no label", "warn"))
    if example.valid is False:
        marks.append(pill("not in the task's format", "warn"))
    place = "" if example.file_row is None else f"row {count(example.file_row)} of its file"
    nats = "" if example.nats is None else f"loss of the truth {example.nats:.2f} nats"
    aside = ", ".join(part for part in (place, nats) if part)
    prompt = [] if example.prompt is None else [("Prompt", example.prompt, False)]
    texts = [
        *prompt,
        ("Answer", example.answer or "nothing", not example.answer),
        ("Truth", example.truth, False),
    ]
    return html.Li(
        [
            html.Div([*marks, html.Span(aside, className="quiet")], className="marks"),
            html.Dl(
                [
                    html.Div(
                        [html.Dt(name), html.Dd(text, className="quiet" if absent else "verbatim")]
                    )
                    for name, text, absent in texts
                ],
                className="pairs",
            ),
        ]
    )
