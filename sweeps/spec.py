"""The sweep file's types: ``SweepSpec`` and all that a user writes in it, each with its limits.

``sweeps.sweep_file`` reads one; ``python -m sweeps.spec`` prints its JSON Schema (``sweeps/schema.json``),
``python -m sweeps.reference`` the reference of its keys (``SWEEP_FILE.md``).
Paths stay as written here; ``sweeps.resolve`` finds the files, counts and digests them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

from sweeps.method_entry import (
    MAX_ENTRIES,
    MethodName,
    Methods,
    PositiveFloat,
    TrainEntry,
    distinct,
)
from sweeps.task_entry import FilePath, Label, SuiteEntry, TaskEntry, TextFile
from tracker.frozen import Frozen
from tracker.price import Price
from tracker.task import TemplateVariables
from tracker.trial import MAX_EPOCHS, EvaluationSpec, MixSpec, Objective, RecordAnswers

MAX_EXAMPLES = 1_000_000_000
MAX_PROCESSES = 1_024


Volume = Annotated[int, Field(ge=1, le=MAX_EXAMPLES)]


StoredAs = Literal["auto", "float32", "bfloat16", "nf4"]


class ModelEntry(Frozen):
    """Base models to tune."""

    path: FilePath = Field(
        description="A folder in the Hugging Face format, or a hub id (org/name)."
    )
    revision: Label | None = Field(None, description="Branch, tag or commit of a hub id.")
    name: Label | None = Field(None, description="Its name in results; default: the folder's name.")
    family: Label | None = Field(None, description="Models of one family share a scaling law.")
    trust_remote_code: bool = Field(
        False, description="Allow Python code from the model folder to run."
    )
    methods: Annotated[tuple[MethodName, ...], AfterValidator(distinct)] | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="Those of the sweep's methods that tune it, such as [lora]; default: all.",
    )
    base: StoredAs | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="How its frozen weights are stored; default: the sweep's `base`.",
    )
    chat_template_kwargs: TemplateVariables = Field(
        (),
        exclude_if=lambda value: not value,
        description="Variables of its chat template, such as `{enable_thinking: false}`.",
    )
    system: Literal["fold"] | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="fold: a system turn is put before the first user turn's text, for a chat template "
        "that has no system turn.",
    )

    @property
    def label(self) -> str:
        """``name``, or the last part of ``path``."""
        return self.name or Path(self.path).name


class MixEntry(Frozen):
    """Task mixes: how the tasks share the training examples, `<task>: weight` each."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[
        str, Annotated[PositiveFloat, Field(description="Weight of the task in the examples.")]
    ] = Field(init=False)

    extra_epochs: dict[str, Annotated[int, Field(ge=1, le=MAX_EPOCHS)]] = Field(
        default_factory=dict,
        description="Passes over a task's examples beyond `train.epochs`, by task.",
    )
    replay: float = Field(
        0.0, ge=0, le=1, description="General text rows added, as a fraction of the examples."
    )
    volumes: Annotated[tuple[Volume, ...], Field(min_length=1, max_length=MAX_ENTRIES)] | None = (
        Field(
            None, description="Those of the sweep's volumes that this mix is run at; default: all."
        )
    )

    @model_validator(mode="after")
    def _any(self) -> Self:
        if not self.weights:
            raise ValueError("found no task; allowed: `<task>: weight`, at least one")
        return self

    @property
    def weights(self) -> dict[str, float]:
        """Weight by task, as written."""
        return dict(self.__pydantic_extra__)

    def named(self, name: str) -> MixSpec:
        """The mix as trials carry it."""
        return MixSpec(
            name=name, weights=self.weights, extra_epochs=self.extra_epochs, replay=self.replay
        )


class Budget(Frozen):
    """When the sweep ends; give one: trials, or gpu_hours."""

    trials: int | None = Field(None, ge=1, le=1_000_000, description="Number of trials.")
    gpu_hours: float | None = Field(
        None,
        gt=0,
        description="Hours on a device (a GPU, or the CPU where there is none): those that every ended "
        "trial took to train and evaluate, summed over all workers.",
    )

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.trials is None) == (self.gpu_hours is None):
            raise ValueError("found both or neither; allowed: one of trials, gpu_hours")
        return self


