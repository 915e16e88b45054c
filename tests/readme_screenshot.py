"""The picture in the README: a page of the recorded demo, by ``python -m tests.readme_screenshot [PAGE]``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.dashboards.browser.conftest import CHROMIUM, FLAGS, served
from tests.frozen.inputs import RECORDED, read_records
from tests.readme_figures import RUN
from tracker.store.store import Store

PICTURE = RECORDED / "recommendation.png"
PAGE = "/recommend?sweep=playground"
WIDTH, HEIGHT = 1440, 900
#: Milliseconds in which laws are fitted beside the page and drawn into it.
SETTLED = 10_000


def workspace(folder: Path) -> Path:
    """*folder* as a workspace whose store holds the recorded demo, ended."""
    recorded = read_records(RUN)
    store = Store.open(folder)
    store.begin_sweep(
        recorded.name,
        spec_text=f"name: {recorded.name}\n",
        spec_digest="d" * 64,
        planned=len(recorded.records),
        datasets=[],
        objective=recorded.objective,
    )
    store.end_trials(recorded.name, recorded.records)
    store.set_sweep_state(recorded.name, "finished")
    return folder


def take(page: str = PAGE, to: Path = PICTURE) -> None:
    """Write the picture of *page* to *to*."""
    from playwright.sync_api import sync_playwright

    with (
        tempfile.TemporaryDirectory() as folder,
        served(workspace(Path(folder))) as address,
        sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        tab = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        tab.goto(address + page)
        tab.wait_for_load_state("networkidle")
        tab.wait_for_selector(".js-plotly-plot .main-svg")
        tab.wait_for_timeout(SETTLED)
        tab.screenshot(path=str(to))
        chromium.close()


if __name__ == "__main__":
    take(*sys.argv[1:2])
