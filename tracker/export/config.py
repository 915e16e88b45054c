"""The two files that hand a choice over: what trains, and beside it the evidence for it.

``recommended.yaml`` is read by people and trains alone: the trial in full, its scores, the versions it
was measured with. ``recommended.evidence.yaml`` holds the recommendation: runners-up, constraints,
caveats, next experiments. One digest, which stands in both, binds them. ``write_config`` and
``read_config`` are exact inverses. Measured times stand last in the evidence, in a block of their own
(``measured``): above it, two runs of one sweep write the same bytes. Files of format 1, one file
for all, are still read.
"""

from __future__ import annotations

import copy
import hashlib
import json
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

from pydantic import BaseModel, Field, field_validator, model_validator

from tracker.decision.explain import not_reached
from tracker.decision.recommendation import Recommendation
from tracker.errors import InputError, NoRecommendationError, StoreError
from tracker.files import Inline, comment, is_special, read_bounded, write_text, yaml_text
from tracker.frozen import Frozen
from tracker.numbers import percent
from tracker.strict_yaml import MAX_BYTES, Document, read
from tracker.task import Name, TaskScore
from tracker.trial import TrialRecord, TrialSpec, without_locations
from tracker.validation import unknown, validate

FORMAT = 2
_READ = (1, FORMAT)

_METHOD = ("trial", "method", "name")
_METHODS = ("none", "full", "lora", "p_tuning")

#: Fields of format 1 within ``recommendation``, by where they stand, and their names since.
_RENAMED: dict[str, dict[str, str]] = {
    "": {
        "held": "satisfied",
        "reach": "target_quality",
        "further_trials": "next_experiments",
        "separable": "distinguishable",
    },
    "runners_up": {"separable": "distinguishable"},
    "next_experiments": {
        "removes": "regret_removed",
        "changes": "p_change",
        "separates": "p_distinguishes",
    },
}

_SECTIONS = {
    "trial": "What is trained, in full. Files and the base model are pinned by digest.",
    "scores": "What the sweep measured of it, on validation rows.",
    "versions": "What it was measured with.",
    "evidence": "Why this one: runners-up, constraints, caveats, what would settle it.",
    "measured": "From the clock: differs from run to run. Everything above does not.",
}
#: Parts of a trial that are read as one line each, and those that are wrapped.
_ON_A_LINE = {"model", "method", "prompt", "train", "validation", "test", "text", "replay"}
_WRAPPED = {"train", "versions"}
_LINE = 96


class MeasuredScore(Frozen):
    """A task's validation score of this very trial; ``loss_nats`` per answer token."""

    task: str
    n: int
    score_name: Name
    score: float | None = None
    score_se: float | None = None
    loss_nats: float | None = None


class Config(Frozen):
    """A trial to train, with the evidence for it.

    ``sweep``: where it comes from. ``scores``: measured on validation. ``versions``: packages,
    device and threads. Written by hand, a configuration may hold ``sweep`` and ``trial`` alone.
    """

    format: int = FORMAT
    sweep: str
    trial: TrialSpec
    scores: tuple[MeasuredScore, ...] = ()
    recommendation: Recommendation | None = None
    versions: dict[str, str] = Field(default_factory=dict)

    @field_validator("format")
    @classmethod
    def _known_format(cls, value: int) -> int:
        if value not in _READ:
            allowed = ", ".join(map(str, _READ))
            raise ValueError(
                f"found {value}; allowed: {allowed}; read it with the version it is of"
            )
        return FORMAT

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

    Raises InputError for a trial that an outside table holds, StoreError where its result is gone,
    NoRecommendationError where the target quality is not reached.
    """
    if answer.missed and answer.target_quality is not None:
        why = not_reached(answer.target_quality, answer.choice.label).rstrip(".")
        raise NoRecommendationError(
            f"{why[0].lower()}{why[1:]}",
            "leave the target quality out (none): the best measured is written",
        )
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
        scores=tuple(
            _measured_score(score) for score in result.tasks if score.split == "validation"
        ),
        recommendation=answer,
        versions=result.environment,
    )


class ConfigFiles(NamedTuple):
    """Both files' texts; ``evidence`` is ``None`` for a configuration without a recommendation."""

    config: str
    evidence: str | None


def evidence_name(name: str) -> str:
    """The evidence's file beside the configuration called *name*: ``recommended.evidence.yaml``."""
    return f"{name.removesuffix('.yaml')}.evidence.yaml"


def write_config(config: Config, path: Path) -> None:
    """Write *config* to *path* and its evidence beside it, each whole or not at all.

    Raises InputError where a file cannot be written, and for a device or a pipe: nothing can lie beside one.
    """
    if is_special(path):
        raise InputError(f"{path}: found a device or a pipe; allowed: a file; name one")
    files = config_files(config, path.name)
    if files.evidence is not None:
        write_text(path.with_name(evidence_name(path.name)), files.evidence)
    write_text(path, files.config)


