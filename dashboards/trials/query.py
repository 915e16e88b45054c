"""Sort and filters of the trials grid: in the address, as AG Grid's models, and applied to pandas.

In the address a condition is ``column:test:value`` (``where=quality:greaterThan:0.9``, or ``any=…`` where
one of a column's two is enough), a sort is ``sort=column`` or ``sort=-column``. Column, test and values
are percent-encoded each, so that any task name fits. Tests have AG Grid's names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from typing_extensions import TypedDict  # typing's cannot be checked by pydantic before Python 3.12

from dashboards.state import Query

#: Each condition costs a pass over the rows.
MAX_CONDITIONS = 24
#: Relative tolerance of "equals": 0.0012 does not equal 0.001.
_TOLERANCE = 0.01


def _equals_as_written(values: Any, typed: float) -> Any:
    """Which *values* equal *typed*, to the digits that were typed: 85.1 % stands for 85.07 % as well."""
    unit = 10.0 ** int(Decimal(f"{typed:.10g}").as_tuple().exponent)
    return abs(values - typed) <= min(unit / 2, _TOLERANCE * abs(typed))


NUMBER_TESTS: dict[str, Callable[[Any, float, float], Any]] = {
    "equals": lambda values, low, _: _equals_as_written(values, low),
    "notEqual": lambda values, low, _: ~_equals_as_written(values, low),
    "lessThan": lambda values, low, _: values < low,
    "lessThanOrEqual": lambda values, low, _: values <= low,
    "greaterThan": lambda values, low, _: values > low,
    "greaterThanOrEqual": lambda values, low, _: values >= low,
    "inRange": lambda values, low, high: (values > low) & (values < high),
}
TEXT_TESTS: dict[str, Callable[[str, str], bool]] = {
    "contains": lambda value, text: text in value,
    "notContains": lambda value, text: text not in value,
    "equals": lambda value, text: value == text,
    "notEqual": lambda value, text: value != text,
    "startsWith": lambda value, text: value.startswith(text),
    "endsWith": lambda value, text: value.endswith(text),
}


class Sort(TypedDict, total=False):
    """A column to sort by, as AG Grid sends it."""

    colId: str
    sort: str | None


class Filter(TypedDict, total=False):
    """One condition of a column's filter, as AG Grid sends it."""

    type: str | None
    filter: str | int | float | None
    filterTo: str | int | float | None


class ColumnFilter(Filter, total=False):
    """The filter of a column: one condition, or several with their operator."""

    operator: str | None
    conditions: list[Filter] | None


class RowsRequest(TypedDict, total=False):
    """A request for rows, as AG Grid sends it. ``endRow`` is not of them."""

    startRow: int | None
    endRow: int | None
    sortModel: list[Sort] | None
    filterModel: dict[str, ColumnFilter] | None


class Condition(NamedTuple):
    """A filter on one column. ``values``: none for ``blank``, two for ``inRange``, else one; as text."""

    field: str
    test: str
    values: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> Condition:
        """A condition as the address holds it."""
        field, _, rest = text.partition(":")
        test, _, values = rest.partition(":")
        parts = tuple(unquote(value) for value in values.split(":")) if values else ()
        return cls(unquote(field), unquote(test), parts)

    @property
    def text(self) -> str:
        """As the address holds it."""
        return ":".join(quote(part, safe=". ") for part in (self.field, self.test, *self.values))


class GridState(NamedTuple):
    """Sort and filters of the grid.

    ``sort``: (field, descending), the first decides. ``where``: all must be true. ``any_of``: of each field
    at least one must.
    """

    sort: tuple[tuple[str, bool], ...] = ()
    where: tuple[Condition, ...] = ()
    any_of: tuple[Condition, ...] = ()

    def put_in(self, query: Query) -> Query:
        """*query* with this sort and these filters in place of its own."""
        return query.put(
            sort=[f"-{field}" if down else field for field, down in self.sort],
            where=[condition.text for condition in self.where],
            any=[condition.text for condition in self.any_of],
        )


def state_in(query: Query, fields: Collection[str]) -> GridState:
    """Sort and filters of the address *query*, for a frame with *fields*; others are ignored."""
    sort = [(name.removeprefix("-"), name.startswith("-")) for name in query.many("sort")]
    where, any_of = ([Condition.of(text) for text in query.many(n)] for n in ("where", "any"))
    return _checked(sort, where, any_of, fields)


def state_of(request: RowsRequest, fields: Collection[str]) -> GridState:
    """Sort and filters of AG Grid's request (``sortModel``, ``filterModel``)."""
    sort = [
        (str(model.get("colId")), model.get("sort") == "desc")
        for model in request.get("sortModel") or ()
    ]
    where: list[Condition] = []
    any_of: list[Condition] = []
    for field, model in (request.get("filterModel") or {}).items():
        conditions = any_of if model.get("operator") == "OR" else where
        parts: Sequence[Filter] = model.get("conditions") or [model]
        for part in parts:
            values = (part.get("filter"), part.get("filterTo"))
            texts = tuple(_written(value) for value in values if value is not None)
            conditions.append(Condition(str(field), str(part.get("type")), texts))
    return _checked(sort, where, any_of, fields)


