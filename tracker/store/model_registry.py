"""Registration of trained models in MLflow: a folder becomes a version, an alias points at it.

The files (safetensors, configuration, tokenizer) are artifacts under ``model/`` of a run of their own and
the version's source; ``mlflow artifacts download --artifact-uri models:/<name>@<alias>`` brings them back.
Beside them stands MLflow's flavour ``python_function`` by models from code: a file of Python that whoever
trained it gives (:class:`Flavour`), and no pickle of anything. Tracker itself loads no model.
"""

from __future__ import annotations

import hashlib
import platform
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tracker.errors import InputError
from tracker.files import file_digest
from tracker.store.mlflow_names import digest_of
from tracker.store.runs import PARENT, Run, Runs

#: Where a model's files lie within the artifacts of its run, and MLflow's code beside them.
FILES = "model"
_CODE = "answer_rows.py"
_PAGE_CHARACTERS = 5000  # all that MLflow takes
_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:/(?P<version>\d+|latest)|@(?P<alias>[^/@]+))")


def folder_digest(folder: Path) -> str:
    """SHA-256 over the relative paths and contents of all files in *folder*."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name}\0{file_digest(path)}\n".encode())
    return digest.hexdigest()


class Flavour(NamedTuple):
    """How MLflow predicts with a model: Python ``code`` that sets it, packages, and what a row may hold.

    ``fields``: of a row; where it is empty a row may hold anything. ``parameters``: of a prediction, each a
    text and empty by default. ``settings``: what ``load_model(…, model_config=…)`` may set, and its default.
    """

    code: str
    requirements: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()
    settings: Mapping[str, str] = MappingProxyType({})


class Model(NamedTuple):
    """A model to register: its files, its name, and the configuration that it was trained by.

    ``evidence``: by file name the text of what stands beside the configuration. ``page`` (Markdown) and
    ``tags``: what the pages of the registry show of it.
    """

    folder: Path
    name: str
    alias: str
    config_text: str
    evidence: Mapping[str, str] = MappingProxyType({})
    flavour: Flavour | None = None
    page: str = ""
    tags: Mapping[str, str] = MappingProxyType({})


def register(runs: Runs, sweep: str | None, model: Model, log_scores: Callable[[Run], None]) -> str:
    """Register *model* as a version of its name unless it is one, point its alias there, return it."""
    digest = digest_of(folder_digest(model.folder) + model.config_text)
    version = find_version(runs, model.name, digest)
    if version is None:
        run = model_run(runs, sweep, model.name, digest)
        runs.artifacts.log_text(run, model.config_text, "config.yaml")
        for name, text in model.evidence.items():
            runs.artifacts.log_text(run, text, name)
        runs.artifacts.log_folder(run, model.folder, FILES)
        if model.flavour is not None:
            for name, text in _flavour_files(model.flavour, run).items():
                runs.artifacts.log_text(run, text, f"{FILES}/{name}")
        log_scores(run)
        runs.client.set_terminated(run.info.run_id)
        version = add_version(runs, run, model.name, digest)
    for key, value in model.tags.items():  # again: how often test was read has changed
        runs.client.set_model_version_tag(model.name, version, key, value)
    if model.page:
        page = _cut(model.page)
        runs.client.update_model_version(model.name, version, page)
        runs.client.update_registered_model(model.name, page)
    runs.client.set_registered_model_alias(model.name, model.alias, version)
    return version


def model_folder(runs: Runs, uri: str, into: Path) -> Path:
    """Folder of the registered model *uri*, on this disk or brought to the folder *into*.

    Raises InputError for another form of URI, and where there is no such model or version.
    """
    from mlflow.exceptions import MlflowException

    named = _URI.fullmatch(uri)
    if named is None:
        raise InputError(
            f"{uri}: allowed: models:/NAME/VERSION, models:/NAME/latest, models:/NAME@ALIAS"
        )
    name, wanted = named["name"], named["version"]
    versions = runs.client.search_model_versions(f"name = '{name}'")
    try:
        if wanted is None:
            found = runs.client.get_model_version_by_alias(name, named["alias"])
        elif wanted == "latest":
            found = max(versions, key=lambda version: int(version.version), default=None)
        else:
            found = next((v for v in versions if str(v.version) == wanted), None)
    except MlflowException:
        found = None
    if found is None:
        there = ", ".join(str(version.version) for version in versions)
        known = (
            f"it has the versions {there}" if versions else "there is no such model in the registry"
        )
        raise InputError(f"{uri}: found no such version; {known}")
    run = runs.client.get_run(found.run_id)
    folder = runs.artifacts.folder(run.info.artifact_uri)
    if folder is not None:
        return folder / FILES
    return Path(runs.client.download_artifacts(found.run_id, FILES, str(into)))


def _cut(page: str) -> str:
    """As much of *page* as MLflow takes, in whole lines; one that is cut says where the rest is."""
    if len(page) <= _PAGE_CHARACTERS:
        return page
    rest = "\n\nThe rest is among the artifacts of the source run."
    kept, _, _ = page[: _PAGE_CHARACTERS - len(rest)].rpartition("\n")
    return kept + rest


def _flavour_files(flavour: Flavour, run: Run) -> dict[str, str]:
    """Files by which MLflow loads a model from code, by name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of MLflow at its own types, when it is imported
        from mlflow import __version__
        from mlflow.models import Model as Description
        from mlflow.models import ModelSignature
        from mlflow.pyfunc import add_to_model  # mlflow.pyfunc itself is imported when it is used
        from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
        from mlflow.types.schema import AnyType

    signature = None
    if flavour.fields:
        inputs = Schema([ColSpec(AnyType(), name, required=False) for name in flavour.fields])
        params = ParamSchema([ParamSpec(name, "string", "") for name in flavour.parameters])
        signature = ModelSignature(inputs, Schema([ColSpec("string")]), params)
    described = Description(run_id=run.info.run_id, signature=signature)
    add_to_model(
        described,
        loader_module="mlflow.pyfunc.model",
        python_env="python_env.yaml",
        model_config=dict(flavour.settings),
        model_code_path=_CODE,
        artifacts={"model": {"path": ".", "uri": "."}},
    )
    python = f"python: {platform.python_version()}\ndependencies:\n- -r requirements.txt\n"
    requirements = [f"mlflow=={__version__}", *flavour.requirements]
    return {
        "MLmodel": described.to_yaml(),
        _CODE: flavour.code,
        "python_env.yaml": python,
        "requirements.txt": "".join(f"{line}\n" for line in requirements),
    }


