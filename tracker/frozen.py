"""Frozen, strict base class of the types that travel."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """Base of the immutable types: frozen, strict, and validated on construction."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
