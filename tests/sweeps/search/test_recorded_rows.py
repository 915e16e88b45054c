"""Rows of a private sweep: their texts are in no file of the workspace, report or final model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from pathlib import Path

import pytest

from dashboards.report.__main__ import main as write_report
from sweeps.data.recorded import PREFIX
from sweeps.finetune.final import train_config
from sweeps.finetune.trial import run_trial
from sweeps.resolve import ResolvedSweep
from sweeps.search import run as run_module
from sweeps.search.engines.engine import Event, Job
from sweeps.search.run import _leaving, run_sweep
from sweeps.search.worker import run_job
from tests.factories import sweep_text
from tracker.export.config import Config, config_files, read_config
from tracker.store.store import Store
from tracker.trial import RecordAnswers, TrialRecord

LABELS = ["xqlabel-amber", "xqlabel-brass", "xqlabel-coral", "nothing"]
#: In every prompt, in every label but the negative one, and in every text.
MARKS = (b"xqprompt", b"xqlabel", b"xqtext")


class InProcess:
    """Engine that runs each job in this process, as a worker does."""

    slots = 1

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def events(self, timeout: float) -> Iterator[Event]:
        jobs, self.jobs = self.jobs, []
        for job in jobs:
            mine, theirs = Pipe()
            with mine, theirs:
                yield run_job(job, theirs, run_trial)

    def cancel(self, key: str) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[TrialRecord]]:
    """``run(file, workspace, note)`` runs the sweep file, its trials in this process."""

    @contextmanager
    def here(_: ResolvedSweep) -> Iterator[InProcess]:
        yield InProcess()

    monkeypatch.setattr(run_module, "_engine", here)
    return lambda file, workspace, note: run_sweep(file, workspace, note=note).records


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data files in which every text is marked; one label occurs once."""
    folder = tmp_path_factory.mktemp("marked")
    lines = [{"text": f"xqprompt {i} say it", "label": LABELS[i % 4]} for i in range(112)]
    lines[0]["label"] = "xqlabel-rare"
    for split, part in {
        "train": lines[:80],
        "validation": lines[80:104],
        "test": lines[104:],
    }.items():
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    for name in ("general", "replay"):
        texts = ({"text": f"xqtext {name} {i} rain fell"} for i in range(16))
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(text) + "\n" for text in texts))
    return folder


def private_sweep(model: Path, rows: Path, record: RecordAnswers, **changes: object) -> str:
    def template() -> dict[str, object]:  # once each: a sweep file has no anchors
        return {"prompt": {"instruction": "name it", "input": "{text}"}, "answer": "{label}"}

    intent = {"train": str(rows / "train.jsonl"), "score": "macro_f1", "negative": "nothing"}
    held_out = {"validation": str(rows / "test.jsonl"), "measure": "score"}
    content: dict[str, object] = {
        "models": [{"path": str(model), "name": "a"}],
        "methods": {"lora": {"rank": 4, "learning_rate": 1e-2}},
        "tasks": {"intent": {**template(), **intent, "pattern": "[a-z]+"}},
        "general": {
            "language": {"text": str(rows / "general.jsonl")},
            "held_out": {**template(), **held_out},
        },
        "volumes": [16],
        "mixes": {"plain": {"intent": 1, "replay": 0.5}},
        "budget": {"trials": 2},
        "record_answers": record,
        "engine": {"workers": 1, "checkpoint_seconds": 0},
        "allow_leakage": True,
    }
    return sweep_text(model, rows, **(content | changes))


def files_with_a_mark(root: Path) -> list[str]:
    """Files below *root*, databases included, that hold a marked text."""
    return [
        str(path.relative_to(root))
        for path in sorted(root.rglob("*"))
        if path.is_file() and any(mark in path.read_bytes() for mark in MARKS)
    ]


def records_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "intent.validation.jsonl").open()]


