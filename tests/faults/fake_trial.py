"""A trial without training: real steps in the journal, real checkpoints and files, known scores.

It takes the place of :func:`sweeps.finetune.trial.run_trial` in a real worker process, so that a thousand
kills of driver and workers take minutes.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from functools import partial
from pathlib import Path
from typing import Any

from sweeps.baselines.untouched import base_suites
from sweeps.finetune import checkpoint
from sweeps.finetune.contract import Reporter, TrialHome
from sweeps.finetune.evaluate import Baseline, SuiteEvaluation
from sweeps.finetune.trial import disk_refusal
from tests.factories import replicates, suite_score, task_score
from tracker.errors import StoreError
from tracker.files import json_lines, whole_folder, write_atomically
from tracker.trial import Cost, TrialResult, TrialSpec

#: Environment variables of the fake: steps of a trial, seconds of a step.
STEPS, STEP_SECONDS = "FAKE_TRIAL_STEPS", "FAKE_TRIAL_STEP_SECONDS"


def run_trial(spec: TrialSpec, home: TrialHome, reporter: Reporter, **_: Any) -> TrialResult:
    """Pretend to run *spec*: the same files, events and result whatever interrupts it.

    Raises StoreError where the disk refuses, as the real one does.
    """
    try:
        return _fine_tune(spec, home, reporter)
    except Exception as error:
        if problem := disk_refusal(error):
            raise StoreError(f"trial {spec.key}: {problem}") from error
        raise


def _fine_tune(spec: TrialSpec, home: TrialHome, reporter: Reporter) -> TrialResult:
    started = time.time()
    before = base_suites(spec, home.baselines, lambda _spec: _Untouched())  # type: ignore[arg-type,return-value]
    steps = int(os.environ.get(STEPS, "12"))
    if spec.method.name != "none":
        _train(spec, home, reporter, steps)
    if home.model is not None:
        with whole_folder(home.model) as made:
            (made / "config.json").write_text(json.dumps({"of": spec.key}))
    scores = tuple(task_score(task.name, _score(spec), replicates=_resamples(task.name, spec))
                   for task in spec.tasks)  # fmt: skip
    for task in scores:
        rows = [{"row": n, "answer": "yes", "expected": "yes"} for n in range(20)]
        write_atomically(home.artifacts / f"{task.task}.validation.jsonl", json_lines(rows))
    lost = 0.0 if spec.method.name == "none" else 0.01 + spec.volume / 1e5
    tokens = spec.volume * 20
    return TrialResult(
        spec=spec,
        status="complete",
        tasks=scores,
        general=tuple(
            suite_score(suite.name, lost, before=before[suite.name].value) for suite in spec.general
        ),
        cost=Cost(
            device="cpu",
            train_tokens=tokens,
            flops=float(6 * spec.model.size * tokens),
            device_seconds=0.02 * steps,
        ),
        final_train_loss=_loss(spec, steps),
        started_at=started,
        ended_at=time.time(),
    )


def _train(spec: TrialSpec, home: TrialHome, reporter: Reporter, steps: int) -> None:
    found = checkpoint.latest_checkpoint(home.checkpoints, spec.key)
    first = int((found / "state").read_text()) if found else 0
    reporter.resume(first)
    saved_at = time.monotonic()
    for step in range(first + 1, steps + 1):
        time.sleep(float(os.environ.get(STEP_SECONDS, "0.02")))
        reporter.beat()
        reporter.step(step, {"train/loss": _loss(spec, step), "train/learning_rate": 1e-3})
        if time.monotonic() - saved_at >= home.checkpoint_seconds and step < steps:
            write = partial(_state, str(step))
            checkpoint.save_checkpoint(home.checkpoints, spec.key, step, write)
            reporter.checkpoint(step)
            saved_at = time.monotonic()


def _state(state: str, folder: Path) -> None:
    (folder / "state").write_text(state)
    (folder / "weights").write_bytes(bytes(50_000))


def _loss(spec: TrialSpec, step: int) -> float:
    return 1.0 / (1 + step) + _noise(f"{spec.key}:{step}")


def _score(spec: TrialSpec) -> float:
    """A known law over the training-set size, with a noise of its content."""
    floor = {"full": 0.1, "lora": 0.15, "p_tuning": 0.3, "none": 0.4}[spec.method.name]
    return 1 - floor - 0.5 / (1 + spec.volume / 100) + _noise(spec.key)


def _resamples(task: str, spec: TrialSpec) -> tuple[float, ...]:
    return replicates(task, _score(spec))


def _noise(text: str) -> float:
    return (zlib.crc32(text.encode()) % 1000 - 500) / 50_000


class _Untouched:
    """An evaluator that measures one bit per byte of every suite."""

    def text(self, name: str, _text: object, _base: Baseline) -> SuiteEvaluation:
        return SuiteEvaluation(suite_score(name, None, after=1.0), (0.99, 1.0, 1.01))
