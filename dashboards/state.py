"""The URL is the state: which page, which sweep, which filters. A link shows a colleague the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode

#: A query longer than this was not made by a page of ours.
MAX_QUERY = 4000


class Query(NamedTuple):
    """What a query string asks for. ``None`` and empty mean "as the page sees fit"."""

    sweep: str | None = None
    task: str | None = None
    metric: str | None = None
    mix: str | None = None
    models: tuple[str, ...] = ()
    axis: str | None = None
    view: str | None = None


def parse_query(search: str | None) -> Query:
    """*search* as the browser gives it (``?task=intent&models=a,b``). Unknown keys are ignored."""
    text = (search or "").removeprefix("?")
    if len(text) > MAX_QUERY:
        return Query()
    pairs: Mapping[str, str] = dict(parse_qsl(text))
    fields = {name: pairs[name] for name in Query._fields if name in pairs and name != "models"}
    models = tuple(name for name in pairs.get("models", "").split(",") if name)
    return Query(models=models, **fields)


def href(path: str, query: Query) -> str:
    """The link that shows *path* in the state *query*."""
    values = query._asdict() | {"models": ",".join(query.models)}
    text = urlencode({name: value for name, value in values.items() if value})
    return f"{path}?{text}" if text else path
