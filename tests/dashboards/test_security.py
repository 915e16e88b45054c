import pytest
from flask import Flask

from dashboards.security import MAX_BODY_BYTES, content_policy, harden


@pytest.fixture
def client():
    server = Flask("test")
    server.add_url_rule("/", view_func=lambda: "hello", methods=["GET", "POST"])
    harden(server, ["'sha256-abc'"])
    return server.test_client()


@pytest.mark.parametrize("host", ["127.0.0.1:8050", "localhost", "[::1]:8050"])
def test_this_machine_s_own_names_are_served(client, host):
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


def test_our_own_origin_is_served(client):
    headers = {"Host": "127.0.0.1:8050", "Origin": "http://127.0.0.1:8050"}
    assert client.post("/", headers=headers).status_code == 200


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
