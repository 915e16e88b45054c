"""The form of the recommendation: a field for everything that can be asked, kept in the address.

The address holds the command line's own words (``weight=intent=2``, ``constraint=peak_bytes=8e9``,
``target_quality=0.9``); a field shows them in the unit people use. What differs from the sweep's own question
is there, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from dash import dcc, html

from dashboards.analysis import PageAnalysis
from dashboards.exports import QUESTION
from dashboards.state import Query, href
from tracker.constraints import NONE
from tracker.decision.overrides import number_text, parse_bound, parse_number, parse_weight
from tracker.errors import InputError
from tracker.metrics import Measure

FIELD = "recommend-field"
_GROUPS = {
    "weight": ("What counts", "How much each task counts. Only the proportions matter."),
    "keep": ("What it must keep", "Empty: no bound."),
    "cost": ("What it may cost", "Of one training run, as it was measured here."),
    "data": ("Data on hand", "Configurations that need more examples are left out."),
    "target_quality": (
        "Good enough",
        "Asks for the smallest, cheapest model that surely reaches it instead.",
    ),
}
#: Column of the table, the constraint's name, what it is, the unit, and that unit in the constraint's.
_COSTS = (
    ("peak_bytes", "peak_bytes", "Peak memory", "GB", 1e9),
    ("device_seconds", "gpu_hours", "Device time", "hours", 1.0),
    ("seconds_per_1k_tokens", "seconds_per_1k_tokens", "Latency", "s per 1,000 tokens", 1.0),
    ("adapter_bytes", "adapter_bytes", "Size on disk", "MB", 1e6),
    ("parameters", "parameters", "Model size", "million parameters", 1e6),
)


class Place(NamedTuple):
    """Where a field stands and what it means: ``factor`` turns its unit into the command line's."""

    group: str
    option: str
    name: str
    label: str
    unit: str
    factor: float = 1.0


class Field(NamedTuple):
    """A place with the text shown in it, and what is wrong with that text."""

    place: Place
    text: str
    problem: str | None


def places(table: pd.DataFrame, measures: Mapping[str, Measure]) -> list[Place]:
    """A field for everything that some trial of *table* measured."""
    scored = all(measure == "score" for measure in measures.values())
    tasks = [task for task in dict.fromkeys(table["task"].dropna()) if task in measures]
    trained = set(table.loc[table["examples"] > 0, "task"])
    suites = [c for c in table.columns if c.startswith("forgetting.") and table[c].notna().any()]
    refusing = set(table.loc[table["over_reach"].notna(), "task"])
    found = [Place("weight", "weight", task, task, "weight") for task in tasks]
    found += [
        Place("keep", "constraint", name, f"Lost on {name.removeprefix('forgetting.')}",
              "% at most", 0.01)
        for name in suites
    ]  # fmt: skip
    for task in tasks:
        unit = (
            ("% at least", 0.01) if measures[task] == "score" else ("minus its loss, at least", 1.0)
        )
        found.append(Place("keep", "constraint", f"min.{task}", f"Score on {task}", *unit))
    found += [
        Place("keep", "constraint", f"over_reach.{task}", f"Wrongly answered, {task}", "% at most",
              0.01)
        for task in tasks if task in refusing
    ]  # fmt: skip
    found += [
        Place("cost", "constraint", name, label, f"{unit} at most", factor)
        for column, name, label, unit, factor in _COSTS
        if table[column].notna().any()
    ]
    found.append(Place("data", "constraint", "examples", "All tasks together", "examples"))
    found += [
        Place("data", "constraint", f"examples.{task}", task, "examples")
        for task in tasks
        if task in trained and len(trained) > 1
    ]
    unit = ("% or more", 0.01) if scored else ("minus the loss, or more", 1.0)
    return [*found, Place("target_quality", "target_quality", "", "Quality", *unit)]


