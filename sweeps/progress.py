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

from sweeps.terminal import duration
from tracker.numbers import quality
from tracker.trial import Status, TrialRecord

if TYPE_CHECKING:
    from sweeps.search.driver import Driver
    from sweeps.search.study import PlannedTrial

_PLAIN_EVERY_SECONDS = 30.0
_WAITING_EVERY_SECONDS = 10.0


class LiveProgress:
    """Redraws counts, ETA, the best so far, what runs, and failures, in place."""

    def __init__(self, console: Console) -> None:
        self.started = time.monotonic()
        self.already: int | None = None
        self.live = Live(console=console, refresh_per_second=4, transient=False)

    def __enter__(self) -> LiveProgress:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def __call__(self, driver: Driver) -> None:
        """Draw the driver's present state."""
        if self.already is None:
            self.already = len(driver.records)
        self.live.update(self._rendered(driver))

    def _rendered(self, driver: Driver) -> Group:
        done, planned = len(driver.records), driver.planned
        head = Text.assemble(
            (driver.sweep.spec.name, "bold"),
            f"  {done} of {planned} trials",
            f"  {_budget(driver)}",
            f"  {_eta(done - (self.already or 0), planned - done, self.started)}",
        )
        bar = Table.grid()  # a bar of its own ends no line
        bar.add_row(ProgressBar(total=planned, completed=done, width=60))
        parts: list[object] = [head, bar]
        best = best_line(driver)
        if best:
            parts.append(Text(best, style="green"))
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
    """A line per ended trial, and one in between when nothing ends for a while."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.shown: set[int] = set()
        self.started = time.monotonic()
        self.spoke = time.monotonic()
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
                self._say(f"resuming: {self.already} of {driver.planned} trials have ended")
            self.shown |= set(driver.records)
        for number in sorted(set(driver.records) - self.shown):
            self.shown.add(number)
            done = len(self.shown)
            eta = _eta(done - self.already, driver.planned - done, self.started)
            self._say(
                f"[{done}/{driver.planned}] {trial_line(driver, driver.records[number])}  {eta}"
            )
        self._say_study(driver)
        if driver.listener.problem != self.problem:
            self.problem = driver.listener.problem
            self._say(f"store: {self.problem or 'takes results again'}")
        if time.monotonic() - self.spoke > _PLAIN_EVERY_SECONDS:
            self._say(
                f"{len(driver.running)} running, {len(driver.records)} of {driver.planned} ended"
            )

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
    return f"{_label(driver.trials[record.number])}: {outcome}{took}"


def best_line(driver: Driver) -> str | None:
    """The best complete trial so far; nothing before there is one."""
    qualities = [(driver.quality(r), -r.number) for r in driver.records.values()]
    measured = [(value, number) for value, number in qualities if value is not None]
    if not measured:
        return None
    value, negative = max(measured)
    return f"best so far {quality(value)}  {_label(driver.trials[-negative])}"


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
            f"step {step}" if step else "starting",
            f"loss {loss:.3f}" if loss is not None else "",
        )
    return table


def _label(trial: PlannedTrial) -> str:
    """The configuration of a trial, and its seed."""
    configuration = trial.configuration
    seed = "" if configuration.untouched else f", seed {trial.spec.seed}"
    return f"{configuration.label}{seed}"


def _budget(driver: Driver) -> str:
    budget, spent = driver.sweep.spec.budget, driver.spent_seconds
    if budget is None or budget.gpu_hours is None:
        return f"{duration(spent)} of device time spent"
    return f"{spent / 3600:.2f} of {budget.gpu_hours:g} device hours spent"


def _eta(done: int, left: int, started: float) -> str:
    if done < 1 or left < 1:
        return ""
    return f"about {duration((time.monotonic() - started) / done * left)} left"