def config_files(config: Config, name: str) -> ConfigFiles:
    """What :func:`write_config` writes to a file called *name*, and beside it."""
    data: dict[str, Any] = _plain(config)
    recommendation = data.pop("recommendation", None)
    parts = [
        comment(_header(config, name)),
        "\n",
        yaml_text({k: data[k] for k in ("format", "sweep")}),
    ]
    parts += [_section("trial"), "trial:\n"]
    parts += [textwrap.indent(_part(key, value), "  ") for key, value in data["trial"].items()]
    if data["scores"]:
        scores = [Inline(score) for score in data["scores"]]
        parts += [_section("scores"), yaml_text({"scores": scores}, width=None)]
    if data["versions"]:
        parts += [_section("versions"), _part("versions", data["versions"])]
    if recommendation is None:
        return ConfigFiles("".join(parts), None)
    del recommendation["trial"]
    candidates = _candidates(recommendation)
    measured = {one["label"]: one.pop("measured") for one in candidates}
    digest = _digest(data, recommendation)
    named = {"file": evidence_name(name), "digest": digest}
    parts += [_section("evidence"), yaml_text({"evidence": Inline(named)}, width=None)]
    evidence = [
        comment(f"The evidence for {name}, which trains without this file."),
        yaml_text({"format": FORMAT, "digest": digest, "recommendation": recommendation}),
        _section("measured"),
        yaml_text({"measured": measured}),
    ]
    return ConfigFiles("".join(parts), "".join(evidence))


def read_config(path: Path) -> Config:
    """The configuration at *path*, with the evidence beside it where that is there.

    Raises InputError with file and line for everything wrong with it, and where the trial or the
    evidence was changed since they were written.
    """
    document = read(path)
    document, problem = _with_evidence(document, path)
    problems = [*_foreign_method(document), *([problem] if problem else [])]
    try:
        config = validate(document, Config)
    except InputError as error:
        problems += error.problems
    if problems:
        place = f"{document.source}:"
        by_line = sorted(problems, key=lambda p: int(p.removeprefix(place).partition(":")[0]))
        raise InputError(by_line)
    return config


def evidence_beside(path: Path) -> dict[str, str]:
    """The name and the text of the evidence that the configuration at *path* names, where it is there."""
    named = read(path).data
    named = named.get("evidence") if isinstance(named, dict) else None
    beside = path.with_name(named["file"]) if isinstance(named, dict) else None
    if beside is None or not beside.exists():
        return {}
    return {beside.name: read_bounded(beside, MAX_BYTES).decode("utf-8")}


def missing_evidence(path: Path) -> str | None:
    """One line where the evidence that the configuration at *path* names is not beside it."""
    named = read(path).data
    named = named.get("evidence") if isinstance(named, dict) else None
    if not isinstance(named, dict) or path.with_name(str(named["file"])).exists():
        return None
    return (
        f"{path}: its evidence, {named['file']}, is not beside it: it trains all the same, but nothing shows "
        "that it was not changed since it was recommended"
    )


def _header(config: Config, name: str) -> str:
    lines = [
        f"A configuration of sft-select, from sweep {config.sweep!r}.",
        f"  train it:                     sft-select train {name}",
        f"  write it for another trainer: sft-select export {name} --to trl | llamafactory | axolotl",
    ]
    if (answer := config.recommendation) is not None:
        sure = f"best of {answer.admitted:,} with probability {percent(answer.p_best, 0)}"
        lines.append(
            f"{answer.choice.label}: {sure}." if answer.admitted > 1 else answer.choice.label
        )
    return "\n".join(lines)


def _section(name: str) -> str:
    return f"\n{comment(_SECTIONS[name])}"


def _part(key: str, value: Any) -> str:
    """One key of a trial as YAML: what is one thing to a reader on one line."""
    if key in _WRAPPED:
        return yaml_text({key: Inline(value)}, width=_LINE)
    return yaml_text({key: _inlined(key, value)}, width=None)


def _inlined(key: str, value: Any) -> Any:
    """*value* with its small mappings marked to be written on one line."""
    if isinstance(value, list):
        return [_inlined("", item) for item in value]
    if not isinstance(value, dict):
        return value
    if all(not isinstance(item, dict | list) for item in value.values()):
        texts = [item for item in value.values() if isinstance(item, str)]
        broken = any("\n" in text for text in texts)
        if not broken and (key in _ON_A_LINE or len(str(value)) <= _LINE):
            return Inline(value)
    return {name: _inlined(name, item) for name, item in value.items()}


