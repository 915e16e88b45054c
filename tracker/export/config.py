"""The file that hands a choice over: what to train, why, and what is known of it.

``write_config`` and ``read_config`` are exact inverses. In the file the recommendation's trial is
``trial`` itself, and its measured times stand last in a block of their own (``measured``): above it,
two runs of one sweep write the same bytes.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from tracker.decision.recommendation import Recommendation
from tracker.errors import InputError, StoreError
from tracker.files import comment, write_text, yaml_text
from tracker.strict_yaml import Document, read
from tracker.trial import Frozen, ScoreName, TaskScore, TrialRecord, TrialSpec
from tracker.validation import unknown, validate

FORMAT = 1

_METHOD = ("trial", "method", "name")
_METHODS = ("none", "full", "lora", "p_tuning")

_SECTIONS = {
    "format": None,
    "sweep": None,
    "trial": "What is trained, in full. Files and the base model are pinned by digest.",
    "scores": "What the sweep measured of it, on validation rows.",
    "recommendation": "Why this one.",
    "versions": "What it was measured with.",
    "measured": "From the clock: differs from run to run. Everything above does not.",
}


class Evidence(Frozen):
    """A task's validation score of this very trial; ``loss_nats`` per answer token."""

    task: str
    n: int
    score_name: ScoreName
    score: float | None = None
    score_se: float | None = None
    loss_nats: float | None = None


class Config(Frozen):
    """A trial to run, with the evidence for it.

    ``sweep``: where it comes from. ``scores``: measured on validation. ``versions``: packages,
    device and threads. Written by hand, a configuration may hold ``sweep`` and ``trial`` alone.
    """

    format: int = FORMAT
    sweep: str
    trial: TrialSpec
    scores: tuple[Evidence, ...] = ()
    recommendation: Recommendation | None = None
    versions: dict[str, str] = Field(default_factory=dict)

    @field_validator("format")
    @classmethod
    def _known_format(cls, value: int) -> int:
        if value != FORMAT:
            raise ValueError(f"found {value}; allowed: {FORMAT}; read it with the version it is of")
        return value

    @field_validator("trial")
    @classmethod
    def _ours(cls, value: TrialSpec) -> TrialSpec:
        if value.origin is not None:
            raise ValueError(_not_ours(value.origin))
        return value

    @model_validator(mode="after")
    def _one_trial(self) -> Self:
        if self.recommendation is not None and self.recommendation.trial != self.trial:
            raise ValueError("the recommendation is of another trial")
        return self


def config_of(answer: Recommendation, records: Iterable[TrialRecord]) -> Config:
    """The configuration of a recommendation, with the scores of its trial from *records*.

    Raises InputError for a trial that an outside table holds, StoreError where its result is gone.
    """
    if answer.trial.origin is not None:
        raise InputError(_not_ours(answer.trial.origin))
    key = answer.trial.key
    result = next((r.result for r in records if r.result.spec.key == key), None)
    if result is None:
        raise StoreError(
            f"sweep {answer.sweep!r} holds no result of the recommended trial {key}; "
            "was its run deleted? recommend again"
        )
    return Config(
        sweep=answer.sweep,
        trial=answer.trial,
        scores=tuple(_evidence(score) for score in result.tasks if score.split == "validation"),
        recommendation=answer,
        versions=result.environment,
    )


def write_config(config: Config, path: Path) -> None:
    """Write *config* to *path*, whole or not at all; InputError where that cannot be."""
    write_text(path, config_text(config, path.name))


def config_text(config: Config, name: str) -> str:
    """What :func:`write_config` writes to a file called *name*."""
    header = comment(
        f"A configuration of sft-select, from sweep {config.sweep!r}.\n"
        f"  train it:                     sft-select train {name}\n"
        f"  write it for another trainer: sft-select export {name} --to trl"
        " | llamafactory | axolotl"
    )
    parts = [header, "\n"]
    for section, value in _as_written(config).items():
        note = _SECTIONS[section]
        parts.append(f"\n{comment(note)}" if note else "")
        parts.append(yaml_text({section: value}))
    return "".join(parts)


def read_config(path: Path) -> Config:
    """The configuration at *path*; InputError with file:line for everything wrong with it."""
    document = read(path)
    document = document._replace(data=_as_held(document))
    problems = _foreign_method(document)
    try:
        config = validate(document, Config)
    except InputError as error:
        problems += error.problems
    if problems:
        place = f"{document.source}:"
        by_line = sorted(problems, key=lambda p: int(p.removeprefix(place).partition(":")[0]))
        raise InputError(by_line)
    return config


def _foreign_method(document: Document) -> list[str]:
    """The problem, if there is one, of a method that nobody here can train.

    Trials measured elsewhere may be of any method, so the trial's own type lets all of them pass.
    """
    found = document.data
    for key in _METHOD:
        found = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, str) or found in _METHODS:
        return []
    line = document.line(_METHOD)
    return [f"{document.source}:{line}: {'.'.join(_METHOD)}: {unknown(found, _METHODS)}"]


def _not_ours(origin: str) -> str:
    return (
        f"the trial was measured elsewhere (table {origin}): its model and data are not known here, so "
        "it cannot be trained or exported; run a sweep of your own with these settings"
    )


def _evidence(score: TaskScore) -> Evidence:
    return Evidence(**{name: getattr(score, name) for name in Evidence.model_fields})


def _as_written(config: Config) -> dict[str, Any]:
    """Plain data in the file's layout."""
    data: dict[str, Any] = _plain(config)
    recommendation = data.get("recommendation")
    if recommendation is not None:
        del recommendation["trial"]
        candidates = _candidates(recommendation)
        data["measured"] = {one["label"]: one.pop("measured") for one in candidates}
    return data


def _as_held(document: Document) -> Any:
    """The inverse of :func:`_as_written`; what does not fit is left for validation to report."""
    data = copy.deepcopy(document.data)
    if not isinstance(data, dict) or not isinstance(data.get("recommendation"), dict):
        return data
    recommendation, measured = data["recommendation"], data.pop("measured", None)
    if "trial" in data:
        recommendation.setdefault("trial", data["trial"])
    for candidate in _candidates(recommendation):
        if isinstance(measured, dict) and candidate.get("label") in measured:
            candidate.setdefault("measured", measured[candidate["label"]])
    return data


def _candidates(recommendation: dict[str, Any]) -> list[dict[str, Any]]:
    """What was measured of, as far as they are mappings: choice, runners-up, further trials."""
    runners_up = recommendation.get("runners_up")
    found = [recommendation.get("choice")]
    if isinstance(runners_up, list):
        found += [one.get("candidate") for one in runners_up if isinstance(one, dict)]
    if isinstance(recommendation.get("further_trials"), list):
        found += recommendation["further_trials"]
    return [candidate for candidate in found if isinstance(candidate, dict)]


def _plain(value: Any) -> Any:
    """Dicts, lists and scalars; a field is left out where ``None`` is its default."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        held = {name: getattr(value, name) for name in fields}
        return {
            name: _plain(item)
            for name, item in held.items()
            if item is not None or fields[name].is_required() or fields[name].default is not None
        }
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
