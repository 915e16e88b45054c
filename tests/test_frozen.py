"""What is answered on recorded inputs stays as it was: choices, laws, predictions, plans, pages.

Where a change is meant: ``python -m tests.frozen --write``, and the new answers are a part of the change.
"""

from __future__ import annotations

import pytest

from tests.frozen import collected, inputs
from tests.frozen.difference import Answers, difference_text, differences, plain, sketch, split

MADE_WITHOUT = [name for name in collected.SECTIONS if name != collected.PUBLIC]


@pytest.fixture(scope="module")
def frozen() -> dict[str, Answers]:
    return collected.read()


@pytest.mark.parametrize("section", MADE_WITHOUT)
def test_answers_are_as_they_were(section: str, frozen: dict[str, Answers]) -> None:
    compare(frozen[section], collected.section(section))


@pytest.mark.skipif(
    not inputs.public(), reason="the published tables do not lie beside the project"
)
def test_answers_on_published_tables_are_as_they_were(frozen: dict[str, Answers]) -> None:
    compare(frozen[collected.PUBLIC], collected.section(collected.PUBLIC))


def compare(was: Answers, now: Answers) -> None:
    """Numbers and choices first: where they differ, sentences do because of them."""
    __tracebackhide__ = True
    found = [*differences(was.data, now.data), *differences(was.text, now.text, "text")]
    if found:
        pytest.fail(difference_text(found), pytrace=False)


def test_a_number_may_differ_in_its_last_digits_alone() -> None:
    was = {"a": 1.23456, "b": [1, 2.0], "c": 0.0}
    assert not list(differences(was, {"a": 1.234561, "b": [1, 2.0], "c": 1e-12}))
    found = [d.path for d in differences(was, {"a": 1.2347, "b": [1.0, 2.0], "c": 1e-4})]
    assert found == ["/a", "/b/0", "/c"]


def test_keys_their_order_and_lengths_count() -> None:
    assert [str(d).split("\n")[0] for d in differences({"a": 1, "b": 2}, {"b": 2, "a": 1})] == [
        ": order of its keys"
    ]
    paths = [d.path for d in differences({"a": [1, 2]}, {"a": [1], "b": None})]
    assert paths == ["/a: length", "/b"]


@pytest.mark.parametrize(
    "other",
    [
        {"runs": [1e9, 0.5, 0.0101], "name": "a"},
        {"runs": [0.5, 1e9, 0.01], "name": "a"},
        {"runs": [1e9, 0.5, 0.01], "name": "b"},
        {"runs": [1e9, 0.5, 0.01, 0.0], "name": "a"},
    ],
)
def test_a_sketch_tells_any_change(other: dict[str, object]) -> None:
    was = sketch({"runs": [1e9, 0.5, 0.01], "name": "a"})
    assert list(differences(was, sketch(other)))
    assert not list(differences(was, sketch({"runs": [1e9, 0.5000001, 0.01], "name": "a"})))


def test_sentences_stand_apart_from_choices() -> None:
    found = split(
        plain({"why": ["It is best."], "choice": {"model": "a", "refused": {"b": "No."}}})
    )
    assert found.data == {"why": ["…"], "choice": {"model": "a", "refused": {"b": "…"}}}
    assert found.text == {"/why/0": "It is best.", "/choice/refused/b": "No."}
