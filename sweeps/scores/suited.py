"""Score that suits a task, by its answers: labels, several labels, numbers, JSON, slots or free text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sweeps.scores.json_answers import parsed
from sweeps.scores.number import final_number
from sweeps.scores.text import SEPARATORS, found_separators, parts, tokens, without_spaces
from tracker.task import ScoreName

MAX_LABELS = 500
MAX_LABEL_CHARACTERS = 60
#: Different whole numbers up to which they are taken for labels, such as stars.
_MAX_NUMBER_LABELS = 12
#: Share of a task's slots or values that must be of a kind; a few are always odd.
_MOST = 0.95
#: Share of the answers with more than one label, of a task with several.
_SOME_COMBINED = 0.05
_LONG_TOKENS = 25  # an answer's mean, above which it is a text and no phrase
_SUMMARIES = (
    *("summary", "summaries", "highlights", "abstract", "headline", "tldr", "tl_dr"),
    *("摘要", "总结", "概要", "标题", "要約"),
)
_TRANSLATIONS = ("translation", "target", "reference", "译文", "翻译", "訳文")

_FIGURE = re.compile(r"[-+\u2212]?\s?[$€£¥]?\s?[\d.,/]*\d[\d.,]*(e[-+]?\d+)?\s?%?", re.IGNORECASE)
_WHOLE = re.compile(r"[-+]?\d+")
_SLOT = re.compile(r"[^:\uff1a=]{1,40}[:\uff1a=]\s?\S.*")

NEGATIVES = (
    *("out_of_scope", "out-of-scope", "out of scope", "oos", "none", "other", "others", "unknown"),
    *("not_applicable", "not applicable", "n/a", "na", "null", "irrelevant", "nothing", "no_intent"),
    *("no_label", "unrelated", "not_relevant", "not relevant", "misc", "background", "{}", "[]"),
    *("无", "其他", "其它", "不相关", "无关", "没有", "空", "未知", "无意图", "不适用", "以上都不是"),
    *("无标签", "超出范围", "無", "其他類", "なし", "その他", "該当なし", "기타", "없음"),
    *("otro", "otros", "ninguno", "autre", "aucun", "keine", "sonstiges", "другое", "нет"),
)  # fmt: skip


class Suited(NamedTuple):
    """A score with the task's keys that go with it, and ``why`` it suits, for the sweep file's reader."""

    name: ScoreName
    why: str
    keys: Mapping[str, Any] = {}
    negative: str | None = None


def suited_score(answers: Sequence[str], field: str = "") -> Suited:
    """The score that suits *answers*, as they are trained; a list or a mapping is JSON.

    *field*: its name, which may say that it holds summaries or translations.
    """
    counts = Counter(answer.strip() for answer in answers)
    negative = _negative(counts)
    claims = Counter({text: n for text, n in counts.items() if text != negative}) or counts
    found = (
        _listed(counts)
        or _objects(claims)
        or _numbers(claims)
        or _slots(claims)
        or _several(claims)
        or _one_label(counts)
        or _text(answers, field)
    )
    closed = found.name in ("macro_f1", "multilabel_f1") or "unordered" in found.keys
    recurs = negative is not None and counts[negative] > 1
    return found._replace(negative=negative if closed or recurs else None)


def _negative(counts: Counter[str]) -> str | None:
    """The answer that seems to be the negative class, if any."""
    answers = {_alone(answer).lower(): answer for answer in counts}
    return next((answers[name] for name in NEGATIVES if name in answers), None)


def _alone(answer: str) -> str:
    """*answer*, or of a list of one label that label."""
    value = parsed(answer)
    return str(value[0]) if isinstance(value, list) and len(value) == 1 else answer


def _listed(counts: Counter[str]) -> Suited | None:
    """Several labels: JSON arrays of short texts."""
    values = {text: parsed(text) for text in counts}
    if not all(isinstance(value, list) for value in values.values()):
        return None
    items = [(item, counts[text]) for text, value in values.items() for item in value]
    if not items or not all(isinstance(item, str | int) for item, _ in items):
        return None
    names: Counter[str] = Counter()
    for item, times in items:
        names[str(item)] += times
    if max(map(len, names)) > MAX_LABEL_CHARACTERS or len(names) > max(2, names.total() // 2):
        return None
    return _multilabel(names, counts, {})


def _objects(claims: Counter[str]) -> Suited | None:
    if not all(isinstance(parsed(text), dict | list) for text in claims):
        return None
    kinds = Counter(key for text in claims for key in _keys(text))
    named = ", ".join(key for key, _ in kinds.most_common(4))
    return Suited("json", f"JSON of {named}" if named else "JSON")


def _keys(text: str) -> Iterable[str]:
    value = parsed(text)
    return value if isinstance(value, dict) else ()


def _numbers(claims: Counter[str]) -> Suited | None:
    """Numbers, or texts with the final one marked (``#### 42``); few whole ones are classes or stars."""
    marked = all("####" in text for text in claims)
    if not all(final_number(text) for text in claims):
        return None
    if not marked and not all(_FIGURE.fullmatch(text) for text in claims):
        return None
    whole = all(_WHOLE.fullmatch(text) for text in claims)
    if whole and len(claims) <= min(_MAX_NUMBER_LABELS, max(2, claims.total() // 4)):
        return None
    return Suited("number", "the final number" if marked else f"{len(claims)} different numbers")


def _slots(claims: Counter[str]) -> Suited | None:
    """Slots: answers each part of which is a name and its value (``time: noon; people: two``)."""
    if any(text[0:1] in ("{", "[") for text in claims):
        return None  # JSON, of which a few are none
    separators = found_separators(claims) or SEPARATORS[0]
    found = [part for text in claims for part in parts(text, separators)]
    if len(found) < 2 or sum(bool(_SLOT.fullmatch(part)) for part in found) < _MOST * len(found):
        return None
    names = Counter(re.split(r"[:\uff1a=]", part, maxsplit=1)[0].strip() for part in found)
    if len(names) > max(2, len(found) // 3):
        return None
    keys: dict[str, Any] = {"unordered": True} | _separator(claims, separators)
    return Suited("token_f1", f"slots: {', '.join(n for n, _ in names.most_common(4))}", keys)


def _several(claims: Counter[str]) -> Suited | None:
    """Several labels in one text: parts that are short and few, most in more than one combination."""
    separators = found_separators(claims)
    if separators is None or any("\n\n" in text for text in claims):
        return None
    split = {text: parts(text, separators) for text in claims}
    combined = sum(claims[text] for text, found in split.items() if len(found) > 1)
    if combined < _SOME_COMBINED * claims.total():
        return None
    names = Counter(part for text, found in split.items() for part in found * claims[text])
    if max(map(len, names)) > MAX_LABEL_CHARACTERS or len(names) > MAX_LABELS:
        return None
    if any(len(tokens(name)) > (12 if without_spaces(name) else 4) for name in names):
        return None
    if len(names) > max(2, names.total() // 4) or len(names) > max(3, claims.total() // 3):
        return None
    uses = Counter(part for found in split.values() for part in set(found))
    within = {part for found in split.values() if len(found) > 1 for part in found}
    if sum(uses[part] > 1 for part in within) <= len(within) / 2:
        return None  # as "New York, NY", of which each part stands in one label
    return _multilabel(names, claims, _separator(claims, separators))


def _multilabel(names: Counter[str], counts: Counter[str], keys: Mapping[str, Any]) -> Suited:
    return Suited("multilabel_f1", f"{len(names)} labels, in {len(counts)} combinations", keys)


def _separator(texts: Iterable[str], separators: Sequence[str]) -> dict[str, Any]:
    """The separators that occur, as the task states them: one text, or a list."""
    found = [mark for mark in separators if any(mark in text for text in texts)]
    return {"separator": found[0] if len(found) == 1 else found} if found else {}


def _one_label(counts: Counter[str]) -> Suited | None:
    short = max(map(len, counts)) <= MAX_LABEL_CHARACTERS
    if not short or len(counts) > min(MAX_LABELS, max(2, counts.total() // 4)):
        return None
    return Suited("macro_f1", f"{len(counts)} labels")


def _text(answers: Sequence[str], field: str) -> Suited:
    """Free answers: phrases by tokens, summaries by common parts, other long texts by characters."""
    name = field.lower()
    size = sum(len(tokens(answer)) for answer in answers) / len(answers)
    words = f"{round(size)} tokens on average"
    if size < (2 if any(map(without_spaces, answers)) else 1.5):
        return Suited("exact_match", "different answers, of a word")
    if any(word in name for word in _SUMMARIES) and size > 3:
        return Suited("rouge_l", f"summaries of {words}")
    if size > _LONG_TOKENS or (any(word in name for word in _TRANSLATIONS) and size > 3):
        return Suited("chrf", f"texts of {words}")
    return Suited("token_f1", f"free text of {words}")
