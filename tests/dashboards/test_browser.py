"""The real server in a real browser: every page, no error, no request to another host."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from dashboards.findings import Findings
from tracker.record.trial import Objective

pytestmark = pytest.mark.slow

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{CHROMIUM} is missing; install Debian's chromium")
        pytest.skip(f"{CHROMIUM} is missing; install Debian's chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def address(workspace: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "dashboards", "--workspace", str(workspace), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline())
        assert found, "the server did not say where it listens"
        yield found[0]
        server.terminate()


@pytest.fixture
def page(browser, address):
    """A page that fails its test on a console error, a script error or a foreign request."""
    context = browser.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.set_default_timeout(30_000)
    wrong: list[str] = []
    page.on("console", lambda m: m.type in ("error", "warning") and wrong.append(m.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))

    def own(request: object) -> None:
        url = urlsplit(request.url)  # type: ignore[attr-defined]
        if url.scheme in ("http", "https", "ws", "wss") and url.netloc != urlsplit(address).netloc:
            wrong.append(f"foreign request: {url.geturl()}")

    page.on("request", own)
    yield page
    context.close()
    assert wrong == []


def test_a_visitor_walks_through_and_takes_the_yaml_away(page, address, records):
    page.goto(address)
    page.get_by_role("heading", name="support", level=1).wait_for()
    page.locator("#sweep-best .point").first.wait_for()
    page.get_by_text("1 to 20 of 49", exact=True).wait_for()
    assert page.title() == "Sweep · support · sft-select"

    page.get_by_role("link", name="Scaling").click()
    page.locator(".facet .point").first.wait_for()
    page.get_by_role("link", name="slots").press("Enter")
    page.get_by_role("heading", name="slots, score against examples").wait_for()
    assert "task=slots" in page.url
    page.go_back()
    page.get_by_role("heading", name="intent, score against examples").wait_for()

    page.get_by_role("link", name="Recommendation").click()
    page.get_by_text("Chance of being the best").wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download YAML").click()
    spec_text = page.locator("#yaml-text").text_content()
    took = Path(download.value.path()).read_bytes()
    assert download.value.suggested_filename == "recommended.yaml"
    assert took.decode() == spec_text
    asked = Objective(weights={"intent": 2, "slots": 1}, constraints={"forgetting.english": 0.1})
    assert took.decode() == Findings("support", records, asked).answer().config
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390


def test_a_link_restores_the_same_view_in_the_dark(page, address):
    page.emulate_media(color_scheme="dark")
    page.goto(f"{address}/scaling?metric=bits_per_byte&models=en-1m&axis=linear")
    page.get_by_role("heading", name="intent, bits per byte against examples").wait_for()
    assert page.locator(".facet").count() == 1
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.get_by_role("button", name="Switch between light and dark").click()
    page.wait_for_function("document.documentElement.dataset.theme === 'light'")
