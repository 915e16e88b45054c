"""What MLflow finds when it is imported: no telemetry, no pickle, no log lines, short patience."""

from __future__ import annotations

import logging
import os

_ENVIRONMENT = {
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # the journal keeps what a server does not take
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


def set_environment() -> None:
    """Before the import; what the user has set stays."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def silence_logs() -> None:
    """After it: MLflow's errors reach the user as StoreError; its log would print their tracebacks."""
    for library in ("mlflow", "alembic"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
