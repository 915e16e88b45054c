"""The driver of a sweep, ask → dispatch → record → tell: one driver, many workers.

Truth is in three places that can rebuild each other: the study says which trials exist, each trial's
journal says what happened, the store shows it. The driver starts by reconciling them, so running the same
command again continues a sweep; nothing that ended runs again.

People may ask things of it as it runs (:mod:`sweeps.search.control`). A strategy counts only its own
proposals, so what it proposes depends neither on clones nor on when anybody paused or stopped anything.

What it stands between is handed to it: where ends of trials are kept and who hears of them, on disk and to
the tracking store in a sweep (:class:`~sweeps.search.workspace.SweepFolder`,
:class:`~sweeps.search.outbox.Outbox`), in memory and to nobody in a replay.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from sweeps.resolve import ResolvedSweep
from sweeps.search.bounds import SearchBounds
from sweeps.search.engines.engine import Died, Ended, Engine, Job, Progress, Refused
from sweeps.search.retention import Retention
from sweeps.search.space import trial_spec
from sweeps.search.strategies import strategy_of
from sweeps.search.strategies.strategy import (
    Broken,
    Outcome,
    Strategy,
    outcome,
    weighted_score,
)
from sweeps.search.study import CLONE, Clone, PlannedTrial, Raise, StudyAdapter
from sweeps.spec import Budget, SweepSpec
from tracker.errors import InputError
from tracker.trial import Configuration, Cost, Status, TrialRecord, TrialResult, TrialSpec

_ATTEMPTS = 3  # a worker that dies on a trial this often is taken to die of it
_POLL_SECONDS = 1.0
_MISFITS = 10  # after so many proposals in a row that do not fit the budget, it is taken as spent


class Results(Protocol):
    """How trials ended, by key; what they leave behind besides is tidied up by it."""

    def result(self, key: str) -> TrialResult | None:
        """How the trial ended; ``None`` while it has not."""

    def keep(self, key: str, result: TrialResult) -> None:
        """Enter a result that no worker could write."""

    def job(self, key: str, spec: TrialSpec, sweep: SweepSpec) -> Job:
        """The trial with its places, as an engine takes it."""

    def tidy(self, key: str) -> None:
        """Drop what only a trial under way needs."""

    def drop_model(self, key: str) -> None:
        """Drop the trial's tuned model, if there is one."""


class Audience(Protocol):
    """Hears of trials; ``problem`` is what keeps it from hearing, while something does."""

    problem: str | None

    def delivered(self) -> set[str]:
        """Keys of the trials whose ends it has heard of."""

    def begin(self, number: int, stage: str, spec: TrialSpec) -> None:
        """The trial is under way."""

    def progress(self, key: str) -> None:
        """The trial has taken steps."""

    def end(self, record: TrialRecord) -> None:
        """The trial has ended."""


class Operator(Protocol):
    """Does what people ask of a sweep that runs, in the driver's own thread."""

    def begin(self, driver: Driver) -> None:
        """Do what was asked while no driver was there, and from now on what is asked of *driver*."""

    def turn(self) -> None:
        """Do what was asked since the last turn."""

    def last_call(self) -> bool:
        """Whether something was asked just as everything had ended; if so, it was done."""

    def end(self) -> None:
        """Refuse what comes too late."""


class Unattended:
    """An operator whom nobody asks anything."""

    def begin(self, driver: Driver) -> None:
        """Nothing was asked."""

    def turn(self) -> None:
        """Nothing is."""

    def last_call(self) -> bool:
        return False

    def end(self) -> None:
        """Nothing comes too late."""


