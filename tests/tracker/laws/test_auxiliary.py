"""Auxiliary laws from trials: which runs each takes, what is refused, and how it reads."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from tests.factories import numbered, scored_record
from tracker.decision import law_report
from tracker.decision.analysis import Analysis
from tracker.decision.law_report import auxiliary_lines
from tracker.errors import InputError, NotEnoughDataError
from tracker.laws.auxiliary import AuxiliaryLaws, ForgettingKey, auxiliary_laws
from tracker.laws.fitted_law import Parameter
from tracker.trial import MixSpec, Objective, TrialRecord

VOLUMES = (100, 200, 400, 800, 1600)
MIXES = {
    "even": MixSpec(name="even", weights={"intent": 1, "slots": 1}, replay=0.03),
    "plain": MixSpec(name="plain", weights={"intent": 1, "slots": 1}),
    "intent": MixSpec(name="intent", weights={"intent": 3, "slots": 1}),
    "again": MixSpec(
        name="again", weights={"intent": 1, "slots": 1}, extra_epochs={"intent": 2}, replay=0.03
    ),
}
OBJECTIVE = Objective(weights={"intent": 1.0, "slots": 1.0})


def _record(
    model: str, mix: str, volume: int, rate: float, rng: np.random.Generator
) -> TrialRecord:
    """Loss 3 (task's + 0.2 others')^-0.5 + 0.1 at rate 0.001; forgetting D^0.4 / ((1 + 200 p) N)^0.5."""
    chosen = MIXES[mix]
    task_examples = round(volume * chosen.weights["intent"] / sum(chosen.weights.values()))
    loss = (
        (3 * (task_examples + 0.2 * (volume - task_examples)) ** -0.5 + 0.1)
        * np.exp(0.02 * rng.standard_normal())
        * (rate / 0.001) ** 0.3
    )
    size = {"small": 1e5, "large": 8e5}[model]
    lost = 2 * volume**0.4 / ((1 + 200 * chosen.replay) * size) ** 0.5
    record = scored_record(
        model=model,
        volume=volume,
        rate=rate,
        mix=mix,
        scores=dict.fromkeys(("intent", "slots"), float(1 / (1 + (loss / 0.5) ** 2))),
        forgetting=float(lost + 0.002 * rng.standard_normal()),
        bits_per_byte=float(loss),
    )
    spec = record.result.spec.model_copy(
        update={
            "mix": chosen,
            "examples": {"intent": task_examples, "slots": volume - task_examples},
        }
    )
    return record.model_copy(update={"result": record.result.model_copy(update={"spec": spec})})


@pytest.fixture(scope="module")
def records() -> list[TrialRecord]:
    """Two sizes, four mixes, five volumes at one learning rate; another at the smallest volumes."""
    rng = np.random.default_rng(5)
    points = itertools.product(("small", "large"), MIXES, VOLUMES)
    found = [_record(model, mix, volume, 0.001, rng) for model, mix, volume in points]
    found += [_record("small", "even", volume, 0.01, rng) for volume in VOLUMES[:2]]
    return numbered(found)


@pytest.fixture(scope="module")
def laws(records: list[TrialRecord]) -> AuxiliaryLaws:
    return auxiliary_laws(records, OBJECTIVE)


def test_forgetting_is_fitted_at_the_learning_rate_run_most_widely(
    records: list[TrialRecord], laws: AuxiliaryLaws
) -> None:
    law = laws.forgetting[ForgettingKey(method="full", suite="english")]
    assert law.kind == "law"
    assert len(law.used) == 40
    assert law.domain["replay"] == (0, 0.03)
    others = {r.result.spec.key for r in records if r.result.spec.method.learning_rate == 0.01}
    assert {out.key for out in law.left_out} == others
    assert {out.reason for out in law.left_out} == {"another learning rate than 0.001"}


def test_mix_laws_leave_out_runs_with_extra_passes(laws: AuxiliaryLaws) -> None:
    law = next(
        law for key, law in laws.mixes.items() if key.task == "intent" and key.model == "large"
    )
    assert law.transfer_rate.low <= 0.2 <= law.transfer_rate.high
    assert len(law.used) == 15
    assert {out.reason for out in law.left_out} == {
        "2 extra passes over intent: the law counts distinct examples"
    }


def test_loss_to_score_takes_every_trial_of_a_task(
    records: list[TrialRecord], laws: AuxiliaryLaws
) -> None:
    assert len(laws.loss_to_score["intent"].used) == len(records)
    assert laws.loss_to_score["intent"].proxy


def test_what_cannot_be_fitted_is_refused_with_its_reason(records: list[TrialRecord]) -> None:
    even = [r for r in records if r.result.spec.mix == MIXES["even"]]
    found = auxiliary_laws(even, OBJECTIVE)
    assert not found.mixes
    assert "share of the mix is the same" in found.refused["mix: large full lr=0.001, intent"]
    lines = [line for line in auxiliary_lines(found) if line.startswith("Not fitted: mix")]
    assert any("and 1 more: intent: its share" in line for line in lines)


def test_a_table_without_a_split_by_task_is_refused(records: list[TrialRecord]) -> None:
    def blind(record: TrialRecord) -> TrialRecord:
        spec = record.result.spec.model_copy(update={"examples": {}})
        return record.model_copy(update={"result": record.result.model_copy(update={"spec": spec})})

    found = auxiliary_laws([blind(r) for r in records], OBJECTIVE)
    assert not found.mixes
    assert all(
        "does not say how many" in r for k, r in found.refused.items() if k.startswith("mix")
    )


def test_every_line_shows_an_interval(laws: AuxiliaryLaws) -> None:
    lines = auxiliary_lines(laws)
    assert len(lines) == 1 + 4 + 2
    assert all("(80 % " in line for line in lines)
    assert any("the other tasks help" in line or "help is unclear" in line for line in lines)


def test_neither_order_nor_repetition_changes_the_laws(
    records: list[TrialRecord], laws: AuxiliaryLaws
) -> None:
    other = auxiliary_laws(records[::-1], OBJECTIVE)
    assert auxiliary_lines(other) == auxiliary_lines(laws)
    assert other.mixes == laws.mixes


def test_the_report_lists_every_law(records: list[TrialRecord]) -> None:
    report = law_report.every_law(Analysis(records, Objective(weights={"intent": 1.0})))
    found = law_report.laws_as_json(report)
    assert {curve["curve"]["task"] for curve in found["curves"]} == {"intent"}
    assert len(found["curves"]) >= 8  # one per model and mix
    assert {curve["metric"] for curve in found["curves"]} == {"score"}
    assert found["curves"][0]["form"] == "E + A / (1 + (D/D0)^beta)"
    assert [law["suite"] for law in found["forgetting"]] == ["english"]
    assert len(found["mixes"]) == 2
    assert len(found["loss_to_score"]) == 1
    text = law_report.law_lines(report)
    assert text[1].split() == "curve runs left out examples held-out error noise".split()
    by_loss = law_report.every_law(
        Analysis(records, Objective(weights={"intent": 1.0})), "bits_per_byte"
    )
    assert by_loss.metrics == {"intent": "bits_per_byte"}


def test_the_report_refuses_what_it_cannot_do(records: list[TrialRecord]) -> None:
    with pytest.raises(InputError, match=r"^metric: found 'accuracy'; allowed: score"):
        law_report.every_law(Analysis(records, OBJECTIVE), "accuracy")  # type: ignore[arg-type]
    with pytest.raises(NotEnoughDataError, match="no complete trial measured"):
        law_report.every_law(Analysis([], OBJECTIVE))


def test_numbers_have_no_exponent_and_a_gain_is_called_one(
    laws: AuxiliaryLaws,
) -> None:
    ((key, law),) = laws.forgetting.items()
    tiny = Parameter(value=7.5e-05, low=-2e-05, high=1.23e12)
    law = law.model_copy(
        update={
            "parameters": dict.fromkeys(law.parameters, tiny),
            "best": (-law.best[0], *law.best[1:]),
            "replicates": tuple((-row[0], *row[1:]) for row in law.replicates),
        }
    )
    line = auxiliary_lines(laws._replace(forgetting={key: law}))[0]
    assert "A 0.000075 (80 % interval -0.00002 to 1.23 trillion)" in line
    assert not re.search(r"\de[-+]\d", line)
    gained = re.search(r"replay gains ([\d.]+) \(80 % interval ([\d.-]+) to ([\d.]+)\)", line)
    assert gained is not None
    value, low, high = map(float, gained.groups())
    assert low < value < high
