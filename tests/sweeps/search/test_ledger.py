"""Asking and telling may be repeated after a crash at any point."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from sweeps.resolve import ResolvedSweep
from sweeps.search.ledger import Ledger
from sweeps.search.strategy import Proposal
from tracker.errors import StoreError

MakeSweep = Callable[..., tuple[ResolvedSweep, Path]]
TPE = {"strategy": "tpe", "tuning": {"trials": 2}, "window": 4}
FREE = Proposal("sample", {"seed": 0})


def test_half_asked_trial_is_taken_up_with_the_same_values(
    make_sweep: MakeSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, _ = make_sweep(search=TPE)
    whole = Ledger(f"sqlite:///{tmp_path}/whole.db", sweep.spec)
    expected = [whole.ask(n, FREE) for n in range(2)]

    cut = Ledger(f"sqlite:///{tmp_path}/cut.db", sweep.spec)
    cut.ask(0, FREE)
    suggest = optuna.trial.Trial.suggest_categorical
    asked: list[str] = []

    def die_on_the_third(trial: optuna.trial.Trial, name: str, choices: object) -> object:
        asked.append(name)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return suggest(trial, name, choices)  # type: ignore[arg-type]

    monkeypatch.setattr(optuna.trial.Trial, "suggest_categorical", die_on_the_third)
    with pytest.raises(KeyboardInterrupt):
        cut.ask(1, FREE)
    monkeypatch.undo()
    again = Ledger(f"sqlite:///{tmp_path}/cut.db", sweep.spec)
    assert [again.ask(n, FREE) for n in range(2)] == expected
    assert len(again.trials()) == 2


def test_telling_twice_changes_nothing(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep()
    ledger = Ledger(f"sqlite:///{tmp_path}/study.db", sweep.spec)
    ledger.ask(0, Proposal("baseline", {"model": "a", "method": "none", "seed": 0}))
    ledger.tell(0, 0.5, {"forgetting.language": -0.1})
    ledger.tell(0, 0.7, {})
    (trial,) = ledger.trials()
    assert trial.value == 0.5


def test_trial_without_a_score_is_failed_not_zero(make_sweep: MakeSweep, tmp_path: Path) -> None:
    sweep, _ = make_sweep()
    ledger = Ledger(f"sqlite:///{tmp_path}/study.db", sweep.spec)
    ledger.ask(0, Proposal("baseline", {"model": "a", "method": "none", "seed": 0}))
    ledger.tell(0, None, {})
    (trial,) = ledger.trials()
    assert trial.state is optuna.trial.TrialState.FAIL
    assert trial.value is None


def test_bad_storage_is_one_line(make_sweep: MakeSweep) -> None:
    sweep, _ = make_sweep()
    with pytest.raises(StoreError, match="--study-uri") as raised:
        Ledger("sqlite:////nowhere/at/all/study.db", sweep.spec)
    assert "\n" not in str(raised.value)
