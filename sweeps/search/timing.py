"""Timed step: what a training step and an evaluation batch take here, before any trial has run.

Weights are random, and of a large base a few layers stand for all: seconds follow the counted operations.
Rows are those of the sweep. A few seconds are spent; what was timed is kept in the workspace's cache.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from torch import nn

from sweeps.data.encoding import evaluation_rows, suite_text, training_stream
from sweeps.data.prompts import Encoded, load_tokenizer
from sweeps.finetune.batch import answer_nats, collate
from sweeps.finetune.evaluate import generated_ids
from sweeps.finetune.memory import Lengths, frozen_type
from sweeps.finetune.model import prepended_tokens, trained_parameters, tune
from sweeps.finetune.tensor_count import with_layers
from sweeps.finetune.weights import empty_model, read_model_config
from sweeps.resolve import ResolvedSweep
from sweeps.search.bounds import SearchBounds
from sweeps.search.plan import Speed, learned_speed
from sweeps.search.space import lattice, trial_spec
from tracker.files import write_atomically
from tracker.numbers import plural
from tracker.trial import Configuration, TrialRecord, TrialSpec

#: Weights of the part of a base that is timed, and seconds for all that is timed.
_MOST_WEIGHTS = {"cpu": 200_000_000, "cuda": 1_000_000_000}
_BUDGET_SECONDS = 25.0
#: Operations of a timed batch at most: a second or two.
_MOST_FLOPS = {"cpu": 4e10, "cuda": 1e14}
_TIMED_TWICE = 1.0  # seconds, below which a second measurement is taken
_LOAD_BYTES_PER_SECOND = 5e8
_FILE = "timing.json"


class Timing(NamedTuple):
    """Seconds of a model and method: of each optimizer step, and for each training operation beside that.

    ``evaluation``: of a trial's evaluation and loading, ``None`` where another method's was timed.
    ``layers``: how many were timed, of all.
    """

    step: float
    per_flop: float
    evaluation: float | None
    layers: int


def timed_speed(
    sweep: ResolvedSweep,
    records: Sequence[TrialRecord],
    bounds: SearchBounds,
    workspace: Path,
) -> Speed:
    """Speed learned from *records* where enough trials have ended, else from steps that are timed now.

    The smallest and the largest base are timed with every method; a base between them takes the seconds per
    operation of the nearest.
    """
    learned = learned_speed(records)
    if learned.learned or not bounds.points:
        return learned
    sizes = {name: model.size for name, model in sweep.models.items()}
    used = sorted({point.model for point in bounds.points}, key=lambda name: sizes[name])
    cache = _Cache(workspace / "cache" / _FILE)
    until = time.monotonic() + _BUDGET_SECONDS
    timed: dict[tuple[str, str], Timing] = {}
    with _threads(sweep.spec.engine.threads):
        for name in dict.fromkeys((used[0], used[-1])):
            for method, point in _largest_points(bounds, name):
                spec = trial_spec(sweep, point, 0)
                key = _key(spec)
                found = cache.get(key)
                if found is None and (not timed or time.monotonic() < until):
                    evaluated = any(model == name for model, _ in timed)
                    found = _timed(spec, evaluation=not evaluated)
                    cache.keep(key, found)
                if found is not None:
                    timed[name, method] = found
    pairs = dict.fromkeys(point.pair for point in bounds.points)
    return learned._replace(
        basis=_basis(timed, sweep),
        timed={pair: _for_pair(pair, timed, sizes) for pair in pairs},
    )


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Compute with as many threads as a worker."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _largest_points(bounds: SearchBounds, model: str) -> Iterator[tuple[str, Configuration]]:
    """The largest design point of each method of *model*, in the method's first setting."""
    points = sorted(
        (point for point in bounds.points if point.model == model),
        key=lambda point: point.volume or 0,
    )
    for method, point in {point.method.name: point for point in points}.items():
        setting = lattice(bounds.sweep.spec, method, 1)[0]
        yield method, point._replace(method=setting)


