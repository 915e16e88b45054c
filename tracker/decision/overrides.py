"""Overrides of a sweep's objective, parsed from the options of the command line.

The command line, the Python API and the dashboard parse the same texts with these functions, so that one
question has one answer, and a wrong value one message.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from tracker.constraints import NONE, bound_problem
from tracker.errors import InputError
from tracker.trial import Objective

_FORMS = {"weight": "TASK=NUMBER, such as intent=2", "constraint": "NAME=NUMBER, or NAME=none"}


class ObjectiveOverrides(NamedTuple):
    """Changes to a sweep's objective for one question.

    ``weights`` replace the sweep's. ``constraints`` are added to the sweep's; ``None`` removes one.
    ``target_quality``: take the smallest and cheapest of at least this quality.
    """

    weights: tuple[tuple[str, float], ...] = ()
    constraints: tuple[tuple[str, float | None], ...] = ()
    target_quality: float | None = None

    def objective(self, base: Objective) -> Objective:
        """Objective of the sweep, *base*, with these changes."""
        bounds = {**base.constraints, **dict(self.constraints)}
        kept = {name: bound for name, bound in bounds.items() if bound is not None}
        return Objective(weights=dict(self.weights) or base.weights, constraints=kept)


def parse_overrides(
    weights: Sequence[str] = (),
    constraints: Sequence[str] = (),
    target_quality: float | None = None,
) -> ObjectiveOverrides:
    """Overrides from the options ``--weight`` and ``--constraint``; raises InputError with every problem."""
    problems: list[str] = []
    read_weights = _pairs("weight", weights, problems)
    read_bounds = _pairs("constraint", constraints, problems)
    if problems:
        raise InputError(problems)
    kept = tuple((name, value) for name, value in read_weights if value is not None)
    return ObjectiveOverrides(kept, tuple(read_bounds), target_quality)


def parse_number(text: str) -> float:
    """Parse a finite number; raises InputError."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"found {text!r}; allowed: a number, such as 0.5")
    return value


def number_text(value: float) -> str:
    """Shortest text that :func:`parse_number` reads as *value*."""
    short = f"{value:.12g}"
    return short if float(short) == value else repr(value)


def parse_weight(text: str) -> float:
    """Parse the weight of a task; raises InputError."""
    value = parse_number(text)
    if value < 0:
        raise InputError(f"found {value:g}; allowed: 0 or more")
    return value


def parse_bound(name: str, text: str) -> float | None:
    """Parse the bound of the constraint *name*, ``None`` for :data:`NONE`; raises InputError."""
    if text == NONE:
        return None
    value = parse_number(text)
    if problem := bound_problem(name, value):
        raise InputError(problem)
    return value


def _pairs(
    option: str, given: Sequence[str], problems: list[str]
) -> list[tuple[str, float | None]]:
    """Parse the ``NAME=VALUE`` texts *given* to *option*; messages of wrong ones go to *problems*."""
    parsed: dict[str, float | None] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            problems.append(f"--{option} {text}: allowed is {_FORMS[option]}")
        elif name in parsed:
            problems.append(f"--{option} {text}: {name} is given twice")
        else:
            try:
                parsed[name] = (
                    parse_weight(value) if option == "weight" else parse_bound(name, value)
                )
            except InputError as error:
                problems.append(f"--{option} {name}={value}: {error}")
    return list(parsed.items())
