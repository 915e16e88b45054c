"""Finished trials of other sweeps are taken over by their key, and cost nothing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.data.encoding import evaluation_rows
from sweeps.preflight import read_checked
from sweeps.resolve import ResolvedSweep
from sweeps.search.driver import Driver
from sweeps.search.run import run_sweep
from sweeps.search.space import trial_spec, untouched_base
from sweeps.search.takeover import Takeover, _as_recorded, equal_trials
from sweeps.search.workspace import SweepFolder
from tests.factories import task_score
from tests.sweeps.search.formula import FormulaEngine, answered, drive
from tracker.files import json_lines
from tracker.store.journal import Journal
from tracker.store.store import Store
from tracker.task import LabelCounts
from tracker.trial import Status, TrialSpec

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]


End = Callable[..., tuple[SweepFolder, TrialSpec]]


def _drive(sweep: ResolvedSweep, runs: Path, engine: FormulaEngine) -> Driver:
    """The whole run of *sweep* in the workspace *runs*, without a store."""
    folder = SweepFolder(runs, sweep.spec.name)
    folder.root.mkdir(parents=True, exist_ok=True)
    folder.sweep_file.touch()
    take_over = Takeover(folder, keep_models=True)
    return drive(sweep, folder, engine, in_memory=True, take_over=take_over)


def test_a_renamed_sweep_runs_no_equal_trial(make_sweep: MakeSweep, tmp_path: Path) -> None:
    """With real training: seven trials in one sweep, none in the next."""
    small: dict[str, object] = {
        "budget": {"trials": 7},
        "general": {},
        "volumes": [8],
        "mixes": {"plain": {"intent": 1}},
        "evaluation": {"rows": 4, "batch_size": 4, "max_new_tokens": 4},
        "engine": {"kind": "local", "workers": 1},
    }
    runs = tmp_path / "runs"
    first = run_sweep(make_sweep(**small)[1], runs)
    assert len(first.records) == 7
    _, path = make_sweep(**small, name="again")
    renamed = read_checked(path, runs)
    assert len(equal_trials(renamed, SweepFolder(runs, "again"))) == 7
    second = run_sweep(path, runs)
    assert [r.result for r in second.records] == [r.result for r in first.records]
    assert [r.taken_over and r.taken_over.sweep for r in second.records] == ["tiny"] * 7
    assert sum(r.spent_seconds for r in second.records) == 0
    assert sum(r.result.cost.device_seconds or 0 for r in second.records) > 0, "shown all the same"

    store = Store.open(runs, create=False)
    assert store.records("again") == second.records
    key = second.records[-1].result.spec.key
    tags = store.client.get_run(store.run_url_parts("again", key)[1]).data.tags
    assert tags["sft.origin.run"] == store.run_url_parts("tiny", key)[1]
    assert store.examples("again", key) == store.examples("tiny", key) != ()
    folder, origin = SweepFolder(runs, "again"), SweepFolder(runs, "tiny")
    events = {event["event"] for event in Journal(folder.journal(key)).events()}
    assert "start" not in events, "no worker began it"
    assert Journal(folder.journal(key)).steps() == Journal(origin.journal(key)).steps()

    shutil.rmtree(origin.root)
    assert run_sweep(path, runs).records == second.records, "the origin may go"

    text = path.read_text()
    assert "score: macro_f1" in text
    path.write_text(text.replace("score: macro_f1", "score: token_f1"))
    rescored = run_sweep(path, runs)
    assert [r.taken_over and r.taken_over.rescored for r in rescored.records] == [True] * 7
    for record, earlier in zip(rescored.records, second.records, strict=True):
        (score,), (old,) = record.result.tasks, earlier.result.tasks
        assert score.score_name == "token_f1"
        assert (score.n, score.loss_nats, score.exact_match) == (4, old.loss_nats, old.exact_match)
        assert score.confidence is not None or old.confidence is None
    key = rescored.records[0].result.spec.key
    assert store.examples("again", key)
    assert "start" not in {event["event"] for event in Journal(folder.journal(key)).events()}


def test_what_was_taken_over_is_not_spent(make_sweep: MakeSweep, tmp_path: Path) -> None:
    budget = {"budget": {"gpu_hours": 12 / 3600}}  # a trial by formula takes a second
    engines = FormulaEngine(2), FormulaEngine(2), FormulaEngine(2)
    _drive(make_sweep(**budget)[0], tmp_path, engines[0])
    renamed, _ = make_sweep(**budget, name="again")
    more = _drive(renamed, tmp_path, engines[1])
    taken = [record for record in more.records.values() if record.taken_over]
    assert len(taken) >= len(engines[0].ran) > 0
    assert engines[1].ran, "the budget is whole, so the design goes on"
    assert more.spent_seconds == len(engines[1].ran)
    again = _drive(renamed, tmp_path, engines[2])
    assert again.records == more.records, "resumed, it is the same"
    assert not engines[2].ran


@pytest.mark.parametrize("strategy", ["law", "halving"])
def test_a_strategy_decides_alike_on_what_was_taken_over(
    strategy: str, make_sweep: MakeSweep, tmp_path: Path
) -> None:
    search = {"strategy": strategy, "tuning": {"trials": 2}}
    changes = {"budget": {"trials": 9}, "search": search}
    first = _drive(make_sweep(**changes)[0], tmp_path, FormulaEngine(2))
    engine = FormulaEngine(2)
    second = _drive(make_sweep(**changes, name="again")[0], tmp_path, engine)
    assert not engine.ran
    keys = [[t.key for t in driver.trials] for driver in (first, second)]
    assert keys[0] == keys[1]


def test_killed_while_it_takes_over(
    make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"budget": {"trials": 3}}
    first = _drive(make_sweep(**changes)[0], tmp_path, FormulaEngine(2))
    renamed, _ = make_sweep(**changes, name="again")
    keep, kept = SweepFolder.keep, []

    def killed_at_the_second(folder: SweepFolder, *arguments: object) -> None:
        kept.append(folder)
        if len(kept) == 2:
            raise KeyboardInterrupt
        keep(folder, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(SweepFolder, "keep", killed_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            _drive(renamed, tmp_path, FormulaEngine(2))
    engine = FormulaEngine(2)
    second = _drive(renamed, tmp_path, engine)
    assert not engine.ran
    results = [{n: r.result for n, r in driver.records.items()} for driver in (first, second)]
    assert results[0] == results[1]


@pytest.fixture
def ended(make_sweep: MakeSweep, tmp_path: Path) -> End:
    """A trial that ended in the sweep ``tiny``, and what it is; *changes*: to its sweep's file."""

    def end(status: Status = Status.COMPLETE, **changes: object) -> tuple[SweepFolder, TrialSpec]:
        sweep, _ = make_sweep(**changes)
        spec = trial_spec(sweep, untouched_base("a"), 0)
        folder = SweepFolder(tmp_path / "runs", "tiny")
        folder.root.mkdir(parents=True, exist_ok=True)
        folder.sweep_file.touch()
        folder.keep(spec.key, answered(spec).model_copy(update={"status": status}))
        return folder, spec

    return end


