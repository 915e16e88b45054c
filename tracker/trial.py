"""Trials: the specification of one fine-tune, its configuration, its result, and a sweep's objective.

``TrialSpec`` is everything that determines one fine-tune; ``TrialResult`` is everything measured of it.
Both are frozen and strict (unknown keys, NaN and infinity are refused). What was not measured is
``None``, never 0. Tasks, and what a trial scored on them: :mod:`tracker.task`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, JsonValue, field_validator

from tracker.errors import InputError
from tracker.frozen import Frozen
from tracker.numbers import count
from tracker.task import (
    FileRef,
    Name,
    SuiteScore,
    SuiteSpec,
    TaskScore,
    TaskSpec,
    TemplateVariables,
)

#: Where a thing lies does not change what it is: these fields stay out of ``TrialSpec.key``.
LOCATION_FIELDS = frozenset({"path"})

#: Where a spec keeps its key once it is known; pydantic's iteration leaves out names like it.
_KEY = "_key"
#: What is recorded of rows' texts and of answers to them, outside of the data files.
RecordAnswers = Literal["all", "hashed", "none"]
#: What a sweep file may say.
MIN_EPOCHS, MAX_EPOCHS = 1, 1000
_AT_MOST_A_MILLION: dict[str, JsonValue] = {"maximum": 1_000_000}
DType = Literal["float32", "bfloat16"]
#: How frozen weights are stored otherwise than in float32.
Base = Literal["bfloat16", "nf4"]


class ModelSpec(Frozen):
    """Base model. ``digest`` covers weights, configuration and tokenizer; ``parameters``: their number, N.

    Of an outside trial's model we have no files: ``path`` is its name, ``digest`` is ``None``, and so
    is ``parameters`` where its table does not say. ``end_token``: the token that closes an answer, where
    the chat template closes one otherwise than with the tokenizer's end token. ``base``: how its frozen
    weights are stored, ``None`` for float32; weights stored otherwise are another base.
    ``chat_template_kwargs``: variables that its chat template is given. ``system``: ``fold`` puts a system
    turn into the first user turn. They stay out of dumps and keys where they are not set, as in every sweep
    of before they were known.
    """

    name: str
    path: str
    revision: str | None = None
    digest: str | None = None
    parameters: int | None = None
    family: str | None = None
    trust_remote_code: bool = False
    end_token: str | None = Field(None, exclude_if=lambda value: value is None)
    base: Base | None = Field(None, exclude_if=lambda value: value is None)
    chat_template_kwargs: TemplateVariables = Field((), exclude_if=lambda value: not value)
    system: Literal["fold"] | None = Field(None, exclude_if=lambda value: value is None)

    @property
    def size(self) -> int:
        """Number of parameters, where it must be known; InputError where it is not."""
        if self.parameters is None:
            raise InputError(f"{self.name}: its number of parameters is not known")
        return self.parameters


#: Of every LoRA trial: constant over ranks, which keeps the best learning rate nearly constant too
#: (LoRA Without Regret, 2025), and LoRA+'s ratio of B's learning rate to A's (arXiv 2402.12354).
LORA_ALPHA = 32
LORA_PLUS_RATIO = 16


#: ``MethodSpec.target_modules``: every linear layer but the output's, as peft means it.
ALL_LINEAR = "all-linear"
#: Hyper-parameters of a method by name, each with the word that labels write before its value; None: none.
HYPERPARAMETERS: dict[str, str | None] = {
    "variant": None,
    "rank": "r",
    "virtual_tokens": "tokens",
    "alpha": "alpha",
    "dropout": "dropout",
    "target_modules": "modules",
    "epochs": "epochs",
    "batch_size": "batch",
    "weight_decay": "decay",
    "learning_rate": "lr",
}


def _unsaid(value: object) -> bool:
    return value is None


class MethodSpec(Frozen):
    """Tuning method with its hyper-parameters; ``none`` is the untouched base, every method's zero.

    Our own methods are ``full``, ``lora`` and ``p_tuning``; an outside table may hold any other.

    ``epochs``, ``batch_size`` (examples per optimiser step) and ``weight_decay`` are the method's own;
    ``None``: those of the trial's schedule. ``alpha``, ``dropout`` and ``target_modules`` are LoRA's;
    ``None``: 32, 0 and every linear layer. ``target_modules``: names or endings of names of modules, apart
    by commas, or ``all-linear``. Those six stay out of dumps and keys where they are ``None``.
    """

    name: Name
    variant: str | None = None
    rank: int | None = None
    virtual_tokens: int | None = None
    learning_rate: float | None = None
    epochs: int | None = Field(None, ge=1, exclude_if=_unsaid)
    batch_size: int | None = Field(None, ge=1, exclude_if=_unsaid)
    weight_decay: float | None = Field(None, ge=0, exclude_if=_unsaid)
    alpha: float | None = Field(None, gt=0, exclude_if=_unsaid)
    dropout: float | None = Field(None, ge=0, lt=1, exclude_if=_unsaid)
    target_modules: str | None = Field(None, exclude_if=_unsaid)

    @property
    def settings(self) -> dict[str, str | float]:
        """Hyper-parameters that have a value, by name."""
        values = {name: getattr(self, name) for name in HYPERPARAMETERS}
        return {name: value for name, value in values.items() if value is not None}

    @property
    def modules(self) -> list[str] | None:
        """Names, or endings of names, of the modules that LoRA adapts; ``None``: every linear layer."""
        named = self.target_modules or ALL_LINEAR
        return None if named == ALL_LINEAR else named.split(",")

    @property
    def lora_alpha(self) -> float:
        """LoRA's alpha, also where the method does not say it; a whole number as an ``int``."""
        alpha = LORA_ALPHA if self.alpha is None else self.alpha
        return int(alpha) if alpha == int(alpha) else alpha

    @property
    def label(self) -> str:
        """Method in a few words, such as ``lora rslora r=8 lr=0.003``."""
        parts: list[str] = [self.name]
        for name, value in self.settings.items():
            word = HYPERPARAMETERS[name]
            text = f"{value:.3g}" if isinstance(value, float) else str(value)
            if text:
                parts.append(f"{word}={text}" if word else text)
        return " ".join(parts)

    @property
    def without_rate(self) -> MethodSpec:
        """Method at any learning rate."""
        return self.model_copy(update={"learning_rate": None})


