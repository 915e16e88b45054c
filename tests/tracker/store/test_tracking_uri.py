from pathlib import Path

import pytest

from tracker.store.tracking_uri import (
    database_file,
    is_database,
    sqlite_file,
    store_error,
    without_credentials,
    without_password,
)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:////my space/mlflow.db", "sqlite:////my space/mlflow.db"),
        ("http://host:5000/", "http://host:5000/"),
        ("http://user:pa:ss@host:5000/", "http://host:5000/"),
        ("https://token@host/path", "https://host/path"),
        ("postgresql+psycopg2://u:p%40w@host/db?sslmode=x", "postgresql+psycopg2://host/db"),
        ("postgresql://u:p/w@host/db", "postgresql://host/db"),
        ("could not reach http://u:p@host/ now", "could not reach http://host/ now"),
    ],
)
def test_credentials_are_left_out(uri: str, shown: str) -> None:
    assert without_credentials(uri) == shown


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("sqlite:////my space/mlflow.db", "sqlite:////my space/mlflow.db"),
        ("http://user:pa:ss@host:5000/", "http://user:***@host:5000/"),
        ("https://token@host/path", "https://***@host/path"),
        ("postgresql://u:p/w@ho@host/db?host=/run", "postgresql://u:***@host/db?host=/run"),
        ("postgresql://u@/db?password=p&sslmode=x", "postgresql://u@/db?password=***&sslmode=x"),
    ],
)
def test_a_command_to_repeat_lacks_the_password_alone(uri: str, shown: str) -> None:
    assert without_password(uri) == shown


@pytest.mark.parametrize(
    ("uri", "database"),
    [
        ("sqlite:///mlflow.db", True),
        ("postgresql+psycopg2://host/db", True),
        ("http://host:5000", False),
        ("https://host", False),
    ],
)
def test_databases_are_distinguished_from_servers(uri: str, database: bool) -> None:
    assert is_database(uri) is database


@pytest.mark.parametrize("error", [OSError("a\nb"), ValueError(), RuntimeError("  \n")])
def test_an_error_is_one_line(error: Exception) -> None:
    text = str(store_error("http://u:p@host/", error))
    assert "\n" not in text
    assert text.startswith("tracking store http://host/: ")


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:////a b/mlflow.db", Path("/a b/mlflow.db")),
        ("sqlite:///mlflow.db?timeout=3", Path("mlflow.db")),
        ("sqlite:///:memory:", None),
        ("sqlite:///file:mlflow.db?mode=ro&uri=true", None),
        ("sqlite://", None),
        ("postgresql://host/mlflow.db", None),
    ],
)
def test_the_file_of_an_sqlite_uri(uri: str, file: Path | None) -> None:
    assert sqlite_file(uri) == file


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:////a b/mlflow.db", Path("/a b/mlflow.db")),
        ("sqlite:///mlflow.db?timeout=3", None),
        ("sqlite://", None),
        ("postgresql://host/mlflow", None),
        ("http://host", None),
    ],
)
def test_only_a_file_is_written_to_directly(uri: str, file: Path | None) -> None:
    assert database_file(uri) == file