@pytest.fixture
def other(tmp_path: Path) -> SweepFolder:
    """Folder of the sweep that takes over."""
    return SweepFolder(tmp_path / "runs", "other")


@pytest.mark.parametrize("status", list(Status))
def test_only_what_would_end_so_again_is_taken_over(
    status: Status, ended: End, other: SweepFolder
) -> None:
    _, spec = ended(status)
    taken = Takeover(other, keep_models=True)(spec)
    assert (taken is not None) == (status in ("complete", "diverged"))


def test_a_journal_that_is_not_whole_is_no_origin(ended: End, other: SweepFolder) -> None:
    origin, spec = ended()
    journal, takeover = origin.journal(spec.key), Takeover(other, keep_models=True)
    whole = journal.read_bytes()
    for torn in (b"", whole[:-1], b"?\n" + whole, whole + b'{"event":"retry"}\n'):
        journal.write_bytes(torn)
        assert takeover(spec) is None
    journal.write_bytes(whole)
    assert takeover(spec) == answered(spec)


@pytest.mark.parametrize("wanted", ["all", "hashed", "none"])
@pytest.mark.parametrize("recorded", ["all", "hashed", "none"])
def test_no_more_of_answers_comes_along_than_is_recorded(
    recorded: str,
    wanted: str,
    ended: End,
    other: SweepFolder,
) -> None:
    origin, spec = ended(record_answers=recorded)
    said = {"all": "Alarm", "hashed": "hashed:0011223344556677"}
    if recorded != "none":
        row = {"row": 0, "answer": said[recorded], "truth": said[recorded], "prompt": "Wake me"}
        answers = origin.artifacts(spec.key) / "intent.validation.jsonl"
        answers.parent.mkdir(parents=True, exist_ok=True)
        answers.write_text(json.dumps(row) + "\n")
    wanted_spec = spec.model_copy(update={"record_answers": wanted})
    taken = Takeover(other, keep_models=True)(wanted_spec)
    assert taken is not None
    assert taken.spec.record_answers == wanted
    found = list(other.artifacts(spec.key).iterdir())
    assert bool(found) == ("none" not in (recorded, wanted))
    if found and wanted == "hashed" and recorded == "all":
        text = found[0].read_text()
        assert "hashed:" in text
        assert "Alarm" not in text
        assert "Wake" not in text


