"""Peak memory: measured per trial, and predicted for ``plan`` and for the first try of a trial.

Predicted is what tensors take at the peak of a training step and of an evaluation batch, counted on a model
of fake tensors (:mod:`sweeps.finetune.tensor_count`), plus what a process takes beside its tensors. Models
below :data:`SMALL` weights get an upper bound by formula instead: beside the process they weigh nothing.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

from sweeps.data.prompts import Encoded
from sweeps.finetune.batch import chunk_positions
from sweeps.finetune.model import COPIED_BYTES
from sweeps.finetune.out_of_memory import Rung, can_recompute, rungs
from sweeps.finetune.tensor_count import (
    Setting,
    Step,
    generation_bytes,
    loss_bytes,
    quantised_saving,
    training_bytes,
)
from sweeps.finetune.weights import read_model_config, stored_in
from tracker.trial import DType, MethodSpec, ModelSpec, TrialSpec

#: Weights below which a model is not counted.
SMALL = 10_000_000
#: Bytes of a process beside its tensors: of its interpreter and libraries in host memory; on a GPU of CUDA's
#: context, which no allocator counts.
PROCESS_BYTES = {"cpu": 700 * 1024**2, "cuda": 600 * 1024**2}
#: Bytes that kernels work in, which a GPU's allocator counts.
_WORKSPACE_BYTES = {"cpu": 0, "cuda": 40 * 1024**2}
_SHORTEST = 16  # tokens a row, from which lengths are counted
_FLOAT_BYTES = 4


def reset_peak(device: torch.device) -> None:
    """Reset the peak; on the CPU the kernel's high-water mark, where it allows that."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_bytes(device: torch.device) -> int | None:
    """Peak bytes since :func:`reset_peak`: device memory, or the process's resident set.

    ``None`` where the system does not report it. On the CPU the interpreter and its libraries are included.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


# -- predicted ---------------------------------------------------------------------------------------


class Lengths(NamedTuple):
    """Tokens of a trial's rows: of the ``longest`` trained row, and at most ``trained`` of a row's.

    ``evaluated``: of the longest evaluated row, ``answered`` of which are its answer; ``prompt`` and ``new``:
    of the longest prompt, and generated after it at most.
    """

    longest: int
    trained: int
    evaluated: int
    answered: int
    prompt: int
    new: int

    @classmethod
    def of(
        cls, stream: Sequence[Encoded], evaluated: Sequence[Encoded], max_new_tokens: int
    ) -> Lengths:
        """Lengths of the rows of *stream* and of the *evaluated* ones."""
        answered = max((len(row.answer_ids) for row in evaluated), default=1)
        rows = {id(row): row for row in stream}.values()  # every pass has the same ones
        return cls(
            longest=max(map(len, rows), default=1),
            trained=max(map(_trained, rows), default=1),
            evaluated=max(map(len, evaluated), default=1),
            answered=answered,
            prompt=max((len(row.prompt_ids) for row in evaluated), default=1),
            new=min(answered + 2, max_new_tokens),
        )


def _trained(row: Encoded) -> int:
    if not row.earlier:
        return len(row.answer_ids)
    return sum(weight != 0 for weight in row.token_weights)


class Peaks(NamedTuple):
    """Predicted peak bytes of tensors and kernels: of a training step, and of an evaluation batch."""

    training: int
    evaluation: int

    @property
    def bytes(self) -> int:
        """Bytes of whichever is the peak."""
        return max(self)

    @property
    def phase(self) -> str:
        """Which is the peak, ``training`` or ``evaluation``."""
        return "training" if self.training >= self.evaluation else "evaluation"


def predicted_peaks(
    spec: TrialSpec, lengths: Lengths, *, device: str, rung: Rung | None = None
) -> Peaks:
    """Predicted peaks of *spec* on a ``cpu`` or ``cuda`` *device*, without :data:`PROCESS_BYTES`.

    *rung*: how its steps are made, by default as it says. Within a tenth of measured peaks for models of
    50M weights and more of Llama's kind; a kernel's own memory and a heap's gaps are in none of it.
    """
    rung = rung or Rung.of(spec)
    peaks = _bounds(spec, lengths, rung)
    if spec.model.size >= SMALL:
        with (
            _quiet(),
            suppress(Exception),
        ):  # an architecture that fake tensors cannot run has its bounds
            peaks = _counts(spec, lengths, rung)
    beside = _WORKSPACE_BYTES[device] + base_copy_bytes(spec)
    return Peaks(peaks.training + beside, peaks.evaluation + beside)


def first_fit(spec: TrialSpec, lengths: Lengths, available: float, *, device: str) -> Rung | None:
    """The first rung whose training is predicted to fit *available* bytes; ``None`` where none is."""
    for rung in rungs(spec, recomputes=can_recompute(spec.method)):
        if predicted_peaks(spec, lengths, device=device, rung=rung).training <= available:
            return rung
    return None


def fitting_rung(spec: TrialSpec, stream: Sequence[Encoded], device: torch.device) -> Rung | None:
    """The first rung predicted to fit the memory that is free now, where *spec* may not fit as it says.

    ``None``: it fits, or no rung is predicted to. What the process has reserved already is free to it.
    """
    if bounds_of(spec, at_once=True) <= (free := _free_bytes(device)):
        return None
    lengths = Lengths.of(stream, (), spec.evaluation.max_new_tokens)
    return first_fit(spec, lengths, free, device=device.type)


def _free_bytes(device: torch.device) -> int:
    """Bytes that this process may still take, and those that it holds."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device))
    used = psutil.Process().memory_info().rss - PROCESS_BYTES["cpu"]
    return int(psutil.virtual_memory().available + max(0, used))


