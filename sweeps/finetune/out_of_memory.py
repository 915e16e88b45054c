"""Out of memory: what is tried before a trial counts as infeasible, each try in less memory than the last.

A training starts as its specification says. Then activations are recomputed where the method takes it, then
fewer and fewer rows go through the model at a time, down to one. Every optimizer step still sees the rows
that it would have seen, with the same loss, so a try changes rounding and nothing else.
"""

from __future__ import annotations

import errno
import gc
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch

from tracker.files import write_atomically
from tracker.numbers import plural
from tracker.trial import MethodSpec, TrialSpec

R = TypeVar("R")
#: Beside a trial's checkpoints: the rung that the last attempt needed.
_NOTED = "rung.json"
#: There too while an attempt runs: its rung, and how often the kernel had killed for memory before.
_STARTED = "attempt.json"
#: How allocators say it, and libraries on top of them.
_WORDS = (
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "status_alloc_failed",
)


class OutOfMemoryError(Exception):
    """A trial does not fit the device whatever is tried; its message says what was."""


class Rung(NamedTuple):
    """How a step is made: rows through the model at a time, how often, and whether activations are kept."""

    batch_size: int
    accumulation: int
    recomputed: bool

    @classmethod
    def of(cls, spec: TrialSpec) -> Rung:
        """The rung that *spec* asks for."""
        train = spec.schedule
        return cls(train.batch_size, train.accumulation, train.gradient_checkpointing)

    @property
    def label(self) -> str:
        """Rung in a few words, such as ``4 rows at a time, activations recomputed``."""
        return f"{plural(self.batch_size, 'row')} at a time" + (
            ", activations recomputed" if self.recomputed else ""
        )


def rungs(spec: TrialSpec, *, recomputes: bool = True) -> list[Rung]:
    """Rungs of *spec* in order; each step of each holds the same rows.

    *recomputes*: whether the model can recompute its activations; under a prefix none can.
    """
    rung = Rung.of(spec)
    found = [rung]
    if recomputes and not rung.recomputed and can_recompute(spec.method):
        rung = rung._replace(recomputed=True)
        found.append(rung)
    rows = rung.batch_size * rung.accumulation
    size = rung.batch_size
    while size > 1:
        size = next(n for n in range(size // 2, 0, -1) if rows % n == 0)
        found.append(Rung(size, rows // size, rung.recomputed))
    return found


def note_rung(folder: Path, rung: Rung) -> None:
    """Note in the *folder* of a trial's checkpoints that it needs *rung*, for when it is resumed."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / _NOTED, json.dumps(rung).encode())


def noted_rung(folder: Path) -> Rung | None:
    """The rung noted in *folder*; ``None`` where none is."""
    try:
        return Rung(*json.loads((folder / _NOTED).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


@contextmanager
def watched(folder: Path, rung: Rung) -> Iterator[None]:
    """Mark in *folder* that the block runs *rung*: only a process that is killed leaves the mark behind."""
    mark = folder / _STARTED
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(json.dumps({"rung": rung, "kills": _kernel_kills()}))
    try:
        yield
    finally:
        mark.unlink(missing_ok=True)


def after_kill(folder: Path, tries: list[Rung]) -> list[Rung]:
    """*tries* without those up to the one that the kernel killed the last process on for want of memory.

    The kernel kills where an allocator would not have refused. Few deaths fail a trial, so half of what is
    left is passed over. Another process may have been the one killed: then less memory is used than could be.
    """
    try:
        left = json.loads((folder / _STARTED).read_bytes())
        rung, before = Rung(*left["rung"]), left["kills"]
    except (OSError, ValueError, TypeError, KeyError):
        return tries
    now = _kernel_kills()
    if before is None or now is None or now <= before or rung not in tries:
        return tries
    rest = tries[tries.index(rung) + 1 :]
    return rest[len(rest) // 2 :] or tries[-1:]


def _kernel_kills() -> int | None:
    """Processes that the kernel has killed for want of memory so far; ``None`` where it does not say."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return None
    counts = [line.split()[1] for line in lines if line.startswith("oom_kill ")]
    return int(counts[0]) if counts else None


def can_recompute(method: MethodSpec) -> bool:
    """Whether activations can be recomputed: a prefix (P-tuning v2) lives in the cache, which is then off."""
    return not (method.name == "p_tuning" and method.variant == "v2")


def first_that_fits(
    tries: Sequence[Rung], attempt: Callable[[Rung], R], device: torch.device
) -> tuple[Rung, R]:
    """The first of *tries* that does not run out of memory, and what *attempt* gave.

    Raises OutOfMemoryError where none does; any other fault of *attempt* as it is.
    """
    for rung in tries:
        try:
            return rung, attempt(rung)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            words = " ".join(str(error).split())[:200]
        # The fault is gone here, and with it the frames that held the failed attempt's tensors.
        gc.collect()
        free_memory(device)
    tried = "; ".join(rung.label for rung in tries)
    raise OutOfMemoryError(f"out of memory, tried {tried}: {words}")


def halved(
    items: list[int], run: Callable[[list[int]], R], device: torch.device
) -> Iterator[tuple[list[int], R]]:
    """What *run* makes of *items*: of all at once, or of halves of them where memory does not suffice."""
    try:
        made = run(items)
    except Exception as error:
        if len(items) == 1 or not is_out_of_memory(error):
            raise
    else:
        yield items, made
        return
    gc.collect()
    free_memory(device)
    middle = len(items) // 2
    yield from halved(items[:middle], run, device)
    yield from halved(items[middle:], run, device)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether *error* says that host or device memory did not suffice."""
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    text = str(error).lower() if isinstance(error, RuntimeError) else ""
    return any(words in text for words in _WORDS)


def free_memory(device: torch.device) -> None:
    """Free device memory in reference cycles: the Trainer's optimizer, or the model of a failed trial.

    Otherwise it would count towards the peak of what comes next.
    """
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
