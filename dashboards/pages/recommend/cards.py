"""The cards of a recommendation: the choice, what speaks for and against it, its bounds, its files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dash import html

from dashboards.answers import FILE_NAME, Answer, command
from dashboards.charts.forest import MAX_ROWS, QualityGap, draw_gaps, runner_up_gaps
from dashboards.charts.theme import in_order, method_words, palette
from dashboards.charts.tradeoff import Tradeoff, draw_tradeoff, suites_first, thinned, tradeoff_of
from dashboards.charts.wording import compact, duration
from dashboards.components import (
    behind,
    card,
    data_table,
    empty,
    graph,
    legend,
    pill,
    tiles,
    wrapped,
)
from dashboards.exports import export_path, rows_command
from dashboards.state import Query
from tracker.constraints import Rejection, SatisfiedConstraint
from tracker.decision.explain import unrivalled
from tracker.decision.predict import Forecast, Predicted
from tracker.decision.recommendation import Candidate, Recommendation, TargetQuality
from tracker.metrics import Estimate
from tracker.numbers import ABSENT, count, percent, plural, quality, quality_gap

_LIKELY = (
    "Probably the best, yet by less than runs that differ in nothing but their seed: the chance counts who "
    "is ahead by anything at all, the verdict beside the title by enough to be seen in a rerun."
)


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
    return _sentence(" · ".join(part for part in parts if part))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def certainty(answer: Recommendation) -> tuple[str, str]:
    """The verdict in a few words, and its tone."""
    if answer.target_quality is not None and answer.target_quality.reached:
        return f"Reaches {quality(answer.target_quality.quality)}, the smallest that does", "good"
    if not answer.runners_up:
        return _sentence(unrivalled(answer.candidates, answer.rejected)), "warn"
    tied = sum(not (r.distinguishable or r.surely_better) for r in answer.runners_up)
    if answer.distinguishable or not tied:
        return "A clear choice", "good"
    return f"Cannot be separated from {plural(tied, 'other')}", "warn"


def hero(found: Answer, actions: Any, *, older: bool = False) -> html.Section:
    """The answer in one screen; *actions* stand below it. *older*: newer results are being taken in."""
    answer = found.recommendation
    choice = answer.choice
    form = percent if choice.scores else quality  # an interval about 0 is still one of a score
    words, tone = certainty(answer)
    likely = tone == "warn" and bool(answer.runners_up) and answer.p_best >= 0.8
    before, model, after = headline(choice)
    bounded = {name.partition(".")[2] for name in answer.objective.constraints}
    facts = [
        (
            "Predicted quality",
            form(choice.quality.value),
            f"on average over seeds; {_interval(choice.quality, form)}",
        ),
        *(
            _lost(suite, lost)
            for suite, lost in sorted(choice.forgetting.items(), key=lambda s: s[0] not in bounded)
        ),
        *_how_sure(answer),
        ("Training cost", compact(choice.counted.flops, "FLOP"), _measured_cost(choice)),
    ]
    return html.Section(
        [
            html.Div(
                [
                    html.Div(
                        [
                            html.Span(_verb(choice), className="quiet"),
                            pill(words, tone),
                            pill("Newer results are being taken in", "live") if older else None,
                        ],
                        className="title-row",
                    ),
                    html.H1([before, html.Span(model, className="whole"), after]),
                    html.P(setting(choice), className="lead"),
                ]
            ),
            tiles(facts, style="facts"),
            html.P(_LIKELY, className="note") if likely else None,
            actions,
        ],
        className="card hero",
        **{"aria-label": "The recommended configuration"},
    )


def _how_sure(answer: Recommendation) -> list[tuple[str, str, str]]:
    """How sure the choice is, of what was asked."""
    among = f"among {plural(answer.admitted, 'candidate')} that keep your constraints"
    if answer.target_quality is not None and answer.target_quality.reached:
        chance = percent(answer.target_quality.probability, 0)
        return [(f"Chance of reaching {quality(answer.target_quality.quality)}", chance, among)]
    if not answer.runners_up:
        return [("Chance of being the best", ABSENT, "there is no other to compare it with")]
    scored = bool(answer.choice.scores)
    regret = quality_gap(answer.expected_regret, scored=scored, signed=False)
    return [
        ("Chance of being the best", percent(answer.p_best, 0), among),
        ("Expected regret", regret, "quality lost if another is best"),
    ]


def _lost(suite: str, lost: Estimate) -> tuple[str, str, str]:
    """What was lost on *suite*, or gained."""
    if lost.value >= 0:
        return f"Lost on {suite}", percent(lost.value), _interval(lost, percent)
    turned = [None if end is None else -end for end in (lost.high, lost.low)]
    gained = Estimate(value=-lost.value, low=turned[0], high=turned[1])
    return f"Gained on {suite}", percent(gained.value), _interval(gained, percent)


def _verb(choice: Candidate) -> str:
    return "Nothing to train" if choice.method.name == "none" else "Train this"


def _measured_cost(choice: Candidate) -> str:
    seconds = choice.measured.device_seconds
    return f"{duration(seconds)} on {choice.measured.device}" if seconds is not None else ""


def _interval(estimate: Estimate, form: Callable[[float], str]) -> str:
    if estimate.low is None or estimate.high is None:
        return "its error is unknown"
    return f"80 %: {form(estimate.low)} to {form(estimate.high)}"


_TABLE_ROWS = 100

_SEEDS_UNKNOWN = (
    "How much seeds differ is not known yet, and with it what runs are worth; these would show it."
)


def why(answer: Recommendation) -> html.Section:
    """The reasons."""
    return card(
        "Why this one",
        html.Ul([html.Li(reason) for reason in answer.why], className="points"),
        lead=f"Asked for: {answer.question}.",
    )


def caveats(answer: Recommendation) -> html.Section:
    """What to keep in mind."""
    noise = (
        "No configuration was run with several seeds, so the noise between runs is assumed."
        if answer.noise_floor is None
        else "Quality differs between seeds alone by a standard deviation of "
        f"{quality_gap(answer.noise_floor, scored=bool(answer.choice.scores), signed=False)}."
    )
    lines = [*answer.caveats, noise]
    points = html.Ul([html.Li(line) for line in lines], className="points caution")
    return card("What to keep in mind", points)


def settling(answer: Recommendation) -> html.Section | None:
    """Which further runs would settle the choice, and what each plan is worth."""
    if not answer.next_experiments:
        return None
    head = (
        "Further runs", "Cost", "Regret removed", "Tells it from its rival", "Another comes out ahead",
    )  # fmt: skip
    scored = bool(answer.choice.scores)
    rows = [
        (
            run.label,
            compact(run.flops, "FLOP"),
            ABSENT
            if run.regret_removed is None
            else quality_gap(run.regret_removed, scored=scored, signed=False),
            percent(run.p_distinguishes, 0),
            percent(run.p_change, 0),
        )
        for run in answer.next_experiments
    ]
    return card(
        "Runs that would settle it",
        wrapped(data_table(head, rows)),
        html.P(_SEEDS_UNKNOWN, className="note")
        if any(run.regret_removed is None for run in answer.next_experiments)
        else None,
        lead="What each plan would take off the expected regret, and with which probability the choice can "
        "be told from its likeliest rival afterwards, or another is then ahead.",
    )


def runners(answer: Recommendation, theme: str | None) -> html.Section:
    """The runners-up with their gaps."""
    data = runner_up_gaps(answer)
    lead = (
        "How far the choice is ahead of each, on the same validation rows. A hollow mark is a tie: "
        "another seed could turn the order round. Left of zero: predicted to score more, but at a "
        f"higher cost{'' if answer.target_quality and answer.target_quality.reached else ' and not surely enough'}."
    )
    if not data:
        return card(
            "Runners-up",
            empty("There is no other candidate", "Only one was left to choose from.", small=True),
        )
    others = "1 runner-up" if len(data) == 1 else f"{len(data)} runners-up"
    words = f"Gap in quality between the choice and {others}"
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


def _gap_table(data: tuple[QualityGap, ...]) -> html.Div:
    rows = [
        (
            gap.label,
            quality_gap(gap.value, scored=gap.scored),
            f"{quality_gap(gap.low, scored=gap.scored)} to "
            f"{quality_gap(gap.high, scored=gap.scored)}",
            percent(gap.p_best, 0),
            "yes" if gap.distinguishable else "no",
        )
        for gap in data
    ]
    head = ("Runner-up", "Gap", "80 % interval", "Chance of being best", "Told apart")
    return data_table(head, rows)


def tradeoffs(found: Answer, theme: str | None) -> html.Section:
    """Quality against general ability lost, of every configuration."""
    answer = found.recommendation
    title = "Quality against what is forgotten"
    suites = suites_first(answer)
    if not suites:
        detail = "The sweep has no general suite; add one under general to measure what is lost."
        return card(title, empty("Forgetting was not measured", detail, small=True))
    suite = suites[0]
    data = tradeoff_of(answer, found.candidates, suite)
    every, data = len(data.points), thinned(data)
    methods = in_order(s.method for s in data.points)
    words = f"Quality against general ability lost on {suite} for {plural(len(data.points), 'configuration')}"
    return card(
        title,
        legend(
            [m for m in methods if m != "none"],
            [("solid", "front: nothing keeps more and scores more")],
        ),
        graph(draw_tradeoff(data, palette(theme)), words, height=400),
        html.P(f"{len(data.points):,} of {every:,} are drawn.", className="note")
        if every > len(data.points)
        else None,
        behind("Show the numbers", _spot_table(data)),
        lead="Up and to the left is better.",
    )


def _spot_table(data: Tradeoff) -> html.Div:
    rows = [
        (s.label, quality(s.quality), percent(s.forgetting), "yes" if s.front else "no")
        for s in sorted(data.points, key=lambda s: (not s.front, -s.quality))[:_TABLE_ROWS]
    ]
    return data_table(("Configuration", "Quality", f"Lost on {data.suite}", "On the front"), rows)


_SHARES = ("forgetting.", "min.", "over_reach.")
#: Of a forecast's table; the others stand behind it.
_FIRST = 5
_MOST = 100


def bounds(answer: Recommendation) -> html.Section | None:
    """What each constraint ruled out and what that cost, and how surely the choice keeps it."""
    if not answer.rejected and not answer.satisfied:
        return None
    ruled = {r.constraint: r for r in answer.rejected}
    rows = [_bound(kept, ruled.pop(kept.constraint, None)) for kept in answer.satisfied]
    rows += [_rejection(rejection) for rejection in ruled.values()]
    head = (
        "Constraint", "Limit", "The choice has", "Kept surely", "Rejected", "Not measured",
        "The best of the rejected", "Its quality", "Its value",
    )  # fmt: skip
    lead = (
        "What each of your constraints ruled out, what that cost, and with which probability the "
        "choice would keep it on fresh rows and seeds."
    )
    return card("Your constraints", data_table(head, rows, text=(0, 6)), lead=lead)


def _bound(kept: SatisfiedConstraint, rejection: Rejection | None) -> tuple[str, ...]:
    name = kept.constraint
    rest = _rejected(rejection) if rejection else ("0", "0", ABSENT, ABSENT, ABSENT)
    sure = percent(kept.probability, 0)
    return (name, _value(name, kept.limit), _value(name, kept.value), sure, *rest)


def _rejection(rejection: Rejection) -> tuple[str, ...]:
    name = rejection.constraint
    return (name, _value(name, rejection.limit), ABSENT, ABSENT, *_rejected(rejection))


def _rejected(r: Rejection) -> tuple[str, ...]:
    return (
        count(r.count),
        count(r.unmeasured),
        r.best or ABSENT,
        quality(r.best_quality),
        _value(r.constraint, r.best_value),
    )


def _value(name: str, number: float | None) -> str:
    if name.startswith(_SHARES):
        return quality(number) if name.startswith("min.") else percent(number)
    return count(number) if name.startswith("examples") else compact(number)


def reached(target_quality: TargetQuality | None) -> html.Section | None:
    """Whether anything measured reaches the quality asked for, and what would."""
    if target_quality is None:
        return None
    goal = quality(target_quality.quality)
    title = f"What reaches {goal}"
    sure = percent(target_quality.probability, 0)
    if target_quality.reached:
        words = (
            f"The choice above is the smallest model, then the cheapest, that reaches {goal} with a "
            f"probability of at least 90 %: it does with {sure}."
        )
        return card(title, html.P(words))
    words = (
        f"Nothing that was measured reaches {goal} with a probability of 90 %; the choice above is the "
        f"closest, with {sure}."
    )
    if not target_quality.needed:
        none = "No curve's law gets there within 16 times its data and keeps the limits."
        return card(title, html.P(words), html.P(none, className="note"))
    rows = [
        (
            needed.label,
            f"about {count(needed.examples.value)}",
            f"{count(needed.examples.low)} to {count(needed.examples.high)}",
            percent(needed.probability, 0),
            count(needed.largest_measured),
        )
        for needed in target_quality.needed
    ]
    head = ("More data for", "Examples", "80 % interval", "Gets there", "Measured up to")
    note = (
        "Only what could keep the limits is listed; what tuning loses is taken as measured so far."
    )
    return card(title, html.P(words), data_table(head, rows), html.P(note, className="note"))


def forecasts(found: Answer) -> html.Section | None:
    """What every curve would measure with the examples on hand, whether or not that was measured."""
    if not found.forecasts:
        return None
    parts = [
        html.Div([html.H3(task), _forecast(forecast)], className="further")
        for task, forecast in found.forecasts.items()
    ]
    lead = (
        "What the fitted laws say one run would measure with all of it, also where nothing of that "
        "size was run. The recommendation above is made of measured configurations alone."
    )
    return card(f"With {plural(found.on_hand or 0, 'example')}", *parts, lead=lead)


def _forecast(forecast: Forecast | str) -> html.Div:
    if isinstance(forecast, str):
        return html.Div(html.P(f"Not foretold: {forecast}", className="note"))
    rows = [_predicted(p, forecast) for p in forecast.predictions[:_MOST]]
    head = ("Setting", "Predicted", "80 % interval", "Chance of being best", "Beyond measurement")
    more = len(rows) - _FIRST
    return html.Div(
        [
            data_table(head, rows[:_FIRST]),
            behind(f"Show {plural(more, 'further setting')}", data_table(head, rows[_FIRST:]))
            if more > 0
            else None,
        ]
    )


def _predicted(p: Predicted, forecast: Forecast) -> tuple[str, ...]:
    def value(number: float) -> str:
        return percent(number) if forecast.measure == "score" else f"{number:.3f}"

    middle = p.intervals["80"]
    return (
        p.label,
        value(p.value),
        f"{value(middle.low)} to {value(middle.high)}",
        percent(p.p_best, 0),
        f"{p.extrapolation:,.3g} times" if p.extrapolation > 1 else "no",
    )


_TRAINERS = {"trl": "TRL", "llamafactory": "LLaMA-Factory", "axolotl": "Axolotl"}


def take_away(found: Answer, query: Query) -> html.Div | None:
    """The buttons below the choice; none where nothing here can train it."""
    if found.config is None:
        return None
    return html.Div(
        [
            html.A(
                "Download YAML",
                href=export_path(found.sweep, query),
                download=FILE_NAME,
                className="button primary",
                id="download-yaml",
            ),
            html.Button("Copy YAML", id="copy-yaml", className="button", type="button"),
            html.Span("", id="copied", className="quiet", role="status"),
        ],
        className="actions",
    )


def yaml_card(found: Answer) -> html.Section:
    """The whole file, and the command that writes it."""
    if found.config is None:
        origin = found.recommendation.trial.origin
        why = f"It was measured elsewhere, in the table {origin}: nothing here can train it."
        return card(FILE_NAME, empty("There is no file to train from", why, small=True))
    return card(
        FILE_NAME,
        html.Pre(found.config, className="yaml", id="yaml-text", tabIndex=0),
        html.P(
            [
                "The same bytes in a terminal, in the folder where the sweep ran: ",
                html.Code(command(found.sweep, found.asked)),
            ],
            className="note",
        ),
        lead=_lead(found),
    )


def _lead(found: Answer) -> str:
    if found.recommendation.choice.method.name == "none":
        return "The base model as it is, and the evidence that tuning would not pay."
    return (
        "Everything that determines this fine-tune, with the evidence for it. "
        f"sft-select train {FILE_NAME} trains exactly this model."
    )


def trainers_card(found: Answer, query: Query) -> html.Section | None:
    """The same fine-tune in the words of other trainers."""
    if found.config is None:
        return None
    parts = html.Div(
        [
            html.Div([html.H3(words), *_trainer(found, to, query)], className="facet")
            for to, words in _TRAINERS.items()
        ],
        className="trainers",
    )
    lead = "The same fine-tune as other trainers' own files, with as many steps as it took here."
    return card("For another trainer", parts, lead=lead)


def _trainer(found: Answer, to: str, query: Query) -> list[Any]:
    recipe = found.recipes[to]
    if isinstance(recipe, str):
        return [html.P(recipe, className="note")]
    rows = ["The rows are written where the data lie, with ", html.Code(rows_command(to)), "."]
    return [
        html.Div(
            html.A(
                f"Download {to}.zip",
                href=export_path(found.sweep, query, f"{to}.zip"),
                download=f"{to}.zip",
                className="button",
            ),
            className="actions",
        ),
        html.P(rows, className="note"),
        *(
            behind(f"Show {name}", html.Pre(text, className="yaml", tabIndex=0))
            for name, text in recipe.items()
        ),
    ]
