"""Study adapter: the sweep's trials and their states in an Optuna study, with ask and tell.

One writer. Ask is idempotent: all of a trial's values are sampled before the first of them is stored, by a
sampler that is seeded by the proposal's index, and are stored as a whole; a trial that was half stored when
the driver died gets the same values.

Users' requests are stored here too, so that a resumed sweep is the same: clones as failed trials, which no
sampler learns from, and raised budgets with the proposal before which they were raised.

A sweep whose file was changed goes on in a generation: an Optuna study of its own beside the first, which
knows the trials that it keeps of the earlier ones. A trial has a place in each of these studies, and one
number in the whole sweep, by which people know it.
"""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.study import Study
from optuna.trial import FixedTrial, FrozenTrial, Trial, TrialState, create_trial

from sweeps.resolve import ResolvedSweep
from sweeps.search.bounds import SearchBounds, Unfit, kept_names
from sweeps.search.generations import (
    APART_BY,
    CLONE,
    CLONED,
    KEY,
    NUMBER,
    REQUEST,
    SEED_GIVEN,
    VALUES,
    KeptTrial,
    StoredTrial,
    kept_as_data,
    kept_of_data,
    qualified,
    stored_trial,
)
from sweeps.search.lease import Lease
from sweeps.search.space import (
    hyperparameters,
    is_complete,
    method_names,
    methods_of,
    model_names,
    untouched_base,
)
from sweeps.search.storage import Guard, open_storage
from sweeps.search.strategies.strategy import Proposal
from sweeps.spec import SweepSpec
from tracker.errors import StoreError
from tracker.trial import Configuration, MethodSpec, TrialSpec

#: Seed of samplers, beside the trial's number.
SEED = 20_240_229
#: Values that a bound forbids are sampled again, up to _SAMPLES times: the first _LEARNED by what was
#: learned, then at random, from _AT_RANDOM on at given points. Seeds of repetitions are _APART.
_SAMPLES, _LEARNED, _AT_RANDOM, _APART = 200, 10, 100, 1_000_003
#: Names of attributes in the study.
_BOUNDS, _UNFIT = "bounds", "unfit"
_RAISED, _RETRIED = "raised", "retried"
_NUMBERING, _KEPT, _LENGTHS = "numbering", "kept", "max_lengths"

Method = TypeVar("Method", bound=Callable[..., Any])


class PlannedTrial(NamedTuple):
    """A trial of the study at ``place``; ``number``: in the whole sweep, the place until its file changes.

    ``seed`` counts from the sweep's first, that of ``spec`` does not.
    """

    place: int
    number: int
    stage: str
    configuration: Configuration
    seed: int
    spec: TrialSpec
    key: str


class Clone(NamedTuple):
    """A trial that a user requested, outside of the strategy; ``request``: the request's id."""

    configuration: Configuration
    seed: int
    request: str


class BudgetChange(NamedTuple):
    """A raised budget: ``trials`` or ``gpu_hours`` from proposal ``since`` on; ``request``: its id."""

    since: int
    trials: int | None
    gpu_hours: float | None
    request: str


class ProposalSampler(BaseSampler):
    """Optuna sampler of a proposal: proposed values are fixed, *inner* samples the others."""

    def __init__(self, inner: BaseSampler, fixed: Mapping[str, Any], *, free: bool) -> None:
        self.inner, self.fixed, self.free = inner, fixed, free

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Search space of *inner*, unless every value is fixed."""
        return self.inner.infer_relative_search_space(study, trial) if self.free else {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Joint sample of *inner*, of the values that are not fixed."""
        if not self.free:
            return {}
        chosen = self.inner.sample_relative(study, trial, search_space)
        return {name: value for name, value in chosen.items() if name not in self.fixed}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The fixed value, else a sample of *inner*."""
        if param_name in self.fixed:
            return self.fixed[param_name]
        return self.inner.sample_independent(study, trial, param_name, param_distribution)


class _DraftTrial:
    """A trial whose suggested values are not stored.

    Optuna stores each value as it is suggested. A driver killed between two of them would restart its
    sampler, which then gives the first values of its stream to the parameters that are left.
    """

    def __init__(self, study: Study, trial: FrozenTrial, sampler: BaseSampler) -> None:
        self.study, self.trial, self.sampler = study, trial, sampler
        space = sampler.infer_relative_search_space(study, trial)
        self.joint = sampler.sample_relative(study, trial, space)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Sample a choice, as :meth:`optuna.trial.Trial.suggest_categorical`."""
        return self._sampled(name, CategoricalDistribution(choices))

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Sample a number, as :meth:`optuna.trial.Trial.suggest_float`."""
        return float(self._sampled(name, FloatDistribution(low, high, log=log)))

    def _sampled(self, name: str, distribution: CategoricalDistribution | FloatDistribution) -> Any:
        if distribution.single():  # without a sampler, as in Optuna
            if isinstance(distribution, CategoricalDistribution):
                return distribution.choices[0]
            return distribution.low
        if name in self.joint:
            return self.joint[name]
        return self.sampler.sample_independent(self.study, self.trial, name, distribution)


def _guarded(method: Method) -> Method:
    """Repeat *method* while the study's database does not answer: it must be one that may be repeated."""

    @functools.wraps(method)
    def guarded(self: StudyAdapter, *args: Any, **kwargs: Any) -> Any:
        return self.guard(lambda: method(self, *args, **kwargs))

    return cast(Method, guarded)


