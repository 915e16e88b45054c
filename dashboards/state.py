"""The state of a page in its address: sweep, filters, choices. A link shows a colleague the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qsl, urlencode

Option = TypeVar("Option", bound=str)

#: Longest query string that is read; the pages make shorter ones.
MAX_QUERY = 4000
#: Names of earlier releases, whose links still open.
_RENAMED = {"reach": "target_quality"}


class Query(NamedTuple):
    """A query string: the sweep, and names with values, which each page reads as it needs.

    A page has a default for each name, and ignores names and values it does not know.
    """

    sweep: str | None = None
    given: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, sweep: str | None = None, **given: str | Iterable[str]) -> Query:
        """``Query.of("demo", task="intent", models=("a", "b"))``."""
        return cls(sweep).put(**given)

    def get(self, name: str) -> str | None:
        """The value of *name*, the last of several."""
        return next((value for key, value in reversed(self.given) if key == name), None)

    def many(self, name: str) -> tuple[str, ...]:
        """All values of *name*."""
        return tuple(value for key, value in self.given if key == name)

    def put(self, **changes: str | Iterable[str] | None) -> Query:
        """The query with *changes*; ``None`` or an empty value removes a name."""
        pairs = [pair for pair in self.given if pair[0] not in changes]
        for name, value in changes.items():
            values = [value] if isinstance(value, str) else list(value or ())
            pairs += [(name, text) for text in values if text]
        return self._replace(given=tuple(sorted(pairs, key=lambda pair: pair[0])))


def parse_query(search: str | None) -> Query:
    """The query of *search* (``?task=intent&models=a&models=b``)."""
    text = (search or "").removeprefix("?")
    pairs = parse_qsl(text[:MAX_QUERY])
    sweep = dict(pairs).get("sweep")
    if len(text) > MAX_QUERY:
        return Query(sweep)
    rest = ((_RENAMED.get(name, name), value) for name, value in pairs if name != "sweep")
    return Query(sweep, tuple(sorted(rest, key=lambda pair: pair[0])))


def href(path: str, query: Query) -> str:
    """The address of *path* in the state *query*."""
    sweep = [("sweep", query.sweep)] if query.sweep else []
    text = urlencode([*sweep, *query.given])
    return f"{path}?{text}" if text else path


def completed(path: str, search: str | None, query: Query) -> dict[str, str]:
    """What puts *query* in place of *search* in the address, without a step to go back.

    For what a reader sees and the address does not say yet. Nothing is done where the reader has left the
    page meanwhile.
    """
    return {"path": path, "from": search or "", "to": href("", query)}


def one_of(options: Sequence[Option], wanted: str | None) -> Option:
    """*wanted* if it is one of *options*, else the first; there must be one."""
    return next((option for option in options if option == wanted), options[0])
