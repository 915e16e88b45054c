"""Menus without a mouse: one that closes, or is drawn anew, leaves the keyboard where it was."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dashboards.browser.conftest import served
from tests.dashboards.browser.test_contact import begin
from tests.dashboards.browser.test_trials import soon

pytestmark = pytest.mark.slow

HERE = """(() => {
  const here = document.activeElement;
  const menu = here.closest("details.menu");
  return menu && [here.tagName, menu.id || "columns", menu.open];
})()"""
WORDS = "document.activeElement.textContent"


@pytest.fixture(scope="module")
def two_sweeps(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up sweep's workspace, and another sweep under way."""
    folder = tmp_path_factory.mktemp("two") / "runs"
    shutil.copytree(workspace, folder)
    return begin(folder, "another")


@pytest.fixture(scope="module")
def address(two_sweeps: Path) -> Iterator[str]:
    with served(two_sweeps, "--sweep", "support") as found:
        yield found


def open_menu(page, summary: str) -> None:
    page.locator(summary).focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate(HERE)[::2] == ["A", True]


def test_choosing_a_sweep_leaves_the_keyboard_on_the_menu(page, address):
    page.goto(address)
    page.get_by_role("heading", name="support", level=1).wait_for()
    open_menu(page, "#sweep-menu summary")
    page.locator("#sweep-menu a", has_text="another").focus()
    page.keyboard.press("Enter")
    assert page.evaluate(HERE) == ["SUMMARY", "sweep-menu", False]
    page.get_by_role("heading", name="another", level=1).wait_for()
    page.locator("#sweep-menu summary", has_text="another").wait_for()
    soon(page, HERE, ["SUMMARY", "sweep-menu", False])


def test_news_leave_an_open_menu_and_its_keyboard_alone(page, address, two_sweeps):
    page.goto(address)
    page.get_by_role("heading", name="support", level=1).wait_for()
    open_menu(page, "#sweep-menu summary")
    page.locator("#sweep-menu a", has_text="support").focus()
    begin(two_sweeps, "third")
    page.locator("#sweep-menu a", has_text="third").wait_for()
    soon(page, HERE, ["A", "sweep-menu", True])
    assert page.evaluate(WORDS).startswith("support")


@pytest.mark.parametrize("summary", ["#sweep-menu summary", ".column-menu summary"])
def test_escape_closes_a_menu_and_goes_back_to_its_summary(page, address, summary):
    page.goto(f"{address}/trials")
    page.locator("#trials-menu a").first.wait_for(state="attached")
    open_menu(page, summary)
    page.keyboard.press("Escape")
    found = page.evaluate(HERE)
    assert found is not None, "the keyboard is nowhere"
    assert found[::2] == ["SUMMARY", False]


def test_several_columns_are_toggled_in_one_go(page, address):
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{address}/trials")
    page.get_by_role("columnheader", name="Quality").wait_for()
    open_menu(page, ".column-menu summary")
    for title in ("Quality", "Mix"):
        page.locator("#trials-menu").get_by_text(title, exact=True).focus()
        page.keyboard.press("Enter")
        page.get_by_role("columnheader", name=title, exact=True).wait_for(state="detached")
        soon(page, HERE, ["A", "columns", True])
        assert page.evaluate(WORDS) == title
    page.keyboard.press("Enter")  # the same toggle shows it again
    page.get_by_role("columnheader", name="Mix", exact=True).wait_for()


def test_who_pressed_elsewhere_is_not_brought_back_by_news(page, address, two_sweeps):
    page.goto(address)
    page.get_by_role("heading", name="support", level=1).wait_for()
    page.locator("#sweep-menu summary").click()
    page.mouse.click(2, 2)  # on the head, which takes no keyboard
    begin(two_sweeps, "fourth")
    page.locator("#sweep-menu a", has_text="fourth").wait_for(state="attached")
    page.wait_for_timeout(300)
    assert page.evaluate(HERE) is None
