"""From trials to further laws: which runs each takes, what is refused, and how it reads."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from tests.factories import numbered, scored_record
from tracker.decision import law_report
from tracker.decision.analysis import Analysis
from tracker.errors import InputError, NotEnoughDataError
from tracker.laws.auxiliary import AuxiliaryLaws, ForgettingKey, auxiliary_laws, auxiliary_lines
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
    """Loss 3 (own + 0.2 others)^-0.5 + 0.1 at rate 0.001; forgetting D^0.4 / ((1 + 200 p) N)^0.5."""
    chosen = MIXES[mix]
    own = round(volume * chosen.weights["intent"] / sum(chosen.weights.values()))
    loss = (
        (3 * (own + 0.2 * (volume - own)) ** -0.5 + 0.1)
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
        update={"mix": chosen, "examples": {"intent": own, "slots": volume - own}}
    )
    return record.model_copy(update={"result": record.result.model_copy(update={"spec": spec})})


@pytest.fixture(scope="module")
def records() -> list[TrialRecord]:
    """Two sizes, four mixes, five volumes at one learning rate; another at the smallest volumes."""
    rng = np.random.default_rng(5)
    cells = itertools.product(("small", "large"), MIXES, VOLUMES)
    found = [_record(model, mix, volume, 0.001, rng) for model, mix, volume in cells]
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


def test_mix_laws_leave_out_what_saw_extra_passes(laws: AuxiliaryLaws) -> None:
    law = next(
        law for key, law in laws.mixes.items() if key.task == "intent" and key.model == "large"
    )
    assert law.transfer_rate.low <= 0.2 <= law.transfer_rate.high
    assert len(law.used) == 15
    assert {out.reason for out in law.left_out} == {
        "2 extra passes over intent: the law counts distinct examples"
    }


def test_links_take_every_trial_of_a_task(records: list[TrialRecord], laws: AuxiliaryLaws) -> None:
    assert len(laws.loss_to_score["intent"].used) == len(records)
    assert laws.loss_to_score["intent"].proxy


def test_what_cannot_be_fitted_is_refused_with_its_reason(records: list[TrialRecord]) -> None:
    even = [r for r in records if r.result.spec.mix == MIXES["even"]]
    found = auxiliary_laws(even, OBJECTIVE)
    assert not found.mixes
    assert "share of the mix is the same" in found.refused["mix: large full lr=0.001, intent"]
    told = [line for line in auxiliary_lines(found) if line.startswith("Not fitted: mix")]
    assert any("and 1 more: intent: its share" in line for line in told)


def test_a_table_that_knows_no_split_is_told_so(records: list[TrialRecord]) -> None:
    def blind(record: TrialRecord) -> TrialRecord:
        spec = record.result.spec.model_copy(update={"examples": {}})
        return record.model_copy(update={"result": record.result.model_copy(update={"spec": spec})})

    found = auxiliary_laws([blind(r) for r in records], OBJECTIVE)
    assert not found.mixes
    assert all(
        "does not say how many" in r for k, r in found.refused.items() if k.startswith("mix")
    )


def test_every_line_shows_an_interval(laws: AuxiliaryLaws) -> None:
    told = auxiliary_lines(laws)
    assert len(told) == 1 + 4 + 2
    assert all("(80 % " in line for line in told)
    assert any("the other tasks help" in line or "cannot be told" in line for line in told)


def test_neither_order_nor_repetition_changes_the_laws(
    records: list[TrialRecord], laws: AuxiliaryLaws
) -> None:
    other = auxiliary_laws(records[::-1], OBJECTIVE)
    assert auxiliary_lines(other) == auxiliary_lines(laws)
    assert other.mixes == laws.mixes


def test_the_report_lists_every_law(records: list[TrialRecord]) -> None:
    report = law_report.every_law(Analysis(records, Objective(weights={"intent": 1.0})))
    found = law_report.as_json(report)
    assert {curve["curve"]["task"] for curve in found["curves"]} == {"intent"}
    assert len(found["curves"]) >= 8  # one per model and mix
    assert {curve["metric"] for curve in found["curves"]} == {"score"}
    assert found["curves"][0]["form"] == "E + A / (1 + (D/D0)^beta)"
    assert [law["suite"] for law in found["forgetting"]] == ["english"]
    assert len(found["mixes"]) == 2
    assert len(found["loss_to_score"]) == 1
    text = law_report.lines(report)
    assert text[1].split() == "curve runs left out examples held-out error noise".split()
    by_loss = law_report.every_law(
        Analysis(records, Objective(weights={"intent": 1.0})), "bits_per_byte"
    )
    assert by_loss.metrics == {"intent": "bits_per_byte"}


def test_the_report_refuses_what_it_cannot_do(records: list[TrialRecord]) -> None:
    with pytest.raises(InputError, match="--metric accuracy: allowed: score"):
        law_report.every_law(Analysis(records, OBJECTIVE), "accuracy")  # type: ignore[arg-type]
    with pytest.raises(NotEnoughDataError, match="no complete trial measured"):
        law_report.every_law(Analysis([], OBJECTIVE))


def test_numbers_are_written_as_people_read_them_and_a_gain_is_called_one(
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
    told = auxiliary_lines(laws._replace(forgetting={key: law}))[0]
    assert "A 0.000075 (80 % -0.00002 to 1.23 trillion)" in told
    assert not re.search(r"\de[-+]\d", told)
    gained = re.search(r"the most of these gains ([\d.]+) \(80 % ([\d.-]+) to ([\d.]+)\)", told)
    assert gained is not None
    value, low, high = map(float, gained.groups())
    assert low < value < high
