"""A sample of the hostile requests: none breaks the dashboard, and a visitor beside them is served."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from dash import Dash

from dashboards import server as server_module
from tests.dashboards.conftest import make_workspace
from tests.faults import hostile_requests


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def app(workspace: Path) -> Dash:
    return hostile_requests.make_app(workspace)


@pytest.fixture
def log() -> Iterator[hostile_requests._Log]:
    handler = hostile_requests._Log()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


def test_every_callback_with_wrong_values_and_malformed_bodies(
    app: Dash, log: hostile_requests._Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostile_requests, "VALUES", hostile_requests.VALUES[::4])
    outcomes = list(hostile_requests.in_process(app, log))
    assert len(outcomes) > 700
    assert [outcome for outcome in outcomes if outcome.problem] == []


def test_visitors_without_the_token(workspace: Path) -> None:
    app = hostile_requests.make_app(workspace, token=hostile_requests.TOKEN)
    assert [outcome for outcome in hostile_requests.tokens(app) if outcome.problem] == []


def test_connections_that_wait_keep_nobody_out(app: Dash, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REQUEST_SECONDS", 1)
    server = hostile_requests.listening(app.server)
    server.adj.cleanup_interval = 0.2
    port = server.effective_port
    outcomes = [*hostile_requests.over_sockets(port, 150), *hostile_requests.slow_streams(port, 8)]
    assert [outcome for outcome in outcomes if outcome.problem] == []
    assert len(server.active_channels) <= server_module.MAX_PER_CLIENT
    server.close()
