"""Exceptions of sft-select: every error it raises on purpose.

    SftSelectError                 exit 2: shown as one line, never a traceback
    ├── InputError                 the user's file, option or data: carries every problem found
    │   └── ArgumentError          arguments of a call: the command line names its options instead
    ├── OwnedError                 exit 3: another driver holds the sweep
    ├── StoreError                 the tracking store is unreachable or holds something unexpected
    │   └── RefusedError           it refuses what it is sent, and would refuse it again
    └── NotEnoughDataError         the results do not suffice for an answer
        └── NoRecommendationError  exit 4: there is no recommendation yet; why, and what would give one
            └── NothingAdmittedError   no candidate keeps every constraint

A message says what was found, what is allowed and what to do. What goes wrong inside a trial is an
outcome of that trial (:class:`tracker.trial.Status`), not an exception of the sweep, but for changed data
and a full disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple, Self

#: What a message shows at most; ``problems`` holds every problem whole.
MAX_PROBLEMS_SHOWN = 50
MAX_CHARACTERS_SHOWN = 2_000

#: Characters that move a terminal's cursor, colour it, break a line, reverse text or are no text at all.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def printable(text: str) -> bool:
    """Whether *text* has no character that a terminal would obey rather than show."""
    return _UNPRINTABLE.search(text) is None


def one_line(text: str) -> str:
    """*text* as one line of a terminal: control characters written as escapes, a long text cut."""
    if len(text) > MAX_CHARACTERS_SHOWN:
        half = MAX_CHARACTERS_SHOWN // 2
        text = f"{text[:half]} … {text[-half:]}"
    return _UNPRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _shown(problems: Iterable[str]) -> str:
    """The first of *problems*, a line each, and how many more there are."""
    lines = [one_line(problem) for problem in problems]
    hidden = len(lines) - MAX_PROBLEMS_SHOWN
    return "\n".join([*lines[:MAX_PROBLEMS_SHOWN], *([f"and {hidden} more"] if hidden > 0 else [])])


class SftSelectError(Exception):
    """Root of the exceptions; ``exit_code`` is what the command line returns for it."""

    exit_code = 2

    def for_command_line(self) -> str:
        """Message with options (``--model-params``) in place of parameters (``model_params``)."""
        return str(self)


class InputError(SftSelectError):
    """One or more problems in a user's file, option or data; all are reported at once, a line each."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__(_shown(self.problems))


class Argument(NamedTuple):
    """An argument that cannot be used; ``key``: the entry, where the parameter is a mapping."""

    parameter: str
    problem: str
    key: str | None = None

    def __str__(self) -> str:
        entry = "" if self.key is None else f"[{self.key!r}]"
        return f"{self.parameter}{entry}: {self.problem}"

    def for_command_line(self) -> str:
        """The problem with the option's name; an option is repeated once for each entry of a mapping."""
        option = self.parameter.replace("_", "-")
        if option in ("weights", "constraints"):
            option = option.removesuffix("s")
        return f"--{option}{f' {self.key}' if self.key else ''}: {self.problem}"


class ArgumentError(InputError):
    """One or more arguments of a call that cannot be used, by the parameter's name in Python."""

    def __init__(self, *arguments: Argument) -> None:
        self.arguments = arguments
        super().__init__(map(str, arguments))

    def for_command_line(self) -> str:
        """Message with options in place of parameters."""
        return _shown(argument.for_command_line() for argument in self.arguments)


class OwnedError(SftSelectError):
    """Another driver owns the sweep; the message says which process, where and since when."""

    exit_code = 3


class StoreError(SftSelectError):
    """The tracking store could not be reached, or does not hold what is needed."""


class RefusedError(StoreError):
    """The tracking store was reached and refuses what it is sent: trying again is no use."""


class NotEnoughDataError(SftSelectError):
    """The results on hand do not suffice; the message says which results are missing."""


class NoRecommendationError(NotEnoughDataError):
    """There is no recommendation yet: an answer of its own, not a fault of the question.

    ``why``: what the results lack; ``needed``: what would give a recommendation. The message is one line
    of both, the same in the terminal, in Python, on the pages, and where an export is refused.
    """

    exit_code = 4

    def __init__(self, why: str, needed: str) -> None:
        self.why, self.needed = why, needed
        super().__init__(f"no recommendation yet: {why}; to get one, {needed}")

    def __reduce__(self) -> tuple[type[Self], tuple[str, str]]:
        return type(self), (
            self.why,
            self.needed,
        )  # a copy, as caches raise it, is made of its parts


class NothingAdmittedError(NoRecommendationError):
    """No candidate keeps every constraint."""
