"""The pages on outside results: losses, methods of others, sizes and costs that are not known."""

from pathlib import Path

import pytest

from dashboards.analysis import PageAnalysis
from dashboards.pages import recommend, scaling, sweep
from dashboards.snapshot import SweepView
from dashboards.state import Query
from tracker.importing.trials import read_table
from tracker.store.store import SweepInfo

HEAD = "model,model_params,family,method,task,metric,examples,value"
SIZES = [0, *(200 * 2**k for k in range(5))]


def seen(folder: Path, metric: str, size: str) -> SweepView:
    rows = [HEAD]
    for method, gain in (("full", 0.1), ("adalora/r32", 0.0)):
        for n in SIZES:
            loss = (2.5 - gain * (n > 0)) * (1 + n / 300) ** -0.15
            value = loss if metric == "loss" else 1 - loss / 3
            rows.append(f"m,{size},F,{method},t,{metric},{n},{value:.5f}")
    path = folder / "table.csv"
    path.write_text("\n".join(rows))
    table = read_table(path)
    info = SweepInfo("outside", "finished", None, 0.0, 1.0, {"complete": len(table.records)}, {})
    return SweepView(
        info,
        PageAnalysis(table.records, table.objective, sweep="outside", notes=table.notes),
        (),
        2.0,
    )


@pytest.mark.parametrize(("metric", "size"), [("loss", "1000"), ("loss", ""), ("accuracy", "")])
def test_every_page_is_rendered(tmp_path: Path, words, metric: str, size: str) -> None:
    view = seen(tmp_path, metric, size)
    assert sweep.content(view, None)
    curves = words(scaling.content(view, Query("outside"), None))
    assert "adalora" in curves
    assert ("relative error in the loss" in curves) == (metric == "loss")
    answer = words(recommend.content(view, Query(), "dark"))
    assert "Full tuning on" in answer
    assert "measured elsewhere" in answer
    assert "Download YAML" not in answer
    assert ("−1.66" in answer) == (metric == "loss")
