"""Control of a running sweep: requests to pause, stop, clone a trial or raise the budget, each answered."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from sweeps.search.driver import Driver, exceeds
from sweeps.search.generations import CLONE
from sweeps.search.space import hyperparameters, methods_of, model_names, trial_spec
from sweeps.search.study import Clone, PlannedTrial
from sweeps.spec import Budget, SweepSpec
from tracker.errors import InputError
from tracker.numbers import plural
from tracker.price import no_price
from tracker.store.control import Action, ControlReply, Request
from tracker.store.store import SweepState
from tracker.trial import Configuration, MethodSpec, Status
from tracker.validation import did_you_mean, options, unknown

BY_HAND = "stopped by hand"
#: Requests for the driver that runs as they are made, not for one that starts later.
_FOR_THIS_DRIVER: frozenset[Action] = frozenset({"pause", "resume", "stop"})
_DESIGN = ("model", "method", "mix", "volume", "seed")
_MOST_SEEDS = 1_000_000


class Inbox(Protocol):
    """Users' requests to a running sweep, and the answers to them."""

    def requests(self) -> list[Request]:
        """Requests made since the last call; never waits."""

    def read_now(self) -> list[Request]:
        """As :meth:`requests`, up to this moment: for when no trial runs."""

    def answer(self, answer: ControlReply) -> None:
        """Answer a request."""

    def state(self, state: SweepState, **facts: object) -> None:
        """Show the sweep in this state, with *facts*."""


class Control:
    """Carries out the requests of *inbox*: the :class:`~sweeps.search.driver.RequestHandler` of a sweep."""

    driver: Driver

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self._actions: dict[Action, Callable[[Request], str]] = {
            "pause": self._pause,
            "resume": self._resume,
            "stop": self._stop,
            "stop_trial": self._stop_trial,
            "clone": self._clone,
            "raise_budget": self._raise_budget,
        }

    def begin(self, driver: Driver) -> None:
        """Carry out the requests made while no driver ran, and show the sweep's state."""
        self.driver = driver
        self._show()
        for request in self.inbox.read_now():
            if request.action in _FOR_THIS_DRIVER:
                self._refuse(
                    request, "made before this driver started; if still wanted, request it again"
                )
            else:
                self._carry_out(request)

    def poll(self) -> None:
        """Carry out the requests made since the last call."""
        for request in self.inbox.requests():
            self._carry_out(request)

    def last_poll(self) -> bool:
        """Carry out requests made just as the last trial ended; whether there were any."""
        requests = self.inbox.read_now()
        for request in requests:
            self._carry_out(request)
        return bool(requests)

    def end(self) -> None:
        """Refuse requests that come after the last trial."""
        for request in self.inbox.requests():
            self._refuse(request, "the driver has ended; to go on, run the sweep again")

    # -- actions ---------------------------------------------------------------------------------

    def _pause(self, _request: Request) -> str:
        if self.driver.paused:
            raise InputError("the sweep is paused already; resume it, or stop it")
        self.driver.paused = True
        self._show()
        running = len(self.driver.running)
        return f"paused: no further trial starts; {plural(running, 'trial')} under way will end"

    def _resume(self, _request: Request) -> str:
        if not self.driver.paused:
            raise InputError("the sweep is not paused; there is nothing to resume")
        self.driver.paused = False
        self._show()
        return "resumed: trials start again"

    def _stop(self, _request: Request) -> str:
        self.driver.stopped = True
        running = len(self.driver.running)
        cut = f"; {plural(running, 'trial')} under way will go on from the last checkpoint"
        return f"stopped{cut if running else ''}; to go on, give the same `sft-select run` again"

    def _stop_trial(self, request: Request) -> str:
        trial = self._trial(request)
        if (record := self.driver.records.get(trial.place)) is not None:
            raise InputError(
                f"trial {trial.number} has ended already ({record.result.status.value}); only one "
                "that is queued or runs can be stopped"
            )
        result = self.driver.end(trial.key, BY_HAND)
        if result.status is Status.PRUNED:
            return f"trial {trial.number} is stopped; it has no result and is never recommended"
        return f"trial {trial.number} ended by itself just before ({result.status.value})"

    def _clone(self, request: Request) -> str:
        driver, source = self.driver, self._trial(request)
        for trial in driver.trials:
            clone = driver.study.clone(trial.place) if trial.stage == CLONE else None
            if clone is not None and clone.request == request.id:  # before a driver died
                return f"trial {trial.number} is that clone"
        if len(driver.trials) != len(driver.study.trials()):
            raise InputError(
                "the study holds trials beyond the present budget; raise the budget, then clone"
            )
        changed = cloned(driver.sweep.spec, source.configuration, source.seed, request.changes)
        key = trial_spec(driver.sweep, *changed).key
        same = next((trial for trial in driver.trials if trial.key == key), None)
        if same is not None:
            raise InputError(
                f"trial {same.number} has these values already; change another one, or the seed"
            )
        added = driver.add_clone(Clone(*changed, request.id))
        self._show()
        return (
            f"trial {added.number} is the clone of trial {source.number}; it comes on top of "
            "the budget"
        )

    def _raise_budget(self, request: Request) -> str:
        driver, wanted = self.driver, request.budget
        assert wanted is not None, "a request to raise the budget carries it"
        if any(raised.request == request.id for raised in driver.study.raised()):
            return "the budget was raised to that before this driver started"
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

    def _carry_out(self, request: Request) -> None:
        try:
            self._answer(request, accepted=True, words=self._actions[request.action](request))
        except InputError as error:
            self._refuse(request, "; ".join(error.problems))

    def _refuse(self, request: Request, why: str) -> None:
        self._answer(request, accepted=False, words=why)

    def _answer(self, request: Request, *, accepted: bool, words: str) -> None:
        answer = ControlReply(id=request.id, at=time.time(), accepted=accepted, words=words)
        self.inbox.answer(answer)

    def _trial(self, request: Request) -> PlannedTrial:
        """The trial that *request* names. Raises InputError where there is none."""
        trials, number = self.driver.trials, request.trial
        assert number is not None, "a request about a trial carries its number"
        found = next((trial for trial in trials if trial.number == number), None)
        if found is None:
            last = max((trial.number for trial in trials), default=None)
            allowed = "none yet" if last is None else f"0 to {last}"
            if self.driver.study.is_extended:
                allowed += ", of the design of the present sweep file"
            raise InputError(f"found trial {number}; allowed: {allowed}")
        return found

    def _show(self) -> None:
        """Show the sweep's state, size, workers and budget in the store."""
        state: SweepState = "paused" if self.driver.paused else "running"
        self.inbox.state(state, **facts_of(self.driver))


