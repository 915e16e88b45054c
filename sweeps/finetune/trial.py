"""One trial, top to bottom: load, train, evaluate, price."""

from __future__ import annotations

import errno
import gc
import itertools
import os
import platform
import re
import subprocess
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
from sweeps.finetune import memory
from sweeps.finetune.clock import Clock
from sweeps.finetune.contract import Reporter, TrialHome
from sweeps.finetune.divergence import DivergedError
from sweeps.finetune.evaluate import Evaluator, TaskEvaluation
from sweeps.finetune.model import (
    build_model,
    load_base,
    prepended_tokens,
    save_model,
    stored_bytes,
    trained_parameters,
)
from sweeps.finetune.train import Checkpoints, Passed, train
from tracker.errors import SftSelectError, StoreError
from tracker.files import json_lines, write_atomically
from tracker.trial import Cost, Status, SuiteScore, TrialResult, TrialSpec

Split = Literal["validation", "test"]

RECORDED_PACKAGES = ("torch", "transformers", "peft", "accelerate", "tokenizers", "sft-select")

#: What a full, broken or read-only disk says: nothing that another trial would do better.
_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG})
#: safetensors and torch write by themselves; of the system's error they keep the words alone.
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_TORCH_WRITE = re.compile(r"PytorchStreamWriter failed writing|inline_container.*unexpected pos")


def run_trial(
    spec: TrialSpec,
    home: TrialHome,
    reporter: Reporter,
    *,
    splits: Sequence[Split] = ("validation",),
) -> TrialResult:
    """Run *spec* to its end. What goes wrong inside is the result's status, not an exception.

    *splits*: ``test`` is for the one training of a chosen configuration. Raises InputError when the data or
    the base model on disk is no longer what the spec says, StoreError when the disk is full or refuses:
    neither says anything of the trial, which goes on from its last checkpoint when it is run again.
    """
    clock, device, started = Clock(), _device(), time.time()
    memory.reset_peak(device)
    outcome = _Outcome()
    status, reason = Status.COMPLETE, None
    try:
        with clock.phase("other"):
            _run(spec, home, reporter, splits, clock, device, outcome)
    except DivergedError as error:
        status, reason = Status.DIVERGED, str(error)
    except SftSelectError:
        raise
    except Exception as error:  # any other fault ends this trial, never the sweep
        if problem := disk_refusal(error):
            raise StoreError(f"trial {spec.key}: {problem}") from error
        status = Status.INFEASIBLE if _is_out_of_memory(error) else Status.FAILED
        reason = _one_line(error)
    _release(device)
    complete = status is Status.COMPLETE
    return TrialResult(
        spec=spec,
        status=status,
        reason=reason,
        tasks=tuple(e.score for e in outcome.tasks) if complete else (),
        general=tuple(outcome.general) if complete else (),
        cost=_cost(spec, outcome, clock, device),
        final_train_loss=outcome.final_loss if complete else None,
        environment=_environment(device),
        started_at=started,
        ended_at=time.time(),
    )


class _Outcome:
    """What has been measured so far; a trial that fails half-way keeps what its cost needs."""

    def __init__(self) -> None:
        self.tasks: list[TaskEvaluation] = []
        self.general: list[SuiteScore] = []
        self.train_tokens: int | None = None
        self.prepended_tokens = 0
        self.passed = Passed()
        self.trained: int | None = None
        self.adapter_bytes: int | None = None
        self.generated_tokens = 0
        self.generate_seconds = 0.0
        self.final_loss: float | None = None

    def count_tokens(self, spec: TrialSpec, stream: Sequence[Encoded]) -> None:
        """Take note of the tokens that training went through, however it ended."""
        rows = self.passed.steps * spec.train.batch_size * spec.train.accumulation
        seen = stream[:rows]
        self.train_tokens = sum(len(row.prompt_ids) + len(row.answer_ids) for row in seen)
        self.prepended_tokens = len(seen) * prepended_tokens(spec.method)


