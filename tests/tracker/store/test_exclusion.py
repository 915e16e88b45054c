"""Excluded trials count for no answer, say why, and come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.factories import numbered, scored_record, store_sweep
from tracker.decision.analysis import Analysis
from tracker.errors import InputError
from tracker.store.exclusion import excluded_of, reason
from tracker.store.store import Store
from tracker.trial import Objective


def test_an_excluded_trial_counts_for_no_answer_until_it_is_included(tmp_path: Path) -> None:
    records = numbered(scored_record(volume=volume) for volume in (100, 200, 400))
    store_sweep(Store.open(tmp_path), "support", records, Objective(weights={"intent": 1}))
    store = Store.open(tmp_path, create=False)
    before = Analysis.of_sweep(store, "support").table
    store.exclude("support", records[1], "its file was mixed up")

    other = Store.open(tmp_path, create=False)  # as another process reads it
    for reader in (store, other):
        assert reader.records("support") == [records[0], records[2]]
        (out,) = reader.excluded("support")
        assert out.excluded == "its file was mixed up"
        assert out.result == records[1].result
        assert len(Analysis.of_sweep(reader, "support").table) == len(before) - 1
    (info,) = store.sweeps()
    assert info.ended == 3, "it did end"
    (known,) = excluded_of(info.facts).values()
    assert (known.number, known.why) == (records[1].number, "its file was mixed up")
    _, run_id = store.run_url_parts("support", records[1].result.spec.key)
    assert store.client.get_run(run_id).data.tags["sft.excluded"] == "its file was mixed up"

    store.include("support", records[1])
    assert other.records("support") == records
    assert other.excluded("support") == []
    assert "sft.excluded" not in store.client.get_run(run_id).data.tags
    with pytest.raises(InputError, match="is not excluded"):
        store.include("support", records[1])


def test_a_reason_is_one_line() -> None:
    assert reason(" its file\nwas mixed up ") == "its file was mixed up"
    for text in (None, "", " \n"):
        with pytest.raises(InputError, match="give the reason"):
            reason(text)
    with pytest.raises(InputError, match="at most 1000"):
        reason("x" * 1001)


def test_a_garbled_tag_excludes_nothing() -> None:
    assert excluded_of({"excluded.abc": "{", "workers": "2"}) == {}