def _digest(
    data: Mapping[str, Any], recommendation: Mapping[str, Any], *, places: bool = False
) -> str:
    """SHA-256 of the content of both files, but for the names of files and measured times.

    Where models and data lie does not count: on another machine they lie elsewhere. *places*: it does, as
    in files of earlier releases.
    """
    bound = {key: data[key] for key in ("sweep", "trial", "scores", "versions")}
    content: Any = {**bound, "recommendation": recommendation}
    if not places:
        content = without_locations(content)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _with_evidence(document: Document, path: Path) -> tuple[Document, str | None]:
    """*document* in the layout of :class:`Config`, the evidence included, and what is wrong with that.

    What does not fit is left for validation to report.
    """
    data = copy.deepcopy(document.data)
    if not isinstance(data, dict):
        return document, None
    if data.get("format", FORMAT) == 1:
        return document._replace(data=_of_format_1(data)), None
    named = data.pop("evidence", None)
    if named is None:
        return document._replace(data=data), None
    place = f"{document.source}:{document.line(('evidence',))}: evidence"
    name = named.get("file") if isinstance(named, dict) else None
    if not isinstance(name, str) or Path(name).name != name:
        return document._replace(
            data=data
        ), f"{place}: found no file name; allowed: {{file, digest}}"
    beside = path.with_name(name)
    if not beside.exists():
        return document._replace(data=data), None
    evidence = read(beside).data
    problem = _bound_problem(named, data, evidence, name)
    if problem is None:
        data["recommendation"] = _whole(evidence["recommendation"], evidence.get("measured"), data)
    return document._replace(data=data), f"{place}: {problem}" if problem else None


def _bound_problem(named: Any, data: dict[str, Any], evidence: Any, name: str) -> str | None:
    """Why *evidence* is not that of the configuration *data*, which names its digest."""
    mend = "take the line `evidence` out to train it as it stands here"
    try:
        plain = _plain(Config.model_validate(data))
        answer = evidence["recommendation"]
        written = {_digest(plain, answer), _digest(plain, answer, places=True)}
    except (ValueError, TypeError, KeyError):
        return None if isinstance(evidence, dict) and "recommendation" in evidence else (
            f"found no recommendation in {name}; {mend}"
        )  # fmt: skip
    if named.get("digest") != evidence.get("digest") or named.get("digest") not in written:
        return f"this file or {name} was changed since they were written; {mend}"
    return None


def _of_format_1(data: dict[str, Any]) -> dict[str, Any]:
    """A file of format 1, one file for all, in the words and the layout of :class:`Config`."""
    recommendation, measured = data.get("recommendation"), data.pop("measured", None)
    if not isinstance(recommendation, dict):
        return data
    renamed = _renamed(recommendation, _RENAMED[""])
    for name in ("runners_up", "next_experiments"):
        if isinstance(renamed.get(name), list):
            renamed[name] = [_renamed(one, _RENAMED[name]) for one in renamed[name]]
    data["recommendation"] = _whole(renamed, measured, data)
    return data


def _renamed(mapping: Any, names: Mapping[str, str]) -> Any:
    if not isinstance(mapping, dict):
        return mapping
    return {names.get(name, name): value for name, value in mapping.items()}


def _whole(recommendation: Any, measured: Any, data: Mapping[str, Any]) -> Any:
    """*recommendation* with its trial and the measured times of its candidates put back."""
    if not isinstance(recommendation, dict):
        return recommendation
    if "trial" in data:
        recommendation.setdefault("trial", data["trial"])
    for candidate in _candidates(recommendation):
        if isinstance(measured, dict) and candidate.get("label") in measured:
            candidate.setdefault("measured", measured[candidate["label"]])
    return recommendation


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


def _measured_score(score: TaskScore) -> MeasuredScore:
    return MeasuredScore(**{name: getattr(score, name) for name in MeasuredScore.model_fields})


def _candidates(recommendation: dict[str, Any]) -> list[dict[str, Any]]:
    """What was measured of, as far as they are mappings: choice, runners-up, next experiments."""
    runners_up = recommendation.get("runners_up")
    found = [recommendation.get("choice")]
    if isinstance(runners_up, list):
        found += [one.get("candidate") for one in runners_up if isinstance(one, dict)]
    if isinstance(recommendation.get("next_experiments"), list):
        found += recommendation["next_experiments"]
    return [candidate for candidate in found if isinstance(candidate, dict)]


def _plain(value: Any) -> Any:
    """Dicts, lists and scalars; a field is left out where ``None`` is its default, or its type says so."""
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        left_out = {
            n for n, f in fields.items() if f.exclude_if and f.exclude_if(getattr(value, n))
        }
        values = {name: getattr(value, name) for name in fields if name not in left_out}
        return {
            name: _plain(item)
            for name, item in values.items()
            if item is not None or fields[name].is_required() or fields[name].default is not None
        }
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
