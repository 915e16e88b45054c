"""What was asked, and what that brings: bounds and their cost, a quality to reach, data on hand."""

from __future__ import annotations

from dash import html

from dashboards.answers import Answer
from dashboards.charts.wording import ABSENT, compact, count, percent, plural, quality
from dashboards.components import behind, card, data_table
from tracker.constraints import Held, Rejection
from tracker.decision.predict import Forecast, Predicted
from tracker.decision.recommendation import Reach, Recommendation

_SHARES = ("forgetting.", "min.", "over_reach.")
#: Of a forecast's table; the others stand behind it.
_FIRST = 5
_MOST = 100


def bounds(answer: Recommendation) -> html.Section | None:
    """What each constraint ruled out and what that cost, and how surely the choice keeps it."""
    if not answer.rejected and not answer.held:
        return None
    ruled = {r.constraint: r for r in answer.rejected}
    rows = [_bound(kept, ruled.pop(kept.constraint, None)) for kept in answer.held]
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


def _bound(kept: Held, rejection: Rejection | None) -> tuple[str, ...]:
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


def reached(reach: Reach | None) -> html.Section | None:
    """Whether anything measured reaches the quality asked for, and what would."""
    if reach is None:
        return None
    goal = quality(reach.quality)
    title = f"What reaches {goal}"
    sure = percent(reach.probability, 0)
    if reach.reached:
        words = (
            f"The choice above is the smallest model, then the cheapest, that reaches {goal} with a "
            f"probability of at least 90 %: it does with {sure}."
        )
        return card(title, html.P(words))
    words = (
        f"Nothing that was measured reaches {goal} with a probability of 90 %; the choice above is the "
        f"closest, with {sure}."
    )
    if not reach.needed:
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
        for needed in reach.needed
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
