"""Search strategies by their names in a sweep file."""

from __future__ import annotations

from sweeps.resolve import ResolvedSweep
from sweeps.search.bounds import SearchBounds
from sweeps.search.strategies.ats import Ats
from sweeps.search.strategies.grid import Grid
from sweeps.search.strategies.halving import Halving
from sweeps.search.strategies.law import Law
from sweeps.search.strategies.random_search import Random, Tpe
from sweeps.search.strategies.strategy import Strategy

STRATEGIES: dict[str, type[Strategy]] = {
    "grid": Grid,
    "random": Random,
    "tpe": Tpe,
    "halving": Halving,
    "ats": Ats,
    "law": Law,
}


def strategy_of(sweep: ResolvedSweep, bounds: SearchBounds | None = None) -> Strategy:
    """The search strategy of *sweep*; *bounds*: by default those of a sweep that begins now."""
    return STRATEGIES[sweep.spec.search.strategy](sweep, bounds)
