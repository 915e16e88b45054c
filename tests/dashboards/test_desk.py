"""Every callback, called as the browser would."""

import pytest
from dash import no_update

from dashboards.app import create_app
from dashboards.desk import TABS, Desk
from dashboards.snapshot import Snapshot
from tracker.errors import StoreError
from tracker.record.store import Store


@pytest.fixture(scope="module")
def desk(store):
    return Desk(Snapshot(store, interval=3600))


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return Desk(Snapshot(Store.open(tmp_path_factory.mktemp("bare")), interval=3600))


def test_refresh_answers_only_what_is_new(desk):
    version, results = desk.refresh(None, "", None, None)
    assert version
    assert results
    assert desk.refresh(1, "", version, results) == (no_update, no_update)
    assert desk.refresh(1, "", version, "older") == (no_update, results)


def test_the_header_keeps_the_sweep_and_marks_the_page(desk, words):
    tabs, menu, warning, title = desk.header(None, "/scaling", "?sweep=support&task=slots")
    assert [tab.href for tab in tabs] == [
        "/?sweep=support", "/scaling?sweep=support&task=slots", "/recommend?sweep=support",
    ]  # fmt: skip
    assert [getattr(tab, "aria-current", None) for tab in tabs] == [None, "true", None]
    assert warning is None
    assert title == "Scaling · support · sft-select"
    assert "support" in words(menu)


@pytest.mark.parametrize("path", [path for path, _ in TABS])
def test_every_tab_has_a_page(desk, path, words):
    assert "no such page" not in words(desk.page(path))


def test_an_unknown_path_says_so(desk, words):
    assert "no such page" in words(desk.page("/etc/passwd"))


def test_the_pages_fill_from_the_store(desk, words):
    page = desk.sweep_page("", "light")
    assert not page.hidden
    assert "49 of 60" in words(page.head)
    assert len(page.rows) == 49
    assert "What more data buys" in words(desk.scaling_page("?task=slots", "dark"))
    assert "Chance of being the best" in words(desk.recommend_page("", "light"))


def test_before_the_first_sweep_every_page_says_what_to_do(bare, words):
    assert bare.sweep_page("", "light").hidden
    for page in (
        bare.sweep_page("", "light").head,
        bare.scaling_page("", None),
        bare.recommend_page("", None),
    ):
        assert "sft-select run" in words(page)
    assert bare.header(None, "/", "")[3] == "Sweep · none · sft-select"


def test_an_unknown_sweep_is_named(desk, words):
    assert "There is no sweep called nosuch" in words(desk.scaling_page("?sweep=nosuch", None))


def test_an_unreadable_store_is_said_on_every_page(store, words, monkeypatch):
    time = [1000.0]
    desk = Desk(Snapshot(store, clock=lambda: time[0]))
    assert desk.header(None, "/", "")[2] is None

    def down():
        raise StoreError("connection refused")

    monkeypatch.setattr(store, "sweeps", down)
    time[0] += 60
    warning = words(desk.header(None, "/", "")[2])
    assert "cannot be read" in warning
    assert "connection refused" in warning
    fresh = Desk(Snapshot(store))
    assert "connection refused" in words(fresh.recommend_page("", None))


def test_the_export_is_the_findings_yaml(desk):
    assert desk.export("support") == desk.snapshot.view("support").findings.config_text()
    assert desk.export("nosuch") is None


def test_the_app_serves_page_callback_graph_and_export(store):
    client = create_app(store).server.test_client()
    headers = {"Host": "127.0.0.1:8050"}
    page = client.get("/scaling", headers=headers)
    assert b'<html lang="en">' in page.data
    assert "script-src 'self' 'sha256-" in page.headers["Content-Security-Policy"]
    assert len(client.get("/_dash-dependencies", headers=headers).json) == 8
    yaml = client.get("/export/support/recommended.yaml", headers=headers)
    assert yaml.headers["Content-Disposition"] == "attachment; filename=recommended.yaml"
    assert client.get("/export/nosuch/recommended.yaml", headers=headers).status_code == 404
    assert client.get("/export/../../etc/passwd", headers=headers).status_code in (200, 404)
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403


def test_two_apps_share_nothing(store, tmp_path):
    one, other = create_app(store), create_app(Store.open(tmp_path))
    assert one.server is not other.server
    assert one.callback_map.keys() == other.callback_map.keys()
