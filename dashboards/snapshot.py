"""What the dashboard knows of the store: read once, shared by every browser and callback.

A callback never touches the store. It asks the snapshot, which reads in a thread of its own, at most once
per ``interval`` seconds however many pages are open, less often where reading is slow, and keeps the
newest few sweeps. Whoever asks waits a moment for news and then takes what is known. When the store
cannot be read, the last good state stays and ``problem`` says so.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

from dashboards.analysis import PageAnalysis
from tracker.errors import StoreError
from tracker.store.control import ControlRecord
from tracker.store.store import LiveTrial, Store, SweepInfo

_LOG = logging.getLogger(__name__)
#: Sweeps kept in memory; opening another drops the one unused for longest.
MAX_SWEEPS = 4
#: Reading the store may take at most this share of the time: a sweep may need the same cores.
MAX_SHARE = 0.1
#: A running sweep's clock is shown anew this often, in seconds, even if nothing else happened.
CLOCK_STEP = 15


class Patience(NamedTuple):
    """Seconds that a request waits for a reading: with nothing to show yet, and with something."""

    first: float = 1.0
    again: float = 0.1


class SweepView(NamedTuple):
    """One sweep as of ``read_at`` (seconds since the epoch). ``log``: what was asked of it, in order."""

    info: SweepInfo
    analysis: PageAnalysis
    running: tuple[LiveTrial, ...]
    read_at: float
    log: tuple[ControlRecord, ...] = ()

    @property
    def version(self) -> str:
        """Changes when, and only when, something the sweep page shows has changed."""
        clock = int(self.read_at // CLOCK_STEP) if self.info.is_live else 0
        shown = (self.info, self.running, self.analysis.version, self.log, clock)
        return hashlib.sha256(repr(shown).encode()).hexdigest()[:12]


class Snapshot:
    """The shared state, thread-safe. *interval*: seconds between two reads."""

    def __init__(
        self,
        store: Store,
        *,
        interval: float = 2.0,
        clock: Callable[[], float] = time.time,
        patience: Patience = Patience(),  # noqa: B008 - frozen
    ) -> None:
        self._store, self._interval, self._clock = store, interval, clock
        self._patience = patience
        self._lock = threading.Lock()  # of what is being read
        self._one_reader = threading.Lock()
        self._reading: dict[str | None, threading.Event] = {}
        self._infos: tuple[SweepInfo, ...] | None = None
        self._views: OrderedDict[str, SweepView] = OrderedDict()
        self._due: dict[str | None, float] = {}
        self._problem: str | None = None  # of the store
        self._problems: dict[str, str] = {}  # of single sweeps, by name

    def sweeps(self) -> tuple[SweepInfo, ...]:
        """All sweeps, the latest first, as last read."""
        return self._infos or ()

    def view(self, name: str | None, wait: float | None = None) -> SweepView | None:
        """The sweep called *name*, or the latest; ``None`` where there is none, or none read yet.

        *wait*: seconds to wait for a first reading, in place of the patience of a page.
        """
        done = self._begin_reading(name)
        if done is not None:
            known = self._known(name) is not None
            first = self._patience.first if wait is None else wait
            done.wait(self._patience.again if known else first)
        return self._known(name)

    def is_reading(self, name: str | None) -> bool:
        """Whether the sweep called *name* is being read right now."""
        with self._lock:
            return name in self._reading

    def problem(self, name: str | None) -> str | None:
        """Why the sweep called *name*, or the latest, could not be read last; ``None`` where it could."""
        info = self._info(name)
        return self._problem or (self._problems.get(info.name) if info else None)

    def version(self, name: str | None) -> str:
        """What the sweep page compares to know whether to draw again."""
        view = self.view(name)
        names = ",".join(f"{i.name}:{i.state}" for i in self.sweeps())
        return "|".join(
            [view.version if view else self._without(name), names, self.problem(name) or ""]
        )

    def results_version(self, name: str | None) -> str:
        """As :meth:`version`, for the pages that show ended trials alone."""
        view = self.view(name)
        found = view.analysis.version if view else self._without(name)
        return "|".join([found, self.problem(name) or ""])

    def _without(self, name: str | None) -> str:
        return "reading" if self.is_reading(name) else ""

    def _known(self, name: str | None) -> SweepView | None:
        info = self._info(name)
        return self._views.get(info.name) if info else None

    def _info(self, name: str | None) -> SweepInfo | None:
        return next((i for i in self.sweeps() if name in (None, i.name)), None)

    # -- reading ---------------------------------------------------------------------------------

    def _begin_reading(self, name: str | None) -> threading.Event | None:
        """What is set at the end of the reading that is under way, or now begins; ``None`` without."""
        with self._lock:
            if name in self._reading:
                return self._reading[name]
            if self._clock() < self._due.get(name, 0.0):
                return None
            done = self._reading[name] = threading.Event()
        threading.Thread(target=self._read, args=(name, done), name="snapshot", daemon=True).start()
        return done

    def _read(self, name: str | None, done: threading.Event) -> None:
        """Bring the list of sweeps and the sweep *name* up to date."""
        with self._one_reader:
            began, first = self._clock(), self._known(name) is None
            try:
                self._problem = _tried(self._take_sweeps)
                info = self._info(name)
                if self._problem is None and info is not None:
                    self._note(info.name, _tried(lambda: self._take(info)))
            finally:
                # The first reading of a large sweep is no measure of the next.
                took = 0.0 if first else self._clock() - began
                with self._lock:
                    if len(self._due) > 10 * MAX_SWEEPS:  # names that never existed
                        self._due.clear()
                    self._due[name] = self._clock() + max(self._interval, took / MAX_SHARE)
                    del self._reading[name]
                done.set()

    def _take_sweeps(self) -> None:
        found = self._store.sweeps()
        self._infos = tuple(sorted(found, key=lambda i: (i.started_at, i.name), reverse=True))

    def _take(self, info: SweepInfo) -> None:
        known = self._views.get(info.name)
        if known is None:
            self._make_room()
        self._views[info.name] = self._sweep(info, known)
        self._views.move_to_end(info.name)

    def _note(self, name: str, problem: str | None) -> None:
        self._problems.pop(name, None)
        if problem is not None:
            self._problems[name] = problem

    def _sweep(self, info: SweepInfo, known: SweepView | None) -> SweepView:
        """The state of *info*; records are read again only where their counts have changed."""
        running = tuple(self._store.running(info.name)) if info.is_live else ()
        log = tuple(self._store.control_log(info.name))
        if known is not None and known.info.counts == info.counts:
            return SweepView(info, known.analysis, running, self._clock(), log)
        name, objective = info.name, self._store.objective(info.name)
        with settled() if known is None else nullcontext():
            records = self._store.records(name)
        before = known.analysis if known else None
        data = before.data if before else None  # it does not change while a sweep goes on
        data = data or self._store.data_profile(name)
        analysis = PageAnalysis(
            records,
            objective,
            sweep=name,
            notes=self._store.notes(name),
            data=data,
            earlier=before,
        )
        if before is not None and before.version == analysis.version:
            analysis = before  # its laws and its answer still hold
        return SweepView(info, analysis, running, self._clock(), log)

    def _make_room(self) -> None:
        """For one more, before that is read: so that there are never more in memory."""
        while len(self._views) >= MAX_SWEEPS:
            self._views.popitem(last=False)


def _tried(read: Callable[[], None]) -> str | None:
    """What went wrong in *read*, in words; a page must never wait for a thread that has ended."""
    try:
        read()
    except StoreError as error:
        return str(error)
    except Exception as error:
        _LOG.exception("what the tracking store holds could not be read")
        return f"{type(error).__name__}: {error}. This was not foreseen; the terminal says more."
    return None


@contextmanager
def settled() -> Iterator[None]:
    """What is made inside is not looked through again: it is freed as soon as nothing refers to it.

    The records of 10,000 trials are objects by the million, and a full collection over them stops every
    thread for half a second or more. What became garbage in a cycle meanwhile is freed at the next call,
    which looks through everything once: for what is seldom read and large.
    """
    gc.unfreeze()
    gc.collect()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
