"""Every strategy by the name it has in a sweep file."""

from __future__ import annotations

from sweeps.resolve import ResolvedSweep
from sweeps.search.ats import Ats
from sweeps.search.halving import Halving
from sweeps.search.law import Law
from sweeps.search.strategy import Grid, Random, Strategy, Tpe

STRATEGIES: dict[str, type[Strategy]] = {
    "grid": Grid,
    "random": Random,
    "tpe": Tpe,
    "halving": Halving,
    "ats": Ats,
    "law": Law,
}


def strategy_of(sweep: ResolvedSweep) -> Strategy:
    """The strategy that *sweep* asks for."""
    return STRATEGIES[sweep.spec.search.strategy](sweep)
