"""Training loop: transformers' Trainer over an explicit stream of rows, with exact resume.

The stream (:mod:`sweeps.data.mixes`) already holds every pass in order, so the Trainer makes one
sequential pass over it: every method sees the same tokens in the same order, and a resumed run continues
at the row where it stopped.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile, ZipFile

import torch
from peft import PeftModel
from peft.optimizers import create_loraplus_optimizer
from torch import Tensor, nn
from torch.utils.data import SequentialSampler
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from sweeps.data.prompts import Encoded
from sweeps.finetune import checkpoint
from sweeps.finetune.batch import answer_nats, collate, pack
from sweeps.finetune.clock import Clock
from sweeps.finetune.contract import Reporter
from sweeps.finetune.divergence import FIRST, LOSS, DivergedError, DivergenceRule, divergence_reason
from sweeps.finetune.model import (
    TRAINED_WEIGHTS,
    holds_trained,
    load_trained,
    prepended_tokens,
    save_trained,
    trained_parameters,
)
from sweeps.finetune.out_of_memory import Rung
from sweeps.finetune.passes import Passes, is_kept, judge, pass_steps, take_best
from tracker.trial import LORA_PLUS_RATIO, PassResult, TrialSpec

_LOGGED_STEPS = 50  # points of a learning curve: enough to see its shape, few enough for any store
_SAVING_SHARE = 0.05  # of the time since the last checkpoint, which the next may take
_WRITTEN_A_SECOND = (
    2e8  # bytes of a checkpoint, digests included; taken until the first is measured
)
_ADAM_MOMENTS = 2
#: In a checkpoint: the trial's seconds by phase up to it, so that a resumed trial's time is all of it.
_CLOCK = "clock.json"
#: What torch writes as archives, whose table of contents stands at their end.
_ARCHIVES = ("optimizer.pt", "scheduler.pt", "rng_state.pth")
#: Without these no training goes on as if it had never stopped; the clock is not among them, since an
#: earlier release kept none.
_NEEDED = (TRAINED_WEIGHTS, TRAINER_STATE_NAME, *_ARCHIVES)
_OPTIMIZERS = {"adamw": "adamw_torch_fused", "adamw_8bit": "adamw_8bit"}
_SCHEDULERS = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


class TrainResult(NamedTuple):
    """Result of a training; ``final_loss``: nats per answer token, mean over the last logged window.

    ``passes``: what each scored, where they were evaluated.
    """

    steps: int
    final_loss: float
    resumed_at: int
    passes: tuple[PassResult, ...] = ()


class StepCounter:
    """Optimizer steps done, also by earlier attempts and by a training that failed."""

    steps = 0


class Checkpoints(NamedTuple):
    """Folder of a trial's checkpoints, and the least seconds between two; 0: one at each point of the curve.

    Otherwise writing them takes at most 5 % of the time. ``timed``: whether the trial's clock holds the
    seconds up to the newest already.
    """

    folder: Path
    every_seconds: float
    timed: bool = False


def train(
    model: nn.Module,
    stream: Sequence[Encoded],
    spec: TrialSpec,
    *,
    pad_id: int,
    device: torch.device,
    checkpoints: Checkpoints,
    reporter: Reporter,
    clock: Clock,
    counter: StepCounter | None = None,
    rung: Rung | None = None,
    passes: Passes | None = None,
) -> TrainResult:
    """Tune *model* in place on *stream*, from the newest whole checkpoint on if there is one.

    *rung*: how steps are made in the memory that there is, by default as *spec* says; a checkpoint of another
    rung is as good. *counter* is kept up to date, so that the steps of a training that fails are known.
    *passes*: the model ends with the weights of the best one; by default with the last. Raises
    DivergedError when the loss is no longer finite, or stays too far above its beginning
    (:mod:`sweeps.finetune.divergence`).
    """
    rung = rung or Rung.of(spec)
    packs = spec.train.packing and spec.method.name != "p_tuning"
    if rung.recomputed:
        model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
    trainer = SftTrainer(
        model=model,
        args=_arguments(spec, rung, len(stream), device, checkpoints.folder),
        train_dataset=_RowDataset(stream if packs else within_steps(stream, rung)),
        data_collator=pack if packs else lambda rows: collate(rows, pad_id),
        spec=spec,
        clock=clock,
        timed=checkpoints.timed,
    )
    callback = _TrialCallback(trainer, checkpoints, reporter, counter or StepCounter(), passes)
    trainer.add_callback(callback)
    trainer.remove_callback(PrinterCallback)
    resume = checkpoint.latest_checkpoint(
        checkpoints.folder, spec.key, _NEEDED, lambda folder, step: _fits(folder, step, model)
    )
    model.train()
    try:
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    finally:
        _forget_overrides(spec)
    callback.flush()
    kept = take_best(passes, model, trainer.state.log_history) if passes else ()
    return TrainResult(trainer.state.global_step, callback.last_loss, callback.resumed_at, kept)


def _fits(folder: Path, step: int, model: nn.Module) -> bool:
    """Whether the checkpoint in *folder* is one of *model* at *step*, and its files can be read."""
    try:
        state = json.loads((folder / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        for name in _ARCHIVES:
            with ZipFile(folder / name) as archive:
                archive.infolist()
        whole = bool(state["global_step"] == step) and holds_trained(model, folder)
        return whole and is_kept(folder.parent, state["log_history"])
    except (OSError, ValueError, KeyError, TypeError, BadZipFile):
        return False


def _forget_overrides(spec: TrialSpec) -> None:
    """Drop what bitsandbytes keeps of a model for the whole process: its embeddings, weights and all."""
    if spec.train.optimizer == "adamw_8bit":
        from bitsandbytes.optim.optimizer import GlobalOptimManager

        GlobalOptimManager.get_instance().initialize()  # type: ignore[no-untyped-call]


def step_count(rows: int, spec: TrialSpec) -> int:
    """Number of optimizer steps of one pass over *rows*."""
    return math.ceil(math.ceil(rows / spec.schedule.batch_size) / spec.schedule.accumulation)


def _arguments(
    spec: TrialSpec, rung: Rung, rows: int, device: torch.device, folder: Path
) -> TrainingArguments:
    schedule = spec.schedule
    steps = step_count(rows, spec)
    cuda = device.type == "cuda"
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=rung.batch_size,
        gradient_accumulation_steps=rung.accumulation,
        learning_rate=spec.method.learning_rate or 0.0,
        lr_scheduler_type=_SCHEDULERS[schedule.scheduler],
        warmup_steps=math.ceil(schedule.warmup * steps),
        weight_decay=schedule.weight_decay,
        max_grad_norm=schedule.max_grad_norm,
        bf16=schedule.dtype == "bfloat16",
        optim=_OPTIMIZERS[schedule.optimizer],
        use_cpu=not cuda,
        use_cache=True,  # what the model's configuration keeps; the loss asks for none itself
        seed=spec.seed,
        remove_unused_columns=False,
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=cuda,
        logging_nan_inf_filter=False,
    )
    arguments._n_gpu = 1  # a trial has one device, also where the Trainer sees more to spread over
    return arguments


def within_steps(stream: Sequence[Encoded], rung: Rung) -> Sequence[Encoded]:
    """*stream* with the rows of each optimizer step from long to short, so that little of them is padded.

    A step that sees all its rows at a time has them in the stream's order. Of the others only the order of
    sums changes: each still sees its rows, with the same loss.
    """
    if rung.accumulation == 1:
        return stream
    step = rung.batch_size * rung.accumulation
    steps = (stream[start : start + step] for start in range(0, len(stream), step))
    return [row for rows in steps for row in sorted(rows, key=len, reverse=True)]


class _RowDataset(torch.utils.data.Dataset[Encoded]):
    def __init__(self, rows: Sequence[Encoded]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Encoded:
        return self._rows[index]


class SftTrainer(Trainer):
    """transformers' Trainer with a loss on answer tokens only, the stream's order and exact checkpoints."""

    optimizer: torch.optim.Optimizer | None

    def __init__(self, *, spec: TrialSpec, clock: Clock, timed: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec
        self.clock = clock
        self.timed = timed
        self.model_accepts_loss_kwargs = True  # count answer tokens over the accumulated batch
        self.trained = list(trained_parameters(self.model).values())
        self.losses: list[Tensor] = []

    def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
        return SequentialSampler(train_dataset or self.train_dataset)

    def create_optimizer(self, *args: Any, **kwargs: Any) -> torch.optim.Optimizer:
        """Create AdamW; of LoRA+ with a higher learning rate for B (peft's helper).

        In 8 bits moments of embeddings and of small weights stay in 32, as bitsandbytes advises.
        """
        if self.spec.method.variant == "lora_plus" and self.optimizer is None:
            assert isinstance(self.model, PeftModel)
            kind, settings = self.get_optimizer_cls_and_kwargs(self.args, self.model)
            self.optimizer = create_loraplus_optimizer(
                model=self.model,
                optimizer_cls=kind,
                **settings,
                loraplus_lr_ratio=LORA_PLUS_RATIO,
                loraplus_weight_decay=self.args.weight_decay,
            )
        optimizer: torch.optim.Optimizer = super().create_optimizer(*args, **kwargs)
        return optimizer

    @property
    def rate(self) -> float:
        """Learning rate of the next step, of LoRA+ that of A."""
        assert self.optimizer is not None
        return float(self.optimizer.param_groups[0]["lr"])

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Tensor], *, num_items_in_batch: Tensor
    ) -> Tensor:
        """Loss in nats per answer token; *num_items_in_batch*: answer tokens of the accumulated batch."""
        prepended = prepended_tokens(self.spec.method)
        return answer_nats(model, inputs, prepended=prepended).sum() / num_items_in_batch

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> Tensor:
        """One micro-batch forward and backward; its loss is kept on the device until logged.

        The Trainer's method sets every module to training mode and looks for optional packages each time,
        which costs a tiny model a tenth of its step.
        """
        with self.clock.phase("forward_backward"):
            inputs = self._prepare_inputs(inputs)
            with self.compute_loss_context_manager():
                loss = self.compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
            loss.backward()  # type: ignore[no-untyped-call]
        self.losses.append(loss.detach())
        return self.losses[-1]

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:
        with self.clock.phase("optimizer"):
            return nn.utils.clip_grad_norm_(self.trained, self.args.max_grad_norm)

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        return grad_norm  # not logged; the Trainer would measure it where nothing is clipped

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """0: the trial counts its operations once, from tokens."""
        return 0

    def write_checkpoint(self, folder: Path) -> None:
        """Write all that a bitwise-equal continuation needs, in the layout that the Trainer reads."""
        save_trained(self.model, folder)
        self._save_optimizer_and_scheduler(str(folder))
        self._save_rng_state(str(folder))
        self.state.save_to_json(str(folder / "trainer_state.json"))
        (folder / _CLOCK).write_text(json.dumps(self.clock.seconds), encoding="utf-8")

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_trained(model or self.model, Path(resume_from_checkpoint))
        clock = Path(resume_from_checkpoint) / _CLOCK
        if clock.exists() and not self.timed:  # a checkpoint of an earlier release has none
            self.clock.add(json.loads(clock.read_text(encoding="utf-8")))


class _TrialCallback(TrainerCallback):
    """Reports the learning curve, ends a run that diverges, saves checkpoints, times the optimizer."""

    def __init__(
        self,
        trainer: SftTrainer,
        checkpoints: Checkpoints,
        reporter: Reporter,
        counter: StepCounter,
        passes: Passes | None,
    ) -> None:
        self.trainer, self.checkpoints, self.reporter = trainer, checkpoints, reporter
        self.counter = counter
        self.passes = passes
        self.pass_steps = pass_steps(trainer.spec) if passes else {}
        self.saved_at = time.monotonic()
        weights = sum(p.numel() * p.element_size() for p in trainer.trained)
        self.saving = (1 + _ADAM_MOMENTS) * weights / _WRITTEN_A_SECOND  # seconds, until measured
        self.resumed_at = self.reported_at = 0
        self.last_loss = math.nan
        self.rate = 0.0
        self.log_every = 1  # steps
        self.rule = DivergenceRule.of(trainer.spec.schedule, 1)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.log_every = max(1, state.max_steps // _LOGGED_STEPS)
        self.rule = DivergenceRule.of(self.trainer.spec.schedule, state.max_steps)
        self.resumed_at = self.reported_at = self.counter.steps = state.global_step
        self.reporter.resume(state.global_step)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.clock.start("optimizer")

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.clock.stop()
        self.rate = self.trainer.rate  # the schedule goes on to the next step's before a step ends

    def on_substep_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.reporter.beat()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.counter.steps = state.global_step
        self.reporter.beat()  # a logged window may last longer than a worker may be silent
        if state.global_step <= self.rule.first:
            of_step = self.trainer.losses[-args.gradient_accumulation_steps :]
            self._log_loss(FIRST, torch.stack(of_step).sum().item())
        if self.passes and (number := self.pass_steps.get(state.global_step)):
            model = self.trainer.model
            judge(self.passes, model, state.log_history, number, state.global_step)
        if state.global_step % self.log_every:
            return  # a checkpoint inside a logged window would make the curve depend on timing
        self.flush()
        if self._due() and state.global_step < state.max_steps:
            began = time.monotonic()
            with self.trainer.clock.phase("checkpoint"):
                checkpoint.save_checkpoint(
                    self.checkpoints.folder,
                    self.trainer.spec.key,
                    state.global_step,
                    self.trainer.write_checkpoint,
                )
            self.reporter.checkpoint(state.global_step)
            self.saved_at = time.monotonic()
            self.saving = self.saved_at - began

    def _due(self) -> bool:
        least = self.checkpoints.every_seconds
        if least:
            least = max(least, self.saving / _SAVING_SHARE)
        return time.monotonic() - self.saved_at >= least

    def flush(self) -> None:
        """Report the mean loss since the last report; raises DivergedError where the run has diverged."""
        step, losses = self.trainer.state.global_step, self.trainer.losses
        if not losses:
            return
        self.last_loss = torch.stack(losses).sum().item() / (step - self.reported_at)
        self.reported_at, self.trainer.losses = step, []
        if not math.isfinite(self.last_loss):
            raise DivergedError(f"training loss {self.last_loss} at step {step}")
        values = {"train/loss": self.last_loss, "train/learning_rate": self.rate}
        self.reporter.step(step, values)
        self._log_loss(LOSS, self.last_loss)
        if reason := divergence_reason(self.trainer.state.log_history, self.rule):
            raise DivergedError(reason)

    def _log_loss(self, name: str, loss: float) -> None:
        """Log a loss in the Trainer's history, which checkpoints hold."""
        self.trainer.state.log_history.append({"step": self.trainer.state.global_step, name: loss})
