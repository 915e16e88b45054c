"""Final training of a recommended configuration: train, evaluate on test, register the model."""

from __future__ import annotations

import secrets
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from pydantic import ValidationError

from sweeps.base_models import checked_folder
from sweeps.finetune.contract import TrialHome
from sweeps.finetune.model import load_trained, save_model, tune
from sweeps.finetune.trained_model import (
    Merge,
    MergedScore,
    TrainedModel,
    flavour,
    read_card,
    save_card,
    write_card,
)
from sweeps.finetune.trial import RECORDED_PACKAGES, disk_refusal, run_trial
from sweeps.finetune.weights import load_model, stored_dtype
from sweeps.ownership import owned
from sweeps.trial_files import with_found_base
from tracker.decision.explain import lines as recommendation_lines
from tracker.decision.explain import score_line
from tracker.errors import InputError, SftSelectError, StoreError
from tracker.export.config import Config
from tracker.files import put_in_place, remove_leftovers, whole_folder, write_atomically
from tracker.frozen import Frozen
from tracker.numbers import number
from tracker.store.mlflow_names import group_tags, name_part
from tracker.store.model_registry import Model, folder_digest
from tracker.store.store import Store
from tracker.store.test_reads import Reading, reads_line
from tracker.task import TaskScore
from tracker.trial import Configuration, MethodSpec, Status, TrialResult, TrialSpec

ALIAS = "recommended"
#: Files by which a model's folder is known, and suffixes of all that is written into one.
_MODEL = ("config.json", "adapter_config.json")
_WRITTEN = frozenset({".json", ".safetensors", ".jinja", ".model", ".txt", ".md", ".py"})


class FinalModel(NamedTuple):
    """The trained model: its result, its ``folder``, its ``name`` and ``version`` in the registry.

    ``test_reads``: by task how often its test file was read for this sweep, this time included.
    """

    result: TrialResult
    folder: Path
    name: str
    version: str
    test_reads: Mapping[str, int] = MappingProxyType({})

    def scores(self, split: str) -> list[TaskScore]:
        """Task scores on *split*: ``validation`` or ``test``."""
        return [score for score in self.result.tasks if score.split == split]


class MergedModel(NamedTuple):
    """A model that an adapter was merged into: its ``folder``, and what it scores beside the adapter."""

    folder: Path
    merge: Merge


class _Trained(Frozen):
    """What an interrupted call has trained; ``model``: digest of the model's folder.

    ``reading``: name of its reading of test, by which it is counted once.
    """

    model: str
    result: TrialResult
    reading: str = ""


class _ConsoleReporter:
    """A reporter that shows steps."""

    def __init__(self, show: Callable[[int, dict[str, float]], None]) -> None:
        self.show = show

    def resume(self, step: int) -> None:
        """Do nothing."""

    def step(self, step: int, values: dict[str, float]) -> None:
        """Show the step."""
        self.show(step, values)

    def checkpoint(self, step: int) -> None:
        """Do nothing."""

    def beat(self) -> None:
        """Do nothing: no driver waits for heartbeats."""


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def train_config(
    config: Config,
    config_text: str,
    folder: Path,
    store: Store,
    *,
    evidence: Mapping[str, str] = MappingProxyType({}),
    show: Callable[[int, dict[str, float]], None] = lambda _step, _values: None,
    note: Callable[[str], None] = _to_stderr,
) -> FinalModel:
    """Train ``config.trial``, evaluate it on validation and test, register it with an alias.

    Validation is evaluated on as many rows as in the sweep, test on all of its rows, and each reading of
    test is counted in the store.

    The model's files go to *folder*, in place of a model that an earlier call left there. Until then all
    is kept in ``<folder>.partial``, from which an interrupted call is resumed. *evidence*: by name the text
    of the file beside the configuration, kept with the model. *note* is called with the package versions
    that differ from the sweep's. As many threads are used as the sweep's workers had: on the same CPU and
    versions the weights, and with them the validation scores, are the same to the last bit.

    Raises InputError, before anything is trained or written, for a *folder* that holds anything else and
    for changed data or a changed base model; OwnedError while another process trains there; SftSelectError
    when training does not complete.
    """
    place = folder.resolve()  # the target of a link
    remove_leftovers(place.parent)  # what was there comes back before it is looked at
    _check_output(place, config.trial)
    if line := differing_versions(config.versions):
        note(line)
    torch.set_num_threads(int(config.versions.get("threads", "1")))
    partial = place.with_name(f"{place.name}.partial")
    home = partial / config.trial.key
    made = home / "model"
    try:
        with owned(
            partial / "train",
            lambda owner: (
                f"{folder}: another train writes there: {owner}; wait for it, or name another folder with -o"
            ),
            "name a folder with -o that can be",
        ):
            remove_leftovers(home)
            trained = _complete_result(config, home, _records(place), _ConsoleReporter(show))
            reads = _count_readings(store, config, trained)
            model = _described(config, config_text, made, trained.result, reads)._replace(
                evidence=evidence
            )
            number = store.register_model(config.sweep, model, _scores(trained.result))
            put_in_place(made, place)
            shutil.rmtree(home)
    except OSError as error:
        if problem := disk_refusal(error):
            raise StoreError(problem) from error
        raise
    finally:
        with suppress(OSError):  # another trial's is there
            partial.rmdir()
    return FinalModel(trained.result, folder, model.name, number, reads)


