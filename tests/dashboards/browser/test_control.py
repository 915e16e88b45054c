"""Controls in a real browser against a real driver: pause, clone, resume, stop."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.dashboards.browser.conftest import served
from tests.factories import sweep_text
from tracker.store.store import Store, SweepInfo
from tracker.trial import Status

pytestmark = pytest.mark.slow

_PATIENCE = 240.0  # seconds, on a machine that does much else


@pytest.fixture(scope="module")
def driven(
    tiny_model: Path, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A driver at work on real fine-tunes with one worker, and its workspace."""
    folder = tmp_path_factory.mktemp("driven")
    text = sweep_text(
        tiny_model,
        tiny_data,
        models=[{"path": str(tiny_model), "name": "a"}],
        mixes={"plain": {"intent": 1}},
        train={"epochs": 20, "batch_size": 8, "max_length": 96},
        engine={"kind": "local", "workers": 1},
    )
    (folder / "sweep.yaml").write_text(text)
    command = [sys.executable, "-m", "sweeps.cli", "run", str(folder / "sweep.yaml")]
    command += ["--workspace", str(folder / "runs")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as driver:
        until = time.monotonic() + _PATIENCE
        while not (folder / "runs" / "mlflow.db").exists() and time.monotonic() < until:
            time.sleep(0.5)
        yield driver, folder / "runs"
        driver.kill()


@pytest.fixture(scope="module")
def address(driven: tuple[subprocess.Popen[str], Path]) -> Iterator[str]:
    with served(driven[1], "--control") as found:
        yield found


def eventually(ask: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + _PATIENCE
    while not ask():
        assert time.monotonic() < until, what
        time.sleep(1.0)


def test_a_sweep_is_paused_added_to_resumed_and_stopped(page, address, driven) -> None:
    driver, workspace = driven
    store = Store.open(workspace)
    page.set_default_timeout(1000 * _PATIENCE)

    def info() -> SweepInfo:
        return store.sweeps()[0]

    page.goto(address)
    page.locator("#control-pause:not([disabled])").click()
    page.locator("#sweep-log").get_by_text("paused: no further trial starts").wait_for()
    page.locator(".pill").get_by_text("paused").wait_for()
    eventually(lambda: not info().counts.get("running"), "what was under way has not ended")
    ended = info().counts
    time.sleep(5.0)
    assert info().counts == ended, "a paused driver starts nothing"

    page.get_by_text("Clone a trial with changed values").click()
    page.locator("#control-cloned").fill("1")
    page.locator("#control-set-volume").fill("81")
    page.locator("#control-clone").click()
    page.locator("#sweep-log").get_by_text("volume: found '81'; allowed: 40, 80, 160").wait_for()
    page.locator("#control-set-volume").fill("160")
    page.locator("#control-clone").click()
    page.locator("#sweep-log").get_by_text("is the clone of trial 1").wait_for()

    page.locator("#control-resume:not([disabled])").click()
    page.locator("#sweep-log").get_by_text("resumed: trials start again").wait_for()

    def cloned() -> bool:
        return any(record.stage == "clone" for record in store.records("tiny"))

    eventually(cloned, "the clone has not ended")
    clone = next(record for record in store.records("tiny") if record.stage == "clone")
    assert (clone.result.status, clone.result.spec.volume) == (Status.COMPLETE, 160)

    page.get_by_text("Stop the sweep", exact=True).click()
    page.get_by_role("button", name="Yes, stop the sweep").click()
    _, errors = driver.communicate(timeout=_PATIENCE)
    assert driver.returncode == 0, errors
    assert "stopped on request" in errors
    assert info().state == "stopped"
    page.locator(".pill").get_by_text("stopped").wait_for()
    assert page.locator("#control-stop").is_disabled()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
