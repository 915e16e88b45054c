"""Report of replays: regret against cost by strategy and budget, as data and as text."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sweeps.search.replay.replay import Replayed
from sweeps.search.replay.table import ONE_MIX, RecordedTable
from tracker.trial import Configuration


class Band(NamedTuple):
    """Regret over seeds once a ``share`` of the full cost is spent."""

    share: float
    median: float
    worst: float


class Summary(NamedTuple):
    """Summary of one strategy at one budget, over all seeds.

    ``cost``: spent, mean share of the full cost. ``median`` and ``worst``: of regret at the end.
    ``chosen``: the choice of most seeds, ``agreed`` of them. ``substituted``: trials with the result of a
    neighbouring learning rate; ``missing``: those not in the table; both means over seeds. ``curve``:
    regret by share of the cost.
    """

    strategy: str
    budget: float
    cost: float
    trials: float
    median: float
    worst: float
    chosen: str
    agreed: int
    substituted: float
    missing: float
    curve: tuple[Band, ...]


def summaries(runs: Sequence[Replayed]) -> list[Summary]:
    """Summaries by strategy and budget, in order of appearance."""
    grouped: dict[tuple[str, float], list[Replayed]] = {}
    for run in runs:
        grouped.setdefault((run.strategy, run.budget), []).append(run)
    return [_summary(replays) for replays in grouped.values()]


def _summary(runs: Sequence[Replayed]) -> Summary:
    regrets = [run.end.regret for run in runs]
    chosen = [label(run.end.chosen) for run in runs]
    most = max(chosen, key=chosen.count)
    return Summary(
        strategy=runs[0].strategy,
        budget=runs[0].budget,
        cost=statistics.fmean(run.end.cost for run in runs),
        trials=statistics.fmean(run.end.trials for run in runs),
        median=statistics.median(regrets),
        worst=max(regrets),
        chosen=most,
        agreed=chosen.count(most),
        substituted=statistics.fmean(run.substituted for run in runs),
        missing=statistics.fmean(run.missing for run in runs),
        curve=tuple(_bands(runs)),
    )


def _bands(runs: Sequence[Replayed]) -> Iterator[Band]:
    for points in zip(*(run.curve for run in runs), strict=True):
        regrets = [point.regret for point in points]
        yield Band(points[0].share, statistics.median(regrets), max(regrets))


def report(name: str, table: RecordedTable, seeds: int, runs: Sequence[Replayed]) -> dict[str, Any]:
    """Report of replays as plain data; ``unit``: of regret; ``cost_unit``: of ``full_cost``."""
    return {
        "table": name,
        "trials": len(table.trained),
        "configurations": len(table.truth),
        "largest_volume": table.largest,
        "measure": table.measure,
        "unit": "points" if table.measure == "score" else "%",
        "full_cost": table.full_cost,
        "cost_unit": table.cost_unit,
        "seeds": seeds,
        "best": label(table.best),
        "summaries": [
            s._asdict() | {"curve": [band._asdict() for band in s.curve]} for s in summaries(runs)
        ],
        "runs": [_run(run) for run in runs],
    }


def _run(run: Replayed) -> dict[str, Any]:
    points = [p._asdict() | {"chosen": label(p.chosen)} for p in run.curve]
    return run._asdict() | {"curve": points}


def lines(found: dict[str, Any]) -> list[str]:
    """The report as text."""
    unit = found["unit"]
    heading = (
        f"{found['table']}: {found['trials']:,} recorded trials, {found['configurations']} "
        f"configurations at {found['largest_volume']:,} examples; best: {found['best']}"
    )
    cost = f"full cost: {found['full_cost']:.4g} {found['cost_unit']}; {found['seeds']} seeds"
    columns = f"{'strategy':9}{'budget':>8}{'spent':>8}{'trials':>8}"
    columns += f"{f'median {unit}':>15}{f'worst {unit}':>14}  chosen by most"
    rows = [
        f"{s['strategy']:9}{s['budget']:>8.4g}{s['cost']:>8.3f}{s['trials']:>8.0f}"
        f"{s['median']:>15.2f}{s['worst']:>14.2f}  {s['chosen']} ({s['agreed']})"
        for s in found["summaries"]
    ]
    return [heading, cost, "", columns, *rows, *_remarks(found["summaries"])]


def _remarks(found: Sequence[dict[str, Any]]) -> Iterator[str]:
    for s in found:
        where = f"{s['strategy']} at {s['budget']:g}"
        if s["substituted"]:
            yield f"{where}: {s['substituted']:.0f} trials with the result of the nearest learning rate"
        if s["missing"]:
            yield f"{where}: {s['missing']:.0f} trials missing from the table, failed at no cost"


def label(configuration: Configuration | None) -> str:
    """Label of a configuration of the table."""
    if configuration is None:
        return "none"
    method = configuration.method
    parts = [*configuration.pair]
    parts += [method.variant] if method.variant not in (None, "plain") else []
    parts += [f"lr {method.learning_rate:g}"] if method.learning_rate is not None else []
    parts += [configuration.mix] if configuration.mix != ONE_MIX else []
    return " ".join(parts)
