"""ask → dispatch → record → tell: one driver, many workers.

Truth is in three places that can rebuild each other: the study says which trials exist, each trial's
journal says what happened, the store shows it. The driver starts by reconciling them, so running the same
command again continues a sweep; nothing that ended runs again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sweeps.resolve import ResolvedSweep
from sweeps.search.engine import Died, Ended, Engine, Progress, Refused
from sweeps.search.ledger import Ledger
from sweeps.search.objective import excesses, outcome, weighted_score
from sweeps.search.ports import Audience, Results
from sweeps.search.space import Values, trial_spec
from sweeps.search.strategies import strategy_of
from sweeps.search.strategy import Outcome, Strategy
from tracker.errors import InputError
from tracker.record.trial import Cost, Status, TrialRecord, TrialResult, TrialSpec

_ATTEMPTS = 3  # a worker that dies on a trial this often is taken to die of it
_POLL_SECONDS = 1.0
_KEPT_LEADERS = 10
_MISFITS = 10  # after so many proposals in a row that do not fit the budget, it is taken as spent


class Asked(NamedTuple):
    """A trial that the study holds."""

    number: int
    stage: str
    values: Values
    spec: TrialSpec
    key: str


class Driver:
    """Runs one sweep to the end of its design or budget. Holds the sweep's lock by contract.

    *price*: device seconds that a trial is known to take before it runs, ``None`` where that is not
    known. With prices a budget of device time is never exceeded; without, the mean trial stands in.
    """

    def __init__(
        self,
        sweep: ResolvedSweep,
        results: Results,
        ledger: Ledger,
        engine: Engine,
        delivery: Audience,
        *,
        watch: Callable[[Driver], None] = lambda _: None,
        price: Callable[[TrialSpec], float | None] = lambda _: None,
    ) -> None:
        self.sweep, self.results, self.ledger = sweep, results, ledger
        self.engine, self.delivery, self.watch, self.price = engine, delivery, watch, price
        self.strategy: Strategy = strategy_of(sweep)
        self.asked: list[Asked] = []
        self.records: dict[int, TrialRecord] = {}
        self.running: dict[str, Asked] = {}
        self.steps: dict[str, tuple[int, dict[str, float]]] = {}
        self.attempts: dict[str, int] = {}
        self._outcomes: list[Outcome] = []  # of told trials, by number
        self._keys: set[str] = set()  # of asked trials: a key is a hash of a whole spec
        self._waiting: list[Asked] = []
        self._committed = 0.0  # price of all trials taken up
        self._misfits = 0
        self._done_asking = False

    @property
    def planned(self) -> int:
        """How many trials the sweep will have at most."""
        return len(self.asked) if self._done_asking else self.strategy.planned

    @property
    def told(self) -> Sequence[Outcome]:
        """Outcomes of the trials told so far, by number."""
        return self._outcomes

    @property
    def spent_seconds(self) -> float:
        """Device seconds of all trials that have ended."""
        return sum(r.result.cost.device_seconds or 0.0 for r in self.records.values())

    def quality(self, record: TrialRecord) -> float | None:
        """The record's weighted score; ``None`` where it has none."""
        return weighted_score(record.result, self.sweep.spec.objective)

    def run(self) -> None:
        """Ask, dispatch and tell until the design is done. Raises InputError when the data changed."""
        self._reconcile()
        while True:
            while self._ask():
                pass
            self._dispatch()
            self.watch(self)
            if not self.running and not self._waiting:
                break
            for event in self.engine.events(_POLL_SECONDS):
                self._handle(event)
        self._tell_up_to(len(self.asked))
        self.watch(self)

    # -- asking ----------------------------------------------------------------------------------

    def _ask(self) -> bool:
        """Ask the next trial if what it needs has ended; False when there is nothing to ask now."""
        number = len(self.asked)
        if self._done_asking:
            return False
        needs = min(self.strategy.needs(number), number)
        if any(n not in self.records for n in range(needs)):
            return False
        self._tell_up_to(needs)
        proposal = (
            None if self._is_spent() else self.strategy.propose(number, self._outcomes[:needs])
        )
        if proposal is None:
            self._done_asking = True
            return False
        values = self.ledger.ask(number, proposal)
        spec = self._distinct(trial_spec(self.sweep, values))
        asked = Asked(number, proposal.stage, values, *spec)
        self.asked.append(asked)
        if self._fits(asked):
            self._take_up(asked)
        return True

    def _distinct(self, spec: TrialSpec) -> tuple[TrialSpec, str]:
        """A point that was asked before is another seed of it: two equal specs would be one trial."""
        while (key := spec.key) in self._keys:
            spec = spec.model_copy(update={"seed": spec.seed + 1})
        self._keys.add(key)
        return spec, key

    def _fits(self, asked: Asked) -> bool:
        """Whether what is left of the budget pays for the trial; one that it does not has ended at once."""
        budget, price = self.sweep.spec.budget, self.price(asked.spec)
        if budget is None or budget.gpu_hours is None or price is None:
            return True
        if self._committed + price <= budget.gpu_hours * 3600 * (1 + 1e-12):
            self._committed += price
            self._misfits = 0
            return True
        self._misfits += 1 if self.strategy.skips else _MISFITS
        self.records[asked.number] = TrialRecord(
            number=asked.number,
            stage=asked.stage,
            result=TrialResult(
                spec=asked.spec,
                status=Status.PRUNED,
                reason=f"its {price:.3g} device seconds exceed what is left of the budget",
                cost=Cost(device="none"),
            ),
        )
        return False

    def _take_up(self, asked: Asked) -> None:
        """Queue a trial, unless its journal says that it has ended."""
        result = self.results.result(asked.key)
        if result is None:
            self._waiting.append(asked)
            self.delivery.begin(asked.number, asked.stage, asked.spec)
        else:
            # The last driver may have been killed between the result and tidying up after it.
            self.results.tidy(asked.key)
            self.records[asked.number] = TrialRecord(
                number=asked.number, stage=asked.stage, result=result
            )

    def _is_spent(self) -> bool:
        """Whether told trials used up a budget of device time; those under way count as their mean."""
        budget = self.sweep.spec.budget
        if self._committed or self._misfits:  # prices are known, and say it exactly
            return self._misfits >= _MISFITS
        if budget is None or budget.gpu_hours is None or not self._outcomes:
            return False
        told = len(self._outcomes)
        seconds = sum(self.records[n].result.cost.device_seconds or 0.0 for n in range(told))
        expected = seconds * len(self.asked) / told
        return expected >= budget.gpu_hours * 3600

    # -- running ---------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        while self._waiting and len(self.running) < self.engine.slots:
            asked = self._waiting.pop(0)
            self.running[asked.key] = asked
            self.engine.submit(self.results.job(asked.key, asked.spec, self.sweep.spec))

    def _handle(self, event: Progress | Ended | Died | Refused) -> None:
        if isinstance(event, Progress):
            self.steps[event.key] = (event.step, event.values)
            self.delivery.progress(event.key)
        elif isinstance(event, Refused):
            raise InputError(event.problem)
        elif isinstance(event, Ended):
            asked = self.running.pop(event.key)
            result = self.results.result(event.key)
            assert result is not None, "a worker announces a result that is kept"
            self._record(asked, result)
        else:
            self._died(self.running.pop(event.key), event.why)

    def _died(self, asked: Asked, why: str) -> None:
        """The same trial again, from its last checkpoint; a trial that kills its workers has failed."""
        key = asked.key
        self.attempts[key] = self.attempts.get(key, 0) + 1
        if self.attempts[key] < _ATTEMPTS:
            self._waiting.insert(0, asked)
            return
        result = TrialResult(
            spec=asked.spec,
            status=Status.FAILED,
            reason=f"{why}, {_ATTEMPTS} times",
            cost=Cost(device="unknown"),
            ended_at=time.time(),
        )
        self.results.keep(key, result)
        self._record(asked, result)

    def _record(self, asked: Asked, result: TrialResult) -> None:
        self.steps.pop(asked.key, None)
        record = TrialRecord(number=asked.number, stage=asked.stage, result=result)
        self.records[asked.number] = record
        self.results.tidy(asked.key)
        self._drop_models()
        self.delivery.end(record)

    def _drop_models(self) -> None:
        """Keep the tuned models of the leaders alone, unless all are wanted."""
        if self.sweep.spec.keep != "leaders":
            return
        ranked = sorted(self.records.values(), key=lambda r: self.quality(r) or 0.0, reverse=True)
        for record in ranked[_KEPT_LEADERS:]:
            self.results.drop_model(self.asked[record.number].key)

    # -- telling ---------------------------------------------------------------------------------

    def _tell_up_to(self, count: int) -> None:
        """Tell trials in the order of their numbers: the study grows the same way in every run."""
        for number in range(len(self._outcomes), count):
            told = outcome(
                self.records[number], self.asked[number].values, self.sweep.spec.objective
            )
            excess = excesses(self.records[number].result, self.sweep.spec.objective)
            self.ledger.tell(number, told.quality, excess)
            self._outcomes.append(told)

    def _reconcile(self) -> None:
        """Deliver again what the store may lack; the study's own trials are re-asked in order."""
        while len(self.asked) < len(self.ledger.trials()) and self._ask():
            pass
        delivered = self.delivery.delivered()
        for record in self.records.values():
            if self.asked[record.number].key not in delivered:
                self.delivery.end(record)