def _run(
    spec: TrialSpec,
    home: TrialHome,
    reporter: Reporter,
    splits: Sequence[Split],
    clock: Clock,
    device: torch.device,
    outcome: _Outcome,
) -> None:
    with clock.phase("data"):
        tokenizer = load_tokenizer(spec.model)
        stream = training_stream(spec)

    def untouched(base: TrialSpec) -> Evaluator:
        model = build_model(base.model, base.method, device)
        return _evaluator(model, base, device, clock, reporter)

    with clock.phase("model"):
        load_base(spec.model)
        before = base_suites(spec, home.baselines, untouched)
        # For the adapter's first weights, whatever was measured before.
        torch.manual_seed(spec.seed)
        model = build_model(spec.model, spec.method, device)
    outcome.trained = sum(p.numel() for p in trained_parameters(model).values())
    outcome.adapter_bytes = stored_bytes(model, spec.method)
    try:
        if spec.method.name != "none":
            with clock.phase("trainer"):
                result = train(
                    model,
                    stream,
                    spec,
                    pad_id=int(tokenizer.pad_token_id or 0),
                    device=device,
                    checkpoints=Checkpoints(home.checkpoints, home.checkpoint_seconds),
                    reporter=reporter,
                    clock=clock,
                    passed=outcome.passed,
                )
            outcome.final_loss = result.final_loss
            _release(device)
    finally:
        outcome.count_tokens(spec, stream)
    if home.model is not None and outcome.adapter_bytes <= home.model_limit_bytes:
        with clock.phase("save"):
            save_model(model, spec.model, spec.method, home.model)

    evaluator = _evaluator(model, spec, device, clock, reporter)
    generating = clock.seconds.get("generate", 0.0)  # the base's answers, or an earlier attempt's
    outcome.tasks = _tasks(evaluator, spec, splits, clock)
    outcome.general = [one.score for one in measure_suites(evaluator, spec, before)]
    outcome.generated_tokens = evaluator.generated_tokens
    outcome.generate_seconds = clock.seconds.get("generate", 0.0) - generating
    with clock.phase("save"):
        _save_records(outcome.tasks, home.artifacts)


def _tasks(
    evaluator: Evaluator, spec: TrialSpec, splits: Sequence[Split], clock: Clock
) -> list[TaskEvaluation]:
    """Every task on every split that it has."""
    found = []
    for split, task in itertools.product(splits, spec.tasks):
        file = task.test if split == "test" else task.validation
        if file is None:
            continue
        with clock.phase("data"):
            rows, labels = evaluation_rows(task, file, spec), label_set(task)
        found.append(evaluator.task(task, rows, labels, split))
    return found


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


def _save_records(tasks: list[TaskEvaluation], folder: Path) -> None:
    for evaluation in tasks:
        score = evaluation.score
        file = folder / f"{score.task}.{score.split}.jsonl"
        write_atomically(file, json_lines(evaluation.records))


def _cost(spec: TrialSpec, outcome: _Outcome, clock: Clock, device: torch.device) -> Cost:
    phases = {name: round(seconds, 4) for name, seconds in sorted(clock.seconds.items())}
    generating, tokens = outcome.generate_seconds, outcome.generated_tokens
    training = ("trainer", "forward_backward", "optimizer", "checkpoint")
    return Cost(
        device=_device_name(device),
        train_tokens=outcome.train_tokens,
        flops=_flops(spec, outcome),
        device_seconds=sum(clock.seconds.values()),
        train_seconds=sum(clock.seconds.get(phase, 0.0) for phase in training),
        peak_bytes=memory.peak_bytes(device),
        trained_parameters=outcome.trained,
        adapter_bytes=outcome.adapter_bytes,
        seconds_per_1k_tokens=1000 * generating / tokens if tokens else None,
        phases=phases,
    )


def _flops(spec: TrialSpec, outcome: _Outcome) -> float | None:
    """2 per parameter and token forward, 2 back through activations, 2 per trained weight and token."""
    if outcome.train_tokens is None or outcome.trained is None:
        return None
    tokens = outcome.train_tokens + outcome.prepended_tokens
    return float(tokens * (4 * spec.model.size + 2 * outcome.trained))


def _release(device: torch.device) -> None:
    """Give back device memory that reference cycles hold: the Trainer's optimizer, or a lost model.

    Otherwise it would count towards the peak of what comes next.
    """
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def disk_refusal(error: BaseException) -> str | None:
    """One line on the disk's refusal that *error* is, or comes of; ``None`` for any other fault."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        if said := _disk_error(link):
            return f"{said}; free or mend the disk, then run the same command again"
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


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    if not isinstance(error, RuntimeError):
        return False
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]


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
