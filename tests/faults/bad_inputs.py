"""Try bad inputs of every kind in every place: each is refused at once, in lines, and leaves nothing.

``python -m tests.faults.bad_inputs`` prints how many of each kind were tried and held. A case holds where the
command exits with 2, prints a bounded number of lines without a traceback or a control character, creates
nothing, takes less than ``MAX_SECONDS`` of CPU, and says what ``tests/recorded/bad_inputs.jsonl`` says;
``--record`` writes that file anew. ``--only PART`` tries the cases whose names hold PART.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import NamedTuple, NoReturn

from tests.faults.bad_input_cases import Case, cases
from tests.faults.bad_input_tables import model_of

RECORDED = Path(__file__).parent.parent / "recorded" / "bad_inputs.jsonl"
MAX_SECONDS = 2.0
MAX_WALL_SECONDS = 60
MAX_LINES = 60
MAX_GROWTH_BYTES = 1_500_000_000
_SHOWN_LINES = 3
_CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]")


class Outcome(NamedTuple):
    """What became of a case: its exit code, its lines, and why it does not hold (empty where it does)."""

    case: Case
    code: int | None
    lines: tuple[str, ...]
    seconds: float
    faults: tuple[str, ...]


class _HangError(BaseException):
    """A case took too long."""


def attempt(case: Case, root: Path) -> Outcome:
    """Lay *case* out in a folder of *root*, run its command there and look at what is left."""
    folder = Path(tempfile.mkdtemp(prefix="case-", dir=root))
    try:
        case.make(folder)
        _name_model(folder)
        command = [part.replace("{model}", str(model_of(folder))) for part in case.command]
        before = _listing(folder)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        code, text, seconds = _run(command, folder, apart=case.name.startswith("process/"))
        faults = [*_faults(text, seconds, code)]
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024
        if grown > MAX_GROWTH_BYTES:
            faults.append(f"took {grown:,} bytes")
        if code == 2 and (made := _listing(folder) - before):
            faults.append(f"created {sorted(made)[:3]}")
        return Outcome(case, code, _normal(text, root, folder), seconds, tuple(faults))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _name_model(folder: Path) -> None:
    path = folder / "sweep.yaml"
    if path.is_file() and not path.is_symlink() and path.stat().st_size < 20_000_000:
        content = path.read_bytes()
        path.write_bytes(content.replace(b"{model}", str(model_of(folder)).encode()))


def _listing(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _run(command: list[str], folder: Path, *, apart: bool) -> tuple[int | None, str, float]:
    """Exit code, what was printed to stderr and the CPU seconds of a command in *folder*."""
    if apart:
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "sweeps.cli", *command],
            cwd=folder,
            env=environment,
            capture_output=True,
            timeout=MAX_WALL_SECONDS,
            check=False,
        )
        del started
        return done.returncode, done.stderr.decode(errors="replace"), 0.0
    from sweeps import cli

    here, arguments = Path.cwd(), sys.argv
    printed, problems = io.StringIO(), io.StringIO()
    code: int | None = None
    previous = signal.signal(signal.SIGALRM, _hangs)
    started = time.process_time()
    try:
        os.chdir(folder)
        sys.argv = ["sft-select", *command]
        signal.alarm(MAX_WALL_SECONDS)
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(problems):
            cli.main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except _HangError:
        problems.write("hangs\n")
    except BaseException:
        problems.write(traceback.format_exc())
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
        os.chdir(here)
        sys.argv = arguments
    text = problems.getvalue()
    if command[0] == "doctor" and not text:  # its verdict is its report
        verdict = [li for li in printed.getvalue().splitlines() if "PROBLEM" in li]
        text = "\n".join(re.sub(r"^\w+ +PROBLEM +", "", li) for li in verdict)
    return code, text, time.process_time() - started


def _hangs(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _HangError


def _faults(text: str, seconds: float, code: int | None) -> Iterator[str]:
    if "Traceback" in text:
        yield f"ended in a traceback: {text.strip().splitlines()[-1][:200]}"
    if code not in (0, 2) and "Traceback" not in text:
        yield f"exit {code}: {text.strip()[:200]}"
    if code == 2 and not text.strip():
        yield "said nothing"
    if text.count("\n") > MAX_LINES:
        yield f"printed {text.count(chr(10))} lines"
    if found := _CONTROL.search(text):
        yield f"printed {found[0]!r}"
    if seconds > MAX_SECONDS and code != 0:  # what is sound may do its work
        yield f"took {seconds:.1f} s"


def _normal(text: str, root: Path, folder: Path) -> tuple[str, ...]:
    """The first lines of *text*, with the places of this run named."""
    for path, name in ((model_of(folder), "MODEL"), (folder, "FOLDER"), (root, "ROOT")):
        text = text.replace(str(path), name)
    lines = text.replace(folder.name, "FOLDER").strip().splitlines()
    shown = [line if len(line) <= 300 else f"{line[:300]}…" for line in lines[:_SHOWN_LINES]]
    return (*shown, *([f"({len(lines)} lines)"] if len(lines) > _SHOWN_LINES else []))


def recorded() -> dict[str, list[object]]:
    """Exit code and first lines of each case, by name, as they were recorded."""
    lines = RECORDED.read_text(encoding="utf-8").splitlines() if RECORDED.exists() else []
    return {name: [code, said] for name, code, said in map(json.loads, lines)}


def tried(chosen: Iterable[Case], root: Path, known: dict[str, list[object]]) -> Iterator[Outcome]:
    """The outcome of every case; what is said differently than *known* is a fault."""
    for case in chosen:
        outcome = attempt(case, root)
        found = [outcome.code, list(outcome.lines)]
        if known and known.get(case.name) != found:
            was = known.get(case.name)
            outcome = outcome._replace(faults=(*outcome.faults, f"said {found}, recorded {was}"))
        yield outcome


def prepare(root: Path) -> None:
    """Write the sound model that the cases share."""
    from tests.conftest import write_tiny_data, write_tiny_model

    data = root / "tiny-data"
    data.mkdir()
    write_tiny_data(data)
    write_tiny_model(root / "sound-model", data)


def main() -> None:
    """Try all, print what does not hold and the counts; exit 1 where any case does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--missing", action="store_true", help="only what is not recorded yet")
    options = parser.parse_args()
    known = recorded()
    os.environ.update(MLFLOW_TRACKING_URI="", TRANSFORMERS_VERBOSITY="error")
    del os.environ["MLFLOW_TRACKING_URI"]
    counts: Counter[str] = Counter()
    good: Counter[str] = Counter()
    refused = 0
    slowest = 0.0
    with tempfile.TemporaryDirectory(prefix="bad-inputs-") as place:
        root = Path(place).resolve()
        prepare(root)
        chosen = [case for case in cases() if options.only in case.name]
        if options.missing:
            chosen = [case for case in chosen if case.name not in known]
        if chosen:
            attempt(chosen[0], root)  # imports
        for outcome in tried(chosen, root, {} if options.record else known):
            kind = outcome.case.name.split("/")[0]
            counts[kind] += 1
            good[kind] += not outcome.faults
            refused += outcome.code == 2
            slowest = max(slowest, outcome.seconds)
            for fault in outcome.faults:
                print(f"{outcome.case.name}: {fault}", flush=True)
            if outcome.faults:
                known.pop(outcome.case.name, None)
            else:
                known[outcome.case.name] = [outcome.code, list(outcome.lines)]
    if options.record:
        in_order = [case.name for case in cases() if case.name in known]
        lines = [json.dumps([name, *known[name]], ensure_ascii=False) for name in in_order]
        RECORDED.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    for kind, number in counts.items():
        print(f"{kind}: {good[kind]} of {number} held")
    total, sound = sum(counts.values()), sum(good.values())
    print(
        f"{sound} of {total} held; {refused} refused, the others are sound; slowest {slowest:.1f} s of CPU"
    )
    sys.exit(sound < total)


if __name__ == "__main__":
    main()
