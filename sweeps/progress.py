"""Progress of a running sweep: a live display at a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sweeps.data.mixes import training_steps
from sweeps.search.control import facts_of
from sweeps.standing import best_trial, label_of, spending_line
from sweeps.terminal import step_words
from tracker.numbers import quality
from tracker.spending import Spending, tally
from tracker.trial import Status, TrialRecord

if TYPE_CHECKING:
    from sweeps.search.driver import Driver
    from sweeps.search.study import PlannedTrial

_PLAIN_EVERY_SECONDS = 30.0
_WAITING_EVERY_SECONDS = 10.0
_NAMED = 8  # running trials that a plain line names


class LiveProgress:
    """Redraws counts, ETA, the best so far, what runs, and failures, in place."""

    def __init__(self, console: Console) -> None:
        self.live = Live(console=console, refresh_per_second=4, transient=False)

    def __enter__(self) -> LiveProgress:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def __call__(self, driver: Driver) -> None:
        """Draw the driver's present state."""
        self.live.update(self._rendered(driver))

    def _rendered(self, driver: Driver) -> Group:
        done, planned = len(driver.records), driver.planned
        head = Text.assemble(
            (driver.sweep.spec.name, "bold"),
            f"  {done} of {planned} trials",
        )
        spent = Text(spending_line(_spending(driver), live=True))
        bar = Table.grid()  # a bar of its own ends no line
        bar.add_row(ProgressBar(total=planned, completed=done, width=60))
        parts: list[object] = [head, bar, spent]
        best = best_trial(driver.records.values(), driver.sweep.spec.objective)
        if best:
            parts.append(Text(best.line(), style="green"))
        parts.append(_running_table(driver))
        problems = failure_lines(driver)
        parts += [Text(line, style="yellow") for line in problems[-3:]]
        if driver.study.guard.problem:
            guard = driver.study.guard
            parts.append(Text(f"{guard.name}: {guard.problem}", style="yellow"))
        if driver.listener.problem:
            parts.append(Text(f"store: {driver.listener.problem}", style="yellow"))
        return Group(*parts)  # type: ignore[arg-type]


class PlainProgress:
    """A line per ended trial, and every half minute one on the whole sweep."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.shown: set[int] = set()
        self.spoke = self.summarised = time.monotonic()
        self.already: int | None = None
        self.waiting = False  # for the study's database
        self.problem: str | None = None  # the store's, as last said

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __call__(self, driver: Driver) -> None:
        """Say what ended since the last call."""
        if self.already is None:
            self.already = len(driver.records)
            if self.already:
                ended = f"{self.already} of {driver.planned} trials have ended"
                taken = sum(r.taken_over is not None for r in driver.records.values())
                self._say(f"resuming: {ended}{f', {taken} of them taken over' if taken else ''}")
            self.shown |= set(driver.records)
        for number in sorted(set(driver.records) - self.shown):
            self.shown.add(number)
            line = trial_line(driver, driver.records[number])
            self._say(f"[{len(self.shown)}/{driver.planned}] {line}")
        self._say_study(driver)
        if driver.listener.problem != self.problem:
            self.problem = driver.listener.problem
            self._say(f"store: {self.problem or 'takes results again'}")
        if time.monotonic() - self.summarised > _PLAIN_EVERY_SECONDS:
            self.summarised = time.monotonic()
            self._say(_summary(driver))

    def _say_study(self, driver: Driver) -> None:
        """Say that the study's database does not answer, every few seconds, and that it does again."""
        guard, silent = driver.study.guard, time.monotonic() - self.spoke
        if guard.problem and (not self.waiting or silent > _WAITING_EVERY_SECONDS):
            self._say(f"{guard.name}: {guard.problem}; {len(driver.running)} running")
        elif self.waiting and not guard.problem:
            self._say(f"{guard.name}: answers again")
        self.waiting = guard.problem is not None

    def _say(self, line: str) -> None:
        self.spoke = time.monotonic()
        print(line, file=self.stream, flush=True)


def progress(stream: TextIO) -> LiveProgress | PlainProgress:
    """The display that fits *stream*."""
    console = Console(file=stream)
    return LiveProgress(console) if console.is_terminal else PlainProgress(stream)


def trial_line(driver: Driver, record: TrialRecord) -> str:
    """One ended trial in one line."""
    result, measured = record.result, driver.quality(record)
    outcome = f"{result.status.value}: {result.reason}"
    if measured is not None:
        outcome = f"quality {quality(measured)}"
    seconds = result.cost.device_seconds
    took = "" if seconds is None else f" in {seconds:.1f} s"
    if record.taken_over is not None:
        how = "scored anew" if record.taken_over.rescored else "taken over"
        took = f", {how} from {record.taken_over.sweep}"
    return f"{label_of(record)}: {outcome}{took}"


def _summary(driver: Driver) -> str:
    """What runs, what has ended, what it cost and the best so far in one line."""
    running = [
        f"trial {trial.number} {step_words(driver.steps.get(key, (0, {}))[0], training_steps(trial.spec))}"
        for key, trial in list(driver.running.items())[:_NAMED]
    ]
    more = len(driver.running) - len(running)
    parts = [
        f"{len(driver.records)} of {driver.planned} ended",
        ", ".join([*running, *([f"{more} more"] if more > 0 else [])]) or "none running",
        spending_line(_spending(driver), live=True),
    ]
    best = best_trial(driver.records.values(), driver.sweep.spec.objective)
    return "; ".join([*parts, *([best.line()] if best else [])])


def failure_lines(driver: Driver) -> list[str]:
    """How many trials did not complete, by status, and the last reason of each."""
    ended = [driver.records[n].result for n in sorted(driver.records)]
    failed = [r for r in ended if r.status is not Status.COMPLETE]
    reasons = {r.status: r.reason for r in failed}
    return [
        f"{count} {status.value}: {escape(reasons[status] or '')}"
        for status, count in Counter(r.status for r in failed).items()
    ]


def _running_table(driver: Driver) -> Table:
    table = Table.grid(padding=(0, 2))
    for key, trial in list(driver.running.items()):
        step, values = driver.steps.get(key, (0, {}))
        loss = values.get("train/loss")
        table.add_row(
            "·",
            _label(trial),
            step_words(step, training_steps(trial.spec)),
            f"loss {loss:.3f}" if loss is not None else "",
        )
    return table


def _label(trial: PlannedTrial) -> str:
    """The configuration of a trial, and its seed."""
    configuration = trial.configuration
    seed = "" if configuration.untouched else f", seed {trial.spec.seed}"
    return f"{configuration.label}{seed}"


def _spending(driver: Driver) -> Spending:
    facts = {name: str(value) for name, value in facts_of(driver).items()}
    return Spending.of(tally(list(driver.records.values())), facts, driver.planned)