class Tuning(Frozen):
    """Tuning of the learning rate per model and method, before the design is run."""

    trials: int = Field(4, ge=0, le=1_000, description="Trials per model and method.")
    volume: Volume | None = Field(
        None, description="Training-set size to tune at, one of `volumes`."
    )
    mix: str | None = Field(None, description="Mix to tune on, one of `mixes`.")


class Halving(Frozen):
    """Successive halving over training-set sizes."""

    factor: int = Field(
        2,
        ge=2,
        le=4,
        description="Per rung, examples grow and configurations shrink by this factor.",
    )
    start: Volume | None = Field(
        None,
        description="Training-set size of the first rung; default: such that the last rung runs at the "
        "largest of `volumes`.",
    )


class Search(Frozen):
    """How the next trial is chosen."""

    strategy: Literal["grid", "random", "tpe", "halving", "ats", "law"] = Field(
        "tpe",
        description="grid: every design point; random and tpe: over the search ranges; halving: many "
        "configurations on few examples, the best go on; law: scaling laws choose the next trial.",
    )
    tuning: Tuning = Field(Tuning(), description="Tuning of the learning rate.")
    halving: Halving = Field(Halving(), description="Settings of the strategy halving.")
    window: int = Field(8, ge=1, le=1_000, description="Trials proposed at a time.")
    confirm_large: bool = Field(False, description="Accept a design of more than 10,000 points.")


class Engine(Frozen):
    """Where trials run."""

    kind: Literal["local"] = Field("local", description="local: warm processes on this machine.")
    workers: Annotated[int, Field(ge=1, le=MAX_PROCESSES)] | Literal["auto"] = Field(
        "auto", description="Worker processes; auto: one per device."
    )
    threads: int = Field(1, ge=1, le=MAX_PROCESSES, description="CPU threads per worker.")
    checkpoint_seconds: float = Field(
        60.0,
        ge=0,
        description="Least seconds between two checkpoints of a trial. Where writing one takes longer than "
        "5 % of that they are as much rarer; 0: one at each point of the learning curve.",
    )
    hang_seconds: float = Field(
        900.0,
        gt=0,
        description="A trial without progress for so many seconds is ended and run again.",
    )
    run_unfit: bool = Field(
        False,
        description="Run what is predicted to fit no device too; by default a new sweep leaves it out.",
    )


def _every_task(data: dict[str, Any]) -> dict[str, MixEntry]:
    weights = {name: 1.0 for name, task in data["tasks"].items() if task.train}
    return {"all": MixEntry.model_validate(weights)} if weights else {}


def _equal_weights(data: dict[str, Any]) -> Objective:
    tasks = dict.fromkeys(task for mix in data["mixes"].values() for task in mix.weights)
    return Objective(weights=dict.fromkeys(tasks, 1.0))


#: What a workspace holds beside its sweeps' folders.
RESERVED = frozenset(
    {"artifacts", "baselines", "cache", "dashboard-token", "mlflow.db", "mlflow.lock"}
)


def _not_reserved(name: str) -> str:
    if name in RESERVED or name.startswith("mlflow.db"):  # SQLite's files beside it too
        raise ValueError(f"found {name!r}, which a workspace holds itself; allowed: another name")
    return name


def _not_a_mix_key(name: str) -> str:
    if name in MixEntry.model_fields:
        raise ValueError(
            f"found a task {name!r}, which is a setting of mixes; give it another name"
        )
    return name


def _kept_models(value: Any) -> Any:
    """*value*, with the name that earlier releases gave to ``best``."""
    return "best" if value == "leaders" else value


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)]
SweepName = Annotated[Name, AfterValidator(_not_reserved)]
TaskName = Annotated[Name, AfterValidator(_not_a_mix_key)]