def initial_state(state: GridState, words: Collection[str]) -> dict[str, Any]:
    """*state* as AG Grid's ``initialState``; *words*: the fields that hold text."""
    models: dict[str, Any] = {}
    for operator, conditions in (("AND", state.where), ("OR", state.any_of)):
        for field, group in _by_field(conditions).items():
            kind = "text" if field in words else "number"
            parts = [_part(condition, kind) for condition in group]
            joined = {"filterType": kind, "operator": operator, "conditions": parts}
            models[field] = parts[0] if len(parts) == 1 else joined
    found: dict[str, Any] = {}
    if state.sort:
        order = [{"colId": f, "sort": "desc" if down else "asc"} for f, down in state.sort]
        found["sort"] = {"sortModel": order}
    if models:
        found["filter"] = {"filterModel": models}
    return found


def select(frame: pd.DataFrame, state: GridState) -> NDArray[np.intp]:
    """Positions in *frame* of the rows that pass the filters, in their order; absent values come last."""
    keep = np.ones(len(frame), dtype=bool)
    for condition in state.where:
        keep &= _passes(frame[condition.field], condition)
    for field, conditions in _by_field(state.any_of).items():
        keep &= np.logical_or.reduce([_passes(frame[field], c) for c in conditions])
    positions = np.flatnonzero(keep)
    if state.sort:
        ranks = [_rank(frame[field], down)[positions] for field, down in reversed(state.sort)]
        positions = positions[np.lexsort(ranks)]
    return positions


def _by_field(conditions: Iterable[Condition]) -> dict[str, list[Condition]]:
    groups: dict[str, list[Condition]] = {}
    for condition in conditions:
        groups.setdefault(condition.field, []).append(condition)
    return groups


def _rank(values: pd.Series[Any], down: bool) -> NDArray[np.float64]:
    """Numbers in the order of *values*; NaN sorts last."""
    if pd.api.types.is_numeric_dtype(values):
        ranks = values.to_numpy(dtype=float, na_value=np.nan)
    else:
        codes = values.astype("category").cat.codes.to_numpy(dtype=float)
        ranks = np.where(codes < 0, np.nan, codes)
    return -ranks if down else ranks


def _checked(
    sort: list[tuple[str, bool]],
    where: list[Condition],
    any_of: list[Condition],
    fields: Collection[str],
) -> GridState:
    names = set(fields)
    return GridState(
        tuple({field: down for field, down in sort if field in names}.items()),
        tuple(sorted(c for c in where if c.field in names))[:MAX_CONDITIONS],
        tuple(sorted(c for c in any_of if c.field in names))[:MAX_CONDITIONS],
    )


def _written(value: object) -> str:
    """A number without a needless ``.0``: the address is read by people."""
    return f"{value:g}" if isinstance(value, float) and value.is_integer() else str(value)


def _part(condition: Condition, kind: str) -> dict[str, Any]:
    values = [_number(v) if kind == "number" else v for v in condition.values]
    names = ("filter", "filterTo")
    return {
        "filterType": kind,
        "type": condition.test,
        **dict(zip(names, values, strict=False)),
    }


def _passes(values: pd.Series[Any], condition: Condition) -> Any:
    """Per row, whether it passes. A condition that makes no sense lets every row pass."""
    if condition.test in ("blank", "notBlank"):
        blank = values.isna().to_numpy(dtype=bool) | (values == "").to_numpy(dtype=bool)
        return blank if condition.test == "blank" else ~blank
    numeric = pd.api.types.is_numeric_dtype(values)
    passes = (_number_passes if numeric else _text_passes)(values, condition)
    return np.ones(len(values), dtype=bool) if passes is None else passes


def _number_passes(values: pd.Series[Any], condition: Condition) -> Any:
    test = NUMBER_TESTS.get(condition.test)
    bounds = [bound for v in condition.values if (bound := _number(v)) is not None]
    if test is None or not bounds or len(bounds) < len(condition.values):
        return None
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    return test(numbers, bounds[0], bounds[-1]) & ~np.isnan(numbers)


def _text_passes(values: pd.Series[Any], condition: Condition) -> Any:
    """Tested once per distinct text; case plays no part, as in AG Grid, and absent is empty."""
    test = TEXT_TESTS.get(condition.test)
    if test is None or not condition.values:
        return None
    distinct = values.astype("category").cat
    text = condition.values[0].lower()
    passes = [test(str(value).lower(), text) for value in [*distinct.categories, ""]]
    return np.array(passes, dtype=bool)[distinct.codes.to_numpy()]  # absent has code -1: the last


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
