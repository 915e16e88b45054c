"""Beyond this machine nothing is served without the token."""

import re
import stat

import pytest

from dashboards.access import TOKEN_FILE, Access, access_for, address_of, workspace_token
from dashboards.app import create_app
from tracker.errors import InputError

TOKEN = "t" * 43
HERE = {"Host": "10.1.2.3:8050"}


@pytest.fixture(scope="module")
def server(store):
    return create_app(store, access=Access(frozenset({"gpu-box"}), TOKEN)).server


@pytest.fixture
def client(server):
    return server.test_client()


def test_every_route_and_method_is_refused_without_the_token(server, client):
    requested = set()
    for rule in server.url_map.iter_rules():
        path = re.sub(r"<[^>]+>", "x", rule.rule)
        for method in rule.methods | {"GET", "POST", "PUT", "DELETE", "PATCH"}:
            answer = client.open(path, method=method, headers=HERE)
            assert answer.status_code == 401, (method, path)
            requested.add(rule.endpoint)
    assert len(requested) > 5
    assert client.get("/no/such/place", headers=HERE).status_code == 401


@pytest.mark.parametrize("given", ["", "wrong", TOKEN[:-1], TOKEN + "t", "\u00fc"])
def test_another_token_is_refused(client, given):
    assert client.get("/", query_string={"token": given}, headers=HERE).status_code == 401
    client.set_cookie(Access(token=TOKEN).cookie, given, domain="10.1.2.3")
    assert client.get("/", headers=HERE).status_code == 401
    assert client.get("/", headers=HERE | {"Authorization": "Bearer wrong"}).status_code == 401


def test_the_printed_address_gives_a_cookie_and_leaves_the_address(client):
    answer = client.get("/scaling?task=a&token=" + TOKEN, headers=HERE)
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/scaling?task=a"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert client.get("/scaling?task=a", headers=HERE).status_code == 200
    assert client.get("/_dash-layout", headers=HERE).status_code == 200


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "///evil.example"])
def test_the_way_on_never_leads_elsewhere(client, path):
    """A browser reads ``//name`` as an address; a test client would, too, in the address itself."""
    there = {"PATH_INFO": path}
    answer = client.get("/?token=" + TOKEN, headers=HERE, environ_overrides=there)
    assert answer.status_code == 302
    assert answer.headers["Location"] == "/evil.example"


def test_a_program_may_send_the_token_as_a_header(client):
    headers = HERE | {"Authorization": f"Bearer {TOKEN}"}
    assert client.get("/_dash-dependencies", headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "gpu-box.evil.example", "10.1.2.3.evil.example"])
def test_a_foreign_name_is_refused_even_with_the_token(client, host):
    headers = {"Host": host, "Authorization": f"Bearer {TOKEN}"}
    assert client.get("/", headers=headers).status_code == 403


@pytest.mark.parametrize("host", ["gpu-box:8050", "GPU-BOX", "[2001:db8::1]:8050", "10.1.2.3"])
def test_names_and_addresses_of_this_machine_are_served(client, host):
    headers = {"Host": host, "Authorization": f"Bearer {TOKEN}"}
    assert client.get("/", headers=headers).status_code == 200


def test_a_foreign_origin_is_refused_even_with_the_token(client):
    headers = HERE | {"Authorization": f"Bearer {TOKEN}", "Origin": "http://evil.example"}
    assert client.post("/_dash-update-component", headers=headers).status_code == 403


def test_two_dashboards_on_one_machine_do_not_log_each_other_out(client):
    assert Access(token=TOKEN).cookie != Access(token="other").cookie
    client.get("/?token=" + TOKEN, headers=HERE)
    client.set_cookie(Access(token="other").cookie, "other", domain="10.1.2.3")
    assert client.get("/", headers=HERE).status_code == 200


def test_a_workspace_yet_to_be_made_gets_its_token_and_a_file_in_its_place_is_said(tmp_path):
    assert len(workspace_token(tmp_path / "new" / "one")) >= 40
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="must be readable and writable"):
        workspace_token(tmp_path / "file")


def test_this_machine_needs_no_token_and_no_file(tmp_path):
    assert access_for("127.0.0.1", tmp_path) == Access()
    assert not (tmp_path / TOKEN_FILE).exists()


def test_the_token_is_kept_and_only_its_owner_can_read_it(tmp_path):
    access = access_for("0.0.0.0", tmp_path, ["GPU-box"])
    file = tmp_path / TOKEN_FILE
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(access.token) >= 40
    assert access_for("192.168.1.4", tmp_path).token == access.token
    assert access.serves("gpu-box:8050")
    assert access_for("127.0.0.1", tmp_path, ["proxy"]).token == access.token


@pytest.mark.parametrize(("text", "mode"), [("secret\n", 0o644), ("", 0o600)])
def test_a_token_others_can_read_or_none_is_refused(tmp_path, text, mode):
    file = tmp_path / TOKEN_FILE
    file.write_text(text)
    file.chmod(mode)
    with pytest.raises(InputError, match="delete the file"):
        workspace_token(tmp_path)


def test_the_printed_address():
    assert address_of("127.0.0.1", 8050, None) == "http://127.0.0.1:8050/"
    assert address_of("::1", 1, "x") == "http://[::1]:1/?token=x"
    assert "0.0.0.0" not in address_of("0.0.0.0", 8050, "x")
