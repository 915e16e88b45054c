"""Components shared by the pages: cards, tiles, tables, links, notices. Data are text, never HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dash import dcc, html

from dashboards.charts.chart import Chart
from dashboards.charts.theme import METHOD_LABELS
from dashboards.charts.wording import compact
from dashboards.state import Query, href
from dashboards.tables import DataTable, fold
from tracker.decision.majority import Majority, majority_text

#: No buttons above a chart: the table behind it is the export.
GRAPH_CONFIG = {"displayModeBar": False, "responsive": True, "scrollZoom": False}


class Choice(NamedTuple):
    """An option of a picker, which is a link: the address always holds the state."""

    label: str
    href: str
    chosen: bool


class Links(NamedTuple):
    """Links of the page at *path*, each of which changes one value of *query*."""

    path: str
    query: Query

    def choices(self, field: str, options: Iterable[tuple[str, str]], now: str) -> list[Choice]:
        """One link per option (value, words); *now*: the value chosen."""
        return [
            Choice(words, href(self.path, self.query.put(**{field: value})), value == now)
            for value, words in options
        ]


def page_head(title: str, lead: Any, *, badge: Any = None) -> html.Div:
    """The page's one ``h1``, with an optional badge beside it and a sentence below."""
    row = html.Div([html.H1(title), badge], className="title-row")
    return html.Div([row, html.P(lead, className="lead")], className="page-head")


def card(title: str, *children: Any, lead: Any = None, identity: str | None = None) -> html.Section:
    """A titled region."""
    head = html.Header([html.H2(title), html.P(lead) if lead else None])
    extra = {"id": identity} if identity else {}
    return html.Section([head, *children], className="card", **{"aria-label": title}, **extra)


def majority_notices(found: Iterable[Majority]) -> list[html.Div]:
    """Beside a quality: tasks most of whose rows have one answer, and what that answer alone scores."""
    return [
        notice(f"Most rows of {majority.task} have one answer.", majority_text(majority), "warn")
        for majority in found
    ]


def pill(text: str, tone: str = "") -> html.Span:
    """A short state in words. *tone*: ``good``, ``warn``, ``bad``, ``live`` or none."""
    return html.Span(text, className=f"pill {tone}".strip())


def tiles(items: Iterable[tuple[str, str, str]], *, style: str = "tiles") -> html.Dl:
    """Label, value and detail side by side."""
    return html.Dl(
        [
            html.Div(
                [
                    html.Dt(label),
                    html.Dd(value, className="value"),
                    html.Dd(detail, className="detail") if detail else None,
                ],
                className="tile" if style == "tiles" else "fact",
            )
            for label, value, detail in items
        ],
        className=style,
    )


def picker(label: str, choices: Sequence[Choice]) -> html.Nav | None:
    """A row of links to choose among; nothing where there are fewer than two."""
    if len(choices) < 2:
        return None
    return html.Nav(
        [html.Span(label), html.Div([link(c) for c in choices], className="chips")],
        className="picker",
        **{"aria-label": label},
    )


def link(choice: Choice) -> html.A:
    """A link within the dashboard; ``assets/navigate.js`` follows it without loading the page anew."""
    current = {"aria-current": "true"} if choice.chosen else {}
    return html.A(choice.label, href=choice.href, className="go", **current)


def notice(title: str, detail: str, tone: str = "") -> html.Div:
    """A warning above a page."""
    return html.Div(
        [html.Strong(title), html.Span(detail)], className=f"notice {tone}".strip(), role="status"
    )


def empty(title: str, detail: Any, *, small: bool = False, command: str | None = None) -> html.Div:
    """A notice in place of content that is not there yet, with what to do about it."""
    code = html.Code(command) if command else None
    heading = html.H2(title) if small else html.H1(title)
    return html.Div([heading, html.P(detail), code], className="empty small" if small else "empty")


def graph(figure: Chart, label: str, *, height: int, identity: str | None = None) -> html.Figure:
    """A chart; *label*: its text for screen readers; *height*: in pixels."""
    extra = {"id": identity} if identity else {}
    return html.Figure(
        dcc.Graph(figure=figure, config=GRAPH_CONFIG, style={"height": f"{height}px"}, **extra),
        role="img",
        **{"aria-label": label},
    )


def data_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], *, text: Sequence[int] = (0,)
) -> DataTable:
    """A plain table; the columns in *text* hold words, the others numbers."""
    return DataTable(head, rows, text)


def wrapped(table: DataTable) -> DataTable:
    """*table* with a first column that wraps its long words."""
    for row in table.body:
        row.children[0].style = {"whiteSpace": "normal", "minWidth": "220px"}
    return table


def behind(summary: str, table: Any) -> html.Details:
    """A table behind a line that opens it; the browser makes it then."""
    fold(table)
    return html.Details([html.Summary(summary), table], className="data")


def legend(
    methods: Sequence[str], extra: Sequence[tuple[str, str]] = (), *, base: str = "none"
) -> html.Ul:
    """Marks of *methods*, then *extra* ones as (class, words); *base*: the mark of the untouched base."""
    marks = [(base if m == "none" else m, METHOD_LABELS.get(m, m)) for m in methods]
    return html.Ul(
        [
            html.Li([html.Span(className=f"mark {mark}", **{"aria-hidden": "true"}), words])
            for mark, words in [*marks, *extra]
        ],
        className="legend",
    )


class Facet(NamedTuple):
    """One of several charts side by side; ``label`` names it for screen readers; ``height`` in pixels."""

    title: Any
    chart: Chart
    label: str
    height: int


def facets(items: Sequence[Facet], *, columns: int | None = None) -> html.Div:
    """Charts side by side, each under its title, in at most *columns*."""
    return html.Div(
        [
            html.Div(
                [html.H3(item.title), graph(item.chart, item.label, height=item.height)],
                className="facet",
            )
            for item in items
        ],
        className=f"facets of-{columns or min(len(items), 5)}",
    )


def models_heading(models: Sequence[str], sizes: Mapping[str, int | None]) -> list[Any]:
    """The title of a chart of *models*: of one with its parameters, of several how they differ."""
    if len(models) > 1:
        return [f"{', '.join(models)}: the larger the model, the stronger the colour"]
    size = sizes.get(models[0])
    words = "" if size is None else f" {compact(size)} parameters"
    return [models[0], html.Span(words, className="quiet")]


def note(text: str, shown: bool = True) -> html.P | None:
    """A quiet paragraph below a table or a chart; none where it is not *shown*."""
    return html.P(text, className="note") if shown else None


def capitalised(text: str) -> str:
    """*text* with a capital at its beginning, as a sentence has it."""
    return text[:1].upper() + text[1:]
