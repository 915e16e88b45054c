"""Tuning methods and the training schedule as a sweep file has them: fixed, listed or searched values."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from tracker.frozen import Frozen
from tracker.trial import ALL_LINEAR, LORA_ALPHA, MAX_EPOCHS, MIN_EPOCHS, DType, TrainSpec

MAX_ENTRIES = 1_000
MAX_BATCH = 1_000_000

MethodName = Literal["full", "lora", "p_tuning"]


def distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """*values*; ValueError where there is none, or one of them twice."""
    if not values:
        raise ValueError("found no choices; allowed: one value or a list of them")
    if len(set(values)) < len(values):
        raise ValueError(f"found {', '.join(map(str, values))}; allowed: each choice once")
    return values


LoraVariant = Literal["plain", "rslora", "dora", "pissa", "lora_plus"]
PTuningVariant = Literal["v1", "v2"]


class Range(Frozen):
    """A range to search."""

    low: float = Field(description="Smallest value.")
    high: float = Field(description="Largest value.")
    log: bool = Field(False, description="Search on a logarithmic scale; both ends must be > 0.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"found low {self.low:g}, high {self.high:g}; allowed: low < high")
        if self.log and self.low <= 0:
            raise ValueError(f"found low {self.low:g} with log: true; allowed: low > 0")
        return self


def _choices(kind: Any) -> BeforeValidator:
    """One value stands for a list of one."""

    def as_tuple(value: Any) -> Any:
        return value if isinstance(value, list | tuple) else (value,)

    return BeforeValidator(as_tuple, json_schema_input_type=kind | list[kind])


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sorted(distinct(values)))


def _number_kind(value: Any) -> str:
    if isinstance(value, dict | Range):
        return "range"
    return "choices" if isinstance(value, list | tuple) else "number"


def _above_zero(rates: Range) -> Range:
    if rates.low <= 0:
        raise ValueError(f"found low {rates.low:g}; allowed: low > 0, as a rate is")
    return rates


def _from_zero(decay: Range) -> Range:
    if decay.low < 0:
        raise ValueError(f"found low {decay.low:g}; allowed: low >= 0")
    return decay


def _a_share(shares: Range) -> Range:
    if _from_zero(shares).high >= 1:
        raise ValueError(f"found high {shares.high:g}; allowed: high < 1")
    return shares


def _searched(number: Any, limits: Callable[[Range], Range]) -> Any:
    """Type of a hyper-parameter that is a *number*, a list to choose from, or a range within *limits*."""
    choices = Annotated[
        tuple[number, ...], Field(max_length=MAX_ENTRIES), AfterValidator(_ascending)
    ]
    return Annotated[
        Annotated[number, Tag("number")]
        | Annotated[choices, Tag("choices")]
        | Annotated[Range, AfterValidator(limits), Tag("range")],
        Discriminator(_number_kind),
    ]


def _absent(value: object) -> bool:
    return value is None


def _optional(text: str) -> Any:
    """Field of a hyper-parameter that stays out of dumps where the file does not have it."""
    return Field(None, exclude_if=_absent, description=text)


PositiveFloat = Annotated[float, Field(gt=0)]
_RATE = "A number, a list to choose from, or a range to search."
if TYPE_CHECKING:
    LearningRate = float | tuple[float, ...] | Range
    WeightDecay = float | tuple[float, ...] | Range
    Dropout = float | tuple[float, ...] | Range
else:
    LearningRate = _searched(PositiveFloat, _above_zero)
    WeightDecay = _searched(Annotated[float, Field(ge=0)], _from_zero)
    Dropout = _searched(Annotated[float, Field(ge=0, lt=1)], _a_share)

Rank = Annotated[int, Field(ge=1, le=100_000)]
Ranks = Annotated[
    tuple[Rank, ...], Field(max_length=MAX_ENTRIES), AfterValidator(distinct), _choices(Rank)
]
LoraVariants = Annotated[tuple[LoraVariant, ...], AfterValidator(distinct), _choices(LoraVariant)]
PTuningVariants = Annotated[
    tuple[PTuningVariant, ...], AfterValidator(distinct), _choices(PTuningVariant)
]
BatchSize = Annotated[int, Field(ge=1, le=MAX_BATCH)]
BatchSizes = Annotated[
    tuple[BatchSize, ...],
    Field(max_length=MAX_ENTRIES),
    AfterValidator(distinct),
    _choices(BatchSize),
]
Alphas = Annotated[
    tuple[PositiveFloat, ...],
    Field(max_length=MAX_ENTRIES),
    AfterValidator(distinct),
    _choices(PositiveFloat),
]


def _module_sets(value: Any) -> Any:
    """Each choice of modules as its names, apart by commas: a list of names is one choice."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple):
        return value
    one = all(isinstance(each, str) and each != ALL_LINEAR and "," not in each for each in value)
    sets = [value] if value and one else value
    return tuple(
        ",".join(map(str, each)) if isinstance(each, list | tuple) else each for each in sets
    )


def _modules(names: str) -> str:
    parts = [name.strip() for name in names.split(",")]
    if parts != [ALL_LINEAR] and not all(_MODULE.fullmatch(name) for name in parts):
        raise ValueError(
            f"found {names!r}; allowed: {ALL_LINEAR}, or names of modules, such as [q_proj, v_proj]"
        )
    return ",".join(dict.fromkeys(parts))


