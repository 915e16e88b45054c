"""What crosses a network is compressed and says the same; on this machine nothing is."""

import gzip

import pytest

from dashboards.access import Access
from dashboards.app import create_app

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
