"""A visitor finds the critical data size of two methods, and what each costs elsewhere, in a browser."""

from __future__ import annotations

import re

import pytest

pytestmark = pytest.mark.slow


def test_the_critical_size_between_two_methods_is_two_clicks_away(page, address):
    page.goto(address)
    page.get_by_role("link", name="Scaling").click()
    page.get_by_role("link", name="slots").click()
    card = page.get_by_label("Critical data sizes: which method wins at how much data", exact=True)
    answer = card.locator(".answers li").first
    answer.wait_for()
    assert re.match(r"en-0\.1m: .+ examples", answer.inner_text())
    card.get_by_role("link", name="LoRA or P-tuning").click()
    page.wait_for_url("**pair=lora*p_tuning**")
    card.get_by_text("P-tuning").first.wait_for()


def test_the_table_behind_a_chart_is_made_when_opened_and_changes_with_the_page(page, address):
    page.goto(f"{address}/scaling?task=intent")
    behind = page.locator("details.data", has_text="Show the measured runs")
    assert behind.locator("td").count() == 0
    behind.locator("summary").click()
    behind.locator("td").first.wait_for()
    assert behind.locator("th").first.inner_text() == "Model"
    before = behind.locator("tbody").inner_text()
    assert "Untouched base" in before
    page.get_by_role("link", name="slots").first.click()
    page.get_by_role("heading", name="slots, score against examples").wait_for()
    if not behind.evaluate("details => details.open"):
        behind.locator("summary").click()
    behind.locator("td").first.wait_for()
    assert behind.locator("tbody").inner_text() != before


def test_forgetting_by_method_is_said_and_shown(page, address):
    page.goto(f"{address}/generalisation?task=intent&model=en-0.3m&volume=500")
    page.get_by_text("Full tuning: quality from").wait_for()
    page.locator(".facet .point").first.wait_for()
    page.get_by_role("link", name="Untrained tasks").click()
    page.get_by_text("Mix even leaves no task untrained").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("link", name="Show mix intent").click()
    page.get_by_text("on tasks it was not trained on").first.wait_for()