class Driver:
    """Runs one sweep to the end of its design or budget. Holds the sweep's lock by contract.

    *price*: device seconds that a trial is known to take before it runs, ``None`` where that is not
    known. With prices a budget of device time is never exceeded; without, the mean trial stands in.
    *bounds*: by default those that the study began with.
    """

    def __init__(
        self,
        sweep: ResolvedSweep,
        results: Results,
        study: StudyAdapter,
        engine: Engine,
        outbox: Audience,
        *,
        watch: Callable[[Driver], None] = lambda _: None,
        price: Callable[[TrialSpec], float | None] = lambda _: None,
        control: Operator | None = None,
        bounds: SearchBounds | None = None,
    ) -> None:
        self.sweep, self.results, self.study = sweep, results, study
        self.engine, self.outbox, self.watch, self.price = engine, outbox, watch, price
        self.bounds = bounds or SearchBounds(
            sweep, begun=study.begun_before_bounds, names=study.bounds
        )
        self.strategy: Strategy = strategy_of(sweep, self.bounds)
        self.control = control or Unattended()
        self.paused = self.stopped = False
        self.proposed: list[PlannedTrial] = []
        self.own: list[int] = []  # numbers of the strategy's proposals, in order
        self.records: dict[int, TrialRecord] = {}
        self.running: dict[str, PlannedTrial] = {}
        self.steps: dict[str, tuple[int, dict[str, float]]] = {}
        self.attempts: dict[str, int] = {}
        self._best_measured = Retention(sweep.spec.objective)
        self._outcomes: list[Outcome] = []  # of told proposals, by index
        self._broken = Broken()  # what they forbid, in a sweep that keeps all its bounds
        self._keys: set[str] = set()  # of proposals: a key is a hash of a whole spec
        self._known = len(study.trials())  # of an earlier run
        self._raises = study.raised()  # those yet to come, of an earlier run
        self._waiting: list[PlannedTrial] = []
        self._twins: dict[
            str, list[PlannedTrial]
        ] = {}  # asked while another of this key is under way
        self._sent_at: dict[str, float] = {}  # monotonic seconds, of what runs
        self._committed = 0.0  # price of all trials taken up
        self._misfits = 0
        self._done_proposing = False

    @property
    def planned(self) -> int:
        """How many trials the sweep will have at most."""
        own = len(self.own) if self._done_proposing else self.strategy.planned
        return own + len(
            {proposed.key for proposed in self.proposed if proposed.stage == CLONE} - self._keys
        )

    @property
    def observed(self) -> Sequence[Outcome]:
        """Outcomes of the proposals told so far, in the order of proposing."""
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
        self.control.begin(self)
        while not self.stopped:
            if not self.paused:
                while self._ask():
                    pass
                self._dispatch()
            self.watch(self)
            if self.paused or self.running or self._waiting:
                for event in self.engine.events(_POLL_SECONDS):
                    self._handle(event)
                self.control.turn()
            elif not self.control.last_call():
                self._observe_up_to(len(self.own))
                break
        self.control.end()
        self.watch(self)

    # -- asking ----------------------------------------------------------------------------------

    def _ask(self) -> bool:
        """Ask the next trial if what it needs has ended; False when there is nothing to ask now."""
        number, index = len(self.proposed), len(self.own)
        clone = self.study.clone(number) if number < self._known else None
        if clone is not None:
            self._enter(number, CLONE, clone.configuration, clone.seed)
            return True
        self._raise_again(index)
        if self._done_proposing:
            return False
        needs = min(self.strategy.needs(index), index)
        if any(n not in self.records for n in self.own[:needs]):
            return False
        self._observe_up_to(needs)
        proposal = (
            None if self._is_spent() else self.strategy.propose(index, self._outcomes[:needs])
        )
        if proposal is None:
            self._done_proposing = True
            return False

        def may_run(configuration: Configuration) -> bool:
            known = self.bounds.rules_out(configuration) is not None
            return not known and not self._broken.forbids(configuration, needs)

        configuration = self.study.ask(number, proposal, index, may_run, self.bounds.points)
        self._enter(number, proposal.stage, configuration, proposal.seed)
        return True

    def _enter(self, number: int, stage: str, configuration: Configuration, seed: int) -> None:
        """Take note of a trial that the study now holds, and take it up."""
        spec = trial_spec(self.sweep, configuration, seed)
        if stage == CLONE:
            proposed = PlannedTrial(number, stage, configuration, seed, spec, spec.key)
        else:
            proposed = PlannedTrial(number, stage, configuration, seed, *self._distinct(spec))
            self.own.append(number)
        self.proposed.append(proposed)
        if stage == CLONE or self._fits(proposed):
            self._take_up(proposed)

    def _distinct(self, spec: TrialSpec) -> tuple[TrialSpec, str]:
        """A point that was asked before is another seed of it: two equal specs would be one trial."""
        while (key := spec.key) in self._keys:
            spec = spec.model_copy(update={"seed": spec.seed + 1})
        self._keys.add(key)
        return spec, key

    def _fits(self, proposed: PlannedTrial) -> bool:
        """Whether what is left of the budget pays for the trial; one that it does not has ended at once."""
        budget, price = self.sweep.spec.budget, self.price(proposed.spec)
        if budget is None or budget.gpu_hours is None or price is None:
            return True
        if self._committed + price <= budget.gpu_hours * 3600 * (1 + 1e-12):
            self._committed += price
            self._misfits = 0
            return True
        self._misfits += 1 if self.strategy.skips else _MISFITS
        self.records[proposed.number] = TrialRecord(
            number=proposed.number,
            stage=proposed.stage,
            result=TrialResult(
                spec=proposed.spec,
                status=Status.PRUNED,
                reason=f"its {price:.3g} device seconds exceed what is left of the budget",
                cost=Cost(device="none"),
            ),
        )
        return False

    def _take_up(self, proposed: PlannedTrial) -> None:
        """Queue a trial, unless its journal says that it has ended, or another of its key is queued."""
        result = self.results.result(proposed.key)
        if result is None and self.under_way(proposed.key):
            self._twins.setdefault(proposed.key, []).append(proposed)
        elif result is None:
            self._waiting.append(proposed)
        else:
            # The last driver may have been killed between the result and tidying up after it.
            self.results.tidy(proposed.key)
            self.records[proposed.number] = TrialRecord(
                number=proposed.number, stage=proposed.stage, result=result
            )

    def _is_spent(self) -> bool:
        """Whether told trials used up a budget of device time; those under way count as their mean."""
        budget = self.sweep.spec.budget
        if self._committed or self._misfits:  # prices are known, and say it exactly
            return self._misfits >= _MISFITS
        if budget is None or budget.gpu_hours is None or not self._outcomes:
            return False
        seconds = sum(outcome.seconds or 0.0 for outcome in self._outcomes)
        expected = seconds * len(self.own) / len(self._outcomes)
        return expected >= budget.gpu_hours * 3600

    # -- running ---------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        while self._waiting and len(self.running) < self.engine.slots:
            proposed = self._waiting.pop(0)
            self.running[proposed.key] = proposed
            self._sent_at[proposed.key] = time.monotonic()
            self.outbox.begin(proposed.number, proposed.stage, proposed.spec)
            self.engine.submit(self.results.job(proposed.key, proposed.spec, self.sweep.spec))

    def _handle(self, event: Progress | Ended | Died | Refused) -> None:
        if isinstance(event, Progress):
            self.steps[event.key] = (event.step, event.values)
            self.outbox.progress(event.key)
        elif isinstance(event, Refused):
            raise InputError(event.problem)
        elif isinstance(event, Ended):
            proposed = self.running.pop(event.key)
            result = self.results.result(event.key)
            assert result is not None, "a worker announces a result that is kept"
            self._record(proposed, result)
        else:
            self._died(self.running.pop(event.key), event.why)

    def _died(self, proposed: PlannedTrial, why: str) -> None:
        """The same trial again, from its last checkpoint; a trial that kills its workers has failed."""
        key = proposed.key
        ended = self.results.result(key)
        if ended is not None:  # it died between its result and telling
            self._record(proposed, ended)
            return
        self.attempts[key] = self.attempts.get(key, 0) + 1
        if self.attempts[key] < _ATTEMPTS:
            self._waiting.insert(0, proposed)
            return
        result = TrialResult(
            spec=proposed.spec,
            status=Status.FAILED,
            reason=f"{why}, {_ATTEMPTS} times",
            cost=Cost(device="unknown"),
            ended_at=time.time(),
        )
        self.results.keep(key, result)
        self._record(proposed, result)

    def _record(self, proposed: PlannedTrial, result: TrialResult) -> None:
        self.steps.pop(proposed.key, None)
        record = TrialRecord(number=proposed.number, stage=proposed.stage, result=result)
        self.records[proposed.number] = record
        for twin in self._twins.pop(proposed.key, ()):
            self.records[twin.number] = TrialRecord(
                number=twin.number, stage=twin.stage, result=result
            )
        self.results.tidy(proposed.key)
        self._drop_models()
        self.outbox.end(record)

    def _drop_models(self) -> None:
        """Drop the tuned models of all but the best configurations, where those alone are kept."""
        if self.sweep.spec.keep != "best":
            return
        ended = ((self.proposed[n].configuration, record) for n, record in self.records.items())
        for key in self._best_measured.outdone(ended):
            self.results.drop_model(key)

    # -- what people ask for ---------------------------------------------------------------------

    def under_way(self, key: str) -> bool:
        """Whether a trial of this key waits or runs."""
        return key in self.running or any(waiting.key == key for waiting in self._waiting)

    def end(self, key: str, reason: str) -> TrialResult:
        """End the trial *key*, which waits or runs, because of *reason*.

        Returns how it ended, which may have been by itself just before. Its device seconds are those
        of this driver: what an earlier one spent on it is not known.
        """
        seconds = 0.0
        if proposed := self.running.pop(key, None):
            self.engine.cancel(key)
            seconds = time.monotonic() - self._sent_at[key]
        else:
            proposed = next(waiting for waiting in self._waiting if waiting.key == key)
            self._waiting.remove(proposed)
        result = self.results.result(key)
        if result is None:
            cost = Cost(device="unknown", device_seconds=seconds)
            result = TrialResult(
                spec=proposed.spec,
                status=Status.PRUNED,
                reason=reason,
                cost=cost,
                ended_at=time.time(),
            )
            self.results.keep(key, result)
        self._record(proposed, result)
        return result

    def add_clone(self, clone: Clone) -> PlannedTrial:
        """Enter *clone* into the study and take it up; it comes on top of any budget."""
        self.study.add_clone(clone)
        self._enter(len(self.proposed), CLONE, clone.configuration, clone.seed)
        return self.proposed[-1]

    def raise_budget(self, budget: Budget, request: str) -> None:
        """Go on up to *budget*, also when the sweep is run again."""
        self.study.raise_budget(Raise(len(self.own), budget.trials, budget.gpu_hours, request))
        self._set_budget(budget)

    def _raise_again(self, index: int) -> None:
        """Raise the budget where an earlier run did: the same proposals follow."""
        while self._raises and self._raises[0].since <= index:
            raised = self._raises.pop(0)
            budget = Budget(trials=raised.trials, gpu_hours=raised.gpu_hours)
            if exceeds(budget, self.sweep.spec.budget):
                self._set_budget(budget)

    def _set_budget(self, budget: Budget) -> None:
        spec = self.sweep.spec.model_copy(update={"budget": budget})
        self.sweep = dataclasses.replace(self.sweep, spec=spec)
        self.strategy.set_budget(self.sweep)
        self._done_proposing, self._misfits = False, 0

    # -- telling ---------------------------------------------------------------------------------

    def _observe_up_to(self, count: int) -> None:
        """Tell *count* proposals in their order: the study grows the same way in every run."""
        for index in range(len(self._outcomes), count):
            proposed = self.proposed[self.own[index]]
            record = self.records[proposed.number]
            objective = self.sweep.spec.objective
            excess = self.bounds.excesses(record.result)
            seen = excess if not self.bounds.begun or self.strategy.sees_when_begun else {}
            observed = outcome(record, proposed.configuration, proposed.seed, objective, seen)
            self.study.tell(proposed.number, observed.quality, excess)
            self._outcomes.append(observed._replace(number=index))
            if not self.bounds.begun:
                self._broken.add(observed)

    def _reconcile(self) -> None:
        """Deliver again what the store may lack; the study's own trials are re-asked in order."""
        while len(self.proposed) < self._known and self._ask():
            pass
        delivered = self.outbox.delivered()
        for record in self.records.values():
            if self.proposed[record.number].key not in delivered:
                self.outbox.end(record)


def exceeds(budget: Budget, present: Budget | None) -> bool:
    """Whether *budget* is a larger one of the same kind as *present*."""
    if present is None:
        return False
    if budget.trials is not None and present.trials is not None:
        return budget.trials > present.trials
    if budget.gpu_hours is not None and present.gpu_hours is not None:
        return budget.gpu_hours > present.gpu_hours
    return False
