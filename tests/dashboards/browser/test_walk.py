"""A visitor in a real browser: every page, no error, no request to another host."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboards.analysis import PageAnalysis
from tracker.trial import Objective

pytestmark = pytest.mark.slow


def test_a_visitor_walks_through_and_takes_the_yaml_away(page, address, records):
    page.goto(address)
    page.get_by_role("heading", name="support", level=1).wait_for()
    page.locator("#sweep-best .point").first.wait_for()
    assert page.title() == "Sweep · support · sft-select"

    page.get_by_role("link", name="Scaling").click()
    page.locator(".facet .point").first.wait_for()
    page.get_by_role("link", name="slots").press("Enter")
    page.get_by_role("heading", name="slots, score against examples").wait_for()
    assert "task=slots" in page.url
    page.go_back()
    page.get_by_role("heading", name="intent, score against examples").wait_for()

    page.get_by_role("link", name="Trials").click()
    page.get_by_role("heading", name="Every trial").wait_for()
    page.get_by_role("link", name="48", exact=True).click()
    page.get_by_role("heading", name="Trial 48", level=1).wait_for()
    assert "trial=48" in page.url
    page.go_back()
    page.get_by_role("heading", name="Every trial").wait_for()

    page.get_by_role("link", name="Recommendation").click()
    page.get_by_text("Probability of being the best", exact=True).wait_for()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download YAML").click()
    spec_text = page.locator("#yaml-text").text_content()
    took = Path(download.value.path()).read_bytes()
    assert download.value.suggested_filename == "recommended.yaml"
    assert took.decode() == spec_text
    objective = Objective(
        weights={"intent": 2, "slots": 1}, constraints={"forgetting.english": 0.1}
    )
    assert took.decode() == PageAnalysis(records, objective, sweep="support").answer().config
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