def test_a_private_row_is_in_no_file_of_workspace_report_or_final_model(
    run: Callable[..., list[TrialRecord]], rows: Path, tiny_model: Path, tmp_path: Path
) -> None:
    file, runs = tmp_path / "sweep.yaml", tmp_path / "runs"
    said: list[str] = []
    file.write_text(private_sweep(tiny_model, rows, "hashed"))
    hashed = run(file, runs, said.append)
    file.write_text(private_sweep(tiny_model, rows, "none", name="nothing", budget={"trials": 1}))
    none = run(file, runs, said.append)
    assert {r.result.status.value for r in (*hashed, *none)} == {"complete"}
    words = "\n".join(said)
    assert "has a single example" in words
    assert "do not match" in words
    assert "xqlabel" not in words

    store = Store.open(runs)
    for sweep, record in (("tiny", hashed[-1]), ("nothing", none[-1])):
        files = config_files(Config(sweep=sweep, trial=record.result.spec), "chosen.yaml")
        (runs / "chosen.yaml").write_text(files.config)
        assert read_config(runs / "chosen.yaml").trial == record.result.spec
        model = runs / f"model-{sweep}"
        train_config(read_config(runs / "chosen.yaml"), files.config, model, store)
        html = str(runs / f"{sweep}.html")
        assert write_report(["--workspace", str(runs), "--sweep", sweep, "--output", html]) == 0
    assert files_with_a_mark(runs) == []

    kept = records_of(runs / "tiny" / "artifacts" / hashed[-1].result.spec.key)
    assert kept == records_of(runs / "model-tiny-records"), "the same digests outside of the sweep"
    assert {str(row["truth"])[: len(PREFIX)] for row in kept} == {PREFIX}
    assert len({row["truth"] for row in kept}) == len(LABELS)
    score = hashed[-1].result.tasks[0]
    right = sum(row["answer"] == row["truth"] for row in kept) / len(kept)
    assert right == score.exact_match, "what is right can still be counted"
    with (rows / "validation.jsonl").open() as lines:
        labels = [json.loads(line)["label"] for line in lines]
    named = {labels[int(str(row["file_row"])) - 1]: row["truth"] for row in kept}
    assert len(named) == len(set(named.values())) == len(LABELS), "a row number leads to its text"
    assert not list((runs / "nothing" / "artifacts").rglob("*.jsonl"))


def test_a_begun_sweep_may_record_less_from_now_on(
    run: Callable[..., list[TrialRecord]], rows: Path, tiny_model: Path, tmp_path: Path
) -> None:
    file, runs = tmp_path / "sweep.yaml", tmp_path / "runs"
    said: list[str] = []
    file.write_text(private_sweep(tiny_model, rows, "all", budget={"trials": 1}))
    run(file, runs, said.append)
    marked = files_with_a_mark(runs)
    assert [name for name in marked if name.endswith("intent.validation.jsonl")], "the search works"
    assert [name for name in marked if name.endswith("data.json")]
    assert "xqlabel-rare" in "\n".join(said)
    file.write_text(private_sweep(tiny_model, rows, "none", budget={"trials": 2}))
    first, second = run(file, runs, said.append)
    assert "was all, is none from now on; what ended trials recorded stays in" in "\n".join(said)
    assert list((runs / "tiny" / "artifacts" / first.result.spec.key).iterdir())
    assert not list((runs / "tiny" / "artifacts" / second.result.spec.key).iterdir())
    assert "xq" not in Store.open(runs).data_profile("tiny").model_dump_json()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("record", "store", "said"),
    [
        ("all", "http://user:secret@tracking:5000", True),
        ("all", "postgresql://user:secret@db/mlflow", True),
        ("all", "sqlite:////tmp/mlflow.db", False),
        ("all", None, False),
        ("hashed", "http://tracking:5000", False),
        ("none", "http://tracking:5000", False),
    ],
)
def test_what_would_leave_this_machine_is_said_before_it_does(
    make_sweep: Callable[..., tuple[ResolvedSweep, Path]],
    record: RecordAnswers,
    store: str | None,
    said: bool,
) -> None:
    sweep, _ = make_sweep(record_answers=record)
    words = _leaving(sweep, store) or ""
    assert ("answers and texts of rows go to" in words) is said
    assert "secret" not in words