def facts_of(driver: Driver) -> dict[str, object]:
    """Size, workers, budget and price of the driver's sweep, as the store keeps them."""
    spec = driver.sweep.spec
    budget, price = spec.budget, spec.price
    facts: dict[str, object] = {"planned": driver.planned, "workers": driver.engine.slots}
    facts |= no_price() if price is None else price.as_fact()
    if budget is not None and budget.trials is not None:
        facts["budget_trials"] = budget.trials
    if budget is not None and budget.gpu_hours is not None:
        facts["budget_gpu_hours"] = budget.gpu_hours
    return facts


def _amount(budget: Budget) -> str:
    if budget.trials is not None:
        return f"{budget.trials} trials"
    return f"{budget.gpu_hours:g} device hours"


# -- a clone: a trial with changed values, all of them values of the sweep's own search space ---------------


def cloned(
    spec: SweepSpec, source: Configuration, seed: int, changes: Mapping[str, str]
) -> tuple[Configuration, int]:
    """Configuration and seed of a clone: *source* and *seed* with *changes*, given as text.

    ``seed`` among the changes is as trials show it. A setting that the new method has too keeps its value
    where that is one of the new method's; other settings of the new method must be among the changes,
    unless they have one choice. Raises InputError with every problem: what was found, and what the sweep
    allows.
    """
    wanted = dict(changes)
    problems: list[str] = []

    def take(name: str, read: Callable[[str], Any], before: Any) -> Any:
        text = wanted.pop(name, None)
        if text is None and before is not None:
            return before
        try:
            return read("" if text is None else text)
        except ValueError as error:
            found = "nothing" if text is None else repr(text)
            problems.append(f"{name}: found {found}; allowed: {error}")
            return None

    model = take("model", _one_of(model_names(spec)), source.model)
    before = None if source.untouched else source.method.name
    method = take("method", _one_of(methods_of(spec, model)), before)
    mix = take("mix", _one_of(spec.mixes), source.mix or None)
    if problems:
        raise InputError(problems)
    volumes = spec.volumes_of(mix)
    kept = source.volume if source.volume in volumes else None
    volume = take("volume", _one_of(volumes), kept)
    seed = take("seed", _seed(spec.first_seed), seed)
    space = hyperparameters(spec, method)
    settings = {
        name: take(name, _setting(distribution), _kept(distribution, getattr(source.method, name)))
        for name, distribution in space.items()
    }
    problems += [unknown(name, [*_DESIGN, *space]) for name in wanted]
    if problems:
        raise InputError(problems)
    return Configuration(model, MethodSpec(name=method, **settings), mix, volume), seed


def _one_of(known: Iterable[Any]) -> Callable[[str], Any]:
    """A parser of the text of one of *known*."""
    by_text = {str(each): each for each in known}

    def read(text: str) -> Any:
        if text not in by_text:
            raise ValueError(options(by_text) + did_you_mean(text, by_text))
        return by_text[text]

    return read


def _seed(first: int) -> Callable[[str], int]:
    """A parser of a seed as trials show it; within the sweep seeds are counted from its *first*."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not 0 <= int(text) - first < _MOST_SEEDS:
            raise ValueError(f"a whole number from {first} to {first + _MOST_SEEDS - 1}")
        return int(text) - first

    return read


def _setting(distribution: BaseDistribution) -> Callable[[str], Any]:
    """A parser of a hyper-parameter: a number in its search range, or one of its choices."""
    if isinstance(distribution, CategoricalDistribution):
        return _one_of(distribution.choices)
    assert isinstance(distribution, FloatDistribution)
    low, high = distribution.low, distribution.high

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"a number from {low:g} to {high:g}")
        return value

    return read


def _kept(distribution: BaseDistribution, before: Any) -> Any:
    """The value of the clone where none is given; ``None`` where one must be."""
    if isinstance(distribution, CategoricalDistribution):
        choices = distribution.choices
        if len(choices) == 1:
            return choices[0]
        return before if before in choices else None
    assert isinstance(distribution, FloatDistribution)
    return (
        before if before is not None and distribution.low <= before <= distribution.high else None
    )
