"""What can be seen: edges of fields, long names on a phone, the theme where nothing can be kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards.app import PAGES
from tests.dashboards.browser.conftest import served
from tests.dashboards.browser.test_trials import soon
from tracker.store.store import Store
from tracker.trial import Objective, TrialRecord

pytestmark = pytest.mark.slow

LONG = "meta-llama/Llama-3.1-8B-Instruct-"
#: Of each field's edge against the field itself and against the page, as WCAG 2.2 counts it.
CONTRASTS = """([...document.querySelectorAll(%s)].map((field) => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map((v) => v / 255).map(
      (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const style = getComputedStyle(field);
  const edge = light(style.borderTopColor);
  return [style, getComputedStyle(document.body)].map(({ backgroundColor }) => {
    const ground = light(backgroundColor);
    return Math.max(edge, ground) / Math.min(edge, ground);
  });
}))"""


def renamed(record: TrialRecord) -> TrialRecord:
    """*record* of a model with a name as hubs have them."""
    spec = record.result.spec
    model = spec.model.model_copy(update={"name": LONG + spec.model.name})
    spec = spec.model_copy(update={"model": model})
    return record.model_copy(update={"result": record.result.model_copy(update={"spec": spec})})


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, records) -> Iterator[str]:
    """Over a sweep whose models have long names, with its controls."""
    workspace: Path = tmp_path_factory.mktemp("long_names")
    store = Store.open(workspace)
    store.begin_sweep(
        "support",
        spec_text="name: support\n",
        spec_digest="d" * 64,
        planned=len(records),
        datasets=(),
        objective=Objective(weights={"intent": 2, "slots": 1}),
    )
    for record in map(renamed, records):
        store.end_trial("support", record)
    with served(workspace, "--control") as found:
        yield found


@pytest.mark.parametrize("path", [page.path for page in PAGES])
def test_long_names_of_models_fit_on_a_phone(page, address, path):
    page.goto(f"{address}{path}")
    page.locator("main h1").first.wait_for()
    page.wait_for_load_state("networkidle")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("width", [390, 760, 1440])
def test_the_recommended_model_s_long_name_stays_on_its_card(page, address, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{address}/recommend")
    page.locator(".hero .whole").wait_for()
    name, card = (page.locator(one).bounding_box() for one in (".hero .whole", ".hero"))
    assert name["x"] + name["width"] <= card["x"] + card["width"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("path", "fields"), [("/recommend", ".asking-field"), ("/", ".ask-field")])
def test_the_edge_of_a_field_can_be_seen(page, address, path, fields, scheme):
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{address}{path}")
    page.locator(f"{fields} .dash-input-container").first.wait_for(state="attached")
    found = page.evaluate(CONTRASTS % f"'{fields} .dash-input-container'")
    assert found
    assert min(min(pair) for pair in found) >= 3, found


def test_the_theme_can_be_chosen_where_nothing_can_be_kept(page, address):
    page.add_init_script(
        "Object.defineProperty(window, 'localStorage', "
        "{ get() { throw new DOMException('blocked', 'SecurityError'); } });"
    )
    page.emulate_media(color_scheme="light")
    page.goto(address)
    page.get_by_role("heading", name="support", level=1).wait_for()
    button = page.get_by_role("button", name="Switch between light and dark")
    for theme in ("dark", "light"):
        button.click()
        soon(page, "document.documentElement.dataset.theme", theme)
