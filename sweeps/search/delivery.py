"""Carries what journals hold to the tracking store, in a thread of its own.

Training never waits for the store: a store that is down is tried again with growing pauses, in order, and
what is still undelivered at the end is delivered by the next start, from the journals.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from sweeps.search.folder import SweepFolder
from tracker.errors import StoreError
from tracker.record.journal import Journal
from tracker.record.store import Store
from tracker.record.trial import TrialRecord, TrialSpec

_STEPS_EVERY_SECONDS = 5.0
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0


class _Parcel(NamedTuple):
    what: str
    deliver: Callable[[], None]


class Delivery:
    """One sweep's deliveries; ``problem`` is the store's last refusal while one stands.

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
        self._undelivered = 0
        self._closing = threading.Event()
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
        self._send("begin", lambda: self.store.begin_trial(self.sweep, number, stage, spec))

    def progress(self, key: str) -> None:
        """The trial moved: its learning curve is sent, every few seconds at most."""
        now = time.monotonic()
        if now - self._sent_steps_at.get(key, now - _STEPS_EVERY_SECONDS) >= _STEPS_EVERY_SECONDS:
            self._sent_steps_at[key] = now
            self._send("steps", lambda: self._steps(key))

    def end(self, record: TrialRecord) -> None:
        """The trial has ended: its whole curve, result and records."""
        self._send("end", lambda: self._end(record))

    def state(self, send: Callable[[], None]) -> None:
        """Anything else that must come after what was sent before it."""
        self._send("state", send)

    def close(self, patience_seconds: float) -> int:
        """Wait for deliveries, up to *patience_seconds*; returns how many were left for the next start."""
        self._parcels.put(None)
        self._thread.join(patience_seconds)
        self._closing.set()
        return self._undelivered if self._thread.is_alive() else 0

    def _send(self, what: str, deliver: Callable[[], None]) -> None:
        self._undelivered += 1
        self._parcels.put(_Parcel(what, deliver))

    def _run(self) -> None:
        while (parcel := self._parcels.get()) is not None:
            pause = _FIRST_PAUSE_SECONDS
            while not self._delivered(parcel):
                if self._closing.wait(pause):
                    return
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            self._undelivered -= 1

    def _delivered(self, parcel: _Parcel) -> bool:
        try:
            parcel.deliver()
        except StoreError as error:
            self.problem = str(error)
            return False
        self.problem = None
        return True

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
