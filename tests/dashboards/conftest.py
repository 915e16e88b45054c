"""A made-up sweep with known laws, and a real store that holds it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dashboards.analysis import PageAnalysis
from dashboards.snapshot import SweepView
from tests.factories import (
    file_ref,
    method_spec,
    model_spec,
    suite_score,
    task_score,
    task_spec,
    trial_record,
    trial_spec,
)
from tracker.store.store import LiveTrial, Store, SweepInfo
from tracker.task import FileRef, SuiteSpec, TaskScore
from tracker.trial import Cost, MixSpec, Objective, Status, TrialRecord, TrialSpec

NAME = "support"
OBJECTIVE = Objective(weights={"intent": 2, "slots": 1}, constraints={"forgetting.english": 0.1})
STARTED = 1_700_000_000.0
MODELS = {"en-0.1m": 110_000, "en-0.3m": 320_000, "en-1m": 1_040_000}
METHODS = {
    "full": method_spec("full"),
    "lora": method_spec("lora", variant="rslora"),
    "p_tuning": method_spec("p_tuning", variant="v1", virtual_tokens=16),
}
VOLUMES = (250, 500, 1000, 2000)
#: Of the error 1 - score: floor E, height A, pre-learned size D0, exponent beta.
LAWS = {
    "full": (0.06, 0.86, 420.0, 1.1),
    "lora": (0.10, 0.80, 260.0, 0.9),
    "p_tuning": (0.42, 0.52, 600.0, 0.7),
}
FORGETTING = {"full": 0.085, "lora": 0.03, "p_tuning": 0.004}
MIXES = {
    "even": MixSpec(name="even", weights={"intent": 1, "slots": 1}),
    "intent": MixSpec(name="intent", weights={"intent": 1}),
}


def _file(name: str) -> FileRef:
    return file_ref(f"{name}.jsonl", hashlib.sha256(name.encode()).hexdigest())


TASKS = tuple(
    task_spec(name, train=None, validation=_file(name), score=score, negative=negative)
    for name, score, negative in (
        ("intent", "macro_f1", "none_of_these"),
        ("slots", "exact_match", None),
    )
)
SUITES = (SuiteSpec(name="english", text=_file("english")),)


def error_at(method: str, model: str, volume: int) -> float:
    """The true error: the method's law, its height shrinking with the model's size."""
    floor, height, prior, exponent = LAWS[method]
    smaller = (MODELS[model] / MODELS["en-0.1m"]) ** -0.28
    return floor + height * (0.35 + 0.65 * smaller) / (1 + (volume / prior) ** exponent)


def make_spec(
    model: str, method: str, volume: int = 0, mix: str = "even", seed: int = 0, rate: float = 0.0
) -> TrialSpec:
    """A trial of the made-up sweep; *rate* replaces the method's learning rate."""
    weights = MIXES[mix].weights
    share = {t: round(volume * w / sum(weights.values())) for t, w in weights.items()}
    tuned = METHODS.get(method, method_spec("none"))
    if rate:
        tuned = tuned.model_copy(update={"learning_rate": rate})
    return trial_spec(
        model_spec(model, parameters=MODELS[model]),
        tuned,
        mix=MIXES[mix],
        volume=volume,
        examples=share,
        tasks=TASKS,
        general=SUITES,
        seed=seed,
    )


def make_record(
    number: int, spec: TrialSpec, stage: str = "grid", status: Status = Status.COMPLETE
) -> TrialRecord:
    """A record of *spec* with scores drawn about the known law; without scores unless complete."""
    rng = np.random.default_rng([7, number])
    method = spec.method.name
    started = STARTED + 6.0 * number
    seconds = 2.0 + spec.volume * spec.model.parameters * 3e-9
    fields: dict[str, object] = {}
    cost = Cost(device="cpu", device_seconds=seconds)
    if status is Status.COMPLETE:
        scores = tuple(_score(task.name, spec, rng) for task in TASKS)
        lost = FORGETTING.get(method, 0.0) * (0.5 + 0.5 * spec.volume / 2000)
        after = 2.1 * (1 + lost + (0.003 * rng.standard_normal() if method != "none" else 0.0))
        suite = suite_score(n=200, before=2.1, after=after, after_se=0.01)
        tokens = spec.volume * 3 * 36
        cost = Cost(
            device="cpu",
            train_tokens=tokens,
            flops=float(6 * spec.model.parameters * tokens),
            device_seconds=seconds,
            train_seconds=0.8 * seconds,
            peak_bytes=300_000_000,
            trained_parameters=spec.model.parameters if method == "full" else 9000,
            adapter_bytes=4 * spec.model.parameters if method == "full" else 36_000,
            seconds_per_1k_tokens=1.4,
        )
        fields = {"tasks": scores, "general": (suite,)}
    else:
        fields = {"reason": f"{status.value}: for the test"}
    return trial_record(
        spec,
        number,
        stage,
        status=status,
        cost=cost,
        started_at=started,
        ended_at=started + seconds,
        **fields,
    )


