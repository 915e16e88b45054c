"""Names, reasons and rows that are script: shown as text on every page, run on none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards.app import PAGES
from tests.dashboards.browser.conftest import served
from tracker.store.store import Store
from tracker.trial import MixSpec, Objective, Status, TrialRecord

pytestmark = pytest.mark.slow

SCRIPT = "<script>window.pwned=1</script><img src=x onerror=window.pwned=1>"


def hostile(record: TrialRecord) -> TrialRecord:
    """*record* with script in every word a user or a file could have put there."""
    result, spec = record.result, record.result.spec
    mix = MixSpec(name=SCRIPT, weights={SCRIPT: 1.0}) if spec.mix else None
    spec = spec.model_copy(
        update={
            "model": spec.model.model_copy(update={"name": SCRIPT + spec.model.name}),
            "tasks": (spec.tasks[0].model_copy(update={"name": SCRIPT}),),
            "mix": mix,
            "examples": {SCRIPT: spec.volume},
        }
    )
    tasks = tuple(t.model_copy(update={"task": SCRIPT}) for t in result.tasks[:1])
    reason = SCRIPT if result.status is not Status.COMPLETE else None
    changes = {"spec": spec, "tasks": tasks, "reason": reason}
    return record.model_copy(update={"result": result.model_copy(update=changes), "stage": SCRIPT})


@pytest.fixture(scope="module")
def address(tmp_path_factory, records) -> Iterator[str]:
    workspace: Path = tmp_path_factory.mktemp("hostile")
    store = Store.open(workspace)
    store.begin_sweep(
        "support",
        spec_text=SCRIPT,
        spec_digest="d" * 64,
        planned=len(records),
        datasets=(),
        objective=Objective(weights={SCRIPT: 1.0}),
        notes=(SCRIPT,),
    )
    for record in {r.result.spec.key: r for r in map(hostile, records)}.values():
        store.end_trial("support", record)
    store.set_sweep_state("support", "finished", fact=SCRIPT)
    with served(workspace) as found:
        yield found


@pytest.mark.parametrize("path", [page.path for page in PAGES])
def test_nothing_of_it_runs(page, address, path):
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.goto(f"{address}{path}")
    page.locator("main h1").first.wait_for()
    page.wait_for_load_state("networkidle")
    # Tables behind charts are made when they are opened.
    page.evaluate("document.querySelectorAll('main details').forEach(d => { d.open = true; })")
    page.wait_for_timeout(300)
    assert page.evaluate("window.pwned") is None
    assert page.locator("img[src=x]").count() == 0
    assert page.locator("main script").count() == 0
