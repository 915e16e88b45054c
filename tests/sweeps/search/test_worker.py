"""A worker whose driver is gone ends without a word, and blames no trial."""

from __future__ import annotations

from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest

from sweeps.finetune.contract import Reporter, TrialHome
from sweeps.search.engines.engine import Job
from sweeps.search.worker import Ready, run_job, serve
from tests.factories import trial_result, trial_spec
from tracker.store.journal import Journal
from tracker.trial import Status, TrialResult, TrialSpec


def forgiving(spec: TrialSpec, _home: TrialHome, reporter: Reporter, **_: Any) -> TrialResult:
    """A trial that takes any exception for its own fault, as ``run_trial`` does."""
    try:
        for step in (1, 2, 3):
            reporter.beat()
            reporter.step(step, {"train/loss": 1.0})
    except Exception as error:
        return trial_result(spec, Status.FAILED, reason=str(error))
    return trial_result(spec)


def test_a_trial_without_a_driver_has_no_result(tmp_path: Path) -> None:
    spec, journal = trial_spec(), tmp_path / "journal.jsonl"
    home = TrialHome(tmp_path / "c", tmp_path / "a", tmp_path / "b")
    ours, theirs = Pipe()
    theirs.close()
    with pytest.raises(SystemExit):
        run_job(Job(spec.key, spec, home, str(journal)), ours, forgiving)
    assert Journal(journal).result() is None


@pytest.mark.parametrize("heard", [True, False])
def test_a_driver_may_go_at_any_moment(heard: bool) -> None:
    """Unread messages make the pipe's end a reset connection."""
    ours, theirs = Pipe()
    if heard:
        theirs.close()
        serve(ours, forgiving)
        return
    ours.send(Ready())
    theirs.close()
    serve(ours, forgiving)
