"""One run of a sweep: its lock, study, engine, store, outbox and driver, opened and closed."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal, NamedTuple, NoReturn

from sweeps.preflight import read_checked
from sweeps.profile import kept_profile, profile_once
from sweeps.resolve import ResolvedSweep
from sweeps.search.bounds import SearchBounds
from sweeps.search.control import Control
from sweeps.search.devices import worker_devices
from sweeps.search.driver import Driver
from sweeps.search.engines.engine import Engine
from sweeps.search.engines.local import LocalEngine
from sweeps.search.fit import unfit_points
from sweeps.search.identity import (
    GENERATION_LENGTH,
    Identity,
    compared,
    data_files,
    earlier_digests,
    earlier_lengths,
    extensions_of,
    generation_of,
    write_change,
    write_identity,
)
from sweeps.search.kept import kept_trials, mark_left
from sweeps.search.outbox import Outbox
from sweeps.search.strategies import strategy_of
from sweeps.search.study import StudyAdapter
from sweeps.search.takeover import Takeover
from sweeps.search.workspace import SweepFolder
from tracker.errors import StoreError
from tracker.files import write_text
from tracker.numbers import plural
from tracker.store import data_profile, database_server, exclusion, file_changes, tracking_uri
from tracker.store.journal import Journal
from tracker.store.runs import Undelivered
from tracker.store.store import Store
from tracker.trial import RecordAnswers, TrialRecord

#: How long to wait for the store at the end; what it does not take by then, the next start sends.
_PATIENCE_SECONDS = {"finished": 120.0, "stopped": 30.0, "interrupted": 10.0}
#: From the least to the most.
_RECORDED: tuple[RecordAnswers, ...] = ("none", "hashed", "all")


class SweepRun(NamedTuple):
    """Result of :func:`run_sweep`: all ended trials, and what the next start has to bring to the store.

    ``stopped``: a user stopped it before the sweep was done. ``notes``: warnings, which its answers repeat.
    """

    records: list[TrialRecord]
    undelivered: tuple[Undelivered, ...] = ()
    stopped: bool = False
    notes: tuple[str, ...] = ()


def run_sweep(
    path: Path,
    workspace: Path,
    *,
    store_uri: str | None = None,
    study_uri: str | None = None,
    retry_failed: bool = False,
    watch: Callable[[Driver], None] = lambda _: None,
    note: Callable[[str], None] = lambda _: None,
) -> SweepRun:
    """Run the sweep file at *path*, or resume it where it stopped.

    *retry_failed*: run trials again whose status is failed: their workers died, or an error ended them.
    *watch* is called with the driver in every iteration, *note* with each warning on the sweep file and its
    data. Raises InputError for a bad or changed file, OwnedError when another driver holds the sweep,
    KeyboardInterrupt as it comes: trials that ended before it stay.
    """
    if study_uri:
        where = store_uri or tracking_uri.default_uri(workspace)
        database_server.refuse_one_database(where, study_uri)
    sweep = _read(path, workspace, store_uri, note)
    folder = SweepFolder(workspace, sweep.spec.name)
    bounds = _bounds_of_new(sweep, folder)
    with folder.locked():
        begun = folder.identity is not None
        if words := _recorded_before(sweep, folder):
            note(words)
        with owned_study(sweep, folder, study_uri, note) as (study, identity):
            store = Store.open(workspace, store_uri)
            store.fence(study.is_owned)
            write_text(folder.sweep_file, path.read_text(encoding="utf-8"))
            planned = _leave_out(study, bounds, begun)
            _register(store, sweep, folder, identity.digest, planned)
            # Opened first and closed last: whatever fails in between, the store says that no driver runs.
            with _open_outbox(store, sweep, folder, note) as session:
                if study_uri:
                    _take_results(store, sweep.spec.name, folder)
                if study.is_extended:
                    mark_left(store, sweep, study.max_lengths, None)
                if not begun:  # the store has compared it with what the sweep began with
                    write_identity(folder, identity)
                with _engine(sweep) as engine:
                    parts = sweep, folder, study, engine, session.outbox
                    driver = Driver(
                        *parts,
                        watch=watch,
                        control=Control(session.outbox),
                        retry_failed=retry_failed,
                        take_over=Takeover(folder, keep_models=sweep.spec.keep != "none"),
                    )
                    with closing(driver):
                        driver.run()
                    session.last_state = "stopped" if driver.stopped else "finished"
                    with suppress(StoreError):
                        if study.is_extended and not driver.stopped:
                            mark_left(store, sweep, study.max_lengths, driver.design)
                    records = _marked(driver.records.values(), store, sweep.spec.name)
    return SweepRun(records, session.undelivered, driver.stopped, sweep.warnings)


def _bounds_of_new(sweep: ResolvedSweep, folder: SweepFolder) -> SearchBounds | None:
    """Bounds of a sweep that begins; ``None`` for a begun one, which resumes whatever is left.

    Raises InputError where they leave nothing.
    """
    if folder.begun:
        return None
    bounds = SearchBounds(sweep, unfit=unfit_points(sweep))
    bounds.check()
    return bounds


def _leave_out(study: StudyAdapter, bounds: SearchBounds | None, begun: bool) -> int | None:
    """Leave out of a new *study* what fits no device; the number of trials that it then plans."""
    if bounds is None:
        return None
    study.leave_out(bounds.unfit)
    return None if begun else strategy_of(bounds.sweep, bounds).planned


def _marked(records: Iterable[TrialRecord], store: Store, sweep: str) -> list[TrialRecord]:
    """*records* by number; those that are excluded say why, unless the store is down."""
    ordered = sorted(records, key=lambda record: record.number)
    with suppress(StoreError):
        return exclusion.marked(ordered, store.exclusions(sweep))
    return ordered


def _read(
    path: Path, workspace: Path, store_uri: str | None, note: Callable[[str], None]
) -> ResolvedSweep:
    """Read and check the sweep file, with a *note* for each warning."""
    sweep = read_checked(path, workspace)
    for warning in sweep.warnings:
        note(warning)
    if words := _leaving(sweep, store_uri):
        note(words)
    return sweep


def _leaving(sweep: ResolvedSweep, store_uri: str | None) -> str | None:
    """A line where answers and rows' texts will leave this machine."""
    if sweep.spec.record_answers != "all" or store_uri is None or tracking_uri.is_local(store_uri):
        return None
    return (
        "record_answers: all: answers and texts of rows go to "
        f"{tracking_uri.without_credentials(store_uri)}; `hashed` or `none` in the sweep file keeps them out "
        "of it"
    )


