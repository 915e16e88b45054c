"""Every error this project raises on purpose.

    SftSelectError                 exit 2: shown as one line, never a traceback
    ├── InputError                 the user's file, option or data: carries every problem found
    ├── OwnedError                 exit 3: another driver holds the sweep
    ├── StoreError                 the tracking store is unreachable or holds something unexpected
    └── NotEnoughDataError         the table cannot answer the question asked

A message says what was found, what is allowed and what to do. What goes wrong inside a trial is an
outcome of that trial (:class:`tracker.trial.Status`), not an exception of the sweep, but for changed data
and a full disk.
"""

from __future__ import annotations

from collections.abc import Iterable


class SftSelectError(Exception):
    """Root of the tree; ``exit_code`` is what the command line returns for it."""

    exit_code = 2


class InputError(SftSelectError):
    """One or more problems in what the user gave; all are reported at once."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class OwnedError(SftSelectError):
    """Another driver owns the sweep; the message says which process, where and since when."""

    exit_code = 3


class StoreError(SftSelectError):
    """The tracking store could not be reached or does not hold what was asked for."""


class NotEnoughDataError(SftSelectError):
    """The results on hand do not suffice; the message says which further ones would."""


class NothingAdmittedError(NotEnoughDataError):
    """No candidate keeps every limit that was set."""
