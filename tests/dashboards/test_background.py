import gc
import threading
import weakref

import pytest

from dashboards.background import MAX_ANSWERS, BackgroundJobs


def settle(later: BackgroundJobs, question: object, version: str) -> None:
    for _ in range(500):
        if later.ready(question, version):
            return
        threading.Event().wait(0.01)
    pytest.fail("the answer never came")


def test_an_answer_comes_later_and_the_old_one_stands_meanwhile():
    later, go = BackgroundJobs(), threading.Event()

    def first() -> str:
        go.wait(5)
        return "one"

    assert later.get("q", "1", first) == (None, False)
    go.set()
    settle(later, "q", "1")
    go.clear()
    assert later.get("q", "1", lambda: pytest.fail("worked out twice")) == ("one", True)

    def slow() -> str:
        go.wait(5)
        return "two"

    assert later.get("q", "2", slow) == ("one", False)
    assert not later.ready("q", "2")
    go.set()
    settle(later, "q", "2")
    assert later.get("q", "2", slow) == ("two", True)


def test_of_versions_that_wait_only_the_newest_is_worked_out():
    later, begun, go, made = BackgroundJobs(), threading.Event(), threading.Event(), []

    def first() -> None:
        begun.set()
        go.wait(5)

    later.get("first", "1", first)
    assert begun.wait(5)  # else the worker may take version 1, being what was asked last
    for version in "123":
        later.get("q", version, lambda version=version: made.append(version))
    go.set()
    settle(later, "q", "3")
    assert made == ["3"]


def test_what_was_raised_is_raised_where_it_is_asked_for():
    later, go = BackgroundJobs(), threading.Event()

    def fail() -> None:
        go.wait(5)  # so that the first question is never answered already
        raise ValueError("no")

    later.get("q", "1", fail)
    go.set()
    settle(later, "q", "1")
    with pytest.raises(ValueError, match="no"):
        later.get("q", "1", fail)


def test_an_error_holds_on_to_nothing_that_it_was_asked_with():
    class View:
        """Stands for the trials of a sweep."""

    later, kept = BackgroundJobs(), []

    def ask() -> None:
        view = View()
        kept.append(weakref.ref(view))
        later.get("q", "1", lambda: 1 / len([v for v in (view,) if v is None]), wait=5.0)

    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            ask()
    gc.collect()
    assert [view() for view in kept] == [None] * 3


def test_answers_do_not_pile_up():
    later = BackgroundJobs()
    for i in range(MAX_ANSWERS + 1):
        later.get(i, "1", lambda: 0)
        settle(later, i, "1")
    assert not later.ready(0, "1")
    assert later.ready(1, "1")


def test_a_quick_answer_can_be_waited_for():
    assert BackgroundJobs().get("q", "1", lambda: "one", wait=5.0) == ("one", True)
