"""Base model folders: located, checked and digested without loading a weight."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from sweeps.base_weights import read_once, stored_tensors, value_problems
from sweeps.spec import ModelEntry
from tracker.errors import InputError
from tracker.files import absolute, check_file, read_bounded
from tracker.trial import ModelSpec

ONLINE_VARIABLE = "SFT_SELECT_ONLINE"

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_CONTENT = ("*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json")
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "chat_template.*",
)
#: Of a file that a model folder describes itself with; tokenizers have some of 30 MB.
MAX_JSON_BYTES = 500_000_000


def model_spec(entry: ModelEntry, base: Path) -> ModelSpec:
    """The base model that *entry* names; a relative path starts from *base*.

    Raises ``InputError`` with everything wrong with the folder.
    """
    folder = model_folder(entry, base)
    for path in _content_files(folder, code=entry.trust_remote_code):
        try:
            check_file(path)  # what reads them later may wait for a pipe for ever
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; fetch the file again") from None
    problems = [*_code_problems(folder, entry), *_tokenizer_problems(folder)]
    try:
        parameters = _parameters(folder)
        problems += _weight_problems(folder)
    except InputError as error:
        problems += error.problems
    if problems:
        raise InputError(problems)
    return ModelSpec(
        name=entry.label,
        path=str(folder),
        revision=entry.revision,
        digest=content_digest(folder, code=entry.trust_remote_code),
        parameters=parameters,
        family=entry.family,
        trust_remote_code=entry.trust_remote_code,
        base=entry.base if entry.base in ("bfloat16", "nf4") else None,
        chat_template_kwargs=entry.chat_template_kwargs,
        system=entry.system,
    )


def vocabulary_size(folder: Path) -> int | None:
    """Tokens of ``tokenizer.json``, added ones included; ``None`` for a tokenizer without one."""
    if not (folder / "tokenizer.json").is_file():
        return None
    tokenizer = _json(folder / "tokenizer.json")
    vocabulary = tokenizer.get("model", {}).get("vocab", {})
    ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
    added = (token["id"] for token in tokenizer.get("added_tokens", ()))
    return max((*ids, *added), default=-1) + 1


def max_positions(folder: Path) -> int | None:
    """Longest sequence of the model's configuration, in tokens; ``None`` where it does not say."""
    if not (folder / "config.json").is_file():
        return None
    config = _json(folder / "config.json")
    limit = config.get("max_position_embeddings", config.get("n_positions"))
    return limit if isinstance(limit, int) else None


def model_folder(entry: ModelEntry | ModelSpec, base: Path) -> Path:
    """Folder of the files of *entry*; a relative path starts from *base*, a hub id from the local cache.

    Raises InputError where there is no such folder.
    """
    folder = absolute(entry.path, base)
    if folder.is_dir():
        return folder
    if not _HUB_ID.fullmatch(entry.path):
        raise InputError(f"found no folder {folder}; allowed: a model folder, or a hub id org/name")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    online = os.environ.get(ONLINE_VARIABLE) == "1"
    revision = f" at revision {entry.revision}" if entry.revision else ""
    try:
        found = snapshot_download(
            entry.path,
            revision=entry.revision,
            local_files_only=not online,
            allow_patterns=[*_CONTENT, *_TOKENIZER, "*.py"],
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        how = (
            str(error).splitlines()[0]
            if online
            else (f"set {ONLINE_VARIABLE}=1 to fetch it, or run `hf download {entry.path}` first")
        )
        raise InputError(
            f"found neither a folder {folder} nor {entry.path!r}{revision} in the local hub cache; "
            f"{how}"
        ) from None
    return Path(found)


@lru_cache(maxsize=64)
def checked_folder(model: ModelSpec) -> str:
    """The model's folder, its content checked against the digest that the sweep was planned with.

    Read once per process and model. Raises InputError where the folder is missing or has changed.
    """
    folder = model_folder(model, Path())
    planned = model.digest  # none in a configuration written by hand
    present = content_digest(folder, code=model.trust_remote_code) if planned else ""
    if planned and present != planned:
        raise InputError(
            f"{model.path}: the base model changed: its SHA-256 is {present[:12]}…, the sweep was planned "
            f"with {planned[:12]}…; put the model back or start a new sweep"
        )
    if problems := value_problems(folder):
        raise InputError(problems)
    return str(folder)


def _code_problems(folder: Path, entry: ModelEntry) -> list[str]:
    files = [folder / name for name in ("config.json", "tokenizer_config.json")]
    asking = [f.name for f in files if f.is_file() and "auto_map" in _json(f)]
    if asking and not entry.trust_remote_code:
        return [
            f"found Python code in the model folder (auto_map in {' and '.join(asking)}); "
            "read it, then set trust_remote_code: true"
        ]
    return []


def _tokenizer_problems(folder: Path) -> list[str]:
    if not any(path for name in _TOKENIZER[:3] for path in folder.glob(name)):
        return [f"found no tokenizer in {folder}; allowed: tokenizer.json beside the weights"]
    if not (folder / "config.json").is_file():
        return []  # said elsewhere
    config = _json(folder / "config.json")
    rows = config.get("vocab_size", config.get("text_config", {}).get("vocab_size"))
    tokens = vocabulary_size(folder)
    if rows is not None and tokens is not None and tokens > rows:
        return [
            f"found a tokenizer of {tokens:,} tokens; allowed: {rows:,}, the rows of the model's "
            "embeddings (vocab_size); resize them or take the tokenizer that came with the model"
        ]
    return []


def _weight_problems(folder: Path) -> list[str]:
    """Weights that cannot be tuned, and values in them that are no numbers."""
    quantised = _json(folder / "config.json").get("quantization_config")
    if quantised:
        kind = quantised.get("quant_method") if isinstance(quantised, dict) else None
        return [
            f"found weights quantised by {kind or 'an unknown method'} (quantization_config in "
            f"{folder / 'config.json'}); allowed: float32, float16 or bfloat16 weights; take the model that "
            "they were made from"
        ]
    return value_problems(folder)


def _parameters(folder: Path) -> int:
    """Weights counted from the headers of the files that are loaded; tied ones once."""
    if not (folder / "config.json").is_file():
        raise InputError(f"found no config.json in {folder}; allowed: a Hugging Face model folder")
    shapes = {name: tensor.shape for name, tensor in stored_tensors(folder).items()}
    if _json(folder / "config.json").get("tie_word_embeddings"):
        shapes.pop("lm_head.weight", None)
    return sum(math.prod(shape) for shape in shapes.values())


def content_digest(folder: Path, *, code: bool) -> str:
    """SHA-256 over names and contents of weights, configuration, tokenizer and allowed code.

    Files beside the weights that are loaded count too, as they did in earlier releases: a begun sweep
    keeps its digest.
    """
    total = hashlib.sha256()
    for path in _content_files(folder, code=code):
        total.update(f"{path.name} {read_once(path).sha256}\n".encode())
    return total.hexdigest()


def _content_files(folder: Path, *, code: bool) -> list[Path]:
    patterns = [*_CONTENT, *_TOKENIZER, *(["*.py"] if code else [])]
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(read_bounded(path, MAX_JSON_BYTES))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"found a broken {path}: {error}; fetch the file again") from None
    if not isinstance(value, dict):
        raise InputError(f"found a broken {path}: not a JSON object; fetch the file again")
    return value