def fields(analysis: PageAnalysis, query: Query) -> list[Field]:
    """Every field with what the address, else the sweep's own question, puts into it."""
    own = analysis.objective
    weights = dict(_pairs(query.many("weight"))) or _texts(own.weights)
    bounds = {**_texts(own.constraints), **dict(_pairs(query.many("constraint")))}
    given = {
        "weight": weights,
        "constraint": bounds,
        "target_quality": {"": query.get("target_quality") or ""},
    }
    found = []
    for place in _places(analysis, bounds):
        text = given[place.option].get(place.name, "")
        shown = _shown(text, place.factor)
        found.append(Field(place, shown, _problem(place, text, shown)))
    return found


def ask(analysis: PageAnalysis, query: Query, texts: Sequence[tuple[str, str, str]]) -> Query:
    """The address for what stands in the fields, (option, name, text) each."""
    own = analysis.objective
    known = places(analysis.table, analysis.measures)
    factors = {(p.option, p.name): p.factor for p in known}
    given = {
        (option, name): _plain(text.strip(), factors.get((option, name), 1.0))
        for option, name, text in texts
    }
    weights = {name: text for (option, name), text in given.items() if option == "weight" and text}
    bounds = {name: text for (option, name), text in given.items() if option == "constraint"}
    changed = {
        name: text or NONE
        for name, text in bounds.items()
        if not _same(text, own.constraints.get(name))
    }
    kept = {} if _all_same(weights, own.weights) else weights
    return query.put(
        weight=[f"{name}={text}" for name, text in sorted(kept.items())],
        constraint=[f"{name}={text}" for name, text in sorted(changed.items())],
        target_quality=given.get(("target_quality", ""), ""),
    )


def form(path: str, query: Query, shown: Sequence[Field]) -> html.Section:
    """The fields in their groups, open where *query* asks something of its own."""
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
    summary = html.Summary("Ask something else: weights, bounds, data on hand, a quality to reach")
    asks = any(name in QUESTION for name, _ in query.given)
    return html.Section(
        html.Details([summary, html.Div(groups, className="asking"), actions],
                     className="data", open=asks),
        className="card asking-card",
        **{"aria-label": "The question"},
    )  # fmt: skip


def field_id(place: Place) -> dict[str, str]:
    """The identity of a field's input."""
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


def _places(analysis: PageAnalysis, bounds: Mapping[str, str]) -> list[Place]:
    """Every place, and one for each bound that has none: what is held must be seen."""
    known = places(analysis.table, analysis.measures)
    named = {place.name for place in known if place.option == "constraint"}
    others = [name for name in bounds if name not in named]
    return [*known, *(Place("cost", "constraint", name, name, "at most") for name in others)]


def _problem(place: Place, text: str, shown: str) -> str | None:
    """What is wrong with *text*, told of the field's own *shown*; an empty one is never wrong."""
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
    parts = (text.partition("=") for text in texts)
    return [(name, value) for name, _, value in parts]


def _texts(numbers: Mapping[str, float]) -> dict[str, str]:
    return {name: number_text(value) for name, value in numbers.items()}


def _shown(text: str, factor: float) -> str:
    """*text* of the command line in a field's unit; what is no number stays as it was typed."""
    if text == NONE:
        return ""
    try:
        return f"{parse_number(text) / factor:.12g}"
    except InputError:
        return text


def _plain(text: str, factor: float) -> str:
    """*text* in the command line's unit. Phones of half the world offer a comma; 1,000 stays what it is."""
    if re.fullmatch(r"-?(0,\d+|\d+,\d{1,2})", text):
        text = text.replace(",", ".")
    try:
        return f"{parse_number(text) * factor:.12g}"
    except InputError:
        return text


def _same(text: str, value: float | None) -> bool:
    """Whether *text* says what *value* does; an empty one, that there is none."""
    return text == ("" if value is None else number_text(value))


def _all_same(texts: Mapping[str, str], own: Mapping[str, float]) -> bool:
    return not texts or dict(texts) == _texts(own)
