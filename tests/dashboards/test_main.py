import socket

import pytest

from dashboards.__main__ import main


@pytest.mark.parametrize("host", ["example.com", "", "10.0.0.256", "0.0.0.0/0"])
def test_what_is_no_address_is_refused_in_one_line(workspace, capsys, host):
    assert main(["--workspace", str(workspace), "--host", host, "--port", "0"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: --host {host!r}: ")
    assert error.count("\n") == 1


def test_a_workspace_without_a_store_is_refused_and_nothing_is_created(tmp_path, capsys):
    assert main(["--workspace", str(tmp_path / "none"), "--port", "0"]) == 2
    assert "no tracking store" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("port", ["-1", "70000", "x"])
def test_what_is_no_port_is_refused(workspace, capsys, port):
    with pytest.raises(SystemExit):
        main(["--workspace", str(workspace), f"--port={port}"])
    assert f"found '{port}'; allowed: 0" in capsys.readouterr().err


def test_the_machine_s_name_is_served(workspace, capsys, monkeypatch):
    monkeypatch.setattr("waitress.server.BaseWSGIServer.run", lambda server: server.close())
    assert main(["--workspace", str(workspace), "--host", "localhost", "--port", "0"]) == 0
    assert "Dashboard: http://localhost:" in capsys.readouterr().out


def test_a_port_in_use_is_refused_in_one_line(workspace, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["--workspace", str(workspace), "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert f"--port {port}" in error
    assert error.count("\n") == 1
