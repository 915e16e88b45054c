"""The verb ``laws`` on a stored sweep, as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeps.cli import app
from tests.factories import law_score, numbered, scored_record
from tracker.errors import InputError
from tracker.store.store import Store
from tracker.trial import Objective


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stored sweep of two sizes and five volumes under one method and mix."""
    folder = tmp_path_factory.mktemp("laws")
    records = []
    for model in ("small", "large"):
        for volume in (125, 250, 500, 1000, 2000):
            score = law_score(model, "full", volume)
            lost = 0.1 * (volume / 2000) ** 0.5
            records.append(
                scored_record(
                    model=model,
                    volume=volume,
                    scores={"intent": score},
                    bits_per_byte=2 * (1 - score),
                    forgetting=lost,
                )
            )
    store = Store.open(folder)
    store.begin_sweep(
        "told",
        spec_text="name: told\n",
        spec_digest="0" * 64,
        planned=len(records),
        datasets=(),
        objective=Objective(weights={"intent": 1.0}),
    )
    store.end_trials("told", numbered(records))
    return folder


def test_every_law_is_listed_in_words(workspace: Path) -> None:
    done = CliRunner().invoke(app, ["laws", "told", "--workspace", str(workspace)])
    assert done.exit_code == 0, done.output
    assert "small full lr=0.001, even, intent  5     0         125 to 2,000" in done.output
    assert "Forgetting by full on english: " in done.output
    assert "Link, intent: " in done.output
    assert "Not fitted: mix: large full lr=0.001, intent and 1 more: " in done.output


def test_json_holds_forms_domains_errors_and_keys(workspace: Path) -> None:
    words = ["laws", "told", "--workspace", str(workspace), "--json", "--metric", "bits_per_byte"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert found["sweep"] == "told"
    assert [curve["metric"] for curve in found["curves"]] == ["bits_per_byte"] * 2
    for law in (*found["curves"], *found["forgetting"]):
        assert law["form"]
        assert law["held_out_error"] is not None
        assert len(law["used"]) in (5, 10)
    assert found["links"][0]["proxy"] is True
    assert len(found["refused"]) == 2


def test_a_recommendation_can_bring_the_further_laws(workspace: Path) -> None:
    words = ["recommend", "told", "--workspace", str(workspace)]
    plain, done = (CliRunner().invoke(app, [*words, *more]) for more in ([], ["--laws"]))
    assert done.exit_code == 0, done.output
    assert done.output.startswith(plain.output)
    told = done.output.removeprefix(plain.output)
    listed = CliRunner().invoke(app, ["laws", "told", "--workspace", str(workspace)]).output
    assert told.strip() in listed
    assert "Forgetting by full on english: " in told
    assert "Link, intent: " in told
    found = json.loads(CliRunner().invoke(app, [*words, "--laws", "--json"]).output)
    assert set(found["laws"]) == {"forgetting", "mixes", "links", "refused"}
    assert found["laws"]["forgetting"][0]["form"]
    assert "laws" not in json.loads(CliRunner().invoke(app, [*words, "--json"]).output)


def test_an_unknown_metric_is_one_line(workspace: Path) -> None:
    words = ["laws", "told", "--workspace", str(workspace), "--metric", "accuracy"]
    done = CliRunner().invoke(app, words)
    assert isinstance(done.exception, InputError)
    assert "--metric accuracy: allowed: score" in str(done.exception)
