"""One fine-tune as a plain script, the way it is done without a service: load, Trainer, evaluate, exit.

Reads a TrialSpec as JSON from standard input. The same data, model, schedule and evaluation as a trial of a
sweep, from transformers and peft alone; it prints the weighted number of right answers, so that nobody can
say that it skipped the work.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from datasets import Dataset
from peft import get_peft_model
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainingArguments,
)

from sweeps.data.examples import nested_order, read_examples, read_texts
from sweeps.data.prompts import encode_examples, encode_texts
from sweeps.finetune.model import adapter_config
from tracker.task import FileRef, TaskSpec
from tracker.trial import TrialSpec


def main() -> None:
    """Load, train, evaluate, exit."""
    torch.set_num_threads(1)
    spec = TrialSpec.model_validate_json(sys.stdin.read())
    tokenizer = AutoTokenizer.from_pretrained(spec.model.path)
    model = AutoModelForCausalLM.from_pretrained(spec.model.path, dtype=torch.float32)
    if spec.method.name in ("lora", "p_tuning"):
        model = get_peft_model(model, adapter_config(spec.method, model))
    if spec.method.name != "none":
        Trainer(
            model=model,
            args=_arguments(spec),
            train_dataset=_dataset(spec, tokenizer),
            data_collator=DataCollatorForSeq2Seq(tokenizer, padding=True),
        ).train()
    model.eval()
    right = sum(_right(model, tokenizer, task, spec) for task in spec.tasks)
    held_out = [suite.task for suite in spec.general if suite.task is not None]
    right += sum(_right(model, tokenizer, task, spec) for task in held_out)
    loss = sum(
        _text_loss(model, tokenizer, suite.text, spec) for suite in spec.general if suite.text
    )
    print(f"{right} right, {loss:.3f} nats")


def _arguments(spec: TrialSpec) -> TrainingArguments:
    return TrainingArguments(
        output_dir="/nonexistent",
        num_train_epochs=spec.train.epochs,
        per_device_train_batch_size=spec.train.batch_size,
        learning_rate=spec.method.learning_rate or 0.0,
        lr_scheduler_type=spec.train.scheduler,
        warmup_steps=spec.train.warmup,
        weight_decay=spec.train.weight_decay,
        seed=spec.seed,
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )


def _dataset(spec: TrialSpec, tokenizer: Any) -> Dataset:
    rows = []
    for task in spec.tasks:
        count = spec.examples.get(task.name, 0)
        if count and task.train:
            examples = read_examples(task, task.train)
            chosen = [examples[i] for i in nested_order(examples, spec.seed)[:count]]
            rows += encode_examples(tokenizer, chosen, spec.train.max_length)
    return Dataset.from_list(
        [
            {
                "input_ids": [*row.prompt_ids, *row.answer_ids],
                "attention_mask": [1] * len(row),
                "labels": [-100] * len(row.prompt_ids) + list(row.answer_ids),
            }
            for row in rows
        ]
    )


@torch.no_grad()
def _right(model: Any, tokenizer: Any, task: TaskSpec, spec: TrialSpec) -> int:
    """Greedy answers and teacher-forced loss on the rows a sweep would evaluate."""
    examples = read_examples(task, task.validation)
    examples = [examples[i] for i in nested_order(examples, 0)[: spec.evaluation.rows]]
    rows = encode_examples(tokenizer, examples, spec.train.max_length)
    tokenizer.padding_side = "left"
    right = 0
    limit = max(len(row.answer_ids) for row in rows) + 2
    for start in range(0, len(rows), spec.evaluation.batch_size):
        batch = rows[start : start + spec.evaluation.batch_size]
        whole = tokenizer.pad(
            {"input_ids": [[*r.prompt_ids, *r.answer_ids] for r in batch]}, return_tensors="pt"
        )
        model(**whole)
        prompts = tokenizer.pad(
            {"input_ids": [list(r.prompt_ids) for r in batch]}, return_tensors="pt"
        )
        out = model.generate(**prompts, max_new_tokens=limit, do_sample=False)
        new = out[:, prompts["input_ids"].shape[1] :]
        texts = tokenizer.batch_decode(new, skip_special_tokens=True)
        answers = [e.answer for e in examples[start : start + len(batch)]]
        right += sum(a.strip() == b.strip() for a, b in zip(texts, answers, strict=True))
    return right


@torch.no_grad()
def _text_loss(model: Any, tokenizer: Any, file: FileRef, spec: TrialSpec) -> float:
    rows = encode_texts(tokenizer, read_texts(file)[: spec.evaluation.rows], spec.train.max_length)
    total = 0.0
    for start in range(0, len(rows), spec.evaluation.batch_size):
        batch = rows[start : start + spec.evaluation.batch_size]
        whole = tokenizer.pad(
            {"input_ids": [[*r.prompt_ids, *r.answer_ids] for r in batch]}, return_tensors="pt"
        )
        logits = model(**whole).logits[:, -whole["input_ids"].shape[1] :]
        total += float(
            torch.nn.functional.cross_entropy(
                logits[:, :-1].flatten(0, 1),
                whole["input_ids"][:, 1:].flatten(),
                ignore_index=tokenizer.pad_token_id,
            )
        )
    return total


if __name__ == "__main__":
    main()
