"""The finished runs of another MLflow experiment as the rows of an outside table.

MLflow itself is not imported here: the store hands over its client.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from tracker.errors import InputError
from tracker.importing.metric_names import metric_of
from tracker.importing.source import Problems, Row, Source, named_cells, ours_by_theirs
from tracker.store.runs import Run, Runs
from tracker.validation import did_you_mean, options


def read_experiment(
    client: Any, name: str, columns: Mapping[str, str], metric: str | None
) -> Source:
    """One row per finished run and metric; the other columns are the run's parameters.

    *columns* gives the names of parameters, or of metrics that state a cost, by ours. The metrics
    are the one called *metric*, or all whose names are known. Without a parameter for the task it is
    the experiment's name. Raises InputError where there is no such experiment or a column is missing.
    """
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        known = [found.name for found in client.search_experiments()]
        raise InputError(
            f"--mlflow {name}: no such experiment; found: {options(known)}{did_you_mean(name, known)}"
        )
    runs = list(Runs(client, experiment.experiment_id).search("attributes.status = 'FINISHED'"))
    tables = [cells for run in runs for cells in _rows(run, name, metric)]
    if not tables:
        names = sorted({found for run in runs for found in run.data.metrics})
        raise InputError(
            f"--mlflow {name}: none of {len(runs)} finished runs has a metric that is known; "
            f"found: {options(names)}; name one with --metric"
        )
    header = list(dict.fromkeys(column for _, cells in tables for column in cells))
    problems = Problems()
    ours = ours_by_theirs(header, columns, f"experiment {name}", problems)
    problems.raise_any()
    parameters = dict.fromkeys(p for run in runs for p in run.data.params)
    unknown = tuple(p for p in parameters if p not in ours)
    rows = tuple(
        Row(place, named_cells(cells, ours), tuple(cells.get(p, "") for p in unknown))
        for place, cells in tables
    )
    content = json.dumps([cells for _, cells in tables], sort_keys=True)
    return Source(name, hashlib.sha256(content.encode()).hexdigest(), rows, unknown)


def _rows(run: Run, experiment: str, metric: str | None) -> Iterator[tuple[str, dict[str, str]]]:
    """Where the run is found, and its cells, once per metric that counts."""
    metrics = {name: repr(value) for name, value in run.data.metrics.items()}
    for name, value in metrics.items():
        wanted = name == metric if metric else metric_of(name, None) is not None
        if wanted:
            result = {"metric": name, "value": value, "run": run.info.run_id}
            cells = {"task": experiment, **metrics, **run.data.params, **result}
            yield f"run {run.info.run_name or run.info.run_id}", cells
