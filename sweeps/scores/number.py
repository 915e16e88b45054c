"""Numbers in answers: the final number, as people write it in any script, compared within a tolerance."""

from __future__ import annotations

import re
from decimal import Decimal, DecimalException
from typing import NamedTuple

from sweeps.scores.text import folded_text
from tracker.task import Tolerance

_FIGURE = r"(?:\d{1,3}(?:,\d{2,3})*,\d{3}(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(
    rf"(?P<sign>(?<![\w.)\]])[-+])?[$€£¥]?(?P<figure>{_FIGURE})(?:e(?P<power>[-+]?\d+)(?![\w]))?"
    rf"(?:\s?/\s?(?P<under>\d+(?:\.\d+)?)(?!\s?/))?\s?(?P<percent>%)?",
    re.ASCII,
)
#: What follows it is the answer (GSM8K, and the sets made like it).
_FINAL = "####"
_MINUS = str.maketrans({"\u2212": "-", "\u2013": "-", "\ufe63": "-", "\u066b": ".", "\u066c": ","})


class FoundNumber(NamedTuple):
    """A number, and whether a percent sign follows it."""

    value: Decimal
    percent: bool


def final_number(text: str) -> FoundNumber | None:
    """The last number in *text*, of what follows the last ``####`` where there is one; ``None`` for none.

    ``1,234.5``, ``-3``, ``.5``, ``1e-5``, ``3/4``, ``$5``, ``50%``, full-width and other scripts' digits.
    """
    text = _digits(folded_text(text.translate(_MINUS)))
    _, found, after = text.rpartition(_FINAL)
    matches = list(_NUMBER.finditer(after if found else text))
    return _read(matches[-1]) if matches else None


def equal_numbers(given: str, truth: str, tolerance: Tolerance | None) -> bool:
    """Whether the final numbers of two answers are equal, within the larger of the two parts of *tolerance*.

    Where one alone has a percent sign, it equals the number before the sign and its hundredth: 50% is both
    50 and 0.5. False where either has no number.
    """
    said, true = final_number(given), final_number(truth)
    if said is None or true is None:
        return False
    readings = [(said.value, true.value)]
    if said.percent and not true.percent:
        readings.append((said.value / 100, true.value))
    if true.percent and not said.percent:
        readings.append((said.value, true.value / 100))
    return any(_close(a, b, tolerance or Tolerance()) for a, b in readings)


def _close(given: Decimal, truth: Decimal, tolerance: Tolerance) -> bool:
    if given == truth:
        return True
    absolute, relative = Decimal(str(tolerance.absolute)), Decimal(str(tolerance.relative))
    try:
        return abs(given - truth) <= max(absolute, relative * abs(truth))
    except DecimalException:
        return False


def _read(match: re.Match[str]) -> FoundNumber | None:
    try:
        value = Decimal(match["figure"].replace(",", ""))
        if match["power"]:
            value = value.scaleb(int(match["power"]))
        if match["under"]:
            value /= Decimal(match["under"])
    except (DecimalException, ValueError):
        return None
    return FoundNumber(-value if match["sign"] == "-" else value, bool(match["percent"]))


def _digits(text: str) -> str:
    """*text* with every script's decimal digits as 0 to 9."""
    return "".join(
        str(int(mark)) if mark.isdecimal() and not mark.isascii() else mark for mark in text
    )
