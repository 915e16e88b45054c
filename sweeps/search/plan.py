"""What a sweep would run, and what it is expected to take. Runs nothing.

Seconds come from the workspace's own finished trials where there are any (a least-squares fit of measured
training seconds on steps and counted operations), else from a rule of thumb, and are said to be so.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch
from accelerate import init_empty_weights
from peft import get_peft_model
from scipy.optimize import nnls
from transformers import AutoConfig, AutoModelForCausalLM

from sweeps.data.encoding import training_stream
from sweeps.data.mixes import replay_rows
from sweeps.finetune.memory import predicted_bytes
from sweeps.finetune.model import adapter_config, prepended_tokens
from sweeps.finetune.train import step_count
from sweeps.resolve import ResolvedSweep
from sweeps.search.space import design_points, lattice, trial_spec
from sweeps.search.strategies import strategy_of
from tracker.trial import Configuration, MethodSpec, ModelSpec, Status, TrialRecord, TrialSpec

_RULE_STEP_SECONDS = 0.02  # framework overhead of one optimizer step
_RULE_FLOPS_PER_SECOND = {"cpu": 2e10, "cuda": 5e13}
_OPTIMIZER_STATE_BYTES = 12  # per trained weight in a checkpoint: itself and two moments
_CHECKPOINTS_KEPT = 2


class PlannedPoint(NamedTuple):
    """A design point with what it is expected to take; ``problem`` says why it would not fit."""

    point: Configuration
    steps: int
    train_tokens: int
    seconds: float
    peak_bytes: int
    problem: str | None


class Plan(NamedTuple):
    """``seconds`` and ``disk_bytes`` are for all trials; ``basis`` says where seconds come from.

    ``base_seconds``: of evaluating an untouched base.
    """

    points: list[PlannedPoint]
    base_seconds: float
    trials: int
    seconds: float
    workers: int
    disk_bytes: int
    device_bytes: int
    basis: str

    def as_json(self) -> dict[str, Any]:
        """As plain data."""
        cells = [
            {
                "cell": {
                    "model": planned.point.model,
                    "method": planned.point.method.name,
                    "mix": planned.point.mix,
                    "volume": planned.point.volume,
                }
            }
            | {name: value for name, value in planned._asdict().items() if name != "point"}
            for planned in self.points
        ]
        return {"cells": cells} | {k: v for k, v in self._asdict().items() if k != "points"}


class Speed(NamedTuple):
    """Seconds of a trial = ``fixed`` + ``step`` × steps + operations / ``flops_per_second``."""

    fixed: float
    step: float
    flops_per_second: float
    basis: str

    def seconds(self, steps: int, flops: float) -> float:
        """Expected device seconds of a trial, evaluation included."""
        return self.fixed + self.step * steps + flops / self.flops_per_second


def make_plan(sweep: ResolvedSweep, records: Sequence[TrialRecord], workers: int) -> Plan:
    """Every design point of *sweep*, priced; *records*: finished trials to learn the speed from."""
    speed = learned_speed(records)
    available = _device_bytes()
    planned = [_planned(sweep, point, speed, available) for point in design_points(sweep.spec)]
    trials = strategy_of(sweep).planned
    mean = statistics.fmean(p.seconds for p in planned)
    trained = max(model.size for model in sweep.models.values())
    return Plan(
        points=planned,
        base_seconds=speed.seconds(0, 0.0),
        trials=trials,
        seconds=mean * trials,
        workers=workers,
        disk_bytes=workers * _CHECKPOINTS_KEPT * trained * _OPTIMIZER_STATE_BYTES,
        device_bytes=available,
        basis=speed.basis,
    )


def learned_speed(records: Sequence[TrialRecord]) -> Speed:
    """Fit of measured seconds on steps and operations, all terms non-negative; a rule without data.

    Of complete trials alone: one that ended early took neither the steps nor the time of its design.
    """
    rows = [
        (step_count(_stream_rows(r.result.spec), r.result.spec), r.result.cost.flops, seconds)
        for r in records
        if r.result.status is Status.COMPLETE
        and r.result.cost.flops
        and (seconds := r.result.cost.device_seconds)
    ]
    if len(rows) < 3:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        basis = "a rule of thumb; the first trials of the sweep will tell better"
        return Speed(1.0, _RULE_STEP_SECONDS, _RULE_FLOPS_PER_SECOND[device], basis)
    steps, flops, measured = np.array(rows, dtype=float).T
    design = np.column_stack([np.ones_like(steps), steps, flops / 1e9])
    # Divided by what was measured: relative errors count, or the longest trials would decide alone.
    (fixed, step, per_giga), _ = nnls(design / measured[:, None], np.ones_like(measured))
    rate = 1e9 / per_giga if per_giga else float("inf")
    return Speed(fixed, step, rate, f"{len(rows)} finished trials of this sweep")


@lru_cache(maxsize=256)
def trained_parameters(model: ModelSpec, method: MethodSpec) -> int:
    """Weights that *method* trains, counted on a model without memory."""
    if method.name == "full":
        return model.size
    config = _config(model)
    # PiSSA starts from a decomposition of weights, which a model without memory does not have.
    variant = "plain" if method.variant == "pissa" else method.variant
    method = method.model_copy(update={"variant": variant})
    with init_empty_weights():
        base = AutoModelForCausalLM.from_config(config)
        tuned = get_peft_model(base, adapter_config(method, config.hidden_size))
    return sum(p.numel() for p in tuned.parameters() if p.requires_grad)


def _planned(
    sweep: ResolvedSweep, point: Configuration, speed: Speed, available: int
) -> PlannedPoint:
    method = lattice(sweep.spec, point.method.name, 1)[0]
    spec = trial_spec(sweep, point._replace(method=method), 0)
    stream = training_stream(spec)
    tokens = sum(len(row) for row in stream)
    trained = trained_parameters(spec.model, spec.method)
    virtual = len(stream) * prepended_tokens(spec.method)
    flops = float((tokens + virtual) * (4 * spec.model.size + 2 * trained))
    steps = step_count(len(stream), spec)
    longest = max(len(row) for row in stream) + (spec.method.virtual_tokens or 0)
    peak = predicted_bytes(
        spec.model.size,
        trained,
        tokens_in_batch=longest * spec.train.batch_size,
        hidden_size=_config(spec.model).hidden_size,
        layers=_config(spec.model).num_hidden_layers,
        recomputed=spec.train.gradient_checkpointing,
    )
    problem = None
    if peak > available:
        problem = (
            f"needs about {peak / 1024**3:.1f} GiB, the device has {available / 1024**3:.1f}; "
            "lower train.batch_size or set train.gradient_checkpointing"
        )
    return PlannedPoint(point, steps, tokens, speed.seconds(steps, flops), peak, problem)


def _stream_rows(spec: TrialSpec) -> int:
    """Rows of all passes, without reading the data."""
    if spec.mix is None:
        return 0
    passes = {t: spec.train.epochs + spec.mix.extra_epochs.get(t, 0) for t in spec.examples}
    rows = sum(count * passes[task] for task, count in spec.examples.items())
    return rows + spec.train.epochs * replay_rows(spec.mix, spec.volume)


@lru_cache(maxsize=64)
def _config(model: ModelSpec) -> AutoConfig:
    return AutoConfig.from_pretrained(
        model.path, revision=model.revision, trust_remote_code=model.trust_remote_code
    )


def _device_bytes() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    return int(psutil.virtual_memory().available)
