"""Sweeps that show little: what terminal, Python, page, report and export say of each, word for word."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from typer.testing import CliRunner

import sft_select
from dashboards.analysis import PageAnalysis
from dashboards.pages.recommend import content
from dashboards.report.sections import sections
from dashboards.snapshot import SweepView
from dashboards.state import Query
from sweeps import cli
from sweeps.scores.bootstrap import resamples
from tests.factories import numbered, scored_record, store_sweep
from tracker.errors import NoRecommendationError
from tracker.replicates import Replicates
from tracker.store.store import Store
from tracker.trial import Objective, Status, TrialRecord

OBJECTIVE = Objective(weights={"intent": 1.0})


def on_rows(rows: Sequence[float], **fields: Any) -> TrialRecord:
    """A trial whose answers scored *rows*, with the bootstrap of just these rows."""
    weights, values = resamples("intent", len(rows)), np.array(rows, dtype=float)
    replicates = weights @ values / len(rows)
    record = scored_record(scores={"intent": float(values.mean())}, **fields)
    (score,) = record.result.tasks
    measured = {"n": len(rows), "score_se": float(replicates.std())}
    score = score.model_copy(update=measured | {"replicates": Replicates(replicates.tolist())})
    return record.model_copy(
        update={"result": record.result.model_copy(update={"tasks": (score,)})}
    )


def untouched(rows: Sequence[float]) -> TrialRecord:
    return on_rows(rows, method="none", forgetting=0.0)


DIVERGED = [scored_record(rate=rate, status=Status.DIVERGED) for rate in (0.1, 0.3)]
SWEEPS = {
    "one-untouched": [untouched([1, 0] * 60)],
    "only-diverged": DIVERGED,
    "untouched-and-diverged": [untouched([1, 0] * 60), *DIVERGED],
    "all-zero": [untouched([0] * 12), on_rows([0] * 12), on_rows([0] * 12, method="lora")],
    "twelve-rows": [
        untouched([0] * 12),
        on_rows([1] + [0] * 11, method="lora"),
        on_rows([0.125] * 12),
    ],
}
NONE_YET = {
    "one-untouched": "no recommendation yet: only untouched base models were measured (small), and no "
    "fine-tune is complete; to get one, run the sweep",
    "only-diverged": "no recommendation yet: no trial is complete (2 diverged); to get one, lower the "
    "learning rates, and run the sweep again",
    "untouched-and-diverged": "no recommendation yet: only untouched base models were measured (small), "
    "and no fine-tune is complete (2 diverged); to get one, lower the learning rates, and run the sweep "
    "again",
    "all-zero": "no recommendation yet: each of 3 candidates scored exactly 0 on 12 rows (intent), so none "
    "is better than another; to get one, look at the answers of a trial, mend prompt, answer or score, or "
    "train on more examples",
}


class Said(NamedTuple):
    """What the terminal wrote: standard output, and the line of the error with its exit code."""

    out: str
    error: str
    code: int


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("little")
    store = Store.open(folder)
    for name, records in SWEEPS.items():
        store_sweep(store, name, records, OBJECTIVE)
    return folder


def said(workspace: Path, *words: object) -> Said:
    arguments = ["recommend", *map(str, words), "--workspace", str(workspace)]
    done = CliRunner().invoke(cli.app, arguments)
    if isinstance(done.exception, NoRecommendationError):
        return Said(done.stdout, done.exception.for_command_line(), done.exception.exit_code)
    return Said(done.stdout, "", done.exit_code)


def text_of(node: Any) -> str:
    """All text below *node*, a Dash component or a list of them."""
    if isinstance(node, (str, int, float)):
        return str(node)
    children = node if isinstance(node, (list, tuple)) else getattr(node, "children", None)
    parts = children if isinstance(children, (list, tuple)) else [children]
    return " ".join(text_of(part) for part in parts if part is not None)


def views(workspace: Path, name: str) -> list[str]:
    """The text of the page, and of the report's first section."""
    store = Store.open(workspace, create=False)
    info = next(info for info in store.sweeps() if info.name == name)
    view = SweepView(info, PageAnalysis.of_sweep(store, name), (), 0.0)
    first = sections(view, Query(name))[0].content("light")
    return [text_of(content(view, Query(name), None)), text_of(first)]


@pytest.mark.parametrize("name", NONE_YET)
def test_no_recommendation_is_the_same_line_everywhere(workspace: Path, name: str) -> None:
    line, file = NONE_YET[name], workspace / f"{name}.yaml"
    assert said(workspace, name) == Said("", line, 4)
    assert said(workspace, name, "-o", file) == Said("", line, 4)
    assert not file.exists()
    as_json = json.loads(said(workspace, name, "--json").out)
    assert as_json["recommendation"] is None
    assert as_json["why"] in line
    assert as_json["needed"] in line
    with pytest.raises(NoRecommendationError) as error:
        sft_select.open(workspace)[name].recommend()
    assert str(error.value) == line
    for text in views(workspace, name):
        assert "No recommendation yet" in text
        assert line in text
        for claim in ("clear choice", "100 %", "Train this", "recommended.yaml"):
            assert claim not in text


def test_twelve_rows_are_named_and_their_interval_is_wide(workspace: Path) -> None:
    """All twelve answers scored one eighth: the bootstrap's error is exactly 0, which shows nothing."""
    answer = said(workspace, "twelve-rows", "--why").out
    assert "12.5 % (80 % interval 7.7 to 19.3 %), best with probability" in answer
    assert "measured on only 12 rows" in answer
    assert (
        "Caveat: It was measured on 12 validation rows, which limits the answer (a score on so few is known "
        "to ± 18 points at worst): give every task 100 or more." in answer
    )
    for text in (answer, *views(workspace, "twelve-rows")):
        assert "100 %" not in text
        assert "clear choice" not in text
    found = sft_select.open(workspace)["twelve-rows"].recommend()
    assert 0 < found.p_best < 1
    assert found.choice.rows == 12


@pytest.mark.parametrize("rows", [12, 40, 400])
@pytest.mark.parametrize("right", [0, 1])
def test_intervals_keep_to_the_scale_and_are_never_a_point(rows: int, right: int) -> None:
    """A score of exactly 0 or 1, and one beside it."""
    near = [right] * (rows - 1) + [1 - right]
    records = [untouched([right] * rows), on_rows(near), on_rows([0.5] * rows, method="lora")]
    found = PageAnalysis(numbered(records), OBJECTIVE)
    for candidate in found.candidates:
        quality = candidate.quality
        assert quality.low is not None
        assert quality.high is not None
        assert 0 <= quality.low <= quality.value <= quality.high <= 1
        assert quality.high - quality.low > 0.3 / rows
