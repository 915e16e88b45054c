"""Files and folders are whole or as they were."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tracker import files
from tracker.errors import InputError
from tracker.files import put_in_place, replacing, whole_folder, write_atomically, write_text


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


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with replacing(tmp_path / "a.yaml") as file:
            file.write(b"half")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        write()
    assert list(tmp_path.iterdir()) == []


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
def test_what_is_no_file_is_never_replaced(
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
    for write in (lambda: write_atomically(given, "text"), lambda: put_in_place(made, given)):
        with pytest.raises(InputError, match=f"found a {kind}, which nothing may replace") as said:
            write()
        assert "\n" not in str(said.value)
    if kind == "socket":
        with pytest.raises(InputError, match="found a socket; allowed: a file"):
            write_text(given, "text")
    elif kind == "device":
        write_text(given, "text")
    else:
        read: list[str] = []
        reader = threading.Thread(target=lambda: read.append(given.read_text()))
        reader.start()
        write_text(given, "text" * 100_000)
        reader.join()
        assert read == ["text" * 100_000]
    assert (place.stat().st_ino, place.stat().st_mode) == (before.st_ino, before.st_mode)


def test_a_pipe_that_nobody_reads_is_waited_for_and_then_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(files, "_READER_SECONDS", 0.1)
    with pytest.raises(InputError, match=r"pipe: cannot be written \(No such device or address\)"):
        write_text(tmp_path / "pipe", "text")


def test_a_full_disk_is_called_that_and_the_device_stays() -> None:
    full = Path("/dev/full")
    before = full.stat()
    with pytest.raises(InputError, match=r"/dev/full: the disk is full") as said:
        write_text(full, "text")
    assert "\n" not in str(said.value)
    assert (full.stat().st_ino, full.stat().st_mode) == (before.st_ino, before.st_mode)


def test_what_a_killed_process_left_goes_with_the_next_write(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    script = f"""
import os, signal
from pathlib import Path
from tracker import files
files.write_atomically(Path({str(whole)!r}), "old")
if os.fork() == 0:
    with files.replacing(Path({str(whole)!r})) as file:
        file.write(b"half")
        os.kill(os.getpid(), signal.SIGKILL)
os.wait()
if os.fork() == 0:
    with files.whole_folder(Path({str(tmp_path / "model")!r})) as made:
        (made / "config.json").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
os.wait()
"""
    subprocess.run([sys.executable, "-c", script], check=True)
    folder = tmp_path / ".model.01234567.replaced"  # killed between the two renames
    folder.mkdir()
    (folder / "old").touch()
    assert len(list(tmp_path.glob(".*"))) == 3
    assert whole.read_text() == "old"
    time.sleep(0.6)
    with files.replacing(tmp_path / "other") as file:
        file.write(b"locked: another process's next write leaves it")
        write_atomically(whole, "new")
        assert len(list(tmp_path.glob(".other.*"))) == 1
    assert sorted(each.name for each in tmp_path.iterdir()) == ["model", "other", "whole"]
    assert [each.name for each in (tmp_path / "model").iterdir()] == ["old"]
    assert whole.read_text() == "new"


def test_a_private_file_is_made_once_and_permissions_stay(tmp_path: Path) -> None:
    token = tmp_path / "token"
    write_atomically(token, "one", private=True, exclusive=True)
    with pytest.raises(FileExistsError):
        write_atomically(token, "two", private=True, exclusive=True)
    assert token.stat().st_mode & 0o777 == 0o600
    (tmp_path / "report").write_text("old")
    (tmp_path / "report").chmod(0o640)
    write_text(tmp_path / "report", "new")
    assert (tmp_path / "report").stat().st_mode & 0o777 == 0o640


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
