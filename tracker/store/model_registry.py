"""Registration of trained models in MLflow: a folder becomes a version, an alias points at it.

Tracker loads no model, so there is no MLflow flavour: the files (safetensors, configuration,
tokenizer) are artifacts under ``model/`` of a run of their own and the version's source.
``mlflow artifacts download --artifact-uri models:/<name>@<alias>`` brings them back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from tracker.files import file_digest
from tracker.store.mlflow_names import digest_of
from tracker.store.runs import PARENT, Run, Runs


def folder_digest(folder: Path) -> str:
    """SHA-256 over the relative paths and contents of all files in *folder*."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        digest.update(f"{name}\0{file_digest(path)}\n".encode())
    return digest.hexdigest()


class Model(NamedTuple):
    """A model to register: its files, its name, and the configuration that it was trained by.

    ``evidence``: by file name the text of what stands beside the configuration.
    """

    folder: Path
    name: str
    alias: str
    config_text: str
    evidence: Mapping[str, str]


def register(runs: Runs, sweep: str | None, model: Model, log_scores: Callable[[Run], None]) -> str:
    """Register *model* as a version of its name unless it is one, point its alias there, return it."""
    digest = digest_of(folder_digest(model.folder) + model.config_text)
    version = find_version(runs, model.name, digest)
    if version is None:
        run = model_run(runs, sweep, model.name, digest)
        runs.artifacts.log_text(run, model.config_text, "config.yaml")
        for name, text in model.evidence.items():
            runs.artifacts.log_text(run, text, name)
        runs.artifacts.log_folder(run, model.folder, "model")
        log_scores(run)
        runs.client.set_terminated(run.info.run_id)
        version = add_version(runs, run, model.name, digest)
    runs.client.set_registered_model_alias(model.name, model.alias, version)
    return version


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
    source = runs.artifacts.uri(run, "model")
    version = runs.client.create_model_version(
        name, source, run.info.run_id, tags={"sft.digest": digest}
    )
    return str(version.version)