class StudyAdapter:
    """Optuna study of one sweep at a storage URI (SQLite or Postgres), in memory for ``None``.

    Samplers are seeded by *seed*, the sweep's first seed and the trial's number. Every call but
    :meth:`close` goes through ``guard``: it may wait, and raises StoreError where the database does not
    answer at all. *note* is called with each wait while it is opened. *generation*: of the sweep's file,
    where that was changed since it was begun.
    """

    def __init__(
        self,
        uri: str | None,
        spec: SweepSpec,
        seed: int = SEED,
        note: Callable[[str], None] = lambda _: None,
        generation: str | None = None,
    ) -> None:
        optuna.logging.set_verbosity(logging.WARNING)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        self.spec, self.seed = spec, seed + spec.first_seed
        self.name = f"{spec.name}{APART_BY}{generation}" if generation else spec.name
        self.guard = Guard(uri, note)
        self._lease: Lease | None = None
        try:
            self._storage = InMemoryStorage() if uri is None else open_storage(uri, self.guard)
            self.study = self.guard(self._created)
        except StoreError:
            raise
        except Exception as error:
            reason = " ".join(str(error).split())[:200]
            raise StoreError(
                f"study {spec.name}: cannot open its storage ({reason}); check --study-uri, "
                "which needs a database of its own beside the tracking store's"
            ) from error

    def _created(self) -> Study:
        """The sweep's study, made where there is none."""
        study = optuna.create_study(
            storage=self._storage,
            study_name=self.name,
            direction="maximize",
            load_if_exists=True,
        )
        if not study.get_trials(deepcopy=False):
            study.set_user_attr(_BOUNDS, kept_names(self.spec))
        return study

    @property
    def begun_before_bounds(self) -> bool:
        """Whether the sweep was begun when the search kept bounds on forgetting alone."""
        return self.bounds is None

    @property
    @_guarded
    def bounds(self) -> list[str] | None:
        """Constraints that the search kept when it began; ``None`` where it did not keep all yet."""
        return self.study.user_attrs.get(_BOUNDS)

    @property
    @_guarded
    def unfit(self) -> Unfit:
        """Settings that the sweep left out when it began, or when its file grew: they fit no device."""
        kept = (study.user_attrs.get(_UNFIT) for study in self._all_studies())
        return functools.reduce(Unfit.joined, (Unfit(*each) for each in kept if each), Unfit())

    @_guarded
    def leave_out(self, unfit: Unfit) -> None:
        """Leave *unfit* out of a study that has no trial yet; one that has keeps its design."""
        if unfit.needs and not self.study.get_trials(deepcopy=False):
            self.study.set_user_attr(_UNFIT, [unfit.available, dict(unfit.needs)])

    def close(self) -> None:
        """Close the storage's connections, and with them SQLite's side files."""
        if isinstance(self._storage, RDBStorage):
            self._storage.engine.dispose()

    @contextmanager
    def owned(self, root: Path) -> Iterator[None]:
        """Own the study, for the driver that holds the lock of the sweep's folder *root*.

        OwnedError, naming the owner, while a driver of another workspace owns it.
        """
        if not isinstance(self._storage, RDBStorage):
            yield
            return
        lease = Lease(self._storage, self.spec.name, root)
        self.guard(lambda: lease.take(self.guard.note))
        self._lease = lease
        try:
            yield
        finally:
            lease.release()

    def is_owned(self) -> bool:
        """Whether this driver certainly owns the study; OwnedError once another has taken it over."""
        return self._lease is None or self._lease.check()

    @_guarded
    def trials(self) -> list[FrozenTrial]:
        """All trials by number."""
        return self.study.get_trials(deepcopy=False)

    @_guarded
    def ask(
        self,
        number: int,
        proposal: Proposal,
        index: int | None = None,
        may_run: Callable[[Configuration], bool] = lambda _: True,
        fallback: Sequence[Configuration] = (),
    ) -> Configuration:
        """Store trial *number* with the proposal's values; Optuna samples those that it leaves open.

        *index*: number of the proposal among the strategy's, *number* where no clones came between.
        *may_run*: values that it refuses are sampled again, later at random, at last at one of the design
        points *fallback*.
        """
        nothing = RandomSampler(self.seed)  # the inner sampler where all is fixed
        self.study.sampler = ProposalSampler(nothing, {}, free=False)
        if number >= len(self.trials()):
            self.study.ask()
        frozen = self.trials()[number]
        if SEED_GIVEN in frozen.user_attrs:
            stored = _suggest(FixedTrial(frozen.params), self.spec, proposal)
            return configuration_of(self.spec, stored)
        trial = Trial(self.study, frozen._trial_id)
        sampled: dict[str, Any] | None = frozen.user_attrs.get(VALUES)
        if sampled is None:
            at = number if index is None else index
            sampled = self._sample(frozen, at, proposal, may_run, fallback)
            trial.set_user_attr(VALUES, sampled)
        self.study.sampler = ProposalSampler(nothing, _study_names(sampled), free=False)
        values = _suggest(trial, self.spec, proposal)
        trial.set_user_attr("stage", proposal.stage)
        # Last: with the seed the trial is stored whole.
        trial.set_user_attr(SEED_GIVEN, values["seed"])
        return configuration_of(self.spec, values)

    def _sample(
        self,
        frozen: FrozenTrial,
        index: int,
        proposal: Proposal,
        may_run: Callable[[Configuration], bool],
        fallback: Sequence[Configuration],
    ) -> dict[str, Any]:
        """Sample all of a trial's values; nothing is stored."""
        fixed = proposal.configuration is not None and is_complete(proposal.configuration.method)
        for again in range(1 if fixed else _SAMPLES):
            if again >= _AT_RANDOM and proposal.configuration is None and fallback:
                point = fallback[(index + again) % len(fallback)]
                proposal = proposal._replace(configuration=point)
            sampler = self._sampler(index + again * _APART, proposal, at_random=again >= _LEARNED)
            sampled = _suggest(_DraftTrial(self.study, frozen, sampler), self.spec, proposal)
            if may_run(configuration_of(self.spec, sampled)):
                break
        return sampled

    # -- generations -----------------------------------------------------------------------------

    @_guarded
    def begin_generation(self, kept: Sequence[KeptTrial], max_lengths: Sequence[int]) -> None:
        """Go on with the present file of the sweep, from now on; may be repeated.

        *kept* and *max_lengths* (those of earlier files whose trials are kept) count where this study has no
        trial yet. New trials are numbered after those of all studies.
        """
        here, stored = self.trials(), self.stored_trials()
        after = 1 + max((trial.number for trial in stored), default=-1)
        if not here:
            every = [each for study in self._all_studies() for each in _raises(study)]
            raised = {each.request: [*each._replace(since=0)] for each in every}
            self.study.set_user_attr(_RAISED, list(raised.values()))
            self.study.set_user_attr(_LENGTHS, list(max_lengths))
            self.study.set_user_attr(_KEPT, [kept_as_data(trial) for trial in kept])
        self.study.set_user_attr(_NUMBERING, [len(here), after])

    @property
    @_guarded
    def is_extended(self) -> bool:
        """Whether the sweep's file was changed since the sweep was begun."""
        return _NUMBERING in self.study.user_attrs

    @property
    @_guarded
    def kept(self) -> tuple[KeptTrial, ...]:
        """Trials that this generation keeps of earlier ones."""
        return tuple(kept_of_data(data) for data in self.study.user_attrs.get(_KEPT, ()))

    @property
    @_guarded
    def max_lengths(self) -> tuple[int, ...]:
        """Maximal lengths of earlier files of the sweep, with which kept trials were run."""
        return tuple(self.study.user_attrs.get(_LENGTHS, ()))

    @_guarded
    def number(self, place: int, key: str, wanted: int | None = None) -> int:
        """Number in the sweep of the trial *key* at *place*; of a new one *wanted*, or the next."""
        since, _ = self.study.user_attrs.get(_NUMBERING, (None, 0))
        trial = self.trials()[place]
        if NUMBER in trial.user_attrs:
            return int(trial.user_attrs[NUMBER])
        if since is None or place < since:
            return place
        number = self._next_number(place) if wanted is None else wanted
        for name, value in ((KEY, key), (NUMBER, number)):  # with the number both are there
            self._storage.set_trial_user_attr(trial._trial_id, name, value)
        return number

    def _next_number(self, place: int) -> int:
        since, first = self.study.user_attrs[_NUMBERING]
        numbers = (trial.user_attrs.get(NUMBER, -1) for trial in self.trials()[since:place])
        return int(max(first, 1 + max(numbers, default=-1)))

    @_guarded
    def stored_trials(self) -> list[StoredTrial]:
        """Trials of all the sweep's studies, by number; one that a later study keeps is there again."""
        stored = (
            stored_trial(study.study_name, trial)
            for study in self._all_studies()
            for trial in study.get_trials(deepcopy=False)
        )
        return sorted(filter(None, stored), key=lambda trial: (trial.number, trial.study))

    @_guarded
    def has_generation(self, generation: str) -> bool:
        """Whether the sweep went on with the file of *generation*, here or in another workspace."""
        names = optuna.get_all_study_names(self._storage)
        return f"{self.spec.name}{APART_BY}{generation}" in names

    def _all_studies(self) -> list[Study]:
        """The studies of the sweep, one for each file that it had."""
        names = sorted(optuna.get_all_study_names(self._storage))
        return [
            optuna.load_study(study_name=name, storage=self._storage)
            for name in names
            if name.partition(APART_BY)[0] == self.spec.name
        ]

    # -- users' requests -------------------------------------------------------------------------

    @_guarded
    def add_clone(self, clone: Clone, key: str, number: int | None = None) -> None:
        """Store the trial *key* outside of the strategy, at the next place; a request's once.

        *number*: in the sweep, where it is not the next.
        """
        trials = self.study.get_trials(deepcopy=False)
        if any(trial.user_attrs.get(REQUEST) == clone.request for trial in trials):
            return  # by a try whose end was not known
        values = study_values(self.spec, clone.configuration, clone.seed)
        attributes: dict[str, Any] = {"stage": CLONE, CLONED: values, REQUEST: clone.request}
        if _NUMBERING in self.study.user_attrs:
            free = self._next_number(len(trials))
            attributes |= {KEY: key, NUMBER: free if number is None else number}
        self.study.add_trial(create_trial(state=TrialState.FAIL, user_attrs=attributes))

    @_guarded
    def clone(self, number: int) -> Clone | None:
        """The clone with *number*; ``None`` where there is no such trial or it is no clone."""
        trials = self.trials()
        attributes = trials[number].user_attrs if number < len(trials) else {}
        if CLONED not in attributes:
            return None
        values = attributes[CLONED]
        return Clone(configuration_of(self.spec, values), values["seed"], attributes[REQUEST])

    @_guarded
    def raise_budget(self, raised: BudgetChange) -> None:
        """Store a raised budget; a request's is stored once."""
        if any(each.request == raised.request for each in self.raised()):
            return  # by a try whose end was not known
        earlier = [list(each) for each in self.raised()]
        self.study.set_user_attr(_RAISED, [*earlier, list(raised)])

    @_guarded
    def retry(self, number: int, since: int) -> None:
        """Store that trial *number*, which failed, is run again; its state here stays.

        *since*: number of proposals that were made before, of which some may depend on the failure.
        """
        self.study.set_user_attr(_RETRIED, {**self._retries(), str(number): since})

    @_guarded
    def retried(self) -> dict[int, int]:
        """Failed trials that were run again, each with the number of proposals made before."""
        return {int(number): since for number, since in self._retries().items()}

    def _retries(self) -> dict[str, int]:
        return dict(self.study.user_attrs.get(_RETRIED, {}))

    @_guarded
    def raised(self) -> list[BudgetChange]:
        """All raised budgets, in order."""
        return _raises(self.study)

    @_guarded
    def tell(self, number: int, quality: float | None, constraints: Mapping[str, float]) -> None:
        """Store the quality of trial *number*, ``None`` for one without a score; idempotent."""
        frozen = self.trials()[number]
        if frozen.state.is_finished():
            return
        trial = Trial(self.study, frozen._trial_id)
        for name, excess in constraints.items():
            trial.set_constraint(name, excess)
        if quality is None:
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            self.study.tell(trial, quality)

    def _sampler(
        self, index: int, proposal: Proposal, *, at_random: bool = False
    ) -> ProposalSampler:
        """A sampler seeded by the index: its sample depends on the trials in the study, not on time.

        *at_random*: ignore what was learned, which may point again and again to what a bound forbids.
        """
        choice, seed = proposal.configuration, self.seed + index
        fixed = {}
        if choice is not None:
            fixed = _study_names(study_values(self.spec, choice, proposal.seed))
        if at_random or self.spec.search.strategy != "tpe":
            return ProposalSampler(RandomSampler(seed), fixed, free=True)
        inner = TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)
        return ProposalSampler(inner, fixed, free=choice is None)


