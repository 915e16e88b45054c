"""Weights of a base model folder: the safetensors files that are loaded, their tensors, values and digests.

Only headers are parsed, but every byte is read once: the digest and the search for NaN and infinity
share one pass. Nothing else in the folder counts as weights: no pickle, no adapter, no second copy.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open

from tracker.errors import InputError
from tracker.files import read_bounded

_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
_CHUNK = 1 << 22
_MAX_INDEX_BYTES = 100_000_000
_SHOWN = 3

#: By safetensors' name of a type that can be tuned: its bytes as whole numbers, and the exponent's bits,
#: which are all set in a NaN or an infinity.
_EXPONENT: dict[str, tuple[str, int]] = {
    "F64": ("<u8", 0x7FF0 << 48),
    "F32": ("<u4", 0x7F80 << 16),
    "F16": ("<u2", 0x7C00),
    "BF16": ("<u2", 0x7F80),
}
TUNABLE = frozenset(_EXPONENT)


class StoredTensor(NamedTuple):
    """A tensor as its file's header states it: ``dtype`` in safetensors' words, such as ``BF16``."""

    file: Path
    shape: tuple[int, ...]
    dtype: str


class _Read(NamedTuple):
    """Outcome of reading a file once: its SHA-256, and its tensors that hold a NaN or an infinity."""

    sha256: str
    not_finite: tuple[str, ...]


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that are loaded from *folder*: one, or the shards that the index names.

    Raises InputError where there are none, naming what is there instead.
    """
    if (folder / _WHOLE).is_file():
        return [folder / _WHOLE]
    if (folder / _INDEX).is_file():
        return _shards(folder)
    others = sorted(path.name for path in folder.glob("*.safetensors"))
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if others:
        found = f"only {', '.join(others[:_SHOWN])}"
        adapter = any(name.startswith("adapter") for name in others)
        cure = "merge the adapter into its base" if adapter else "save them under that name"
    else:
        found = f"only {', '.join(pickles)} (pickle, which can run code)" if pickles else "none"
        cure = "load it where you trust it and call save_pretrained"
    raise InputError(
        f"found {found} as weights in {folder}; allowed: *.safetensors, as {_WHOLE} or with {_INDEX}; "
        f"{cure}"
    )


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of the files that are loaded from *folder*, by its name there.

    Raises InputError with every file that is missing, cut short or not a safetensors file, and with
    every tensor that the index names and its file lacks.
    """
    found: dict[str, StoredTensor] = {}
    problems: list[str] = []
    for file in weight_files(folder):
        try:
            found |= _header(file)
        except InputError as error:
            problems += error.problems
    if not problems and not (folder / _WHOLE).is_file():
        lost = [
            (name, file)
            for name, file in _weight_map(folder).items()
            if not _there(found, name, file)
        ]
        problems += [
            f"found no tensor {name} in {folder / file}, where {_INDEX} names it{_more(lost)}"
            for name, file in lost[:1]
        ]
    if problems:
        raise InputError(problems)
    return found


def value_problems(folder: Path) -> list[str]:
    """A line for each loaded file that holds NaN or infinity, naming the first tensor."""
    problems = []
    for file in weight_files(folder):
        bad = read_once(file).not_finite
        if bad:
            problems.append(
                f"found NaN or infinity in tensor {bad[0]} of {file}{_more(bad)}; fetch the file again, "
                "or take a checkpoint from before its training diverged"
            )
    return problems


def read_once(file: Path) -> _Read:
    """SHA-256 and tensors that are not finite of a file, remembered until its size or time changes."""
    stat = file.stat()
    return _read(file, stat.st_size, stat.st_mtime_ns)


def _shards(folder: Path) -> list[Path]:
    names = sorted(set(_weight_map(folder).values()))
    outside = [name for name in names if Path(name).name != name]
    if outside:
        raise InputError(
            f"found {outside[0]!r} in {folder / _INDEX}; allowed: names of files beside it"
        )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise InputError(
            f"found no {', '.join(missing[:_SHOWN])}{_more(missing, _SHOWN)} in {folder}, which its index "
            "names; fetch it again"
        )
    return [folder / name for name in names]


def _weight_map(folder: Path) -> dict[str, str]:
    """File by tensor, as the index says."""
    path = folder / _INDEX
    try:
        content = json.loads(read_bounded(path, _MAX_INDEX_BYTES))
        weights = content["weight_map"]
        if not weights or not all(isinstance(x, str) for pair in weights.items() for x in pair):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise InputError(
            f"found a broken {path}; allowed: a weight_map of tensors to files; fetch the file again"
        ) from None
    mapped: dict[str, str] = weights
    return mapped


def _there(found: dict[str, StoredTensor], name: str, file: str) -> bool:
    return name in found and found[name].file.name == file


def _header(path: Path) -> dict[str, StoredTensor]:
    """Tensors of a file by name; safetensors itself checks shapes, types and offsets against its size."""
    try:
        with safe_open(path, framework="np") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            return {
                name: StoredTensor(path, tuple(part.get_shape()), part.get_dtype())
                for name, part in slices.items()
            }
    except SafetensorError as error:
        said = str(error).split(":", 1)[-1].strip() or "unreadable"
        raise InputError(
            f"found no safetensors header in {path} that fits its {path.stat().st_size:,} bytes ({said}); "
            "fetch the file again"
        ) from None
    except OSError as error:
        raise InputError(f"found an unreadable {path}: {error.strerror}; fetch it again") from None


@lru_cache(maxsize=4096)
def _read(path: Path, _size: int, _mtime_ns: int) -> _Read:
    digest = hashlib.sha256()
    bad: dict[str, None] = {}
    with path.open("rb") as file:
        for name, dtype, length in _pieces(path):
            left = length
            while left and (piece := file.read(min(_CHUNK, left))):
                left -= len(piece)
                digest.update(piece)
                if dtype in _EXPONENT and name not in bad and _not_finite(piece, dtype):
                    bad[name] = None
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return _Read(digest.hexdigest(), tuple(bad))


def _pieces(path: Path) -> Iterator[tuple[str, str, int]]:
    """Name, type and bytes of each part of a safetensors file in order; of any other file nothing."""
    try:
        with safe_open(path, framework="np"):
            pass  # its checks: what follows may rely on the header
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header: dict[str, Any] = json.loads(file.read(length))
    except (SafetensorError, OSError, ValueError, struct.error):
        return
    yield "", "", 8 + length
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    for name, entry in sorted(tensors.items(), key=lambda item: item[1]["data_offsets"]):
        start, end = entry["data_offsets"]
        yield name, entry["dtype"], end - start


def _not_finite(piece: bytes, dtype: str) -> bool:
    whole, exponent = _EXPONENT[dtype]
    values = np.frombuffer(piece, dtype=whole)
    mask = values.dtype.type(exponent)
    return bool(((values & mask) == mask).any())


def _more(found: list[Any] | tuple[Any, ...], shown: int = 1) -> str:
    return f" and {len(found) - shown} more" if len(found) > shown else ""
