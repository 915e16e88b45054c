"""What speaks for the choice and against it: reasons, caveats, runners-up, and what is forgotten."""

from __future__ import annotations

from dash import html

from dashboards.answers import Answer
from dashboards.charts.forest import MAX_ROWS, Gap, draw_gaps, gaps
from dashboards.charts.theme import in_order, palette
from dashboards.charts.tradeoff import Tradeoff, draw_tradeoff, tradeoff
from dashboards.charts.wording import ABSENT, compact, percent, plural, quality, quality_gap
from dashboards.components import behind, card, data_table, empty, graph, legend, wrapped
from tracker.decision.recommendation import Recommendation

#: More marks than these hide each other, and a browser takes long over them.
MAX_SPOTS = 600
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
    if not answer.further_trials:
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
            if run.removes is None
            else quality_gap(run.removes, scored=scored, signed=False),
            percent(run.separates, 0),
            percent(run.changes, 0),
        )
        for run in answer.further_trials
    ]
    return card(
        "Runs that would settle it",
        wrapped(data_table(head, rows)),
        html.P(_SEEDS_UNKNOWN, className="note")
        if any(run.removes is None for run in answer.further_trials)
        else None,
        lead="What each plan would take off the expected regret, and with which probability the choice can "
        "be told from its likeliest rival afterwards, or another is then ahead.",
    )


def runners(answer: Recommendation, theme: str | None) -> html.Section:
    """The runners-up with their gaps."""
    data = gaps(answer)
    lead = (
        "How far the choice is ahead of each, on the same validation rows. A hollow mark is a tie: "
        "another seed could turn the order round. Left of zero: predicted to score more, but at a "
        f"higher cost{'' if answer.reach and answer.reach.reached else ' and not surely enough'}."
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


def tradeoffs(found: Answer, theme: str | None) -> html.Section:
    """Quality against general ability lost, of every configuration."""
    answer = found.recommendation
    title = "Quality against what is forgotten"
    suites = list(answer.choice.forgetting)
    if not suites:
        detail = "The sweep has no general suite; add one under general to measure what is lost."
        return card(title, empty("Forgetting was not measured", detail, small=True))
    limits = {s: answer.objective.constraints.get(f"forgetting.{s}") for s in suites}
    suite = next((s for s in suites if limits[s] is not None), suites[0])
    limit = limits[suite]
    data = tradeoff(found.candidates, suite, chosen=answer.choice.label, limit=limit)
    every, data = len(data.spots), thinned(data)
    methods = in_order(s.method for s in data.spots)
    words = f"Quality against general ability lost on {suite} for {plural(len(data.spots), 'configuration')}"
    return card(
        title,
        legend(
            [m for m in methods if m != "none"],
            [("solid", "front: nothing keeps more and scores more")],
        ),
        graph(draw_tradeoff(data, palette(theme)), words, height=400),
        html.P(f"{len(data.spots):,} of {every:,} are drawn.", className="note")
        if every > len(data.spots)
        else None,
        behind("Show the numbers", _spot_table(data)),
        lead="Up and to the left is better.",
    )


def thinned(data: Tradeoff, most: int = MAX_SPOTS) -> Tradeoff:
    """*data* with at most about *most* spots: the front, the choice, and evenly of the others."""
    step = -(-len(data.spots) // most)
    kept = [spot for i, spot in enumerate(data.spots) if spot.front or spot.chosen or i % step == 0]
    return data._replace(spots=tuple(kept))


def _spot_table(data: Tradeoff) -> html.Div:
    rows = [
        (s.label, quality(s.quality), percent(s.forgetting), "yes" if s.front else "no")
        for s in sorted(data.spots, key=lambda s: (not s.front, -s.quality))[:_TABLE_ROWS]
    ]
    return data_table(("Configuration", "Quality", f"Lost on {data.suite}", "On the front"), rows)
