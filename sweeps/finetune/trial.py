"""One fine-tune, from its TrialSpec to its TrialResult: load, train, evaluate, count the cost.

Read it top to bottom: :func:`run_trial` turns every fault into a status, :func:`_fine_tune` is the fine-tune.
"""

from __future__ import annotations

import errno
import gc
import itertools
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from sweeps.baselines.untouched import base_suites, measure_suites
from sweeps.data.encoding import evaluation_rows, label_set, training_stream
from sweeps.data.prompts import Encoded, load_tokenizer
from sweeps.data.recorded import recorded_reason
from sweeps.finetune import memory
from sweeps.finetune.clock import Clock
from sweeps.finetune.contract import Reporter, TrialHome
from sweeps.finetune.divergence import DivergedError
from sweeps.finetune.evaluate import Evaluator, TaskEvaluation
from sweeps.finetune.model import (
    borrow_model,
    forget_base,
    give_back,
    load_base,
    prepended_tokens,
    save_model,
    stored_bytes,
    trained_parameters,
)
from sweeps.finetune.out_of_memory import (
    OutOfMemoryError,
    Rung,
    after_kill,
    first_that_fits,
    free_memory,
    is_out_of_memory,
    note_rung,
    noted_rung,
    rungs,
    watched,
)
from sweeps.finetune.passes import Passes
from sweeps.finetune.train import Checkpoints, StepCounter, TrainResult, train
from tracker import numbers
from tracker.errors import SftSelectError, StoreError
from tracker.files import json_lines, write_atomically
from tracker.task import SuiteScore, TaskScore
from tracker.trial import Cost, Fitted, PassResult, Status, TrialResult, TrialSpec

Split = Literal["validation", "test"]

RECORDED_PACKAGES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "sft-select")

#: Errors of a full, broken or read-only disk, on which another trial would fail too.
_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG})
#: safetensors and torch report the system's error as text alone.
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_TORCH_WRITE = re.compile(r"PytorchStreamWriter failed writing|inline_container.*unexpected pos")


class _Measured:
    """Measurements of a trial so far: of a failed one, those that its cost needs."""

    def __init__(self) -> None:
        self.tasks: list[TaskEvaluation] = []
        self.general: list[SuiteScore] = []
        self.train_tokens: int | None = None
        self.prepended_tokens = 0
        self.counter = StepCounter()
        self.trained: int | None = None
        self.adapter_bytes: int | None = None
        self.generated_tokens = 0
        self.generate_seconds = 0.0
        self.final_loss: float | None = None
        self.passes: tuple[PassResult, ...] = ()
        self.rung: Rung | None = None  # of the training, where memory chose it
        self.evaluated_at_once: int | None = None  # rows, where memory chose it

    @property
    def fitted(self) -> Fitted | None:
        """What memory made of the spec's batches."""
        if self.rung is None and self.evaluated_at_once is None:
            return None
        return Fitted(
            batch_size=self.rung and self.rung.batch_size,
            accumulation=self.rung and self.rung.accumulation,
            gradient_checkpointing=self.rung and self.rung.recomputed,
            evaluation_batch_size=self.evaluated_at_once,
        )

    def count_tokens(self, spec: TrialSpec, stream: Sequence[Encoded]) -> None:
        """Count the tokens that training has passed, however it ended."""
        rows = self.counter.steps * spec.schedule.batch_size * spec.schedule.accumulation
        seen = stream[:rows]
        self.train_tokens = sum(len(row.prompt_ids) + len(row.answer_ids) for row in seen)
        self.prepended_tokens = len(seen) * prepended_tokens(spec.method)