class MixSpec(Frozen):
    """Task mix: the tasks that share a training set, and their proportions.

    ``weights``: share of the volume per task. ``extra_epochs``: further passes over a task's
    examples. ``replay``: general text rows added, as a fraction of the volume.
    """

    name: str
    weights: dict[str, float]
    extra_epochs: dict[str, int] = Field(default_factory=dict)
    replay: float = 0.0


class TrainSpec(Frozen):
    """Training schedule of all methods, of which a method may have its own part: ``TrialSpec.schedule``."""

    # An outside table may state 0 epochs, or many: `sweeps.sweep_file` holds a sweep file to the schema's.
    epochs: int = Field(
        3,
        ge=0,
        description="Passes over the examples.",
        json_schema_extra={"minimum": MIN_EPOCHS, "maximum": MAX_EPOCHS},
    )
    batch_size: int = Field(
        16, ge=1, description="Examples per forward pass.", json_schema_extra=_AT_MOST_A_MILLION
    )
    accumulation: int = Field(
        1,
        ge=1,
        description="Forward passes per optimiser step.",
        json_schema_extra=_AT_MOST_A_MILLION,
    )
    max_length: int = Field(
        256,
        ge=8,
        description="Tokens per example; prompts are cut to fit.",
        json_schema_extra=_AT_MOST_A_MILLION,
    )
    scheduler: Literal["cosine", "linear", "constant"] = Field(
        "cosine",
        description="Learning-rate schedule: cosine and linear fall to 0 over the run, constant does not.",
    )
    warmup: float = Field(
        0.05, ge=0, description="Warm-up, as a fraction of all steps; it ends before the last."
    )
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay.")
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    dtype: DType = Field("float32", description="Compute type; bfloat16 is autocast.")
    gradient_checkpointing: bool = Field(False, description="Recompute activations: less memory.")
    packing: bool = Field(False, description="Several examples per sequence (not for P-tuning).")
    diverged_above: float | None = Field(
        1.5,
        gt=1,
        description="A run ends as diverged once its smoothed training loss has stayed above this "
        "multiple of its initial value, and at least 1 nat above it, for 10 % of all steps; null: only "
        "once its loss is NaN or infinite.",
    )

    optimizer: Literal["adamw", "adamw_8bit"] = Field(
        "adamw",
        exclude_if=lambda value: value == "adamw",
        description="adamw: moments in float32; adamw_8bit: in 8 bits each (bitsandbytes), a quarter of the "
        "memory, with other rounding.",
    )
    keep_epoch: Literal["last", "best"] = Field(
        "last",
        exclude_if=lambda value: value == "last",
        description="Weights that a trial ends with. last: those after the last pass; best: those of the "
        "pass that scores best on the validation rows of the mix's tasks, each pass evaluated. The same "
        "rows score the trial then, a little too well.",
    )

    @field_validator("warmup")
    @classmethod
    def _shorter_than_training(cls, warmup: float) -> float:
        if warmup >= 1:
            raise ValueError(
                f"found {warmup:g}, a warm-up longer than training; "
                "allowed: a fraction of all steps, from 0 to below 1"
            )
        return warmup


