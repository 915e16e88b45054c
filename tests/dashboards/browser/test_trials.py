"""The trials grid without a mouse and in the dark, and the tabs on a phone."""

from __future__ import annotations

import time

import pytest

from dashboards.app import PAGES

pytestmark = pytest.mark.slow

_STANDS = """(() => {
  const here = document.activeElement;
  const row = here.closest("#trials-table [row-index]");
  return row ? [Number(row.getAttribute("row-index")), here.getAttribute("col-id")] : here.id;
})()"""


def soon(page, script, expected):
    """*script* comes to give *expected*; Playwright's own waiting breaks the security policy."""
    until = time.monotonic() + 20
    while (found := page.evaluate(script)) != expected:
        assert time.monotonic() < until, f"{found}, not {expected}"
        page.wait_for_timeout(100)


@pytest.fixture
def grid(page, address):
    page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="dark")
    page.goto(f"{address}/trials")
    page.get_by_role("link", name="48", exact=True).wait_for()
    return page


def test_a_row_is_reached_ticked_opened_and_left_by_keyboard(grid):
    grid.locator("details.column-menu summary").focus()
    for key in ("Tab", "Tab", "ArrowDown", "ArrowDown"):
        grid.keyboard.press(key)
    assert grid.evaluate(_STANDS) == [1, "number"]
    grid.keyboard.press("Space")
    grid.get_by_text("1 trial ticked").wait_for()

    grid.keyboard.press("ArrowRight")
    grid.keyboard.press("Enter")
    grid.get_by_role("heading", name="Trial 47", level=1).wait_for()
    soon(grid, _STANDS, "main")
    grid.keyboard.press("Tab")
    grid.keyboard.press("Enter")  # on the way back to all trials
    grid.get_by_role("heading", name="Every trial").wait_for()
    soon(grid, _STANDS, [1, "model"])
    grid.get_by_text("1 trial ticked").wait_for()

    grid.keyboard.press("Enter")
    grid.get_by_role("heading", name="Trial 47", level=1).wait_for()
    grid.go_back()
    soon(grid, _STANDS, [1, "model"])
    grid.keyboard.press("Tab")
    assert grid.evaluate(_STANDS) == "", "Tab leaves the grid"


def test_a_copied_link_shows_a_colleague_the_sweep_and_the_ticks(grid, browser):
    """The address is completed in place: it opened without a sweep, and there is no step to go back."""
    soon(grid, "window.location.search", "?sweep=support")
    steps = grid.evaluate("window.history.length")
    for place in (0, 1):
        grid.locator("#trials-table .ag-selection-checkbox input").nth(place).click()
    grid.get_by_text("2 trials ticked").wait_for()
    soon(grid, "window.location.search", "?sweep=support&ticked=48%2C47")
    assert grid.evaluate("window.history.length") == steps
    colleague = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    colleague.goto(grid.url)
    colleague.get_by_text("2 trials ticked").wait_for()
    assert colleague.locator("#sweep-menu summary").inner_text().split() == ["Sweep", "support"]
    colleague.context.close()


def test_the_grid_follows_the_dark_theme_to_its_scrollbars(grid):
    scheme = (
        "getComputedStyle(document.querySelector('#trials-table .ag-root-wrapper')).colorScheme"
    )
    assert grid.evaluate(scheme) == "dark"
    grid.get_by_role("button", name="Switch between light and dark").click()
    soon(grid, scheme, "light")


def test_trials_under_way_stand_above_the_grid(grid):
    running = grid.get_by_role("region", name="Running now")
    running.get_by_text("#50").wait_for()
    running.get_by_role("link", name="Sweep page").click()
    grid.get_by_role("heading", name="support", level=1).wait_for()


@pytest.mark.parametrize("width", [390, 760, 1000, 1280])
def test_the_head_fits_at_every_width(page, address, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(address)
    page.locator("#tabs a[aria-current]").wait_for()
    heights = page.locator("#tabs a").evaluate_all("tabs => tabs.map(tab => tab.clientHeight)")
    assert len(set(heights)) == 1
    assert heights[0] < 70, "a tab's words stand on one line"
    name = page.locator("#sweep-menu summary > span").last.evaluate(
        "span => [span.clientWidth, span.scrollWidth]"
    )
    assert name[0] > 30, "the name of the sweep can be read"
    page.locator("#theme-button").wait_for()
    # Read in one step: the menu may be rendered anew between two.
    right, left = page.evaluate(
        "[document.querySelector('#sweep-menu summary').getBoundingClientRect().right,"
        " document.querySelector('#theme-button').getBoundingClientRect().left]"
    )
    assert right <= left
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("motion", ["reduce", "no-preference"])
def test_the_open_page_s_tab_is_in_view_on_a_phone(page, address, motion):
    page.emulate_media(reduced_motion=motion)
    inside = """(() => {
      const tab = document.querySelector("#tabs a[aria-current]")?.getBoundingClientRect();
      return Boolean(tab) && tab.left >= 0 && tab.right <= window.innerWidth;
    })()"""
    page.goto(f"{address}{PAGES[-1].path}")
    soon(page, inside, True)
    for title in (PAGES[0].title, PAGES[-1].title):
        page.locator("#tabs").get_by_role("link", name=title, exact=True).press("Enter")
        page.locator("#tabs a[aria-current]").get_by_text(title, exact=True).wait_for()
        soon(page, inside, True)
    page.locator("#tabs").evaluate("row => row.scrollTo({left: 0, behavior: 'instant'})")
    page.wait_for_timeout(5000)  # of news, which draw the tabs anew
    assert page.locator("#tabs").evaluate("row => row.scrollLeft") == 0, (
        "a reader scrolls as they like"
    )


def test_a_filter_takes_per_cent_as_the_column_shows_them(grid):
    heading = grid.get_by_role("columnheader", name="Quality")
    heading.hover()
    heading.locator(".ag-header-cell-filter-button").click()
    grid.get_by_role("combobox", name="Filtering operator").click()
    grid.get_by_role("option", name="Greater than", exact=True).click()
    grid.get_by_role("textbox", name="Filter Value").fill("50")
    soon(grid, "new URL(location).searchParams.get('where')", "quality:greaterThan:0.5")
    shown = "[...document.querySelectorAll('#trials-table [col-id=quality][role=gridcell]')]"
    soon(grid, f"{shown}.length > 0 && {shown}.every(c => parseFloat(c.innerText) > 50)", True)


def test_a_filter_in_the_address_is_shown_as_the_column_shows_it(page, address):
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{address}/trials?where=quality:greaterThan:0.5")
    page.get_by_role("columnheader", name="Quality").wait_for()
    heading = page.get_by_role("columnheader", name="Quality")
    heading.hover()
    heading.locator(".ag-header-cell-filter-button").click()
    assert page.get_by_role("textbox", name="Filter Value").first.input_value() == "50"
