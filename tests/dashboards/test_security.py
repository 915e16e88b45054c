import gzip

import pytest
from flask import Flask

from dashboards.access import Access
from dashboards.app import create_app
from dashboards.security import MAX_BODY_BYTES, content_policy, harden


@pytest.fixture
def client():
    server = Flask("test")
    server.add_url_rule("/", view_func=lambda: "hello", methods=["GET", "POST"])
    harden(server, ["'sha256-abc'"])
    return server.test_client()


@pytest.mark.parametrize("host", ["127.0.0.1:8050", "localhost", "[::1]:8050"])
def test_this_machine_s_names_are_served(client, host):
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1.example.com", "10.0.0.1:8050", "[::1"])
def test_any_other_host_is_refused(client, host):
    assert client.get("/", headers={"Host": host}).status_code in (400, 403)


@pytest.mark.parametrize(
    "origin",
    [
        "http://example.com",
        "http://localhost:9999",
        "null",
        "http://[",
        "https://127.0.0.1.evil.org",
    ],
)
def test_a_foreign_origin_is_refused(client, origin):
    headers = {"Host": "127.0.0.1:8050", "Origin": origin}
    assert client.post("/", headers=headers).status_code == 403


def test_the_dashboard_s_origin_is_served(client):
    headers = {"Host": "127.0.0.1:8050", "Origin": "http://127.0.0.1:8050"}
    assert client.post("/", headers=headers).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_another_site_sends_is_refused_without_an_origin_too(client, site):
    assert client.get("/", headers={"Host": "localhost", "Sec-Fetch-Site": site}).status_code == 403
    assert (
        client.post("/", headers={"Host": "localhost", "Sec-Fetch-Site": site}).status_code == 403
    )


def test_a_link_on_another_site_opens_a_page(client):
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    opened = {"Host": "localhost", "Sec-Fetch-Dest": "document"} | link
    assert client.get("/", headers=opened).status_code == 200
    framed = {"Host": "localhost", "Sec-Fetch-Dest": "iframe"} | link
    assert client.get("/", headers=framed).status_code == 403


def test_a_refusal_is_one_line_in_the_log(client, caplog):
    client.get("/\x1b[31m", headers={"Host": "example.com"})
    (record,) = caplog.records
    assert record.exc_info is None
    assert record.getMessage() == r"refused GET '/\x1b[31m' from 127.0.0.1: 403 'unknown Host'"


def test_a_body_over_one_megabyte_is_refused(client):
    headers = {"Host": "localhost"}
    assert client.post("/", data=b"x" * (MAX_BODY_BYTES + 1), headers=headers).status_code == 413
    assert client.post("/", data=b"x" * 1000, headers=headers).status_code == 200


def test_every_answer_carries_the_headers(client):
    for host in ("localhost", "example.com"):
        headers = client.get("/", headers={"Host": host}).headers
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_scripts_run_by_hash_alone():
    scripts = next(p for p in content_policy(["'sha256-abc'"]).split("; ") if "script" in p)
    assert scripts == "script-src 'self' 'sha256-abc'"


TOKEN = "t" * 43
AWAY = {"Host": "10.1.2.3:8050", "Authorization": f"Bearer {TOKEN}"}
READS_GZIP = {"Accept-Encoding": "gzip, deflate"}  # what browsers say without TLS
CHARTS = "/_dash-component-suites/plotly/package_data/plotly.min.js"
STYLE = "/assets/style.css"


@pytest.fixture(scope="module")
def network(store):
    return create_app(store, access=Access(frozenset({"gpu-box"}), TOKEN)).server.test_client()


@pytest.mark.parametrize("path", [CHARTS, STYLE, "/_dash-layout", "/_dash-dependencies"])
def test_over_a_network_less_is_sent_and_the_same_is_read(network, path):
    plain = network.get(path, headers=AWAY)
    assert "Content-Encoding" not in plain.headers
    for _ in range(2):  # the second time, a library comes from memory
        packed = network.get(path, headers=AWAY | READS_GZIP)
        assert packed.headers["Content-Encoding"] == "gzip"
        assert "Accept-Encoding" in packed.headers["Vary"]
        assert gzip.decompress(packed.data) == plain.data
        assert len(packed.data) < len(plain.data) / 2


def test_what_the_browser_has_is_not_sent_again(network):
    first = network.get(STYLE, headers=AWAY | READS_GZIP)
    again = {"If-None-Match": first.headers["ETag"]}
    second = network.get(STYLE, headers=AWAY | READS_GZIP | again)
    assert (second.status_code, second.data) == (304, b"")


def test_a_refusal_is_a_refusal_compressed_or_not(network):
    network.get(CHARTS, headers=AWAY | READS_GZIP)
    refused = network.get(CHARTS, headers={"Host": AWAY["Host"]} | READS_GZIP)
    assert refused.status_code == 401
    assert b"token" in refused.data


def test_on_this_machine_nothing_is_compressed(store):
    client = create_app(store).server.test_client()
    assert "Content-Encoding" not in client.get(CHARTS, headers=READS_GZIP).headers
