import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.factories import task_score, trial_result, trial_spec
from tracker.errors import StoreError
from tracker.store.journal import Journal, Step
from tracker.trial import Cost

RESULT = trial_result(
    trial_spec("tiny", method="none"),
    tasks=(task_score(score=1 / 3),),
    cost=Cost(device="cpu", flops=1.5e9),
)


def step(number: int, loss: float, time_ms: int = 0) -> dict[str, object]:
    return {"event": "step", "step": number, "time_ms": time_ms, "values": {"train/loss": loss}}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "trials" / "a.jsonl")


def test_an_absent_journal_is_empty(journal: Journal) -> None:
    assert journal.events() == []
    assert journal.steps() == []
    assert journal.result() is None
    assert not journal.path.parent.exists()


def test_result_returns_exactly_what_was_written(journal: Journal) -> None:
    journal.append({"event": "start"})
    assert journal.result() is None
    journal.append({"event": "result", "result": RESULT.model_dump(mode="json")})
    assert journal.result() == RESULT


def test_resume_keeps_every_step_once(journal: Journal) -> None:
    for number in range(1, 6):
        journal.append(step(number, loss=1.0, time_ms=number))
    journal.append({"event": "checkpoint", "step": 3})
    journal.append({"event": "resume", "step": 3})
    assert [s.step for s in journal.steps()] == [1, 2, 3]
    journal.append(step(4, loss=0.5, time_ms=40))
    assert journal.steps()[-1] == Step(4, 40, {"train/loss": 0.5})
    assert [s.step for s in journal.steps()] == [1, 2, 3, 4]


def test_last_written_step_wins_without_a_resume_event(journal: Journal) -> None:
    journal.append(step(1, loss=1.0))
    journal.append(step(1, loss=2.0))
    assert [s.values["train/loss"] for s in journal.steps()] == [2.0]


@given(cut=st.integers(min_value=0))
def test_a_cut_anywhere_loses_at_most_the_last_event(
    tmp_path_factory: pytest.TempPathFactory, cut: int
) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.jsonl"
    with Journal(path) as journal:
        for number in range(4):
            journal.append(step(number, loss=number / 7))
    data = path.read_bytes()
    cut %= len(data) + 1
    path.write_bytes(data[:cut])
    whole = data[:cut].count(b"\n")
    assert [s.step for s in Journal(path).steps()] == list(range(whole))

    with Journal(path) as journal:  # the next writer must not glue its line to the torn one
        journal.append(step(9, loss=0.0))
    assert [s.step for s in Journal(path).steps()] == [*range(whole), 9]


def test_zeros_after_a_power_cut_count_as_a_torn_line(journal: Journal) -> None:
    journal.append(step(1, loss=1.0))
    with journal.path.open("ab") as file:
        file.write(b"\0" * 512)
    assert len(journal.events()) == 1


@pytest.mark.parametrize("line", [b'{"event": "st\n', b"[]\n", b'{"step": 1}\n', b"\xff\n"])
def test_a_broken_line_in_the_middle_is_named(journal: Journal, line: bytes) -> None:
    journal.append(step(1, loss=1.0))
    journal.append(step(2, loss=1.0))
    first, second = journal.path.read_bytes().splitlines(keepends=True)
    journal.path.write_bytes(first + line + second)
    with pytest.raises(StoreError, match=r"a\.jsonl:2: not a journal event"):
        journal.events()


def test_nan_is_refused_and_leaves_the_file_whole(journal: Journal) -> None:
    journal.append(step(1, loss=1.0))
    with pytest.raises(ValueError, match="not JSON compliant"):
        journal.append(step(2, loss=float("nan")))
    assert [s.step for s in journal.steps()] == [1]


def test_a_result_of_another_version_is_a_store_error(journal: Journal) -> None:
    journal.append({"event": "result", "result": {"spec": {}}})
    with pytest.raises(StoreError, match="does not fit this version"):
        journal.result()


def test_text_separators_inside_values_do_not_split_lines(journal: Journal) -> None:
    journal.append({"event": "start", "note": "a\u2028b\x85c\x0bd\r\ne"})
    assert journal.events() == [{"event": "start", "note": "a\u2028b\x85c\x0bd\r\ne"}]


def test_a_full_disk_is_an_error_and_leaves_the_file_as_it_was(journal: Journal) -> None:
    journal.append(step(1, loss=1.0))
    before = journal.path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 10, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"a\.jsonl: cannot write the trial's journal"):
            journal.append(step(2, loss=1.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert journal.path.read_bytes() == before
    journal.append(step(2, loss=1.0))
    assert [s.step for s in journal.steps()] == [1, 2]


def test_a_killed_writer_loses_no_event_that_append_returned_for(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    script = (
        "import sys; from pathlib import Path; from tracker.store.journal import Journal\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "for n in range(100000):\n"
        "    journal.append({'event': 'step', 'step': n, 'time_ms': n, 'values': {}})\n"
        "    print(n, flush=True)\n"
    )
    writer = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    appended = [int(next(writer.stdout)) for _ in range(200)]
    writer.kill()
    writer.wait()
    writer.stdout.close()
    steps = [s.step for s in Journal(path).steps()]
    assert steps[: len(appended)] == appended
    assert steps == list(range(len(steps)))
    assert all(json.loads(line) for line in path.read_text().splitlines())


START, DEATH, OUTSIDE, STOP = "start", "death", "outside", "stop"


@pytest.mark.parametrize(
    ("events", "deaths", "lost", "enough"),
    [
        ([], 0, 0, False),
        ([START, DEATH] * 2, 2, 0, False),
        ([START, DEATH] * 3, 3, 0, True),
        ([DEATH] * 3, 3, 0, True),
        ([START, OUTSIDE] * 9, 0, 0, False),
        ([START, STOP] * 9, 0, 0, False),
        ([START] * 5, 0, 5, False),
        ([START] * 6, 0, 6, True),
        ([START, DEATH, START, DEATH, *[START] * 4], 2, 4, True),
        ([START, DEATH, START, 1, DEATH, START, DEATH], 2, 0, False),
        ([START, 1, 2, DEATH, START, 1, DEATH, START, 2, DEATH], 3, 0, True),
        ([START, 1, DEATH, START, 1, 2, DEATH, START, 1, 3, DEATH, START, 4, DEATH], 1, 0, False),
        ([START, DEATH, START, DEATH, START, DEATH, "retry"], 0, 0, False),
        ([START, 5, DEATH, "retry", START, 1, DEATH], 1, 0, False),
        (["old", "old", "old", "old", "old", "old", "old"], 0, 0, False),
    ],
)
def test_attempts_since_the_trial_made_progress(
    events: list[str | int], deaths: int, lost: int, enough: bool, journal: Journal
) -> None:
    known = {
        START: {"event": "start", "time": 0.0, "pid": 1, "host": "here"},
        "old": {"event": "start", "time": 0.0, "pid": 1},
        DEATH: {"event": "death", "why": "worker ended by SIGKILL", "counts": True},
        OUTSIDE: {"event": "death", "why": "worker ended by SIGTERM", "counts": False},
    }
    with journal:
        for event in events:
            if isinstance(event, int):
                journal.append({"event": "step", "step": event, "time_ms": 0, "values": {}})
            else:
                journal.append(known.get(event, {"event": event}))
    attempts = journal.attempts()
    assert (attempts.deaths, attempts.lost, attempts.are_enough) == (deaths, lost, enough)