# -- counts, each made once ----------------------------------------------------------------------------


def _counts(spec: TrialSpec, lengths: Lengths, rung: Rung) -> Peaks:
    method = spec.method.without_rate
    about = (spec.model, method, spec.train.dtype)
    rows, trained = _rows_at_once(spec, rung), _rounded(_rows_at_once(spec, rung) * lengths.trained)
    evaluated = spec.evaluation.batch_size
    answered = _rounded(evaluated * lengths.answered)
    training = 0
    if method.name != "none":
        training = _between(
            lambda n: _training(*about, rung.recomputed, rows, n, trained), lengths.longest
        )
    # Rows to evaluate are the same whatever the training-set size: each length is counted as it is.
    loss = _loss(*about, evaluated, lengths.evaluated, answered)
    given = _answers(*about, evaluated, lengths.prompt, lengths.new)
    return Peaks(training, max(loss, given))


def _rows_at_once(spec: TrialSpec, rung: Rung) -> int:
    return min(rung.batch_size, max(1, spec.volume))


@lru_cache(maxsize=1024)
def _training(
    model: ModelSpec,
    method: MethodSpec,
    dtype: DType,
    recomputed: bool,
    rows: int,
    length: int,
    trained: int,
) -> int:
    setting = _setting(model, method, dtype, recomputed)
    return training_bytes(setting, Step(rows, length, trained)) - _saving(model, method, dtype)


@lru_cache(maxsize=1024)
def _loss(
    model: ModelSpec,
    method: MethodSpec,
    dtype: DType,
    rows: int,
    length: int,
    trained: int,
) -> int:
    setting = _setting(model, method, dtype)
    return loss_bytes(setting, Step(rows, length, trained)) - _saving(model, method, dtype)


@lru_cache(maxsize=1024)
def _answers(
    model: ModelSpec,
    method: MethodSpec,
    dtype: DType,
    rows: int,
    prompt: int,
    new: int,
) -> int:
    setting = _setting(model, method, dtype)
    return generation_bytes(setting, rows, prompt, new) - _saving(model, method, dtype)


def _setting(
    model: ModelSpec, method: MethodSpec, dtype: DType, recomputed: bool = False
) -> Setting:
    config = read_model_config(Path(model.path), trust=model.trust_remote_code)
    return Setting(
        config,
        method,
        frozen=frozen_type(model, method, dtype),
        autocast=dtype == "bfloat16",
        recomputed=recomputed,
        trust=model.trust_remote_code,
        parameters=model.parameters,
    )


def frozen_type(model: ModelSpec, method: MethodSpec, dtype: DType) -> torch.dtype:
    """Type of the weights that *method* leaves as they are, of 4-bit ones once they are unpacked."""
    if method.name == "full" or method.variant == "pissa":  # masters
        return torch.float32
    return stored_in(model.base, dtype)


