"""Text of answers as scores read it: tokens in any script, normalised texts, and the parts of an answer."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

#: Han, kana and the marks of both, every character of which is a token (as CMRC 2018).
_HAN_AND_KANA = (
    "\u3001-\u303f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uff65"
    "\U00020000-\U000323af"
)
#: Thai, Lao, Burmese, Khmer, the Tai scripts, Bopomofo, Yi and Javanese: written without spaces too.
_OTHERS = (
    "\u0e00-\u0eff\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f\u1780-\u17ff\u19e0-\u19ff\u1950-\u19df"
    "\u1a20-\u1aaf\u3100-\u312f\ua000-\ua4cf\ua980-\ua9df"
)
_AS_WRITTEN = re.compile(rf"[{_HAN_AND_KANA}]|[^\s{_HAN_AND_KANA}]+")
_NO_SPACES = f"{_HAN_AND_KANA}{_OTHERS}"
_SPACELESS = re.compile(f"[{_NO_SPACES}]")
_TOKENS = re.compile(rf"[{_NO_SPACES}]|[^\s{_NO_SPACES}]+")
#: Not taken apart by NFKC: Thai and Lao am, each one character to those who write it.
_FOLDED = re.compile("[^\u0e33\u0eb3]+")
_ARTICLES = frozenset({"a", "an", "the"})
#: Marks within a word or a number, which leave nothing behind, unlike those that separate words.
_INSIDE = frozenset("'\u2019\u02bc.-\u2010\u2011\u00ad")
#: Symbols that mark a text up, though Unicode does not count them as punctuation.
_MARKUP = frozenset("`|^~")


def characters(text: str) -> list[str]:
    """White-space tokens as written; of Chinese and Japanese, each character (as CMRC 2018)."""
    return _AS_WRITTEN.findall(text)


def tokens(text: str) -> list[str]:
    """Tokens of the :func:`normalised` text: words, and each character of a script without spaces."""
    return _TOKENS.findall(normalised(text))


def without_spaces(text: str) -> bool:
    """Whether *text* holds a script that is written without spaces, such as Chinese or Thai."""
    return _SPACELESS.search(text) is not None


def plain_words(text: str) -> list[str]:
    """Runs of letters and digits in lower case, and each character of a script without spaces.

    Of English what the package rouge-score takes for words; its own tokens leave out every other letter.
    """
    folded = folded_text(text)
    kept = (c if c.isalnum() or unicodedata.category(c).startswith("M") else " " for c in folded)
    return _TOKENS.findall("".join(kept))


def normalised(text: str) -> str:
    """Text in lower case and one width, without punctuation and English articles.

    As SQuAD does it (Rajpurkar et al. 2016), but that every script's marks go, a mark between words leaves
    a space, and a number keeps its sign, its decimal mark and its stroke (``-3.5``, ``1/2``; ``1,234`` is
    ``1234``). Symbols (``$``, ``+``) are no punctuation. A text of nothing but marks or articles keeps
    them, so that it never equals an empty one.
    """
    folded = folded_text(text)
    plain = "".join(_kept(folded, at) for at in range(len(folded))).split()
    words = [word for word in plain if word not in _ARTICLES] or plain
    return " ".join(words) or " ".join(folded.split())


def folded_text(text: str) -> str:
    """Text in lower case, with full-width and other compatible forms as the plain ones (NFKC)."""
    return _FOLDED.sub(lambda part: unicodedata.normalize("NFKC", part[0]), text).casefold()


def _kept(text: str, at: int) -> str:
    """What is left of the character at *at*: itself, a space between words, or nothing."""
    mark = text[at]
    if mark.isalnum() or mark.isspace():
        return mark
    if not (unicodedata.category(mark).startswith("P") or mark in _MARKUP):
        return mark
    before, after = text[at - 1 : at], text[at + 1 : at + 2]
    if mark == "%" and before.isdigit():
        return mark
    if after.isdigit():
        if mark == "-" and not before.isalnum():
            return mark
        if before.isdigit():
            return {",": "", ".": ".", "/": "/"}.get(mark, " ")
        if mark == "." and not before.isalnum():
            return mark
    return "" if mark in _INSIDE and before.isalnum() else " "


#: Marks that usually stand between the parts of an answer, by kind, the least ambiguous first.
SEPARATORS: tuple[tuple[str, ...], ...] = (
    (";", "；"),
    ("|", "｜"),
    ("\n",),
    ("\t",),
    (",", "，", "、"),
    ("/", "／"),
    (" ",),
)
#: Taken where no answer shows which it is: what rarely stands within a part.
USUAL_SEPARATORS = tuple(mark for kind in SEPARATORS[:5] for mark in kind)
#: These stand within parts too: they separate only where the parts are answers by themselves as well.
_DOUBTFUL = SEPARATORS[5:]


def parts(text: str, separators: Sequence[str] | None = None) -> list[str]:
    """Parts of an answer, stripped, in order: items of a JSON array, else what *separators* divide.

    Empty ones are left out. Items that are no text are written as JSON.
    """
    listed = _json_array(text)
    if listed is not None:
        items = [item if isinstance(item, str) else _as_json(item) for item in listed]
    else:
        marks = USUAL_SEPARATORS if separators is None else separators
        items = re.split("|".join(map(re.escape, marks)), text)
    return [item.strip() for item in items if item.strip()]


def found_separators(answers: Iterable[str]) -> tuple[str, ...] | None:
    """Separators of the parts of *answers*; ``None`` where they are JSON arrays, or none has two parts.

    The least ambiguous kind that divides at least half as many answers as any other.
    """
    plain = [answer for answer in dict.fromkeys(answers) if _json_array(answer) is None]
    whole = {answer.strip() for answer in plain}
    divided = {}
    for kind in SEPARATORS:
        split = [found for answer in plain if len(found := parts(answer, kind)) > 1]
        pieces = {piece for found in split for piece in found}
        if kind not in _DOUBTFUL or 2 * len(pieces & whole) >= len(pieces):
            divided[kind] = len(split)
    most = max(divided.values(), default=0)
    return next((kind for kind, n in divided.items() if n and 2 * n >= most), None)


def _json_array(text: str) -> list[Any] | None:
    if not text.lstrip().startswith("["):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
