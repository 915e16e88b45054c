"""TrialDetails one trial from the store beside the pages."""

import threading

import pytest

from dashboards.trials.reader import RETRY, TrialDetails, TrialReader, mlflow_address
from tracker.errors import InputError, StoreError


class Calls:
    """A store that answers twice and is then down."""

    def __init__(self) -> None:
        self.count = 0

    def history(self, sweep: str, key: str) -> list[object]:
        self.count += 1
        if self.count > 2:
            raise StoreError("the store is down")
        return []

    def run_url_parts(self, sweep: str, key: str) -> tuple[str, str]:
        return "7", key

    def examples(self, sweep: str, key: str) -> tuple[object, ...]:
        return ()


def test_a_reading_is_kept_and_a_store_that_is_down_is_a_problem():
    store, now = Calls(), [0.0]
    reader = TrialReader(store, "http://localhost:5000", lambda: now[0])  # type: ignore[arg-type]
    assert reader.read("s", "a", 5.0).link == "http://localhost:5000/#/experiments/7/runs/a"
    assert reader.read("s", "a") == reader.read("s", "a")
    reader.read("s", "b", 5.0)
    assert store.count == 2
    for _ in range(3):
        assert reader.read("s", "c", 5.0).problem == "the store is down"
    assert store.count == 3, "who presses a key again and again does not ask each time"
    store.count, now[0] = 0, RETRY
    assert reader.read("s", "c", 5.0).problem is None


def test_a_store_that_hangs_keeps_no_page_waiting():
    store, go = Calls(), threading.Event()
    store.history = lambda sweep, key: go.wait(30) and []  # type: ignore[assignment]
    reader = TrialReader(store)  # type: ignore[arg-type]
    assert reader.read("s", "a", 0.05) is None
    assert reader.read("s", "b", 0.05) is None
    go.set()
    assert reader.read("s", "a", 5.0) == reader.read("s", "b", 5.0) == TrialDetails()


def test_a_link_needs_an_address_and_carries_no_password():
    assert mlflow_address(None, None) is None
    assert mlflow_address(None, "sqlite:///mlflow.db") is None
    assert mlflow_address("http://u:p@host:5000/", None) == "http://host:5000"
    assert mlflow_address(None, "https://host/mlflow/") == "https://host/mlflow"
    with pytest.raises(InputError, match="not an address"):
        mlflow_address("javascript:alert(1)", None)
