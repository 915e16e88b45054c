"""Trials that a sweep keeps when its file is changed: they have ended, and are part of the new design.

They are found by their place in the search space and by the key of their content, have the numbers that they
had, and never run again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from sweeps.data.encoding import evaluation_rows, suite_text, training_stream
from sweeps.data.prompts import Encoded
from sweeps.resolve import ResolvedSweep
from sweeps.search.contract import Results
from sweeps.search.generations import KeptTrial, StoredTrial
from sweeps.search.space import in_space, is_complete, trial_spec
from sweeps.search.strategies.strategy import Proposal, Strategy
from sweeps.search.study import StudyAdapter
from sweeps.search.workspace import SweepFolder
from tracker.errors import InputError
from tracker.numbers import plural
from tracker.store.exclusion import LEFT
from tracker.store.store import Store
from tracker.trial import Configuration, TrialSpec


class KeptTrials:
    """Trials that a sweep whose file was changed keeps, by key in ``trials``, in *study*'s generation.

    ``observed``: how many are the first proposals of *strategy*.
    """

    def __init__(self, study: StudyAdapter, sweep: ResolvedSweep, strategy: Strategy) -> None:
        self.study, self.sweep = study, sweep
        self.extended = study.is_extended
        self.trials: dict[str, KeptTrial] = {each.key: each for each in study.kept}
        self.lengths = study.max_lengths
        self._seconds: dict[str, float] = {}
        self.observed = 0
        if strategy.observes_kept:
            observed = [each for each in self.proposed if strategy.knows(each.configuration)]
            strategy.keep(
                [Proposal(each.stage, each.configuration, each.seed) for each in observed]
            )
            self.observed = len(strategy.kept)

    @property
    def proposed(self) -> list[KeptTrial]:
        """Those that the strategy proposed: what users requested comes on top of any budget."""
        return [each for each in self.trials.values() if each.request is None]

    def has(self, proposal: Proposal | None) -> bool:
        """Whether *proposal* is a trial that is kept."""
        if proposal is None or proposal.configuration is None:
            return False
        if not is_complete(proposal.configuration.method):
            return False
        spec = trial_spec(self.sweep, proposal.configuration, proposal.seed)
        return self.as_run(spec).key in self.trials

    def as_run(self, spec: TrialSpec) -> TrialSpec:
        """*spec*, with the maximal length with which a kept trial like it was run."""
        for length in self.lengths:
            run = with_length(spec, length)
            if run.key in self.trials:
                return run
        return spec

    def seconds(self, key: str, results: Results) -> float:
        """Device seconds that the trial *key* took of this sweep; 0 while it has not ended."""
        if key not in self._seconds:
            result, origin = results.result(key), results.taken_over(key)
            if result is None:
                return 0.0
            here = origin is None or origin.sweep == self.sweep.spec.name
            self._seconds[key] = (result.cost.device_seconds or 0.0) if here else 0.0
        return self._seconds[key]

    def number(self, place: int, key: str) -> int:
        """Number in the sweep of the trial *key* at *place* of the study."""
        if not self.extended:
            return place
        kept = self.trials.get(key)
        return self.study.number(place, key, kept and kept.number)


def kept_trials(
    sweep: ResolvedSweep, stored: Sequence[StoredTrial], folder: SweepFolder, lengths: Iterable[int]
) -> list[KeptTrial]:
    """Trials among *stored* that the design of *sweep* has, begun or ended, in that order.

    *lengths*: ``train.max_length`` of earlier files. Raises InputError where one of them cut a row of a trial
    that ended: with a larger one that trial would have learned or answered another row.
    """
    present = sweep.spec.train.max_length
    every = [present, *(length for length in lengths if length < present)]
    kept: dict[str, KeptTrial] = {}
    shorter: list[TrialSpec] = []
    for trial, spec in _specs(sweep, stored):
        runs = [with_length(spec, length) for length in every]
        begun = next((run for run in runs if _begun(run, present, folder)), None)
        if begun is None and not trial.is_observed:
            continue
        run = (
            begun or spec
        )  # it ended with a quality, so it ran: under another key, by other scores
        if run is not spec:
            shorter.append(run)
        if run.key not in kept or trial.key == run.key:
            kept[run.key] = KeptTrial(
                run.key,
                trial.number if begun else None,
                trial.stage,
                trial.configuration,
                run.seed - sweep.spec.first_seed if run.mix else 0,
                run.train.max_length,
                trial.request,
            )
    _check_uncut(shorter, present)
    return list(kept.values())


def _begun(run: TrialSpec, present: int, folder: SweepFolder) -> bool:
    """Whether the sweep began *run*; with an earlier maximal length, whether it ended it."""
    if not folder.journal(run.key).exists():
        return False
    return run.train.max_length == present or folder.result(run.key) is not None


def mark_left(
    store: Store, sweep: ResolvedSweep, lengths: Sequence[int], design: Collection[str] | None
) -> None:
    """Exclude the trials in *store* that the present file no longer has, and count those that are back.

    They stay recorded. *lengths*: of earlier files; *design*: keys of its whole design, where that is known.
    """
    name = sweep.spec.name
    every = [sweep.spec.train.max_length, *lengths]
    for record in [*store.records(name), *store.excluded(name)]:
        why, marked = _left(sweep, record.result.spec, every, design), record.excluded
        if why is not None and marked is None:
            store.exclude(name, record, f"{LEFT}{why}")
        elif why is None and marked is not None and marked.startswith(LEFT):
            store.include(name, record)


def _left(
    sweep: ResolvedSweep, spec: TrialSpec, lengths: Iterable[int], design: Collection[str] | None
) -> str | None:
    """Why the present file does not have the trial *spec*; ``None`` where it has."""
    configuration = Configuration.of(spec)
    if not in_space(sweep.spec, configuration):
        return f"the sweep file no longer has {configuration.label}"
    seed = max(0, spec.seed - sweep.spec.first_seed)
    run = trial_spec(sweep, configuration, seed)
    if not any(with_length(run, length).key == spec.key for length in lengths):
        return "a score of the sweep file is another now"
    if design is not None and spec.key not in design:
        return "the present sweep file proposes it no longer"
    return None


def with_length(spec: TrialSpec, length: int) -> TrialSpec:
    """*spec* with another ``train.max_length``."""
    if spec.train.max_length == length:
        return spec
    return spec.model_copy(update={"train": spec.train.model_copy(update={"max_length": length})})


def _specs(
    sweep: ResolvedSweep, stored: Iterable[StoredTrial]
) -> Iterator[tuple[StoredTrial, TrialSpec]]:
    """Trials that the search space of *sweep* has, as it would run them."""
    keys: set[tuple[str, str]] = set()
    for trial in stored:
        if not in_space(sweep.spec, trial.configuration):
            continue
        spec = trial_spec(sweep, trial.configuration, trial.seed)
        while trial.request is None and (trial.study, spec.key) in keys:  # as the driver does
            spec = spec.model_copy(update={"seed": spec.seed + 1})
        keys.add((trial.study, spec.key))
        yield trial, spec


def _check_uncut(specs: Iterable[TrialSpec], present: int) -> None:
    """InputError where a row of a trial was cut; of nested training sets the largest is looked at."""
    largest: dict[tuple[str, str, int, int], TrialSpec] = {}
    for spec in specs:
        mix = spec.mix.name if spec.mix else ""
        group = (spec.model.name, mix, spec.seed, spec.train.max_length)
        if group not in largest or largest[group].volume < spec.volume:
            largest[group] = spec
    for spec in largest.values():
        cut = sum(row.truncated for row in _rows(spec))
        if cut:
            raise InputError(
                f"train.max_length: raised from {spec.train.max_length} to {present}, and trials of "
                f"{spec.model.name} that ended had {plural(cut, 'row')} cut, so they would not be "
                f"comparable; restore {spec.train.max_length}, or give the sweep another `name`"
            )


def _rows(spec: TrialSpec) -> Iterator[Encoded]:
    """Encoded rows that the trial was trained and evaluated on."""
    if spec.mix is not None:
        method = spec.method.model_copy(update={"epochs": 1})
        once = spec.model_copy(update={"method": method})
        yield from training_stream(once)
    for task in spec.tasks:
        yield from evaluation_rows(task, task.validation, spec).encoded
    for suite in spec.general:
        if suite.text is not None:
            yield from suite_text(suite.text, spec).encoded
        elif suite.task is not None:
            yield from evaluation_rows(suite.task, suite.task.validation, spec).encoded
