"""Which fine-tune to take, why, how sure that is, and the file that trains it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from dash import html
from flask import Flask, Response, abort

from dashboards.components import (
    behind,
    card,
    data_table,
    empty,
    graph,
    legend,
    page_head,
    pill,
    tiles,
)
from dashboards.figures.forest import MAX_ROWS, Gap, draw_gaps, gaps
from dashboards.figures.theme import in_order, method_words, palette
from dashboards.figures.tradeoff import Tradeoff, draw_tradeoff, tradeoff
from dashboards.figures.wording import (
    ABSENT,
    compact,
    count,
    duration,
    percent,
    plural,
    quality,
    quality_gap,
)
from dashboards.findings import FILE_NAME
from dashboards.page import whole
from dashboards.snapshot import SweepView
from dashboards.state import Query
from tracker.errors import InputError, NotEnoughDataError, SftSelectError
from tracker.select.choice import Candidate, Estimate, Recommendation, Rejection
from tracker.select.describe import further_text

TITLE = "Recommendation"
PATH = "/recommend"


def serve_export(server: Flask, yaml_of: Callable[[str], str | None]) -> None:
    """Add ``/export/<sweep>/recommended.yaml``: the bytes that ``sft-select recommend -o`` writes."""

    @server.get(f"/export/<sweep>/{FILE_NAME}")
    def export(sweep: str) -> Response:
        try:
            text = yaml_of(sweep)
        except SftSelectError as error:
            return Response(f"{error}\n", status=409, mimetype="text/plain")
        if text is None:
            abort(404)
        disposition = f"attachment; filename={FILE_NAME}"
        return Response(
            text.encode(),
            mimetype="application/yaml",
            headers={"Content-Disposition": disposition, "Cache-Control": "no-store"},
        )


def content(view: SweepView, _query: Query, theme: str | None) -> list[Any]:
    """The page for *view*."""
    try:
        answer = view.findings.recommendation
    except NotEnoughDataError as error:
        return [
            page_head("Recommendation", "What to train, once enough is known."),
            card(
                "Not yet",
                empty("Too little is known to recommend anything", str(error), small=True),
            ),
        ]
    except InputError as error:
        return [
            page_head("Recommendation", "What to train, once the question is clear."),
            card(
                "Not yet",
                empty("The sweep file does not say what is wanted", str(error), small=True),
            ),
        ]
    left = html.Div([_why(answer), _tradeoffs(view, answer, theme)], className="stack column")
    right = html.Div([_caveats(answer), _runners(answer, theme)], className="stack column")
    return [
        _hero(view, answer),
        html.Div([left, right], className="columns"),
        _rejections(answer),
        _file(view, answer),
    ]


def headline(choice: Candidate) -> tuple[str, str, str]:
    """The choice in one line, the model's name in the middle: ``LoRA on | en-1m |, 2,000 examples``."""
    if choice.method.name == "none":
        return "Keep ", choice.model, " as it is"
    method = method_words(choice.method.name)
    return f"{method} on ", choice.model, f", {count(choice.volume)} examples"


def setting(choice: Candidate) -> str:
    """The rest of the configuration: variant, rank, learning rate, mix, examples by task."""
    method = choice.method
    parts = [
        f"variant {method.variant}" if method.variant else "",
        f"rank {method.rank}" if method.rank is not None else "",
        plural(method.virtual_tokens, "virtual token") if method.virtual_tokens else "",
        f"learning rate {method.learning_rate:.2g}" if method.learning_rate else "",
        f"mix {choice.mix}" if choice.mix else "",
        ", ".join(f"{count(n)} of {task}" for task, n in choice.examples.items()),
    ]
    text = " · ".join(part for part in parts if part)
    return text[:1].upper() + text[1:]


def certainty(answer: Recommendation) -> tuple[str, str]:
    """The verdict in a few words, and its tone."""
    tied = sum(not r.separable for r in answer.runners_up)
    if answer.separable or not tied:
        return "A clear choice", "good"
    return f"Cannot be separated from {plural(tied, 'other')}", "warn"


