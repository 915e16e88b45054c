"""The further laws of a sweep in plain words; wrapping and colour are the caller's."""

from __future__ import annotations

from tracker.laws.auxiliary import AuxiliaryLaws, ForgettingKey, MixKey
from tracker.laws.fitted_law import Parameter
from tracker.laws.forgetting import FittedForgetting
from tracker.laws.loss_to_score import LossToScore
from tracker.laws.mixture import FittedMix
from tracker.numbers import number


def lines(laws: AuxiliaryLaws) -> list[str]:
    """Every law in plain words, one unwrapped line each; 80 % intervals throughout."""
    out = [_forgetting_line(key, law) for key, law in laws.forgetting.items()]
    out += [_mix_line(key, law) for key, law in laws.mixes.items()]
    out += [_link_line(task, link) for task, link in laws.links.items()]
    return out + refusals(laws.refused)


def refusals(refused: dict[str, str]) -> list[str]:
    """One line per reason, with the first law it holds for and how many more."""
    labels: dict[str, list[str]] = {}
    for label, reason in refused.items():
        labels.setdefault(reason, []).append(label)
    return [
        f"Not fitted: {found[0]}{f' and {len(found) - 1} more' if len(found) > 1 else ''}: {reason}"
        for reason, found in labels.items()
    ]


def _forgetting_line(key: ForgettingKey, law: FittedForgetting) -> str:
    parameters = "; ".join(
        f"{name} {'cannot be told' if value is None else _interval(value)}"
        for name, value in law.parameters.items()
    )
    (_, volume), (least, most) = law.domain["examples"], law.domain["parameters"]
    share = law.domain["replay"][1]
    replay = f", replay up to {share:g}" if share else ""
    told = law.predict(most, volume, share)
    value, low, high = (float(side[0]) for side in (told.value, told.low, told.high))
    lost = "loses"
    if value < 0:
        lost, value, low, high = "gains", -value, -high, -low
    others = ", ".join(f"{kind} {e:.1%}" for kind, e in law.held_out.items())
    verdict = "" if law.kind == "law" else " (the published law foretells it no better)"
    return (
        f"Forgetting by {key.label}: {law.form}{verdict}, with {parameters}; {_rows(law)}, "
        f"{least:,.0f} to {most:,.0f} parameters, up to {volume:,.0f} examples{replay}. "
        f"A run of the largest size at the most of these {lost} {number(value)} (80 % "
        f"{number(low)} to {number(high)}). Error at the held-out largest volume, as a share of "
        f"the base's loss: {others or 'not known'}."
    )


def _mix_line(key: MixKey, law: FittedMix) -> str:
    verdict = {
        "helps": "the other tasks help",
        "hurts": "the other tasks hurt",
        "cannot be told": "whether the other tasks help cannot be told",
    }[law.effect]
    error = "not known" if law.held_out_error is None else f"{law.held_out_error:.1%}"
    alone = "not known" if law.held_out_alone is None else f"{law.held_out_alone:.1%}"
    return (
        f"Mix, {key.label}: {verdict}: one example of theirs is worth {_interval(law.worth)} of its own, "
        f"beside {law.at_others:,.0f} of them; {law.form}, {_rows(law)}, "
        f"error at the held-out largest volume {error} (without transfer {alone})."
    )


def _link_line(task: str, link: LossToScore) -> str:
    verdict = "" if link.proxy else " The loss is not a proxy here: decide on the score."
    return (
        f"Link, {task}: {link.shape}, rank correlation of loss and score "
        f"{_interval(link.rank_correlation)}, {_rows(link)}; it misses the score of a model it has not "
        f"seen by {number(link.held_out_error)} on average (the mean score by {number(link.constant_error)})."
        f"{verdict}"
    )


def _interval(value: Parameter) -> str:
    return f"{number(value.value)} (80 % {number(value.low)} to {number(value.high)})"


def _rows(law: FittedForgetting | FittedMix | LossToScore) -> str:
    out = f", {len(law.left_out)} left out" if law.left_out else ""
    return f"{len(law.used)} runs used{out}"
