"""The driver of a sweep, ask → dispatch → record → tell: one driver, many workers.

Truth is in three places that can rebuild each other: the study says which trials exist, each trial's
journal says what happened, the store shows it. The driver starts by reconciling them, so running the same
command again continues a sweep; no trial that ended runs again.

Users may control a running sweep (:mod:`sweeps.search.control`). A strategy counts only the trials that it
proposed, so its proposals depend neither on clones nor on when anybody paused or stopped anything.

A sweep whose file was changed keeps trials (:mod:`sweeps.search.generations`). They count in its budget once,
and end without being run: as the first proposals of a strategy that decides as it goes, else where the
strategy comes to propose them.

Where results are kept and who is notified of them is a parameter: the disk and the tracking store in a sweep
(:class:`~sweeps.search.workspace.SweepFolder`, :class:`~sweeps.search.outbox.Outbox`), memory and nobody in
a replay (:mod:`sweeps.search.engines.instant`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from sweeps.resolve import ResolvedSweep
from sweeps.search.bounds import SearchBounds
from sweeps.search.contract import Results, TrialListener
from sweeps.search.engines.engine import Died, Ended, Engine, Progress, Refused
from sweeps.search.generations import CLONE
from sweeps.search.kept import KeptTrials
from sweeps.search.retention import Retention
from sweeps.search.space import trial_spec
from sweeps.search.strategies import strategy_of
from sweeps.search.strategies.strategy import (
    BrokenBounds,
    Outcome,
    Proposal,
    Strategy,
    outcome,
    weighted_score,
)
from sweeps.search.study import BudgetChange, Clone, PlannedTrial, StudyAdapter
from sweeps.spec import Budget
from tracker.errors import InputError, StoreError
from tracker.numbers import number, plural
from tracker.store.journal import Attempts
from tracker.trial import (
    Configuration,
    Cost,
    Status,
    TrialRecord,
    TrialResult,
    TrialSpec,
)

_POLL_SECONDS = 1.0
_TURN_SECONDS = 0.05
_UNAFFORDABLE = 10  # so many proposals in a row that the budget cannot pay for: it counts as spent


class RequestHandler(Protocol):
    """Carries out users' requests to a running sweep, in the driver's thread."""

    def begin(self, driver: Driver) -> None:
        """Carry out the requests made while no driver ran; later ones are for *driver*."""

    def poll(self) -> None:
        """Carry out the requests made since the last call."""

    def last_poll(self) -> bool:
        """Carry out requests made just as the last trial ended; whether there were any."""

    def end(self) -> None:
        """Refuse requests that come after the last trial."""


class NullRequestHandler:
    """A handler without requests."""

    def begin(self, driver: Driver) -> None:
        """Do nothing."""

    def poll(self) -> None:
        """Do nothing."""

    def last_poll(self) -> bool:
        return False

    def end(self) -> None:
        """Do nothing."""


class Driver:
    """Runs one sweep to the end of its design or budget; the caller holds the sweep's lock.

    *price*: device seconds of a trial, where they are known before it runs, else ``None``. With prices a
    budget of device time is never exceeded; without, the mean trial stands in. *bounds*: by default those
    that the study began with. *retry_failed*: run trials that failed again, with the same key; proposals that
    were made since stay as they are. *take_over*: gives a trial the result of an equal one elsewhere, where
    there is one (:mod:`sweeps.search.takeover`).
    """

    def __init__(
        self,
        sweep: ResolvedSweep,
        results: Results,
        study: StudyAdapter,
        engine: Engine,
        listener: TrialListener,
        *,
        watch: Callable[[Driver], None] = lambda _: None,
        price: Callable[[TrialSpec], float | None] = lambda _: None,
        control: RequestHandler | None = None,
        bounds: SearchBounds | None = None,
        retry_failed: bool = False,
        take_over: Callable[[TrialSpec], TrialResult | None] = lambda _: None,
    ) -> None:
        self.sweep, self.results, self.study = sweep, results, study
        self.engine, self.listener, self.watch, self.price = engine, listener, watch, price
        self.bounds = bounds or SearchBounds(
            sweep,
            legacy=study.begun_before_bounds,
            names=study.bounds,
            unfit=study.unfit,
        )
        self.strategy: Strategy = strategy_of(sweep, self.bounds)
        self.control = control or NullRequestHandler()
        self.retry_failed, self.take_over = retry_failed, take_over
        self.paused = self.stopped = False
        self.trials: list[PlannedTrial] = []
        self.proposals: list[int] = []  # places of the trials that the strategy proposed, in order
        self.records: dict[int, TrialRecord] = {}  # by place
        self._kept = KeptTrials(study, sweep, self.strategy)
        self.running: dict[str, PlannedTrial] = {}
        self.steps: dict[str, tuple[int, dict[str, float]]] = {}
        self._retention = Retention(sweep.spec.objective)
        self._outcomes: list[Outcome] = []  # of the proposals that have entered the study, by index
        self._broken = BrokenBounds()  # what they forbid, in a sweep that keeps all its bounds
        self._keys: set[str] = set()  # of proposals: a key is a hash of a whole spec
        self._trials_at_start = len(study.trials())  # of an earlier run
        self._proposals_at_start = sum(
            study.clone(number) is None
            for number in range(self._trials_at_start if retry_failed else 0)
        )
        self._retried = study.retried()
        self._failures: dict[int, TrialRecord] = {}  # of trials that were retried, before they were
        self._past_raises = study.raised()  # by an earlier run, those that are still to be repeated
        self._queue: list[PlannedTrial] = []
        #: By key, trials that have the key of one that is queued or runs: they end with it.
        self._duplicates: dict[str, list[PlannedTrial]] = {}
        self._stored: dict[str, TrialResult] = {}  # by key: what the listener held at the start
        self._submitted_at: dict[str, float] = {}  # monotonic seconds, by key
        self._committed_seconds = 0.0  # price of all trials that were queued
        self._unaffordable = 0  # proposals in a row that the budget cannot pay for
        self._done_proposing = False

    @property
    def planned(self) -> int:
        """The largest number of trials that the sweep can have."""
        proposals = len(self.proposals) if self._done_proposing else self.strategy.planned
        clones = {trial.key for trial in self.trials if trial.stage == CLONE}
        return proposals + len(clones - self._keys)

    @property
    def design(self) -> set[str] | None:
        """Keys of the whole design, where it was proposed to its end: what it lacks is no part of it."""
        limit = self.strategy.limit
        cut = limit is not None and len(self.proposals) >= limit
        if not self._done_proposing or self.strategy.observes_kept or cut:
            return None
        return None if self._budget_is_spent() else {trial.key for trial in self.trials}

    @property
    def outcomes(self) -> Sequence[Outcome]:
        """Outcomes of the proposals that have entered the study, in the order of proposing."""
        return self._outcomes

    @property
    def spent_seconds(self) -> float:
        """Device seconds of all trials that ended here: one that was taken over cost nothing."""
        return sum(record.spent_seconds for record in self.records.values())

    def quality(self, record: TrialRecord) -> float | None:
        """Weighted score of the record; ``None`` where it has none."""
        return weighted_score(record.result, self.sweep.spec.objective)

    def run(self) -> None:
        """Ask, dispatch and tell until the design is done.

        Raises InputError when the data changed, StoreError when the study does not answer for long,
        OwnedError when another driver has taken it over.
        """
        self.study.guard.keep_running(self._go_on)
        self._reconcile()
        self.control.begin(self)
        while not self.stopped:
            self.study.is_owned()
            if not self.paused:
                while self._propose_next():
                    pass
                self._dispatch()
            self.watch(self)
            if self.paused or self.running or self._queue:
                for event in self.engine.events(_POLL_SECONDS):
                    self._handle(event)
                self.control.poll()
            elif not self.control.last_poll():
                self._tell_up_to(len(self.proposals))
                break
        self.control.end()
        self.watch(self)

    def close(self) -> None:
        """End the workers; the trials under way go on from their last checkpoints in the next run."""
        self.engine.close()
        for key in self.running:
            if self.results.result(key) is None:
                with contextlib.suppress(
                    StoreError
                ):  # then it counts as an attempt whose end is not known
                    self.results.note(key, {"event": "stop"})

    def _go_on(self, seconds: float) -> None:
        """Keep the trials under way for *seconds*, in which the study does not answer."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if not self.paused:
                self._dispatch()
            self.watch(self)
            begun = time.monotonic()
            for event in self.engine.events(min(left, _POLL_SECONDS)):
                self._handle(event)
            if time.monotonic() - begun < _TURN_SECONDS:  # an engine that does not wait
                time.sleep(min(left, _TURN_SECONDS))

    # -- ask: the next trial ---------------------------------------------------------------------

    def _propose_next(self) -> bool:
        """Add the next trial; False when the strategy has none, or waits for trials that run."""
        number, index = len(self.trials), len(self.proposals)
        clone = self.study.clone(number) if number < self._trials_at_start else None
        if clone is not None:
            self._add(number, CLONE, clone.configuration, clone.seed)
            return True
        self._repeat_raises(index)
        if self._done_proposing:
            return False
        needs = min(max(self.strategy.needs(index), self._kept.observed), index)
        if not all(n in self.records or self._as_failed(n, index) for n in self.proposals[:needs]):
            return False
        self._tell_up_to(needs)
        observed = self._observed(needs, index)
        proposal = self._proposal(index, observed)
        if proposal is None:
            self._done_proposing = True
            return False

        def may_run(configuration: Configuration) -> bool:
            pruned = self.bounds.rules_out(configuration) is not None
            return not pruned and not self._broken.forbids(configuration, needs)

        configuration = self.study.ask(number, proposal, index, may_run, self.bounds.points)
        self._add(number, proposal.stage, configuration, proposal.seed)
        return True

    def _proposal(self, index: int, observed: Sequence[Outcome]) -> Proposal | None:
        """Proposal *index*; ``None`` where the design is done, or the budget is spent."""
        if index < self._kept.observed:
            return self.strategy.kept[index]
        spent = self._budget_is_spent()
        if spent and (self._kept.observed or not self._kept.trials):
            return None
        proposal = self.strategy.propose(index, observed)
        return None if spent and not self._kept.has(proposal) else proposal

    def _as_failed(self, number: int, index: int) -> bool:
        """Whether proposal *index* depends on how trial *number* failed, not on how it ended later."""
        early = index < self._retried.get(number, 0) or not self.strategy.corrects
        return number in self._failures and early

    def _observed(self, count: int, index: int) -> list[Outcome]:
        """The first *count* outcomes as proposal *index* observes them."""
        observed = self._outcomes[:count]
        for at, n in enumerate(self.proposals[:count]):
            if n in self._failures:
                record = self._failures[n] if self._as_failed(n, index) else self.records[n]
                observed[at] = self._outcome(at, record)
        return observed

    def _add(self, place: int, stage: str, configuration: Configuration, seed: int) -> None:
        """Add a trial that the study holds to those of this driver, and queue it."""
        spec = self._kept.as_run(trial_spec(self.sweep, configuration, seed))
        key = spec.key
        if stage != CLONE:
            spec, key = self._with_new_key(spec)
            self.proposals.append(place)
        number = self._kept.number(place, key)
        trial = PlannedTrial(place, number, stage, configuration, seed, spec, key)
        self.trials.append(trial)
        if stage == CLONE or self._fits_budget(trial):
            self._enqueue(trial)

    def _with_new_key(self, spec: TrialSpec) -> tuple[TrialSpec, str]:
        """*spec* with the next seed whose key is new: a repeated configuration is another seed of it."""
        while (key := spec.key) in self._keys:
            spec = self._kept.as_run(spec.model_copy(update={"seed": spec.seed + 1}))
        self._keys.add(key)
        return spec, key

    def _fits_budget(self, trial: PlannedTrial) -> bool:
        """Whether the rest of the budget pays for the trial; a trial that does not fit ends as pruned."""
        budget, price = self.sweep.spec.budget, self.price(trial.spec)
        if budget is None or budget.gpu_hours is None or price is None:
            return True
        if trial.key in self._kept.trials:  # paid
            return True
        if self._committed_seconds + price <= budget.gpu_hours * 3600 * (1 + 1e-12):
            self._committed_seconds += price
            self._unaffordable = 0
            return True
        self._unaffordable += 1 if self.strategy.skips else _UNAFFORDABLE
        self.records[trial.place] = TrialRecord(
            number=trial.number,
            stage=trial.stage,
            result=TrialResult(
                spec=trial.spec,
                status=Status.PRUNED,
                reason=f"its {number(price)} device seconds exceed what is left of the budget",
                cost=Cost(device="none"),
            ),
        )
        return False

    def _enqueue(self, trial: PlannedTrial) -> None:
        """Queue a trial, unless it has ended, here or as an equal one elsewhere, or its key is queued."""
        result = self.results.result(trial.key)
        if self.retry_failed and result is not None and result.status is Status.FAILED:
            self._retry(trial)
            result = None
        if trial.place in self._retried:
            failed = self.results.first_result(trial.key)
            if failed is not None:
                self._failures[trial.place] = _record_of(trial, failed)
        if result is None and self.under_way(trial.key):
            self._duplicates.setdefault(trial.key, []).append(trial)
            return
        if result is None and (attempts := self.results.attempts(trial.key)).are_enough:
            result = self._failed(trial, "its worker died, or its driver with it", attempts)
        if result is None:
            result = self.take_over(trial.spec)
        if result is None:
            self._queue.append(trial)
        else:
            # The last driver may have been killed before it removed the files of the ended trial, or
            # brought its result to the store; or the study lost the trial since.
            self.results.tidy(trial.key)
            taken_over = self.results.taken_over(trial.key)
            record = _record_of(trial, result).model_copy(update={"taken_over": taken_over})
            self.records[trial.place] = record
            if self._stored.get(trial.key) != result:
                self._stored[trial.key] = result
                self.listener.end(record)

    def _retry(self, trial: PlannedTrial) -> None:
        """Write down that a trial that failed is run again, first in the study."""
        if trial.stage != CLONE:
            self._retried[trial.place] = self._proposals_at_start
            self.study.retry(trial.place, self._proposals_at_start)
        self.results.note(trial.key, {"event": "retry"})

    def _budget_is_spent(self) -> bool:
        """Whether the budget is used up, by trials that were kept too.

        Of a budget of device time, trials without a price count as the mean one.
        """
        budget, kept = self.sweep.spec.budget, self._kept.proposed
        new = [n for n in self.proposals if self.trials[n].key not in self._kept.trials]
        if budget is not None and budget.trials is not None:
            return bool(kept) and len(kept) + len(new) >= budget.trials
        if self._committed_seconds or self._unaffordable:  # prices are known
            return self._unaffordable >= _UNAFFORDABLE
        if budget is None or budget.gpu_hours is None or not (self._outcomes or kept):
            return False
        before = [self._kept.seconds(each.key, self.results) for each in kept]
        ended = (
            (o, self.trials[n].key) for o, n in zip(self._outcomes, self.proposals, strict=False)
        )
        spent = [o.spent for o, key in ended if key not in self._kept.trials and not o.taken_over]
        mean = sum(spent) / len(spent) if spent else sum(before) / max(len(before), 1)
        return sum(before) + mean * (len(new) - self._taken_over(new)) >= budget.gpu_hours * 3600

    def _taken_over(self, places: Sequence[int]) -> int:
        """How many trials of *places* were taken over, at no cost."""
        ended = (self.records.get(place) for place in places)
        return sum(record is not None and record.taken_over is not None for record in ended)

    # -- dispatch and record ---------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Submit queued trials to the engine's free slots."""
        while self._queue and len(self.running) < self.engine.slots:
            trial = self._queue.pop(0)
            self.running[trial.key] = trial
            self._submitted_at[trial.key] = time.monotonic()
            self.listener.begin(trial.number, trial.stage, trial.spec)
            self.engine.submit(self.results.job(trial.key, trial.spec, self.sweep.spec))

    def _handle(self, event: Progress | Ended | Died | Refused) -> None:
        if isinstance(event, Progress):
            self.steps[event.key] = (event.step, event.values)
            self.listener.progress(self.running[event.key].number, event.key)
        elif isinstance(event, Refused):
            raise InputError(event.problem)
        elif isinstance(event, Ended):
            trial = self.running.pop(event.key)
            result = self.results.result(event.key)
            assert result is not None, "a worker announces a result that is kept"
            self._record(trial, result)
        else:
            self._go_on_after(event, self.running.pop(event.key))

    def _go_on_after(self, died: Died, trial: PlannedTrial) -> None:
        """Queue a trial whose worker died again, to go on from its last checkpoint.

        After a few deaths without progress in between it has failed.
        """
        key = trial.key
        ended = self.results.result(key)
        if ended is not None:  # the worker died after it wrote the result, before it said so
            self._record(trial, ended)
            return
        self.results.note(key, {"event": "death", "why": died.why, "counts": died.counts})
        attempts = self.results.attempts(key)
        if attempts.are_enough:
            self._record(trial, self._failed(trial, died.why, attempts))
        else:
            self._queue.insert(0, trial)

    def _failed(self, trial: PlannedTrial, why: str, attempts: Attempts) -> TrialResult:
        """Result of a trial that its *attempts* have failed, written down."""
        times = plural(attempts.deaths + attempts.lost, "time")
        result = TrialResult(
            spec=trial.spec,
            status=Status.FAILED,
            reason=f"{why}, {times} without progress",
            cost=Cost(device="unknown"),
            ended_at=time.time(),
        )
        self.results.keep(trial.key, result)
        return result

    def _record(self, trial: PlannedTrial, result: TrialResult) -> None:
        """Record the result of a trial and of its duplicates, remove its files, notify the listener."""
        self.steps.pop(trial.key, None)
        record = self.records[trial.place] = _record_of(trial, result)
        for duplicate in self._duplicates.pop(trial.key, ()):
            self.records[duplicate.place] = _record_of(duplicate, result)
        self.results.tidy(trial.key)
        self._drop_models()
        self.listener.end(record)

    def _drop_models(self) -> None:
        """Remove all tuned models but those of the best configurations, unless all are kept."""
        if self.sweep.spec.keep != "best":
            return
        ended = ((self.trials[n].configuration, record) for n, record in self.records.items())
        for key in self._retention.outdone(ended):
            self.results.drop_model(key)

    # -- users' requests -------------------------------------------------------------------------

    def under_way(self, key: str) -> bool:
        """Whether a trial of this key is queued or runs."""
        return key in self.running or any(queued.key == key for queued in self._queue)

    def end(self, key: str, reason: str) -> TrialResult:
        """End the queued or running trial *key* because of *reason*; returns its result.

        The trial may have ended by itself just before. Its device seconds are those of this driver: what
        an earlier one spent on it is not known.
        """
        seconds = 0.0
        if trial := self.running.pop(key, None):
            self.engine.cancel(key)
            seconds = time.monotonic() - self._submitted_at[key]
        else:
            trial = next(queued for queued in self._queue if queued.key == key)
            self._queue.remove(trial)
        result = self.results.result(key)
        if result is None:
            cost = Cost(device="unknown", device_seconds=seconds)
            result = TrialResult(
                spec=trial.spec,
                status=Status.PRUNED,
                reason=reason,
                cost=cost,
                ended_at=time.time(),
            )
            self.results.keep(key, result)
        self._record(trial, result)
        return result

    def add_clone(self, clone: Clone) -> PlannedTrial:
        """Add *clone* to the study and queue it; it comes on top of any budget."""
        spec = self._kept.as_run(trial_spec(self.sweep, clone.configuration, clone.seed))
        kept = self._kept.trials.get(spec.key)
        self.study.add_clone(clone, spec.key, kept and kept.number)
        self._add(len(self.trials), CLONE, clone.configuration, clone.seed)
        return self.trials[-1]

    def raise_budget(self, budget: Budget, request: str) -> None:
        """Raise the sweep's budget to *budget*, also for later runs of the same command."""
        since = len(self.proposals)
        self.study.raise_budget(BudgetChange(since, budget.trials, budget.gpu_hours, request))
        self._set_budget(budget)

    def _repeat_raises(self, index: int) -> None:
        """Raise the budget before the same proposals as an earlier run did."""
        while self._past_raises and self._past_raises[0].since <= index:
            raised = self._past_raises.pop(0)
            budget = Budget(trials=raised.trials, gpu_hours=raised.gpu_hours)
            if exceeds(budget, self.sweep.spec.budget):
                self._set_budget(budget)

    def _set_budget(self, budget: Budget) -> None:
        spec = self.sweep.spec.model_copy(update={"budget": budget})
        self.sweep = dataclasses.replace(self.sweep, spec=spec)
        self.strategy.set_budget(self.sweep)
        self._done_proposing, self._unaffordable = False, 0

    # -- tell ------------------------------------------------------------------------------------

    def _tell_up_to(self, count: int) -> None:
        """Tell the study of the first *count* proposals, in order: it grows the same way in every run."""
        for index in range(len(self._outcomes), count):
            n = self.proposals[index]
            record = self._failures.get(n) or self.records[n]
            ended = self._outcome(index, record)
            self.study.tell(n, ended.quality, self.bounds.excesses(record.result))
            self._outcomes.append(ended)
            if not self.bounds.legacy:
                self._broken.add(ended)

    def _outcome(self, index: int, record: TrialRecord) -> Outcome:
        """Outcome of proposal *index*, which ended as *record* says, as the strategy observes it."""
        trial = self.trials[self.proposals[index]]
        objective = self.sweep.spec.objective
        excesses = self.bounds.excesses(record.result)
        seen = excesses if not self.bounds.legacy or self.strategy.sees_legacy_excesses else {}
        ended = outcome(record, trial.configuration, trial.seed, objective, seen)
        return ended._replace(number=index)

    def _reconcile(self) -> None:
        """Read back the study's trials in order; results that the store may lack are sent again."""
        self._stored = dict(self.listener.stored())
        while len(self.trials) < self._trials_at_start and self._propose_next():
            pass
        requests = {
            clone.request for trial in self.trials if (clone := self.study.clone(trial.place))
        }
        for kept in self._kept.trials.values():
            if kept.request is not None and kept.request not in requests:
                self.add_clone(Clone(kept.configuration, kept.seed, kept.request))


def _record_of(trial: PlannedTrial, result: TrialResult) -> TrialRecord:
    return TrialRecord(number=trial.number, stage=trial.stage, result=result)


def exceeds(budget: Budget, present: Budget | None) -> bool:
    """Whether *budget* is a larger one of the same kind as *present*."""
    if present is None:
        return False
    if budget.trials is not None and present.trials is not None:
        return budget.trials > present.trials
    if budget.gpu_hours is not None and present.gpu_hours is not None:
        return budget.gpu_hours > present.gpu_hours
    return False
