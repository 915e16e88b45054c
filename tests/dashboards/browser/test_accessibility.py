"""What axe finds on every page: nothing serious, light or dark, wide or narrow."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe

from dashboards.app import PAGES

pytestmark = pytest.mark.slow

SERIOUS = ("serious", "critical")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
@pytest.mark.parametrize("path", [page.path for page in PAGES])
def test_nothing_serious_stands_in_anyone_s_way(page, address, path, scheme, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.goto(f"{address}{path}")
    page.locator("main h1").first.wait_for()
    page.wait_for_load_state("networkidle")
    found = Axe().run(page).response["violations"]
    bad = [
        f"{v['id']}: {v['help']}: {[node['html'][:160] for node in v['nodes'][:3]]}"
        for v in found
        if v["impact"] in SERIOUS
    ]
    assert bad == []
    assert page.evaluate("document.documentElement.lang") == "en"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
