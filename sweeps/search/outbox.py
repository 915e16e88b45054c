"""Carries what journals hold to the tracking store, and what is asked there back, in its own thread.

Training never waits for the store: a store that is down is tried again with growing pauses, in order, and
what is still undelivered at the end is delivered by the next start, from the journals. While it is down
nothing can be asked of the sweep either. What fails for another reason than the store would fail again: it is
set aside and counted as undelivered.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping

from sweeps.search.workspace import SweepFolder
from tracker.errors import StoreError
from tracker.store.control import Answer, Request
from tracker.store.journal import Journal
from tracker.store.runs import LIVE
from tracker.store.store import Store, SweepState
from tracker.trial import TrialRecord, TrialSpec

_STEPS_EVERY_SECONDS = 5.0
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
_LOOK_EVERY_SECONDS = 2.0  # for requests
_SEEN_EVERY_SECONDS = 30.0
_Parcel = Callable[[], None]


class Outbox:
    """One sweep's deliveries; ``problem`` is the store's last refusal while one stands.

    While the sweep is live its fact ``seen_at``, epoch seconds, is kept fresh: after a driver is killed
    nothing else in the store says so. It comes from the same thread, between deliveries, so a single long
    one holds it up.

    ``keep_models``: send each trial's tuned model along.
    """

    def __init__(
        self, store: Store, sweep: str, folder: SweepFolder, *, keep_models: bool = False
    ) -> None:
        self.store, self.sweep, self.folder = store, sweep, folder
        self.keep_models = keep_models
        self.problem: str | None = None
        self._parcels: queue.SimpleQueue[_Parcel | None] = queue.SimpleQueue()
        self._sent_steps_at: dict[str, float] = {}
        self._sent = self._done = 0  # parcels; each is counted by one thread alone
        self._set_aside: str | None = None  # why the last one was that will not be tried again
        self._live: SweepState | None = None  # what the store was told last, if that is live
        self._seen_at = 0.0  # monotonic seconds, when it was told so
        self._closing = threading.Event()
        self._proposed: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._taken: set[str] = set()  # ids of requests that were handed over
        self._looking = threading.Lock()
        self._looked_at: float | None = None  # None: nobody takes requests yet
        self._thread = threading.Thread(target=self._run, name="delivery", daemon=True)
        self._thread.start()

    def delivered(self) -> set[str]:
        """Keys of the trials whose results the store holds; none while it cannot be asked."""
        try:
            return {record.result.spec.key for record in self.store.records(self.sweep)}
        except StoreError as error:
            self.problem = str(error)
            return set()

    def begin(self, number: int, stage: str, spec: TrialSpec) -> None:
        """The trial is under way."""
        self._send(lambda: self.store.begin_trial(self.sweep, number, stage, spec))

    def progress(self, key: str) -> None:
        """The trial moved: its learning curve is sent, every few seconds at most."""
        now = time.monotonic()
        if now - self._sent_steps_at.get(key, now - _STEPS_EVERY_SECONDS) >= _STEPS_EVERY_SECONDS:
            self._sent_steps_at[key] = now
            self._send(lambda: self._steps(key))

    def end(self, record: TrialRecord) -> None:
        """The trial has ended: its whole curve, result and records."""
        self._send(lambda: self._end(record))

    def state(self, state: SweepState, **facts: object) -> None:
        """The sweep is in *state*, after all that was sent before."""
        self._send(lambda: self._state(state, facts))

    def answer(self, answer: Answer) -> None:
        """What became of a request."""
        self._send(lambda: self.store.answer(self.sweep, answer))

    def requests(self) -> list[Request]:
        """What was asked since the last call, as of some seconds ago; never waits."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._proposed.get_nowait())
        return found

    def read_now(self) -> list[Request]:
        """What was asked and not handed over yet; nothing while the store cannot be asked.

        From the first call on, the store is looked at for requests every few seconds.
        """
        return [*self.requests(), *self._look()]

    def close(self, patience_seconds: float) -> int:
        """Wait for deliveries, up to *patience_seconds*; returns how many were left for the next start."""
        self._parcels.put(None)
        self._thread.join(patience_seconds)
        self._closing.set()
        return self._sent - self._done

    def _send(self, parcel: _Parcel) -> None:
        self._sent += 1
        self._parcels.put(parcel)

    def _run(self) -> None:
        while True:
            self._look_again()
            self._say_seen()
            try:
                parcel = self._parcels.get(timeout=_LOOK_EVERY_SECONDS)
            except queue.Empty:
                continue
            if parcel is None:
                return
            pause = _FIRST_PAUSE_SECONDS
            while not self._delivered(parcel):
                if self._closing.wait(pause):
                    return
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _look_again(self) -> None:
        """Hand over what was asked meanwhile, if it is time to look."""
        last = self._looked_at
        if last is not None and time.monotonic() - last >= _LOOK_EVERY_SECONDS:
            for request in self._look():
                self._proposed.put(request)

    def _look(self) -> list[Request]:
        with self._looking:
            self._looked_at = time.monotonic()
            try:
                found = self.store.requests(self.sweep)
            except Exception as error:  # nothing may end the thread
                self.problem = _words(error)
                return []
            new = [request for request in found if request.id not in self._taken]
            self._taken |= {request.id for request in new}
            return new

    def _delivered(self, parcel: _Parcel) -> bool:
        """Whether *parcel* is done with: taken by the store, or set aside."""
        try:
            parcel()
        except StoreError as error:
            self.problem = str(error)
            return False
        except Exception as error:  # nothing may end the thread
            self._set_aside = _words(error)
        else:
            self._done += 1
        self.problem = self._set_aside
        return True

    def _state(self, state: SweepState, facts: Mapping[str, object]) -> None:
        live = state in LIVE
        seen = {"seen_at": round(time.time())} if live else {}
        self.store.set_sweep_state(self.sweep, state, **facts, **seen)
        self._live, self._seen_at = state if live else None, time.monotonic()

    def _say_seen(self) -> None:
        """Say that there is a driver, if it is time to; a store that is down hears it the next time."""
        if self._live is None or time.monotonic() - self._seen_at < _SEEN_EVERY_SECONDS:
            return
        self._seen_at = time.monotonic()
        try:
            self._state(self._live, {})
        except Exception as error:  # nothing may end the thread
            self.problem = _words(error)

    def _steps(self, key: str) -> None:
        self.store.log_steps(self.sweep, key, Journal(self.folder.journal(key)).steps())

    def _end(self, record: TrialRecord) -> None:
        key = record.result.spec.key
        # The run must exist before its steps, and must be closed after them.
        self.store.begin_trial(self.sweep, record.number, record.stage, record.result.spec)
        self._steps(key)
        artifacts = self.folder.artifacts(key)
        self.store.end_trial(self.sweep, record, artifacts if artifacts.exists() else None)
        model = self.folder.model(key)
        if self.keep_models and model.exists():
            self.store.keep_model(self.sweep, key, model)


def _words(error: Exception) -> str:
    """The error in one line; one that is not ours says its type too."""
    words = " ".join(str(error).split())
    return words if isinstance(error, StoreError) else f"{type(error).__name__}: {words}"
