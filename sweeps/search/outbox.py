"""Outbox of a sweep: its own thread sends trials to the tracking store and reads users' requests from it.

Training never waits for the store, and no item blocks another for good. A store that is down is tried
again with growing pauses, for as long as the sweep runs. A item that a store refuses which takes others
is set aside, named as undelivered, and sent once more at the end. What is undelivered then, the next start
sends anew, from the journals. While the store is down no request arrives either.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from sweeps.data.mixes import training_steps
from sweeps.search.workspace import SweepFolder
from tracker.errors import OwnedError, RefusedError, StoreError
from tracker.numbers import plural
from tracker.store.control import ControlReply, Request
from tracker.store.journal import Journal
from tracker.store.runs import LIVE, UNDELIVERED, Undelivered
from tracker.store.store import Store, SweepState
from tracker.trial import TrialRecord, TrialResult, TrialSpec

_STEPS_EVERY_SECONDS = 5.0
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
_POLL_EVERY_SECONDS = 2.0  # for requests
_HEARTBEAT_EVERY_SECONDS = 30.0
#: So often a item fails before it is doubted, and not the store.
_TRIES = 3
_WORD_AFTER_SECONDS = 3.0  # of waiting for the store at the end
_STATE = "the sweep's state"


class _Item(NamedTuple):
    """Something to send; ``what``: of which trial, or what else; ``whole``: all that there is of it."""

    number: int  # by the order of queueing
    what: str
    send: Callable[[], None]
    whole: bool


class Outbox:
    """Queue of items for the tracking store; ``problem``: why the store takes none, or not all.

    While the sweep is live its fact ``seen_at``, epoch seconds, is a heartbeat: nothing else in the store
    tells that a driver was killed. The same thread sends it between items, so a single long one delays
    it.

    ``keep_models``: send each trial's tuned model along.
    """

    def __init__(
        self, store: Store, sweep: str, folder: SweepFolder, *, keep_models: bool = False
    ) -> None:
        self.store, self.sweep, self.folder = store, sweep, folder
        self.keep_models = keep_models
        self.problem: str | None = None
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._steps_sent_at: dict[str, float] = {}
        self._unsent: dict[int, _Item] = {}  # by the order of queueing
        self._queued = 0
        self._aside: dict[str, tuple[_Item, str]] = {}  # by ``what``, with why it was refused
        self._named = False  # whether the store names what is undelivered
        self._live_state: SweepState | None = None  # the last state sent, if that is a live one
        self._heartbeat_at = 0.0  # monotonic seconds
        self._closing = threading.Event()
        self._requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self._read_ids: set[str] = set()  # of requests
        self._reading = threading.Lock()
        self._polled_at: float | None = None  # None: nobody takes requests yet
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def stored(self) -> dict[str, TrialResult]:
        """Results that the store holds, by the trial's key; none while it is down."""
        try:
            records = [*self.store.records(self.sweep), *self.store.excluded(self.sweep)]
        except StoreError as error:
            self.problem = str(error)
            return {}
        return {record.result.spec.key: record.result for record in records}

    def begin(self, number: int, stage: str, spec: TrialSpec) -> None:
        """Send that the trial runs: what the store may hold of an earlier end of it is replaced."""
        self._put(
            _trial(number),
            lambda: self.store.begin_trial(
                self.sweep, number, stage, spec, steps=training_steps(spec), again=True
            ),
        )

    def progress(self, number: int, key: str) -> None:
        """Send the trial's learning curve, every few seconds at most."""
        now = time.monotonic()
        if now - self._steps_sent_at.get(key, now - _STEPS_EVERY_SECONDS) >= _STEPS_EVERY_SECONDS:
            self._steps_sent_at[key] = now
            self._put(_trial(number), lambda: self._send_steps(key))

    def end(self, record: TrialRecord) -> None:
        """Send an ended trial: its whole learning curve, result and artifacts."""
        self._put(_trial(record.number), lambda: self._send_end(record), whole=True)

    def state(self, state: SweepState, **facts: object) -> None:
        """Send the sweep's *state*, after all items before it."""
        self._put(_STATE, lambda: self._send_state(state, facts), whole=True)

    def answer(self, answer: ControlReply) -> None:
        """Send the answer to a request."""
        what = f"the answer to request {answer.id}"
        self._put(what, lambda: self.store.add_answer(self.sweep, answer), whole=True)

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

    def close(
        self, patience_seconds: float, note: Callable[[str], None] = lambda _: None
    ) -> tuple[Undelivered, ...]:
        """Wait up to *patience_seconds* for the queue to empty; returns what the store lacks, and why.

        *note* is told where that takes long.
        """
        self._queue.put(None)
        self._thread.join(min(_WORD_AFTER_SECONDS, patience_seconds))
        if self._thread.is_alive() and patience_seconds > _WORD_AFTER_SECONDS:
            why = f" ({self.problem})" if self.problem else ""
            note(f"waiting for the tracking store, up to {patience_seconds:.0f} s{why}")
            self._thread.join(patience_seconds - _WORD_AFTER_SECONDS)
        self._closing.set()
        why = self.problem or "the time to wait for the store was over"
        waiting = dict.fromkeys((item.what for item in list(self._unsent.values())), why)
        return tuple(Undelivered(*each) for each in (waiting | self._refused()).items())

    def _put(self, what: str, send: Callable[[], None], *, whole: bool = False) -> None:
        item = _Item(self._queued, what, send, whole)
        self._unsent[self._queued] = item
        self._queued += 1
        self._queue.put(item)

    # -- the thread ------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            self._poll_requests()
            self._send_heartbeat()
            try:
                item = self._queue.get(timeout=_POLL_EVERY_SECONDS)
            except queue.Empty:
                continue
            if item is None:
                return
            self._deliver(item)

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

    def _deliver(self, item: _Item) -> None:
        """Send *item*, however long the store is down; set it aside where the store refuses it alone."""
        pause, tries = _FIRST_PAUSE_SECONDS, 0
        while (error := self._tried(item)) is not None:
            tries += 1
            refused = isinstance(error, RefusedError) or not isinstance(error, StoreError)
            if not refused and tries >= _TRIES and self._takes_others():
                error = self._tried(item)  # the store may have come back just now
                if error is None:
                    break
                refused = True
            if refused:
                self._set_aside(item, _one_line(error))
                break
            self.problem = _one_line(error)
            if self._closing.wait(pause):
                return
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        if error is None and item.whole:
            self._aside.pop(item.what, None)
        self._unsent.pop(item.number, None)
        self.problem = self._words()

    def _tried(self, item: _Item) -> Exception | None:
        try:
            item.send()
        except OwnedError as error:  # another driver sends the sweep from now on
            self._closing.set()
            return StoreError(str(error))
        except Exception as error:  # nothing may end the thread
            return error
        return None

    def _takes_others(self) -> bool:
        """Whether the store takes something else, if it can be a write: then it is not down."""
        try:
            if self._live_state is None:
                self.store.requests(self.sweep)
            else:
                self._send_state(self._live_state, {})
        except Exception:  # nothing may end the thread
            return False
        return True

    def _set_aside(self, item: _Item, why: str) -> None:
        """Keep *item* for another try at the end, and name it in the store."""
        known = self._aside.get(item.what)
        kept = item if known is None or item.whole else known[0]
        self._aside[item.what] = kept, why
        if self._live_state is not None and item.what != _STATE:
            with contextlib.suppress(Exception):  # the last state names it again
                self._send_state(self._live_state, {})

    def _send_aside(self) -> None:
        """Send once more what was set aside."""
        for item, _ in list(self._aside.values()):
            if item.what != _STATE:
                error = self._tried(item)
                if error is None:
                    del self._aside[item.what]
                else:
                    self._aside[item.what] = item, _one_line(error)

    def _refused(self) -> dict[str, str]:
        return {what: why for what, (_, why) in list(self._aside.items())}

    def _words(self) -> str | None:
        """What the store refuses, in one line."""
        refused = self._refused()
        if not refused:
            return None
        what, why = list(refused.items())[-1]
        others = f", like {plural(len(refused) - 1, 'other')}," if len(refused) > 1 else ""
        return f"{what}{others} is set aside: {why}"

    def _send_state(self, state: SweepState, facts: Mapping[str, object]) -> None:
        live = state in LIVE
        if not live:
            self._send_aside()
        sent = dict(facts)
        if live:
            sent["seen_at"] = round(time.time())
        if self._aside or self._named or not live:
            sent[UNDELIVERED] = Undelivered.as_text(self._refused())
        self.store.set_sweep_state(self.sweep, state, **sent)
        self._named = bool(self._aside)
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
        steps, artifacts = Journal(self.folder.journal(key)).steps(), self.folder.artifacts(key)
        self.store.send_trial(self.sweep, record, steps, artifacts if artifacts.exists() else None)
        model = self.folder.model(key)
        if self.keep_models and model.exists():
            self.store.keep_model(self.sweep, key, model)


def _trial(number: int) -> str:
    return f"trial {number}"


def _one_line(error: Exception) -> str:
    """The error's message as one line; before it the type of one that is not ours."""
    message = " ".join(str(error).split())
    return message if isinstance(error, StoreError) else f"{type(error).__name__}: {message}"