_MODULE = re.compile(r"(?!all-linear$)[A-Za-z0-9_][A-Za-z0-9_.-]*")
ModuleSets = Annotated[
    tuple[Annotated[str, AfterValidator(_modules)], ...],
    Field(max_length=MAX_ENTRIES),
    AfterValidator(distinct),
    BeforeValidator(_module_sets, json_schema_input_type=str | list[str | list[str]]),
]


_BATCH = _optional(
    "Examples per optimiser step of this method: one, or a list; made in forward passes of at most "
    "`train.batch_size`; default: `train.batch_size` × `train.accumulation`."
)
_DECAY = _optional(
    "AdamW's weight decay of this method: a number, a list, or a range; default: `train.weight_decay`."
)


class FullMethod(Frozen):
    """Every weight is trained."""

    learning_rate: LearningRate = Field(description=_RATE)
    batch_size: BatchSizes | None = _BATCH
    weight_decay: WeightDecay | None = _DECAY


class LoraMethod(Frozen):
    """Low-rank adapters, on all linear layers unless `target_modules` names some."""

    learning_rate: LearningRate = Field(description=_RATE)
    rank: Ranks = Field((16,), description="Adapter rank: one, or a list to choose from.")
    variant: LoraVariants = Field(("plain",), description="Kind of adapter: one, or a list.")
    alpha: Alphas | None = _optional(
        f"Scale of the adapters: one number, or a list; default: {LORA_ALPHA} at any rank."
    )
    dropout: Dropout | None = _optional(
        "Dropout of the adapters' inputs: a number, a list, or a range; default: 0."
    )
    target_modules: ModuleSets | None = _optional(
        "Modules to adapt: all-linear, or names, or endings of names, such as [q_proj, v_proj]; a list of "
        "such lists is one to choose from; default: all-linear, every linear layer but the output."
    )
    batch_size: BatchSizes | None = _BATCH
    weight_decay: WeightDecay | None = _DECAY


class PTuningMethod(Frozen):
    """Trained virtual tokens; the model itself stays untouched."""

    learning_rate: LearningRate = Field(description=_RATE)
    variant: PTuningVariants = Field(
        ("v2",),
        description="v1: at the input, from an encoder; v2: keys and values of every layer, which learns "
        "more. A sweep begun by a release whose default was v1 keeps it.",
    )
    virtual_tokens: Ranks = Field((16,), description="Number of virtual tokens: one, or a list.")
    batch_size: BatchSizes | None = _BATCH
    weight_decay: WeightDecay | None = _DECAY


class Methods(Frozen):
    """Tuning methods to compare; the untouched base model is always run beside them."""

    full: FullMethod | None = Field(None, description="Full fine-tuning.")
    lora: LoraMethod | None = Field(None, description="LoRA and its variants.")
    p_tuning: PTuningMethod | None = Field(None, description="P-tuning.")

    @model_validator(mode="after")
    def _any(self) -> Self:
        if not (self.full or self.lora or self.p_tuning):
            raise ValueError("found no method; allowed: full, lora, p_tuning, at least one")
        return self


Passes = Annotated[
    tuple[Annotated[int, Field(ge=1, le=MAX_EPOCHS)], ...],
    Field(max_length=MAX_ENTRIES),
    AfterValidator(_ascending),
    _choices(Annotated[int, Field(ge=1, le=MAX_EPOCHS)]),
]


class PassesByMethod(Frozen):
    """Passes over the examples by method: one number, or a list to choose from."""

    full: Passes | None = _optional("Passes of full fine-tuning.")
    lora: Passes | None = _optional("Passes of LoRA.")
    p_tuning: Passes | None = _optional("Passes of P-tuning, which needs more steps.")


def _passes_kind(value: Any) -> str:
    return "by_method" if isinstance(value, dict | PassesByMethod) else "number"


PassesEntry = Annotated[
    Annotated[int, Field(ge=MIN_EPOCHS, le=MAX_EPOCHS), Tag("number")]
    | Annotated[PassesByMethod, Tag("by_method")],
    Discriminator(_passes_kind),
]


class TrainEntry(TrainSpec):
    """The training schedule; every method's passes over the examples may be its own."""

    epochs: PassesEntry = Field(  # type: ignore[assignment]
        TrainSpec().epochs,
        description="Passes over the examples: a number, or a mapping by method, such as "
        "`{p_tuning: [3, 10], full: 3}`, of one number or a list to choose from; a method that it does "
        "not name makes 3.",
    )
    dtype: DType | Literal["auto"] = Field(  # type: ignore[assignment]
        "auto",
        description="Compute type; bfloat16 is autocast. auto: bfloat16 on a GPU that has it, or where a "
        "model's `base` is bfloat16, else float32.",
    )

    @property
    def of_trials(self) -> TrainSpec:
        """The schedule as trials carry it: the passes of methods that have none of their own."""
        values = {name: getattr(self, name) for name in TrainSpec.model_fields}
        if isinstance(self.epochs, PassesByMethod):
            values["epochs"] = TrainSpec().epochs
        if self.dtype == "auto":  # of a recorded table's sweep, which trains nothing
            values["dtype"] = TrainSpec().dtype
        return TrainSpec(**values)

    def passes(self, method: str) -> tuple[int, ...]:
        """Choices of the number of passes of *method*; empty where it is that of every trial."""
        if not isinstance(self.epochs, PassesByMethod):
            return ()
        choices: tuple[int, ...] = getattr(self.epochs, method, None) or ()
        return () if choices == (TrainSpec().epochs,) else choices
