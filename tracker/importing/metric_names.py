"""Names of metrics in outside tables: their kind, direction, allowed values and conversion to our units."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Literal, NamedTuple

Direction = Literal["maximize", "minimize"]
#: ``score``, ``error``, ``bits_per_byte`` and ``loss_nats`` as in ``TaskScore``; ``forgetting`` of a suite.
Kind = Literal["score", "error", "bits_per_byte", "loss_nats", "forgetting"]

_SPLITS = re.compile(r"^(test|eval|validation|valid|val|dev|heldout|held_out)[_/ \-.]+")
_NAMES = {
    "score": frozenset(
        "accuracy acc exact_match em f1 macro_f1 micro_f1 weighted_f1 token_f1 precision recall "
        "score success_rate pass@1 win_rate rouge1 rouge2 rougel".split()
    ),
    "error": frozenset(
        "wer cer mer ter per word_error_rate character_error_rate phoneme_error_rate error_rate error "
        "mse rmse mae mape mean_squared_error mean_absolute_error root_mean_squared_error "
        "edit_distance".split()
    ),
    "nats": frozenset("loss nll cross_entropy negative_log_likelihood log_perplexity".split()),
    "bits": frozenset({"bits_per_byte", "bpb"}),
    "perplexity": frozenset({"perplexity", "ppl"}),
    "forgetting": frozenset({"forgetting"}),
}


class Metric(NamedTuple):
    """Kind of an outside metric.

    ``allowed`` says which values ``accepts`` takes. ``convert`` gives the value in our unit; ``slope``: its
    derivative, by which a small error of the value grows.
    """

    kind: Kind
    direction: Direction
    allowed: str
    accepts: Callable[[float], bool]
    convert: Callable[[float], float] = float
    slope: Callable[[float], float] = lambda _: 1.0


_KINDS = {
    "score": Metric(
        "score", "maximize", "between 0 and 1 (divide percent by 100)", lambda v: 0 <= v <= 1
    ),
    "error": Metric("error", "minimize", "0 or more", lambda v: v >= 0),
    "nats": Metric("loss_nats", "minimize", "above 0, in nats per token", lambda v: v > 0),
    "bits": Metric("bits_per_byte", "minimize", "above 0", lambda v: v > 0),
    "perplexity": Metric(
        "loss_nats", "minimize", "above 1", lambda v: v > 1, math.log, lambda v: 1 / v
    ),
    "forgetting": Metric(
        "forgetting", "minimize", "above -1, a relative rise of loss", lambda v: v > -1
    ),
}
_BY_DIRECTION: dict[Direction, str] = {"maximize": "score", "minimize": "error"}
#: For messages: what a table may call its metrics.
KNOWN = (
    "accuracy, exact_match, f1, macro_f1, token_f1 and other scores in [0, 1], wer, cer, mse and other "
    "errors of 0 or more, loss, nll, bits_per_byte, perplexity, forgetting"
)


def metric_of(name: str, direction: Direction | None) -> Metric | None:
    """Metric called *name*; an unknown name is a score if it is maximised, an error if it is minimised.

    ``None`` for an unknown name without a direction.
    """
    plain = _SPLITS.sub("", name.strip().casefold())
    plain = re.sub(r"[ \-/]+", "_", plain)
    for kind, names in _NAMES.items():
        if plain in names:
            return _KINDS[kind]
    return None if direction is None else _KINDS[_BY_DIRECTION[direction]]
