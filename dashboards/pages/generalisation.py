"""What tuning costs beyond its tasks: general ability, other tasks, and answers where none belong."""

from __future__ import annotations

from typing import Any, NamedTuple

import pandas as pd
from dash import html

from dashboards.background import Answer, BackgroundJobs
from dashboards.charts.forgetting import forgetting
from dashboards.charts.generalisation import (
    TRANSFER,
    Generalisation,
    generalisation,
    suites_of,
    untrained,
)
from dashboards.charts.overreach import overreach
from dashboards.charts.theme import palette
from dashboards.components import Choice, Links, card, link, page_head, picker, pill
from dashboards.pages.generalisation_cards import answers_card, forgetting_card, tradeoff_card
from dashboards.pages.scaling_state import mixes_of, sizes_of, tasks_of, tuned_of, volumes_of
from dashboards.pages.unscored import no_results
from dashboards.slow_page import slow
from dashboards.snapshot import SweepView
from dashboards.state import Query, href, one_of
from tracker.errors import SftSelectError

TITLE = "Generalisation"
PATH = "/generalisation"
#: The query's word for the weighted mean of all tasks, and for all models at once.
ALL = "all"
_TOGETHER = "together"
_PATIENCE = 0.15


class Shown(NamedTuple):
    """What the page shows. ``task``: ``all`` or one; ``model``: one, ``all`` apart, or ``together``."""

    task: str
    cost: str
    mix: str
    model: str
    volume: int
    log_x: bool


def shown(view: SweepView, query: Query) -> Shown | None:
    """Settle *query* against what was measured; ``None`` before the first tuned result."""
    table = view.findings.table
    tuned = tuned_of(table)
    if tuned.empty:
        return None
    mix = one_of(mixes_of(tuned), query.get("mix"))
    volumes = volumes_of(tuned[tuned["mix"] == mix], ahead=False)
    task_names = [ALL, *tasks_of(tuned)] if _weighted(view) else tasks_of(tuned)
    return Shown(
        task=one_of(task_names, query.get("task")),
        cost=one_of([*suites_of(table), TRANSFER], query.get("cost")),
        mix=mix,
        model=one_of(_models(tuned), query.get("model")),
        volume=next((v for v in volumes if str(v) == query.get("volume")), volumes[-1]),
        log_x=query.get("axis") != "linear",
    )


def _weighted(view: SweepView) -> dict[str, float]:
    """The tasks the sweep asks about, if they are several; those measured."""
    known = set(view.findings.table["task"].dropna().unique())
    found = {t: w for t, w in view.findings.weights.items() if w > 0 and t in known}
    return found if len(found) > 1 else {}


def _models(tuned: pd.DataFrame) -> list[str]:
    """The largest model first: it is the one most want; then all."""
    models = list(sizes_of(tuned))
    return [*reversed(models), ALL, _TOGETHER] if len(models) > 1 else models


def content(
    view: SweepView, query: Query, theme: str | None, later: BackgroundJobs | None = None
) -> list[Any]:
    """The page for *view* in the state *query*; without *later* it waits for the laws."""
    lead = (
        "A fine-tuned model is better at its tasks and may be worse at everything else. Here is what "
        "each method gained, and what it cost."
    )
    head = "What tuning costs elsewhere"
    state = shown(view, query)
    if state is None:
        detail = "What was gained and lost appears with the first tuned model."
        return [page_head(head, lead), card("Quality and cost", no_results(view, detail))]
    laws = _laws(view, later)
    badge = None if laws.fresh else pill("Fitting the laws of forgetting", "live")
    colours = palette(theme)
    data = _generalisation(view, state)
    models = [m for m in data.sizes if state.model in (m, ALL, _TOGETHER)]
    one = models[-1] if models else next(iter(sizes_of(tuned_of(view.findings.table))))
    groups = [models] if state.model == _TOGETHER else [[model] for model in models]
    task = state.task if state.task != ALL else tasks_of(tuned_of(view.findings.table))[0]
    settings = {path.method: path.setting for path in data.paths if path.model == one}
    answers = overreach(view.findings.table, task=task, model=one, mix=state.mix, settings=settings)
    return [
        page_head(head, lead, badge=badge),
        _pickers(view, query, state),
        tradeoff_card(data, groups, state.volume, colours, absent=_absent(view, query, state)),
        forgetting_card(_forgetting(view, state, laws, models), laws, colours, log_x=state.log_x)
        if state.cost != TRANSFER
        else None,
        answers_card(answers, state.volume, colours, log_x=state.log_x, of_all=state.task == ALL),
    ]


