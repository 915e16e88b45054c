"""The answer to one question: the recommendation, its files, the files of other trainers, and forecasts.

Tracker's functions write every sentence, as for the command line, so that the two cannot disagree.
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
    parse_overrides,
    target_texts,
)
from tracker.decision.predict import Forecast, predict
from tracker.decision.recommend import recommend
from tracker.decision.recommendation import Candidate, Recommendation
from tracker.errors import InputError, NotEnoughDataError
from tracker.export import TRAINERS, recipe_for
from tracker.export.config import Config, config_files, config_of, evidence_name

#: Name of the exported file; the file's first lines repeat it.
FILE_NAME = "recommended.yaml"
EVIDENCE_NAME = evidence_name(FILE_NAME)
#: The constraint on the examples on hand.
ON_HAND = "examples"


class Answer(NamedTuple):
    """The answer of *sweep* to the question *overrides*.

    ``candidates``: all that the choice was made from. ``config``: the text of ``sft-select recommend
    -o recommended.yaml``, ``evidence``: that of the file beside it; both ``None`` for trials measured
    elsewhere, and where the target quality is not reached. ``recipes``: each trainer's files by
    name, or why it cannot train this. ``forecasts``: for each weighted task the predictions at the examples
    on hand, or why there is none; empty where the question names no number of examples.
    """

    sweep: str
    overrides: ObjectiveOverrides
    recommendation: Recommendation
    candidates: tuple[Candidate, ...]
    config: str | None
    evidence: str | None
    recipes: Mapping[str, dict[str, str] | str]
    forecasts: Mapping[str, Forecast | str]

    @property
    def no_file(self) -> str:
        """Why there is no file to train from, where there is none."""
        if self.recommendation.missed:
            return "Nothing measured reaches the target quality: leave it out to get the file of the best."
        origin = self.recommendation.trial.origin
        return f"It was measured elsewhere, in the table {origin}: nothing here can train it."

    @property
    def on_hand(self) -> int | None:
        """The examples on hand, if the question names them."""
        bound = self.recommendation.objective.constraints.get(ON_HAND)
        return None if bound is None else int(bound)


def overrides_in(query: Query) -> ObjectiveOverrides:
    """The question in the address; raises ArgumentError with all its problems."""
    return parse_overrides(*(query.many(n) for n in ("weight", "constraint", "target_quality")))


def work_out(analysis: Analysis, overrides: ObjectiveOverrides) -> Answer:
    """The answer of *analysis* to the question *overrides*.

    Raises NotEnoughDataError where too little is known, InputError where the question is amiss.
    """
    objective = overrides.objective(analysis.objective)
    reweighed = analysis.with_objective(objective)
    found = recommend(reweighed)
    no_file = found.trial.origin is not None or found.missed
    config = None if no_file else config_of(found, analysis.records)
    files = None if config is None else config_files(config, FILE_NAME)
    answer = Answer(
        analysis.sweep,
        overrides,
        found,
        reweighed.candidates,
        None if files is None else files.config,
        None if files is None else files.evidence,
        {} if config is None else {to: _recipe(config, to) for to in TRAINERS},
        {},
    )
    if not (examples := answer.on_hand):
        return answer
    tasks = [task for task, weight in objective.weights.items() if weight > 0]
    return answer._replace(forecasts={t: _forecast(reweighed, t, examples) for t in tasks})


def command(sweep: str, overrides: ObjectiveOverrides) -> str:
    """The command that gives the same answer in a terminal."""
    words = ["sft-select", "recommend", sweep]
    for task, weight in overrides.weights:
        words += ["--weight", f"{task}={number_text(weight)}"]
    for name, bound in overrides.constraints:
        words += ["--constraint", f"{name}={NONE if bound is None else number_text(bound)}"]
    for text in target_texts(overrides.target):
        words += ["--target-quality", text]
    return shlex.join([*words, "-o", FILE_NAME])


def _recipe(config: Config, to: str) -> dict[str, str] | str:
    try:
        return recipe_for(config, to).files
    except InputError as error:
        return str(error)


def _forecast(analysis: Analysis, task: str, examples: int) -> Forecast | str:
    try:
        return predict(analysis, task, examples)
    except (InputError, NotEnoughDataError) as error:
        return str(error)
