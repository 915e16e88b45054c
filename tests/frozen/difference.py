"""Answers as plain data, and where two of them differ.

Keys, choices, labels and their order are compared exactly, numbers to a relative 1e-5, since machines
differ in their last digits; for the same reason long arrays of numbers are kept as a :func:`sketch` and not
as a digest. Sentences are kept apart from the rest, so that wording can change by itself.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import yaml
from pydantic import BaseModel

#: Relative, of a number by itself; a number below ``_NOTHING`` is taken for 0.
CLOSE = 1e-5
_NOTHING = 1e-9
#: Strings below these keys are sentences; in charts, below those of :data:`_CHART_WORDS`.
_SENTENCES = frozenset(
    "question why caveats notes refused reason warnings basis stop problem lines words comments files".split()
)
_CHART_WORDS = frozenset("text name hovertext hovertemplate title ticktext customdata".split())
_CHARTS = "figures"  # the key of charts
_HELD = "…"  # stands in the data where a sentence was
_LONG = 8  # numbers, from which a list is kept as a sketch


class Answers(NamedTuple):
    """``data``: numbers, keys and choices; ``text``: the sentences by their place in it."""

    data: Any
    text: dict[str, str]


class Difference(NamedTuple):
    """At ``path`` one had ``was`` and the other ``is_``."""

    path: str
    was: Any
    is_: Any

    def __str__(self) -> str:
        return f"{self.path}\n    was {_short(self.was)}\n    is  {_short(self.is_)}"


def plain(value: Any) -> Any:
    """Dicts, lists and scalars alone, as JSON holds them."""
    if isinstance(value, BaseModel):
        return plain(value.model_dump(mode="json"))
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {_key(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return _six(value)
    return value


def condensed(value: Any) -> Any:
    """*value*, which is plain, with every long list of numbers as its sketch."""
    if isinstance(value, dict):
        return {key: condensed(item) for key, item in value.items()}
    if isinstance(value, list):
        if len(value) >= _LONG and all(_is_number(item) or item is None for item in value):
            return sketch(value)
        return [condensed(item) for item in value]
    return value


def sketch(value: Any) -> dict[str, Any]:
    """All of *value*, which is plain, in three figures.

    ``digest``: of its structure, keys and strings. ``numbers``: how many. ``sum``: of their
    logarithms, each with a weight of its own, so that any change of one of them, or of their order, is
    a change of the sum, whatever the others' size. It can be compared with a tolerance, as a digest cannot.
    """
    numbers: list[float] = []
    structure = _without_numbers(value, numbers)
    logs = np.arcsinh(np.array(numbers) / 1e-6)
    weights = 1 + (np.arange(len(numbers)) * 0.6180339887498949) % 1
    return {
        "digest": digest(structure),
        "numbers": len(numbers),
        "sum": _six(float(logs @ weights), digits=9),
    }


def digest(value: Any, length: int = 12) -> str:
    """The first hex digits of the SHA-256 of *value*, which is plain."""
    text = json.dumps(value, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def split(value: Any) -> Answers:
    """*value*, which is plain, with its sentences apart."""
    text: dict[str, str] = {}
    return Answers(_without_sentences(value, "", _SENTENCES, False, text), text)


def differences(
    was: Any, now: Any, path: str = "", *, close: float = CLOSE
) -> Iterator[Difference]:
    """Where *now* differs from *was*, in the order of *was*."""
    if isinstance(was, dict) and isinstance(now, dict):
        if _is_sketch(was) and _is_sketch(now):
            yield from _sketches(was, now, path, close)
            return
        for key in [*was, *(key for key in now if key not in was)]:
            here = f"{path}/{key}"
            if key not in now or key not in was:
                yield Difference(here, was.get(key, "nothing"), now.get(key, "nothing"))
            else:
                yield from differences(was[key], now[key], here, close=close)
        if was.keys() == now.keys() and list(was) != list(now):
            yield Difference(f"{path}: order of its keys", list(was), list(now))
    elif isinstance(was, list) and isinstance(now, list):
        if len(was) != len(now):
            yield Difference(f"{path}: length", len(was), len(now))
        for index, (one, other) in enumerate(zip(was, now, strict=False)):
            yield from differences(one, other, f"{path}/{index}", close=close)
    elif not _same(was, now, close):
        yield Difference(path, was, now)


def difference_text(found: Iterable[Difference], shown: int = 20) -> str:
    """How many there are, and the first of them with both values."""
    found = list(found)
    return "\n".join([f"{len(found)} differences", *map(str, found[:shown])])


def _sketches(
    was: dict[str, Any], now: dict[str, Any], path: str, close: float
) -> Iterator[Difference]:
    if (was["digest"], was["numbers"]) != (now["digest"], now["numbers"]):
        yield Difference(path, was, now)
    elif abs(was["sum"] - now["sum"]) > 2 * close * math.sqrt(was["numbers"] or 1):
        yield Difference(f"{path}: its numbers", was["sum"], now["sum"])


def _same(was: Any, now: Any, close: float) -> bool:
    if isinstance(was, float) and isinstance(now, float):
        return math.isclose(was, now, rel_tol=close, abs_tol=_NOTHING)
    return type(was) is type(now) and bool(was == now)


def _is_sketch(value: dict[str, Any]) -> bool:
    return value.keys() == {"digest", "numbers", "sum"}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _without_numbers(value: Any, numbers: list[float]) -> Any:
    if isinstance(value, dict):
        return {key: _without_numbers(item, numbers) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_numbers(item, numbers) for item in value]
    if _is_number(value):
        numbers.append(float(value))
        return 0
    return value


def _without_sentences(
    value: Any, path: str, keys: frozenset[str], below: bool, text: dict[str, str]
) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_sentences(
                item,
                f"{path}/{key}",
                _CHART_WORDS if key == _CHARTS else keys,
                below or key in keys,
                text,
            )
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [
            _without_sentences(item, f"{path}/{index}", keys, below, text)
            for index, item in enumerate(value)
        ]
    if below and isinstance(value, str):
        text[path] = value
        return _HELD
    return value


def _six(value: float, digits: int = 6) -> Any:
    """*value* with six significant digits; what JSON cannot hold as its name."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else str(value)


def _key(key: Any) -> str:
    return key if isinstance(key, str) else str(plain(key))


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 400 else f"{text[:400]}… ({len(text)} characters)"


def yaml_data(text: str) -> Any:
    """A YAML file's data, with its comments beside it."""
    comments = [line for line in text.splitlines() if line.startswith("#")]
    return plain({"data": yaml.safe_load(text), "comments": comments})