def _recorded_before(sweep: ResolvedSweep, folder: SweepFolder) -> str | None:
    """A line where a begun sweep recorded more of rows and answers than it will from now on."""
    now = sweep.spec.record_answers
    before = kept_profile(folder.root / data_profile.FILE)
    if before is None or _RECORDED.index(before.record_answers) <= _RECORDED.index(now):
        return None
    return (
        f"record_answers: was {before.record_answers}, is {now} from now on; what ended trials recorded "
        f"stays in {folder.root / 'artifacts'} and the tracking store until you delete it"
    )


def _take_results(store: Store, sweep: str, folder: SweepFolder) -> None:
    """Write journals of trials that ended under a driver of another workspace, with this study and store."""
    for record in [*store.records(sweep), *store.excluded(sweep)]:
        key = record.result.spec.key
        events = {event["event"] for event in Journal(folder.journal(key)).events()}
        if not events & {"start", "result"}:
            folder.keep(key, record.result, store.history(sweep, key), record.taken_over)


@contextmanager
def owned_study(
    sweep: ResolvedSweep, folder: SweepFolder, uri: str | None, note: Callable[[str], None]
) -> Iterator[tuple[StudyAdapter, Identity]]:
    """The sweep's study at *uri*, by default in its folder, for its present file; this driver owns it.

    A file that extends the sweep begins a generation of the study. Raises InputError for one that may not.
    """
    identity = compared(sweep, folder)
    uri = uri or f"sqlite:///{folder.study_file.resolve()}"
    generation = generation_of(identity, folder)
    if generation is None and not folder.begun:  # another workspace may have extended it
        with closing(StudyAdapter(uri, sweep.spec, note=note)) as first:
            present = identity.digest[:GENERATION_LENGTH]
            generation = present if first.has_generation(present) else None
    with (
        closing(StudyAdapter(uri, sweep.spec, note=note, generation=generation)) as study,
        study.owned(folder.root),
    ):
        if identity.before is not None:
            _extend(sweep, folder, identity, study, note)
        yield study, identity