def find_version(runs: Runs, name: str, digest: str) -> str | None:
    """Version of the model *name* that was made from content *digest*."""
    versions = runs.client.search_model_versions(f"name = '{name}'")
    return next((str(v.version) for v in versions if v.tags.get("sft.digest") == digest), None)


def model_run(runs: Runs, sweep: str | None, name: str, digest: str) -> Run:
    """Run that holds a model's files; after a crash it is found again by their digest."""
    same = f"tags.`sft.kind` = 'model' and tags.`sft.digest` = '{digest}'"
    for run in runs.search(same):
        if run.data.tags["sft.model"] == name:
            return run
    tags = {"sft.kind": "model", "sft.digest": digest, "sft.model": name}
    if sweep is not None:
        tags["sft.sweep"] = sweep
        if (parent := runs.sweeps().get(sweep)) is not None:
            tags[PARENT] = parent.info.run_id
    return runs.client.create_run(runs.experiment_id, tags=tags, run_name=f"train {name}")


def add_version(runs: Runs, run: Run, name: str, digest: str) -> str:
    """Make ``model/`` of *run* a new version of *name*, which is created with its first version."""
    if not runs.client.search_registered_models(f"name = '{name}'"):
        runs.client.create_registered_model(name)
    source = runs.artifacts.uri(run, FILES)
    version = runs.client.create_model_version(
        name, source, run.info.run_id, tags={"sft.digest": digest}
    )
    return str(version.version)
