"""Single-flight cache: a value is computed once, for any number of callers; few values are kept."""

import gc
import threading
import time
import weakref

import pytest

from tracker.cache import SingleFlightCache


def test_the_same_key_is_computed_once():
    cache, made = SingleFlightCache(), []
    views = [cache.get("a", lambda: made.append(1) or object()) for _ in range(3)]
    assert made == [1]
    assert views[0] is views[1] is views[2]
    assert cache.get("b", lambda: "other") == "other"


def test_concurrent_callers_share_one_computation():
    cache, made, found = SingleFlightCache(), [], []

    def draw():
        made.append(1)
        time.sleep(0.05)
        return object()

    threads = [
        threading.Thread(target=lambda: found.append(cache.get("a", draw))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(5)
    assert len(found) == 8
    assert len(set(map(id, found))) == 1
    assert made == [1]


def test_an_error_is_raised_and_computed_again():
    cache = SingleFlightCache()
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: 1 / 0)
    assert cache.get("a", lambda: 2) == 2


def test_the_least_recently_used_key_is_dropped():
    cache = SingleFlightCache(2)
    for view in ("a", "b", "a", "c"):
        cache.get(view, lambda view=view: view)
    made = []
    cache.get("a", lambda: made.append("a"))
    cache.get("b", lambda: made.append("b"))
    assert made == ["b"]
    assert len(cache) == 2


def test_a_caller_of_another_key_does_not_wait_and_may_nest():
    cache, go = SingleFlightCache(), threading.Event()
    slow = threading.Thread(target=lambda: cache.get("slow", lambda: go.wait(10)))
    slow.start()
    assert cache.get("a", lambda: cache.get("b", lambda: 1) + 1) == 2
    assert cache.peek("slow") is None
    go.set()
    slow.join(10)
    assert [cache.peek(key) for key in ("a", "b", "slow", "never")] == [2, 1, True, None]


def test_a_caller_that_waited_for_a_failure_computes_anew():
    cache, begun, go, made = SingleFlightCache(), threading.Event(), threading.Event(), []

    def fail():
        begun.set()
        go.wait(10)
        raise ValueError("no")

    def first():
        with pytest.raises(ValueError, match="no"):
            cache.get("a", fail)
        made.append("failed")

    threads = [threading.Thread(target=first)]
    threads[0].start()
    assert begun.wait(10)
    threads += [threading.Thread(target=lambda: made.append(cache.get("a", lambda: 1)))]
    threads[1].start()
    go.set()
    for thread in threads:
        thread.join(10)
    assert sorted(map(str, made)) == ["1", "failed"]


def settle(cache: SingleFlightCache, question: object, version: str) -> None:
    for _ in range(500):
        if cache.ready(question, version):
            return
        threading.Event().wait(0.01)
    pytest.fail("the answer never came")


def test_a_new_value_comes_in_the_background_and_the_old_one_stands_meanwhile():
    cache, go = SingleFlightCache(), threading.Event()

    def first() -> str:
        go.wait(5)
        return "one"

    assert cache.get_in_background("q", "1", first) == (None, False)
    go.set()
    settle(cache, "q", "1")
    go.clear()
    assert cache.get_in_background("q", "1", lambda: pytest.fail("worked out twice")) == (
        "one",
        True,
    )

    def slow() -> str:
        go.wait(5)
        return "two"

    assert cache.get_in_background("q", "2", slow) == ("one", False)
    assert not cache.ready("q", "2")
    go.set()
    settle(cache, "q", "2")
    assert cache.get_in_background("q", "2", slow) == ("two", True)


def test_of_versions_that_wait_only_the_newest_is_worked_out():
    cache, begun, go, made = SingleFlightCache(), threading.Event(), threading.Event(), []

    def first() -> None:
        begun.set()
        go.wait(5)

    cache.get_in_background("first", "1", first)
    assert begun.wait(5)  # else the worker may take version 1, being the last requested
    for version in "123":
        cache.get_in_background("q", version, lambda version=version: made.append(version))
    go.set()
    settle(cache, "q", "3")
    assert made == ["3"]


def test_an_error_in_the_background_is_raised_in_the_caller():
    cache, go = SingleFlightCache(), threading.Event()

    def fail() -> None:
        go.wait(5)  # so that the first question is never answered already
        raise ValueError("no")

    cache.get_in_background("q", "1", fail)
    go.set()
    settle(cache, "q", "1")
    with pytest.raises(ValueError, match="no"):
        cache.get_in_background("q", "1", fail)


def test_an_error_keeps_no_reference_to_its_arguments():
    class View:
        """Stands for the trials of a sweep."""

    cache, kept = SingleFlightCache(), []

    def ask() -> None:
        view = View()
        kept.append(weakref.ref(view))
        cache.get_in_background(
            "q", "1", lambda: 1 / len([v for v in (view,) if v is None]), wait=5.0
        )

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            ask()
    gc.collect()
    assert [view() for view in kept] == [None] * 3


def test_answers_do_not_pile_up():
    cache = SingleFlightCache(3)
    for i in range(4):
        cache.get_in_background(i, "1", lambda: 0)
        settle(cache, i, "1")
    assert not cache.ready(0, "1")
    assert cache.ready(1, "1")


def test_a_quick_answer_can_be_waited_for():
    assert SingleFlightCache().get_in_background("q", "1", lambda: "one", wait=5.0) == ("one", True)
