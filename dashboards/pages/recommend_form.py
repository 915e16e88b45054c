"""The form for another question: weights, constraints, data on hand and target quality, in the address.

The address holds the command line's words (``weight=intent=2``, ``constraint=peak_bytes=8e9``,
``target_quality=0.9``), and only what differs from the sweep file's question. A field shows a value in the
unit that people use. A quality may be typed as on the command line too: 0.6, 60 and 60 % are one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from dash import dcc, html

from dashboards.analysis import PageAnalysis
from dashboards.charts.tuned import METRIC_WORDS
from dashboards.exports import QUESTION
from dashboards.state import Query, href
from tracker.constraints import NONE, SHARES, is_lower, kind_of
from tracker.decision.overrides import (
    number_text,
    parse_bound,
    parse_number,
    parse_weight,
    target_texts,
)
from tracker.errors import InputError
from tracker.metrics import Measure
from tracker.trial import Objective

FIELD = "recommend-field"
_GROUPS = {
    "weight": ("Weights", "How much each task counts. Only the proportions matter."),
    "keep": ("Limits on quality and forgetting", "Empty: no limit."),
    "cost": ("Limits on cost", "Of one training run, as it was measured here."),
    "data": ("Data on hand", "Configurations that need more examples are left out."),
    "target_quality": (
        "Target quality",
        "If given, the answer is the smallest, cheapest model that reaches it: of the weighted quality, or "
        "of tasks.",
    ),
}
#: Column of the results table, constraint, label, unit, and the unit's size in that of the constraint.
_COSTS = (
    ("peak_bytes", "peak_bytes", "Peak memory", "GB", 1e9),
    ("device_seconds", "gpu_hours", "Device time", "hours", 1.0),
    ("seconds_per_1k_tokens", "seconds_per_1k_tokens", "Latency", "s per 1,000 tokens", 1.0),
    ("adapter_bytes", "adapter_bytes", "Size on disk", "MB", 1e6),
    ("parameters", "parameters", "Model size", "million parameters", 1e6),
)


#: Of a share, whose unit is per cent.
_PER_CENT = 0.01


class Place(NamedTuple):
    """A field's group, option and label; ``factor`` turns its unit into the command line's."""

    group: str
    option: str
    name: str
    label: str
    unit: str
    factor: float = 1.0

    @property
    def is_quality(self) -> bool:
        """Whether it takes a score, of which a number up to 1 is a share, never so many per cent."""
        named = self.option == "target_quality" or is_lower(self.name)
        return named and self.factor == _PER_CENT

    def shown(self, text: str) -> str:
        """*text* of the command line in the field's unit; what is no number stays as it was typed."""
        if text == NONE:
            return ""
        try:
            number = parse_number(text) / self.factor
        except InputError:
            return text
        # With its sign where a reader, and this form, would take it for a share.
        return f"{number:.12g}{' %' * (self.is_quality and 0 < number <= 1)}"

    def read(self, text: str) -> str:
        """*text* of the field in the command line's unit; a decimal comma, as phones offer it, is a point."""
        per_cent = self.factor == _PER_CENT and text.endswith("%")
        typed = text.removesuffix("%").rstrip() if per_cent else text
        if re.fullmatch(r"-?(0,\d+|\d+,\d{1,2})", typed):  # 1,000 stays as it is
            typed = typed.replace(",", ".")
        try:
            number = parse_number(typed)
        except InputError:
            return text
        share = self.is_quality and not per_cent and number <= 1
        return f"{number if share else number * self.factor:.12g}"


class Field(NamedTuple):
    """A place with the text in it, and the problem of that text."""

    place: Place
    text: str
    problem: str | None


def places(
    table: pd.DataFrame, measures: Mapping[str, Measure], weights: Mapping[str, float]
) -> list[Place]:
    """A field for every task, and for every cost and loss that some trial of *table* measured."""
    tasks = [task for task in dict.fromkeys(table["task"].dropna()) if task in measures]
    trained = set(table.loc[table["examples"] > 0, "task"])
    return [
        *(Place("weight", "weight", task, task, "weight") for task in tasks),
        *_quality_places(table, measures, tasks),
        *(
            _limit("cost", name, label, f"{unit} at most", factor)
            for column, name, label, unit, factor in _COSTS
            if table[column].notna().any()
        ),
        _limit("data", "examples", "All tasks together", "examples"),
        *(
            _limit("data", f"examples.{task}", task, "examples")
            for task in tasks
            if task in trained and len(trained) > 1
        ),
        *_target_places(measures, tasks, weights),
    ]