def check_mergeable(trial: TrialSpec) -> None:
    """Raise InputError where what *trial* trains cannot be merged into its base."""
    if trial.method.name != "lora":
        why = (
            "it has no base beside it"
            if trial.method.name == "full"
            else "it is no part of the weights"
        )
        raise InputError(
            f"--merge: found {trial.method.label}; allowed: lora; {why}: leave the option out"
        )


def merge_model(final: FinalModel, tolerance: float) -> MergedModel:
    """Merge the adapter of *final* into its base's checkpoint, as a folder beside the adapter's.

    The weights keep the checkpoint's dtype: an adapter that was trained on 4-bit weights is merged into
    those that they were made from. The result is evaluated anew on validation, and both scores stand in its
    card. Raises SftSelectError, and writes nothing, where a score differs by more than *tolerance* (an
    error: by more than that share of it).
    """
    card = read_card(final.folder)
    trial, folder = card.trial, _merged_folder(final.folder)
    _check_output(folder, trial)
    base = with_found_base(trial.model, final.folder, None)
    place = Path(checked_folder(base))
    tuned: Any = tune(load_model(place, trust=base.trust_remote_code), trial.method)
    load_trained(tuned, final.folder)
    whole = tuned.merge_and_unload().to(stored_dtype(place))
    del tuned
    with whole_folder(folder) as made:
        save_model(whole, base, MethodSpec(name="full"), made / "model")
        for path in (made / "model").iterdir():
            path.rename(made / path.name)
        (made / "model").rmdir()
        del whole
        unscored = card.model_copy(update={"merge": Merge(tolerance=tolerance, scores=())})
        save_card(made, unscored)
        merge = _compared(TrainedModel.load(made).validation_scores(), final, tolerance)
        save_card(made, card.model_copy(update={"merge": merge}))
    _records(folder).mkdir(exist_ok=True)  # by which `train` knows a model of its own
    return MergedModel(folder, merge)


def _compared(scores: Sequence[TaskScore], final: FinalModel, tolerance: float) -> Merge:
    """The merged model's validation *scores* beside the adapter's; SftSelectError beyond *tolerance*."""
    before = {each.task: each for each in final.scores("validation")}
    compared, beyond = [], []
    for score in scores:
        was, now = before[score.task].error, score.error
        allowed = tolerance if was is None else tolerance * was
        if was is None or now is None:
            was, now = before[score.task].score, score.score
        assert was is not None and now is not None, "both are measured alike"  # noqa: PT018
        compared.append(MergedScore(task=score.task, adapter=was, merged=now))
        if abs(now - was) > allowed:
            beyond.append(f"{score.task} {number(was, 4)} by the adapter, {number(now, 4)} merged")
    if beyond:
        raise SftSelectError(
            f"--merge: found {'; '.join(beyond)}; allowed: a difference of {number(tolerance, 4)}; serve the "
            "adapter with its base, or raise --merge-tolerance"
        )
    return Merge(tolerance=tolerance, scores=tuple(compared))


def _merged_folder(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}-merged")


def _described(
    config: Config, config_text: str, made: Path, result: TrialResult, reads: Mapping[str, int]
) -> Model:
    """The model in the folder *made* as it is registered, but for its evidence."""
    name = f"{config.sweep}-{config.trial.method.name}"
    return Model(
        made,
        name,
        ALIAS,
        config_text,
        flavour=flavour(config.trial, config.versions),
        page=page(name, config, result, reads),
        tags=_tags(config, result, reads),
    )


def _count_readings(store: Store, config: Config, trained: _Trained) -> dict[str, int]:
    """Count this reading of test in the store; returns by task how many there were."""
    read = {score.task for score in trained.result.tasks if score.split == "test"}
    files = {t.name: t.test.sha256 for t in config.trial.tasks if t.test and t.name in read}
    name = trained.reading or config.trial.key
    readings = [Reading(sha256, name, f"train {config.trial.key}") for sha256 in files.values()]
    counts = store.read_test(config.sweep, readings)
    return {task: counts[sha256] for task, sha256 in files.items()}


