from dashboards.state import MAX_QUERY, Query, href, parse_query


def test_a_link_restores_what_it_was_made_from():
    query = Query(sweep="a b/ü", task="intent & co", models=("x", "y"), axis="linear")
    link = href("/scaling", query)
    assert parse_query(link.removeprefix("/scaling")) == query


def test_unknown_keys_and_oversize_queries_are_ignored():
    assert parse_query("?wrong=1&task=t&_fields=x") == Query(task="t")
    assert parse_query("?task=" + "x" * MAX_QUERY) == Query()
    assert parse_query(None) == parse_query("") == Query()


def test_an_empty_state_leaves_the_address_bare():
    assert href("/", Query()) == "/"
