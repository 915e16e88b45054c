"""What an outside table says of its mixes: each task's share of the examples, and replay.

A column ``mix:TASK`` holds TASK's share of a row's examples, ``replay`` the general text rows added as
a fraction of them. A mix is known by its name (column ``mix``), or by its shares where it has none; what
one row says of a named mix holds for all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from tracker.trial import MixSpec
from tracker.validation import did_you_mean, options

if TYPE_CHECKING:
    from tracker.importing.rows import Configuration, Measurement
    from tracker.importing.source import Problems

#: How far from 1 the shares of a row may sum: two decimals each.
ROUNDING = 0.02

Shares = Mapping[str, float]


def mix_name(shares: Shares) -> str:
    """What a mix without a name is called: ``0.75 intent + 0.25 slots``."""
    return " + ".join(f"{share:.3g} {task}" for task, share in shares.items())


def mix_shares(rows: Iterable[Measurement], problems: Problems) -> dict[str, Shares]:
    """The shares by mix, wherever the table says them; a mix with two kinds of them is a problem."""
    found: dict[str, Shares] = {}
    for row in rows:
        mix, shares = row.configuration.mix, row.shares
        if mix is None or shares is None:
            continue
        known = found.setdefault(mix, shares)
        if known != shares:
            text = f"has shares {mix_name(shares)} here and {mix_name(known)} above"
            problems.add("mix", row.place, f"mix {mix!r} {text}: two mixes need two names")
    return found


def notes(shares: Mapping[str, Shares], rows: Iterable[Measurement]) -> Iterator[str]:
    """What a reader must know of the mixes: shares of tasks that nothing measured."""
    measured = sorted({row.task for row in rows if row.task})
    trained = dict.fromkeys(task for of_mix in shares.values() for task in of_mix)
    unmeasured = [task for task in trained if task not in measured]
    if unmeasured:
        hint = did_you_mean(unmeasured[0], measured)
        yield f"tasks with a share of a mix that no row measures: {options(unmeasured)}{hint}"


def check_replay(rows: Iterable[Measurement], problems: Problems) -> None:
    """Replay is stated for every tuned row or for none: nothing stated is not known to be 0."""
    tuned = [row for row in rows if row.configuration.volume]
    silent = [row for row in tuned if row.configuration.replay is None]
    if len(silent) < len(tuned):
        for row in silent:
            text = "replay: found nothing, and a fraction in other rows; allowed: 0 where none is"
            problems.add("replay", row.place, f"{text} replayed")


def mixes_of_several_replays(configurations: Iterable[Configuration]) -> set[str | None]:
    """The mixes that were run with more than one replay fraction: those must be told apart by it."""
    fractions: defaultdict[str | None, set[float]] = defaultdict(set)
    for configuration in configurations:
        if configuration.volume:
            fractions[configuration.mix].add(configuration.replay or 0.0)
    return {mix for mix, found in fractions.items() if len(found) > 1}


def mix_of(
    configuration: Configuration,
    shares: Mapping[str, Shares],
    varied: Collection[str | None],
) -> MixSpec | None:
    """The configuration's mix; ``None`` where the table says nothing of it."""
    mix, replay = configuration.mix, configuration.replay or 0.0
    told_apart = f"replay {replay:g}" if replay and (mix is None or mix in varied) else ""
    name = " ".join(filter(None, (mix, told_apart)))
    if not name:
        return None
    return MixSpec(name=name, weights=dict(shares.get(mix or "", {})), replay=replay)


def split(volume: int, shares: Shares) -> dict[str, int]:
    """*volume* examples by task as *shares* say, whole ones that sum to it (largest remainders)."""
    total = sum(shares.values())
    exact = {task: volume * share / total for task, share in shares.items()}
    counts = {task: int(count) for task, count in exact.items()}
    by_rest = sorted(exact, key=lambda task: (counts[task] - exact[task], task))
    for task in by_rest[: volume - sum(counts.values())]:
        counts[task] += 1
    return counts
