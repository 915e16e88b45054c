"""How a sweep file says what to try next and when to stop."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tracker.trial import Frozen


class Budget(Frozen):
    """When the sweep ends; give one: trials, or gpu_hours."""

    trials: int | None = Field(None, ge=1, description="Trials in all.")
    gpu_hours: float | None = Field(
        None,
        gt=0,
        description="Hours on a device (a GPU, or the CPU where there is none): those that every ended "
        "trial took to train and evaluate, summed over all workers.",
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.trials is None) == (self.gpu_hours is None):
            raise ValueError("found both or neither; allowed: one of trials, gpu_hours")
        return self


class Tuning(Frozen):
    """How the learning rate is tuned per model and method, before the design is run."""

    trials: int = Field(4, ge=0, description="Trials per model and method.")
    volume: int | None = Field(None, ge=1, description="Volume to tune at; one of `volumes`.")
    mix: str | None = Field(None, description="Mix to tune on; one of `mixes`.")


class Halving(Frozen):
    """Successive halving over volumes."""

    factor: int = Field(
        2, ge=2, le=4, description="How much volumes grow, and configurations shrink, per rung."
    )
    start: int | None = Field(
        None,
        ge=1,
        description="Volume of the first rung; default: so that the last is the largest volume.",
    )


class Search(Frozen):
    """Which trial comes next."""

    strategy: Literal["grid", "random", "tpe", "halving", "ats", "law"] = Field(
        "tpe", description="Search strategy."
    )
    tuning: Tuning = Field(Tuning(), description="Tuning of the learning rate.")
    halving: Halving = Field(Halving(), description="Of the strategy halving.")
    window: int = Field(8, ge=1, description="Trials asked for at a time.")
    confirm_large: bool = Field(False, description="Accept a design of more than 10,000 cells.")