def _generalisation(view: SweepView, state: Shown) -> Generalisation:
    weights = _weighted(view) if state.task == ALL else {state.task: 1.0}
    findings = view.findings
    return generalisation(
        findings.table,
        weights=weights,
        measures=findings.measures,
        cost=state.cost,
        mix=state.mix,
    )


def _absent(view: SweepView, query: Query, state: Shown) -> tuple[str, list[Any]]:
    """A heading and words for why this combination has nothing to show, in case it has."""
    if state.cost != TRANSFER:
        why = f"No trial of mix {state.mix} has both this task and {state.cost} measured."
        if not suites_of(view.findings.table):
            why = "The sweep measured no general suite: list one under general in the sweep file."
        return "Nothing measured here", [why]
    mixes = untrained(view.findings.table)
    if not mixes:
        return "No task was left untrained", [
            "Every mix trains every task, so what tuning does to a task it has not seen was not "
            "measured. A mix that leaves a task out, listed under mixes in the sweep file, would tell."
        ]
    told: list[Any] = []
    for mix, tasks in mixes.items():
        models = _run_under(view, mix)
        if state.model in (*models, ALL, _TOGETHER):
            if mix == state.mix:
                continue  # this is what has nothing to show
            there, of = query.put(mix=mix), ""
        else:
            there, of = query.put(mix=mix, model=models[0]), f" on {models[0]}"
        named = link(Choice(f"Show mix {mix}{of}", href(PATH, there), False))
        told += [html.Br(), named, f", which was not trained on {', '.join(tasks)}."]
    if state.mix in mixes:
        why = (
            f"Mix {state.mix} leaves out {', '.join(mixes[state.mix])}, but no trial of it on this model "
            "measured both such a task and what quality is asked of, beside the untouched base."
        )
        return "Nothing measured here", [why, *told]
    why = (
        f"Mix {state.mix} trains every task, so it cannot show what tuning does to a task it has not "
        f"seen. {'This mix tells' if len(mixes) == 1 else 'These mixes tell'}:"
    )
    return f"Mix {state.mix} leaves no task untrained", [why, *told]


def _run_under(view: SweepView, mix: str) -> list[str]:
    """Models tuned with *mix*, the largest first."""
    tuned = tuned_of(view.findings.table)
    return list(reversed(sizes_of(tuned[tuned["mix"] == mix])))


def _laws(view: SweepView, later: BackgroundJobs | None) -> Answer:
    findings = view.findings
    try:
        if later is None:
            return Answer(findings.forgetting, True)
        return later.get(_question(view), findings.version, lambda: findings.forgetting, _PATIENCE)
    except SftSelectError:
        return Answer(None, True)


def _question(view: SweepView) -> tuple[str, str]:
    return view.info.name, "forgetting"


def _forgetting(view: SweepView, state: Shown, laws: Answer, models: list[str]) -> list[Any]:
    if laws.value is None:
        return []
    records = view.findings.records
    mixes = (r.result.spec.mix for r in records if r.result.spec.mix is not None)
    replay = next((mix.replay for mix in mixes if mix.name == state.mix), 0.0)
    table = view.findings.table
    return [
        forgetting(
            table,
            laws.value.forgetting,
            model=model,
            mix=state.mix,
            suite=state.cost,
            replay=replay,
        )
        for model in models
    ]


def _pickers(view: SweepView, query: Query, state: Shown) -> html.Div:
    table = view.findings.table
    tuned = tuned_of(table)
    choices = Links(PATH, query).choices
    tasks = [(t, t) for t in tasks_of(tuned)]
    if _weighted(view):
        tasks.insert(0, (ALL, "All, weighted"))
    costs = [*((s, s) for s in suites_of(table)), (TRANSFER, "Untrained tasks")]
    words = {ALL: "All, apart", _TOGETHER: "All, together"}
    models = [(m, words.get(m, m)) for m in _models(tuned)]
    volumes = volumes_of(tuned[tuned["mix"] == state.mix], ahead=False)
    return html.Div(
        [
            picker("Quality on", choices("task", tasks, state.task)),
            picker("Cost on", choices("cost", costs, state.cost)),
            picker("Model", choices("model", models, state.model)),
            picker("Task mix", choices("mix", [(m, m) for m in mixes_of(tuned)], state.mix)),
            picker(
                "In words at",
                choices("volume", [(str(v), f"{v:,}") for v in volumes], str(state.volume)),
            ),
            picker(
                "Examples axis",
                choices(
                    "axis",
                    [("", "Log"), ("linear", "Linear")],
                    "" if state.log_x else "linear",
                ),
            ),
        ],
        className="pickers",
    )


PAGE = slow(PATH, TITLE, content, lambda view, _query: (_question(view),))
