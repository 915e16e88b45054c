"""Real sizes on one GPU: tokens a second, peak memory against predicted, share of the bf16 peak, beside TRL.

``python -m tests.benchmarks.gpu``: on a GPU a model of 0.6B parameters by full tuning, LoRA, 4-bit LoRA and
P-tuning on rows of 1,024 tokens, the same full tuning by TRL's command, and LoRA on an 8B-shaped model with
bfloat16 and 4-bit weights, in at most 8 minutes. ``--small``: the same on a tiny model, which a CPU
can run. Weights are random; times and bytes do not depend on them. Prints a table; ``--json FILE`` keeps it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from sweeps.data.encoding import rows_as_text
from sweeps.finetune.contract import TrialHome
from sweeps.finetune.model import quieten
from sweeps.finetune.trial import run_trial
from sweeps.resolve import ResolvedSweep, read_sweep
from sweeps.search.plan import make_plan
from sweeps.search.space import design_points, lattice, trial_spec
from tracker.errors import SftSelectError
from tracker.export import export_config
from tracker.export.config import Config
from tracker.trial import TrialResult, TrialSpec

TOKENIZER = Path(__file__).parents[2] / "sweeps/playground/models/pg-800k"
#: Dense bfloat16 operations a second, from the makers' data sheets.
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L4": 121e12, "4090": 165e12}
SHAPES: dict[str, dict[str, int]] = {
    "small": {
        **{"hidden_size": 64, "num_hidden_layers": 2, "intermediate_size": 128, "head_dim": 16},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 2048},
    },
    "0.6b": {
        **{
            "hidden_size": 1024,
            "num_hidden_layers": 28,
            "intermediate_size": 3072,
            "head_dim": 128,
        },
        **{"num_attention_heads": 16, "num_key_value_heads": 8, "vocab_size": 151_936},
    },
    "8b": {
        **{
            "hidden_size": 4096,
            "num_hidden_layers": 36,
            "intermediate_size": 12_288,
            "head_dim": 128,
        },
        **{"num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 151_936},
    },
}
METHODS: dict[str, dict[str, Any]] = {
    "full": {"full": {"learning_rate": 1e-5}},
    "lora": {"lora": {"rank": 16, "learning_rate": 1e-4}},
    "p_tuning": {"p_tuning": {"variant": "v2", "virtual_tokens": 16, "learning_rate": 1e-2}},
}


class Case(NamedTuple):
    """A trial to time: shape, method, how the frozen weights are stored, rows, and tokens a row."""

    shape: str
    method: str
    base: str
    rows: int
    tokens: int


class Row(NamedTuple):
    """A line of the table; ``None``: not measured."""

    case: str
    tokens_per_second: float | None
    peak_gib: float | None
    predicted_gib: float | None
    share_of_peak: float | None
    note: str = ""


class _Silent:
    """A reporter that shows nothing."""

    def resume(self, step: int) -> None: ...

    def step(self, step: int, values: dict[str, float]) -> None: ...

    def checkpoint(self, step: int) -> None: ...

    def beat(self) -> None: ...


def write_model(shape: str, folder: Path, device: str) -> None:
    """Write random bfloat16 weights of *shape*, with the playground's tokenizer."""
    tied = shape != "8b"
    config = Qwen3Config(**SHAPES[shape], tie_word_embeddings=tied, max_position_embeddings=4096)
    with torch.device(device):
        torch.set_default_dtype(torch.bfloat16)
        model = Qwen3ForCausalLM(config)
        torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(TOKENIZER).save_pretrained(folder)
    del model


def write_rows(folder: Path, rows: int, tokens: int) -> None:
    """Write rows of about *tokens* tokens, half of them trained, and a few short ones to evaluate on."""
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    known = (word.strip("\u0120\u2581") for word in tokenizer.get_vocab())
    words = sorted({word for word in known if word.isascii() and word.isalpha()})
    draw = random.Random(0)

    def text(count: int) -> str:
        said = " ".join(draw.choices(words, k=count))
        return str(tokenizer.decode(tokenizer(said, add_special_tokens=False).input_ids[:count]))

    half = tokens // 2 - 24
    for name, count, length in (("train", rows, half), ("validation", 4, 16)):
        lines = [{"text": text(length), "answer": text(length)} for _ in range(count)]
        body = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(body, encoding="utf-8")