def run_trial(
    spec: TrialSpec,
    home: TrialHome,
    reporter: Reporter,
    *,
    splits: Sequence[Split] = ("validation",),
) -> TrialResult:
    """Run *spec* to its end; a fault of the trial is its result's status, not an exception.

    *splits*: ``test`` is for the final training of a recommended configuration alone. Raises InputError when
    the data or the base model on disk have changed, StoreError when the disk is full or refuses: neither
    is a fault of the trial, which resumes from its last checkpoint when it is run again.
    """
    clock, device, started = Clock(), _device(), time.time()
    memory.reset_peak(device)
    measured = _Measured()
    status, reason = Status.COMPLETE, None
    try:
        with clock.phase("other"):
            _fine_tune(spec, home, reporter, splits, clock, device, measured)
    except DivergedError as error:
        status, reason = Status.DIVERGED, str(error)
    except OutOfMemoryError as error:
        status, reason = Status.INFEASIBLE, str(error)
    except SftSelectError:
        raise
    except Exception as error:  # any other fault ends this trial, never the sweep
        if problem := disk_refusal(error):
            raise StoreError(f"trial {spec.key}: {problem}") from error
        status = Status.INFEASIBLE if is_out_of_memory(error) else Status.FAILED
        record = "all" if status is Status.INFEASIBLE else spec.record_answers
        reason = recorded_reason(error, record)
    free_memory(device)
    complete = status is Status.COMPLETE
    return TrialResult(
        spec=spec,
        status=status,
        reason=reason,
        tasks=tuple(e.score for e in measured.tasks) if complete else (),
        general=tuple(measured.general) if complete else (),
        cost=_cost(spec, measured, clock, device),
        final_train_loss=measured.final_loss if complete else None,
        environment=_environment(device),
        started_at=started,
        ended_at=time.time(),
        fitted=measured.fitted,
        passes=measured.passes if complete else (),
    )


def _fine_tune(
    spec: TrialSpec,
    home: TrialHome,
    reporter: Reporter,
    splits: Sequence[Split],
    clock: Clock,
    device: torch.device,
    measured: _Measured,
) -> None:
    # Data: every row in training order.
    with clock.phase("data"):
        stream = training_stream(spec)

    # Model: the untouched base on the general suites (once for all trials), then with the method on it.
    def untouched(base: TrialSpec) -> Evaluator:
        lent = borrow_model(base.model, base.method, device, base.train.dtype)
        return _evaluator(lent, base, device, clock, reporter)

    with clock.phase("model"):
        base = load_base(spec.model, device, spec.train.dtype)
        before = base_suites(spec, home.baselines, untouched)
        give_back(base)
        del base
    try:
        model = _tuned(spec, stream, home, reporter, clock, device, measured)
    finally:
        measured.count_tokens(spec, stream)
    assert measured.adapter_bytes is not None
    if home.model is not None and _has_room(spec, home, home.model, measured.adapter_bytes):
        with clock.phase("save"):
            save_model(model, spec.model, spec.method, home.model)

    # Evaluation: the tasks, then the general suites.
    evaluator = _evaluator(model, spec, device, clock, reporter)
    generating = clock.seconds.get("generate", 0.0)  # of the base, or of an earlier attempt
    measured.tasks = _tasks(evaluator, spec, splits, clock)
    measured.general = [suite.score for suite in measure_suites(evaluator, spec, before)]
    measured.evaluated_at_once = evaluator.fits
    measured.generated_tokens = evaluator.generated_tokens
    measured.generate_seconds = clock.seconds.get("generate", 0.0) - generating
    _save_records(measured.tasks, home.artifacts, clock)
    give_back(model)


