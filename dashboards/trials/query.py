"""Which trials a reader asks for: sort and filters between the address, AG Grid's models and pandas.

In the address a condition is ``column:test:value`` (``where=quality:greaterThan:0.9``, or ``any=…`` where
one of a column's two is enough), a sort is ``sort=column`` or ``sort=-column``. Column, test and values
are percent-encoded each, so that any task name fits. Tests are named as AG Grid names them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from decimal import Decimal
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dashboards.state import Query

#: Nobody reads more conditions, and each costs a pass over the rows.
MAX_CONDITIONS = 24
_SAME = 0.01  # of a value: a rate of 0.001 is not one of 0.0012


def _read_alike(values: Any, typed: float) -> Any:
    """Which *values* are *typed* once they are written as shortly: 85.1 % stands for 85.07 % as well."""
    unit = 10.0 ** int(Decimal(f"{typed:.10g}").as_tuple().exponent)
    return abs(values - typed) <= min(unit / 2, _SAME * abs(typed))


NUMBER_TESTS: dict[str, Callable[[Any, float, float], Any]] = {
    "equals": lambda values, low, _: _read_alike(values, low),
    "notEqual": lambda values, low, _: ~_read_alike(values, low),
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
_EMPTY_TESTS = ("blank", "notBlank")


class Condition(NamedTuple):
    """``values``: none for ``blank``, two for ``inRange``, else one; as text."""

    field: str
    test: str
    values: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str) -> Condition:
        """A condition as the address holds it."""
        field, _, rest = text.partition(":")
        test, _, values = rest.partition(":")
        given = tuple(unquote(value) for value in values.split(":")) if values else ()
        return cls(unquote(field), unquote(test), given)

    @property
    def text(self) -> str:
        """As the address holds it."""
        return ":".join(quote(part, safe=". ") for part in (self.field, self.test, *self.values))


class Wanted(NamedTuple):
    """``sort``: (field, descending), the first decides. ``where``: all must hold. ``any_of``: of each
    field at least one must.
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


def wanted_in(query: Query, fields: Collection[str]) -> Wanted:
    """What the address *query* asks of a frame with *fields*; what it cannot have is passed over."""
    sort = [(name.removeprefix("-"), name.startswith("-")) for name in query.many("sort")]
    return _checked(
        sort,
        [Condition.of(text) for text in query.many("where")],
        [Condition.of(text) for text in query.many("any")],
        fields,
    )


def wanted_of(request: Mapping[str, Any], fields: Collection[str]) -> Wanted:
    """What AG Grid's request asks (``sortModel``, ``filterModel``)."""
    sort = [
        (str(each.get("colId")), each.get("sort") == "desc")
        for each in request.get("sortModel") or ()
    ]
    where: list[Condition] = []
    any_of: list[Condition] = []
    for field, model in (request.get("filterModel") or {}).items():
        parts = model.get("conditions") or [model]
        found = [_condition(str(field), part) for part in parts]
        (any_of if model.get("operator") == "OR" else where).extend(found)
    return _checked(sort, where, any_of, fields)


def grid_state(wanted: Wanted, words: Collection[str]) -> dict[str, Any]:
    """*wanted* as AG Grid's ``initialState``; *words*: the fields that hold text."""
    models: dict[str, Any] = {}
    for operator, conditions in (("AND", wanted.where), ("OR", wanted.any_of)):
        for field in dict.fromkeys(condition.field for condition in conditions):
            kind = "text" if field in words else "number"
            parts = [_part(c, kind) for c in conditions if c.field == field]
            joined = {"filterType": kind, "operator": operator, "conditions": parts}
            models[field] = parts[0] if len(parts) == 1 else joined
    state: dict[str, Any] = {}
    if wanted.sort:
        order = [{"colId": f, "sort": "desc" if down else "asc"} for f, down in wanted.sort]
        state["sort"] = {"sortModel": order}
    if models:
        state["filter"] = {"filterModel": models}
    return state


def select(frame: pd.DataFrame, wanted: Wanted) -> NDArray[np.intp]:
    """Positions in *frame* of the rows that *wanted* asks for, in its order; absent values come last."""
    keep = np.ones(len(frame), dtype=bool)
    for condition in wanted.where:
        keep &= _holds(frame[condition.field], condition)
    for field in dict.fromkeys(condition.field for condition in wanted.any_of):
        one = np.zeros(len(frame), dtype=bool)
        for condition in (c for c in wanted.any_of if c.field == field):
            one |= _holds(frame[field], condition)
        keep &= one
    found = np.flatnonzero(keep)
    if wanted.sort:
        keys = [_rank(frame[field], down)[found] for field, down in reversed(wanted.sort)]
        found = found[np.lexsort(keys)]
    return found


def _rank(values: pd.Series[Any], down: bool) -> NDArray[np.float64]:
    """What sorts *values*; NaN sorts last."""
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
) -> Wanted:
    known = set(fields)
    order = {field: down for field, down in sort if field in known}
    return Wanted(
        tuple(order.items()),
        tuple(sorted(c for c in where if c.field in known))[:MAX_CONDITIONS],
        tuple(sorted(c for c in any_of if c.field in known))[:MAX_CONDITIONS],
    )


def _condition(field: str, model: Mapping[str, Any]) -> Condition:
    values = (model.get("filter"), model.get("filterTo"))
    return Condition(
        field, str(model.get("type")), tuple(_written(v) for v in values if v is not None)
    )


def _written(value: object) -> str:
    """A number without a needless ``.0``: the address is read by people."""
    return f"{value:g}" if isinstance(value, float) and value.is_integer() else str(value)


def _part(condition: Condition, kind: str) -> dict[str, Any]:
    part: dict[str, Any] = {"filterType": kind, "type": condition.test}
    names = ("filter", "filterTo")
    for name, value in zip(names, condition.values, strict=False):
        part[name] = _number(value) if kind == "number" else value
    return part


def _holds(values: pd.Series[Any], condition: Condition) -> Any:
    """Per row, whether it passes. A condition that makes no sense lets every row pass."""
    if condition.test in _EMPTY_TESTS:
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
    known = values.to_numpy(dtype=float, na_value=np.nan)
    return test(known, bounds[0], bounds[-1]) & ~np.isnan(known)


def _text_passes(values: pd.Series[Any], condition: Condition) -> Any:
    """Tested once per distinct text; case plays no part, as in AG Grid, and absent is empty."""
    test = TEXT_TESTS.get(condition.test)
    if test is None or not condition.values:
        return None
    kinds = values.astype("category").cat
    wanted = condition.values[0].lower()
    passes = [test(str(text).lower(), wanted) for text in [*kinds.categories, ""]]
    return np.array(passes, dtype=bool)[kinds.codes.to_numpy()]  # absent has code -1: the last


def _number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None