def _raises(study: Study) -> list[BudgetChange]:
    return [BudgetChange(*each) for each in study.user_attrs.get(_RAISED, [])]


def begun_bounds(file: Path, sweep: ResolvedSweep) -> SearchBounds | None:
    """Bounds that the sweep of the SQLite study *file* began with; ``None`` where there is no study yet.

    Nothing is created.
    """
    if not file.exists():
        return None
    with closing(StudyAdapter(f"sqlite:///{file.resolve()}", sweep.spec)) as study:
        return SearchBounds(sweep, legacy=study.begun_before_bounds, unfit=study.unfit)


def study_values(spec: SweepSpec, configuration: Configuration, seed: int) -> dict[str, Any]:
    """Values of a trial as the study stores them, by name; without what its method leaves open."""
    values: dict[str, Any] = {"seed": seed, "model": configuration.model}
    method = configuration.method
    if configuration.untouched:
        return values | {"method": "none"}
    values |= {"method": method.name, "mix": configuration.mix, "volume": configuration.volume}
    if method == MethodSpec(name=method.name):
        return values
    return values | {name: getattr(method, name) for name in hyperparameters(spec, method.name)}


def configuration_of(spec: SweepSpec, values: Mapping[str, Any]) -> Configuration:
    """The configuration of a trial that the study stores as *values*."""
    if values["method"] == "none":
        return untouched_base(values["model"])
    settings = {name: values[name] for name in hyperparameters(spec, values["method"])}
    method = MethodSpec(name=values["method"], **settings)
    return Configuration(values["model"], method, values["mix"], values["volume"])


