"""Sort, filters and shown columns of the trials grid, as they live in the address."""

import pytest

from dashboards.exports import csv_text, defused
from dashboards.pages.trials import put_fields, rows, shown_fields
from dashboards.state import Query, href, parse_query
from dashboards.trials.frame import columns_of, trial_frame
from dashboards.trials.query import Condition, initial_state, select, state_in, state_of
from tracker.decision.analysis import Analysis
from tracker.trial import Objective

OR = {
    "filterType": "number",
    "operator": "OR",
    "conditions": [{"type": "greaterThan", "filter": 0.5}, {"type": "blank"}],
}
REQUEST = {
    "startRow": 0,
    "endRow": 100,
    "sortModel": [{"colId": "quality", "sort": "desc"}, {"colId": "number", "sort": "asc"}],
    "filterModel": {"model": {"filterType": "text", "type": "contains", "filter": "EN-1"}},
}


@pytest.fixture(scope="module")
def frame(analysis):
    return analysis.trials


def test_the_choice_of_columns_lives_in_the_address(frame):
    columns = columns_of(frame.columns)
    chosen = [f for f in shown_fields(columns, Query()) if f != "seed"] + ["flops"]
    query = put_fields(columns, chosen, Query("s"))
    assert (query.many("hide"), query.many("show")) == (("seed",), ("flops",))
    assert set(shown_fields(columns, parse_query(href("", query)))) == set(chosen)


def test_no_trials_no_rows():
    empty = trial_frame(Analysis([], Objective(weights={"intent": 1.0})))
    assert rows(empty, REQUEST) == {"rowData": [], "rowCount": 0}
    assert columns_of(empty.columns)


def test_rows_are_sorted_filtered_and_counted(frame):
    found = rows(frame, REQUEST)
    assert found["rowCount"] == int((frame["model"] == "en-1m").sum())
    qualities = [row["quality"] for row in found["rowData"]]
    known = [q for q in qualities if q is not None]
    assert known == sorted(known, reverse=True)
    assert qualities[len(known) :] == [None] * (len(qualities) - len(known))
    page = rows(frame, REQUEST | {"startRow": 3, "endRow": 5})
    assert page == {"rowData": found["rowData"][3:5], "rowCount": found["rowCount"]}


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"type": "equals", "filter": 500}, lambda f: f["volume"] == 500),
        ({"type": "inRange", "filter": 250, "filterTo": 2000},
         lambda f: (f["volume"] > 250) & (f["volume"] < 2000)),
        ({"type": "nonsense", "filter": 1}, lambda f: f["volume"] >= 0),
        ({"type": "lessThan", "filter": "x"}, lambda f: f["volume"] >= 0),
        ({"type": "equals", "filter": "inf"}, lambda f: f["volume"] >= 0),
    ],
)  # fmt: skip
def test_number_filters(frame, model, expected):
    state = state_of({"filterModel": {"volume": model}}, frame.columns)
    found = sorted(frame["number"].iloc[select(frame, state)])
    assert found == sorted(frame["number"][expected(frame)])


@pytest.mark.parametrize(
    ("typed", "shown", "other"),
    [(0.851, 0.8507, 0.8516), (0.001, 0.001004, 0.0012), (500, 500.0, 501.0), (0, 0.0, 0.1)],
)
def test_what_is_typed_as_it_is_shown_is_found(frame, typed, shown, other):
    values = frame.iloc[:2].assign(quality=[shown, other], number=[1, 2])
    for test, found in (("equals", [1]), ("notEqual", [2])):
        model = {"filterModel": {"quality": {"type": test, "filter": typed}}}
        assert list(values["number"].iloc[select(values, state_of(model, values.columns))]) == found


def test_text_filters_and_blanks(frame):
    def numbers(**model):
        state = state_of({"filterModel": {"reason": model}}, frame.columns)
        return set(frame["number"].iloc[select(frame, state)])

    failed = set(frame["number"][frame["reason"].notna()])
    assert numbers(type="notBlank") == failed
    assert numbers(type="blank") == set(frame["number"]) - failed
    assert numbers(type="startsWith", filter="FAILED") < failed
    assert numbers(type="notContains", filter="failed") > numbers(type="blank")


def test_sort_and_filters_live_in_the_address_and_come_back(frame):
    request = REQUEST | {"filterModel": REQUEST["filterModel"] | {"quality": OR}}
    state = state_of(request, frame.columns)
    search = href("", state.put_in(Query("s")))
    assert "where=model%3Acontains%3AEN-1" in search
    assert state_in(parse_query(search), frame.columns) == state
    shown = initial_state(state, {"model"})
    again = state_of(
        {"sortModel": shown["sort"]["sortModel"], "filterModel": shown["filter"]["filterModel"]},
        frame.columns,
    )
    assert again == state


def test_names_with_separators_survive_the_address():
    condition = Condition("score.a:b/ü", "equals", ("1:2",))
    assert Condition.of(condition.text) == condition
    assert state_in(Query.of(sort="-no_such", where="no_such:equals:1"), ["number"]) == (
        (),
        (),
        (),
    )


def test_csv_holds_the_filtered_rows_and_no_formula(frame):
    harm = frame.assign(reason='=HYPERLINK("http://x")', mix="a,b")
    text = csv_text(harm, Query.of(where="model:equals:en-1m", sort="number"))
    lines = text.splitlines()
    assert len(lines) == 1 + int((frame["model"] == "en-1m").sum())
    assert lines[0].startswith("key,number,status")
    assert all("'=HYPERLINK" in line and '"a,b"' in line for line in lines[1:])
    assert [defused(text) for text in ("+1", "-1", "@a", "\ta", "a=b")] == [
        *("'+1", "'-1", "'@a", "'\ta", "a=b")
    ]
