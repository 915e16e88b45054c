"""Snapshot of the tracking store: read in a background thread, shared by every browser and callback.

A callback never touches the store. The snapshot reads it at most once per ``interval`` seconds however many
pages are open, less often where reading is slow, and keeps the last few sweeps. A request waits a moment for
a reading and then takes the last state. When the store cannot be read, the last state stays and ``problem``
says why.
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
from tracker.store.exclusion import excluded_of
from tracker.store.store import LiveTrial, Store, SweepInfo

_LOG = logging.getLogger(__name__)
#: Sweeps in memory; opening another drops the one unused for longest.
MAX_SWEEPS = 4
#: Reading the store may take at most this share of the time: a sweep may need the same cores.
MAX_SHARE = 0.1
#: Seconds after which a running sweep's clock is shown anew, even if nothing else happened.
CLOCK_STEP = 15


class Patience(NamedTuple):
    """Seconds that a request waits for a reading: for the first one of a sweep, and for others."""

    first: float = 1.0
    again: float = 0.1


class SweepView(NamedTuple):
    """One sweep as of ``read_at`` (seconds since the epoch). ``log``: its control requests, in order."""

    info: SweepInfo
    analysis: PageAnalysis
    running: tuple[LiveTrial, ...]
    read_at: float
    log: tuple[ControlRecord, ...] = ()

    @property
    def version(self) -> str:
        """Digest of all that the Sweep page shows."""
        clock = int(self.read_at // CLOCK_STEP) if self.info.is_live else 0
        content = (self.info, self.running, self.analysis.version, self.log, clock)
        return hashlib.sha256(repr(content).encode()).hexdigest()[:12]


class Snapshot:
    """The last state of the store, thread-safe. *interval*: seconds between two readings."""

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
        """The sweep called *name*, or the latest; ``None`` where there is none, or it was not read yet.

        *wait*: seconds to wait for a first reading, in place of the patience of a page.
        """
        done = self._begin_reading(name)
        if done is not None:
            first = self._patience.first if wait is None else wait
            done.wait(first if self._last(name) is None else self._patience.again)
        return self._last(name)

    def is_reading(self, name: str | None) -> bool:
        """Whether the sweep called *name* is being read right now."""
        with self._lock:
            return name in self._reading

    def problem(self, name: str | None) -> str | None:
        """Why the last reading of the sweep called *name*, or of the latest, failed, if it did."""
        info = self._info(name)
        return self._problem or (self._problems.get(info.name) if info else None)

    def version(self, name: str | None) -> str:
        """Changes with anything that the Sweep page shows."""
        view = self.view(name)
        names = ",".join(f"{i.name}:{i.state}" for i in self.sweeps())
        return "|".join(
            [view.version if view else self._without(name), names, self.problem(name) or ""]
        )

    def results_version(self, name: str | None) -> str:
        """Changes with the ended trials, for the pages that show them alone."""
        view = self.view(name)
        version = view.analysis.version if view else self._without(name)
        return "|".join([version, self.problem(name) or ""])

    def _without(self, name: str | None) -> str:
        return "reading" if self.is_reading(name) else ""

    def _last(self, name: str | None) -> SweepView | None:
        info = self._info(name)
        return self._views.get(info.name) if info else None

    def _info(self, name: str | None) -> SweepInfo | None:
        return next((i for i in self.sweeps() if name in (None, i.name)), None)

    # -- reading ---------------------------------------------------------------------------------

    def _begin_reading(self, name: str | None) -> threading.Event | None:
        """The event at the end of the reading that is under way or begins now, if one is due."""
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
            began, first = self._clock(), self._last(name) is None
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
        infos = self._store.sweeps()
        self._infos = tuple(sorted(infos, key=lambda i: (i.started_at, i.name), reverse=True))

    def _take(self, info: SweepInfo) -> None:
        last = self._views.get(info.name)
        while last is None and len(self._views) >= MAX_SWEEPS:
            self._views.popitem(last=False)  # before the new one is read: never more are in memory
        self._views[info.name] = self._sweep(info, last)
        self._views.move_to_end(info.name)

    def _note(self, name: str, problem: str | None) -> None:
        self._problems.pop(name, None)
        if problem is not None:
            self._problems[name] = problem

    def _sweep(self, info: SweepInfo, last: SweepView | None) -> SweepView:
        """The state of *info*; records are read again only where their counts have changed."""
        name, store = info.name, self._store
        running = tuple(store.running(name)) if info.is_live else ()
        log = tuple(store.control_log(name))
        now = info.counts, excluded_of(info.facts)
        if last is not None and now == (last.info.counts, excluded_of(last.info.facts)):
            return SweepView(info, last.analysis, running, self._clock(), log)
        earlier = last.analysis if last else None
        data = (earlier and earlier.data) or store.data_profile(name)  # it never changes
        with frozen_from_gc() if last is None else nullcontext():
            excluded = store.excluded(name) if excluded_of(info.facts) else ()
            analysis = PageAnalysis.of_sweep(
                store, name, data=data, earlier=earlier, excluded=excluded
            )
        if earlier is not None and earlier.version == analysis.version:
            analysis = earlier  # its laws and answers are those of the same records
        return SweepView(info, analysis, running, self._clock(), log)


def _tried(read: Callable[[], None]) -> str | None:
    """The error of *read* in words, if it fails; the reading thread must always end well."""
    try:
        read()
    except StoreError as error:
        return str(error)
    except Exception as error:
        _LOG.exception("the tracking store could not be read")
        return f"{type(error).__name__}: {error}. This is a bug; the terminal shows where."
    return None


@contextmanager
def frozen_from_gc() -> Iterator[None]:
    """Objects made inside are left out of garbage collection: reference counts alone free them.

    The records of 10,000 trials are millions of objects, and a full collection over them stops every thread
    for half a second or more. Cycles among them are freed at the next call, which collects everything once:
    use it for large data that is seldom read.
    """
    gc.unfreeze()
    gc.collect()
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()