def _tuned(
    spec: TrialSpec,
    stream: Sequence[Encoded],
    home: TrialHome,
    reporter: Reporter,
    clock: Clock,
    device: torch.device,
    measured: _Measured,
) -> nn.Module:
    """The base with the method, trained from the last checkpoint on; in less memory if need be.

    Raises OutOfMemoryError where memory does not suffice whatever is tried.
    """

    def build() -> nn.Module:
        with clock.phase("model"):
            # An adapter starts alike, whether the base was evaluated or not.
            torch.manual_seed(spec.seed)
            model = borrow_model(spec.model, spec.method, device, spec.train.dtype)
        measured.trained = sum(p.numel() for p in trained_parameters(model).values())
        measured.adapter_bytes = stored_bytes(model, spec.method)
        return model

    if spec.method.name == "none":
        return build()
    pad_id = int(load_tokenizer(spec.model).pad_token_id or 0)
    tries = _rungs(spec, stream, home, device)

    def attempt(rung: Rung) -> tuple[nn.Module, TrainResult]:
        measured.rung = rung if rung != Rung.of(spec) else None
        if measured.rung:
            note_rung(home.checkpoints, rung)
        again = rung != tries[0]
        if again:
            forget_base()  # which the failed attempt has changed: two would not fit
            gc.collect()
            free_memory(device)
            memory.reset_peak(device)
        model = build()
        with watched(home.checkpoints, rung), clock.phase("trainer"):
            result = train(
                model,
                stream,
                spec,
                pad_id=pad_id,
                device=device,
                checkpoints=Checkpoints(home.checkpoints, home.checkpoint_seconds, timed=again),
                reporter=reporter,
                clock=clock,
                counter=measured.counter,
                rung=rung,
                passes=_passes(spec, model, home, device, clock, reporter),
            )
        return model, result

    _, (model, trained) = first_that_fits(tries, attempt, device)
    measured.final_loss, measured.passes = trained.final_loss, trained.passes
    free_memory(device)
    return model


def _rungs(
    spec: TrialSpec, stream: Sequence[Encoded], home: TrialHome, device: torch.device
) -> list[Rung]:
    """Rungs of *spec* that are to be tried, from the one that an earlier process came to."""
    base = load_base(spec.model, device, spec.train.dtype)
    tries = rungs(spec, recomputes=base.supports_gradient_checkpointing)
    noted = noted_rung(home.checkpoints) or memory.fitting_rung(spec, stream, device)
    if noted in tries:
        tries = tries[tries.index(noted) :]
    return after_kill(home.checkpoints, tries)


def _passes(
    spec: TrialSpec,
    model: nn.Module,
    home: TrialHome,
    device: torch.device,
    clock: Clock,
    reporter: Reporter,
) -> Passes | None:
    """How passes of *model* are judged: on the tasks that the mix trains; ``None`` where the last is kept."""
    if spec.train.keep_epoch == "last" or spec.mix is None:
        return None
    weights = spec.mix.weights
    trained = tuple(task for task in spec.tasks if weights.get(task.name))
    on_trained = spec.model_copy(update={"tasks": trained})

    def evaluate() -> list[TaskScore]:
        evaluator = _evaluator(model, spec, device, clock, reporter)
        return [e.score for e in _tasks(evaluator, on_trained, ("validation",), clock)]

    return Passes(evaluate, home.checkpoints)


def _has_room(spec: TrialSpec, home: TrialHome, folder: Path, size: int) -> bool:
    """Whether a tuned model of *size* bytes is to be kept; one that is not for want of room is named."""
    if size <= home.model_limit_bytes:
        return True
    folder.parent.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder.parent).free
    if free >= 2 * size:
        return True
    print(
        f"note: trial {spec.key}: its tuned model of {numbers.memory(size)} is not kept, the disk has "
        f"{numbers.memory(free)} left; `sft-select train` makes it anew, or free {numbers.memory(2 * size)}",
        file=sys.stderr,
        flush=True,
    )
    return False


def _tasks(
    evaluator: Evaluator, spec: TrialSpec, splits: Sequence[Split], clock: Clock
) -> list[TaskEvaluation]:
    """Evaluate every task on those of *splits* that it has: on at most so many rows, on the whole of test."""
    evaluations = []
    for split, task in itertools.product(splits, spec.tasks):
        file = task.test if split == "test" else task.validation
        if file is None:
            continue
        with clock.phase("data"):
            rows = evaluation_rows(task, file, spec, whole=split == "test")
            labels = label_set(task)
        evaluations.append(evaluator.task(task, rows, labels, split, spec.record_answers))
    return evaluations


