"""The Data page: tasks, labels, lengths, templates, mixes, suites and replayed text of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dash import html

from dashboards.charts.data import (
    LengthRow,
    balance_height,
    draw_balance,
    draw_lengths,
    draw_mix_contents,
    label_balance,
    length_rows,
    mix_contents,
)
from dashboards.charts.theme import Palette, palette
from dashboards.charts.wording import score_name
from dashboards.components import (
    Links,
    behind,
    card,
    data_table,
    empty,
    graph,
    page_head,
    picker,
    tiles,
)
from dashboards.page import whole
from dashboards.snapshot import SweepView
from dashboards.state import Query, one_of
from tracker.numbers import ABSENT, count, percent, plural
from tracker.store.data_profile import (
    DataProfile,
    MixVolume,
    ShownRow,
    ShownTurn,
    SplitProfile,
    TaskProfile,
    TextProfile,
)

TITLE = "Data"
PATH = "/data"
ROLES = {"answer": "answer to learn", "text": "text"}


def content(view: SweepView, query: Query, theme: str | None) -> list[Any]:
    """The page for *view* in the state *query*."""
    profile, colours = view.analysis.data, palette(theme)
    lead = (
        "What the models are trained on and scored on. A training-set size counts distinct examples of all "
        "tasks of a mix together; each smaller set is part of every larger one."
    )
    head = page_head("The data behind the sweep", lead)
    mixes = profile.volumes if profile else ()
    if not mixes:
        mixes = mix_contents(view.analysis.table, view.analysis.mixes.mixes)
    parts: list[Any] = [head, _warnings(view.analysis.notes)]
    if profile is None or not profile.tasks:
        parts += [_without_profile(view)]
    else:
        parts += [_tiles(profile), _recorded(profile), *_task_cards(profile, query, colours)]
    parts.append(_mix_contents(mixes, query, colours))
    if profile is not None and (profile.suites or profile.replay):
        parts.append(_suites(profile))
    return [part for part in parts if part is not None]


def _warnings(notes: Sequence[str]) -> html.Section | None:
    if not notes:
        return None
    items = html.Ul([html.Li(note) for note in notes], className="points caution")
    return card(
        "Warnings",
        items,
        lead="What was unusual but allowed when the sweep's file and data were read.",
    )


def _without_profile(view: SweepView) -> html.Section:
    table = view.analysis.table
    rows = []
    measured = table[table["task"].notna()].groupby("task", sort=False)
    for task, group in measured:
        most, names = group["examples"].max(), group["score_name"].dropna().unique()
        rows.append(
            (
                str(task),
                ", ".join(score_name(name) for name in names) or "loss alone",
                count(group["n"].max()),
                count(most) if most == most else ABSENT,
            )
        )
    why = (
        "This sweep has no data profile: it was imported from a table, or begun by an earlier version. The "
        "table is made from its trials."
    )
    if not rows:
        return card("Tasks", empty("No trials yet", why, small=True))
    head = ("Task", "Scored by", "Rows scored", "Most examples trained on")
    return card("Tasks", data_table(head, rows, text=(0, 1)), lead=why)


_RECORDED = {
    "hashed": "Labels are shown as digests, rows are not shown (record_answers: hashed). Equal digests are "
    "one label.",
    "none": "Labels are numbered and rows are not shown (record_answers: none).",
}


def _recorded(profile: DataProfile) -> html.P | None:
    """What the sweep keeps of its rows to itself, in a line."""
    words = _RECORDED.get(profile.record_answers)
    return None if words is None else html.P(words, className="note")


def _tiles(profile: DataProfile) -> html.Dl:
    def rows(split: str) -> int:
        return sum(task.splits[split].rows for task in profile.tasks if split in task.splits)

    largest = max((mix.volume for mix in profile.volumes), default=0)
    return tiles(
        [
            ("Tasks", count(len(profile.tasks)), plural(len(profile.suites), "general suite")),
            ("Rows to train on", count(rows("train")), "in all training files"),
            (
                "Rows to choose by",
                count(rows("validation")),
                "in all validation files, never trained on",
            ),
            (
                "Largest training set",
                count(largest) if largest else ABSENT,
                "examples in one trial",
            ),
        ]
    )


def _task_cards(profile: DataProfile, query: Query, colours: Palette) -> list[Any]:
    names = [task.name for task in profile.tasks]
    task = profile.tasks[names.index(one_of(names, query.get("task")))]
    split = one_of(list(task.splits), query.get("split"))

    links = Links(PATH, query)
    pickers = html.Div(
        [
            picker("Task", links.choices("task", [(n, n) for n in names], task.name)),
            picker("File", links.choices("split", [(s, s) for s in task.splits], split)),
        ],
        className="pickers",
    )
    pair = [_balance(task, split, colours), _lengths(task, colours)]
    return [
        _tasks_table(profile),
        pickers,
        html.Div(pair, className="columns data-pair"),
        _rendered(task, split, private=profile.record_answers != "all"),
    ]


def _tasks_table(profile: DataProfile) -> html.Section:
    rows = []
    for task in profile.tasks:
        at = {name: task.splits.get(name) for name in ("train", "validation", "test")}
        first = next(iter(task.splits.values()))
        rows.append(
            (
                task.name,
                score_name(task.score),
                *(ABSENT if split is None else count(split.rows) for split in at.values()),
                count(first.distinct),
                task.negative or ABSENT,
                ABSENT if first.lengths.prompt is None else count(first.lengths.prompt.median),
                count(first.lengths.answer.median),
            )
        )
    unit = next(iter(profile.tasks[0].splits.values())).lengths.unit
    head = (
        "Task", "Scored by", "Train", "Validation", "Test", "Distinct answers", "Negative answer",
        f"Median prompt, {unit}", f"Median answer, {unit}",
    )  # fmt: skip
    lead = (
        "Distinct answers and lengths are of the first file. The negative answer is the right one for rows "
        "that belong to no label; any other answer to them is a false positive (over-reach)."
    )
    repeats = [
        html.Li(f"{task.name}: {words}")
        for task in profile.tasks
        if (words := _repeats(task.splits))
    ]
    note = (
        html.Ul(repeats, className="mix-notes")
        if repeats
        else html.P("No prompt is repeated, within a file or between files.", className="note")
    )
    return card("Tasks", data_table(head, rows, text=(0, 1, 6)), note, lead=lead)


def _repeats(splits: dict[str, SplitProfile]) -> str:
    """Rows whose prompt is repeated, in words."""
    repeats = [f"{count(s.repeated)} within {name}" for name, s in splits.items() if s.repeated]
    repeats += [
        f"{count(rows)} of {name} also in {earlier}"
        for name, split in splits.items()
        for earlier, rows in split.seen.items()
    ]
    return f"repeated prompts: {', '.join(repeats)}" if repeats else ""


def _balance(task: TaskProfile, split: str, colours: Palette) -> html.Section:
    data = label_balance(task.splits[split])
    title = f"Answers of {task.name}, {split}"
    if data.free:
        detail = (
            f"{count(data.distinct)} distinct answers in {count(task.splits[split].rows)} rows: free text, "
            "without a balance of labels."
        )
        body: Any = empty("Nearly every row has its own answer", detail, small=True)
    else:
        body = graph(
            draw_balance(data, colours),
            f"Rows by answer: {data.distinct} distinct, the most frequent in {percent(data.largest)}",
            height=balance_height(data),
        )
    spread = f"{count(data.fewest)} to {count(data.bars[0].rows if data.bars else 0)} rows each"
    lead = (
        f"{count(data.distinct)} distinct, {spread}. The most frequent one alone would be right in "
        f"{percent(data.largest)} of rows."
    )
    bars = [*data.bars, *([data.rest] if data.rest else [])]
    rows = [(bar.label, count(bar.rows), percent(bar.share, 2)) for bar in bars]
    table = data_table(("Answer", "Rows", "Share"), rows)
    rest = data.rest and html.P(
        f"{data.rest.label} share {count(data.rest.rows)} rows ({percent(data.rest.share)}).",
        className="note",
    )
    return card(title, body, rest, behind("Show the numbers", table), lead=lead)


def _lengths(task: TaskProfile, colours: Palette) -> html.Section:
    found = length_rows(task)
    lengths = next(iter(task.splits.values())).lengths
    of = f"{lengths.unit} of {lengths.tokenizer}" if lengths.tokenizer else lengths.unit
    lead = (
        f"In {of}, without the chat template. The thick bar holds eight rows of ten, the thin line runs from "
        "the shortest to the longest, the mark is the median."
    )
    chart = graph(
        draw_lengths(found, colours, lengths.unit),
        f"Lengths of prompts and answers of {task.name} in {of}",
        height=80 + 34 * len(found),
    )
    head = ("Part", "File", "Shortest", "10 %", "Median", "90 %", "Longest")
    table = data_table(head, [_span_row(span) for span in found], text=(0, 1))
    return card(f"Lengths of {task.name}", chart, behind("Show the numbers", table), lead=lead)


def _span_row(span: LengthRow) -> tuple[str, ...]:
    at = span.lengths
    return (span.part, span.name, *map(count, (at.least, at.p10, at.median, at.p90, at.most)))


def _rendered(task: TaskProfile, split: str, *, private: bool) -> html.Section:
    title = f"What the model reads: {task.name}, {split}"
    fields = []
    if task.prompt is not None:
        fields = [(k, v) for k, v in task.prompt.model_dump().items() if v]
        fields.append(("answer", task.answer or ""))
    template = (
        html.Dl(
            [html.Div([html.Dt(name), html.Dd(html.Code(text))]) for name, text in fields],
            className="data-turns",
        )
        if fields
        else html.P(
            "The rows have a chat layout already; no template is applied.", className="note"
        )
    )
    shown = task.splits[split].shown
    heading = f"{plural(len(shown), 'row')} filled in" if shown else "Rows filled in"
    why = "it would be too large" if not private else "the sweep does not record them"
    rows = [_row(row) for row in shown] or [
        html.P(f"The data profile has no rows: {why}.", className="note")
    ]
    return card(
        title,
        html.Div(
            [
                html.Div([html.H3("Template"), template], className="column"),
                html.Div(
                    [
                        html.H3(heading),
                        *rows,
                    ],
                    className="column",
                ),
            ],
            className="columns",
        ),
        lead="The loss covers the answer alone; everything before it is the prompt.",
    )


def _row(row: ShownRow) -> html.Dl:
    return html.Dl([_turn(turn) for turn in row.turns], className="data-turns")


def _turn(turn: ShownTurn) -> html.Div:
    more = html.Span(f" … {turn.cut:,} more characters", className="quiet") if turn.cut else None
    kind = "answer" if turn.role == "answer" else ""
    return html.Div(
        [html.Dt(ROLES.get(turn.role, turn.role)), html.Dd([turn.text, more])], className=kind
    )


def _mix_contents(sizes: Sequence[MixVolume], query: Query, colours: Palette) -> html.Section:
    title = "Examples by task, of each mix and training-set size"
    lead = (
        "Subsets are nested: the first 500 examples of a task are part of its first 1,000, so that points of "
        "a curve differ in the number of examples alone. Every subset keeps the balance of labels."
    )
    if not sizes:
        detail = "The trials do not say how their examples are split between tasks."
        return card(title, empty("Not known", detail, small=True))
    mixes = list(dict.fromkeys(size.mix for size in sizes))
    mix = one_of(mixes, query.get("mix"))
    of_mix = [size for size in sizes if size.mix == mix]
    choices = Links(PATH, query).choices("mix", [(m, m) for m in mixes], mix)
    tasks = list(dict.fromkeys(task for size in sizes for task in size.examples))
    passes = "; ".join(f"{task}: {n} more" for task, n in of_mix[0].extra_epochs.items())
    rows = [
        (
            size.mix,
            count(size.volume),
            *(count(size.examples[t]) if t in size.examples else ABSENT for t in tasks),
            count(size.replay_rows),
            percent(size.replay_rows / max(size.volume, 1)),
        )
        for size in sizes
    ]
    head = ("Mix", "Examples", *tasks, "Replayed rows a pass", "Replay share")
    return card(
        title,
        picker("Task mix", choices),
        graph(
            draw_mix_contents(of_mix, colours),
            f"Examples by task at each training-set size of mix {mix}",
            height=120 + 34 * len(of_mix),
        ),
        html.P(f"Extra passes over a task's examples: {passes}.", className="note")
        if passes
        else None,
        behind("Show the numbers of every mix", data_table(head, rows)),
        lead=lead,
    )


def _suites(profile: DataProfile) -> html.Section:
    rows = []
    texts = [*profile.suites, *([profile.replay] if profile.replay else [])]
    for suite in texts:
        is_text = isinstance(suite, TextProfile)
        first = suite if isinstance(suite, TextProfile) else next(iter(suite.splits.values()))
        use = "replayed in training" if suite is profile.replay else "scored before and after"
        length = first.lengths.answer if is_text else first.lengths.prompt or first.lengths.answer
        rows.append(
            (
                suite.name,
                "plain text" if is_text else "held-out task",
                use,
                count(first.rows),
                f"{count(length.median)} {first.lengths.unit}",
                _excerpt(suite),
            )
        )
    head = ("Name", "Kind", "Use", "Rows", "Median length", "Example")
    lead = (
        "General suites are never trained on: what a tuned model loses on them is what it forgot. Replayed "
        "text is mixed into training to keep the loss small."
    )
    return card("General suites and replay", data_table(head, rows, text=(0, 1, 2, 5)), lead=lead)


def _excerpt(suite: TaskProfile | TextProfile) -> str:
    """The beginning of one of its rows."""
    if isinstance(suite, TextProfile):
        turns = suite.shown[:1]
    else:
        row = next(iter(next(iter(suite.splits.values())).shown), None)
        turns = row.turns[-2:] if row else ()
    flat = " ".join(" → ".join(turn.text for turn in turns).split())
    return (flat if len(flat) <= 72 else f"{flat[:71]}…") or ABSENT


PAGE = whole(PATH, TITLE, content)
