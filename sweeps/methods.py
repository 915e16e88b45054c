"""The tuning methods of a sweep file, with their choices and search ranges."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from tracker.trial import Frozen

LoraVariant = Literal["plain", "rslora", "dora", "pissa", "lora_plus"]
PTuningVariant = Literal["v1", "v2"]


class Range(Frozen):
    """A search range."""

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


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("found no choices; allowed: one value or a list of them")
    if len(set(values)) < len(values):
        raise ValueError(f"found {', '.join(map(str, values))}; allowed: each choice once")
    return values


def _ascending(values: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(sorted(_distinct(values)))


def _learning_rate_kind(value: Any) -> str:
    if isinstance(value, dict | Range):
        return "range"
    return "choices" if isinstance(value, list | tuple) else "number"


def _above_zero(rates: Range) -> Range:
    if rates.low <= 0:
        raise ValueError(f"found low {rates.low:g}; allowed: low > 0, as a rate is")
    return rates


PositiveFloat = Annotated[float, Field(gt=0)]
Rates = Annotated[tuple[PositiveFloat, ...], AfterValidator(_ascending)]
LearningRate = Annotated[
    Annotated[PositiveFloat, Tag("number")]
    | Annotated[Rates, Tag("choices")]
    | Annotated[Range, AfterValidator(_above_zero), Tag("range")],
    Discriminator(_learning_rate_kind),
]
_RATE = "A number, a list to choose from, or a range to search."

Ranks = Annotated[tuple[Annotated[int, Field(ge=1)], ...], AfterValidator(_distinct), _choices(int)]
LoraVariants = Annotated[tuple[LoraVariant, ...], AfterValidator(_distinct), _choices(LoraVariant)]
PTuningVariants = Annotated[
    tuple[PTuningVariant, ...], AfterValidator(_distinct), _choices(PTuningVariant)
]


class FullMethod(Frozen):
    """Every weight is trained."""

    learning_rate: LearningRate = Field(description=_RATE)


class LoraMethod(Frozen):
    """Low-rank adapters on all linear layers."""

    learning_rate: LearningRate = Field(description=_RATE)
    rank: Ranks = Field((16,), description="Adapter rank: one, or a list to choose from.")
    variant: LoraVariants = Field(("plain",), description="Kind of adapter: one, or a list.")


class PTuningMethod(Frozen):
    """Trained virtual tokens; the model itself stays untouched."""

    learning_rate: LearningRate = Field(description=_RATE)
    variant: PTuningVariants = Field(
        ("v1",),
        description="v1: at the input, from an encoder; v2: keys and values of every layer.",
    )
    virtual_tokens: Ranks = Field((16,), description="Number of virtual tokens: one, or a list.")


class Methods(Frozen):
    """The tuning methods compared; the untouched base model is always run beside them."""

    full: FullMethod | None = Field(None, description="Full fine-tuning.")
    lora: LoraMethod | None = Field(None, description="LoRA and its variants.")
    p_tuning: PTuningMethod | None = Field(None, description="P-tuning.")

    @model_validator(mode="after")
    def _any(self) -> Self:
        if not (self.full or self.lora or self.p_tuning):
            raise ValueError("found no method; allowed: full, lora, p_tuning, at least one")
        return self