class EvaluationSpec(Frozen):
    """Evaluation of trials: on the first rows of a seeded order."""

    rows: int | None = Field(
        500,
        ge=1,
        description="At most so many rows per task and suite; null: all.",
        json_schema_extra={"maximum": 1_000_000_000},
    )
    batch_size: int = Field(
        64, ge=1, description="Rows per forward pass.", json_schema_extra=_AT_MOST_A_MILLION
    )
    max_new_tokens: int = Field(
        32,
        ge=1,
        description="Tokens generated per answer at most.",
        json_schema_extra=_AT_MOST_A_MILLION,
    )


class TrialSpec(Frozen):
    """Specification of a trial: everything that determines one fine-tune; two equal specs are one trial.

    ``volume`` is the number of distinct training examples in all; ``examples`` splits it by task.
    Subsets are nested: the first 500 of a task's seeded order are part of its first 1,000.
    ``tasks`` holds every task evaluated, also those the mix does not train.

    ``origin``: the table an outside trial was taken from, by name and digest; ``None`` for our own. An
    outside trial cannot be trained here: its files are not known, so ``tasks`` and ``general`` are empty
    (its result says what was evaluated), and of ``train`` and ``evaluation`` nothing is known but
    ``epochs``, where the table has them. ``examples`` is empty where the split by task is not known.

    ``record_answers``: what is recorded of rows and answers; no part of what the trial is, nor of its key.
    """

    model: ModelSpec
    method: MethodSpec
    mix: MixSpec | None = None
    volume: int = 0
    examples: dict[str, int] = Field(default_factory=dict)
    tasks: tuple[TaskSpec, ...]
    general: tuple[SuiteSpec, ...] = ()
    replay: FileRef | None = None
    train: TrainSpec = TrainSpec()
    evaluation: EvaluationSpec = EvaluationSpec()
    seed: int = 0
    origin: str | None = None
    # Left out where it is `all`: specs of before there was another way have the same text.
    record_answers: RecordAnswers = Field("all", exclude_if=lambda value: value == "all")

    @property
    def key(self) -> str:
        """Key of the trial: sixteen hex digits of the content's SHA-256; file locations do not count.

        Computed once, for a choice reads it dozens of times. It is kept beside the fields, where
        neither equality nor serialisation looks.
        """
        known: str | None = self.__dict__.get(_KEY)
        if known is None:
            known = self.__dict__[_KEY] = self._digest()
        return known

    @property
    def schedule(self) -> TrainSpec:
        """Training schedule of this trial: ``train`` with the method's own passes, batch and weight decay.

        A method's batch is what an optimiser step sees: it is made in forward passes of equal size, each
        of at most ``train.batch_size`` examples.
        """
        method = self.method
        changes: dict[str, Any] = {
            name: value
            for name in ("epochs", "weight_decay")
            if (value := getattr(method, name)) is not None
        }
        if method.batch_size is not None:
            at_once = min(self.train.batch_size, method.batch_size)
            while method.batch_size % at_once:
                at_once -= 1
            changes |= {"batch_size": at_once, "accumulation": method.batch_size // at_once}
        return self.train.model_copy(update=changes) if changes else self.train

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy with changes, as pydantic's; a changed copy has another key."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop(_KEY, None)
        return copied

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        return state | {"__dict__": {k: v for k, v in state["__dict__"].items() if k != _KEY}}

    def _digest(self) -> str:
        content = without_locations(self.model_dump(mode="json"))
        content.pop("record_answers", None)
        if self.origin is None:  # keys of before there were outside trials stay as they were
            del content["origin"]
        # Nor did runs end early before this was a setting; one that is not ended is the same run.
        if content["train"]["diverged_above"] == TrainSpec().diverged_above:
            del content["train"]["diverged_above"]
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def without_locations(value: Any) -> Any:
    """Plain data without the places of files, at any depth."""
    if isinstance(value, Mapping):
        return {k: without_locations(v) for k, v in value.items() if k not in LOCATION_FIELDS}
    if isinstance(value, list):
        return [without_locations(v) for v in value]
    return value


class Configuration(NamedTuple):
    """Configuration: model, method, mix and training-set size, which a recommendation chooses among.

    Hashable, and the same type for search, laws, decision and pages.

    ``model`` and ``mix``: by name; the untouched base has the method ``none``, no mix and volume 0.
    ``volume``: distinct training examples; ``None`` where it is not fixed, which makes it a curve over
    the training-set size. A method without hyper-parameters stands for all its settings.
    """

    model: str
    method: MethodSpec
    mix: str = ""
    volume: int | None = None

    @classmethod
    def of(cls, spec: TrialSpec) -> Configuration:
        """Configuration that a trial is a run of."""
        return cls(spec.model.name, spec.method, spec.mix.name if spec.mix else "", spec.volume)

    @property
    def untouched(self) -> bool:
        """Whether this is an untouched base model."""
        return self.method.name == "none"

    @property
    def curve(self) -> Configuration:
        """Configuration at any training-set size."""
        return self._replace(volume=None)

    @property
    def pair(self) -> tuple[str, str]:
        """Model and method's name: the unit for which hyper-parameters are tuned."""
        return self.model, self.method.name

    @property
    def label(self) -> str:
        """Configuration in a few words, such as ``en-1m lora r=8 lr=0.003, even, 500 examples``."""
        if self.untouched:
            return f"{self.model} untouched"
        volume = "" if self.volume is None else f"{count(self.volume)} examples"
        return ", ".join(
            part for part in (f"{self.model} {self.method.label}", self.mix, volume) if part
        )

    def groups(self, family: str | None) -> dict[str, str]:
        """Groups whose curves are pooled with this one's, kind → name (:mod:`tracker.laws.pooling`).

        *family*: of its model.
        """
        setting = self.method.label
        return {
            "family": family or "",
            "model": self.model,
            "method": self.method.name,
            "pair": " ".join(self.pair),
            "mix": self.mix,
            "setting": setting,
            "run": f"{self.model} {setting}",
        }


class Status(StrEnum):
    """Status with which a trial ended; each is terminal."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    INFEASIBLE = "infeasible"  # did not fit the device
    DIVERGED = "diverged"  # its loss became no number, or stayed far above its beginning
    FAILED = "failed"


class Cost(Frozen):
    """Cost of a trial.

    ``train_tokens``: data tokens through training, padding and virtual tokens left out. ``flops``: counted
    training operations (2 per parameter and token forward, 2 backward through activations, 2 more for each
    trained weight). ``device_seconds``: measured seconds on the device, training and evaluation.
    ``adapter_bytes``: what must be stored beside the base model. ``phases``: seconds by phase.
    """

    device: str
    train_tokens: int | None = None
    flops: float | None = None
    device_seconds: float | None = None
    train_seconds: float | None = None
    peak_bytes: int | None = None
    trained_parameters: int | None = None
    adapter_bytes: int | None = None
    seconds_per_1k_tokens: float | None = None
    phases: dict[str, float] = Field(default_factory=dict)


class Fitted(Frozen):
    """How a trial was run where its device had too little memory for it to run as specified.

    ``batch_size``: rows through the model at a time in training, ``accumulation`` times a step, which sees
    the rows that it would have seen; ``gradient_checkpointing``: whether activations were recomputed;
    ``evaluation_batch_size``: rows at a time in evaluation, at most. ``None``: as specified.
    """

    batch_size: int | None = None
    accumulation: int | None = None
    gradient_checkpointing: bool | None = None
    evaluation_batch_size: int | None = None


class PassResult(Frozen):
    """Scores after a pass over the training set, on the validation rows of the tasks that the mix trains.

    ``number``: from 1; ``step``: optimizer steps until then. ``scores``: by task its score, or an error;
    ``value``: what passes are compared by, the higher the better. ``kept``: whether the trial ended with
    its weights.
    """

    number: int
    step: int
    scores: dict[str, float | None]
    loss_nats: dict[str, float | None]
    value: float
    kept: bool = False


class TrialResult(Frozen):
    """Result of a finished trial: its spec, status and reason, and everything measured.

    ``fitted``: what memory made of the spec's batches; ``None`` where nothing. ``passes``: where each was
    evaluated.
    """

    spec: TrialSpec
    status: Status
    reason: str | None = None
    tasks: tuple[TaskScore, ...] = ()
    general: tuple[SuiteScore, ...] = ()
    cost: Cost
    final_train_loss: float | None = None
    environment: dict[str, str] = Field(default_factory=dict)
    started_at: float | None = None
    ended_at: float | None = None
    fitted: Fitted | None = Field(None, exclude_if=lambda value: value is None)
    passes: tuple[PassResult, ...] = Field((), exclude_if=lambda value: not value)


class TakenOver(Frozen):
    """Origin of a result that was not measured in its sweep, and cost it nothing: the ``sweep`` that trained.

    ``key``: of the trial there, the same one unless it was ``rescored``: its kept answers were scored
    anew, where the two trials differ in nothing but what a score is.
    """

    sweep: str
    key: str
    rescored: bool = False


class TrialRecord(Frozen):
    """Result with its place in the sweep: ``number`` as in the study, ``stage`` of the design.

    ``taken_over``: where the result is from, if the trial was not run in this sweep; its cost was then not
    spent here. ``excluded``: why it counts for no answer, if somebody excluded it.
    """

    number: int
    stage: str
    result: TrialResult
    taken_over: TakenOver | None = Field(None, exclude_if=lambda value: value is None)
    excluded: str | None = Field(None, exclude_if=lambda value: value is None)

    @property
    def spent_seconds(self) -> float:
        """Device seconds that the trial cost its sweep."""
        return 0.0 if self.taken_over else self.result.cost.device_seconds or 0.0


#: Target of a choice: a weighted quality, or by task a value in the unit of what the task is decided on.
Target = float | dict[str, float]


class Objective(Frozen):
    """Objective of a recommendation: task weights, bounds on measured quantities, and what suffices."""

    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        min_length=1, description="How much each task's score counts."
    )
    constraints: dict[str, float] = Field(
        default_factory=dict,
        description="Upper bounds: forgetting.<suite>, over_reach.<task> (false positives on rows whose "
        "answer is `negative`), peak_bytes, device_seconds or gpu_hours (device_seconds / 3,600) "
        "of one trial, flops, adapter_bytes, seconds_per_1k_tokens, parameters, "
        "examples, examples.<task>, max.<task> (of a task measured by an error, which is better the lower); "
        "lower bounds: min.<task> (its score), precision.<task> and recall.<task>, and of one label of it "
        "precision.<task>.<label> and recall.<task>.<label>. Configurations that parameters, examples, "
        "adapter_bytes or flops rule out are known before a run and never run.",
    )
    # Left out where there is none, as in every objective of before targets were kept.
    target: Target | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="What suffices: a weighted quality (`target: 0.8`), or a score by task "
        "(`target: {intent: 0.9}`; of an error the most it may be). The smallest, then cheapest "
        "configuration that reaches it with a probability of 90 % is recommended; where none does, "
        "`recommend` exits with 4. A begun sweep may change it.",
    )
