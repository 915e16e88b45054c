"""The store keeps its contract on SQLite and on an MLflow server."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contracts.store import StoreContract
from tracker.store.store import Store

_PATIENCE_SECONDS = 300.0  # a machine that is busy is slow, not broken
_PROJECTS = itertools.count()


class TestSqlite(StoreContract):
    @pytest.fixture
    def store(self, workspace: Path) -> Store:
        return Store.open(workspace, project=f"contract-{next(_PROJECTS)}")

    def open_damaged(self, folder: Path) -> Store:
        text = "not a database, but long enough to be taken for one" * 99
        (folder / "mlflow.db").write_text(text)
        return Store.open(folder)


class TestServer(StoreContract):
    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, workspace: Path) -> Iterator[str]:
        """The address of a server, a process of its own, over the module's database."""
        pytest.importorskip("uvicorn", reason="MLflow's server runs on uvicorn")
        Store.open(workspace)  # with the tables made, a server is there in half the time
        port = _free_port()
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{workspace}/mlflow.db"]
        command += ["--artifacts-destination", str(workspace / "served")]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (workspace / "server.log").open("w+") as log:
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
            try:
                _wait_for(f"http://127.0.0.1:{port}/health", process, workspace / "server.log")
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()
                process.wait()

    @pytest.fixture
    def store(self, server: str, workspace: Path) -> Store:
        return Store.open(workspace / "reader", server, f"served-{next(_PROJECTS)}")

    def open_damaged(self, folder: Path) -> Store:
        return Store.open(folder, f"http://127.0.0.1:{_free_port()}")


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once *address* answers; AssertionError with the log where *process* ends before."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(address, timeout=10):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())
