"""Plan of a sweep before it runs: its design points, their expected seconds, memory and disk.

Seconds come from finished trials of the sweep where there are any (a least-squares fit of measured seconds
on steps and counted operations), else from a rule of thumb; the plan says which.
"""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import nnls

from sweeps.data.mixes import training_steps
from sweeps.finetune.contract import LARGE_MODEL_BYTES
from sweeps.finetune.out_of_memory import Rung
from sweeps.finetune.train import step_count
from sweeps.resolve import ResolvedSweep
from sweeps.search.bounds import Pruned, SearchBounds
from sweeps.search.counted_cost import adapter, counted_work
from sweeps.search.devices import Device, host
from sweeps.search.fit import Fit, fit_of
from sweeps.search.retention import KEPT
from sweeps.search.space import lattice, trial_spec
from sweeps.search.strategies import strategy_of
from tracker.numbers import plural
from tracker.trial import Configuration, Status, TrialRecord, TrialSpec

_RULE_STEP_SECONDS = 0.02  # framework overhead of one optimizer step
_RULE_FLOPS_PER_SECOND = {"cpu": 2e10, "cuda": 5e13}
_OPTIMIZER_STATE_BYTES = 12  # per trained weight in a checkpoint: itself and two moments
_CHECKPOINTS_KEPT = 2


class PlannedPoint(NamedTuple):
    """A design point with its expected cost.

    ``peak_bytes``: of tensors, at the peak of ``peak_phase`` (training or evaluation). ``fitted``: what keeps
    it within the device, in a few words; ``problem``: why it does not fit. ``None`` where neither is.
    """

    point: Configuration
    steps: int
    train_tokens: int
    seconds: float
    peak_bytes: int
    problem: str | None
    peak_phase: str = "training"
    fitted: str | None = None


