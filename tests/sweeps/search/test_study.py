"""Study adapter: ask and tell may be repeated after a crash at any point."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from sweeps.resolve import ResolvedSweep
from sweeps.search.space import untouched_base
from sweeps.search.strategies.strategy import Proposal
from sweeps.search.study import StudyAdapter
from tracker.errors import StoreError

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]
TPE = {"strategy": "tpe", "tuning": {"trials": 2}, "window": 4}
FREE = Proposal("sample", None)


def test_a_half_stored_trial_gets_the_same_values(
    make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, _ = make_sweep(search=TPE)
    whole = StudyAdapter(f"sqlite:///{tmp_path}/whole.db", sweep.spec)
    expected = [whole.ask(n, FREE) for n in range(2)]

    cut = StudyAdapter(f"sqlite:///{tmp_path}/cut.db", sweep.spec)
    cut.ask(0, FREE)
    suggest = optuna.trial.Trial.suggest_categorical
    suggested: list[str] = []

    def die_on_the_third(trial: optuna.trial.Trial, name: str, choices: object) -> object:
        suggested.append(name)
        if len(suggested) == 3:
            raise KeyboardInterrupt
        return suggest(trial, name, choices)  # type: ignore[arg-type]

    monkeypatch.setattr(optuna.trial.Trial, "suggest_categorical", die_on_the_third)
    with pytest.raises(KeyboardInterrupt):
        cut.ask(1, FREE)
    monkeypatch.undo()
    again = StudyAdapter(f"sqlite:///{tmp_path}/cut.db", sweep.spec)
    assert [again.ask(n, FREE) for n in range(2)] == expected
    assert len(again.trials()) == 2


@pytest.mark.parametrize(("strategy", "ended"), [("random", 2), ("tpe", 2), ("tpe", 12)])
def test_a_kill_between_any_two_writes_changes_no_value(
    strategy: str, ended: int, make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fail the n-th write until nothing fires. TPE draws its first ten at random, then jointly."""
    sweep, _ = make_sweep(search=TPE | {"strategy": strategy})

    def study_of(count: int) -> StudyAdapter:
        study = StudyAdapter(None, sweep.spec)
        for number in range(count):
            study.ask(number, FREE)
            study.tell(number, (7 * number % 13) / 13, {})
        return study

    expected = study_of(ended).ask(ended, FREE)
    deaths = 0
    while True:
        cut, left = study_of(ended), [deaths]
        with monkeypatch.context() as patch:
            for name in ("create_new_trial", "set_trial_param", "set_trial_user_attr"):
                patch.setattr(cut._storage, name, _fatal(getattr(cut._storage, name), left))
            try:
                values = cut.ask(ended, FREE)
            except KeyboardInterrupt:
                deaths += 1
            else:
                assert values == expected
                break
        assert cut.ask(ended, FREE) == expected, f"after write {deaths}"
        assert len(cut.trials()) == ended + 1
    assert deaths >= 1 + 1 + 4 + 2, "the trial, its values whole and one by one, stage and seed"


def _fatal(write: Callable[..., object], left: list[int]) -> Callable[..., object]:
    """*write*, after the n-th call of which the driver is killed."""

    def writes(*args: object, **kwargs: object) -> object:
        written = write(*args, **kwargs)
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return written

    return writes


def test_telling_twice_changes_nothing(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep()
    study = StudyAdapter(f"sqlite:///{tmp_path}/study.db", sweep.spec)
    study.ask(0, Proposal("baseline", untouched_base("a")))
    study.tell(0, 0.5, {"forgetting.language": -0.1})
    study.tell(0, 0.7, {})
    (trial,) = study.trials()
    assert trial.value == 0.5


def test_trial_without_a_score_is_failed_not_zero(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep()
    study = StudyAdapter(f"sqlite:///{tmp_path}/study.db", sweep.spec)
    study.ask(0, Proposal("baseline", untouched_base("a")))
    study.tell(0, None, {})
    (trial,) = study.trials()
    assert trial.state is optuna.trial.TrialState.FAIL
    assert trial.value is None


def test_bad_storage_is_one_line(make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep()
    with pytest.raises(StoreError, match="--study-uri") as raised:
        StudyAdapter("sqlite:////nowhere/at/all/study.db", sweep.spec)
    assert "\n" not in str(raised.value)


def test_a_missing_driver_is_one_line(
    make_sweep: MakeSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, _ = make_sweep()
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as if it were not installed
    with pytest.raises(StoreError, match=r"pip install 'sft-select\[postgres\]'") as raised:
        StudyAdapter("postgresql://me:secret@host/db", sweep.spec)
    assert str(raised.value).startswith("study postgresql://host/db: its driver cannot be loaded")
    assert "\n" not in str(raised.value)


def test_a_study_in_postgres_goes_on(make_sweep: MakeSweep, postgres: str) -> None:
    sweep, _ = make_sweep(search=TPE)
    first = StudyAdapter(postgres, sweep.spec)
    values = first.ask(0, FREE)
    first.tell(0, 0.5, {})
    first.close()
    again = StudyAdapter(postgres, sweep.spec)
    assert again.ask(0, FREE) == values == StudyAdapter(None, sweep.spec).ask(0, FREE)
    assert [trial.value for trial in again.trials()] == [0.5]
    again.close()
