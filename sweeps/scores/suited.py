"""Score that suits a task, by its answers: labels, several labels, numbers, JSON, slots or free text."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sweeps.scores.text import tokens, without_spaces

MAX_LABELS = 500
MAX_LABEL_CHARACTERS = 60
#: Different numbers up to which they are taken for labels, such as stars.
_MAX_NUMBER_LABELS = 12
#: Share of the answers that must be of a kind; a few are always odd.
_MOST = 0.95
_SEPARATORS = ("\uff1b", ";", "\uff0c", "、", "|", ",", "/")
#: Share of the answers with more than one label, of a task with several.
_SOME_COMBINED = 0.05
_LONG_TOKENS = 25  # an answer's mean, above which it is a text and no phrase
_SUMMARIES = (
    "summary",
    "summaries",
    "highlights",
    "abstract",
    "headline",
    "tldr",
    "摘要",
    "总结",
    "标题",
)
_TRANSLATIONS = ("translation", "target", "译文", "翻译")

_NUMBER = re.compile(r"[-+−]?[$€£¥]?\s?\d[\d,]*(\.\d+)?\s?%?")
_MARKED_NUMBER = re.compile(r"####\s*[-+−]?[$€£¥]?\d[\d,]*(\.\d+)?\s*$")
_SLOT = re.compile(r"\s*[\w -]{1,40}\s?[:\uff1a=]\s?\S.*")

NEGATIVES = (
    *("out_of_scope", "out-of-scope", "out of scope", "oos", "none", "other", "others", "unknown"),
    *("not_applicable", "not applicable", "n/a", "na", "null", "irrelevant", "nothing", "no_intent"),
    *("no_label", "unrelated", "not_relevant", "not relevant", "misc", "background", "{}", "[]"),
    *("无", "其他", "其它", "不相关", "无关", "没有", "空", "未知", "无意图", "不适用", "以上都不是"),
    *("なし", "その他", "該当なし", "无标签", "無", "其他類", "기타", "없음", "otro", "otros", "ninguno"),
    *("autre", "aucun", "keine", "sonstiges", "andere", "другое", "нет"),
)  # fmt: skip


class Suited(NamedTuple):
    """A score with the task's keys that go with it, and why it suits: a comment for the sweep file."""

    name: str
    why: str
    keys: dict[str, Any]
    negative: str | None = None


def suited_score(answers: Sequence[str], raw: Sequence[Any], field: str = "") -> Suited:
    """The score that suits *answers*, the texts that are trained.

    *raw*: the values they were made of, which tell a list or a number from a text. *field*: its name, which
    may say that it holds summaries or translations.
    """
    counts = Counter(answer.strip() for answer in answers)
    found = _lists(raw, counts) or _objects(answers, raw) or _numbers(counts) or _labels(counts)
    found = found or _parts(counts) or _text(answers, field)
    return found._replace(negative=_negative(counts, found.name))


def _share(values: Sequence[Any], holds: Iterable[bool]) -> float:
    return sum(holds) / max(1, len(values))


def _lists(raw: Sequence[Any], counts: Counter[str]) -> Suited | None:
    """Lists of short texts are several labels."""
    values = [_parsed(value) for value in raw]
    if _share(values, (isinstance(v, list) for v in values)) < _MOST:
        return None
    items = [item for value in values if isinstance(value, list) for item in value]
    if not items or not all(isinstance(item, str | int | bool) for item in items):
        return None
    if max(len(str(item)) for item in items) > MAX_LABEL_CHARACTERS:
        return None
    distinct = len(set(map(str, items)))
    return Suited("multilabel_f1", f"{distinct} labels, in {len(counts)} combinations", {})


def _objects(answers: Sequence[str], raw: Sequence[Any]) -> Suited | None:
    values = [_parsed(value) for value in (raw or answers)]
    nested = [isinstance(value, dict | list) for value in values]
    if _share(values, nested) < _MOST:
        return None
    return Suited("json", "answers are JSON", {})


