"""The data files of a sweep or a trial as MLflow's own inputs: its pages show them by name and digest."""

from __future__ import annotations

import json
from collections.abc import Iterable

from tracker.store import naming
from tracker.store.runs import Client
from tracker.trial import FileRef

_DIGEST_CHARACTERS = 36  # all that MLflow takes; spec.json holds the whole


def log_inputs(client: Client, run_id: str, files: Iterable[tuple[FileRef, str]]) -> None:
    """Log *files*, each with what it is used for, with the run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    for file, context in files:
        source, profile = json.dumps({"uri": file.path}), json.dumps({"num_rows": file.rows})
        name, digest = naming.dataset_name(file), file.sha256[:_DIGEST_CHARACTERS]
        dataset = Dataset(name, digest, "local", source, profile=profile)
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context)]))
    client.log_inputs(run_id, inputs)
