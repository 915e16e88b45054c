"""Every callback, called as the browser would."""

import pytest
from dash import no_update

from dashboards.app import PAGES, create_app
from dashboards.context import PageContext
from dashboards.pages import recommend, scaling, sweep
from dashboards.shell import Frame
from dashboards.snapshot import Patience, Snapshot
from dashboards.state import Query
from tracker.errors import StoreError
from tracker.store.store import Store

#: A busy machine must not turn a slow reading into another page.
PATIENT = Patience(60.0, 60.0)


@pytest.fixture(scope="module")
def context(store):
    return PageContext(Snapshot(store, interval=3600, patience=PATIENT))


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return PageContext(
        Snapshot(Store.open(tmp_path_factory.mktemp("bare")), interval=3600, patience=PATIENT)
    )


def test_refresh_answers_only_what_is_new(context):
    version, results = context.refresh(None, "", None, None)
    assert version
    assert results
    assert context.refresh(1, "", version, results) == (no_update, no_update)
    assert context.refresh(1, "", version, "older") == (no_update, results)


def test_the_header_keeps_the_sweep_and_marks_the_page(context, words):
    tabs, menu, warning, title, address = Frame(context, PAGES).header(
        None, "/scaling", "?sweep=support&task=slots"
    )
    links = {tab.children: tab for tab in tabs}
    assert links["Sweep"].href == "/?sweep=support"
    assert links["Scaling"].href == "/scaling?sweep=support"
    assert [word for word, tab in links.items() if getattr(tab, "aria-current", None)] == [
        "Scaling"
    ]
    assert warning is None
    assert title == "Scaling · support · sft-select"
    assert "support" in words(menu)
    assert address is no_update


def test_an_address_without_a_sweep_is_completed_for_who_copies_it(context):
    *rest, address = Frame(context, PAGES).header(None, "/scaling", "?task=slots")
    assert rest == [no_update] * 4, "the head is filled once, for the whole address"
    assert address == {"path": "/scaling", "from": "?task=slots", "to": "?sweep=support&task=slots"}
    pages = []
    context.show("?task=slots", lambda _view, query: pages.append(query))
    assert pages == [Query.of("support", task="slots")], "links on the page name it too"


@pytest.mark.parametrize("path", [page.path for page in PAGES])
def test_every_tab_has_a_page(context, path, words):
    assert "no such page" not in words(Frame(context, PAGES).page(path))


def test_an_unknown_path_says_so(context, words):
    assert "no such page" in words(Frame(context, PAGES).page("/etc/passwd"))


def test_the_pages_fill_from_the_store(context, words):
    page = sweep.content(context.view(""), "light")
    assert not page.hidden
    assert "49 of 60" in words(page.head)
    assert "Scaling with training data and model size" in words(
        shown(context, scaling, "?task=slots")
    )
    assert "Probability of being the best" in words(shown(context, recommend, ""))


def shown(context, page, search):
    return context.show(search, lambda view, query: page.content(view, query, "dark"))


def test_before_the_first_sweep_every_page_says_what_to_do(bare, words):
    assert sweep.no_sweep(bare.nothing("")).hidden
    assert "sft-select run" in words(shown(bare, scaling, ""))
    assert Frame(bare, PAGES).header(None, "/", "")[3] == "Sweep · none · sft-select"


def test_an_unknown_sweep_is_named(context, words):
    assert "There is no sweep called nosuch" in words(shown(context, scaling, "?sweep=nosuch"))


def test_an_unreadable_store_is_said_on_every_page(store, words, monkeypatch):
    time = [1000.0]
    context = PageContext(Snapshot(store, clock=lambda: time[0], patience=PATIENT))
    assert Frame(context, PAGES).header(None, "/", "?sweep=support")[2] is None

    def down():
        raise StoreError("connection refused")

    monkeypatch.setattr(store, "sweeps", down)
    time[0] += 60
    warning = words(Frame(context, PAGES).header(None, "/", "?sweep=support")[2])
    assert "cannot be read" in warning
    assert "connection refused" in warning
    fresh = PageContext(Snapshot(store, patience=PATIENT))
    assert "connection refused" in words(shown(fresh, recommend, ""))


def test_the_export_is_the_yaml_of_the_analysis(context):
    found = context.export("support", Query(), "recommended.yaml")
    assert found.content.decode() == context.snapshot.view("support").analysis.answer().config
    assert context.export("nosuch", Query(), "recommended.yaml") is None
    assert context.export("support", Query(), "mlflow.db") is None


def test_the_app_serves_page_callback_graph_and_export(store):
    client = create_app(store).server.test_client()
    headers = {"Host": "127.0.0.1:8050"}
    page = client.get("/scaling", headers=headers)
    assert b'<html lang="en">' in page.data
    assert "script-src 'self' 'sha256-" in page.headers["Content-Security-Policy"]
    assert len(client.get("/_dash-dependencies", headers=headers).json) >= 5 + len(PAGES)
    yaml = client.get("/export/support/recommended.yaml", headers=headers)
    assert yaml.headers["Content-Disposition"] == "attachment; filename=recommended.yaml"
    assert client.get("/export/nosuch/recommended.yaml", headers=headers).status_code == 404
    assert client.get("/export/../../etc/passwd", headers=headers).status_code in (200, 404)
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403


def test_two_apps_share_nothing(store, tmp_path):
    one, other = create_app(store), create_app(Store.open(tmp_path))
    assert one.server is not other.server
    assert one.callback_map.keys() == other.callback_map.keys()
