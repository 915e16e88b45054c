"""TRL's own command runs what we write, on a model made here."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tracker.export import export_config
from tracker.export.config import Config
from tracker.export.recipe import Row
from tracker.trial import MethodSpec, ModelSpec

pytestmark = pytest.mark.slow

TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def make_model(folder: Path) -> None:
    """A Llama of 4,000 parameters that knows the 256 bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate(["<end>", "<pad>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<end>", pad_token="<pad>", chat_template=TEMPLATE
    ).save_pretrained(folder)
    shape = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=True,
        max_position_embeddings=128,
    )
    LlamaForCausalLM(shape).save_pretrained(folder)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_four_steps(
    make_config: Callable[..., Config], rows: list[Row], tmp_path: Path, method: str
) -> None:
    pytest.importorskip("trl", reason="needs the extra `trl`")
    make_model(tmp_path / "base")
    config = make_config(
        model=ModelSpec(name="tiny", path=str(tmp_path / "base"), digest="0", parameters=4_000),
        method=MethodSpec(
            name=method,
            rank=2 if method == "lora" else None,
            variant="rslora" if method == "lora" else None,
            learning_rate=1e-3,
        ),
    )
    folder = tmp_path / "out"
    command = export_config(config, "trl", lambda: rows, folder)[-1].split(" && ")[1]
    program, *arguments = command.split()
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "home"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (state,) = (folder / "model").glob("checkpoint-*/trainer_state.json")
    assert json.loads(state.read_text())["global_step"] == 4
    weights = "model.safetensors" if method == "full" else "adapter_model.safetensors"
    assert (folder / "model" / weights).exists()
