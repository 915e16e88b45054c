"""Files and folders are whole or as they were."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from tracker.errors import InputError
from tracker.files import put_in_place, whole_folder, write_atomically, write_text


def test_a_file_is_replaced_whole_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "a.yaml"
    for text in ("one\n", "two, ü\u2028\r\n"):
        assert write_text(path, text) == path
        assert path.read_bytes() == text.encode()
    assert [each.name for each in path.parent.iterdir()] == ["a.yaml"]
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_bytes() == text.encode()
    assert [each.name for each in path.parent.iterdir()] == ["a.yaml"]


def test_of_a_link_the_file_it_points_at_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    target, link = tmp_path / "shared" / "a.yaml", tmp_path / "a.yaml"
    link.symlink_to(target)
    for text in ("new", "newer"):  # the first makes what the link points at
        write_text(link, text)
        assert link.is_symlink()
        assert target.read_text() == text


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
@pytest.mark.parametrize("linked", [False, True], ids=["itself", "a link to it"])
def test_what_is_no_file_is_refused_in_a_line_and_stays(
    kind: str, linked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "place"
    if kind == "pipe":
        os.mkfifo(place)
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)  # a socket's whole path has but 108 characters
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(place.name)
    else:
        place = Path("/dev/null")
    before = place.stat()
    if linked:
        (tmp_path / "link").symlink_to(place)
    given = tmp_path / "link" if linked else place
    made = tmp_path / "made"
    made.mkdir()
    for write in (
        lambda: write_text(given, "text"),
        lambda: write_atomically(given, "text"),
        lambda: put_in_place(made, given),
    ):
        with pytest.raises(InputError, match=f"found a {kind}, which nothing may replace") as said:
            write()
        assert "\n" not in str(said.value)
    assert (place.stat().st_ino, place.stat().st_mode) == (before.st_ino, before.st_mode)


def test_where_nothing_can_be_written_a_line_says_so(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "folder", Path("/dev/null/a.yaml")):
        with pytest.raises(InputError, match="cannot be written") as said:
            write_text(path, "text")
        assert "\n" not in str(said.value)
    assert [each.name for each in tmp_path.iterdir()] == ["folder"]


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "old").touch()
    with pytest.raises(FileNotFoundError), whole_folder(folder) as made:
        (made / "no folder" / "new").touch()
    assert [path.name for path in folder.iterdir()] == ["old"]
    with whole_folder(folder) as made:
        (made / "new").touch()
    assert [path.name for path in folder.iterdir()] == ["new"]
    (tmp_path / "made").mkdir()
    put_in_place(tmp_path / "made", folder)
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert not list(folder.iterdir())