def _scores(result: TrialResult) -> dict[str, float]:
    """The tasks' scores, their standard errors and numbers of rows by their names in the registry."""
    return {
        f"eval/{name_part(score.task)}/{score.split}/{measure}": float(value)
        for score in result.tasks
        for measure in ("score", "score_se", "error", "error_se", "n")
        if (value := getattr(score, measure)) is not None
    }


def _tags(config: Config, result: TrialResult, reads: Mapping[str, int]) -> dict[str, str]:
    """Tags of the registered version: what it was trained from, and its test scores."""
    trial = config.trial
    tags = group_tags(trial) | {"sft.sweep": config.sweep, "sft.trial": trial.key}
    tags["sft.base"] = f"{trial.model.name} {trial.model.digest or ''}".strip()
    for score in result.tasks:
        if score.split == "test":
            tags[f"sft.test.{name_part(score.task)}"] = score_line(score)
    return tags | {f"sft.test_reads.{name_part(task)}": str(n) for task, n in reads.items()}


def page(name: str, config: Config, result: TrialResult, reads: Mapping[str, int]) -> str:
    """The model's page in the registry, in Markdown: what it is, its scores, why it, how to use it."""
    trial = config.trial
    base = f"`{trial.model.name}`" + (
        f", SHA-256 `{trial.model.digest}`" if trial.model.digest else ""
    )
    text = [
        f"**{Configuration.of(trial).label}**, seed {trial.seed}, of sweep `{config.sweep}`, trial "
        f"`{trial.key}`; base {base}.",
        "",
        *(f"- {score.split} {score.task}: {score_line(score)}" for score in result.tasks),
        *(f"- {task}: {reads_line(n)}" for task, n in reads.items()),
        "",
        f"Answer a file: `sft-select answer models:/{name}@{ALIAS} rows.jsonl -o answers.jsonl`. In Python: "
        f'`mlflow.pyfunc.load_model("models:/{name}@{ALIAS}").predict(rows)`, with rows as DataFrame or list '
        "of dicts.",
    ]
    if config.recommendation is not None:
        text += ["", "**Why this one**", ""]
        text += [f"- {line}" for line in recommendation_lines(config.recommendation)]
    return "\n".join(text)


def _complete_result(
    config: Config, home: Path, records: Path, reporter: _ConsoleReporter
) -> _Trained:
    """Train the trial, its model to ``home/model``, unless an earlier call has; its result is complete."""
    spec = config.trial
    kept, made = home / "result.json", home / "model"
    try:
        whole = _Trained.model_validate_json(kept.read_bytes())
        if whole.model == folder_digest(made):
            return whole
    except (OSError, ValidationError):  # none yet, or a torn one: its checkpoints still serve
        shutil.rmtree(kept, ignore_errors=True)  # a folder in its place
    folders = TrialHome(
        checkpoints=home / "checkpoints",
        artifacts=records,
        baselines=home / "baselines",
        model=made,
    )
    result = run_trial(spec, folders, reporter, splits=("validation", "test"))
    if result.status is not Status.COMPLETE:
        shutil.rmtree(home)  # it would end the same way again
        raise SftSelectError(f"training ended {result.status.value}: {result.reason}")
    write_card(made, config.sweep, spec, torch.get_num_threads())
    trained = _Trained(model=folder_digest(made), result=result, reading=secrets.token_hex(8))
    write_atomically(kept, trained.model_dump_json())
    return trained


def differing_versions(measured: dict[str, str]) -> str | None:
    """One line on packages whose versions differ from those *measured*; ``None`` where none does."""
    differing = []
    for package in RECORDED_PACKAGES:
        try:
            installed = version(package)
        except PackageNotFoundError:
            continue
        if measured.get(package, installed) != installed:
            differing.append(f"{package} {measured[package]}, here {installed}")
    if not differing:
        return None
    return f"note: measured with {'; '.join(differing)}: scores may differ slightly"


def _records(folder: Path) -> Path:
    """Folder of the model's answers to each row; it stands beside every model that was trained here."""
    return folder.with_name(f"{folder.name}-records")


def _check_output(folder: Path, spec: TrialSpec) -> None:
    """Raise InputError unless *folder* is new, empty, or holds a model that was trained here."""
    do = "name a new or an empty folder with -o"
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: found a file; allowed: a folder; {do}")
    if folder.is_mount():
        raise InputError(f"{folder}: found a mounted disk; allowed: a folder; name one within it")
    if folder == Path(checked_folder(spec.model)):
        raise InputError(f"{folder}: found the base model, which training must not replace; {do}")
    content = sorted(folder.iterdir())
    other = [path.name for path in content if path.is_dir() or path.suffix not in _WRITTEN]
    trained_here = any((folder / name).is_file() for name in _MODEL) and _records(folder).is_dir()
    if content and (other or not trained_here):
        found = ", ".join((other or [path.name for path in content])[:3])
        raise InputError(f"{folder}: found {found}; allowed: a model that train wrote; {do}")
