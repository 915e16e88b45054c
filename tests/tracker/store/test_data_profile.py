"""The profile of a sweep's data: bounded in size, kept with the sweep, absent where it was not."""

from pathlib import Path

import pytest

from tracker.store.data_profile import (
    DataProfile,
    LabelCount,
    Lengths,
    MixVolume,
    Quantiles,
    ShownRow,
    ShownTurn,
    SplitProfile,
    TaskProfile,
    text,
)
from tracker.store.store import Store
from tracker.trial import Objective

LENGTHS = Lengths(
    unit="characters", rows=3, answer=Quantiles(least=1, p10=1, median=2, p90=3, most=3)
)


def profile(tasks: int = 2, rows: int = 3, labels: int = 5) -> DataProfile:
    shown = ShownRow(turns=(ShownTurn(role="user", text="x" * 300, cut=12),))
    split = SplitProfile(
        rows=100,
        labels=tuple(LabelCount(label=f"label {i} " * 5, rows=i) for i in range(labels)),
        distinct=labels,
        lengths=LENGTHS,
        shown=(shown,) * rows,
    )
    return DataProfile(
        tasks=tuple(
            TaskProfile(name=f"task {i}", score="exact_match", splits={"train": split})
            for i in range(tasks)
        ),
        volumes=(MixVolume(mix="even", volume=100, examples={"task 0": 50, "task 1": 50}),),
    )


def test_a_small_profile_stays_whole():
    assert DataProfile.model_validate_json(text(profile())) == profile()


@pytest.mark.parametrize("limit", [60_000, 40_000, 9_000, 300])
def test_a_large_one_is_cut_to_the_limit(limit):
    content = text(profile(tasks=30, labels=30), limit)
    assert len(content.encode()) <= limit
    found = DataProfile.model_validate_json(content)
    assert found.shortened
    if limit >= 40_000:
        assert len(found.tasks) == 30


def begin(store: Store, data: DataProfile | None) -> None:
    store.begin_sweep(
        "support",
        spec_text="name: support\n",
        spec_digest="0" * 64,
        planned=1,
        datasets=[],
        objective=Objective(weights={"task 0": 1}),
        data=data,
    )


def test_the_store_keeps_it_with_the_sweep(tmp_path: Path):
    store = Store.open(tmp_path)
    begin(store, None)
    assert store.data_profile("support") is None
    begin(store, profile())
    assert store.data_profile("support") == profile()
    begin(store, None)
    assert Store.open(tmp_path).data_profile("support") == profile()


def test_one_of_another_version_is_none(tmp_path: Path):
    store = Store.open(tmp_path)
    begin(store, profile())
    run = store._runs.sweep("support")
    store.client.log_text(run.info.run_id, '{"tasks": "many"}', "data.json")
    assert store.data_profile("support") is None