class Plan(NamedTuple):
    """Plan of a sweep; ``seconds`` and ``disk_bytes``: of all trials; ``basis``: the source of seconds.

    ``base_seconds``: of evaluating an untouched base. ``pruned``: design points that constraints rule out, or
    that fit no device. ``device_bytes``: for each worker's tensors on the roomiest of ``devices``.
    ``free_bytes``: of the workspace's disk, where it was looked at.
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
    devices: tuple[Device, ...] = ()
    free_bytes: int | None = None

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
        apart = ("points", "pruned", "devices")
        totals = {k: v for k, v in self._asdict().items() if k not in apart}
        return {
            "design_points": [_point_as_json(planned) for planned in self.points],
            **totals,
            "pruned": [_point_as_json(pruned) for pruned in self.pruned],
            "devices": [device._asdict() | {"share": device.share} for device in self.devices],
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
    """Seconds of a trial = ``fixed`` + ``step`` × steps + operations / ``flops_per_second``.

    ``learned``: from trials that have ended. ``timed``: the three by names of model and method, where a step
    of them was timed.
    """

    fixed: float
    step: float
    flops_per_second: float
    basis: str
    learned: bool = False
    timed: Mapping[tuple[str, str], tuple[float, float, float]] = MappingProxyType({})

    def seconds(self, model: str, method: str, steps: int, flops: float) -> float:
        """Expected device seconds of a trial of *model* with *method*, evaluation included."""
        usual = (self.fixed, self.step, self.flops_per_second)
        if method == "none":  # as that of any method, without the training
            usual = next((each for (name, _), each in self.timed.items() if name == model), usual)
        fixed, step, rate = self.timed.get((model, method), usual)
        return fixed + step * steps + flops / rate


def make_plan(
    sweep: ResolvedSweep,
    records: Sequence[TrialRecord],
    workers: int,
    bounds: SearchBounds | None = None,
    *,
    among: Sequence[Device] = (),
    speed: Speed | None = None,
) -> Plan:
    """Plan of *sweep*: every design point that may run, with its cost; *records*: finished trials.

    *bounds*: by default those of a sweep that begins now. *among*: the devices that *workers* share, by
    default this machine's memory. *speed*: by default what *records* teach. Raises InputError where the
    bounds leave nothing.
    """
    bounds = bounds or SearchBounds(sweep)
    bounds.check()
    speed = speed or learned_speed(records)
    shared = among or (host(workers),)
    planned = [_planned(sweep, point, speed, shared) for point in bounds.points]
    trials = strategy_of(sweep, bounds).planned
    mean = statistics.fmean(p.seconds for p in planned)
    return Plan(
        points=planned,
        base_seconds=statistics.fmean(
            speed.seconds(model.name, "none", 0, 0.0) for model in sweep.models.values()
        ),
        trials=trials,
        seconds=mean * trials,
        workers=workers,
        disk_bytes=disk_bytes(sweep, bounds, workers),
        device_bytes=max(device.share for device in shared),
        basis=speed.basis,
        pruned=bounds.pruned,
        devices=tuple(among),
    )


def disk_bytes(sweep: ResolvedSweep, bounds: SearchBounds, workers: int) -> int:
    """Most bytes that the sweep writes: checkpoints of its workers, kept models, and the store's copy.

    A checkpoint holds the trained weights and two moments of each, in float32; a worker has two. Of models,
    up to ten are kept while the sweep runs, and the store has a copy of what is recommended.
    """
    stored = sorted(
        {
            (point.model, method): (each.weights, each.stored)
            for point in bounds.points
            for method in (lattice(sweep.spec, point.method.name, 1)[0].without_rate,)
            for each in (adapter(sweep.models[point.model], method),)
        }.values(),
        reverse=True,
    )
    largest = stored[0][0]
    written = workers * _CHECKPOINTS_KEPT * largest * _OPTIMIZER_STATE_BYTES
    if sweep.spec.keep == "none":
        return written
    sizes = sorted((bytes_ for _, bytes_ in stored), reverse=True)
    small = [size for size in sizes if size <= LARGE_MODEL_BYTES]
    large = [size for size in sizes if size > LARGE_MODEL_BYTES]
    # Of large models those alone stay that are cheaper than every better one, which are of other designs.
    number = len(bounds.points) if sweep.spec.keep == "all" else KEPT
    kept = sum(large) + (max(small) * number if small else 0)
    return written + kept + sizes[0]


def free_bytes(workspace: Path) -> int:
    """Free bytes of the disk that *workspace* is on, or will be."""
    there = next(folder for folder in (workspace, *workspace.resolve().parents) if folder.exists())
    return shutil.disk_usage(there).free


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
    return Speed(fixed, step, rate, f"{len(rows)} finished trials of this sweep", learned=True)


def _planned(
    sweep: ResolvedSweep, point: Configuration, speed: Speed, among: Sequence[Device]
) -> PlannedPoint:
    method = lattice(sweep.spec, point.method.name, 1)[0]
    spec = trial_spec(sweep, point._replace(method=method), 0)
    work = counted_work(spec)
    steps = step_count(work.rows, spec)
    fit = fit_of(spec, among)
    return PlannedPoint(
        point,
        steps,
        work.tokens,
        speed.seconds(point.model, point.method.name, steps, work.flops),
        fit.peaks.bytes,
        fit.problem,
        fit.peaks.phase,
        _fitted(spec, fit),
    )


def _fitted(spec: TrialSpec, fit: Fit) -> str | None:
    """What *fit* changes of how the steps of *spec* are made."""
    written, rung = Rung.of(spec), fit.rung
    if rung is None:
        return None
    words = ["with gradient checkpointing"] if rung.recomputed and not written.recomputed else []
    if rung.batch_size != written.batch_size:
        words.append(f"micro-batch {rung.batch_size} \u00d7 {rung.accumulation}")
    if not fit.evaluates_whole:
        words.append("evaluation in smaller batches")
    return ", ".join(words) or None
