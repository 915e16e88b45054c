"""A sweep's progress at a terminal: live where there is one, plain lines elsewhere."""

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

from tracker.decision.explain import quality_text
from tracker.numbers import work
from tracker.trial import Cost, Status, TrialRecord, TrialResult

if TYPE_CHECKING:
    from sweeps.finetune.final import FinalModel
    from sweeps.search.driver import Driver
    from sweeps.search.study import PlannedTrial
    from tracker.decision.recommendation import Recommendation
    from tracker.export.config import Config
    from tracker.store.store import LiveTrial, SweepInfo

_PLAIN_EVERY_SECONDS = 30.0
_DAY_SECONDS = 86400.0


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
        self.live.update(self._drawn(driver))

    def _drawn(self, driver: Driver) -> Group:
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
        if time.monotonic() - self.spoke > _PLAIN_EVERY_SECONDS:
            self._say(
                f"{len(driver.running)} running, {len(driver.records)} of {driver.planned} ended"
            )

    def _say(self, line: str) -> None:
        self.spoke = time.monotonic()
        print(line, file=self.stream, flush=True)


def progress(stream: TextIO) -> LiveProgress | PlainProgress:
    """The display that fits *stream*."""
    console = Console(file=stream)
    return LiveProgress(console) if console.is_terminal else PlainProgress(stream)


def trial_line(driver: Driver, record: TrialRecord) -> str:
    """One ended trial in one line."""
    proposed = driver.trials[record.number]
    status = record.result.status
    score = driver.quality(record)
    verdict = (
        f"score {score:.3f}" if score is not None else f"{status.value}: {record.result.reason}"
    )
    seconds = record.result.cost.device_seconds
    return f"{_named(proposed)}: {verdict}" + (
        f" in {seconds:.1f} s" if seconds is not None else ""
    )


def best_line(driver: Driver) -> str | None:
    """The best complete trial so far; nothing before there is one."""
    scored = [(driver.quality(r), -r.number) for r in driver.records.values()]
    known = [(q, n) for q, n in scored if q is not None]
    if not known:
        return None
    quality, negative = max(known)
    return f"best so far {quality:.3f}  {_named(driver.trials[-negative])}"


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
    for key, proposed in list(driver.running.items()):
        step, values = driver.steps.get(key, (0, {}))
        loss = values.get("train/loss")
        table.add_row(
            "·",
            _named(proposed),
            f"step {step}" if step else "starting",
            f"loss {loss:.3f}" if loss is not None else "",
        )
    return table


def _named(proposed: PlannedTrial) -> str:
    model, method, mix, volume = proposed.configuration
    if proposed.configuration.untouched:
        return f"{model} untouched"
    rate = "" if method.learning_rate is None else f" lr {method.learning_rate:.1e}"
    return f"{model} {method.name} {mix} {volume}{rate} seed {proposed.spec.seed}"


def _budget(driver: Driver) -> str:
    budget, spent = driver.sweep.spec.budget, driver.spent_seconds
    if budget is None or budget.gpu_hours is None:
        return f"{spent / 60:.1f} device minutes spent"
    return f"{spent / 3600:.2f} of {budget.gpu_hours:g} device hours spent"


def _eta(done: int, left: int, started: float) -> str:
    if done < 1 or left < 1:
        return ""
    seconds = (time.monotonic() - started) / done * left
    minutes, seconds = divmod(round(seconds), 60)
    return f"about {minutes} min {seconds:02d} s left" if minutes else f"about {seconds} s left"


def summary(records: list[TrialRecord]) -> str:
    """A finished call in one line."""
    counts = Counter(record.result.status.value for record in records)
    observed = ", ".join(f"{count} {status}" for status, count in counts.items())
    seconds = sum(record.result.cost.device_seconds or 0.0 for record in records)
    return f"{len(records)} trials ended: {observed}; {seconds:,.0f} device seconds"


def status_lines(info: SweepInfo, running: list[LiveTrial], now: float | None = None) -> list[str]:
    """One sweep's state and what runs in it, as of *now*, epoch seconds."""
    ended = sum(n for status, n in info.counts.items() if status != "running")
    of = f" of {info.planned}" if info.planned else ""
    counts = ", ".join(f"{n} {status}" for status, n in info.counts.items())
    lines = [f"{info.name}: {info.state}, {ended}{of} trials ended ({counts})"]
    if silence := _silence(info, time.time() if now is None else now):
        lines.append(f"  {silence}")
    for trial in running:
        loss = f", loss {trial.loss:.3f}" if trial.loss is not None else ""
        step = f"step {trial.step}" if trial.step is not None else "starting"
        lines.append(f"  {trial.model} {trial.method} {trial.mix} {trial.volume}: {step}{loss}")
    return lines


def _silence(info: SweepInfo, now: float) -> str | None:
    """What to say of a live sweep whose driver has not been heard of: it may have been killed."""
    seen_at = info.silent_since(now)
    if seen_at is None:
        return None
    form = "%H:%M" if now - seen_at < _DAY_SECONDS else "%Y-%m-%d %H:%M"
    since = time.strftime(form, time.localtime(seen_at))
    return f"no word from its driver since {since}; if none runs, go on with `sft-select run` as before"


def final_lines(final: FinalModel, config: Config) -> list[str]:
    """What a final training scored, beside what the sweep had measured of it."""
    expected = {score.task: score.score for score in config.scores}
    lines = []
    for score in final.scores("validation"):
        before = expected.get(score.task)
        observed = f" (the sweep measured {before:.4f})" if before is not None else ""
        lines.append(f"validation {score.task}: {score.score_name} {score.score:.4f}{observed}")
    for score in final.scores("test"):
        error = f" ± {score.score_se:.4f}" if score.score_se is not None else ""
        lines.append(f"test       {score.task}: {score.score_name} {score.score:.4f}{error}")
    lines += [*_as_a_whole(final.result, config.recommendation), *_took(final.result.cost)]
    lines.append(f"registered as {final.name} version {final.version}; files in {final.folder}")
    return lines


def _took(cost: Cost) -> list[str]:
    """Counted work, and the time it took on this device."""
    parts = [] if cost.flops is None else [work(cost.flops)]
    if cost.device_seconds is not None:
        parts.append(f"{cost.device_seconds:,.0f} s on {cost.device}")
    return [f"cost       {', '.join(parts)}"] if parts else []


def _as_a_whole(result: TrialResult, answer: Recommendation | None) -> list[str]:
    """The one number that the choice was made by, and what of general ability was lost."""
    from sweeps.search.strategies.strategy import weighted_score

    lines = []
    quality = None if answer is None else weighted_score(result, answer.objective)
    if answer is not None and quality is not None:
        observed = quality_text(answer.choice.quality)
        seeds = (
            "" if answer.noise_floor is None else f"; one run lies ± {answer.noise_floor:.2g} off"
        )
        lines.append(
            f"validation quality, weighted: {quality:.4f} "
            f"(predicted on average over seeds: {observed}{seeds})"
        )
    for suite in result.general:
        if suite.forgetting is not None:
            change = f"{suite.measure} {suite.before:.3f} before, {suite.after:.3f} after"
            word = "lost" if suite.forgetting >= 0 else "gained"
            lines.append(f"general    {suite.suite}: {word} {abs(suite.forgetting):.1%} ({change})")
    return lines