@pytest.mark.parametrize(
    ("recorded", "wanted", "name"),
    [("all", "all", "Alarm"), ("all", "none", "answer 1"), ("none", "all", "Alarm")],
)
def test_a_label_is_named_no_more_than_the_sweep_records(
    recorded: str, wanted: str, name: str, ended: End
) -> None:
    """Of a result that recorded none the names are numbers already, whatever they are here."""
    spec = ended()[1]
    counts = LabelCounts(names=("Alarm",), truths=(1,), answers=(1,), hits=(1,))
    wanted_spec = spec.model_copy(update={"record_answers": wanted})
    (score,) = _as_recorded([task_score(labels=counts)], recorded, wanted_spec)
    assert score.labels is not None
    assert score.labels.names == (name,)


def test_a_model_outlives_its_origin(ended: End, other: SweepFolder, tmp_path: Path) -> None:
    origin, spec = ended()
    model = origin.model(spec.key)
    model.mkdir(parents=True)
    (model / "weights").write_bytes(b"1")
    Takeover(other, keep_models=True)(spec)
    assert (other.model(spec.key) / "weights").samefile(model / "weights"), "no second copy"
    origin.drop_model(spec.key)
    assert not model.exists()
    assert (other.model(spec.key) / "weights").read_bytes() == b"1"
    without = SweepFolder(tmp_path / "runs", "without")
    Takeover(without, keep_models=False)(spec)
    assert not without.model(spec.key).exists()


def test_a_trial_of_a_third_sweep_names_the_one_that_ran_it(
    ended: End, other: SweepFolder, tmp_path: Path
) -> None:
    origin, spec = ended()
    Takeover(other, keep_models=True)(spec)
    other.sweep_file.touch()
    shutil.rmtree(origin.root)
    third = SweepFolder(tmp_path / "runs", "a-third")
    Takeover(third, keep_models=True)(spec)
    found = third.taken_over(spec.key)
    assert found is not None
    assert found.sweep == "tiny"


@pytest.mark.parametrize("wanted", ["all", "hashed", "none"])
def test_answers_are_scored_anew_where_only_their_score_differs(
    wanted: str, ended: End, other: SweepFolder
) -> None:
    origin, spec = ended()
    (task,) = spec.tasks
    rows = evaluation_rows(task, task.validation, spec)
    assert len(rows.truth) == 24
    given = [truth if row % 2 else "no label" for row, truth in enumerate(rows.truth)]
    kept = [
        {"row": row, "file_row": number + 1, "answer": said, "truth": truth, "nats": 1.5}
        for row, (number, said, truth) in enumerate(
            zip(rows.numbers, given, rows.truth, strict=True)
        )
    ]
    answers = origin.artifacts(spec.key) / "intent.validation.jsonl"
    answers.parent.mkdir(parents=True)
    exact = spec.model_copy(
        update={
            "tasks": (task.model_copy(update={"score": "exact_match", "negative": None}),),
            "record_answers": wanted,
        }
    )
    answers.write_text(json_lines(kept[:-1]))
    assert Takeover(other, keep_models=True)(exact) is None, "one answer is missing"
    answers.write_text(json_lines(kept))
    taken = Takeover(other, keep_models=True)(exact)
    assert taken is not None
    (score,), (old,) = taken.tasks, answered(spec).tasks
    assert (score.score_name, score.score, score.n) == ("exact_match", 0.5, 24)
    assert (score.loss_nats, score.bits_per_byte) == (old.loss_nats, old.bits_per_byte)
    assert score.confidence is None, "nobody recorded how likely the answers were"
    assert other.result(exact.key) == taken
    origin_of = other.taken_over(exact.key)
    assert origin_of is not None
    assert origin_of.rescored
    assert origin_of.key == spec.key
    file = other.artifacts(exact.key) / "intent.validation.jsonl"
    assert file.exists() == (wanted != "none")
    if wanted != "none":
        made = [json.loads(line) for line in file.read_text().splitlines()]
        assert [row["score"] for row in made] == [0, 1] * 12
        assert all(("hashed:" in row["answer"]) == (wanted == "hashed") for row in made)
    longer = task.model_copy(update={"prompt": None})
    assert Takeover(other, keep_models=True)(exact.model_copy(update={"tasks": (longer,)})) is None


def test_answers_that_are_known_by_digests_alone_are_no_answers(
    ended: End, other: SweepFolder
) -> None:
    origin, spec = ended(record_answers="hashed")
    origin.artifacts(spec.key).mkdir(parents=True)
    (task,) = spec.tasks
    exact = spec.model_copy(update={"tasks": (task.model_copy(update={"score": "exact_match"}),)})
    assert Takeover(other, keep_models=True)(exact) is None
