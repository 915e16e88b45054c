"""The choice itself: what to train, how good that is, how sure, and the buttons that take it away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dash import html

from dashboards.answers import Answer
from dashboards.charts.theme import method_words
from dashboards.charts.wording import (
    ABSENT,
    compact,
    count,
    duration,
    percent,
    plural,
    quality,
    quality_gap,
)
from dashboards.components import pill, tiles
from tracker.decision.explain import unrivalled
from tracker.decision.recommendation import Candidate, Recommendation
from tracker.metrics import Estimate

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
    if answer.reach is not None and answer.reach.reached:
        return f"Reaches {quality(answer.reach.quality)}, the smallest that does", "good"
    if not answer.runners_up:
        return _sentence(unrivalled(answer.candidates, answer.rejected)), "warn"
    tied = sum(not (r.separable or r.surely_better) for r in answer.runners_up)
    if answer.separable or not tied:
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
    if answer.reach is not None and answer.reach.reached:
        chance = percent(answer.reach.probability, 0)
        return [(f"Chance of reaching {quality(answer.reach.quality)}", chance, among)]
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