def _for_pair(
    pair: tuple[str, str], timed: Mapping[tuple[str, str], Timing], sizes: Mapping[str, int]
) -> tuple[float, float, float]:
    """Fixed seconds, seconds of a step, and operations per second of a model and method.

    From what was timed of them, else of the model of the nearest size, else of another method.
    """
    name, method = pair

    def far(other: tuple[str, str]) -> tuple[bool, float]:
        ratio = sizes[other[0]] / sizes[name]
        return other[1] != method, max(ratio, 1 / ratio)

    near = min(timed, key=far)
    ratio = sizes[name] / sizes[near[0]]
    evaluated = next(each for each in timed if each[0] == near[0] and timed[each].evaluation)
    evaluation = (timed[evaluated].evaluation or 0.0) * ratio
    return evaluation, timed[near].step * ratio, 1 / timed[near].per_flop


def _basis(timed: dict[tuple[str, str], Timing], sweep: ResolvedSweep) -> str:
    names = list(dict.fromkeys(name for name, _ in timed))
    methods = list(dict.fromkeys(method for _, method in timed))
    sliced = [
        f"{timing.layers} layers of {name}"
        for (name, method), timing in timed.items()
        if method == methods[0] and timing.layers < _all_layers(sweep, name)
    ]
    slices = f", {' and '.join(sliced)} for the whole" if sliced else ""
    return (
        f"a timed training step and evaluation batch of {' and '.join(names)} with "
        f"{', '.join(methods)}{slices}; after {plural(3, 'trial')}, from what they took"
    )


def _all_layers(sweep: ResolvedSweep, name: str) -> int:
    model = sweep.models[name]
    config = read_model_config(Path(model.path), trust=model.trust_remote_code)
    return int(config.get_text_config(decoder=True).num_hidden_layers)


# -- one timing ----------------------------------------------------------------------------------------


def _timed(spec: TrialSpec, *, evaluation: bool) -> Timing:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model, layers, whole = _part(spec, device)
    weights = sum(p.numel() for p in model.parameters())
    scale = (spec.model.size / weights) if layers < whole else 1.0
    step, per_flop = _step_seconds(model, spec, device, weights)
    seconds = None
    if evaluation:
        size = sum(f.stat().st_size for f in Path(spec.model.path).glob("*.safetensors"))
        seconds = _evaluation_seconds(model, spec, device, weights) * scale
        seconds += size / _LOAD_BYTES_PER_SECOND
    return Timing(step * scale, per_flop, seconds, layers)


