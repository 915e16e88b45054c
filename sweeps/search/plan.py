"""Plan of a sweep before it runs: its design points, their expected seconds, memory and disk.

Seconds come from finished trials of the sweep where there are any (a least-squares fit of measured seconds
on steps and counted operations), else from a rule of thumb; the plan says which.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import psutil
import torch
from scipy.optimize import nnls

from sweeps.data.mixes import training_steps
from sweeps.finetune.memory import predicted_bytes
from sweeps.finetune.train import step_count
from sweeps.resolve import ResolvedSweep
from sweeps.search.bounds import Pruned, SearchBounds
from sweeps.search.counted_cost import adapter, counted_work, model_config
from sweeps.search.space import lattice, trial_spec
from sweeps.search.strategies import strategy_of
from tracker.numbers import plural
from tracker.trial import Configuration, Status, TrialRecord

_RULE_STEP_SECONDS = 0.02  # framework overhead of one optimizer step
_RULE_FLOPS_PER_SECOND = {"cpu": 2e10, "cuda": 5e13}
_OPTIMIZER_STATE_BYTES = 12  # per trained weight in a checkpoint: itself and two moments
_CHECKPOINTS_KEPT = 2


class PlannedPoint(NamedTuple):
    """A design point with its expected cost; ``problem``: why it would not fit the device."""

    point: Configuration
    steps: int
    train_tokens: int
    seconds: float
    peak_bytes: int
    problem: str | None


class Plan(NamedTuple):
    """Plan of a sweep; ``seconds`` and ``disk_bytes``: of all trials; ``basis``: the source of seconds.

    ``base_seconds``: of evaluating an untouched base. ``pruned``: design points that constraints rule out.
    ``equal``: finished trials of other sweeps in the workspace that are equal to trials of the design: those
    that the sweep comes to are taken over at no cost. ``seconds`` counts all trials as run.
    """

    points: list[PlannedPoint]
    base_seconds: float
    trials: int
    seconds: float
    workers: int
    disk_bytes: int
    device_bytes: int
    basis: str
    pruned: list[Pruned]
    equal: int = 0

    @property
    def takeover_line(self) -> str | None:
        """What other sweeps have measured already; ``None`` where that is nothing."""
        if not self.equal:
            return None
        found = f"{plural(self.equal, 'finished trial')} of other sweeps in this workspace"
        return (
            f"{found} {'is' if self.equal == 1 else 'are'} equal to trials of this design: those that it "
            "comes to are taken over, not run, and cost nothing of its budget of device time"
        )

    def as_json(self) -> dict[str, Any]:
        """The plan as plain data."""
        totals = {k: v for k, v in self._asdict().items() if k not in ("points", "pruned")}
        return {
            "design_points": [_point_as_json(planned) for planned in self.points],
            **totals,
            "pruned": [_point_as_json(pruned) for pruned in self.pruned],
        }


def _point_as_json(planned: PlannedPoint | Pruned) -> dict[str, Any]:
    point = planned.point
    values = {
        "model": point.model,
        "method": point.method.name,
        "mix": point.mix,
        "volume": point.volume,
    }
    rest = {name: value for name, value in planned._asdict().items() if name != "point"}
    return {"design_point": values, **rest}


class Speed(NamedTuple):
    """Seconds of a trial = ``fixed`` + ``step`` × steps + operations / ``flops_per_second``."""

    fixed: float
    step: float
    flops_per_second: float
    basis: str

    def seconds(self, steps: int, flops: float) -> float:
        """Expected device seconds of a trial, evaluation included."""
        return self.fixed + self.step * steps + flops / self.flops_per_second


def make_plan(
    sweep: ResolvedSweep,
    records: Sequence[TrialRecord],
    workers: int,
    bounds: SearchBounds | None = None,
) -> Plan:
    """Plan of *sweep*: every design point that may run, with its cost; *records*: finished trials.

    *bounds*: by default those of a sweep that begins now. Raises InputError where they leave nothing.
    """
    bounds = bounds or SearchBounds(sweep)
    bounds.check()
    speed = learned_speed(records)
    available = _device_bytes()
    planned = [_planned(sweep, point, speed, available) for point in bounds.points]
    trials = strategy_of(sweep, bounds).planned
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
        pruned=bounds.pruned,
    )


def learned_speed(records: Sequence[TrialRecord]) -> Speed:
    """Least-squares fit of measured seconds on steps and operations, terms at least 0.

    Of complete trials alone: one that ended early took neither the steps nor the time of its design. A rule
    of thumb where there are too few.
    """
    rows = [
        (training_steps(r.result.spec), r.result.cost.flops, seconds)
        for r in records
        if r.result.status is Status.COMPLETE
        and r.result.cost.flops
        and (seconds := r.result.cost.device_seconds)
    ]
    if len(rows) < 3:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        basis = "a rule of thumb; after the first trials, from what they took"
        return Speed(1.0, _RULE_STEP_SECONDS, _RULE_FLOPS_PER_SECOND[device], basis)
    steps, flops, measured = np.array(rows, dtype=float).T
    design = np.column_stack([np.ones_like(steps), steps, flops / 1e9])
    # Divided by what was measured: relative errors count, or the longest trials would decide alone.
    (fixed, step, per_giga), _ = nnls(design / measured[:, None], np.ones_like(measured))
    rate = 1e9 / per_giga if per_giga else float("inf")
    return Speed(fixed, step, rate, f"{len(rows)} finished trials of this sweep")


def _planned(
    sweep: ResolvedSweep, point: Configuration, speed: Speed, available: int
) -> PlannedPoint:
    method = lattice(sweep.spec, point.method.name, 1)[0]
    spec = trial_spec(sweep, point._replace(method=method), 0)
    work = counted_work(spec)
    steps = step_count(work.rows, spec)
    config = model_config(spec.model)
    peak = predicted_bytes(
        spec.model.size,
        adapter(spec.model, spec.method).weights,
        tokens_in_batch=work.longest * spec.schedule.batch_size,
        hidden_size=config.hidden_size,
        layers=config.num_hidden_layers,
        recomputed=spec.train.gradient_checkpointing,
    )
    problem = None
    if peak > available:
        problem = (
            f"needs about {peak / 1024**3:.1f} GiB, the device has {available / 1024**3:.1f}; "
            "lower train.batch_size or set train.gradient_checkpointing"
        )
    seconds = speed.seconds(steps, work.flops)
    return PlannedPoint(point, steps, work.tokens, seconds, peak, problem)


def _device_bytes() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.get_device_properties(0).total_memory)
    return int(psutil.virtual_memory().available)
