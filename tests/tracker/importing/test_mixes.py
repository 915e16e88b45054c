"""Mixes of an outside table: shares by task and replay, as stated, and what of them is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tracker.errors import InputError
from tracker.importing.trials import OutsideTable, read_table, split
from tracker.laws.auxiliary import ForgettingKey, auxiliary_laws
from tracker.laws.mixture import MixRun, fit_mix
from tracker.trial import MixSpec

HEAD = "model,model_params,method,task,metric,examples,mix,mix:a,mix:b,replay,value"


def table(folder: Path, *rows: str, head: str = HEAD, **options: object) -> OutsideTable:
    path = folder / "table.csv"
    path.write_text("\n".join([head, *rows, ""]), encoding="utf-8")
    return read_table(path, **options)  # type: ignore[arg-type]


def refused(folder: Path, *rows: str) -> str:
    with pytest.raises(InputError) as caught:
        table(folder, *rows)
    return "\n".join(caught.value.problems)


def test_shares_split_the_volume_and_replay_stays_beside_it(tmp_path: Path) -> None:
    found = table(
        tmp_path,
        "m,100,full,a,loss,0,,,,,3.5",
        "m,100,full,a,loss,401,more,0.75,0.25,0.02,1.5",
        "m,100,full,b,loss,401,more,0.75,0.25,0.02,1.6",
        "m,100,full,a,loss,400,none,,1,0.02,2.5",
    )
    base, more, none = (record.result.spec for record in found.records)
    assert (base.mix, base.examples) == (None, {})
    assert more.mix == MixSpec(name="more", weights={"a": 0.75, "b": 0.25}, replay=0.02)
    assert more.examples == {"a": 301, "b": 100}
    assert none.mix == MixSpec(name="none", weights={"b": 1.0}, replay=0.02)
    assert none.examples == {"b": 400}  # task a was measured, not trained


def test_a_mix_is_named_by_its_shares_and_what_one_row_says_holds_for_all(tmp_path: Path) -> None:
    found = table(
        tmp_path,
        "m,100,full,a,loss,300,,0.33,0.67,,1.5",
        "m,100,full,a,loss,400,half,0.5,0.5,,1.5",
        "m,100,full,a,loss,800,half,,,,1.4",
    )
    specs = [record.result.spec for record in found.records]
    assert [spec.mix and spec.mix.name for spec in specs] == ["0.33 a + 0.67 b", "half", "half"]
    assert specs[2].examples == {"a": 400, "b": 400}
    assert specs[1].mix == specs[2].mix


def test_replay_tells_mixes_apart(tmp_path: Path) -> None:
    found = table(
        tmp_path,
        "m,100,full,a,loss,400,even,0.5,0.5,0,1.5",
        "m,100,full,a,loss,400,even,0.5,0.5,0.05,1.5",
        "m,100,lora,a,loss,400,,,,0,1.5",
        "m,100,lora,a,loss,400,,,,0.05,1.5",
    )
    mixes = [record.result.spec.mix for record in found.records]
    assert [mix and (mix.name, mix.replay) for mix in mixes] == [
        ("even", 0.0),
        ("even replay 0.05", 0.05),
        None,
        ("replay 0.05", 0.05),
    ]


def test_shares_may_have_other_names(tmp_path: Path) -> None:
    head = HEAD.replace("mix:a", "share_of_a").replace("mix:b", "rest")
    row = "m,100,full,a,loss,400,,0.25,0.75,,1.5"
    found = table(tmp_path, row, head=head, columns={"mix:a": "share_of_a", "mix:c": "rest"})
    assert found.records[0].result.spec.examples == {"a": 100, "c": 300}
    assert "tasks with a share of a mix that no row measures: c" in found.notes


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["full,a,loss,400,,0.5,0.4,,1"], "found '0.5 + 0.4'; allowed: shares of all tasks"),
        (["full,a,loss,400,,50,50,,1"], "mix:a: found '50'; allowed: a number from 0 to 1"),
        (["full,a,loss,400,,0,0,,1"], "found '0 + 0'"),
        (["full,a,loss,400,,,,1.5,1"], "replay: found '1.5'; allowed: a number from 0 to 1"),
        (
            ["full,a,loss,400,x,0.5,0.5,,1", "full,a,loss,800,x,1,,,1"],
            ":3: mix 'x' has shares 1 a here and 0.5 a + 0.5 b above: two mixes need two names",
        ),
        (
            ["full,a,loss,400,x,0.5,0.5,0.1,1", "full,a,loss,800,x,0.5,0.5,,1"],
            ":3: replay: found nothing, and a fraction in other rows; allowed: 0",
        ),
    ],
)
def test_what_does_not_add_up_is_refused_with_its_place(
    tmp_path: Path, rows: list[str], message: str
) -> None:
    assert message in refused(tmp_path, *(f"m,100,{row}" for row in rows))


@pytest.mark.parametrize(
    ("volume", "shares", "counts"),
    [
        (10, {"a": 0.33, "b": 0.33, "c": 0.33}, {"a": 4, "b": 3, "c": 3}),
        (3, {"a": 0.9, "b": 0.1}, {"a": 3, "b": 0}),
        (1000, {"a": 0.125, "b": 0.875}, {"a": 125, "b": 875}),
    ],
)
def test_a_volume_is_split_into_whole_examples(
    volume: int, shares: dict[str, float], counts: dict[str, int]
) -> None:
    assert split(volume, shares) == counts
    assert sum(counts.values()) == volume


def test_laws_of_mixes_and_forgetting_work_on_an_imported_table(tmp_path: Path) -> None:
    """The very law that its runs give when handed over as such."""
    rng = np.random.default_rng(3)
    rows, runs = [], []
    for share in (0.25, 0.5, 0.75):
        for volume in (200, 400, 800, 1600, 3200):
            task_examples = round(volume * share)
            effective = task_examples + 0.3 * (volume - task_examples)
            loss = (3 * effective**-0.5 + 0.1) * np.exp(0.01 * rng.standard_normal())
            lost = 0.01 * volume**0.3 * (1 - 0.6 * (share == 0.25))
            replay = 0.05 if share == 0.25 else 0
            shared = f"{volume},,{share},{1 - share},{replay}"
            rows.append(f"m,100000,full,a,bits_per_byte,{shared},{loss:.8f}")
            rows.append(f"m,100000,full,english,forgetting,{shared},{lost:.6f}")
            runs.append((task_examples, volume - task_examples, float(f"{loss:.8f}")))
    found = table(tmp_path, *rows)
    laws = auxiliary_laws(found.records, found.objective)
    (law,) = laws.mixes.values()
    specs = {r.result.spec.key: r.result.spec for r in found.records}
    by_sizes = {(s.examples["a"], s.examples["b"]): key for key, s in specs.items()}
    expected = fit_mix([MixRun(by_sizes[o, n], o, n, loss) for o, n, loss in runs], what="a")
    assert law == expected
    assert law.transfer_rate.low <= 0.3 <= law.transfer_rate.high
    assert laws.forgetting[ForgettingKey(method="full", suite="english")].domain["replay"] == (
        0,
        0.05,
    )