def _hero(view: SweepView, answer: Recommendation) -> html.Section:
    choice = answer.choice
    regret = quality_gap(answer.expected_regret, scored=bool(choice.scores), signed=False)
    words, tone = certainty(answer)
    before, model, after = headline(choice)
    among = f"among {plural(answer.admitted, 'candidate')} that keep your constraints"
    facts = [
        ("Predicted quality", quality(choice.quality.value), _interval(choice.quality, quality)),
        *(
            (f"Lost on {suite}", percent(lost.value), _interval(lost, percent))
            for suite, lost in choice.forgetting.items()
        ),
        ("Chance of being the best", percent(answer.p_best, 0), among),
        ("Expected regret", regret, "quality lost if another is best"),
        ("Training cost", compact(choice.counted.flops, "FLOP"), _measured_cost(choice)),
    ]  # fmt: skip
    return html.Section(
        [
            html.Div(
                [
                    html.Div(
                        [html.Span("Train this", className="quiet"), pill(words, tone)],
                        className="title-row",
                    ),
                    html.H1([before, html.Span(model, className="whole"), after]),
                    html.P(setting(choice), className="lead"),
                ]
            ),
            tiles(facts, style="facts"),
            _actions(view) if answer.trial.origin is None else None,
        ],
        className="card hero",
        **{"aria-label": "The recommended configuration"},
    )


def _measured_cost(choice: Candidate) -> str:
    seconds = choice.measured.device_seconds
    return f"{duration(seconds)} on {choice.measured.device}" if seconds is not None else ""


def _interval(estimate: Estimate, form: Callable[[float], str]) -> str:
    if estimate.low is None or estimate.high is None:
        return "its error is unknown"
    return f"80 %: {form(estimate.low)} to {form(estimate.high)}"


def _actions(view: SweepView) -> html.Div:
    return html.Div(
        [
            html.A(
                "Download YAML",
                href=export_path(view),
                download=FILE_NAME,
                className="button primary",
                id="download-yaml",
            ),
            html.Button("Copy YAML", id="copy-yaml", className="button", type="button"),
            html.Span("", id="copied", className="quiet", role="status"),
        ],
        className="actions",
    )


def export_path(view: SweepView) -> str:
    """Where the sweep's YAML is downloaded."""
    return f"/export/{quote(view.info.name, safe='')}/{FILE_NAME}"


def _why(answer: Recommendation) -> html.Section:
    return card(
        "Why this one",
        html.Ul([html.Li(reason) for reason in answer.why], className="points"),
        lead=f"Asked for: {answer.question}.",
    )


def _caveats(answer: Recommendation) -> html.Section:
    noise = (
        "No configuration was run with several seeds, so the noise between runs is assumed."
        if answer.noise_floor is None
        else "Quality differs between seeds alone by a standard deviation of "
        f"{percent(answer.noise_floor, 2)}."
    )
    lines = [*answer.caveats, noise]
    further = (
        html.Div(
            [
                html.H3("Runs that would settle it"),
                html.Ul(
                    [html.Li(further_text(run)) for run in answer.further_trials],
                    className="points",
                ),
            ],
            className="further",
        )
        if answer.further_trials
        else None
    )
    return card(
        "What to keep in mind",
        html.Ul([html.Li(line) for line in lines], className="points caution"),
        further,
    )


def _runners(answer: Recommendation, theme: str | None) -> html.Section:
    data = gaps(answer)
    lead = (
        "How far the choice is ahead of each, on the same validation rows. A line that touches zero "
        "is a tie. Left of zero: predicted to score more, but at a higher cost and not surely enough."
    )
    if not data:
        return card(
            "Runners-up",
            empty("There is no other candidate", "Only one was left to choose from.", small=True),
        )
    words = f"Gap in quality between the choice and {plural(len(data), 'runner-up').replace('ups', 's-up')}"
    chart = graph(draw_gaps(data, palette(theme)), words, height=70 + 62 * len(data))
    more = len(answer.runners_up) - len(data)
    return card(
        "Runners-up",
        chart,
        html.P(f"The closest {MAX_ROWS} of {len(answer.runners_up)}.", className="note")
        if more > 0
        else None,
        behind("Show the numbers", _gap_table(data)),
        lead=lead,
    )


