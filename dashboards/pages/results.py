"""What a page says in place of results, where no tuned trial has any."""

from __future__ import annotations

from typing import Any

from dashboards.components import Choice, empty, link
from dashboards.snapshot import SweepView
from dashboards.state import Query, href
from tracker.numbers import plural


def no_results(view: SweepView, detail: str, *, small: bool = False) -> Any:
    """In place of the results; *detail* says what is to come."""
    tally = view.findings.tally
    if not tally.ended:
        return empty("No trials yet", detail, small=small)
    lost = tally.ended - tally.by_status.get("complete", 0)
    told = f"{plural(tally.ended, 'trial')} ended, {lost or 'none'} of them without a result. "
    way = link(Choice("What became of them", href("/", Query(view.info.name)), False))
    more = f" {detail}" if view.info.is_live else ""
    return empty("No tuned trial has a score", [told, way, more], small=small)
