from dashboards.state import MAX_QUERY, Query, href, one_of, parse_query


def test_a_link_restores_what_it_was_made_from():
    query = Query.of("a b/ü", task="intent & co", models=("x", "y,z"), axis="linear")
    link = href("/scaling", query)
    assert parse_query(link.removeprefix("/scaling")) == query
    assert query.get("task") == "intent & co"
    assert query.many("models") == ("x", "y,z")


def test_changes_replace_add_and_take_away():
    query = Query.of("s", task="a", models=("x", "y"))
    assert query.put(task="b", mix="even") == Query.of("s", task="b", mix="even", models=("x", "y"))
    assert query.put(task=None, models=()) == Query("s")
    assert query.get("nosuch") is None


def test_oversize_queries_are_ignored():
    assert parse_query("?task=" + "x" * MAX_QUERY) == Query()
    assert parse_query("?sweep=a&ticked=" + "1," * MAX_QUERY) == Query("a")
    assert parse_query(None) == parse_query("") == Query()


def test_an_empty_state_leaves_the_address_bare():
    assert href("/", Query()) == "/"


def test_what_does_not_exist_falls_back_to_the_first():
    assert one_of(("a", "b"), "b") == "b"
    assert one_of(("a", "b"), "nosuch") == one_of(("a", "b"), None) == "a"


def test_a_link_of_the_first_release_opens_the_same_view():
    assert parse_query("?sweep=a&reach=0.7") == Query.of("a", target_quality="0.7")
