"""A dashboard whose server, or whose token, is gone says so, and goes on when it is back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards.access import workspace_token
from tests.dashboards.browser.conftest import served
from tests.dashboards.browser.test_trials import soon
from tracker.store.store import Store
from tracker.trial import Objective

pytestmark = pytest.mark.slow

#: Lets as many of the tick's requests fail as the page's ``failing`` says; no other's.
FAILING = """
window.failing = -1;
const ask = window.fetch;
window.fetch = (...given) => {
  if (!given[1]?.body?.includes?.('"tick.n_intervals"') || failing < 0) return ask(...given);
  failing -= 1;
  return failing < 0 ? ask(...given) : Promise.reject(new TypeError("Failed to fetch"));
};
"""
PULSE = "getComputedStyle(document.querySelector('.pill.live'), '::before').animationName"


def begin(folder: Path, name: str) -> Path:
    """Begin the sweep *name* in the store of *folder*: it is under way, without a trial."""
    Store.open(folder).begin_sweep(
        name,
        spec_text=f"name: {name}\n",
        spec_digest=name[:1] * 64,
        planned=6,
        datasets=(),
        objective=Objective(weights={"intent": 1}),
    )
    return folder


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return begin(tmp_path_factory.mktemp("under_way"), "support")


@pytest.fixture
def visit(browser) -> Iterator[object]:
    """A page that may write errors: Dash logs every request that fails."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield page
    context.close()


def start(workspace: Path, port: str = "0") -> tuple[subprocess.Popen[str], str]:
    """A dashboard that the test itself ends, and its address."""
    command = [sys.executable, "-m", "dashboards", "--workspace", str(workspace), "--port", port]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    return server, server.stdout.readline().split()[-1].rstrip("/")


def test_a_server_that_ends_is_missed_and_one_that_returns_is_heard(visit, workspace) -> None:
    server, address = start(workspace)
    try:
        visit.goto(address)
        visit.locator(".pill.live").wait_for()
        assert visit.evaluate(PULSE) == "breathe"
        server.terminate()
        server.wait()
        banner = visit.get_by_role("status").filter(has_text="Not updating since ")
        banner.wait_for()
        assert "the dashboard's server does not answer. Is its terminal still open?" in (
            banner.inner_text()
        )
        assert visit.evaluate(PULSE) == "none"
        assert visit.evaluate("document.documentElement.scrollWidth") <= 390
        server, _ = start(workspace, address.rpartition(":")[2])
        banner.wait_for(state="detached")
        assert visit.evaluate(PULSE) == "breathe"
    finally:
        server.kill()
        server.wait()


def test_two_failed_ticks_raise_no_banner_and_an_answer_resets_the_count(visit, workspace) -> None:
    visit.add_init_script(FAILING)
    with served(workspace) as address:
        visit.goto(address)
        visit.locator(".pill.live").wait_for()
        for _ in range(2):
            visit.evaluate("failing = 2")
            soon(visit, "failing", 0)
            assert visit.locator(".contact").inner_text() == ""
            soon(visit, "failing", -1)  # one was answered
        visit.evaluate("failing = 1e9")
        visit.locator("html.not-updating").wait_for()


def test_a_token_that_is_no_longer_valid_is_reported_at_once(visit, workspace) -> None:
    with served(workspace, "--allow-name", "box.example") as address:
        with_token = f"{address}/?token={workspace_token(workspace)}"
        visit.goto(with_token)
        visit.locator(".pill.live").wait_for()
        visit.context.clear_cookies()
        visit.get_by_text("this browser's token is no longer valid").wait_for()
        assert visit.locator(".contact").inner_text() == (
            "Not updating: this browser's token is no longer valid. "
            "Open the address that the dashboard's terminal prints."
        )
        assert visit.evaluate(PULSE) == "none"
        visit.context.new_page().goto(with_token)  # as the banner says, in another tab
        visit.locator("html:not(.not-updating)").wait_for()
        assert visit.locator(".contact").inner_text() == ""
