"""Another question in the browser, its link, and the report without a network."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def test_another_question_goes_to_the_address_and_a_link_restores_it(page, address, workspace):
    page.goto(f"{address}/recommend")
    page.get_by_text("Probability of being the best").wait_for()
    page.get_by_text("Ask something else").click()
    page.get_by_label("All tasks together").fill("1000")
    page.get_by_label("Peak memory").fill("much")
    page.get_by_label("Peak memory").press("Enter")
    page.get_by_text("found much; allowed: a number, such as 0.5").first.wait_for()
    page.get_by_label("Peak memory").fill("0.5")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_role("heading", name="With 1,000 examples").wait_for()
    link = page.url
    assert "constraint=examples%3D1000" in link
    assert "constraint=peak_bytes%3D500000000" in link
    with page.expect_download() as download:
        page.get_by_role("link", name="Download YAML").click()
    took = Path(download.value.path()).read_bytes()

    page.goto("about:blank")
    page.goto(link)
    page.get_by_role("heading", name="With 1,000 examples").wait_for()
    assert page.get_by_label("All tasks together").input_value() == "1000"
    assert page.get_by_label("Peak memory").input_value() == "0.5"
    assert page.locator("#yaml-text").text_content().encode() == took
    page.get_by_role("link", name="Reset").click()
    page.get_by_role("heading", name="With 1,000 examples").wait_for(state="detached")
    assert "constraint" not in page.url


def test_a_report_shows_every_chart_without_a_network(browser, workspace, tmp_path):
    path = tmp_path / "report.html"
    command = [sys.executable, "-m", "dashboards.report", "--workspace", str(workspace)]
    subprocess.run([*command, "--sweep", "support", "--output", str(path)], check=True)
    context = browser.new_context(offline=True, color_scheme="dark")
    page = context.new_page()
    page.set_default_timeout(30_000)
    wrong: list[str] = []
    page.on("console", lambda m: wrong.append(m.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: r.url.startswith("file:") or wrong.append(r.url))
    page.goto(path.as_uri())
    charts = page.locator(".chart").count()
    assert charts > 3
    assert page.locator(".chart:has(.main-svg)").count() == charts
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.emulate_media(color_scheme="light")
    page.locator("html[data-theme=light]").wait_for(state="attached")
    page.set_viewport_size({"width": 390, "height": 844})
    # Charts follow the window a moment later; the report's own policy forbids to wait in the page.
    until = time.monotonic() + 20
    while page.evaluate("document.documentElement.scrollWidth") > 390:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert page.pdf(path=tmp_path / "report.pdf", prefer_css_page_size=True)
    context.close()
    assert wrong == []
