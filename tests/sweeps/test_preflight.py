"""A new sweep's models, methods and rows are tried before the first trial; what cannot work is one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertLMHeadModel,
    FalconConfig,
    FalconForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    OPTConfig,
    OPTForCausalLM,
    PreTrainedModel,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from sweeps.data.examples import Example, read_examples, read_located
from sweeps.data.layouts import Turn
from sweeps.data.prompts import encode_examples, load_tokenizer, rendered
from sweeps.preflight import (
    CHARACTERS,
    END_TOKENS,
    FULL_RATE,
    TASK_SETTINGS,
    preflight,
    read_checked,
    settled,
)
from sweeps.resolve import ResolvedSweep, read_sweep
from sweeps.search.workspace import SweepFolder
from tracker.errors import InputError
from tracker.trial import ModelSpec

SWEEP = """\
name: tiny
models: [{{path: {model}{entry}}}]
methods:
  {methods}
tasks:
  intent: {{{task}train: train.jsonl, prompt: {{{system}input: "{{text}}"}},
    answer: "{{label}}", score: {score}}}
volumes: [{volume}]
train: {{max_length: 64, epochs: 1, batch_size: 8{train}}}
"""
ALL = (
    "{full: {learning_rate: 1e-3}, "
    "lora: {learning_rate: 1e-3, variant: [plain, rslora, dora, pissa, lora_plus]}, "
    "p_tuning: {learning_rate: 1e-3, virtual_tokens: 4, variant: [v1, v2]}}"
)
FULL = "{full: {learning_rate: 1e-3}}"


@pytest.fixture
def base(tiny_model: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    shutil.copytree(tiny_model, folder)
    return folder


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def sized(base: Path) -> dict[str, Any]:
    """Settings of a tiny architecture for the tokenizer in *base*."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    return {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def rebuild(base: Path, model: PreTrainedModel) -> None:
    """Put another architecture under the tokenizer in *base*."""
    (base / "model.safetensors").unlink()
    model.save_pretrained(base)


def flown(
    base: Path,
    data: Path,
    *,
    methods: str = FULL,
    system: str = "",
    score: str = "macro_f1",
    volume: int = 100,
    train: str = "",
    entry: str = "",
    task: str = "",
    more: str = "",
) -> ResolvedSweep:
    """The sweep after its preflight."""
    folder = base.parent / "sweep"
    shutil.copytree(data, folder, dirs_exist_ok=True)
    file = folder / "sweep.yaml"
    words = {"model": base, "methods": methods, "system": system, "score": score}
    words |= {"volume": volume, "train": train, "entry": entry, "task": task}
    file.write_text(SWEEP.format(**words) + more)
    return preflight(read_sweep(file), file)