def _gap_table(data: tuple[Gap, ...]) -> html.Div:
    rows = [
        (
            gap.label,
            quality_gap(gap.value, scored=gap.scored),
            f"{quality_gap(gap.low, scored=gap.scored)} to "
            f"{quality_gap(gap.high, scored=gap.scored)}",
            percent(gap.p_best, 0),
            "yes" if gap.separable else "no",
        )
        for gap in data
    ]
    head = ("Runner-up", "Gap", "80 % interval", "Chance of being best", "Told apart")
    return data_table(head, rows)


def _tradeoffs(view: SweepView, answer: Recommendation, theme: str | None) -> html.Section:
    title = "Quality against what is forgotten"
    suites = list(answer.choice.forgetting)
    if not suites:
        detail = "The sweep has no general suite; add one under general to measure what is lost."
        return card(title, empty("Forgetting was not measured", detail, small=True))
    limits = {s: answer.objective.constraints.get(f"forgetting.{s}") for s in suites}
    suite = next((s for s in suites if limits[s] is not None), suites[0])
    limit = limits[suite]
    data = tradeoff(view.findings.candidates, suite, chosen=answer.choice.label, limit=limit)
    methods = in_order(s.method for s in data.spots)
    words = f"Quality against general ability lost on {suite} for {plural(len(data.spots), 'configuration')}"
    return card(
        title,
        legend(
            [m for m in methods if m != "none"],
            [("solid", "front: nothing keeps more and scores more")],
        ),
        graph(draw_tradeoff(data, palette(theme)), words, height=400),
        behind("Show the numbers", _spot_table(data)),
        lead="Up and to the left is better.",
    )


def _spot_table(data: Tradeoff) -> html.Div:
    rows = [
        (s.label, quality(s.quality), percent(s.forgetting), "yes" if s.front else "no")
        for s in data.spots
    ]
    return data_table(("Configuration", "Quality", f"Lost on {data.suite}", "On the front"), rows)


def _rejections(answer: Recommendation) -> html.Section | None:
    if not answer.rejected:
        return None
    rows = [_rejection(rejection) for rejection in answer.rejected]
    head = (
        "Constraint",
        "Limit",
        "Rejected",
        "Not measured",
        "The best of them",
        "Its quality",
        "Its value",
    )
    lead = "What each of your constraints ruled out, and what it cost."
    return card("Ruled out by your constraints", data_table(head, rows, text=(0, 4)), lead=lead)


def _rejection(rejection: Rejection) -> tuple[str, ...]:
    relative = rejection.constraint.startswith(("forgetting.", "min.", "over_reach."))

    def value(number: float | None) -> str:
        return percent(number) if relative else compact(number)

    return (
        rejection.constraint,
        value(rejection.limit),
        count(rejection.count),
        count(rejection.unmeasured),
        rejection.best or ABSENT,
        quality(rejection.best_quality),
        value(rejection.best_value),
    )


def _file(view: SweepView, answer: Recommendation) -> html.Section:
    if answer.trial.origin is not None:
        why = f"It was measured elsewhere, in the table {answer.trial.origin}: nothing here can train it."
        return card(FILE_NAME, empty("There is no file to train from", why, small=True))
    return card(
        FILE_NAME,
        html.Pre(view.findings.config_text(), className="yaml", id="yaml-text", tabIndex=0),
        lead="Everything that determines this fine-tune, with the evidence for it. "
        f"sft-select train {FILE_NAME} trains exactly this model.",
    )


PAGE = whole(PATH, TITLE, content)
