"""Two to five trials side by side, with what differs marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from dash import html

from dashboards.charts.theme import Palette
from dashboards.components import Choice, card, empty, page_head, picker
from dashboards.pages.trial import actions, curves_card, mlflow_link, problem, words_of
from dashboards.trials.fields import (
    GROUPS,
    NO_INTERVAL,
    NO_INTERVAL_WHY,
    Field,
    Weighing,
    distinguishable,
    fields,
)
from dashboards.trials.reader import TrialDetails
from tracker.numbers import ABSENT
from tracker.trial import TrialRecord

MOST = 5


class Row(NamedTuple):
    """One field of every trial; ``texts`` in their order, absent as a dash.

    ``differs``: of values with an uncertainty, whether the rows distinguish any two at 80 %.
    """

    group: str
    name: str
    texts: tuple[str, ...]
    differs: bool


def side_by_side(records: Sequence[TrialRecord], weighing: Weighing) -> tuple[Row, ...]:
    """The fields of *records*, group by group, in the order in which the fullest lists them."""
    of_each = [{(f.group, f.name): f for f in fields(record, weighing)} for record in records]
    fullest = sorted(of_each, key=len, reverse=True)  # the base has no method's settings to place
    names = dict.fromkeys(name for each in fullest for name in each)
    ordered = sorted(names, key=lambda name: GROUPS.index(name[0]))  # stable
    return tuple(_row(name, [each.get(name) for each in of_each]) for name in ordered)


def _row(name: tuple[str, str], found: Sequence[Field | None]) -> Row:
    texts = tuple(ABSENT if field is None else field.text for field in found)
    measured = [field.measured for field in found if field and field.measured]
    differs = len(set(texts)) > 1
    if differs and len(measured) == len(found):
        differs = distinguishable(measured)
    return Row(*name, texts, differs)


def content(
    records: Sequence[TrialRecord],
    ways: Sequence[Choice],
    modes: Sequence[Choice],
    weighing: Weighing,
) -> list[Any]:
    """The table of all fields; *modes*: all of them, or only those that differ (the chosen one)."""
    rows = side_by_side(records, weighing)
    differ = sum(row.differs for row in rows)
    only = len(modes) > 1 and modes[1].chosen
    shown = [row for row in rows if row.differs or not only]
    lead = f"{differ} of {len(rows)} fields differ."
    note = (
        "≠ marks a difference. Values with an interval differ where the evaluated rows distinguish any two "
        "of the trials at 80 %; on the same rows the differences are paired."
    )
    if any(NO_INTERVAL in text for row in rows for text in row.texts):
        note += f" {NO_INTERVAL_WHY}"
    table = _table(records, shown) if shown else empty("No differences", note, small=True)
    return [
        actions(ways),
        page_head(f"{len(records)} trials side by side", lead),
        card("Fields", picker("Show", modes), table, lead=note),
    ]


def readings(
    records: Sequence[TrialRecord], found: Sequence[TrialDetails], colours: Palette
) -> list[Any]:
    """The learning curves, over one another, and the links to MLflow."""
    pairs = list(zip(records, found, strict=True))
    curves = [
        (f"Trial {record.number}", record.result.spec.method.name, reading)
        for record, reading in pairs
    ]
    links = [
        mlflow_link(reading, f"Open trial {record.number} in MLflow") for record, reading in pairs
    ]
    return [
        next(filter(None, map(problem, found)), None),
        curves_card(curves, colours),
        html.Div(links, className="actions") if any(links) else None,
    ]


def _table(records: Sequence[TrialRecord], rows: Sequence[Row]) -> html.Div:
    head = [
        html.Th(
            [f"Trial {record.number}", html.Div(words_of(record), className="under")], scope="col"
        )
        for record in records
    ]
    body: list[Any] = []
    group = None
    for row in rows:
        if row.group != group:
            group = row.group
            body.append(
                html.Tr(
                    html.Th(group, colSpan=len(records) + 1, scope="colgroup"), className="group"
                )
            )
        body.append(_line(row))
    table = html.Table([html.Thead(html.Tr([html.Th("Field", scope="col"), *head])),
                        html.Tbody(body)], className="compare")  # fmt: skip
    return html.Div(table, className="scroll tall", tabIndex=0)


def _line(row: Row) -> html.Tr:
    mark = html.Span("≠", className="unequal", title="differs", **{"aria-label": "differs"})
    name = html.Th([mark if row.differs else None, row.name], scope="row")
    return html.Tr(
        [name, *(html.Td(text) for text in row.texts)], className="differs" if row.differs else ""
    )
