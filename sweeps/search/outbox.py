"""Outbox of a sweep: its own thread sends trials to the tracking store and reads users' requests from it.

Training never waits for the store: a store that is down is tried again with growing pauses, in order, and
what is unsent at the end is sent by the next start, from the journals. While the store is down no request
arrives either. An item that fails for another reason than the store would fail again: it is set aside and
counted as unsent.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping

from sweeps.search.workspace import SweepFolder
from tracker.errors import StoreError
from tracker.store.control import ControlReply, Request
from tracker.store.journal import Journal
from tracker.store.runs import LIVE
from tracker.store.store import Store, SweepState
from tracker.trial import TrialRecord, TrialSpec

_STEPS_EVERY_SECONDS = 5.0
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
_POLL_EVERY_SECONDS = 2.0  # for requests
_HEARTBEAT_EVERY_SECONDS = 30.0
_Item = Callable[[], None]


class Outbox:
    """Queue of items for the tracking store; ``problem``: why the store takes none at present.

    While the sweep is live its fact ``seen_at``, epoch seconds, is a heartbeat: nothing else in the store
    tells that a driver was killed. The same thread sends it between items, so a single long item delays
    it.

    ``keep_models``: send each trial's tuned model along.
    """

    def __init__(
        self, store: Store, sweep: str, folder: SweepFolder, *, keep_models: bool = False
    ) -> None:
        self.store, self.sweep, self.folder = store, sweep, folder
        self.keep_models = keep_models
        self.problem: str | None = None
        self._items: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._steps_sent_at: dict[str, float] = {}
        self._queued = self._sent = 0  # numbers of items; each is counted by one thread alone
        self._set_aside: str | None = None  # why the last one was that will not be tried again
        self._live_state: SweepState | None = None  # the last state sent, if that is a live one
        self._heartbeat_at = 0.0  # monotonic seconds
        self._closing = threading.Event()
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._read_ids: set[str] = set()  # of requests
        self._reading = threading.Lock()
        self._polled_at: float | None = None  # None: nobody takes requests yet
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def stored_keys(self) -> set[str]:
        """Keys of the trials whose results the store holds; none while it is down."""
        try:
            return {record.result.spec.key for record in self.store.records(self.sweep)}
        except StoreError as error:
            self.problem = str(error)
            return set()

    def begin(self, number: int, stage: str, spec: TrialSpec) -> None:
        """Send that the trial runs."""
        self._put(lambda: self.store.begin_trial(self.sweep, number, stage, spec))

    def progress(self, key: str) -> None:
        """Send the trial's learning curve, every few seconds at most."""
        now = time.monotonic()
        if now - self._steps_sent_at.get(key, now - _STEPS_EVERY_SECONDS) >= _STEPS_EVERY_SECONDS:
            self._steps_sent_at[key] = now
            self._put(lambda: self._send_steps(key))

    def end(self, record: TrialRecord) -> None:
        """Send an ended trial: its whole learning curve, result and artifacts."""
        self._put(lambda: self._send_end(record))

    def state(self, state: SweepState, **facts: object) -> None:
        """Send the sweep's *state*, after all items before it."""
        self._put(lambda: self._send_state(state, facts))

    def answer(self, answer: ControlReply) -> None:
        """Send the answer to a request."""
        self._put(lambda: self.store.add_answer(self.sweep, answer))

    def requests(self) -> list[Request]:
        """Requests made since the last call, as of some seconds ago; never waits."""
        requests = []
        with contextlib.suppress(queue.Empty):
            while True:
                requests.append(self._requests.get_nowait())
        return requests

    def read_now(self) -> list[Request]:
        """All requests not returned yet, read from the store now; none while it is down.

        From the first call on, the thread polls the store for requests every few seconds.
        """
        return [*self.requests(), *self._new_requests()]

    def close(self, patience_seconds: float) -> int:
        """Wait up to *patience_seconds* for the queue to empty; returns how many items are unsent."""
        self._items.put(None)
        self._thread.join(patience_seconds)
        self._closing.set()
        return self._queued - self._sent

    def _put(self, item: _Item) -> None:
        self._queued += 1
        self._items.put(item)

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self._poll_requests()
            self._send_heartbeat()
            try:
                item = self._items.get(timeout=_POLL_EVERY_SECONDS)
            except queue.Empty:
                continue
            if item is None:
                return
            pause = _FIRST_PAUSE_SECONDS
            while not self._send(item):
                if self._closing.wait(pause):
                    return
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _poll_requests(self) -> None:
        """Read new requests from the store, if it is time to."""
        last = self._polled_at
        if last is not None and time.monotonic() - last >= _POLL_EVERY_SECONDS:
            for request in self._new_requests():
                self._requests.put(request)

    def _new_requests(self) -> list[Request]:
        with self._reading:
            self._polled_at = time.monotonic()
            try:
                requests = self.store.requests(self.sweep)
            except Exception as error:  # nothing may end the thread
                self.problem = _one_line(error)
                return []
            new = [request for request in requests if request.id not in self._read_ids]
            self._read_ids |= {request.id for request in new}
            return new

    def _send(self, item: _Item) -> bool:
        """Send *item*; False if the store is down. An item that fails otherwise is set aside."""
        try:
            item()
        except StoreError as error:
            self.problem = str(error)
            return False
        except Exception as error:  # nothing may end the thread
            self._set_aside = _one_line(error)
        else:
            self._sent += 1
        self.problem = self._set_aside
        return True

    def _send_state(self, state: SweepState, facts: Mapping[str, object]) -> None:
        live = state in LIVE
        heartbeat = {"seen_at": round(time.time())} if live else {}
        self.store.set_sweep_state(self.sweep, state, **facts, **heartbeat)
        self._live_state, self._heartbeat_at = state if live else None, time.monotonic()

    def _send_heartbeat(self) -> None:
        """Send that there is a driver, if it is time to; where the store is down, the next one will do."""
        idle = time.monotonic() - self._heartbeat_at
        if self._live_state is None or idle < _HEARTBEAT_EVERY_SECONDS:
            return
        self._heartbeat_at = time.monotonic()
        try:
            self._send_state(self._live_state, {})
        except Exception as error:  # nothing may end the thread
            self.problem = _one_line(error)

    def _send_steps(self, key: str) -> None:
        self.store.log_steps(self.sweep, key, Journal(self.folder.journal(key)).steps())

    def _send_end(self, record: TrialRecord) -> None:
        key = record.result.spec.key
        # The run must exist before its steps, and must be closed after them.
        self.store.begin_trial(self.sweep, record.number, record.stage, record.result.spec)
        self._send_steps(key)
        artifacts = self.folder.artifacts(key)
        self.store.end_trial(self.sweep, record, artifacts if artifacts.exists() else None)
        model = self.folder.model(key)
        if self.keep_models and model.exists():
            self.store.keep_model(self.sweep, key, model)


def _one_line(error: Exception) -> str:
    """The error's message as one line; before it the type of one that is not ours."""
    message = " ".join(str(error).split())
    return message if isinstance(error, StoreError) else f"{type(error).__name__}: {message}"
