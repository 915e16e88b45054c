"""Synthetic sweeps drawn from known laws, with their truth: noise, glitches and crossing methods.

Loss in bits per byte follows ``E + A / (1 + (D/D0)^β)`` with ``log A = a − α·ln N`` and
``log D0 = δ0 + δ1·ln N``; β and E belong to a method. A score is a logistic link of the loss, measured on
n rows that all trials share. The same seed gives the same sweep.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, logit, ndtri

from tracker.task import FileRef, TaskScore, TaskSpec
from tracker.trial import (
    Cost,
    MethodSpec,
    MixSpec,
    ModelSpec,
    Objective,
    Status,
    TrialRecord,
    TrialResult,
    TrialSpec,
)

TASK = "task"
METHODS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"variant": "plain", "rank": 16},
    "p_tuning": {"variant": "v1", "virtual_tokens": 16},
}
_SIZES = (3e7, 1e8, 3e8, 1e9)
_TOKENS_PER_EXAMPLE = 64
_TRAINED_SHARE = {"full": 1.0, "lora": 0.02, "p_tuning": 0.001}
_BEST_RATE = {"full": 1e-4, "lora": 1e-3, "p_tuning": 3e-3}
_RESAMPLES = 200


class SyntheticSweep(NamedTuple):
    """``truth``: by :func:`configuration`, the quality at each volume that endless rows and seeds would
    show; ``glitched``: keys of the trials whose result was spoilt.
    """

    records: tuple[TrialRecord, ...]
    truth: dict[str, dict[int, float]]
    objective: Objective
    glitched: frozenset[str]


def configuration(spec: TrialSpec) -> str:
    """The key of ``truth``: everything but volume and seed."""
    method, mix = spec.method, spec.mix
    parts = [
        spec.model.name,
        method.name,
        mix.name if mix else "",
        f"{method.learning_rate or 0:g}",
    ]
    return "/".join(parts)


@dataclass(frozen=True)
class Law:
    """One method's law of the loss; sizes in parameters, D in examples."""

    floor: float
    log_scale: float
    size_exponent: float
    data_exponent: float
    log_start: float
    start_exponent: float

    def loss(self, parameters: float, examples: float) -> float:
        """Bits per byte; 0 examples is the untouched base."""
        size = math.log(parameters / _SIZES[0])
        scale: float = math.exp(self.log_scale - self.size_exponent * size)
        start = math.exp(self.log_start + self.start_exponent * size)
        return float(self.floor + scale / (1 + (examples / start) ** self.data_exponent))


def synthetic_sweep(
    seed: int,
    *,
    scored: bool = True,
    replicates: bool = True,
    rates: int = 1,
    seeds: int = 2,
    rows: int = 400,
    run_noise: float = 0.01,
    glitches: float = 0.01,
) -> SyntheticSweep:
    """A full grid of 3–4 sizes × 3 methods × 1–3 mixes × 5–7 volumes × *rates* × *seeds*.

    *scored*: trials have scores beside losses; *replicates*: scores come with bootstrap resamples.
    *rows*: size of the evaluation set. *run_noise*: sd of log loss between seeds. *glitches*: share of
    trials whose result is spoilt (a loss far too high).
    """
    world = _World(seed, rates, rows)
    records: list[TrialRecord] = []
    truth: dict[str, dict[int, float]] = {}
    glitched = set()
    rng = np.random.default_rng([seed, 1])
    for spec in world.specs(seeds):
        clean = world.loss(spec)
        quality = float(_score(clean)) if scored else -clean
        truth.setdefault(configuration(spec), {})[spec.volume] = quality
        spoilt = rng.random() < glitches and spec.method.name != "none"
        loss = clean * math.exp(rng.normal(0, run_noise)) * (rng.uniform(1.2, 2.0) if spoilt else 1)
        if spoilt:
            glitched.add(spec.key)
        score = world.measured(loss, rng, scored=scored, replicates=replicates)
        result = TrialResult(
            spec=spec, status=Status.COMPLETE, tasks=(score,), cost=_cost(spec, rng)
        )
        records.append(TrialRecord(number=len(records), stage="grid", result=result))
    return SyntheticSweep(
        tuple(records), truth, Objective(weights={TASK: 1.0}), frozenset(glitched)
    )


def synthetic_records(seed: int, **options: Any) -> tuple[TrialRecord, ...]:
    """The records of :func:`synthetic_sweep` alone."""
    return synthetic_sweep(seed, **options).records


