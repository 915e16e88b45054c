"""A sweep without training: an engine that answers by a formula, and an inbox with planned requests."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from sweeps.resolve import ResolvedSweep
from sweeps.search.bounds import SearchBounds
from sweeps.search.contract import TrialListener
from sweeps.search.control import Control
from sweeps.search.driver import Driver
from sweeps.search.engines.engine import Died, Ended, Engine, Event, Job, Progress, Refused
from sweeps.search.engines.instant import NullListener
from sweeps.search.study import StudyAdapter
from sweeps.search.workspace import SweepFolder
from tests.factories import task_score, trial_result
from tracker.store.control import ControlReply, Request
from tracker.store.journal import Journal
from tracker.trial import Cost, TrialResult, TrialSpec


def answered(spec: TrialSpec) -> TrialResult:
    """A result from a formula: more data is better, one learning rate is best, lora beats full."""
    rate = spec.method.learning_rate or 0.0
    ideal = {"full": 1e-3, "lora": 1e-2, "p_tuning": 1e-2, "none": 1.0}[spec.method.name]
    miss = abs(math.log(rate / ideal)) if rate else 3.0
    gain = {"full": 0.8, "lora": 0.9, "p_tuning": 0.5, "none": 0.0}[spec.method.name]
    volume = math.log1p(spec.volume) / math.log(1000)
    noise = random.Random(spec.key).gauss(0, 0.01)
    score = min(1.0, max(0.0, gain * volume - 0.05 * miss + noise))
    task = task_score(
        score=score,
        n=24,
        loss_nats=2 - score,
        bits_per_byte=1 - score / 2,
        score_name="macro_f1",
        score_se=0.02,
    )
    cost = Cost(device="formula", device_seconds=1.0, flops=1.0, train_tokens=spec.volume)
    return trial_result(spec, tasks=(task,), general=(), cost=cost)


class FormulaEngine:
    """CurveEnds one running job per call, in an order drawn from *seed*, as workers of any speed might.

    ``dying``: keys of the trials whose worker dies at their next turn; ``refused``: by key, what keeps a
    trial from being run at all.
    """

    def __init__(
        self,
        slots: int,
        seed: int = 0,
        die_after: int | None = None,
        answer: Callable[[TrialSpec], TrialResult] = answered,
    ) -> None:
        self.slots = slots
        self.random = random.Random(seed)
        self.jobs: list[Job] = []
        self.ran: list[str] = []
        self.die_after = die_after
        self.answer = answer
        self.dying: set[str] = set()
        self.refused: dict[str, str] = {}

    def submit(self, job: Job) -> None:
        if len(self.jobs) >= self.slots:
            raise RuntimeError("no free slot")
        self.jobs.append(job)

    def cancel(self, key: str) -> None:
        self.jobs = [job for job in self.jobs if job.key != key]

    def events(self, timeout: float) -> Iterator[Event]:
        if self.die_after is not None and len(self.ran) >= self.die_after:
            raise KeyboardInterrupt
        if not self.jobs:
            return
        job = self.jobs.pop(self.random.randrange(len(self.jobs)))
        if job.key in self.dying:
            self.dying.discard(job.key)
            yield Died(job.key, "worker ended by SIGKILL")
        elif job.key in self.refused:
            yield Refused(job.key, self.refused[job.key])
        else:
            yield Progress(job.key, 1, {"train/loss": 1.0})
            self.ran.append(job.key)
            with Journal(Path(job.journal)) as journal:
                result = self.answer(job.spec)
                journal.append({"event": "result", "result": result.model_dump(mode="json")})
            yield Ended(job.key)

    def close(self) -> None:
        self.jobs.clear()


class Asker:
    """An inbox into which *plan* puts requests at the driver's polls, counted from 0.

    ``early``: those that are there when the driver starts. ``answers`` are by the request's id.
    """

    def __init__(
        self, plan: Mapping[int, Sequence[Request]], early: Sequence[Request] = ()
    ) -> None:
        self.plan, self.early, self.turn = dict(plan), list(early), 0
        self.answers: dict[str, ControlReply] = {}
        self.states: list[tuple[str, dict[str, object]]] = []

    def requests(self) -> list[Request]:
        self.turn += 1
        return list(self.plan.pop(self.turn - 1, ()))

    def read_now(self) -> list[Request]:
        early, self.early = self.early, []
        return early

    def answer(self, answer: ControlReply) -> None:
        assert answer.id not in self.answers
        self.answers[answer.id] = answer

    def state(self, state: str, **facts: object) -> None:
        self.states.append((state, facts))


def drive(
    sweep: ResolvedSweep,
    folder: SweepFolder,
    engine: Engine,
    inbox: Asker | None = None,
    *,
    in_memory: bool = False,
    price: Callable[[TrialSpec], float | None] = lambda _: None,
    bounds: SearchBounds | None = None,
    listener: TrialListener | None = None,
    retry_failed: bool = False,
    take_over: Callable[[TrialSpec], TrialResult | None] = lambda _: None,
) -> Driver:
    """A driver's whole run, or as far as *engine* lets it come."""
    folder.root.mkdir(parents=True, exist_ok=True)
    study = StudyAdapter(None if in_memory else f"sqlite:///{folder.study_file}", sweep.spec)
    control = Control(inbox) if inbox else None
    driver = Driver(
        sweep,
        folder,
        study,
        engine,
        listener or NullListener(),
        control=control,
        price=price,
        bounds=bounds,
        retry_failed=retry_failed,
        take_over=take_over,
    )
    driver.run()
    return driver
