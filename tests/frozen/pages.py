"""What every page of the dashboard shows: words, links and styles, and the numbers in its charts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from dash.development.base_component import Component

from dashboards.analysis import PageAnalysis
from dashboards.pages import data, generalisation, mix, recommend, scaling, sweep, trials
from dashboards.pages.trials import grid, menu, rows
from dashboards.report.sections import best_trials, head
from dashboards.snapshot import SweepView
from dashboards.state import Query
from dashboards.trials.frame import columns_of
from tests.frozen.answers import tried
from tests.frozen.difference import condensed, digest, plain, sketch
from tests.frozen.inputs import Sweep
from tracker.store.data_profile import DataProfile
from tracker.store.store import SweepInfo

STARTED = 1_700_000_000.0
_NOW = STARTED + 300


def view_of(found: Sweep, profile: DataProfile | None = None) -> SweepView:
    """The view of a sweep that has not ended, without a store."""
    info = SweepInfo(found.name, "running", 100, STARTED, None, {}, {})
    analysis = PageAnalysis(
        found.records, found.objective, sweep=found.name, notes=found.notes, data=profile
    )
    return SweepView(info, analysis, (), _NOW)


def pages(view: SweepView, states: dict[str, dict[str, Query]]) -> dict[str, Any]:
    """Every page of *view* in each of its *states*, dark and light in turn."""
    contents: dict[str, Callable[[Query, str], Any]] = {
        "sweep": lambda query, theme: sweep.content(view, theme, _NOW),
        "scaling": lambda query, theme: scaling.content(view, query, theme),
        "generalisation": lambda query, theme: generalisation.content(view, query, theme),
        "mix": lambda query, theme: mix.content(view, query, theme),
        "recommend": lambda query, theme: recommend.content(view, query, theme),
        "data": lambda query, theme: data.content(view, query, theme),
        "trials": lambda query, theme: _trials(view, query),
        "report": lambda query, theme: [head(view), best_trials(view)],
    }
    found: dict[str, Any] = {}
    for page, content in contents.items():
        for number, (state, query) in enumerate(states.get(page, {"": Query()}).items()):
            theme = ("light", "dark")[number % 2]
            shown = tried(lambda: drawn(content(query, theme)))  # noqa: B023 - called at once
            found[f"{page} {state}".strip()] = shown
    return found | {"rows of the grid": _rows(view)}


def _trials(view: SweepView, query: Query) -> Any:
    """The grid, or single trials in detail."""
    if trials.is_detail(query):
        return trials.details(view, query)
    frame = view.analysis.trials
    columns = menu(columns_of(frame.columns), query)
    return [trials.head(view, query), columns, grid(frame, query, view.info.name)]


def _rows(view: SweepView) -> list[Any]:
    """The rows that the grid is sent, the best first."""
    order = [{"colId": "quality", "sort": "desc"}]
    request = {"startRow": 0, "endRow": 100, "sortModel": order, "filterModel": {}}
    sent = plain(rows(view.analysis.trials, request))
    return [sent["rowCount"], *(sketch(row) for row in sent["rowData"])]


def drawn(content: Any) -> dict[str, Any]:
    """What *content*, a tree of components, shows.

    ``words``: all that can be read, tables behind a line too. ``markup``: every component with a digest of
    its properties. ``figures``: traces and layout, long arrays in sketches.
    """
    words: list[str] = []
    figures: list[Any] = []
    markup: list[str] = []
    for kind, props in _components(content, words):
        figure = props.pop("figure", None)
        if figure is not None:
            figures.append(condensed(plain(dict(figure))))
        table = props.pop("data-table", None)
        if table is not None:
            words.append(table)
        markup.append(f"{kind} {digest(plain(_strings(props)), 6)}")
    return {"words": words, "figures": figures, "markup": markup}


def _components(node: Any, words: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every component in *node* with its properties but the children, whose words go to *words*."""
    if node is None or isinstance(node, bool):
        return
    if isinstance(node, (str, int, float)):
        words.append(str(node))
    elif isinstance(node, (list, tuple)):
        for child in node:
            yield from _components(child, words)
    elif isinstance(node, Component):
        made = node.to_plotly_json()
        props = dict(made["props"])
        children = props.pop("children", None)
        yield made["type"], props
        yield from _components(children, words)
    elif isinstance(node, dict) and "data" in node:  # a chart that a callback fills in
        yield "Chart", {"figure": node}
    else:
        yield type(node).__name__, {"value": node}


def _strings(props: dict[str, Any]) -> dict[str, Any]:
    """*props* as plain data, components within them by their name."""
    return {
        name: value.to_plotly_json()["type"] if isinstance(value, Component) else value
        for name, value in props.items()
    }