def _parsed(value: Any) -> Any:
    """*value*, of a text that is a JSON object or array what it says."""
    if isinstance(value, str) and value.strip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _numbers(counts: Counter[str]) -> Suited | None:
    total = counts.total()
    plain = sum(times for text, times in counts.items() if _NUMBER.fullmatch(text))
    marked = sum(times for text, times in counts.items() if _MARKED_NUMBER.search(text))
    if max(plain, marked) < _MOST * total:
        return None
    whole = all(re.fullmatch(r"[-+]?\d+", text) for text in counts)
    if whole and len(counts) <= min(_MAX_NUMBER_LABELS, max(2, total // 4)):
        return None  # stars, or classes by their number
    what = "the final number counts" if marked > plain else f"{len(counts)} different numbers"
    return Suited("number", what, {})


def _labels(counts: Counter[str]) -> Suited | None:
    short = max(map(len, counts)) <= MAX_LABEL_CHARACTERS
    if not short or len(counts) > min(MAX_LABELS, max(2, counts.total() // 4)):
        return None
    return _parts(counts) or Suited("macro_f1", f"{len(counts)} labels", {})


def _parts(counts: Counter[str]) -> Suited | None:
    """Answers of several parts: labels, or slots (``time: noon; people: two``), by what separates them."""
    for separator in _SEPARATORS:
        split = {text: [p.strip() for p in text.split(separator)] for text in counts}
        combined = sum(counts[text] for text, parts in split.items() if len(parts) > 1)
        if combined < _SOME_COMBINED * counts.total():
            continue
        if slots := _slots(split):
            return slots
        parts = Counter(part for text, all_ in split.items() for part in all_ * counts[text])
        if _are_labels(parts, split, counts):
            keys = {"separator": separator}
            what = f"{len(parts)} labels, in {len(counts)} combinations"
            return Suited("multilabel_f1", what, keys)
    return _slots({text: [text] for text in counts})


def _slots(split: dict[str, list[str]]) -> Suited | None:
    """Slots, of answers each part of which is a name and its value; the negative answer has none."""
    filled = {t: parts for t, parts in split.items() if t.lower() not in NEGATIVES}
    parts = [part for parts in filled.values() for part in parts if part]
    if len(parts) < 2 or _share(parts, (bool(_SLOT.fullmatch(p)) for p in parts)) < _MOST:
        return None
    names = Counter(re.split(r"[:\uff1a=]", part, maxsplit=1)[0].strip() for part in parts)
    if len(names) > max(2, len(parts) // 3) or len(filled) < 2:
        return None
    return Suited("token_f1", f"slots: {', '.join(list(names)[:4])}", {"unordered": True})


def _are_labels(parts: Counter[str], split: dict[str, list[str]], counts: Counter[str]) -> bool:
    """Whether parts are labels: short, few, recurring, and most of them in more than one combination."""
    parts = Counter({part: times for part, times in parts.items() if part})
    if not parts or max(map(len, parts)) > MAX_LABEL_CHARACTERS or len(parts) > MAX_LABELS:
        return False
    if any(len(tokens(part)) > _most_tokens(part) for part in parts):
        return False
    if len(parts) > max(2, parts.total() // 4) or len(parts) >= max(3, counts.total() // 2):
        return False
    combinations: Counter[str] = Counter()
    in_combination = set()
    for all_ in split.values():
        combinations.update(set(all_))
        in_combination |= set(all_) if len(all_) > 1 else set()
    several = sum(combinations[part] > 1 for part in in_combination if part)
    return several > len(in_combination) / 2


def _most_tokens(label: str) -> int:
    """Tokens up to which a text may be one label of several: words, or characters."""
    return 12 if without_spaces(label) else 4


def _text(answers: Sequence[str], field: str) -> Suited:
    """Free answers: phrases by tokens, summaries by common parts, other long texts by characters."""
    name = field.lower()
    size = sum(len(tokens(answer)) for answer in answers) / len(answers)
    spaceless = any(map(without_spaces, answers))
    if size < (2 if spaceless else 1.5):
        return Suited("exact_match", "different answers, of a word", {})
    if any(word in name for word in _SUMMARIES) and size > 3:
        return Suited("rouge_l", "summaries", {})
    if any(word in name for word in _TRANSLATIONS) and size > 3:
        return Suited("chrf", "texts", {})
    if size > _LONG_TOKENS:
        return Suited("chrf", f"long texts, of {round(size)} tokens on average", {})
    return Suited("token_f1", f"free text, of {round(size)} tokens on average", {})


def _negative(counts: Counter[str], score: str) -> str | None:
    """The answer that seems to be the negative class, if any; among free answers it must recur."""
    answers = {answer.strip().lower(): answer for answer in counts}
    negative = next((answers[name] for name in NEGATIVES if name in answers), None)
    closed = score in ("macro_f1", "multilabel_f1")
    return negative if negative and (closed or counts[negative] > 1) else None
