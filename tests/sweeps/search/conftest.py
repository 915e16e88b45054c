"""A small sweep over the tiny model, and an engine that answers from a formula instead of training."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from sweeps.resolve import ResolvedSweep, read_sweep
from sweeps.search.driver import Driver
from sweeps.search.engine import Ended, Event, Job
from sweeps.search.folder import SweepFolder
from sweeps.search.ledger import Ledger
from tracker.record.control import Answer, Request
from tracker.record.journal import Journal
from tracker.record.trial import Cost, Status, TaskScore, TrialRecord, TrialResult, TrialSpec


def sweep_text(model: Path, data: Path, **changes: object) -> str:
    """A sweep of two models (one folder under two names), three methods, three volumes, two mixes."""
    content: dict[str, object] = {
        "name": "tiny",
        "models": [{"path": str(model), "name": "a"}, {"path": str(model), "name": "b"}],
        "methods": {
            "full": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
            "lora": {"rank": [4, 8], "learning_rate": {"low": 1e-3, "high": 3e-2, "log": True}},
            "p_tuning": {"virtual_tokens": 4, "learning_rate": 1e-2},
        },
        "tasks": {
            "intent": {
                "train": str(data / "train.jsonl"),
                "prompt": {"instruction": "name the intent", "input": "{text}"},
                "answer": "{label}",
                "score": "macro_f1",
                "negative": "out_of_scope",
            }
        },
        "general": {"language": {"text": str(data / "general.jsonl")}},
        "replay": {"text": str(data / "replay.jsonl")},
        "volumes": [40, 80, 160],
        "mixes": {"plain": {"intent": 1}, "replay": {"intent": 1, "replay": 0.1, "volumes": [80]}},
        "train": {"epochs": 1, "batch_size": 8, "max_length": 96},
        "evaluation": {"rows": 24, "batch_size": 24, "max_new_tokens": 8},
        "seeds": 2,
        "search": {"strategy": "grid", "tuning": {"trials": 2}, "window": 4},
        "engine": {"kind": "local", "workers": 2},
    }
    return yaml.safe_dump(content | changes, sort_keys=False)


@pytest.fixture
def make_sweep(
    tiny_model: Path, tiny_data: Path, tmp_path: Path
) -> Callable[..., tuple[ResolvedSweep, Path]]:
    """``make_sweep(**changes)`` → the resolved sweep and its file."""

    def make(**changes: object) -> tuple[ResolvedSweep, Path]:
        path = tmp_path / "sweep.yaml"
        path.write_text(sweep_text(tiny_model, tiny_data, **changes))
        return read_sweep(path), path

    return make


def answered(spec: TrialSpec) -> TrialResult:
    """A result from a formula: more data is better, one learning rate is best, lora beats full."""
    rate = spec.method.learning_rate or 0.0
    ideal = {"full": 1e-3, "lora": 1e-2, "p_tuning": 1e-2, "none": 1.0}[spec.method.name]
    miss = abs(math.log(rate / ideal)) if rate else 3.0
    gain = {"full": 0.8, "lora": 0.9, "p_tuning": 0.5, "none": 0.0}[spec.method.name]
    volume = math.log1p(spec.volume) / math.log(1000)
    noise = random.Random(spec.key).gauss(0, 0.01)
    score = min(1.0, max(0.0, gain * volume - 0.05 * miss + noise))
    task = TaskScore(
        task="intent",
        n=24,
        loss_nats=2 - score,
        bits_per_byte=1 - score / 2,
        score_name="macro_f1",
        score=score,
        score_se=0.02,
    )
    cost = Cost(device="formula", device_seconds=1.0, flops=1.0, train_tokens=spec.volume)
    return TrialResult(spec=spec, status=Status.COMPLETE, tasks=(task,), cost=cost)


class FormulaEngine:
    """Ends one running job per call, in an order drawn from *seed*, as workers of any speed might."""

    def __init__(self, slots: int, seed: int = 0, die_after: int | None = None) -> None:
        self.slots = slots
        self.random = random.Random(seed)
        self.jobs: list[Job] = []
        self.ran: list[str] = []
        self.die_after = die_after

    def submit(self, job: Job) -> None:
        self.jobs.append(job)

    def cancel(self, key: str) -> None:
        self.jobs = [job for job in self.jobs if job.key != key]

    def events(self, timeout: float) -> Iterator[Event]:
        if self.die_after is not None and len(self.ran) >= self.die_after:
            raise KeyboardInterrupt
        if not self.jobs:
            return
        job = self.jobs.pop(self.random.randrange(len(self.jobs)))
        self.ran.append(job.key)
        with Journal(Path(job.journal)) as journal:
            result = answered(job.spec)
            journal.append({"event": "result", "result": result.model_dump(mode="json")})
        yield Ended(job.key)

    def close(self) -> None:
        pass


class NoDelivery:
    """A store nobody reads."""

    problem = None

    def delivered(self) -> set[str]:
        return set()

    def begin(self, number: int, stage: str, spec: TrialSpec) -> None:
        pass

    def progress(self, key: str) -> None:
        pass

    def end(self, record: TrialRecord) -> None:
        pass


class Asker:
    """An inbox into which *plan* puts requests at the driver's turns, counted from 0.

    ``early``: what lies there when the driver starts. ``answers`` are by the request's id.
    """

    def __init__(
        self, plan: Mapping[int, Sequence[Request]], early: Sequence[Request] = ()
    ) -> None:
        self.plan, self.early, self.turn = dict(plan), list(early), 0
        self.answers: dict[str, Answer] = {}
        self.states: list[tuple[str, dict[str, object]]] = []

    def requests(self) -> list[Request]:
        self.turn += 1
        return list(self.plan.pop(self.turn - 1, ()))

    def read_now(self) -> list[Request]:
        early, self.early = self.early, []
        return early

    def answer(self, answer: Answer) -> None:
        assert answer.id not in self.answers
        self.answers[answer.id] = answer

    def state(self, state: str, **facts: object) -> None:
        self.states.append((state, facts))


def drive(
    sweep: ResolvedSweep,
    folder: SweepFolder,
    engine: FormulaEngine,
    inbox: Asker | None = None,
    *,
    in_memory: bool = False,
) -> Driver:
    """A driver's whole run, or as far as *engine* lets it come."""
    folder.root.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(None if in_memory else f"sqlite:///{folder.study_file}", sweep.spec)
    driver = Driver(sweep, folder, ledger, engine, NoDelivery(), inbox=inbox)
    driver.run()
    return driver
