"""Trials as the studies of a sweep store them, of the present file and of those before it was changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial, TrialState

from sweeps.search.space import untouched_base
from tracker.trial import HYPERPARAMETERS, Configuration, MethodSpec

#: Between a sweep's name, which cannot hold it, and a generation, in the names of studies.
APART_BY = "/"
#: Names of attributes of a trial in the study.
SEED_GIVEN, VALUES, CLONED, REQUEST = "seed", "values", "clone", "request"
NUMBER, KEY = "number", "key"
#: Stage of a trial that a user requested as a clone.
CLONE = "clone"
_MODEL, _METHOD, _MIX, _VOLUME = "model", "method", "mix", "volume"


class StoredTrial(NamedTuple):
    """A trial as a study of the sweep stores it, whatever file that study was made for.

    ``study``: its name; ``key``: where the study has it; ``is_observed``: whether it ended with a quality;
    ``request``: of a clone.
    """

    study: str
    number: int
    key: str | None
    stage: str
    configuration: Configuration
    seed: int
    is_observed: bool
    request: str | None


class KeptTrial(NamedTuple):
    """A trial of an earlier file of the sweep that the design of the present one has too, as ``key``.

    ``number`` is the one it has in the sweep, ``None`` where the trial has another key now, since a score
    changed; ``max_length``: the one that it was run with; ``request``: of a clone.
    """

    key: str
    number: int | None
    stage: str
    configuration: Configuration
    seed: int
    max_length: int
    request: str | None = None


def stored_trial(study: str, trial: FrozenTrial) -> StoredTrial | None:
    """What the study stores of *trial*; ``None`` where a driver was killed before it was stored whole."""
    attributes = trial.user_attrs
    values = attributes.get(CLONED) or attributes.get(VALUES) or _values_of(trial.params)
    seed = values.get("seed", attributes.get(SEED_GIVEN))
    if seed is None or (CLONED not in attributes and SEED_GIVEN not in attributes):
        return None
    return StoredTrial(
        study,
        attributes.get(NUMBER, trial.number),
        attributes.get(KEY),
        attributes["stage"],
        _stored_configuration(values),
        int(seed),
        trial.state is TrialState.COMPLETE,
        attributes.get(REQUEST),
    )


def _values_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a trial by name, from Optuna's parameters: earlier releases stored no others."""
    values = {name: params[name] for name in (_MODEL, _METHOD, _MIX) if name in params}
    if _METHOD not in values:
        return values | {_METHOD: "none"}
    values[_VOLUME] = params.get(f"{_VOLUME}/{values[_MIX]}", params.get(_VOLUME))
    for name in HYPERPARAMETERS:
        parameter = qualified(values[_MODEL], values[_METHOD], name)
        if parameter in params:
            values[name] = params[parameter]
    return values


def _stored_configuration(values: Mapping[str, Any]) -> Configuration:
    """The configuration of *values*, whatever the sweep's file holds by now."""
    if values[_METHOD] == "none":
        return untouched_base(values[_MODEL])
    settings = {name: values[name] for name in HYPERPARAMETERS if name in values}
    method = MethodSpec(name=values[_METHOD], **settings)
    return Configuration(values[_MODEL], method, values[_MIX], values[_VOLUME])


def kept_as_data(trial: KeptTrial) -> dict[str, Any]:
    """*trial* as plain data for the study."""
    configuration = trial.configuration
    settings = configuration.method.model_dump(exclude_none=True)
    values = {_METHOD: settings.pop("name"), _MODEL: configuration.model, **settings}
    values |= {_MIX: configuration.mix, _VOLUME: configuration.volume}
    return {**trial._asdict(), "configuration": values}


def kept_of_data(data: Mapping[str, Any]) -> KeptTrial:
    """The trial of which *data* are plain data."""
    return KeptTrial(**{**data, "configuration": _stored_configuration(data["configuration"])})


def qualified(model: str, method: str, setting: str) -> str:
    """Optuna's name of a hyper-parameter, which is tuned per model and method."""
    return f"{model}/{method}/{setting}"
