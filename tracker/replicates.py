"""Bootstrap replicates of a score, and other numbers of a result, as one immutable array."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema


class Replicates(Sequence[float]):
    """Finite numbers in order, eight bytes each; equal to another, or to a tuple, of the same numbers.

    As a tuple the 200 of a task took 6.4 kB, which was most of what a record holds. NumPy takes it for an
    array (without a copy), JSON has a list. ``not replicates`` asks whether there are none.
    """

    __slots__ = ("_values",)
    _values: NDArray[np.float64]

    def __init__(self, values: ArrayLike = ()) -> None:
        array = np.array(values, dtype=np.float64)
        if array.ndim != 1 or not np.isfinite(array).all():
            raise ValueError("replicates are finite numbers in a row")
        array.setflags(write=False)
        self._values = array

    def __array__(
        self, dtype: DTypeLike | None = None, copy: bool | None = None
    ) -> NDArray[np.float64]:
        return np.array(self._values, dtype=dtype, copy=copy)

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[float]:
        return iter(self._values.tolist())

    @overload
    def __getitem__(self, at: int) -> float: ...
    @overload
    def __getitem__(self, at: slice) -> Replicates: ...
    def __getitem__(self, at: int | slice) -> float | Replicates:
        return Replicates(self._values[at]) if isinstance(at, slice) else float(self._values[at])

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Replicates):
            return np.array_equal(self._values, other._values)
        return tuple(self) == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Replicates({tuple(self)})"

    def __reduce__(self) -> tuple[type[Replicates], tuple[NDArray[np.float64]]]:
        return Replicates, (self._values,)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        numbers = core_schema.list_schema(core_schema.float_schema(allow_inf_nan=False))
        read = core_schema.no_info_after_validator_function(cls, numbers)
        given = core_schema.no_info_before_validator_function(_as_list, read)
        known = core_schema.is_instance_schema(cls)
        return core_schema.json_or_python_schema(
            json_schema=read,
            python_schema=core_schema.union_schema([known, given], mode="left_to_right"),
            serialization=core_schema.plain_serializer_function_ser_schema(
                list, return_schema=numbers, when_used="json"
            ),
        )


def _as_list(given: Any) -> Any:
    return given.tolist() if isinstance(given, np.ndarray) else given
