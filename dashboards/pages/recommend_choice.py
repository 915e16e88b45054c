"""The choice of the Recommendation page in one screen: what to train, how good it is and how sure that is."""

from __future__ import annotations

from functools import partial
from typing import Any

from dash import html

from dashboards.answers import Answer
from dashboards.charts.theme import method_label
from dashboards.charts.wording import compact, interval_or_unknown
from dashboards.components import capitalised, majority_notices, note, pill, tiles
from tracker.decision.explain import tied, unrivalled
from tracker.decision.recommendation import ENOUGH_ROWS, Candidate, Recommendation
from tracker.metrics import Estimate
from tracker.numbers import (
    ABSENT,
    count,
    duration,
    in_measure,
    percent,
    plural,
    probability,
    quality,
    quality_gap,
)
from tracker.price import Price, with_price

_LIKELY_BUT_TIED = (
    "It is probably the best, but its lead is smaller than the difference between two seeds of one "
    "configuration. That probability counts any lead; the verdict beside the title counts only a lead that "
    "a rerun would show."
)


def hero(
    answer: Answer, actions: Any, *, outdated: bool = False, price: Price | None = None
) -> html.Section:
    """The choice in one screen, with *actions* below it; *price* of device time, where the sweep has one."""
    found = answer.recommendation
    choice = found.choice
    verdict, tone = certainty(found)
    tied_but_likely = tone == "warn" and bool(found.runners_up) and found.p_best >= 0.8
    before, model, after = headline(choice)
    bounded = {name.partition(".")[2] for name in found.objective.constraints}
    # An interval about 0 is still one of a score.
    write = percent if found.scored else partial(quality, scored=False)
    seconds = choice.measured.device_seconds
    clock = ""
    if seconds is not None:
        took = f"{duration(seconds)} on {choice.measured.device}"
        clock = with_price(took, price, seconds)
    spread = interval_or_unknown(choice.quality, write)
    few = choice.rows is not None and choice.rows < ENOUGH_ROWS
    rows = f", on only {plural(choice.rows or 0, 'validation row')}" if few else ""
    facts = [
        (
            "Predicted quality",
            write(choice.quality.value),
            f"on average over seeds{rows}; {spread}",
        ),
        *(
            _forgetting(suite, lost)
            for suite, lost in sorted(choice.forgetting.items(), key=lambda s: s[0] not in bounded)
        ),
        *_certainty_facts(found),
        ("Training cost", compact(choice.counted.flops, "FLOP"), clock),
    ]
    verb = "Nothing to train" if choice.method.name == "none" else "Train this"
    if found.missed:
        verb = "Not reached; this comes closest"
    newer = pill("Newer results are being taken in", "live") if outdated else None
    title = [
        html.Div([html.Span(verb, className="quiet"), pill(verdict, tone), newer],
                 className="title-row"),
        html.H1([before, html.Span(model, className="whole"), after]),
        html.P(setting(choice), className="lead"),
    ]  # fmt: skip
    return html.Section(
        [
            html.Div(title),
            tiles(facts, style="facts"),
            *majority_notices(found.majorities),
            note(_LIKELY_BUT_TIED, tied_but_likely),
            actions,
        ],
        className="card hero",
        **{"aria-label": "The recommended configuration"},
    )


def headline(choice: Candidate) -> tuple[str, str, str]:
    """The choice in one line, the model's name in the middle: ``LoRA on | en-1m |, 2,000 examples``."""
    if choice.method.name == "none":
        return "Keep ", choice.model, " as it is"
    method = method_label(choice.method.name)
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
    return capitalised(" · ".join(part for part in parts if part))


def certainty(found: Recommendation) -> tuple[str, str]:
    """The verdict in a few words, and its tone."""
    if found.target_quality is not None:
        wanted = target_words(found)
        return {
            "met": (f"Target met: the smallest that reaches {wanted}", "good"),
            "not met": (f"Target not met: nothing measured reaches {wanted}", "bad"),
            "unknown": (f"Whether anything reaches {wanted} is unknown", "warn"),
        }[found.target_quality.state]
    if not found.runners_up:
        return capitalised(unrivalled(found.candidates, found.rejected)), "warn"
    others = tied(found)
    if not others and found.likeliest_unrun is not None:
        return "The best of what was run; another may be ahead with more data", "warn"
    if not others:
        return "A clear choice", "good"
    return f"Statistically tied with {plural(others, 'other')}", "warn"


def target_words(found: Recommendation) -> str:
    """The target of *found* as its page writes it: ``80.0 %``, or ``intent 90.0 %, spoken 0.2 or less``."""
    target = found.target_quality
    if target is None:
        return ABSENT
    if target.quality is not None:
        return quality(target.quality, scored=found.scored)
    return ", ".join(
        f"{t.task} {in_measure(t.value, t.measure)}{' or less' * (t.measure != 'score')}"
        for t in target.tasks
    )


def _certainty_facts(found: Recommendation) -> list[tuple[str, str, str]]:
    among = f"among {plural(found.admitted, 'candidate')} that satisfy your constraints"
    target = found.target_quality
    if target is not None:
        facts = [
            (
                f"Probability of reaching {target_words(found)}",
                probability(target.probability),
                among,
            )
        ]
        if len(target.tasks) > 1:
            facts += [
                (f"of reaching it on {t.task}", probability(t.probability), "this task alone")
                for t in target.tasks
            ]
        return facts
    if not found.runners_up:
        return [("Probability of being the best", ABSENT, "there is no other to compare it with")]
    scored = found.scored
    regret = quality_gap(found.expected_regret, scored=scored, signed=False)
    return [
        ("Probability of being the best", probability(found.p_best), among),
        ("Expected regret", regret, "quality lost if another is best"),
    ]


def _forgetting(suite: str, lost: Estimate) -> tuple[str, str, str]:
    """What was lost on *suite*, or gained."""
    if lost.value >= 0:
        return f"Lost on {suite}", percent(lost.value), interval_or_unknown(lost, percent)
    low, high = (None if end is None else -end for end in (lost.high, lost.low))
    gained = Estimate(value=-lost.value, low=low, high=high)
    return f"Gained on {suite}", percent(gained.value), interval_or_unknown(gained, percent)