def _part(spec: TrialSpec, device: torch.device) -> tuple[nn.Module, int, int]:
    """A model of random weights, the number of layers that it has, and that its base has."""
    model = spec.model
    config = read_model_config(Path(model.path), trust=model.trust_remote_code)
    whole = layers = int(config.get_text_config(decoder=True).num_hidden_layers)
    base = empty_model(config, trust=model.trust_remote_code)
    while layers > 1 and sum(p.numel() for p in base.parameters()) > _MOST_WEIGHTS[device.type]:
        layers = max(1, layers // 2)
        base = empty_model(with_layers(config, layers), trust=model.trust_remote_code)
    made: Any = type(base)._from_config(
        base.config, dtype=frozen_type(model, spec.method, spec.train.dtype)
    )
    method = spec.method
    if (
        method.variant == "pissa"
    ):  # a decomposition takes longer than a step, which it does not change
        method = method.model_copy(update={"variant": "plain"})
    return tune(made, method).to(device), layers, whole


def _rows_of(
    rows: Sequence[Encoded], most: int, device: torch.device, flops_per_token: float
) -> list[Encoded]:
    """Two to *most* rows, spread over all, as many as take a second or two."""
    each = flops_per_token * fmean(map(len, rows))
    count = int(max(2, min(most, len(rows), _MOST_FLOPS[device.type] / each)))
    return [rows[i * len(rows) // count] for i in range(count)]


def _step_seconds(
    model: nn.Module, spec: TrialSpec, device: torch.device, weights: int
) -> tuple[float, float]:
    """Seconds of a training step whatever its rows are, and for each counted operation."""
    schedule, trained = spec.schedule, list(trained_parameters(model).values())
    each = 4 * weights + 2 * sum(p.numel() for p in trained)
    rows = _rows_of(training_stream(spec), schedule.batch_size, device, each)
    optimizer = torch.optim.AdamW(trained, lr=0.0, fused=True)
    pad = int(load_tokenizer(spec.model).pad_token_id or 0)
    prepended = prepended_tokens(spec.method)

    def step(chosen: Sequence[Encoded]) -> None:
        batch = {name: tensor.to(device) for name, tensor in collate(chosen, pad).items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=schedule.dtype == "bfloat16"):
            nats = answer_nats(model, batch, prepended=prepended)
        nats.sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    model.train()
    fixed, per_token = _line(step, rows, device, prepended)
    return fixed, per_token / each


@torch.no_grad()
def _evaluation_seconds(
    model: nn.Module, spec: TrialSpec, device: torch.device, weights: int
) -> float:
    """Seconds of evaluating a trial: losses of all its rows, and answers to those of tasks."""
    model.eval()
    pad = int(load_tokenizer(spec.model).pad_token_id or 0)
    suites = [suite.task for suite in spec.general if suite.task is not None]
    answered = [
        row
        for task in (*spec.tasks, *suites)
        for row in evaluation_rows(task, task.validation, spec).encoded
    ]
    texts = [row for s in spec.general if s.text for row in suite_text(s.text, spec).encoded]
    prepended = prepended_tokens(spec.method)

    def score(chosen: Sequence[Encoded]) -> None:
        batch = {name: tensor.to(device) for name, tensor in collate(chosen, pad).items()}
        answer_nats(model, batch, prepended=prepended)

    def answer(chosen: Sequence[Encoded]) -> None:
        generated_ids(model, chosen, new, pad_id=pad, prepended=prepended)

    # A batch goes on until its last answer has ended, or the limit is reached.
    new = Lengths.of((), answered, spec.evaluation.max_new_tokens).new
    model.generation_config.eos_token_id = None  # type: ignore[union-attr]
    total, most = 0.0, spec.evaluation.batch_size
    with torch.autocast(device.type, torch.bfloat16, enabled=spec.train.dtype == "bfloat16"):
        for run, rows in ((score, answered), (score, texts), (answer, answered)):
            if rows:
                chosen = _rows_of(rows, most, device, 2 * weights)
                fixed, per_token = _line(run, chosen, device, prepended)
                tokens = sum(map(len, rows)) + prepended * len(rows)
                total += fixed * -(-len(rows) // most) + per_token * tokens
    return total


def _line(
    run: Callable[[Sequence[Encoded]], None],
    rows: Sequence[Encoded],
    device: torch.device,
    prepended: int,
) -> tuple[float, float]:
    """Seconds of *run* whatever its rows are, and for each token: a line through two numbers of rows."""
    run(rows[:1])  # warm
    one, all_ = (_seconds(partial(run, rows[:count]), device) for count in (1, len(rows)))
    least, most = (sum(len(row) + prepended for row in rows[:count]) for count in (1, len(rows)))
    per_token = max((all_ - one) / max(1, most - least), 0.1 * all_ / most)
    return max(0.0, one - per_token * least), per_token


def _seconds(run: partial[None], device: torch.device) -> float:
    """Seconds of *run*; the faster of two where it is quick. Those of others on the CPU do not count."""
    taken: list[float] = []
    while not taken or (len(taken) < 2 and taken[0] < _TIMED_TWICE):
        began, used = time.perf_counter(), time.process_time()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        wall, used = time.perf_counter() - began, time.process_time() - used
        taken.append(min(wall, used / torch.get_num_threads()) if device.type == "cpu" else wall)
    return min(taken)


# -- the cache -----------------------------------------------------------------------------------------


class _Cache:
    """Timings by what they depend on, in a file of a workspace that exists; none where it cannot be read."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            self.known = dict(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            self.known = {}

    def get(self, key: str) -> Timing | None:
        found = self.known.get(key)
        return Timing(*found) if isinstance(found, list) and len(found) == 4 else None

    def keep(self, key: str, timing: Timing) -> None:
        self.known[key] = list(timing)
        if self.file.parent.parent.is_dir():
            self.file.parent.mkdir(exist_ok=True)
            write_atomically(self.file, json.dumps(self.known).encode())


def _key(spec: TrialSpec) -> str:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    threads = torch.get_num_threads()
    return f"{spec.key} {device} {threads}"