def _limit(group: str, name: str, label: str, unit: str, factor: float = 1.0) -> Place:
    return Place(group, "constraint", name, label, unit, factor)


def _quality_places(
    table: pd.DataFrame, measures: Mapping[str, Measure], tasks: Sequence[str]
) -> list[Place]:
    """Limits on what was lost, on each task's score or error, and on its shares that were measured."""
    suites = [c for c in table.columns if c.startswith("forgetting.") and table[c].notna().any()]
    measured = {
        share: set(table.loc[table[share].notna(), "task"]) for share in (*SHARES, "over_reach")
    }

    def bounded(task: str) -> Place:
        if measures[task] == "score":
            return _limit("keep", f"min.{task}", f"Score on {task}", "% at least", _PER_CENT)
        what = METRIC_WORDS[measures[task]]
        return _limit("keep", f"max.{task}", f"{what} on {task}", "at most")

    def share(name: str, label: str, unit: str) -> list[Place]:
        return [
            _limit("keep", f"{name}.{task}", label.format(task), unit, _PER_CENT)
            for task in tasks
            if task in measured[name]
        ]

    lost = [(name, f"Lost on {name.removeprefix('forgetting.')}") for name in suites]
    return [
        *(_limit("keep", name, label, "% at most", _PER_CENT) for name, label in lost),
        *map(bounded, tasks),
        *share("precision", "Precision on {}", "% at least"),
        *share("recall", "Recall on {}", "% at least"),
        *share("over_reach", "False positives, {}", "% at most"),
    ]


def _target_places(
    measures: Mapping[str, Measure], tasks: Sequence[str], weights: Mapping[str, float]
) -> list[Place]:
    """The target of the weighted quality, and where there are several tasks that of each."""
    weighted = [measures[task] for task in tasks if weights.get(task, 0) > 0]
    scored = all(measure == "score" for measure in weighted)
    unit = ("% or more", _PER_CENT) if scored else ("minus what is lost, or more", 1.0)
    found = [Place("target_quality", "target_quality", "", "Quality", *unit)]
    for task in tasks if len(tasks) > 1 else ():
        unit = ("% or more", _PER_CENT) if measures[task] == "score" else ("or less", 1.0)
        found.append(Place("target_quality", "target_quality", task, task, *unit))
    return found


def fields(analysis: PageAnalysis, query: Query) -> list[Field]:
    """Every field with its value in the address, else in the sweep file's question."""
    objective = analysis.objective
    weights = dict(_pairs(query.many("weight"))) or _texts(objective.weights)
    bounds = {**_texts(objective.constraints), **dict(_pairs(query.many("constraint")))}
    values = {
        "weight": weights,
        "constraint": bounds,
        "target_quality": _targets(objective, query),
    }
    known = places(analysis.table, analysis.measures, objective.weights)
    named = {place.name for place in known if place.option == "constraint"}
    # A bound without a field of its own gets one: every bound in force must be seen.
    known += [_unlisted_place(name) for name in bounds if name not in named]
    return [_field_of(place, values[place.option].get(place.name, "")) for place in known]


def _unlisted_place(name: str) -> Place:
    """Place of the constraint *name* that no other place is for, such as one on a label."""
    if kind_of(name) in SHARES:
        return Place("keep", "constraint", name, name, "% at least", _PER_CENT)
    return Place("cost", "constraint", name, name, "at least" if is_lower(name) else "at most")


def _field_of(place: Place, text: str) -> Field:
    shown = place.shown(text)
    return Field(place, shown, _problem(place, text, shown))


