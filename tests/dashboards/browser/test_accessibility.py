"""What axe finds on every page: nothing serious, light or dark, wide or narrow, all unfolded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from dashboards.app import PAGES
from tests.dashboards.browser.conftest import served

pytestmark = pytest.mark.slow

SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def address(workspace: Path) -> Iterator[str]:
    """Over the sweep that is under way, with its controls."""
    with served(workspace, "--control") as found:
        yield found


def open_all(page) -> None:
    """Unfold what is folded, but for the menus: tables, older entries, the forms of the controls."""
    page.evaluate(
        "document.querySelectorAll('details:not(.menu)').forEach(d => { d.open = true; })"
    )


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
@pytest.mark.parametrize(
    "path", [*(page.path for page in PAGES), "/trials?trial=45", "/trials?compare=33,45"]
)
def test_nothing_serious_stands_in_anyone_s_way(page, address, path, scheme, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.goto(f"{address}{path}")
    page.locator("main h1").first.wait_for()
    page.wait_for_load_state("networkidle")
    open_all(page)
    if path == "/":
        page.locator("#control-raise").wait_for()  # which the forms' being open lets be seen
        page.locator("#control-stop-trial").click()
        page.get_by_text("Not sent.").wait_for()
    found = Axe().run(page).response["violations"]
    bad = [
        f"{v['id']}: {v['help']}: {[node['html'][:160] for node in v['nodes'][:3]]}"
        for v in found
        if v["impact"] in SERIOUS
    ]
    assert bad == []
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