class _World:
    """Truth of one sweep, drawn from *seed*."""

    def __init__(self, seed: int, rates: int, rows: int) -> None:
        rng = np.random.default_rng([seed, 0])
        self.sizes = _SIZES[: int(rng.integers(3, 5))]
        self.volumes = [int(100 * 2**i) for i in range(int(rng.integers(5, 8)))]
        self.mixes = {f"mix{i}": rng.normal(0, 0.06) for i in range(int(rng.integers(1, 4)))}
        shared = _shared_law(rng)
        self.laws = {name: _method_law(shared, name, rng) for name in METHODS}
        self.families = {size: rng.normal(0, 0.03) for size in self.sizes}
        self.rate_offsets = {
            (size, method): rng.normal(0, 0.4) for size in self.sizes for method in METHODS
        }
        self.rates = rates
        self.difficulty = rng.normal(size=rows)
        self.resamples = np.random.default_rng(rows).integers(0, rows, (_RESAMPLES, rows))

    def specs(self, seeds: int) -> Iterator[TrialSpec]:
        """The bases, then every configuration; the first seed of all comes first."""
        task = TaskSpec(
            name=TASK,
            train=FileRef(path="", sha256="train", rows=max(self.volumes)),
            validation=FileRef(path="", sha256="validation", rows=len(self.difficulty)),
        )
        for size in self.sizes:
            yield TrialSpec(model=_model(size), method=MethodSpec(name="none"), tasks=(task,))
        grid = itertools.product(range(seeds), self.volumes, self.mixes, self.sizes, METHODS)
        for seed, volume, mix, size, name in grid:
            for step in range(self.rates):
                factor = 4.0 ** (step - (self.rates - 1) / 2)
                rate = float(f"{_BEST_RATE[name] * factor:.3g}")
                yield TrialSpec(
                    model=_model(size),
                    method=MethodSpec(name=name, learning_rate=rate, **METHODS[name]),
                    mix=MixSpec(name=mix, weights={TASK: 1.0}),
                    volume=volume,
                    examples={TASK: volume},
                    tasks=(task,),
                    seed=seed,
                )

    def loss(self, spec: TrialSpec) -> float:
        """Bits per byte without noise: the law, shifted by family and mix, and by a missed rate."""
        method, size = spec.method.name, _size(spec)
        law = self.laws["full" if method == "none" else method]
        loss = law.loss(size, spec.volume) * math.exp(self.families[size])
        if spec.mix is None or spec.method.learning_rate is None:
            return loss
        miss = math.log(spec.method.learning_rate / _BEST_RATE[method], 4)
        missed = 0.04 * (miss - self.rate_offsets[size, method]) ** 2
        return loss * math.exp(self.mixes[spec.mix.name] + (missed if self.rates > 1 else 0.0))

    def measured(
        self, loss: float, rng: np.random.Generator, *, scored: bool, replicates: bool
    ) -> TaskScore:
        """*loss* as an evaluation set shows it; rows are hard for all trials alike, and a bit for each."""
        rows = len(self.difficulty)
        right = _right(loss, self.difficulty, rng)
        shown = right.mean()
        resampled = right[self.resamples].mean(axis=1) if scored and replicates else np.array([])
        return TaskScore(
            task=TASK,
            n=rows,
            bits_per_byte=loss * math.exp(rng.normal(0, 0.1 / math.sqrt(rows))),
            bits_per_byte_se=loss * 0.5 / math.sqrt(rows),
            score_name="exact_match",
            score=float(shown) if scored else None,
            score_se=math.sqrt(shown * (1 - shown) / rows) if scored else None,
            replicates=tuple(float(value) for value in resampled),
        )


def _right(loss: float, difficulty: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which rows come out right: shared difficulty and a part of each trial's own, half the variance each.

    Both parts are normal, so the share of right rows is exactly :func:`_score` on average.
    """
    independent = rng.normal(size=len(difficulty))
    return np.asarray((difficulty + independent) / math.sqrt(2) < ndtri(_score(loss)))


def _score(loss: float) -> float:
    """Score of a loss: 0 to 1, half at 1.2 bits per byte."""
    return float(expit(-3.0 * (loss - 1.2)))


def loss_at(score: float) -> float:
    """Loss whose expected score is *score*."""
    return float(1.2 - logit(score) / 3.0)


def _shared_law(rng: np.random.Generator) -> Law:
    return Law(
        floor=rng.uniform(0.3, 0.7),
        log_scale=math.log(rng.uniform(1.0, 2.0)),
        size_exponent=0.15 * math.exp(rng.normal(0, 0.4)),
        data_exponent=0.35 * math.exp(rng.normal(0, 0.3)),
        log_start=math.log(150) + rng.normal(0, 0.5),
        start_exponent=rng.normal(0, 0.1),
    )


def _method_law(shared: Law, method: str, rng: np.random.Generator) -> Law:
    """Adapters start earlier and fall more slowly, so curves of methods may cross within the volumes."""
    early = {"full": 0.0, "lora": -1.0, "p_tuning": -0.3}[method]
    slow = {"full": 1.0, "lora": 0.75, "p_tuning": 0.5}[method]
    return Law(
        floor=shared.floor * math.exp(rng.normal(0, 0.03)),
        log_scale=shared.log_scale + rng.normal(0, 0.03),
        size_exponent=shared.size_exponent * math.exp(rng.normal(0, 0.1)),
        data_exponent=shared.data_exponent * slow * math.exp(rng.normal(0, 0.1)),
        log_start=shared.log_start + early + rng.normal(0, 0.3),
        start_exponent=shared.start_exponent,
    )


def _model(size: float) -> ModelSpec:
    name = f"m{size / 1e6:.0f}M"
    return ModelSpec(name=name, path=name, digest=name, parameters=int(size), family="m")


def _size(spec: TrialSpec) -> int:
    size = spec.model.parameters
    assert size is not None, "every model here is made by _model"
    return size


def _cost(spec: TrialSpec, rng: np.random.Generator) -> Cost:
    """Counted operations, and seconds that scatter about them."""
    size, tokens = _size(spec), spec.volume * _TOKENS_PER_EXAMPLE
    share = _TRAINED_SHARE.get(spec.method.name, 0.0)
    flops = tokens * size * (4 + 2 * share)
    seconds = (2.0 + flops / 1e13) * math.exp(rng.normal(0, 0.05))
    return Cost(
        device="synthetic",
        train_tokens=tokens,
        flops=flops,
        device_seconds=seconds,
        peak_bytes=int(size * (4 + 12 * share)),
        trained_parameters=int(size * share),
        adapter_bytes=int(4 * size * share),
    )
