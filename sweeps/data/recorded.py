"""Recorded texts: what of a row, or of an answer to it, may stand outside the data files (record_answers).

``hashed`` puts a keyed digest in place of an answer. The key is made of the bytes of the task's validation
file, which is recorded nowhere: without that file nobody finds an answer by hashing guesses, not even a label
or a phone number; with it anyone makes the same digests again, in any workspace. Answers are stripped of
white space first, as they are compared: two answers have one digest exactly where they are the same answer.
"""

from __future__ import annotations

import hashlib
import hmac
import traceback
from functools import lru_cache
from pathlib import Path

from sweeps.data.examples import whole_file
from tracker.errors import InputError
from tracker.task import LabelCounts, TaskSpec
from tracker.trial import RecordAnswers

#: A digest is this and sixteen hex digits.
PREFIX = "hashed:"
_DIGITS = 16


def recorded_answer(task: TaskSpec, text: str, record: RecordAnswers) -> str | None:
    """The answer *text* to a row of *task* as it is recorded; ``None`` where it is not.

    Raises InputError where the task's validation file cannot be read.
    """
    if record == "all":
        return text
    if record == "none":
        return None
    key = _secret(whole_file(task.validation.path))
    made = hmac.new(key, text.strip().encode("utf-8", "surrogatepass"), hashlib.sha256)
    return f"{PREFIX}{made.hexdigest()[:_DIGITS]}"


def recorded_label(task: TaskSpec, label: str, place: int, record: RecordAnswers) -> str:
    """The *label* as it is recorded; where nothing is, by its *place* in the order of frequency, from 1.

    The negative label stands in the sweep file anyway.
    """
    if task.negative is not None and label.strip() == task.negative.strip():
        record = "all"
    return recorded_answer(task, label, record) or f"answer {place}"


def recorded_counts(
    task: TaskSpec, counts: LabelCounts | None, record: RecordAnswers
) -> LabelCounts | None:
    """*counts* with their labels named as they are recorded."""
    if counts is None or record == "all":
        return counts
    names = enumerate(counts.names, start=1)
    recorded = tuple(recorded_label(task, name, place, record) for place, name in names)
    return counts.model_copy(update={"names": recorded})


def recorded_reason(error: BaseException, record: RecordAnswers) -> str:
    """The fault of a trial in one line; without its words, which may quote a row, unless all is recorded."""
    if record == "all":
        return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place} (its words are not recorded: record_answers: {record})"


def quoted(text: str, record: RecordAnswers) -> str:
    """*text* of a row as a message quotes it."""
    return repr(text) if record == "all" else f"one of {len(text)} characters"


@lru_cache(maxsize=64)
def _secret(path: str) -> bytes:
    """Key of a task's digests. The file's own SHA-256, which is recorded, does not give it away."""
    digest = hashlib.sha256(b"sft-select: answers of\0")
    try:
        with Path(path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a readable data file") from None
    return digest.digest()