def _extend(
    sweep: ResolvedSweep,
    folder: SweepFolder,
    identity: Identity,
    study: StudyAdapter,
    note: Callable[[str], None],
) -> None:
    """Go on with a changed file: the study knows what is kept, then the folder knows the file."""
    new = sweep.models.keys() - (folder.identity or {}).get("models", {}).keys()
    unfit = unfit_points(sweep, new)  # what ran before goes on
    SearchBounds(sweep, unfit=unfit.joined(study.unfit)).check()
    lengths = earlier_lengths(folder)
    kept = kept_trials(sweep, study.stored_trials(), folder, lengths)
    study.leave_out(unfit)
    study.begin_generation(kept, lengths)
    write_change(folder, identity)
    (folder.root / data_profile.FILE).unlink(missing_ok=True)  # its mixes and sizes may be others
    ended = plural(len(study.kept), "trial")
    note(f"the sweep file was changed: {'; '.join(identity.changes)}; {ended} of before are kept")


@dataclass(slots=True)
class _OutboxSession:
    """``last_state``: the sweep's, sent when the outbox closes; ``undelivered``: what was unsent then."""

    outbox: Outbox
    last_state: Literal["finished", "stopped", "interrupted"] = "interrupted"
    undelivered: tuple[Undelivered, ...] = ()


@contextmanager
def _open_outbox(
    store: Store, sweep: ResolvedSweep, folder: SweepFolder, note: Callable[[str], None]
) -> Iterator[_OutboxSession]:
    """An outbox that on exit sends the sweep's last state and waits for the store."""
    outbox = Outbox(store, sweep.spec.name, folder, keep_models=sweep.spec.keep == "all")
    session = _OutboxSession(outbox)
    changes = [each.change for each in extensions_of(folder)]
    facts = {file_changes.FACT_NAME: file_changes.as_fact(changes)} if changes else {}
    # There is a driver: said before anything that may take long.
    outbox.state("running", **facts)
    try:
        yield session
    finally:
        outbox.state(session.last_state)
        session.undelivered = outbox.close(_PATIENCE_SECONDS[session.last_state], note)


@contextmanager
def _engine(sweep: ResolvedSweep) -> Iterator[Engine]:
    settings = sweep.spec.engine
    engine = LocalEngine(
        devices=worker_devices(settings),
        threads=settings.threads,
        hang_seconds=settings.hang_seconds,
    )
    try:
        yield engine
    finally:
        engine.close()


class Terminated(BaseException):
    """SIGTERM arrived."""


class Interruption:
    """SIGINT and SIGTERM as KeyboardInterrupt and Terminated, for as long as it is entered.

    Python swallows an exception that arises in a callback of its own, such as that of a weak reference, and
    prints it: it is kept, raised again by :meth:`check`, and not printed.
    """

    def __init__(self) -> None:
        self.arrived: type[BaseException] | None = None

    def __enter__(self) -> Interruption:
        self._hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        self._before = {
            number: signal.signal(number, self._raise) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        sys.unraisablehook = self._hook

    def check(self) -> None:
        """Raise what arrived, if anything did."""
        if self.arrived is not None:
            raise self.arrived

    def checked(self, watch: Callable[[Driver], None]) -> Callable[[Driver], None]:
        """*watch*, which checks first."""

        def checking(driver: Driver) -> None:
            self.check()
            watch(driver)

        return checking

    def _raise(self, number: int, _frame: FrameType | None) -> NoReturn:
        self.arrived = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        # SQLAlchemy logs, with its traceback, that it cannot close the statement that is cut off here.
        logging.getLogger("sqlalchemy").setLevel(logging.CRITICAL)
        raise self.arrived

    def _unraisable(self, swallowed: sys.UnraisableHookArgs) -> None:
        if not issubclass(swallowed.exc_type, KeyboardInterrupt | Terminated):
            self._hook(swallowed)


def _register(
    store: Store, sweep: ResolvedSweep, folder: SweepFolder, digest: str, planned: int | None
) -> None:
    store.begin_sweep(
        sweep.spec.name,
        spec_text=folder.sweep_file.read_text(encoding="utf-8"),
        spec_digest=digest,
        earlier=earlier_digests(folder),
        planned=planned,
        datasets=data_files(sweep),
        objective=sweep.spec.objective,
        notes=sweep.warnings,
        data=profile_once(sweep, folder.root / data_profile.FILE),
    )
