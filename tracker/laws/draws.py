"""Posterior draws that a frozen model can hold: one block of numbers, not a tuple for each row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from tracker.laws.pooling import Array


class Draws:
    """Rows of numbers that do not change; equal where their numbers are. In JSON a list of lists.

    As tuples a law of a thousand draws takes 220 kB and most of the time of asking it; so it takes 40 kB.
    """

    __slots__ = ("rows",)

    def __init__(self, rows: ArrayLike) -> None:
        self.rows: Array = np.array(rows, dtype=float)
        self.rows.setflags(write=False)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Draws) and np.array_equal(self.rows, other.rows)

    def __hash__(self) -> int:
        return hash(self.rows.tobytes())

    def __len__(self) -> int:
        return len(self.rows)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(
            lambda draws: draws.rows.tolist()
        )
        return core_schema.no_info_plain_validator_function(cls._read, serialization=written)

    @classmethod
    def _read(cls, given: Any) -> Draws:
        return given if isinstance(given, Draws) else cls(given)