def query_of(analysis: PageAnalysis, query: Query, texts: Sequence[tuple[str, str, str]]) -> Query:
    """The address for the *texts* in the fields, each with its option and name."""
    objective = analysis.objective
    known = {
        (p.option, p.name): p for p in places(analysis.table, analysis.measures, objective.weights)
    }
    values = {
        (option, name): known.get((option, name), _unknown_place(option, name)).read(text.strip())
        for option, name, text in texts
    }
    weights = {name: text for (option, name), text in values.items() if option == "weight" and text}
    if weights == _texts(objective.weights):
        weights = {}
    in_force = _texts(objective.constraints)
    bounds = {
        name: text or NONE
        for (option, name), text in values.items()
        if option == "constraint" and text != in_force.get(name, "")
    }
    return query.put(
        weight=[f"{name}={text}" for name, text in sorted(weights.items())],
        constraint=[f"{name}={text}" for name, text in sorted(bounds.items())],
        target_quality=_target_in(objective, values),
    )


def _targets(objective: Objective, query: Query) -> dict[str, str]:
    """Text of the target by task, that of the weighted quality under no name."""
    given = query.many("target_quality") or target_texts(objective.target)
    pairs = (text.rpartition("=") for text in given)
    return {name: value for name, _, value in pairs if value != NONE}


def _target_in(objective: Objective, values: Mapping[tuple[str, str], str]) -> list[str]:
    """The target for the address of the fields' *values*; nothing where it is the sweep file's."""
    texts = [
        f"{name}={text}" if name else text
        for (option, name), text in sorted(values.items())
        if option == "target_quality" and text
    ]
    given = target_texts(objective.target)
    if sorted(texts) == sorted(given):
        return []
    return texts or [NONE]


def _unknown_place(option: str, name: str) -> Place:
    return _unlisted_place(name) if option == "constraint" else Place("", option, name, "", "")


def form(path: str, query: Query, shown: Sequence[Field]) -> html.Section:
    """The form with the fields *shown*, open where *query* differs from the sweep file's question."""
    groups = [
        html.Fieldset(
            [
                html.Legend(title),
                html.P(words, className="quiet"),
                *(_field(field) for field in shown if field.place.group == group),
            ],
            className="asking-group",
        )
        for group, (title, words) in _GROUPS.items()
        if any(field.place.group == group for field in shown)
    ]
    actions = html.Div(
        [
            html.Button("Ask", id="recommend-ask", className="button primary", type="button"),
            html.A("Reset", href=href(path, Query(query.sweep)), className="button go"),
        ],
        className="actions",
    )
    summary = html.Summary("Ask something else: weights, limits, data on hand, a target quality")
    changed = any(name in QUESTION for name, _ in query.given)
    return html.Section(
        html.Details([summary, html.Div(groups, className="asking"), actions],
                     className="data", open=changed),
        className="card asking-card",
        **{"aria-label": "The question"},
    )  # fmt: skip


def field_id(place: Place) -> dict[str, str]:
    """The id of a field's input."""
    return {"type": FIELD, "option": place.option, "name": place.name}


def _field(field: Field) -> html.Div:
    place = field.place
    entry = dcc.Input(
        id=field_id(place),
        value=field.text,
        type="text",
        inputMode="decimal",
        autoComplete="off",
        className="wrong" if field.problem else "",
    )
    return html.Div(
        [
            html.Label([html.Span(place.label), entry, html.Span(place.unit, className="unit")]),
            html.P(field.problem, className="problem", role="alert") if field.problem else None,
        ],
        className="asking-field",
    )


def _problem(place: Place, text: str, shown: str) -> str | None:
    """The problem of *text*, in the field's unit (*shown*); an empty text has none."""
    checks: dict[str, Callable[[str], Any]] = {
        "weight": parse_weight,
        "constraint": lambda t: parse_bound(place.name, t),
        "target_quality": lambda t: _quality(t, place.factor),
    }
    try:
        if text:
            checks[place.option](text)
    except InputError as error:
        allowed = str(error).partition("; allowed: ")[2]
        return f"found {shown}; allowed: {'0 to 100' if allowed == '0 to 1' else allowed}"
    return None


def _quality(text: str, factor: float) -> None:
    if factor != 1 and not 0 < parse_number(text) <= 1:
        raise InputError(f"found {text}; allowed: above 0, at most 100")


def _pairs(texts: Sequence[str]) -> list[tuple[str, str]]:
    parts = (text.rpartition("=") for text in texts)  # a label may have one in its name
    return [(name, value) for name, _, value in parts]


def _texts(numbers: Mapping[str, float]) -> dict[str, str]:
    return {name: number_text(value) for name, value in numbers.items()}