def _score(task: str, spec: TrialSpec, rng: np.random.Generator) -> TaskScore:
    trained = spec.examples.get(task, 0) > 0
    error = 0.96
    if trained:
        error = error_at(spec.method.name, spec.model.name, spec.volume)
        rates = METHODS[spec.method.name].learning_rate, spec.method.learning_rate
        error += 0.06 * abs(np.log10((rates[1] or 1) / (rates[0] or 1)))
    error = float(
        np.clip(error + 0.05 * (task == "slots") + 0.012 * rng.standard_normal(), 0.02, 0.99)
    )
    n = 400
    rows = np.random.default_rng(11 + len(task)).random((n, 1)) * np.ones((1, 1))
    picks = np.random.default_rng(5).integers(0, n, (100, n))
    right = (rows[:, 0] > error).astype(float)
    right += (1 - error) - right.mean()
    replicates = tuple(float(v) for v in right[picks].mean(axis=1))
    return task_score(
        task,
        1 - error,
        n=n,
        loss_nats=1.9 * error,
        bits_per_byte=0.9 * error + 0.1,
        bits_per_byte_se=0.012,
        score_name="macro_f1" if task == "intent" else "exact_match",
        score_se=float(np.std(replicates)),
        exact_match=1 - error,
        precision=1 - error,
        recall=1 - error,
        valid_format=0.98,
        over_reach=0.08 if task == "intent" else None,
        replicates=replicates,
    )


def make_records() -> list[TrialRecord]:
    """Three sizes × three methods × four volumes, bases, a second mix, seeds, tuning and failures."""
    plan: list[tuple[TrialSpec, str, Status]] = []
    done = Status.COMPLETE
    plan += [(make_spec(model, "none"), "base", done) for model in MODELS]
    for method, rate in (("full", 0.003), ("lora", 0.003), ("p_tuning", 0.01)):
        plan.append((make_spec("en-0.3m", method, 500, rate=rate), "tune", done))
    plan += [
        (make_spec(model, method, volume), "grid", done)
        for model in MODELS
        for method in METHODS
        for volume in VOLUMES
    ]
    plan += [(make_spec("en-1m", m, 1000, mix="intent"), "grid", done) for m in METHODS]
    plan += [(make_spec("en-1m", m, 2000, seed=1), "grid", done) for m in ("full", "lora")]
    plan.append((make_spec("en-1m", "full", 500, rate=0.3), "tune", Status.DIVERGED))
    plan.append((make_spec("en-1m", "full", 1000, mix="intent", seed=3), "grid", Status.FAILED))
    return [make_record(i, spec, stage, status) for i, (spec, stage, status) in enumerate(plan)]


@pytest.fixture(scope="session")
def records() -> list[TrialRecord]:
    return make_records()


@pytest.fixture(scope="session")
def spec_of() -> Callable[..., TrialSpec]:
    return make_spec


@pytest.fixture(scope="session")
def record_of() -> Callable[..., TrialRecord]:
    return make_record


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workspace(tmp_path_factory.mktemp("workspace"))


def make_workspace(folder: Path) -> Path:
    """*folder* as a workspace whose real store holds the made-up sweep, two of its trials under way."""
    store = Store.open(folder)
    store.begin_sweep(
        NAME,
        spec_text="name: support\n",
        spec_digest="d" * 64,
        planned=60,
        datasets=[],
        objective=OBJECTIVE,
    )
    for record in make_records():
        store.end_trial(NAME, record)
    for number in (49, 50):
        store.begin_trial(NAME, number, "grid", make_spec("en-1m", "full", 2000, seed=number))
    return folder


@pytest.fixture(scope="session")
def store(workspace: Path) -> Store:
    return Store.open(workspace)


@pytest.fixture(scope="session")
def analysis(records: list[TrialRecord]) -> PageAnalysis:
    return PageAnalysis(records, OBJECTIVE, sweep=NAME)


@pytest.fixture
def view_of() -> Callable[..., SweepView]:
    """Builds the view of a sweep from records, without a store."""

    def build(
        records: list[TrialRecord],
        state: str = "running",
        running: tuple[LiveTrial, ...] = (),
        objective: Objective = OBJECTIVE,
        notes: tuple[str, ...] = (),
    ) -> SweepView:
        info = SweepInfo(NAME, state, 60, STARTED, None, {}, {})
        return SweepView(
            info, PageAnalysis(records, objective, sweep=NAME, notes=notes), running, STARTED + 300
        )

    return build


def when_ready(read: Callable[[], str], waiting: str) -> str:
    """What *read* gives once it no longer says that it is *waiting*; within a minute."""
    until = time.monotonic() + 60
    while waiting in (page := read()) and time.monotonic() < until:
        time.sleep(0.05)
    return page


@pytest.fixture(scope="session")
def words() -> Callable[[object], str]:
    """All text in a component tree, as a reader would see it."""

    def read(node: object) -> str:
        if node is None:
            return ""
        if isinstance(node, (str, int, float)):
            return str(node)
        if isinstance(node, (list, tuple)):
            return " ".join(read(child) for child in node)
        return read(getattr(node, "children", None))

    return read