def resolved(case: Case, folder: Path, batch: int) -> ResolvedSweep:
    """The sweep of *case* alone, over the model and rows in *folder*."""
    sweep = {
        "name": "gpu",
        "models": [{"path": str(folder / case.shape), "base": case.base}],
        "methods": METHODS[case.method],
        "tasks": {
            "copy": {
                "train": str(folder / "train.jsonl"),
                "validation": str(folder / "validation.jsonl"),
                "prompt": {"input": "{text}"},
                "answer": "{answer}",
                "score": "exact_match",
            }
        },
        "volumes": [case.rows],
        "train": {
            **{"epochs": 1, "batch_size": batch, "max_length": case.tokens + 16},
        },
        "evaluation": {"rows": 4, "max_new_tokens": 8},
        "search": {"strategy": "grid", "tuning": {"trials": 1}},
        "allow_leakage": True,
    }
    path = folder / "sweep.yaml"
    path.write_text(yaml.safe_dump(sweep), encoding="utf-8")
    return read_sweep(path)


def measure(case: Case, folder: Path, batch: int) -> tuple[Row, TrialResult]:
    """Run *case* once."""
    sweep = resolved(case, folder, batch)
    point = design_points(sweep.spec)[0]
    method = lattice(sweep.spec, point.method.name, 1)[0]
    spec = trial_spec(sweep, point._replace(method=method), 0)
    predicted = make_plan(sweep, [], 1).points[0].peak_bytes
    home = TrialHome(folder / "ckpt", folder / "records", folder / "baselines", None, 1e9)
    result = run_trial(spec, home, _Silent())
    shutil.rmtree(folder / "ckpt", ignore_errors=True)
    return _row(case, result, predicted), result


def _row(case: Case, result: TrialResult, predicted: int) -> Row:
    cost, name = result.cost, f"{case.shape} {case.method} {case.base}"
    seconds = cost.phases.get("forward_backward", 0.0) + cost.phases.get("optimizer", 0.0)
    if not (cost.train_tokens and seconds):
        return Row(name, None, None, predicted / 2**30, None, f"{result.status}: {result.reason}")
    peak = next((v for k, v in PEAK_FLOPS.items() if k in cost.device), None)
    share = cost.flops / seconds / peak if peak and cost.flops else None
    used = cost.peak_bytes / 2**30 if cost.peak_bytes else None
    return Row(name, cost.train_tokens / seconds, used, predicted / 2**30, share, result.status)


def beside_trl(spec: TrialSpec, tokens: int, folder: Path) -> Row:
    """The same training by TRL's command on our export of it; *tokens*: of all rows."""
    made = folder / "trl"
    config = Config(sweep="gpu", trial=spec)
    for _line in export_config(config, "trl", lambda: rows_as_text(spec), made):
        pass
    file = next(made.glob("*.yaml"))
    command = [str(Path(sys.executable).with_name("trl")), "sft", "--config", file.name]
    started = time.monotonic()
    done = subprocess.run(
        command,
        cwd=made,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        check=False,
    )
    said = done.stdout + done.stderr
    runtime = _reported(said, "train_runtime")
    note = f"{time.monotonic() - started:.0f} s with start-up"
    if runtime is None:
        return Row("TRL, the same", None, None, None, None, said.strip().splitlines()[-1][:160])
    return Row("TRL, the same", tokens / runtime, None, None, None, note)


def _reported(said: str, name: str) -> float | None:
    """Value that the trainer's last line gives *name*, written as a number or as text."""
    found = said.rpartition(f"'{name}': ")[2] if f"'{name}': " in said else ""
    number = found.lstrip("'\"").split("'")[0].split(",")[0].split("}")[0]
    return float(number) if number else None


def cases(small: bool) -> list[Case]:
    """What is timed, the most telling first."""
    if small:
        return [Case("small", m, b, 16, 64) for m, b in _BASES]
    mid = [Case("0.6b", m, b, 128, 1024) for m, b in _BASES]
    return [*mid, Case("8b", "lora", "bfloat16", 32, 1024), Case("8b", "lora", "nf4", 32, 1024)]


_BASES = (("full", "auto"), ("lora", "auto"), ("lora", "nf4"), ("p_tuning", "auto"))


def main() -> None:
    """Time every case and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--small", action="store_true", help="a tiny model, for a CPU")
    parser.add_argument("--json", type=Path, help="file to keep the table in")
    options = parser.parse_args()
    quieten()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder, written = Path(scratch), ""
        for case in cases(options.small):
            if case.shape != written:
                shutil.rmtree(folder / written, ignore_errors=True) if written else None
                write_model(case.shape, folder / case.shape, device)
                write_rows(folder, case.rows, case.tokens)
                written = case.shape
            try:
                row, result = measure(case, folder, 4 if case.shape == "8b" else 8)
                rows.append(row)
                if case.method == "full":
                    rows.append(beside_trl(result.spec, result.cost.train_tokens or 0, folder))
            except SftSelectError as error:
                rows.append(Row(" ".join(case[:3]), None, None, None, None, str(error)))
            for shown in rows[-2:] if case.method == "full" else rows[-1:]:
                print(json.dumps(shown._asdict()), flush=True)
    if options.json:
        options.json.write_text(json.dumps([row._asdict() for row in rows], indent=1))


if __name__ == "__main__":
    main()
