"""Overrides of a sweep's objective, parsed from the options of the command line.

The command line, the Python API and the dashboard parse the same texts with these functions, so that one
question has one answer, and a wrong value one message.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from tracker.constraints import NONE, bound_problem
from tracker.errors import Argument, ArgumentError, InputError
from tracker.trial import Objective, Target

_FORMS = {
    "weights": "TASK=NUMBER, such as intent=2",
    "constraints": "NAME=NUMBER, or NAME=none",
    "target_quality": "one NUMBER, of the weighted quality; TASK=NUMBER, once for each task; or none",
}


class ObjectiveOverrides(NamedTuple):
    """Changes to a sweep's objective for one question.

    ``weights`` replace the sweep's. ``constraints`` are added to the sweep's; ``None`` removes one.
    ``target_quality``: in place of the sweep's target, one by task as pairs; ``none`` removes it.
    """

    weights: tuple[tuple[str, float], ...] = ()
    constraints: tuple[tuple[str, float | None], ...] = ()
    target_quality: float | tuple[tuple[str, float], ...] | Literal["none"] | None = None

    def objective(self, base: Objective) -> Objective:
        """Objective of the sweep, *base*, with these changes."""
        bounds = {**base.constraints, **dict(self.constraints)}
        kept = {name: bound for name, bound in bounds.items() if bound is not None}
        target = base.target if self.target_quality is None else self.target
        return Objective(
            weights=dict(self.weights) or base.weights,
            constraints=kept,
            target=None if target == NONE else target,
        )

    @property
    def target(self) -> Target | Literal["none"] | None:
        """The target in place of the sweep's, as an objective has it."""
        wanted = self.target_quality
        return dict(wanted) if isinstance(wanted, tuple) else wanted


def parse_overrides(
    weights: Sequence[str] = (),
    constraints: Sequence[str] = (),
    target_quality: Sequence[str] = (),
) -> ObjectiveOverrides:
    """Parse overrides from texts ``NAME=VALUE``; raises ArgumentError with every problem.

    *target_quality*: one number, or ``none``, or a text ``TASK=NUMBER`` for each task.
    """
    wrong: list[Argument] = []
    read_weights = _pairs("weights", weights, wrong)
    read_bounds = _pairs("constraints", constraints, wrong)
    target = _target(target_quality, wrong)
    if wrong:
        raise ArgumentError(*wrong)
    kept = tuple((name, value) for name, value in read_weights if value is not None)
    return ObjectiveOverrides(kept, tuple(read_bounds), pairs_of(target))


def pairs_of(
    target: Target | Literal["none"] | None,
) -> float | tuple[tuple[str, float], ...] | Literal["none"] | None:
    """*target* with one by task as pairs, which can be a key."""
    return tuple(sorted(target.items())) if isinstance(target, dict) else target


def target_texts(target: Target | Literal["none"] | None) -> list[str]:
    """Texts that :func:`parse_overrides` reads as *target*."""
    if isinstance(target, dict):
        return [f"{task}={number_text(value)}" for task, value in target.items()]
    if target is None:
        return []
    return [target if isinstance(target, str) else number_text(target)]


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


def _target(texts: Sequence[str], wrong: list[Argument]) -> Target | Literal["none"] | None:
    """Parse the *texts* of a target; those that cannot be read go to *wrong*."""
    by_task: dict[str, float] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        if len(texts) > 1 and not equals:
            listed = ", ".join(map(repr, texts))
            problem = f"found {listed}; allowed: {_FORMS['target_quality']}"
            wrong.append(Argument("target_quality", problem))
            return None
        try:
            if not equals:
                return "none" if text == NONE else parse_number(text)
            if name in by_task:
                raise InputError("found twice; allowed: once")
            by_task[name] = parse_number(value)
        except InputError as error:
            wrong.append(Argument("target_quality", str(error), name or None))
    return by_task or None


def _pairs(
    parameter: str, texts: Sequence[str], wrong: list[Argument]
) -> list[tuple[str, float | None]]:
    """Parse the ``NAME=VALUE`` *texts* of *parameter*; those that cannot be read go to *wrong*.

    A task may have ``=`` in its name; a value has none.
    """
    parsed: dict[str, float | None] = {}
    for text in texts:
        name, equals, value = text.rpartition("=")
        if not (name and equals and value):
            wrong.append(Argument(parameter, f"found {text!r}; allowed: {_FORMS[parameter]}"))
        elif name in parsed:
            wrong.append(Argument(parameter, "found twice; allowed: once", name))
        else:
            try:
                parsed[name] = (
                    parse_weight(value) if parameter == "weights" else parse_bound(name, value)
                )
            except InputError as error:
                wrong.append(Argument(parameter, str(error), name))
    return list(parsed.items())
