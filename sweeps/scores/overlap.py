"""Overlap of an answer with its truth: token F1, ROUGE-L and chrF, in any script."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from sweeps.scores.bootstrap import Floats
from sweeps.scores.text import plain_words

#: F1, precision and recall.
Overlap = tuple[float, float, float]


def token_f1(given: str, truth: str, split: Callable[[str], list[str]]) -> Overlap:
    """F1, precision and recall over tokens as multisets (Rajpurkar et al. 2016, SQuAD)."""
    a, b = Counter(split(given)), Counter(split(truth))
    return _overlap(sum((a & b).values()), sum(a.values()), sum(b.values()))


def rouge_l(given: str, truth: str) -> Overlap:
    """F1, precision and recall of the longest common subsequence of tokens (Lin 2004, ROUGE-L).

    As the package rouge-score has it without stems, but that its tokens leave out every letter that is not
    English: here they are :func:`sweeps.scores.text.plain_words`.
    """
    a, b = plain_words(given), plain_words(truth)
    return _overlap(_common(a, b), len(a), len(b))


def _common(one: Sequence[str], other: Sequence[str]) -> int:
    """Length of the longest common subsequence, by bits (Crochemore et al. 2001): a word of any length."""
    places: dict[str, int] = {}
    for place, token in enumerate(one):
        places[token] = places.get(token, 0) | 1 << place
    full = (1 << len(one)) - 1
    open_ = full
    for token in other:
        met = open_ & places.get(token, 0)
        open_ = (open_ + met | open_ - met) & full
    return len(one) - open_.bit_count()


def _overlap(shared: int, given: int, truth: int) -> Overlap:
    if not shared:
        equal = float(not given and not truth)
        return equal, equal, equal
    precision, recall = shared / given, shared / truth
    return 2 * precision * recall / (precision + recall), precision, recall


def chrf(given: Sequence[str], truth: Sequence[str], weights: Floats) -> Floats:
    """Character n-gram F-score (Popović 2015) of all rows, on each of the resamples *weights*; in [0, 1].

    sacreBLEU's ``corpus_chrf``: the counts of n-grams are summed over a resample's rows.
    """
    metric = _chrf()
    counts = np.array(metric._extract_corpus_statistics(list(given), [list(truth)]), dtype=float)
    return np.array(
        [metric._compute_score_from_stats(sums.tolist()).score / 100 for sums in weights @ counts]
    )


def chrf_of_row(given: str, truth: str) -> float:
    """sacreBLEU's ``sentence_chrf`` in [0, 1]."""
    return 1.0 if given == truth else float(_chrf().sentence_score(given, [truth]).score) / 100


@lru_cache(maxsize=1)
def _chrf() -> Any:
    from sacrebleu.metrics.chrf import CHRF

    return CHRF()
