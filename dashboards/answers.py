"""One question's whole answer: the choice, its file, what other trainers take, what more data would give.

Every word is tracker's, by the functions the command line calls, so that the two cannot disagree.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import NamedTuple

from dashboards.state import Query
from tracker.constraints import NONE
from tracker.decision.analysis import Analysis
from tracker.decision.overrides import (
    ObjectiveOverrides,
    number_text,
    parse_number,
    parse_overrides,
)
from tracker.decision.predict import Forecast, forecast
from tracker.decision.recommend import recommendation
from tracker.decision.recommendation import Candidate, Recommendation
from tracker.errors import InputError, NotEnoughDataError
from tracker.export import TRAINERS, recipe_for
from tracker.export.config import Config, config_of, config_text

#: The exported file's name; it stands in the file's own first lines.
FILE_NAME = "recommended.yaml"
#: The constraint that says how much data is on hand.
ON_HAND = "examples"


class Answer(NamedTuple):
    """What *asked* of *sweep* comes to.

    ``candidates``: all that the choice was made from. ``config``: the bytes of ``sft-select recommend
    -o recommended.yaml`` as text, ``None`` of trials measured elsewhere. ``recipes``: by trainer its
    files by name, or why it cannot train this. ``forecasts``: by weighted task what every curve would
    measure with the examples on hand, or why that is not told; empty where that was not asked.
    """

    sweep: str
    asked: ObjectiveOverrides
    recommendation: Recommendation
    candidates: tuple[Candidate, ...]
    config: str | None
    recipes: Mapping[str, dict[str, str] | str]
    forecasts: Mapping[str, Forecast | str]

    @property
    def on_hand(self) -> int | None:
        """The examples that are on hand, as far as that was asked."""
        bound = self.recommendation.objective.constraints.get(ON_HAND)
        return None if bound is None else int(bound)


def asked_of(query: Query) -> ObjectiveOverrides:
    """The question in the address; raises InputError with all that is wrong with it."""
    problems: list[str] = []
    target_quality = None
    try:
        target_quality = parse_number(text) if (text := query.get("target_quality")) else None
    except InputError as error:
        problems.append(f"target_quality: {error}")
    try:
        found = parse_overrides(query.many("weight"), query.many("constraint"), target_quality)
    except InputError as error:
        raise InputError([*error.problems, *problems]) from None
    if problems:
        raise InputError(problems)
    return found


def work_out(analysis: Analysis, asked: ObjectiveOverrides) -> Answer:
    """The answer to *asked* of a sweep's *analysis*.

    Raises NotEnoughDataError where too little is known, InputError where the question is amiss.
    """
    objective = asked.objective(analysis.objective)
    analysis, sweep = analysis.with_objective(objective), analysis.sweep
    found = recommendation(analysis, asked.target_quality)
    config = None if found.trial.origin is not None else config_of(found, analysis.records)
    among = analysis.candidates
    answer = Answer(
        sweep,
        asked,
        found,
        among,
        None if config is None else config_text(config, FILE_NAME),
        {} if config is None else {to: _recipe(config, to) for to in TRAINERS},
        {},
    )
    if not answer.on_hand:
        return answer
    tasks = [task for task, weight in objective.weights.items() if weight > 0]
    at = answer.on_hand
    return answer._replace(forecasts={task: _forecast(analysis, task, at) for task in tasks})


def command(sweep: str, asked: ObjectiveOverrides) -> str:
    """What gives the same answer in a terminal."""
    words = ["sft-select", "recommend", sweep]
    for task, weight in asked.weights:
        words += ["--weight", f"{task}={number_text(weight)}"]
    for name, bound in asked.constraints:
        words += ["--constraint", f"{name}={NONE if bound is None else number_text(bound)}"]
    if asked.target_quality is not None:
        words += ["--target-quality", number_text(asked.target_quality)]
    return shlex.join([*words, "-o", FILE_NAME])


def _recipe(config: Config, to: str) -> dict[str, str] | str:
    try:
        return recipe_for(config, to).files
    except InputError as error:
        return str(error)


def _forecast(analysis: Analysis, task: str, examples: int) -> Forecast | str:
    try:
        return forecast(analysis, task, examples)
    except (InputError, NotEnoughDataError) as error:
        return str(error)
