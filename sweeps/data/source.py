"""Source of rows: a data file unpacked and decoded, its lines read within limits, what is amiss."""

from __future__ import annotations

import codecs
import gzip
import io
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from tracker.files import check_file

MAX_FILE_BYTES = 4_000_000_000
#: Of a file that is read as one text: a JSON array.
MAX_TEXT_BYTES = 1_000_000_000
MAX_LINE_BYTES = 1_000_000
MAX_FLAWS = 10_000
#: Bytes behind a line that is too long which are read in search of its end.
_MAX_SKIPPED = 64_000_000
#: Bytes at the start of a file by which its form is told.
HEAD = 256_000


class Flaw(NamedTuple):
    """A problem of one row."""

    line: int
    wording: str


class Form(NamedTuple):
    """How the rows of a file are written.

    ``kind``: ``JSON Lines``, ``JSON array``, ``CSV`` (any delimiter) or ``Parquet``. ``wrapper``: the key of
    the object around the array. ``quoted``: whether the cells of a table may stand in quotes.
    """

    kind: str
    encoding: str = "utf-8"
    compressed: bool = False
    delimiter: str | None = None
    quoted: bool = True
    wrapper: str | None = None

    @property
    def words(self) -> str:
        """The form in a few words, such as ``CSV with semicolons, gb18030, gzip``."""
        named = {";": " with semicolons", "\t": " with tabs", "|": " with bars"}
        what = self.kind + named.get(self.delimiter or "", "")
        what += f" in {self.wrapper!r}" if self.wrapper else ""
        other = self.encoding if self.encoding != "utf-8" else ""
        return ", ".join(filter(None, (what, other, "gzip" if self.compressed else "")))


class Flaws(list[Flaw]):
    """The problems found so far; raises EnoughError beyond ``MAX_FLAWS`` of them."""

    def append(self, flaw: Flaw) -> None:
        super().append(flaw)
        if len(self) >= MAX_FLAWS:
            raise EnoughError


class EnoughError(Exception):
    """Reading ends: there is more amiss than anyone will read."""


@dataclass
class Source:
    """A file that is read: its bytes, unpacked, and what is known and amiss of it so far."""

    path: Path
    form: Form
    flaws: Flaws = field(default_factory=Flaws)

    def open(self) -> BinaryIO:
        """The file's bytes, unpacked; UTF-16 and UTF-32 as UTF-8."""
        opener = gzip.open if self.form.compressed else open
        file = cast(BinaryIO, opener(self.path, "rb"))
        return (
            cast(BinaryIO, io.BufferedReader(_Recoded(file, self.form.encoding)))
            if _wide(self.form.encoding)
            else file
        )

    @property
    def codec(self) -> str:
        """Of the bytes that :meth:`open` gives."""
        return "utf-8" if _wide(self.form.encoding) else self.form.encoding

    def head(self) -> str:
        """The first characters of the file, without a byte-order mark."""
        with self.open() as file:
            return file.read(HEAD).decode(self.codec, "ignore").removeprefix("\ufeff")

    def text(self) -> str | None:
        """The whole file; ``None`` where it is no text, which is noted."""
        if not self.form.compressed:
            check_file(self.path, MAX_TEXT_BYTES)
        with self.open() as file:
            content = file.read(MAX_TEXT_BYTES + 1)
        if len(content) > MAX_TEXT_BYTES:
            self.flaws.append(Flaw(1, f"found more than {MAX_TEXT_BYTES:,} bytes; split the file"))
            return None
        try:
            return content.decode(self.codec).removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            self.flaws.append(Flaw(line, self.not_text(error)))
            return None

    def lines(self) -> Iterator[tuple[int, str | None]]:
        """Lines with their ends, by number from 1; ``None`` for one too long or no text, which is noted."""
        with self.open() as file:
            line = read_bytes = 0
            while content := file.readline(MAX_LINE_BYTES + 1):
                line, read_bytes = line + 1, read_bytes + len(content)
                text = None
                if read_bytes > MAX_FILE_BYTES:
                    self.flaws.append(Flaw(line, f"found more than {MAX_FILE_BYTES:,} bytes"))
                    return
                if len(content) > MAX_LINE_BYTES:
                    self.flaws.append(Flaw(line, f"found a line above {MAX_LINE_BYTES:,} bytes"))
                    if not _skipped(file):
                        return
                else:
                    try:
                        text = content.decode(self.codec)
                    except UnicodeDecodeError as error:
                        self.flaws.append(Flaw(line, self.not_text(error)))
                        if line == 1 and content[:2] in (b"\xff\xfe", b"\xfe\xff"):
                            return  # UTF-16: every further line would say the same
                yield line, text.removeprefix("\ufeff") if text and line == 1 else text

    def not_text(self, error: UnicodeDecodeError) -> str:
        """What is wrong with bytes that are not in the file's encoding, and the line that states another."""
        byte = f"found byte 0x{error.object[error.start]:02x}, not {self.form.encoding.upper()}"
        if self.form.encoding != "utf-8":
            return f"{byte}; state the encoding that the file has, or save it as UTF-8"
        guess = _guessed_encoding(error.object)
        name, new = shlex.quote(self.path.name), shlex.quote(f"utf8_{self.path.name}")
        return (
            f"{byte}; save the file as UTF-8 or state what it is, such as `encoding: {guess}` in the task; "
            f"to convert it: iconv -f {guess.upper()} -t UTF-8 {name} > {new}"
        )


class _Recoded(io.RawIOBase):
    """Bytes of a text in another encoding as UTF-8."""

    def __init__(self, file: BinaryIO, encoding: str) -> None:
        self._file, self._left = file, b""
        self._decoder = codecs.getincrementaldecoder(encoding)()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            content = self._file.read(65_536)
            self._left = self._decoder.decode(content, final=not content).encode()
            if not content and not self._left:
                return 0
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size

    def close(self) -> None:
        self._file.close()
        super().close()


def _wide(encoding: str) -> bool:
    return encoding.startswith(("utf-16", "utf-32"))


def _skipped(file: BinaryIO) -> bool:
    """Whether the rest of a line that is too long was skipped; False where its end is not near."""
    end = file.tell() + _MAX_SKIPPED
    while content := file.readline(MAX_LINE_BYTES):
        if content.endswith(b"\n"):
            return True
        if file.tell() > end:
            return False
    return True


def likely_encoding(path: Path) -> str | None:
    """The encoding that the text at *path* seems to have, where it is not UTF-8; ``None`` where it is.

    Told from the beginning of the file, up to its first bytes that are no UTF-8. Raises OSError.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as packed:
        compressed = packed.read(2) == b"\x1f\x8b"
    with cast(BinaryIO, (gzip.open if compressed else open)(path, "rb")) as file:
        while content := file.read(HEAD):
            try:
                decoder.decode(content)
            except UnicodeDecodeError:
                whole = content + file.readline(HEAD)
                return _guessed_encoding(whole[: whole.rfind(b"\n") + 1] or whole)
    return None


def _guessed_encoding(content: bytes) -> str:
    """The likeliest encoding of bytes that are not UTF-8."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return "utf-16"
    kana = re.compile("[\u3041-\u30ff]")
    for codec, name, telling in (
        ("euc_jp", "euc-jp", kana),
        ("gb2312", "gb18030", None),
        ("shift_jis", "shift_jis", kana),
        ("big5", "big5", None),
        ("gbk", "gb18030", re.compile("[\u4e00-\u9fff]{2}")),
    ):
        try:
            text = content.decode(codec)
        except UnicodeDecodeError:
            continue
        if telling is None or telling.search(text):
            return name
    return "cp1252"