def problems(base: Path, data: Path, **changes: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        flown(base, data, **changes)
    assert not any("\n" in problem for problem in caught.value.problems)
    return [problem.replace(f"{base.parent}/sweep/", "") for problem in caught.value.problems]


def test_a_sound_sweep_passes_without_a_word(base: Path, tiny_data: Path) -> None:
    assert flown(base, tiny_data, methods=ALL).warnings == ()


def _falcon(sizes: dict[str, Any]) -> PreTrainedModel:
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    return FalconForCausalLM(FalconConfig(**shape, **sizes))  # keys and values of one head for all


def _opt(sizes: dict[str, Any]) -> PreTrainedModel:
    shape = {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return OPTForCausalLM(OPTConfig(**shape, word_embed_proj_dim=16, **sizes))


def _experts(sizes: dict[str, Any]) -> PreTrainedModel:
    shape = {
        **{"hidden_size": 32, "intermediate_size": 64, "moe_intermediate_size": 16, "head_dim": 8},
        **{"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2},
    }
    return Qwen3MoeForCausalLM(
        Qwen3MoeConfig(**shape, num_experts=4, num_experts_per_tok=2, **sizes)
    )


@pytest.mark.parametrize(
    ("build", "refused"),
    [(_falcon, {"v2"}), (_opt, {"v1"}), (_experts, {"dora", "pissa"})],
    ids=["keys and values of one head", "projected embeddings", "experts"],
)
def test_methods_that_an_architecture_cannot_take(
    build: Callable[[dict[str, Any]], PreTrainedModel],
    refused: set[str],
    base: Path,
    tiny_data: Path,
) -> None:
    rebuild(base, build(sized(base)))
    found = problems(base, tiny_data, methods=ALL)
    assert {problem.split("found ")[1].split(",")[0] for problem in found} == refused
    assert all(problem.startswith("sweep.yaml:4: methods.") for problem in found)
    assert all("does not work with base" in p and p.endswith("or the model") for p in found)


def test_an_encoder_is_refused(base: Path, tiny_data: Path) -> None:
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    rebuild(base, BertLMHeadModel(BertConfig(**shape, num_attention_heads=4, **sized(base))))
    (problem,) = problems(base, tiny_data)
    assert problem.startswith(
        "sweep.yaml:2: models[0]: found base (bert), whose tokens see the ones"
    )
    edit(base / "config.json", is_decoder=True)
    assert flown(base, tiny_data).warnings == ()


def test_packing_is_refused_where_rows_would_see_each_other(base: Path, tiny_data: Path) -> None:
    assert flown(base, tiny_data, train=", packing: true").warnings == ()
    rebuild(base, _opt(sized(base)))
    assert flown(base, tiny_data)
    (problem,) = problems(base, tiny_data, train=", packing: true")
    assert (
        "train.packing: found true; the rows of a packed sequence see each other in base" in problem
    )


def test_rows_beyond_the_positions_of_a_model(base: Path, tiny_data: Path) -> None:
    shape = {"n_embd": 32, "n_layer": 2, "n_head": 4}
    rebuild(base, GPT2LMHeadModel(GPT2Config(n_positions=40, **shape, **sized(base))))
    assert flown(base, tiny_data)
    (problem, *_) = problems(base, tiny_data, methods=ALL.replace("tokens: 4", "tokens: 16"))
    assert "train.jsonl:" in problem
    assert "16 virtual ones" in problem
    assert "allowed: 40, the positions of base; set train.max_length to at most 24" in problem


def test_a_template_that_refuses_turns_names_model_row_and_cure(
    base: Path, tiny_data: Path
) -> None:
    template = base / "chat_template.jinja"
    template.write_text(
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turns') }}{% endif %}"
        + template.read_text()
    )
    assert flown(base, tiny_data).warnings == ()
    (problem, *_) = problems(base, tiny_data, system='system: "Route it.", ')
    assert problem.startswith(
        "train.jsonl:1: the chat template of base refuses 600 of 600 rows, this "
    )
    assert (
        "one first: no system turns; give its entry in models `system: fold`, which joins"
        in problem
    )

    folded = flown(base, tiny_data, system='system: "Route it.", ', entry=", system: fold")
    (row,) = folded.tasks.values()
    examples = read_located(row, row.train.path)[:1] if row.train else []
    tokenizer = load_tokenizer(folded.models["base"])
    (text,) = rendered(tokenizer, [examples[0].example], opened=True)
    assert "<|user|>Route it.\n\n" in text


def test_variables_of_a_chat_template_are_given_by_model_and_by_task(
    base: Path, tiny_data: Path
) -> None:
    """A hybrid model's template opens an empty thought where it is not to think."""
    template = base / "chat_template.jinja"
    thought = (
        "{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}"
    )
    template.write_text(
        template.read_text().replace(
            "<|assistant|>{% endif %}", f"<|assistant|>{thought}{{% endif %}}"
        )
    )
    (note,) = flown(base, tiny_data).warnings
    assert "base reads 'enable_thinking'" in note
    assert "`chat_template_kwargs: {enable_thinking: false}`" in note

    def prompt(**changes: str) -> str:
        sweep = flown(base, tiny_data, **changes)
        assert not [w for w in sweep.warnings if "reads 'enable" in w]
        (task,) = sweep.tasks.values()
        assert task.train is not None
        example = read_located(task, task.train.path)[0].example
        return rendered(load_tokenizer(sweep.models["base"]), [example], opened=True)[0]

    off, on = (f"chat_template_kwargs: {{enable_thinking: {said}}}" for said in ("false", "true"))
    assert prompt(entry=f", {off}").endswith("<|assistant|><think></think>")
    assert prompt(entry=f", {on}").endswith("<|assistant|>")
    both = prompt(entry=f", {on}", task=f"{off}, ")
    assert both.endswith("<think></think>"), "a task's come before the model's"
    unread = flown(base, tiny_data, entry=", chat_template_kwargs: {thinks: 1}").warnings[0]
    assert unread == (
        "chat_template_kwargs: found 'thinks', which the chat template of base does not read; it reads "
        "enable_thinking"
    )


def test_settings_of_a_template_are_part_of_a_model_and_of_a_file(
    base: Path, tiny_data: Path
) -> None:
    entry = ", chat_template_kwargs: {enable_thinking: false, depth: 2}"
    plain, given = (flown(base, tiny_data, entry=e).models["base"] for e in ("", entry))
    assert "chat_template_kwargs" not in plain.model_dump(), "keys of before stay"
    assert given.model_dump()["chat_template_kwargs"] == {"depth": 2, "enable_thinking": False}
    assert ModelSpec.model_validate_json(given.model_dump_json()) == given
    assert hash(given) != hash(plain)


def test_a_tokenizer_without_an_end_token(base: Path, tiny_data: Path) -> None:
    edit(base / "tokenizer_config.json", eos_token=None)
    (problem,) = problems(base, tiny_data)
    assert "the tokenizer of base has no end token (eos_token)" in problem


def test_labels_that_the_tokenizer_cannot_write(base: Path, tiny_data: Path) -> None:
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    tokenizer["normalizer"] = {"type": "Lowercase"}
    (base / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert flown(base, tiny_data)
    folder = base.parent / "capitals"
    shutil.copytree(tiny_data, folder)
    for name in ("train", "validation", "test"):
        file = folder / f"{name}.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps(r | {"label": r["label"].title()}) + "\n" for r in rows))
    (problem,) = problems(base, folder)
    assert problem.startswith("train.jsonl:1: the tokenizer of base cannot write '")
    assert "back (5 of 5 labels): it reads '" in problem


@pytest.mark.parametrize(
    ("change", "wording"),
    [
        (
            lambda text: "{{ strftime_now('%d %b %Y') }}" + text,
            "reads the clock (strftime_now); in every trial of a sweep it reads 1 January 2026",
        ),
        (
            lambda text: text.replace(
                "<|assistant|>{% endif %}", "<|assistant|><think>{% endif %}"
            ),
            "opens '<think>' before an answer",
        ),
        (
            lambda text: text.replace("{{ eos_token }}", " ###"),
            "its chat template ends a turn with ' ###'",
        ),
        (
            lambda text: text.replace(
                "{{ m['content'] }}{{ eos", "[plain]{{ m['content'] }}{{ eos"
            ),
            "writes '[plain]' before an answer",
        ),
    ],
    ids=["clock", "opened thought", "another end", "words before"],
)
def test_what_a_template_does_beside_a_plain_answer_is_said(
    change: Callable[[str], str], wording: str, base: Path, tiny_data: Path
) -> None:
    template = base / "chat_template.jinja"
    text = change(template.read_text())
    assert text != template.read_text()
    template.write_text(text)
    (note,) = flown(base, tiny_data).warnings
    assert wording in note


def test_padding_in_a_tokenizer_file_is_no_length(base: Path, tiny_data: Path) -> None:
    tokenizer = json.loads((base / "tokenizer.json").read_text())
    tokenizer["padding"] = {
        **{"strategy": {"Fixed": 512}, "direction": "Right", "pad_to_multiple_of": None},
        **{"pad_id": 0, "pad_type_id": 0, "pad_token": "<|pad|>"},
    }
    (base / "tokenizer.json").write_text(json.dumps(tokenizer))
    assert flown(base, tiny_data).warnings == ()


def test_a_warm_up_that_takes_every_step_is_said(base: Path, tiny_data: Path) -> None:
    short = flown(base, tiny_data, volume=8)
    (note,) = short.warnings
    assert "found 8 for mix 'all', 1 step of training; it has the full learning rate" in note
    assert short.full_rate
    (note,) = flown(base, tiny_data, volume=40, train=", warmup: 0.9").warnings
    assert "5 steps of training; all but the last are warm-up" in note
    assert not flown(base, tiny_data).full_rate
    assert flown(base, tiny_data, volume=8, train=", warmup: 0").warnings == ()


def test_a_begun_sweep_keeps_the_warm_up_that_it_began_with(base: Path, tiny_data: Path) -> None:
    assert settled(flown(base, tiny_data, volume=8)) == {FULL_RATE: True}
    file, workspace = base.parent / "sweep" / "sweep.yaml", base.parent / "runs"
    folder = SweepFolder(workspace, "tiny")
    folder.root.mkdir(parents=True)
    known = {"models": {"base": "digest"}, "file": {"methods": {"full": {"learning_rate": 1e-3}}}}
    for kept in ({}, {FULL_RATE: True}):
        folder.identity_file.write_text(json.dumps(known | kept))
        begun = read_checked(file, workspace)
        assert (begun.full_rate, settled(begun)) == (bool(kept), kept)


def test_tensors_without_a_place_are_said(base: Path, tiny_data: Path) -> None:
    edit(base / "config.json", num_hidden_layers=1)
    (note,) = flown(base, tiny_data).warnings
    assert "9 of 20 tensors have no place in the model and are not loaded" in note


def test_answers_end_as_the_template_ends_them(base: Path, tiny_data: Path) -> None:
    plain = flown(base, tiny_data).models["base"]
    assert plain.end_token is None
    assert "end_token" not in plain.model_dump()
    template = base / "chat_template.jinja"
    template.write_text(template.read_text().replace("{{ eos_token }}", "<|user|>\n"))
    sweep = flown(base, tiny_data)
    assert sweep.warnings == ()
    assert sweep.models["base"].end_token == "<|user|>"
    tokenizer = load_tokenizer(sweep.models["base"])
    example = Example((Turn("user", "please book a table"),), "book_table", 0)
    (row,) = encode_examples(tokenizer, [example], 64)
    (whole,) = rendered(
        tokenizer, [example._replace(messages=(*example.messages, Turn("assistant", "book_table")))],
        opened=False,
    )  # fmt: skip
    assert tokenizer.decode([*row.prompt_ids, *row.answer_ids]) == whole.rstrip("\n")


def test_a_template_gives_the_end_that_a_tokenizer_lacks(base: Path, tiny_data: Path) -> None:
    edit(base / "tokenizer_config.json", eos_token=None)
    template = base / "chat_template.jinja"
    template.write_text(template.read_text().replace("{{ eos_token }}", "<|user|>"))
    assert flown(base, tiny_data).models["base"].end_token == "<|user|>"


def test_a_begun_sweep_keeps_the_end_that_it_began_with(base: Path, tiny_data: Path) -> None:
    template = base / "chat_template.jinja"
    template.write_text(template.read_text().replace("{{ eos_token }}", "<|user|>"))
    flown(base, tiny_data)
    file, workspace = base.parent / "sweep" / "sweep.yaml", base.parent / "runs"
    folder = SweepFolder(workspace, "tiny")
    folder.root.mkdir(parents=True)
    known = {"models": {"base": "digest"}, "file": {"methods": {"full": {"learning_rate": 1e-3}}}}
    for ends, end in (({}, None), ({END_TOKENS: {"base": "<|user|>"}}, "<|user|>")):
        folder.identity_file.write_text(json.dumps(known | ends))
        assert read_checked(file, workspace).models["base"].end_token == end


def test_a_new_sweep_has_the_settings_of_today_and_a_begun_one_those_it_began_with(
    base: Path, tiny_data: Path
) -> None:
    assert "tokens" not in flown(base, tiny_data).tasks["intent"].model_dump()
    new = flown(base, tiny_data, score="token_f1")
    assert new.tasks["intent"].tokens == "normalised"
    assert settled(new)[TASK_SETTINGS] == {"intent": {"tokens": "normalised"}}
    file, workspace = base.parent / "sweep" / "sweep.yaml", base.parent / "runs"
    folder = SweepFolder(workspace, "tiny")
    folder.root.mkdir(parents=True)
    as_written = {"file": {"tasks": {"intent": {"score": "token_f1"}}}}
    by_character = {CHARACTERS: ["intent"]}
    for identity, tokens, kept in (
        (as_written, None, {}),
        (as_written | by_character, "characters", by_character),
        (as_written | settled(new), "normalised", settled(new)),
        ({"file": {"tasks": {"intent": {"score": "macro_f1"}}}}, "normalised", settled(new)),
        ({"file": {"tasks": {"other": {"score": "token_f1"}}}}, "normalised", settled(new)),
    ):
        folder.identity_file.write_text(json.dumps(identity))
        sweep = read_checked(file, workspace)
        task = sweep.tasks["intent"]
        assert task.tokens == tokens
        assert ("tokens" in task.model_dump()) == (tokens is not None)
        assert settled(sweep) == kept, "what is compared with how the sweep was begun"


def test_rows_that_fit_no_trial_are_left_out_where_the_file_asks(
    base: Path, tiny_data: Path, tmp_path: Path
) -> None:
    """Too long a row and one whose turns the template refuses: named by line, and read by nothing."""
    data = tmp_path / "data"
    shutil.copytree(tiny_data, data)
    lines = (data / "train.jsonl").read_text().splitlines()
    lines[4] = json.dumps({"text": "hello", "label": "very long " * 60})
    (data / "train.jsonl").write_text("\n".join(lines) + "\n")
    template = base / "chat_template.jinja"
    forbidden = json.loads(lines[7])["text"]
    template.write_text(
        f"{{% if {forbidden!r} in messages[-1]['content'] %}}{{{{ raise_exception('no') }}}}{{% endif %}}"
        + template.read_text()
    )
    assert problems(base, data, score="exact_match")
    sweep = flown(base, data, score="exact_match", more="drop_unfit: true")
    (note, *_) = [line for line in sweep.warnings if "left out" in line]
    assert "train.jsonl:5: 2 rows of 600 left out (drop_unfit)" in note
    assert note.endswith("refuses: lines 5, 8")
    (task,) = sweep.tasks.values()
    assert task.train is not None
    assert (task.train.left_out, task.train.rows) == ((4, 7), 598)
    rows = read_examples(task, task.train)
    assert [row.row for row in rows[:8]] == [0, 1, 2, 3, 5, 6, 8, 9]
    assert "left_out" not in task.validation.model_dump(), "files that are whole are as before"
