"""What people may ask of a sweep that runs: each request is done or refused, and answered in words."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sweeps.search.cloning import cloned_values
from sweeps.search.ports import Inbox
from sweeps.search.space import trial_spec
from sweeps.search.study import Clone
from sweeps.search_settings import Budget
from tracker.errors import InputError
from tracker.store.control import Action, Answer, Request
from tracker.trial import Status

if TYPE_CHECKING:
    from sweeps.search.driver import Asked, Driver

BY_HAND = "stopped by hand"
#: What was meant for the driver of its moment, and not for one that starts later.
_OF_THE_MOMENT: frozenset[Action] = frozenset({"pause", "resume", "stop"})


class Control:
    """Does to *driver* what comes out of *inbox*, in the driver's own thread."""

    def __init__(self, driver: Driver, inbox: Inbox) -> None:
        self.driver, self.inbox = driver, inbox
        self._actions: dict[Action, Callable[[Request], str]] = {
            "pause": self._pause,
            "resume": self._resume,
            "stop": self._stop,
            "stop_trial": self._stop_trial,
            "clone": self._clone,
            "raise_budget": self._raise_budget,
        }

    def begin(self) -> None:
        """Answer what was asked while no driver was there, and show the sweep as it stands."""
        self._show()
        for request in self.inbox.read_now():
            if request.action in _OF_THE_MOMENT:
                self._refuse(
                    request, "asked before this driver started; ask again if it still holds"
                )
            else:
                self._do(request)

    def turn(self) -> None:
        """Do what was asked since the last turn."""
        for request in self.inbox.requests():
            self._do(request)

    def last_call(self) -> bool:
        """Whether something was asked just as everything had ended; if so, it was done."""
        requests = self.inbox.read_now()
        for request in requests:
            self._do(request)
        return bool(requests)

    def end(self) -> None:
        """Refuse what comes too late."""
        for request in self.inbox.requests():
            self._refuse(request, "the driver has ended; to go on, run the sweep again")

    # -- one action each -------------------------------------------------------------------------

    def _pause(self, _request: Request) -> str:
        if self.driver.paused:
            raise InputError("the sweep is paused already; resume it, or stop it")
        self.driver.paused = True
        self._show()
        running = len(self.driver.running)
        return f"paused: no further trial starts; {_trials(running)} under way will end"

    def _resume(self, _request: Request) -> str:
        if not self.driver.paused:
            raise InputError("the sweep is not paused; there is nothing to resume")
        self.driver.paused = False
        self._show()
        return "resumed: trials start again"

    def _stop(self, _request: Request) -> str:
        self.driver.stopped = True
        running = len(self.driver.running)
        ended = f"; {_trials(running)} under way will go on from the last checkpoint" * bool(
            running
        )
        return f"stopped{ended}; to go on, give the same `sft-select run` again"

    def _stop_trial(self, request: Request) -> str:
        asked = self._trial(request)
        if (record := self.driver.records.get(asked.number)) is not None:
            raise InputError(
                f"trial {asked.number} has ended already ({record.result.status.value}); only one "
                "that waits or runs can be stopped"
            )
        result = self.driver.end(asked.key, BY_HAND)
        if result.status is Status.PRUNED:
            return f"trial {asked.number} is stopped; it has no result and is never recommended"
        return f"trial {asked.number} ended by itself just before ({result.status.value})"

    def _clone(self, request: Request) -> str:
        driver, source = self.driver, self._trial(request)
        known = [asked for asked in driver.asked if asked.stage == "clone"]
        for asked in known:
            clone = driver.ledger.clone(asked.number)
            if clone is not None and clone.request == request.id:  # before a driver died
                return f"trial {asked.number} is that clone"
        if len(driver.asked) != len(driver.ledger.trials()):
            raise InputError(
                "the study holds trials beyond the present budget; raise the budget, then clone"
            )
        values = cloned_values(driver.sweep.spec, source.values, request.changes)
        key = trial_spec(driver.sweep, values).key
        same = next((asked for asked in driver.asked if asked.key == key), None)
        if same is not None:
            raise InputError(
                f"trial {same.number} has these values already; change another one, or the seed"
            )
        clone_of = driver.add_clone(Clone(values, request.id))
        self._show()
        return (
            f"trial {clone_of.number} is the clone of trial {source.number}; it comes on top of "
            "the budget"
        )

    def _raise_budget(self, request: Request) -> str:
        driver, wanted = self.driver, request.budget
        assert wanted is not None, "a request to raise carries the budget"
        if any(raised.request == request.id for raised in driver.ledger.raised()):
            return "the budget was raised to that before the driver was started anew"
        budget = Budget(trials=wanted.trials, gpu_hours=wanted.gpu_hours)
        present = driver.sweep.spec.budget
        if present is None:
            raise InputError("the sweep has no budget: it ends when its design is done")
        if not exceeds(budget, present):
            raise InputError(
                f"found {_amount(budget)}; allowed: more than {_amount(present)}, as a budget is only "
                "raised; to end earlier, stop the sweep"
            )
        driver.raise_budget(budget, request.id)
        self._show()
        return f"the budget is {_amount(budget)} now, also when the sweep is run again"

    # -- answers ---------------------------------------------------------------------------------

    def _do(self, request: Request) -> None:
        try:
            self._answer(request, accepted=True, words=self._actions[request.action](request))
        except InputError as error:
            self._refuse(request, "; ".join(error.problems))

    def _refuse(self, request: Request, why: str) -> None:
        self._answer(request, accepted=False, words=why)

    def _answer(self, request: Request, *, accepted: bool, words: str) -> None:
        answer = Answer(id=request.id, at=time.time(), accepted=accepted, words=words)
        self.inbox.answer(answer)

    def _trial(self, request: Request) -> Asked:
        """The trial that is meant. InputError where there is none."""
        asked, number = self.driver.asked, request.trial
        assert number is not None, "a request about a trial carries its number"
        if number >= len(asked):
            last = f"0 to {len(asked) - 1}" if asked else "none yet"
            raise InputError(f"found trial {number}; allowed: {last}")
        return asked[number]

    def _show(self) -> None:
        """Show the sweep's state, size, workers and budget in the store."""
        driver, budget = self.driver, self.driver.sweep.spec.budget
        facts: dict[str, object] = {"planned": driver.planned, "workers": driver.engine.slots}
        if budget is not None and budget.trials is not None:
            facts["budget_trials"] = budget.trials
        if budget is not None and budget.gpu_hours is not None:
            facts["budget_gpu_hours"] = budget.gpu_hours
        self.inbox.state("paused" if driver.paused else "running", **facts)


def exceeds(budget: Budget, present: Budget | None) -> bool:
    """Whether *budget* is a larger one of the same kind as *present*."""
    if present is None:
        return False
    if budget.trials is not None and present.trials is not None:
        return budget.trials > present.trials
    if budget.gpu_hours is not None and present.gpu_hours is not None:
        return budget.gpu_hours > present.gpu_hours
    return False


def _amount(budget: Budget) -> str:
    if budget.trials is not None:
        return f"{budget.trials} trials"
    return f"{budget.gpu_hours:g} device hours"


def _trials(number: int) -> str:
    return "1 trial" if number == 1 else f"{number} trials"