class SweepSpec(Frozen):
    """A sweep: base models × methods × training-set sizes × mixes, what is measured and what is wanted."""

    name: SweepName = Field(description="Name of the sweep in MLflow and on disk.")
    models: tuple[ModelEntry, ...] = Field(
        min_length=1, max_length=MAX_ENTRIES, description="Base models to tune."
    )
    methods: Methods = Field(description="Tuning methods and their search ranges.")
    tasks: dict[TaskName, TaskEntry] = Field(
        min_length=1, max_length=MAX_ENTRIES, description="Supervised tasks by name."
    )
    general: dict[Name, SuiteEntry] = Field(
        default_factory=dict,
        max_length=MAX_ENTRIES,
        description="General suites, never trained on: what tuning forgets.",
    )
    volumes: tuple[Volume, ...] = Field(
        min_length=1,
        max_length=MAX_ENTRIES,
        description="Training-set sizes, in examples over all tasks; ascending, each nested in the next.",
    )
    mixes: dict[Name, MixEntry] = Field(
        default_factory=_every_task,
        min_length=1,
        max_length=MAX_ENTRIES,
        description="Task mixes by name; default: one of all tasks, equally weighted.",
    )
    replay: TextFile | None = Field(None, description="Plain text for mixes with `replay`.")
    base: StoredAs | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="How frozen weights of the models are stored. auto (the default): bfloat16 where "
        "`train.dtype` is bfloat16 on a GPU, else float32; nf4: 4 bits each (bitsandbytes), for adapters "
        "alone. A model's entry may say otherwise.",
    )
    train: TrainEntry = Field(TrainEntry(), description="The training schedule.")
    evaluation: EvaluationSpec = Field(EvaluationSpec(), description="How trials are measured.")
    objective: Objective = Field(
        default_factory=_equal_weights,
        description="What is wanted; default: every trained task counts the same.",
    )
    seeds: int = Field(
        2,
        ge=1,
        le=100,
        description="Seeds of a repeated configuration, which give the noise floor.",
    )
    first_seed: int = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Seed that trials start from. To repeat a sweep with other seeds, change it together "
        "with `name`.",
    )
    budget: Budget | None = Field(
        None,
        description="When to stop: {trials: N}, or {gpu_hours: H} hours on a device, summed over workers; "
        "omitted: the whole design.",
    )
    price: Price | None = Field(
        None,
        description="Price of device time, {per_device_hour: 2.5, currency: EUR}: shows costs in money too; "
        "omitted: in hours alone. A begun sweep may change it.",
    )
    search: Search = Field(Search(), description="How the next trial is chosen.")
    engine: Engine = Field(Engine(), description="Where trials run.")
    keep: Annotated[Literal["best", "all", "none"], BeforeValidator(_kept_models)] = Field(
        "best",
        description="Tuned models to keep on disk. best: the ten best, and the recommended one in the "
        "tracking store too; all: each, in the store too. Models above 1 GiB "
        "are kept where no cheaper one is as good and the disk has room.",
    )
    record_answers: RecordAnswers = Field(
        "all",
        description="What is recorded of rows and answers outside of the data files: in the workspace, the "
        "tracking store, the report and the pages. all: every answer, prompts of the worst, a few rows; "
        "hashed: a digest in place of each answer and label, which only a holder of the validation file can "
        "make, and no prompt; none: scores and counts alone. A begun sweep may change it: what ended "
        "trials recorded stays.",
    )
    allow_leakage: bool = Field(
        False, description="Accept evaluation rows that are also training rows."
    )
    drop_unfit: bool = Field(
        False,
        exclude_if=lambda value: not value,
        description="Leave out rows that `train.max_length` cannot hold, or whose turns a chat template "
        "refuses, for every model, and name them; otherwise one such row keeps a sweep from starting.",
    )
    allow_code: bool = Field(
        False,
        exclude_if=lambda value: not value,
        description="Run the Python files that tasks name as their score, in every worker. They may do "
        "whatever you may: set it for files you trust.",
    )

    def volumes_of(self, mix: str) -> tuple[int, ...]:
        """The volumes that *mix* is run at, ascending."""
        return self.mixes[mix].volumes or self.volumes


def lowered(spec: SweepSpec) -> list[str]:
    """Tasks of *spec* that are measured by an error, which is better the lower."""
    return [name for name, task in spec.tasks.items() if task.direction == "minimize"]


def json_schema() -> str:
    """The JSON Schema of a sweep file, for editors."""
    return json.dumps(SweepSpec.model_json_schema(), indent=1) + "\n"


if __name__ == "__main__":
    print(json_schema(), end="")