def base_copy_bytes(spec: TrialSpec) -> int:
    """Bytes of the base that a process holds beside a model of the trial's own, which is a copy of it."""
    if spec.method.name != "full" and spec.method.variant != "pissa":
        return 0
    kept = stored_in(spec.model.base, spec.train.dtype)
    size = spec.model.size * kept.itemsize
    return size if size <= COPIED_BYTES else 0


@lru_cache(maxsize=64)
def _saving(model: ModelSpec, method: MethodSpec, dtype: DType) -> int:
    """Bytes that 4-bit weights take less than unpacked ones, less the room to unpack the largest of them."""
    if model.base != "nf4" or method.name == "full":
        return 0
    config = read_model_config(Path(model.path), trust=model.trust_remote_code)
    unpacked = frozen_type(model, method, dtype).itemsize
    return quantised_saving(config, unpacked, trust=model.trust_remote_code)


def _between(counted: Callable[[int], int], length: int) -> int:
    """*counted* at *length*, on the line between the powers of two beside it: it bends upwards.

    Rows of one power of two share their counts, so that a plan makes few.
    """
    low = max(_SHORTEST, 1 << (max(length, 1).bit_length() - 1))
    if length <= low:
        return counted(low)
    below, above = counted(low), counted(2 * low)
    return math.ceil(below + (above - below) * (length - low) / low)


def _rounded(number: int) -> int:
    """*number* up to five binary digits, so that counts are shared."""
    unit = 1 << max(0, number.bit_length() - 5)
    return -(-number // unit) * unit


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what libraries say of a model of fake tensors, and of one that cannot be run with them."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def bounds_of(spec: TrialSpec, *, at_once: bool = False) -> int:
    """Upper bound of the bytes that *spec* needs whatever its rows are, with a row at a time.

    *at_once*: with as many rows as it says instead.
    """
    length, new = spec.train.max_length, spec.evaluation.max_new_tokens
    lengths = Lengths(length, length, length, length, length, new)
    rung, evaluated = (Rung.of(spec), None) if at_once else (rungs(spec)[-1], 1)
    return _bounds(spec, lengths, rung, evaluated).bytes + _WORKSPACE_BYTES["cuda"]


def _bounds(spec: TrialSpec, lengths: Lengths, rung: Rung, evaluated: int | None = None) -> Peaks:
    """Upper bounds by formula, as if every weight were trained in float32.

    A layer keeps at most 16 times its width and 6 times that of its feed-forward part for each token (after
    Korthikanti et al. 2022, arXiv 2205.05198, eq. 1, in float32), and attention weighs every pair of tokens.
    Recomputed are those of one layer, from every layer's input.
    """
    model = spec.model
    text = read_model_config(Path(model.path), trust=model.trust_remote_code).get_text_config(
        decoder=True
    )
    hidden, layers = text.hidden_size, text.num_hidden_layers
    width = getattr(text, "intermediate_size", None) or 4 * hidden
    heads = getattr(text, "num_attention_heads", None) or 1
    virtual = spec.method.virtual_tokens or 0
    rows, trained = _rows_at_once(spec, rung), lengths.longest + virtual
    of_layer = (16 * hidden + 6 * width + heads * trained) * trained
    kept = of_layer + layers * hidden * trained if rung.recomputed else layers * of_layer
    logits, chunk = 4 * text.vocab_size, chunk_positions(text.vocab_size)
    states = model.size * _FLOAT_BYTES
    made = min(chunk, rows * lengths.trained)
    training = 4 * states + _FLOAT_BYTES * (rows * kept + logits * made)
    seen = max(lengths.evaluated, lengths.prompt + lengths.new) + virtual
    of_row = (2 * layers * hidden + 16 * hidden + 6 * width + heads * seen) * seen
    at_once = evaluated or spec.evaluation.batch_size
    made = min(chunk, at_once * max(lengths.answered, 1))
    evaluation = states + _FLOAT_BYTES * (at_once * of_row + logits * made)
    return Peaks(training if spec.method.name != "none" else 0, evaluation)
