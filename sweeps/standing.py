"""Standing of a sweep: what it spent and has left, the time to its end, the best trial so far."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from tracker.errors import StoreError
from tracker.metrics import measures_of, perfect_quality, weighted_quality
from tracker.numbers import duration, plural, quality, time_span
from tracker.price import Price, with_price
from tracker.spending import Spending, forecast, tally
from tracker.store.exclusion import LEFT
from tracker.store.runs import LiveTrial, SweepInfo
from tracker.store.store import Store
from tracker.trial import Configuration, Objective, Status, TrialRecord


class BestTrial(NamedTuple):
    """Best complete trial: its weighted quality, its number, its configuration and seed in words.

    ``scored``: the quality is a mean of scores alone.
    """

    quality: float
    number: int
    label: str
    scored: bool = True

    def line(self) -> str:
        """It in a line."""
        return f"best so far {quality(self.quality, scored=self.scored)}  {self.label}"


def best_trial(records: Iterable[TrialRecord], objective: Objective) -> BestTrial | None:
    """Best of the complete *records*, the earlier of equals; ``None`` before there is one."""
    best: BestTrial | None = None
    for record in sorted(records, key=lambda record: record.number):
        result = record.result
        measures = measures_of([result])
        measured = weighted_quality(result, objective.weights, measures)
        if measured is not None and (best is None or measured > best.quality):
            scored = perfect_quality(objective.weights, measures) == 1
            best = BestTrial(measured, record.number, label_of(record), scored)
    return best


def takeover_line(records: Iterable[TrialRecord]) -> str | None:
    """How many of *records* were taken over, and what that saved; ``None`` where none were."""
    taken = [record for record in records if record.taken_over is not None]
    if not taken:
        return None
    saved = sum(record.result.cost.device_seconds or 0.0 for record in taken)
    anew = sum(record.taken_over is not None and record.taken_over.rescored for record in taken)
    scored = f" ({anew:,} scored anew)" if anew else ""
    return (
        f"{plural(len(taken), 'trial')} taken over{scored}, which took {duration(saved)} where "
        f"{'it' if len(taken) == 1 else 'they'} ran and cost nothing here"
    )


def label_of(record: TrialRecord) -> str:
    """Configuration of a trial, and its seed."""
    configuration = Configuration.of(record.result.spec)
    seed = "" if configuration.untouched else f", seed {record.result.spec.seed}"
    return f"{configuration.label}{seed}"


def spending_line(spending: Spending, *, live: bool) -> str:
    """Device time and money spent and left, and the time to the end where the sweep is *live*."""
    price, left = spending.price, spending.left_seconds
    parts = [f"{with_price(duration(spending.spent), price, spending.spent)} of device time spent"]
    if left is not None:
        parts.append(f"{with_price(duration(left), price, left)} of its budget left")
    ahead = forecast(spending) if live else None
    if ahead is not None and ahead.clock_seconds is not None and ahead.clock_seconds.high > 0:
        parts.append(f"{time_span(*ahead.clock_seconds)} to go (80 % interval)")
        if left is None and price is not None:
            high = ahead.device_seconds.high - spending.spent
            parts.append(f"which cost at most {price.text(high)}")
    return ", ".join(parts)


class Standing(NamedTuple):
    """Standing of a sweep: ``spending``, the ``best`` trial; those ``running``, ``failed``, and so on."""

    spending: Spending
    best: BestTrial | None
    running: Sequence[LiveTrial]
    failed: Sequence[TrialRecord]
    live: bool
    excluded: Sequence[TrialRecord] = ()
    taken_over: Sequence[TrialRecord] = ()

    def lines(self) -> list[str]:
        """Costs, and the best so far."""
        text = [spending_line(self.spending, live=self.live)] if self.spending.ended else []
        text += [line] if (line := takeover_line(self.taken_over)) else []
        text += [self.best.line()] if self.best else []
        left = [r for r in self.excluded if (r.excluded or "").startswith(LEFT)]
        by_hand = [r for r in self.excluded if r not in left]
        if left:
            text.append(f"{plural(len(left), 'trial')} left the design with a change of the file")
        return [*text, *(f"trial {r.number} is excluded: {r.excluded}" for r in by_hand)]

    def as_json(self) -> dict[str, Any]:
        """As plain values; what is not known is ``None``."""
        spending = self.spending
        ahead = forecast(spending) if self.live else None
        clock = None if ahead is None else ahead.clock_seconds
        return {
            "device_seconds": spending.spent,
            "device_seconds_left": spending.left_seconds,
            "cost": spending.price and spending.price.as_json(spending.spent),
            "cost_left": _money(spending.left_seconds, spending.price),
            "seconds_to_go": None if clock is None else list(clock),
            "best": self.best and self.best._asdict(),
            "excluded": [
                {"number": record.number, "key": record.result.spec.key, "why": record.excluded}
                for record in self.excluded
            ],
            "taken_over": [
                {"number": record.number, **record.taken_over.model_dump(mode="json")}
                for record in self.taken_over
                if record.taken_over is not None
            ],
            "running": [
                {
                    "number": trial.number,
                    "key": trial.key,
                    "step": trial.step,
                    "steps": trial.steps,
                    "loss": trial.loss,
                }
                for trial in self.running
            ],
        }


def _money(seconds: float | None, price: Price | None) -> dict[str, Any] | None:
    return None if seconds is None or price is None else price.as_json(seconds)


def standing_of(store: Store, info: SweepInfo) -> Standing:
    """Standing of the sweep of *info*, by its trials in the store."""
    records, excluded = store.records(info.name), store.excluded(info.name)
    spending = Spending.of(
        tally([*records, *excluded]),
        info.facts,
        info.to_come,
        finished=info.state == "finished",
    )
    try:
        best = best_trial(records, store.objective(info.name))
    except StoreError:  # begun by a version that kept no objective
        best = None
    failed = [record for record in records if record.result.status is Status.FAILED]
    taken = [record for record in records if record.taken_over is not None]
    running = store.running(info.name)
    return Standing(spending, best, running, failed, info.is_live, excluded, taken)
