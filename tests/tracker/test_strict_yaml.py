"""Nothing clever gets through, and every problem names its line."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tracker.errors import InputError
from tracker.strict_yaml import MAX_BYTES, MAX_DEPTH, MAX_VALUES, load, read


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("12E3", 12e3),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("0o17", 15),
        ("0x1F", 31),
        ("010", 10),
        ("true", True),
        ("FALSE", False),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"),
        ("'1'", "1"),
        ("~", None),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    found = load(f"key: {text}", "f").data["key"]
    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_read_as_one() -> None:
    assert math.isnan(load(".nan", "f").data)


def test_every_value_knows_its_line() -> None:
    document = load("a: 1\nb:\n  - x: 1\n    y: {z: 2}\n", "f")
    assert document.line(("b", 0, "y", "z")) == 4
    assert document.line(("b", 0)) == 3
    assert document.line(("b", 0, "y", "missing", "below")) == 4


@pytest.mark.parametrize(
    ("text", "line", "wording"),
    [
        ("a: 1\nb: 2\na: 3", 3, "duplicate key 'a'; first given in line 1"),
        ("a: &x 1", 1, "anchor &x"),
        ("a: 1\nb: *x", 2, "alias *x"),
        ("a: !!python/object:os.system x", 1, "tag"),
        ("a: !x y", 1, "tag !x"),
        ("a: 1\n---\nb: 1", 2, "second document"),
        ("a:\n\tb: 1", 2, "found character"),
        ("a: [1", 1, "expected ',' or ']'"),
        ("1: a", 1, "put it in quotes"),
        ("? [a]\n: b", 1, "sequence as key"),
        ("a: 1\nb: \x07", 2, "U+0007"),
        ("[" * (MAX_DEPTH + 5), 1, f"more than {MAX_DEPTH} levels"),
        ("a: " + "9" * 5000, 1, "number of 5000 digits"),
    ],
)
def test_refusals_name_file_and_line(text: str, line: int, wording: str) -> None:
    with pytest.raises(InputError) as caught:
        load(text, "sweep.yaml")
    (problem,) = caught.value.problems
    assert problem.startswith(f"sweep.yaml:{line}: ")
    assert wording in problem


def test_depth_up_to_the_limit_is_read() -> None:
    load("[" * MAX_DEPTH + "]" * MAX_DEPTH, "f")


def test_all_duplicates_are_reported_at_once() -> None:
    with pytest.raises(InputError) as caught:
        load("a: 1\na: 2\nb: {c: 1, c: 2}", "f")
    assert [problem.split(":")[1] for problem in caught.value.problems] == ["2", "3"]


def test_an_alias_bomb_is_refused_before_it_grows() -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{new}: &{new} [*{old}, *{old}]\n"
        for old, new in zip("abcdefghi", "bcdefghij", strict=True)
    )
    with pytest.raises(InputError, match=r"f:1: anchor"):
        load(bomb, "f")


def test_size_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    path.write_text("a: " + "x" * MAX_BYTES)
    with pytest.raises(InputError, match=r"big\.yaml: found [0-9,]+ bytes; allowed: at most"):
        read(path)
    with pytest.raises(InputError, match=r"f: found [0-9,]+ characters; allowed: at most"):
        load("#" * (MAX_BYTES + 1), "f")
    with pytest.raises(InputError, match=r"f:1: found more than 10,000 keys and values"):
        load(f"[{'1,' * (MAX_VALUES + 1)}]", "f")


def test_reads_a_file_with_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes("a: ü".encode("utf-8-sig"))
    assert read(path).data == {"a": "ü"}


def test_wrong_encoding_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes("a: 1\nb: ü".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.yaml:2: byte 0xfc is not UTF-8"):
        read(path)


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.yaml: No such file") as caught:
        read(tmp_path / "absent.yaml")
    assert len(caught.value.problems) == 1