def _suggest(
    trial: Trial | FixedTrial | _DraftTrial, spec: SweepSpec, proposal: Proposal
) -> dict[str, Any]:
    """Suggest all values of a trial (define by run); an untouched base has a model and a seed alone."""
    values: dict[str, Any] = {"seed": proposal.seed}
    values["model"] = trial.suggest_categorical("model", model_names(spec))
    if proposal.configuration is not None and proposal.configuration.untouched:
        return values | {"method": "none"}
    methods = methods_of(spec, values["model"])
    name = "method" if methods == method_names(spec) else f"method/{values['model']}"
    method = trial.suggest_categorical(name, methods)
    mix = trial.suggest_categorical("mix", list(spec.mixes))
    volumes = spec.volumes_of(mix)
    name = "volume" if volumes == spec.volumes else f"volume/{mix}"
    values |= {"method": method, "mix": mix, "volume": trial.suggest_categorical(name, volumes)}
    for setting, distribution in hyperparameters(spec, method).items():
        parameter = qualified(values["model"], method, setting)
        if isinstance(distribution, FloatDistribution):
            low, high, log = distribution.low, distribution.high, distribution.log
            values[setting] = trial.suggest_float(parameter, low, high, log=log)
        else:
            assert isinstance(distribution, CategoricalDistribution)
            values[setting] = trial.suggest_categorical(parameter, distribution.choices)
    return values


def _study_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """Fixed values by the names of Optuna's parameters."""
    names = {name: value for name, value in values.items() if name in ("model", "method", "mix")}
    if "method" in values:
        names[f"method/{values['model']}"] = values["method"]
    if "mix" in values:
        names |= {"volume": values["volume"], f"volume/{values['mix']}": values["volume"]}
    settings = values.keys() - {"model", "method", "mix", "volume", "seed"}
    for name in settings:
        names[qualified(values["model"], values["method"], name)] = values[name]
    return names
