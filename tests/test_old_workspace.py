"""A workspace that an earlier release left half-way opens, goes on, and comes to the same end."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeps.preflight import read_checked
from sweeps.search.identity import digest_of, identity_of
from sweeps.standing import standing_of
from sweeps.terminal import status_lines
from tests import old_workspace
from tests.frozen.difference import difference_text, differences
from tests.old_workspace import Begun, as_today, end_of, state_of
from tracker.store.store import Store

pytestmark = pytest.mark.slow

ARCHIVES = sorted((Path(__file__).parent / "recorded").glob("workspace-*.tar.gz"))
#: Relative, of what is trained anew: machines differ in a sum's last digits, and training adds to that.
TRAINED = 1e-3


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda path: path.name)
def archive(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


@pytest.fixture(scope="module")
def expected(archive: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(old_workspace.expectation_of(archive).read_text())
    return found


@pytest.fixture(scope="module")
def root(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old") / "workspace"
    old_workspace.unpack(archive, folder)
    return folder


@pytest.fixture(scope="module")
def begun(root: Path, expected: dict[str, Any]) -> dict[str, Begun]:
    """The sweeps as they were left."""
    return {name: Begun.of(root, name) for name in expected}


@pytest.fixture(scope="module")
def finished(root: Path, begun: dict[str, Begun]) -> dict[str, subprocess.CompletedProcess[str]]:
    """The same command again for each of them, to the end."""
    return {name: end_of(root, name) for name in begun}


def test_it_opens_as_it_was_left(
    root: Path, begun: dict[str, Begun], expected: dict[str, Any]
) -> None:
    for name, one in expected.items():
        same(as_today(one["begun"]), as_today(begun[name].state))
    store = Store.open(root / "runs", create=False)
    for info in store.sweeps():
        standing = standing_of(store, info)
        first, *_ = status_lines(info, standing)
        assert first.startswith(f"{info.name}: ")
        assert standing.running, "the trial that was under way"


def test_what_is_fixed_of_a_begun_sweep_has_the_digest_that_it_began_with(
    root: Path, begun: dict[str, Begun], expected: dict[str, Any]
) -> None:
    """A default that changes, or a new field that counts, would refuse the sweep's own file."""
    for name, one in expected.items():
        digest = digest_of(identity_of(read_checked(root / f"{name}.yaml", root / "runs")))
        assert digest == one["digest"]
        assert begun[name].digest == one["digest"], "as the store has it"


def test_the_same_command_finishes_it_and_runs_nothing_twice(
    root: Path,
    begun: dict[str, Begun],
    finished: dict[str, subprocess.CompletedProcess[str]],
) -> None:
    for name, before in begun.items():
        done = finished[name]
        assert done.returncode == 0, done.stderr
        assert before.journals, "there were trials that had ended"
        after = {key: old_workspace.journal(root, name, key) for key in before.journals}
        assert after == before.journals
        (half,) = before.under_way
        events = [json.loads(line) for line in old_workspace.journal(root, name, half).splitlines()]
        kinds = [event["event"] for event in events]
        assert "resume" in kinds, "it went on from its checkpoint"
        assert kinds.count("result") == 1


def test_it_comes_to_the_same_trials_and_the_same_recommendation(
    root: Path,
    finished: dict[str, subprocess.CompletedProcess[str]],
    expected: dict[str, Any],
) -> None:
    store = Store.open(root / "runs", create=False)
    for name, one in expected.items():
        assert finished[name].returncode == 0, finished[name].stderr
        was, now = one["finished"], state_of(root, store, name)
        assert was["trials"] == now["trials"]
        assert choice(was) == choice(now)
        if (
            name == "list"
        ):  # the other's last trials score, and scores of what is trained anew may differ
            same(as_today(was), as_today(now), TRAINED)


def choice(state: dict[str, Any]) -> str:
    return str(state["recommended"]["recommendation"]["choice"]["label"])


def same(was: Any, now: Any, close: float = 1e-5) -> None:
    __tracebackhide__ = True
    found = list(differences(was, now, close=close))
    if found:
        pytest.fail(difference_text(found), pytrace=False)


def test_it_may_grow(archive: Path, tmp_path: Path) -> None:
    """Half-way through, its file gets a smaller training-set size and more budget."""
    root = tmp_path / "workspace"
    old_workspace.unpack(archive, root)
    for name, before in {name: Begun.of(root, name) for name in old_workspace.ENDED}.items():
        file = root / f"{name}.yaml"
        content = yaml.safe_load(file.read_text())
        content["volumes"] = [40, *content["volumes"]]
        content["budget"] = {"trials": content["budget"]["trials"] + 2}
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        done = end_of(root, name)
        assert done.returncode == 0, done.stderr
        assert "the sweep file was changed: volumes: added 40" in done.stdout + done.stderr
        after = {key: old_workspace.journal(root, name, key) for key in before.journals}
        assert after == before.journals, "what had ended has not run again"
        store = Store.open(root / "runs", create=False)
        stored = [*store.records(name), *store.excluded(name)]
        assert len({record.number for record in stored}) == len(stored)
        assert {record.result.spec.key for record in stored} >= set(before.journals)
        assert 0 < len(stored) <= content["budget"]["trials"]