def _evaluator(
    model: nn.Module, spec: TrialSpec, device: torch.device, clock: Clock, reporter: Reporter
) -> Evaluator:
    return Evaluator(
        model,
        load_tokenizer(spec.model),
        spec.evaluation,
        prepended=prepended_tokens(spec.method),
        device=device,
        autocast=spec.train.dtype == "bfloat16",
        clock=clock,
        beat=reporter.beat,
    )


def _save_records(tasks: list[TaskEvaluation], folder: Path, clock: Clock) -> None:
    """Save the model's answers to each row, a file per task and split; none where none are recorded."""
    with clock.phase("save"):
        folder.mkdir(parents=True, exist_ok=True)  # by which `train` knows a model of its own
        for evaluation in tasks:
            score = evaluation.score
            file = folder / f"{score.task}.{score.split}.jsonl"
            if evaluation.records:
                write_atomically(file, json_lines(evaluation.records))
            else:  # what an earlier model answered is not this one's
                file.unlink(missing_ok=True)


# -- cost and environment ----------------------------------------------------------------------------


def _cost(spec: TrialSpec, measured: _Measured, clock: Clock, device: torch.device) -> Cost:
    phases = {name: round(seconds, 4) for name, seconds in sorted(clock.seconds.items())}
    generating, tokens = measured.generate_seconds, measured.generated_tokens
    training = ("trainer", "forward_backward", "optimizer", "checkpoint")
    return Cost(
        device=_device_name(device),
        train_tokens=measured.train_tokens,
        flops=_flops(spec, measured),
        device_seconds=sum(clock.seconds.values()),
        train_seconds=sum(clock.seconds.get(phase, 0.0) for phase in training),
        peak_bytes=memory.peak_bytes(device),
        trained_parameters=measured.trained,
        adapter_bytes=measured.adapter_bytes,
        seconds_per_1k_tokens=1000 * generating / tokens if tokens else None,
        phases=phases,
    )


def _flops(spec: TrialSpec, measured: _Measured) -> float | None:
    """Training operations: per token 4 per parameter (forward, activations) and 2 per trained weight."""
    if measured.train_tokens is None or measured.trained is None:
        return None
    tokens = measured.train_tokens + measured.prepended_tokens
    return float(tokens * (4 * spec.model.size + 2 * measured.trained))


@lru_cache(maxsize=1)
def _commit() -> str | None:
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]  # fixed words, no shell
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError:
        return None
    return done.stdout.strip() or None


def _environment(device: torch.device) -> dict[str, str]:
    facts = {name: version(name) for name in RECORDED_PACKAGES}
    facts |= {"python": platform.python_version(), "device": _device_name(device)}
    facts["threads"] = str(torch.get_num_threads())
    commit = _commit()
    return facts | ({"commit": commit} if commit else {})


# -- the device --------------------------------------------------------------------------------------


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


# -- faults ------------------------------------------------------------------------------------------


def disk_refusal(error: BaseException) -> str | None:
    """One line on the disk's refusal that *error* is or is caused by; ``None`` for any other fault."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if refusal := _disk_error(link):
            return f"{refusal}; free or mend the disk, then run the same command again"
        link = link.__cause__ or link.__context__
    return None


def _disk_error(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.errno in _ERRNOS:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}the disk refuses ({os.strerror(error.errno or 0)})"
    text = str(error)
    number = _OS_ERROR.search(text)
    if number and int(number[1]) in _ERRNOS:
        return f"the disk refuses ({os.strerror(int(number[1]))})"
    if _TORCH_WRITE.search(text):
        return "a checkpoint could not be written (the disk is full or refuses)"
    return None
