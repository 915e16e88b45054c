"""How each method and size gains from more examples: measured points, laws, and how far to trust them.

Laws of a large sweep take longer than a click, so they are fitted in the background: the points are
there at once, the lines follow, and those of the trials before stand until the new ones are known.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from dash import html

from dashboards.charts.scaling import Shown, scaling, shown
from dashboards.charts.size import sizes_to_ask
from dashboards.charts.theme import method_words, palette
from dashboards.charts.tuned import (
    METRIC_WORDS,
    mixes_of,
    pairs_of,
    sizes_of,
    tasks_of,
    tuned_of,
    volumes_of,
)
from dashboards.components import Choice, Links, card, notice, page_head, picker, pill
from dashboards.page import no_results, slow
from dashboards.pages.scaling.cards import (
    Laws,
    critical_card,
    curves_card,
    laws_card,
    size_card,
)
from dashboards.snapshot import SweepView
from dashboards.state import Query, href
from tracker.cache import SingleFlightCache
from tracker.errors import SftSelectError
from tracker.laws.curves import CurveFits

TITLE = "Scaling"
PATH = "/scaling"
#: Seconds that a page waits for its laws before it shows the points alone.
_PATIENCE = 0.05


def content(
    view: SweepView, query: Query, theme: str | None, answers: SingleFlightCache | None = None
) -> list[Any]:
    """The page for *view* in the state *query*; without *answers* it waits for its laws."""
    table = view.analysis.table
    state = shown(table, query)
    lead = (
        "Each mark is a real fine-tune. Each line is a law fitted to them, with the band in which "
        "80 of 100 further runs should fall. Dashed means ahead of anything measured."
    )
    if state is None:
        return [
            page_head("What more data buys", lead),
            card("Curves", no_results(view, "Curves appear with the first results.")),
        ]
    laws = laws_of(view, state, answers)
    data = scaling(
        table,
        laws.fits,
        task=state.task,
        mix=state.mix,
        metric=state.metric,
        models=state.models,
        lines=laws.lines,
    )
    colours = palette(theme)
    links = Links(PATH, query)
    tuned = tuned_of(table)
    own = tuned[tuned["mix"] == state.mix]
    known = {m: size for m, size in sizes_of(tuned).items() if m in state.models}
    volumes = [(str(v), f"{v:,}") for v in volumes_of(own)]
    return [
        page_head("What more data buys", lead, badge=_badge(laws)),
        notice("There are no laws here.", laws.problem) if laws.problem else None,
        _pickers(tuned, state, links),
        curves_card(data, state, colours),
        critical_card(
            laws, state, known, links.choices("pair", _pair_words(own), state.pair), colours
        ),
        size_card(data, laws, state, links.choices("volume", volumes, str(state.volume)), colours),
        laws_card(data, laws.fits, state.mix),
    ]


def laws_of(view: SweepView, state: Shown, answers: SingleFlightCache | None) -> Laws:
    """The laws behind *state*, as far as they are known by now."""
    analysis = view.analysis
    tuned = tuned_of(analysis.table)
    asked = sizes_to_ask(sizes_of(tuned).values())
    task, metric, mix = state.task, state.metric, state.mix
    try:
        if answers is None:
            known = analysis.size_laws(metric, asked).get((task, mix), {}) if asked else {}
            return Laws(
                analysis.fits_by_task(metric).get(task, CurveFits({}, {})), known, asked, fresh=True
            )
        fits_name, sizes_name = _questions(view, state)
        version = analysis.version
        fits = answers.get_later(
            fits_name,
            version,
            lambda: (analysis.fits_by_task(metric), analysis.lines(metric)),
            _PATIENCE,
        )
        laws, lines = fits.value or (None, {})
        found = None if laws is None else laws.get(task, CurveFits({}, {}))
        if not asked:
            return Laws(found, {}, asked, fits.fresh, lines)
        sizes = answers.get_later(
            sizes_name, version, lambda: analysis.size_laws(metric, asked), _PATIENCE
        )
        size_prior = None if sizes.value is None else sizes.value.get((task, mix), {})
    except SftSelectError as error:
        return Laws(CurveFits({}, {}), {}, asked, fresh=True, problem=str(error))
    return Laws(found, size_prior, asked, fits.fresh and sizes.fresh, lines)


def _questions(view: SweepView, state: Shown) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the two slow answers behind *state*: laws over data, and over size."""
    fits = (view.info.name, "fits", state.metric)
    return fits, (view.info.name, "sizes", state.metric)


def _badge(laws: Laws) -> html.Span | None:
    if laws.fresh:
        return None
    if laws.fits is None or laws.sizes is None:
        return pill("Fitting the laws; the lines appear by themselves", "live")
    return pill("Laws of a moment ago; newer trials are being fitted", "live")


def _pickers(tuned: pd.DataFrame, state: Shown, links: Links) -> html.Div:
    models = tuple(sizes_of(tuned))
    metrics = [(m, words) for m, words in METRIC_WORDS.items() if tuned[m].notna().any()]
    axes, axis = [("", "Log"), ("linear", "Linear")], "" if state.log_x else "linear"
    views = [("", "Apart"), ("together", "Together")]
    view = "together" if state.together else ""
    tasks, mixes = [(t, t) for t in tasks_of(tuned)], [(m, m) for m in mixes_of(tuned)]
    return html.Div(
        [
            picker("Task", links.choices("task", tasks, state.task)),
            picker("Measure", links.choices("metric", metrics, state.metric)),
            picker("Task mix", links.choices("mix", mixes, state.mix)),
            picker("Models", _model_choices(models, links.query, state)),
            picker("Axes", links.choices("axis", axes, axis)),
            picker("Models side by side", links.choices("view", views, view))
            if len(state.models) > 1
            else None,
        ],
        className="pickers",
    )


def _model_choices(models: tuple[str, ...], query: Query, state: Shown) -> list[Choice]:
    """Toggles: a press takes a model out or puts it back; the last one cannot be taken out."""
    found = []
    for model in models:
        kept = tuple(m for m in models if (m in state.models) != (m == model))
        wanted = () if len(kept) == len(models) else kept or (model,)
        link = href(PATH, query.put(models=wanted))
        found.append(Choice(model, link, model in state.models))
    return found


def _pair_words(own: pd.DataFrame) -> list[tuple[str, str]]:
    return [(pair, " or ".join(map(method_words, pair.split("~")))) for pair in pairs_of(own)]


def _asked(view: SweepView, query: Query) -> tuple[tuple[str, ...], ...]:
    state = shown(view.analysis.table, query)
    return () if state is None else _questions(view, state)


PAGE = slow(PATH, TITLE, content, _asked)
